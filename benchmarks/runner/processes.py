"""Starts the peers, each on a core of its own where that is asked for, and reads their one JSON line."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from benchmarks import build
from harness.process import processor_time

SERVER_CORE = 0
CLIENT_CORE = 1
READY_TIMEOUT = 30.0
CLIENT_TIMEOUT = 120.0
STOP_TIMEOUT = 5.0

Line = dict[str, Any]


@dataclass(frozen=True)
class Spent:
    """Seconds of processor time that the two processes of one run took."""

    client: float
    server: float


class PeerFailed(Exception):
    """A peer did not do what the contract says; the text is its own last word, or what was missing."""


def can_pin() -> bool:
    return hasattr(os, "sched_setaffinity") and {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0)


@contextmanager
def children_on(core: int | None) -> Iterator[None]:
    """Processes started inside inherit the core; this one does not move while it only waits for them."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Server:
    """One running server; ``line`` is what it printed when it was ready."""

    command: build.Command
    core: int | None
    over: str = ""
    line: Line = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None
    _errors: IO[str] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in stop
        with children_on(self.core):
            self._process = subprocess.Popen(
                [*self.command, "serve", "--port", str(_free_port()), *_speaking(self.over)],
                cwd=build.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        try:
            self.line = self._ready(self._process)
        except PeerFailed:
            self.stop()
            raise

    def _ready(self, process: subprocess.Popen[str]) -> Line:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(READY_TIMEOUT):
                raise PeerFailed(f"the server was not ready after {READY_TIMEOUT:.0f} s")
        return _parse(process.stdout.readline(), self._last_words())

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read()

    def spent(self) -> float:
        """Seconds of processor time since the start."""
        assert self._process is not None
        return processor_time(self._process.pid)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None


def run_client(command: build.Command, server: Server, mode: str, count: int, core: int | None) -> tuple[Line, Spent]:
    """One client run of the contract; ``count`` is bytes for the transfers, repetitions for the others."""
    option = "--bytes" if mode in {"upload", "download"} else "--n"
    before = Spent(_of_children(), server.spent())
    with children_on(core):
        process = subprocess.Popen(
            [*command, "client", "--addr", server.line["addr"], "--mode", mode, option, str(count), *_trusting(server)],
            cwd=build.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        out, errors = process.communicate(timeout=CLIENT_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise PeerFailed(f"no answer within {CLIENT_TIMEOUT:.0f} s") from None
    if process.returncode != 0:
        raise PeerFailed(_reason(errors) or f"exit code {process.returncode}")
    if not server.running:
        raise PeerFailed("the server has ended")
    return _parse(out, errors), Spent(_of_children() - before.client, server.spent() - before.server)


def _speaking(over: str) -> list[str]:
    """The options of a server that speaks ``over`` on its TCP port."""
    if not over:
        return []
    if not over.startswith("tls"):
        return ["--over", over]
    certificate, key, _ = build.certificates()
    return ["--over", over, "--tls-cert", certificate, "--tls-key", key]


def _trusting(server: Server) -> list[str]:
    return ["--ca", build.certificates()[2]] if server.over.startswith("tls") else []


def _of_children() -> float:
    """Of the processes that this one has waited for: between two looks that is the one client that has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _parse(text: str, errors: str) -> Line:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        raise PeerFailed(_reason(errors) or f"printed no JSON line but {text[:80]!r}") from None
    if not isinstance(line, dict):
        raise PeerFailed(f"printed no JSON object but {text[:80]!r}")
    return line


def _reason(errors: str) -> str:
    """The last line that a peer wrote to stderr, without paths of this machine."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1].replace(str(build.ROOT), ".")[:200] if lines else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
