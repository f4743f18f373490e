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
from tests.leaky import LEAKS, WITHOUT_LOOP

LEAKY = ROOT / "tests" / "leaky.py"
CLEAN = re.findall(r"^(?:async )?def (test_clean_\w+)", LEAKY.read_text(encoding="utf-8"), re.MULTILINE)
TOLD = {"test_leaks_in_fixture": "task: <Task pending"}
for _test, _leaks in ("test_leaks", LEAKS), ("test_leaks_without_loop", WITHOUT_LOOP):
    TOLD |= {f"{_test}[{kind}]": told for kind, (_, told) in _leaks.items()}


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
    assert set(TOLD) | set(CLEAN) == set(told())
    assert len(CLEAN) == 6
