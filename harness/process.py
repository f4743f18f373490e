"""A process under test: started, measured from outside through /proc, and ended; it must have said nothing wrong."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 20.0
STOP_WITHIN = 6.0
REFUSED = r"a limit refuses |\w+ has refused \d+ more "  # what the log is for, where limits are tried
KIB = 1 << 10


def processor_time(pid: int) -> float:
    """Seconds that a process has been on a processor, all its living threads together; Linux tells it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


class Patience:
    """How much longer than usual everything that is waited for may take: a busy machine is no finding."""

    factor = 1.0

    @classmethod
    def of(cls, seconds: float) -> float:
        return seconds * cls.factor


class Process:
    """``python -m module arguments``, in a network ``namespace`` or not, which prints one JSON line when it is ready.

    At the end it is asked to stop; its exit code has to be 0 and its standard error empty, except for lines that tell
    whom a limit has refused, and those that match ``tolerated``.
    """

    def __init__(
        self, module: str, *arguments: str, tolerated: str | None = None, namespace: str | None = None
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._tolerated = tolerated
        command = [sys.executable, "-X", "faulthandler", "-m", module, *arguments]
        self._process = subprocess.Popen(
            [*(["ip", "netns", "exec", namespace] if namespace else []), *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.pid = self._process.pid
        self._told = False
        self._said = bytearray()
        try:
            self.ready = self.read()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()
            return
        self.stop()

    # ------------------------------------------------------------------ talking

    def read(self, within: float = READY_WITHIN) -> dict[str, Any]:
        """One JSON line of its standard output."""
        assert self._process.stdout is not None
        end = time.monotonic() + Patience.of(within)
        while b"\n" not in self._said:
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(f"the process has said nothing within {within:g} s")
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise AssertionError(f"the process has ended: {self.errors()}")
            self._said += piece
        line, _, rest = self._said.partition(b"\n")
        self._said = rest
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, **command: Any) -> None:
        """One JSON line for its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def ask(self, **command: Any) -> dict[str, Any]:
        self.tell(**command)
        return self.read()

    def signal(self, number: int) -> None:
        self._told = self._told or number == signal.SIGTERM
        self._process.send_signal(number)

    def limit_files(self, maximum: int) -> None:
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (maximum, hard))

    # ------------------------------------------------------------------ figures

    def memory(self) -> int:
        """Resident bytes."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most resident bytes since ``forget_peak``."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def _status(self, name: str) -> int:
        found = re.search(
            rf"^{name}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(encoding="ascii"), re.MULTILINE
        )
        assert found is not None
        return int(found[1]) * KIB

    def cpu(self) -> float:
        return processor_time(self.pid)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    # ------------------------------------------------------------------ the end

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        if self._errors.closed:
            return
        if not self._told:
            self.signal(signal.SIGTERM)
        try:
            code = self._process.wait(Patience.of(STOP_WITHIN))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"does not end within {STOP_WITHIN:g} s") from None
        errors = self.errors()
        self._close()
        assert code == 0, f"exit code {code}: {errors}"
        fine = re.compile(REFUSED if self._tolerated is None else f"{REFUSED}|{self._tolerated}")
        left = [text for text in errors.splitlines() if not fine.match(text)]
        assert not left, "on standard error:\n" + "\n".join(left[:40])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def soon(condition: Callable[[], bool], within: float = 3.0) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + Patience.of(within)
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(0.01)
    return True
