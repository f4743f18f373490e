"""Builds the peers of other implementations into ``.cache/interop``, once per change of their sources.

``python -m harness.build`` prints the path of the go-libp2p peer (``harness/go``), with ``dns`` that of the DNS server
(``harness/dns``), with ``caddy`` that of a web server (``harness/caddy``), with ``crate`` that of the peer on the Rust
crate (``harness/crate``).
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

ROOT = Path(__file__).resolve().parents[1]
SOURCES = Path(__file__).resolve().parent / "go"
DNS = Path(__file__).resolve().parent / "dns"
CADDY = Path(__file__).resolve().parent / "caddy"
CRATE = Path(__file__).resolve().parent / "crate"
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
    return _go_program(SOURCES, "peer")


def dns_server() -> Path | None:
    """The DNS server of the tests, on the same terms."""
    return _go_program(DNS, "dns")


def caddy() -> Path | None:
    """Caddy with the modules of a reverse proxy, on the same terms."""
    return _go_program(CADDY, "caddy")


def _go_program(sources: Path, name: str) -> Path | None:
    go = tool("go")
    if go is None:
        return None
    with alone():
        return _build(go, sources, name)


def _build(go: str, sources: Path, name: str) -> Path:
    program = CACHE / f"{name}-{_fingerprint(go, sources)}"
    if program.exists():
        return program
    fresh = program.with_suffix(".new")
    _go(go, sources, "build", "-trimpath", "-o", str(fresh), ".")
    for old in CACHE.glob(f"{name}-*"):
        if old != fresh:
            old.unlink()
    return fresh.rename(program)


def crate_peer() -> Path | None:
    """The peer on ``stronghold-p2p``, built if need be, which takes minutes; None where there is no cargo.

    Raises ``BuildError`` when the build fails. cargo itself knows whether anything has changed. The crate's own
    dependencies come as Cargo.lock says: one of them, core2, has been yanked since.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        return None
    target = CACHE / "stronghold"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    with alone():
        run((cargo, "build", "--release", "--locked"), CRATE, environment)
    return target / "release" / "stronghold-peer"


def tool(name: str) -> str | None:
    """Where the program is, None if there is none; with ``CI=true`` that is a ``BuildError``."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        raise BuildError(f"CI=true, but there is no {name} on the PATH")
    return found


def _go(go: str, sources: Path, *arguments: str) -> str:
    return run((go, *arguments), sources, {**os.environ, **GO_SETTINGS})


def run(command: tuple[str, ...], folder: Path, environment: dict[str, str] | None = None) -> str:
    """What it prints; ``BuildError`` with what it complains of if it fails."""
    what = f"{Path(command[0]).name} {command[1]}"
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{what} took longer than {BUILD_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        raise BuildError(f"{what} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def _fingerprint(go: str, sources: Path) -> str:
    digest = hashlib.sha256(_go(go, sources, "version").encode())
    for path in sorted([*sources.glob("*.go"), sources / "go.mod", sources / "go.sum"]):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def alone() -> Iterator[None]:
    """Several test processes may ask at once; one builds, the others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    if sys.argv[1:] == ["crate"]:
        print(crate_peer() or "no cargo", file=sys.stdout)
    elif sys.argv[1:] == ["dns"]:
        print(dns_server() or "no go toolchain", file=sys.stdout)
    elif sys.argv[1:] == ["caddy"]:
        print(caddy() or "no go toolchain", file=sys.stdout)
    else:
        print(go_peer() or "no go toolchain", file=sys.stdout)
