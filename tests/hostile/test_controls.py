"""Each row fails against a program whose check was taken out; tests/test_references.py says which rows there are."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.cores import ROOT
from tests.hostile import weak
from tests.hostile.controls import CONTROLS
from tests.hostile.rows import rows

README = ROOT / "tests" / "hostile" / "README.md"


def test_every_row_has_a_negative_control() -> None:
    assert sorted(CONTROLS) == sorted(row.short for row in rows())


def test_every_check_that_can_be_taken_out_is() -> None:
    used = " ".join(options for options, _ in CONTROLS.values())
    assert [name for name in weak.CHECKS if f"--without {name}" not in used] == []


def test_the_table_names_every_row_and_its_control() -> None:
    """A limit with its value, or the name of the check that is taken out and, for people, what it is."""
    line = r"^\| (\d+) \| `(\w+)::(\w+)` \| (not checked, `[\w-]+`(?=: that \w)|`.+`)(?:: that .+)? \|$"
    found = re.findall(line, README.read_text(encoding="utf-8"), re.MULTILINE)
    expected = {}
    for row in rows():
        kind, what, *_ = given = CONTROLS[row.short][0].split()
        told = f"not checked, `{what}`" if kind == "--without" else ", ".join(f"`{setting}`" for setting in given[1::2])
        expected[str(row.number), row.module, row.test] = told
    assert {(number, module, test): told for number, module, test, told in found} == expected


@pytest.mark.long(60)
@pytest.mark.skipif(sys.platform != "linux", reason="the rows are played on Linux")
def test_every_row_fails_without_its_check() -> None:
    command = [sys.executable, "-m", "tests.hostile.controls"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith(f"{len(CONTROLS)} of {len(CONTROLS)} rows fail without their check\n")
