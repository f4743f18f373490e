"""A process at a pseudo-terminal: what it shows is read, keys are pressed."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

# The terminal has to be the controlling one of the process, or Ctrl-C would be a byte like any other.
_AT_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)

# A shell in small: its job starts in the background; SIGUSR1 is ``fg``, SIGUSR2 is Ctrl-Z and ``bg``. A job that the
# system stops ends everything with 99.
_IN_BACKGROUND = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
def foreground(*_):
    os.tcsetpgrp(0, job)
    os.kill(job, signal.SIGCONT)
def background(*_):
    os.tcsetpgrp(0, os.getpgrp())
    os.kill(job, signal.SIGSTOP)
    os.kill(job, signal.SIGCONT)
signal.signal(signal.SIGUSR1, foreground)
signal.signal(signal.SIGUSR2, background)
signal.signal(signal.SIGTERM, lambda *_: os.kill(job, signal.SIGTERM))
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        os._exit(os.waitstatus_to_exitcode(status))
    if os.WSTOPSIG(status) != signal.SIGSTOP:
        os.kill(job, signal.SIGKILL)
        os._exit(99)
"""


class Terminal:
    """``shows`` waits for a pattern, from where the one before it ended."""

    def __init__(self, process: Process, keyboard: int) -> None:
        self.process = process
        self._keyboard = keyboard
        self._screen = ""
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(keyboard, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._keyboard, 65_536)
        except OSError:  # how Linux says that the other side has gone
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._keyboard)
        self._screen += data.decode()
        self._changed.set()

    async def shows(self, pattern: str, patience: float = 20.0) -> re.Match[str]:
        try:
            async with asyncio.timeout(patience):
                while (found := re.search(pattern, self._screen)) is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{pattern!r} was not shown: {self._screen!r}") from None
        self._screen = self._screen[found.end() :]
        return found

    def press(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def is_as_usual(self) -> bool:
        """Whether it echoes and waits for whole lines."""
        usual = termios.ECHO | termios.ICANON
        return bool(termios.tcgetattr(self._keyboard)[3] & usual == usual)

    async def ends(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()


@asynccontextmanager
async def at_terminal(*command: str, background: bool = False) -> AsyncIterator[Terminal]:
    """Run ``command`` with a terminal for everything; with ``background`` as the job of a shell that has it itself."""
    ours, theirs = pty.openpty()
    whole = (sys.executable, "-c", _IN_BACKGROUND if background else _AT_TERMINAL, *command)
    with ExitStack() as stack:
        stack.callback(os.close, ours)
        stack.callback(os.close, theirs)
        process = await asyncio.create_subprocess_exec(
            *whole, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        try:
            yield Terminal(process, ours)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            asyncio.get_running_loop().remove_reader(ours)
