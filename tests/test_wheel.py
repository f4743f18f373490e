"""The wheel: one for every platform, typed, with everything in it and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import stronghold_p2p
from tests.cores import PACKAGE, ROOT, modules

COMMAND = "stronghold_p2p_command.py"
SOURCES = ("pyproject.toml", "docs/package.md", "LICENSE", COMMAND)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Built from a copy, so that what an earlier build left in the tree cannot come in."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (copy / "dist").iterdir()
    with zipfile.ZipFile(path) as opened:
        yield opened


def read(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_it_is_pure_and_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    assert (wheel.filename or "").endswith("-py3-none-any.whl")
    assert "Root-Is-Purelib: true" in read(wheel, "WHEEL")
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {path.relative_to(ROOT).as_posix() for path in modules()} | {"stronghold_p2p/py.typed", COMMAND}


def test_it_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    told = Parser().parsestr(read(wheel, "METADATA"))
    said = [told[name] for name in ("Name", "Requires-Python", "License-Expression")]
    assert said == ["stronghold-p2p", ">=3.11", "Apache-2.0"]
    needed = [one for one in told.get_all("Requires-Dist", []) if "extra" not in one]
    named = ["cryptography", "dnspython", "ifaddr", "multiaddr", "websockets", "zeroconf"]
    assert sorted(Requirement(one).name for one in needed) == named
    assert told["Version"] == stronghold_p2p.__version__
    relative = re.findall(r"\]\((?!https://)[^)]*\)", str(told.get_payload()))
    assert relative == [], "an index shows the page alone"
    assert "Apache License" in read(wheel, "licenses/LICENSE")


def test_it_brings_the_command(wheel: zipfile.ZipFile) -> None:
    scripts = ConfigParser()
    scripts.read_string(read(wheel, "entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"stronghold-p2p": "stronghold_p2p_command:main"}


def test_what_is_in_it_runs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import stronghold_p2p; print(stronghold_p2p.__file__)"
    shown = (["-c", code], str(tmp_path / "stronghold_p2p" / "__init__.py")), (["-m", "stronghold_p2p", "-h"], "demo")
    for arguments, text in shown:
        command = [sys.executable, *arguments]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert text in run.stdout
