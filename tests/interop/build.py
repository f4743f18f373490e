"""Builds the go-libp2p peer of ``tests/interop/go`` into ``.cache/interop``, once per change of its sources.

``python -m tests.interop.build`` prints the program's path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent / "go"
CACHE = ROOT / ".cache" / "interop"

BUILD_TIMEOUT = 900.0
"""Seconds; a cold build downloads and compiles some 340 packages."""

GO_SETTINGS = {"GOFLAGS": "-mod=readonly -buildvcs=false", "CGO_ENABLED": "0"}


class BuildError(Exception):
    """The peer cannot be built; the text is the toolchain's own."""


def go_peer() -> Path | None:
    """The program, built if need be; None where there is no Go toolchain.

    Raises ``BuildError`` when the build fails, and when Go is missing although ``CI=true``.
    """
    go = shutil.which("go")
    if go is None:
        if os.environ.get("CI") == "true":
            raise BuildError("CI=true, but there is no go on the PATH")
        return None
    with _alone():
        return _build(go)


def _build(go: str) -> Path:
    program = CACHE / f"peer-{_fingerprint(go)}"
    if program.exists():
        return program
    fresh = program.with_suffix(".new")
    _go(go, "build", "-trimpath", "-o", str(fresh), ".")
    for old in CACHE.glob("peer-*"):
        if old != fresh:
            old.unlink()
    return fresh.rename(program)


def _go(go: str, *arguments: str) -> str:
    environment = {**os.environ, **GO_SETTINGS}
    try:
        done = subprocess.run(
            [go, *arguments],
            cwd=SOURCES,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"go {arguments[0]} took longer than {BUILD_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        raise BuildError(f"go {arguments[0]} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def _fingerprint(go: str) -> str:
    digest = hashlib.sha256(_go(go, "version").encode())
    for path in sorted([*SOURCES.glob("*.go"), SOURCES / "go.mod", SOURCES / "go.sum"]):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone() -> Iterator[None]:
    """Several test processes may ask at once; one builds, the others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    print(go_peer() or "no go toolchain", file=sys.stdout)
