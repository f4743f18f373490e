"""Limits and timeouts: frozen, by keyword, and in relations to each other that the protocols need."""

from __future__ import annotations

import pydoc
import re
from dataclasses import FrozenInstanceError, fields

import pytest

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.yamux.header import INITIAL_WINDOW
from tools import options


@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_they_cannot_be_changed(kind: type[Limits | Timeouts]) -> None:
    made = kind()
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(kind)[0].name, 1)


@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_every_default_is_positive_or_off(kind: type[Limits | Timeouts]) -> None:
    values = [getattr(kind(), one.name) for one in fields(kind)]
    assert all(value is None or value > 0 for value in values)


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), True, "10", [1]])
@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_what_is_no_number_from_0_on_is_refused(kind: type[Limits | Timeouts], value: object) -> None:
    for option in fields(kind):
        with pytest.raises(ConfigError, match="take a number from 0 on") as caught:
            kind(**{option.name: value})  # type: ignore[arg-type]
        assert caught.value.where == f"{kind.__name__}.{option.name}"
        assert getattr(kind(**{option.name: 0}), option.name) == 0


@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_help_names_every_field_with_its_default(kind: type[Limits | Timeouts]) -> None:
    told = re.findall(r"^    (\w+) = (\S+?)(?: \((\d+) MiB\))?: \w", kind.__doc__ or "", re.MULTILINE)
    assert [(name, default) for name, default, _ in told] == [(one.name, repr(one.default)) for one in fields(kind)]
    assert all(int(default) == int(size) << 20 for _, default, size in told if size)
    shown = " ".join(pydoc.render_doc(kind, renderer=pydoc.plaintext).replace("|", "").split())  # type: ignore[attr-defined]
    assert " ".join((kind.__doc__ or "").split()) in shown


@pytest.mark.parametrize("kind", [Limits, Timeouts])
def test_each_field_has_a_meaning_and_a_symptom(kind: type[Limits | Timeouts]) -> None:
    names = [one.name for one in fields(kind)]
    assert [name for name, text in options.meanings(kind).items() if text] == names
    assert [name for name in names if name not in options.SYMPTOMS] == []


def test_editors_and_the_page_say_what_help_says() -> None:
    for path, text in options.current().items():
        assert path.read_text(encoding="utf-8") == text, "make docs"


def test_what_is_left_is_what_somebody_tunes() -> None:
    assert len(fields(Timeouts)) + len(fields(Limits)) == 35


def test_some_limits_cannot_be_switched_off() -> None:
    needed = set()
    for option in fields(Limits):
        try:
            assert getattr(Limits(**{option.name: None}), option.name) is None  # type: ignore[arg-type]
        except ConfigError as error:
            assert str(error) == f"Limits.{option.name} is None: take a number from 0 on"
            needed.add(option.name)
    assert needed == {"max_window", "receive_memory"}
    none = Timeouts(**dict.fromkeys(one.name for one in fields(Timeouts)))
    assert {getattr(none, one.name) for one in fields(none)} == {None}


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
