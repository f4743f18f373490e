"""The table of scenarios and its lines; the scenarios themselves are played by ``make field``."""

from __future__ import annotations

import pytest

from tests.field.__main__ import main
from tests.field.figure import Figure
from tests.field.scenarios import SCENARIOS, Scenario
from tests.netns import Unavailable


def refuses() -> Figure:
    raise Unavailable("no such device")


def breaks() -> Figure:
    raise ZeroDivisionError("ours")


TABLE = (
    Scenario("good", "what holds", lambda: Figure("1 s", "2 s", True)),
    Scenario("late", "what does not", lambda: Figure("3 s", "2 s", False)),
    Scenario("device", "what this machine does not allow", refuses),
    Scenario("broken", "what fails", breaks),
)


@pytest.mark.parametrize(
    ("names", "code", "states"),
    [
        (["good", "device"], 0, ["ok", "skipped"]),
        (["good", "late"], 1, ["ok", "FAILED"]),
        (["broken", "good"], 1, ["FAILED", "ok"]),
        ([], 1, ["ok", "FAILED", "skipped", "FAILED"]),
    ],
)
def test_one_line_for_each(names: list[str], code: int, states: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(names, TABLE) == code
    lines = [line for line in capsys.readouterr().out.splitlines() if line.split("  ")[0].strip() in names or not names]
    told = {scenario.name: scenario.told for scenario in TABLE}
    shown = [line for line in lines if line.split()[0] in told]
    assert [line.split(told[line.split()[0]])[1].split()[0] for line in shown] == states
    assert all("bound: 2 s" in line for line in shown if line.startswith(("good", "late")))
    assert all("no such device" in line for line in shown if line.startswith("device"))


def test_an_unknown_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["godo"], TABLE) == 2
    assert "godo; there are good, late" in capsys.readouterr().out


def test_names_are_words_and_differ() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
    assert all(name.isalpha() and name.islower() for name in names)
