"""``benchmarks.compare``: the tree against itself in small, and what the table and the exit code say of figures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks import compare
from benchmarks.compare import MEASURES, Compared, Figure
from benchmarks.comparison import ends
from tests.cores import ROOT

SEQ = next(measure for measure in MEASURES if measure.name == "seq")
ONE = Figure(100.0, 10.0, 20.0)


def of(*rates: tuple[float, float]) -> Compared:
    """``seq`` with these rates, of the old one and of the new one."""
    return Compared(SEQ, tuple((replace(ONE, rate=old), replace(ONE, rate=new)) for old, new in rates))


@pytest.mark.speed
@pytest.mark.parametrize("name", [measure.name for measure in MEASURES])
async def test_each_measure(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with ends.serving() as server:
        await ends.measure(str(server.addresses[0]), name, 0.02)
    assert all(value > 0 for value in vars(Figure(**json.loads(capsys.readouterr().out))).values())


@pytest.mark.speed
def test_the_tree_against_itself(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["first byte", "seq", "seq over streams"]
    code = compare.main([str(ROOT), str(ROOT), "--pairs", "1", "--seconds", "0.02", "--only", ",".join(names)])
    out = capsys.readouterr().out
    rates, processor, facade = (part.splitlines()[1:] for part in out.split("\n\n")[1:])
    assert [line.split("  ")[0] for line in rates] == names
    assert [line.split("  ")[0] for line in processor] == names
    assert [line.split()[0] for line in facade] == ["seq"]
    judged = [line.rsplit(maxsplit=1)[-1] for line in rates]
    assert [word in {"met", "MISSED"} for word in judged] == [True, True, False]
    assert code == ("MISSED" in judged)


@pytest.mark.parametrize(
    ("compared", "ratio", "missed"),
    [
        (of((100, 115)), "1.150", False),
        (of((100, 114)), "1.140", True),
        (of((100, 300), (300, 330), (200, 240)), "1.200", False),  # the middle pair's, whatever the machine did
    ],
)
def test_a_bar_is_for_the_median_of_the_ratios(compared: Compared, ratio: str, missed: bool) -> None:
    assert compared.missed is missed
    cells = compare.row(compared)
    assert cells[4] == ratio
    assert cells[6:] == ("1.15", "MISSED" if missed else "met")


def test_what_has_no_bar_is_never_missed() -> None:
    compared = replace(of((100, 1)), measure=MEASURES[-1])
    assert not compared.missed
    assert compare.row(compared)[6:] == ("-", "")


def test_the_facade_beside_streams() -> None:
    streams = replace(of((200, 100)), measure=MEASURES[-2])
    assert compare.facade([of((100, 90)), streams]) == [("seq", "seq over streams", "0.500", "0.900", "1.000", "1.000")]
    assert compare.facade([of((100, 90))]) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((str(ROOT), "/nowhere"), "no checkout"),
        ((str(ROOT), str(ROOT), "--pairs", "0"), "at least 1"),
        ((str(ROOT), str(ROOT), "--only", "seq,speed"), "unknown: speed"),
    ],
)
def test_what_cannot_be_compared(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        compare.main(list(arguments))
    assert said in f"{ended.value.code} {capsys.readouterr().err}"
