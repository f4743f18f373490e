"""Processes of a scenario, and what they say."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.netns import run_in

ROOT = Path(__file__).resolve().parents[2]


class Node:
    """One process that says JSON lines."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._lines = self._read()

    def _read(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def says(self, within: float) -> dict[str, Any]:
        """The next line."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], within)[0]:
            raise TimeoutError(f"nothing was said within {within:g} s")
        try:
            return next(self._lines)
        except StopIteration:
            raise RuntimeError(f"the process has ended with {self.process.wait()}") from None

    def said_until(self, end: float) -> Iterator[dict[str, Any]]:
        """Each line, up to the time ``end``."""
        while (left := end - time.monotonic()) > 0:
            try:
                yield self.says(left)
            except TimeoutError:
                return


@contextmanager
def node(mode: str, *arguments: str, namespace: str | None = None, errors: Any = None) -> Iterator[Node]:
    """``python -m tests.field.node``; it is killed at the end."""
    command = [sys.executable, "-m", "tests.field.node", mode, *arguments]
    command = run_in(namespace, *command) if namespace else command
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
    try:
        yield Node(process)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
