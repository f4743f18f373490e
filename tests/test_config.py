"""Limits and timeouts: frozen, by keyword, and in relations to each other that the protocols need."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.yamux.header import INITIAL_WINDOW


@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_they_cannot_be_changed(kind: type[Limits | Timeouts]) -> None:
    options = kind()
    with pytest.raises(FrozenInstanceError):
        setattr(options, fields(kind)[0].name, 1)


@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_every_default_is_positive_or_off(kind: type[Limits | Timeouts]) -> None:
    values = [getattr(kind(), one.name) for one in fields(kind)]
    assert all(value is None or value > 0 for value in values)


def test_a_refusal_still_reaches_the_requester() -> None:
    times = Timeouts()
    assert times.ask is not None
    assert times.request is not None
    assert times.ask < times.request


def test_the_windows_fit_the_memory() -> None:
    limits = Limits()
    assert INITIAL_WINDOW <= limits.max_window <= limits.receive_memory
    assert limits.receive_memory_total is not None
    assert limits.receive_memory <= limits.receive_memory_total // 4  # what is kept for a protected peer


def test_positions_mean_nothing() -> None:
    with pytest.raises(TypeError):
        Limits(300)  # type: ignore[call-arg]
