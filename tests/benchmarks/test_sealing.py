"""benchmarks/sealing.py: what it prints, and that it leaves the constant as it was."""

from __future__ import annotations

import pytest

from benchmarks import sealing
from stronghold_p2p.noise import records


@pytest.mark.speed
def test_each_line_tells_both_ways(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "PIECES", ((200, 60), (1, 60)))
    before = records.JOINED_FROM
    sealing.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines] == [
        ["200", "pieces", "of", "60", "bytes"],
        ["1", "pieces", "of", "60", "bytes"],
    ]
    assert all("joined" in line and "one by one" in line for line in lines)
    assert before == records.JOINED_FROM
