"""Figures against their bars, the table of the document, and the objects of one connection."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from benchmarks.scale import anatomy, memory, report
from benchmarks.scale.figures import Figure
from benchmarks.scale.parts import left_behind
from tests.cores import ROOT

MIB = 1 << 20


@pytest.mark.parametrize(
    ("value", "least", "most", "verdict"),
    [
        (40.0, None, 40, "met"),
        (40.1, None, 40, "MISSED"),
        (300.0, 300, None, "met"),
        (299.0, 300, None, "MISSED"),
        (0.0, 0, 0, "met"),
        (1.0, 0, 0, "MISSED"),
        (-1.0, 0, 0, "MISSED"),
        (7.0, None, None, ""),
    ],
)
def test_a_bar_includes_its_bound(value: float, least: float | None, most: float | None, verdict: str) -> None:
    figure = Figure("part", "what", value, least=least, most=most)
    assert figure.verdict == verdict
    assert figure.met == (verdict != "MISSED")


def test_a_line_says_all() -> None:
    line = Figure("idle", "resident for each", 12.84, "KiB", 1, most=40, note="much is OpenSSL's").line()
    assert " ".join(line.split()) == "idle resident for each 12.8 KiB at most 40 met much is OpenSSL's"
    assert Figure("idle", "opened", 1234.4, "/s").line().split() == ["idle", "opened", "1,234", "/s"]
    assert Figure("idle", "tasks", 0, least=0, most=0).row() == "| tasks | 0 | 0 | met |"


def test_what_is_left_is_named() -> None:
    before = {"tasks": 1, "files": 8, "ours": {"a.B": 3, "a.C": 1}}
    after = {"tasks": 1, "files": 9, "ours": {"a.B": 5, "a.C": 1}}
    figures = left_behind("idle", before, after)
    assert [figure.met for figure in figures] == [True, False, False]
    assert figures[-1].note == "2 a.B"


def test_the_table_goes_between_its_marks() -> None:
    text = report.table([Figure("idle", "tasks", 0, least=0, most=0), Figure("bulk", "peak", 5, "KiB")], "0.25")
    assert "| tasks | 0 | 0 | met |\n" in text
    assert "load average before: 0.25" in text
    whole = "before\n<!-- a -->\nold\n<!-- end -->\nbetween\n<!-- b -->\n<!-- end -->\nafter\n"
    placed = report.placed(whole, "a", text)
    assert placed == whole.replace("old\n", text)
    assert report.placed(placed, "a", "old\n") == whole
    with pytest.raises(ValueError, match="no place"):
        report.placed(whole, "c", text)


def test_the_document_has_both_places() -> None:
    whole = report.DOCUMENT.read_text(encoding="utf-8")
    for mark in (report.MARK, anatomy.MARK):
        assert report.placed(whole, mark, "new\n") != whole


def in_a_fresh_process(program: str) -> float:
    """What it prints: where nothing has run before, there is no free memory that could be taken instead of new."""
    command = [sys.executable, "-c", f"from benchmarks.scale import anatomy, memory\n{program}"]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout)


def test_resident_memory_shows_what_is_taken() -> None:
    program = "before = memory.resident(); taken = bytes(range(256)) * 65_536; print(memory.resident() - before)"
    assert 8 * MIB < in_a_fresh_process(program) < 32 * MIB
    assert memory.trim() in {True, False}


def test_the_objects_of_a_connection() -> None:
    """Only its own: what all connections share is not among them."""
    owned = asyncio.run(anatomy.anatomy())
    kinds = {type(part.thing).__name__ for parts in owned.values() for part in parts}
    ours = {"LiveConnection", "YamuxMuxer", "Session", "Receiver", "Deadlines", "NoiseChannel"}
    assert {*ours, "Token", "PeerInfo"} <= kinds
    assert kinds & {"SocketWire", "PollingWire"}
    assert kinds & {"Swarm", "LiveListener", "Limits", "Timeouts", "Network", "Firewall", "Gate"} == set()
    size = sum(part.size for parts in owned.values() for part in parts)
    assert 4_096 < size < 16_384


def test_a_cipher_takes_memory_of_its_own() -> None:
    assert 200 < in_a_fresh_process("print(anatomy.cipher(2_000))") < 20_000
