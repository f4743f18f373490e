"""Builds the peers of ``tests/interop`` into ``.cache/interop``, once per change of their sources and pins.

``python -m tests.interop.build`` builds the js-libp2p peer, which ``make test`` needs beside go's (harness/build.py);
``python -m tests.interop.build rust litep2p py`` those of ``make peers``. Each is an executable file that takes the
command line of harness/go. It is None where its toolchain is missing; with ``CI=true`` that is a ``BuildError``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.build import CACHE, ROOT, BuildError, alone, run, tool
from harness.build import go_peer as go

HERE = Path(__file__).resolve().parent
OLDEST_NODE = (20, 10)
"""With this one js-libp2p runs, on a shim for one method; its own dialer of WebSocket needs an option before 22."""


def js() -> Path | None:
    """js-libp2p as ``npm ci`` installs it; the sources lie beside it as they do in the checkout."""
    node, npm = tool("node"), tool("npm")
    if node is None or npm is None:
        return None
    release = run((node, "--version"), HERE).strip()
    if _numbers(release) < OLDEST_NODE:
        if os.environ.get("CI") == "true":
            raise BuildError(f"CI=true, but Node {release} is too old")
        return None
    folder = CACHE / "js"
    pins = [HERE / "js" / name for name in ("package.json", "package-lock.json")]
    sources = sorted([*(HERE / "js").glob("*.js"), *(ROOT / "benchmarks" / "js").glob("*.js")])
    with alone():
        if _changed(folder, "installed", release, pins):
            folder.mkdir(parents=True, exist_ok=True)
            for pin in pins:
                shutil.copy(pin, folder)
            run((npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"), folder)
            _done(folder, "installed", release, pins)
        if _changed(folder, "copied", release, sources):
            for source in sources:
                target = folder / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
            websocket = " --experimental-websocket --no-warnings" if _numbers(release) < (22,) else ""
            script(folder / "peer", f'exec "{node}"{websocket} "{folder}/tests/interop/js/peer.js" "$@"')
            _done(folder, "copied", release, sources)
    return folder / "peer"


def rust() -> Path | None:
    """rust-libp2p; cargo itself knows whether anything has changed."""
    return _cargo("rust-peer")


def litep2p() -> Path | None:
    """litep2p, whose build wants protoc: an environment of its own brings it."""
    if tool("cargo") is None:
        return None
    inside = _environment(CACHE / "protoc", HERE / "rust" / "requirements.txt")
    return _cargo("litep2p-peer", PROTOC=str(inside / "protoc"))


def py() -> Path | None:
    """py-libp2p in an environment of its own."""
    inside = _environment(CACHE / "py", ROOT / "benchmarks" / "py" / "requirements.txt")
    script(inside / "peer", f'exec "{inside}/python" "{HERE}/py/peer.py" "$@"')
    return inside / "peer"


PEERS: dict[str, Callable[[], Path | None]] = {"go": go, "js": js, "rust": rust, "litep2p": litep2p, "py": py}


def _cargo(program: str, **environment: str) -> Path | None:
    cargo = tool("cargo")
    if cargo is None:
        return None
    target = CACHE / "rust"
    with alone():
        settings = {**os.environ, "CARGO_TARGET_DIR": str(target), **environment}
        run((cargo, "build", "--release", "--locked", "--package", program), HERE / "rust", settings)
    return target / "release" / program


def _environment(folder: Path, pins: Path) -> Path:
    """The folder with the programs of a virtual environment, which our own pip fills with what is pinned."""
    release = sysconfig.get_python_version()
    with alone():
        if _changed(folder, "installed", release, [pins]):
            run((sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)), HERE)
            pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"))
            run((*pip, "--disable-pip-version-check", "install", "-q", "--prefer-binary", "-r", str(pins)), HERE)
            _done(folder, "installed", release, [pins])
    return folder / "bin"


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.lstrip("v").split(".")[:2])


def _fingerprint(release: str, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(release.encode())
    for path in files:
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _changed(folder: Path, stamp: str, release: str, files: Iterable[Path]) -> bool:
    done = folder / f".{stamp}"
    return not done.exists() or done.read_text() != _fingerprint(release, files)


def _done(folder: Path, stamp: str, release: str, files: Iterable[Path]) -> None:
    (folder / f".{stamp}").write_text(_fingerprint(release, files))


def script(path: Path, line: str) -> None:
    """A program that does what the line of shell says."""
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["js"]:
        print(PEERS[wanted]() or f"no toolchain for {wanted}", file=sys.stdout)
