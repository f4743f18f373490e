"""The commands around the package: which Python they find, and what they say when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cores import ROOT

MAKE = shutil.which("make") or "make"
PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def shim(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def pythons(path: str, home: Path) -> list[str]:
    return run("/bin/sh", ".ci/pythons", PATH=path, HOME=str(home)).stdout.splitlines()


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {"HOME": os.environ.get("HOME", "/"), "PATH": os.environ["PATH"]}
    return run(MAKE, "--no-print-directory", *arguments, **(plain | environment))


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_every_python_found_works_and_is_new_enough() -> None:
    found = pythons(os.environ["PATH"], Path(os.environ.get("HOME", "/")))
    versions = [subprocess.run([one, "-c", PROBE], capture_output=True, text=True, check=True).stdout for one in found]
    assert found
    assert len(set(versions)) == len(versions)
    assert all(tuple(map(int, version.split("."))) >= (3, 11) for version in versions)


def test_shims_old_and_crippled_pythons_are_passed_over(tmp_path: Path) -> None:
    shim(tmp_path, "python3", "echo 'python3: command not found' >&2; exit 127")
    shim(tmp_path, "python3.14", "exit 1")  # as one without ensurepip
    shim(tmp_path, "python3.13", "echo")
    (tmp_path / "python3.12").symlink_to("/nowhere/python3.12")
    shim(tmp_path, "python3.11", f'exec "{sys.executable}" "$@"')
    found = pythons(str(tmp_path), tmp_path)
    assert [Path(one).resolve() for one in found] == [Path(sys.executable).resolve()]


def test_no_python_is_said_in_one_line() -> None:
    asked = make("-B", ".demo/.installed", "PYTHON=")
    assert asked.returncode != 0
    assert asked.stderr.startswith("no Python that can be used: this needs CPython 3.11 or newer")


def test_a_missing_toolchain_is_a_line_here_and_a_failure_in_ci(tmp_path: Path) -> None:
    here, ci = make("toolchains", PATH=str(tmp_path)), make("toolchains", PATH=str(tmp_path), CI="true")
    assert here.returncode == 0
    assert here.stdout.splitlines() == [
        "no go on this machine: the tests with go-libp2p are skipped",
        "no node and npm on this machine: the tests with js-libp2p are skipped",
    ]
    assert ci.returncode != 0


def test_make_alone_lists_the_commands() -> None:
    listed = make()
    assert listed.returncode == 0
    assert {"demo", "test", "test-all", "bench"} <= {line.split()[1] for line in listed.stdout.splitlines()}


def test_ci_runs_what_a_person_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec make test"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
