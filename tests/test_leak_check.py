"""The leak check finds each kind of leak, says what it is, and finds nothing where there is nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import pytest

from tests.cores import ROOT

LEAKY = ROOT / "tests" / "leaky.py"
NAMES = set(re.findall(r"^(?:async )?def (test_\w+)", LEAKY.read_text(encoding="utf-8"), re.MULTILINE))
CLEAN = sorted(name for name in NAMES if name.startswith("test_clean_"))
TOLD = {
    "test_leaks_callback_exception": "exception handler: Exception in callback",
    "test_leaks_coroutine": "was never awaited",
    "test_leaks_dropped_socket": "ResourceWarning: unclosed",
    "test_leaks_future_exception": "exception handler: Future exception was never retrieved",
    "test_leaks_in_fixture": "task: <Task pending",
    "test_leaks_object": "alive: 1 of stronghold_p2p.exchange.ExchangeRunner",
    "test_leaks_place": "taken: Gate {'pending_in': 0, 'pending_out': 1",
    "test_leaks_socket": "file descriptor",
    "test_leaks_socket_with_loop": "file descriptor",
    "test_leaks_task": "task: <Task pending",
    "test_leaks_task_exception": "exception handler: Task exception was never retrieved",
    "test_leaks_thread": "thread: <Thread",
    "test_leaks_timer": "timer: <TimerHandle",
    "test_leaks_unread_bytes": "taken: ReceivePool {'receive_memory': 1",
}


@cache
def told() -> dict[str, str]:
    """Test name to what its failure says, empty if it passed; from one run of its own."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        plain = ["-o", "leak_patience_seconds=0.4"]
        command = [sys.executable, "-m", "pytest", *plain, f"--junitxml={report}", str(LEAKY)]
        subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    return {case.attrib["name"]: "".join(part.text or "" for part in case) for case in cases}


@pytest.mark.parametrize(("name", "text"), TOLD.items(), ids=TOLD)
def test_a_leak_fails_the_test(name: str, text: str) -> None:
    assert text in told()[name]


def test_a_clean_test_passes_and_no_case_is_forgotten() -> None:
    assert [name for name in CLEAN if told()[name]] == []
    assert set(TOLD) | set(CLEAN) == NAMES == set(told())
    assert len(CLEAN) == 6
