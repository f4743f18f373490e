"""options.py: each option of a network has its kind."""

from __future__ import annotations

import inspect

import pytest

from stronghold_p2p import ConfigError, Network, Timeouts
from stronghold_p2p.options import _OPTIONS, check_options


def test_none_is_the_default() -> None:
    check_options(**dict.fromkeys(_OPTIONS))
    check_options(timeouts=Timeouts(), name="bob")


@pytest.mark.parametrize("option", _OPTIONS)
def test_each_has_its_kind(option: str) -> None:
    assert option in inspect.signature(Network).parameters
    with pytest.raises(ConfigError, match=option) as caught:
        check_options(**{option: 5})
    assert caught.value.where == option
