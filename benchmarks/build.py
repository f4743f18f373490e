"""Installs the implementations that ours is compared with, below ``.cache/bench``, once per change of their pins.

Each function returns the command that runs a peer of the contract. ``Unavailable`` says why there is none; the
benchmarks show that as a row instead of figures.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from benchmarks import interpreter
from harness import authority
from harness import build as peers

ROOT = Path(__file__).resolve().parents[1]
SOURCES = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "bench"
INSTALL_TIMEOUT = 600.0
"""Seconds that one step of an installation may take."""

Command = tuple[str, ...]


class Unavailable(Exception):
    """This implementation cannot be had here; the text says why."""


def python() -> str:
    """The quickest interpreter with what the package needs at run time, and uvloop."""
    folder = CACHE / "ours"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    packages = [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    return _environment(folder, pins, ("-c", str(pins[1]), *packages))


def ours(*flags: str) -> Command:
    return (python(), "-m", "harness.peer", *flags)


def raw(*flags: str) -> Command:
    return (python(), "-m", "benchmarks.raw", *flags)


def go() -> Command:
    try:
        program = peers.go_peer()
    except peers.BuildError as error:
        raise Unavailable(str(error)) from error
    if program is None:
        raise Unavailable("there is no go on the PATH")
    return (str(program),)


def crate() -> Command:
    """The Rust crate as shipped: its own transport, which leaves Nagle's algorithm on."""
    try:
        program = peers.crate_peer()
    except peers.BuildError as error:
        raise Unavailable(str(error)) from error
    if program is None:
        raise Unavailable("there is no cargo on the PATH")
    return (str(program),)


def crate_with_nodelay() -> Command:
    return (*crate(), "--nodelay")


def certificates() -> tuple[str, str, str]:
    """The files of a certificate for 127.0.0.1, its key, and the authority that signed it; made once."""
    folder = CACHE / "tls"
    places = tuple(str(folder / name) for name in ("certificate.pem", "key.pem", "ca.pem"))
    if not all(Path(place).exists() for place in places):
        folder.mkdir(parents=True, exist_ok=True)
        for place, data in zip(places, authority.issue("127.0.0.1"), strict=True):
            Path(place).write_bytes(data)
            Path(place).chmod(0o600)
    certificate, key, ca = places
    return certificate, key, ca


def js() -> Command:
    node, npm = _tool("node"), _tool("npm")
    folder = CACHE / "js"
    pins = [SOURCES / "js" / name for name in ("package.json", "package-lock.json")]

    def install() -> None:
        for pin in pins:
            shutil.copy(pin, folder)
        _run((npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"), folder)

    _once(folder, pins, _run((node, "--version"), SOURCES), install)
    for source in (SOURCES / "js").glob("*.js"):
        shutil.copy(source, folder)
    major = int(_run((node, "--version"), SOURCES).removeprefix("v").partition(".")[0])
    websocket = () if major >= 22 else ("--experimental-websocket", "--no-warnings")  # what js dials with
    return (node, *websocket, str(folder / "peer.js"))


def py() -> Command:
    pins = SOURCES / "py" / "requirements.txt"
    return (_environment(CACHE / "py", [pins], ("-r", str(pins))), str(SOURCES / "py" / "peer.py"))


def _environment(folder: Path, pins: list[Path], wanted: tuple[str, ...]) -> str:
    """The Python of a virtual environment of the quickest interpreter; our own pip fills it, as it may have none."""
    chosen = interpreter.quickest()[0]
    inside = folder / "bin" / "python"

    def install() -> None:
        _run((chosen.path, "-m", "venv", "--clear", "--without-pip", str(folder)), SOURCES)
        pip = (sys.executable, "-m", "pip", "--python", str(inside), "--disable-pip-version-check")
        _run((*pip, "install", "-q", "--prefer-binary", *wanted), SOURCES)

    _once(folder, pins, f"{chosen.path} {chosen.version}", install)
    return str(inside)


def _once(folder: Path, pins: list[Path], toolchain: str, install: Callable[[], None]) -> None:
    wanted = hashlib.sha256(toolchain.encode() + b"".join(pin.read_bytes() for pin in pins)).hexdigest()
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    install()
    stamp.write_text(wanted)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"there is no {name} on the PATH")
    return found


def _run(command: Command, folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode != 0:
        raise Unavailable(f"{Path(command[0]).name} {command[1]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
