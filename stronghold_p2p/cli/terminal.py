"""The user as firewall: questions at the terminal, answered with one key within a time that is shown.

A shell lets one job at a time have the terminal. Whoever touches it from the background is stopped by the system
(SIGTTOU, SIGTTIN), so we look whether it is ours before we do, and look again when we are continued (SIGCONT).
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from stronghold_p2p.cli.output import compact, note, printable, prompt
from stronghold_p2p.firewall.rules import Attempt, Rule

try:
    import termios
    import tty
except ImportError:  # Windows
    INTERACTIVE = False
else:
    INTERACTIVE = True

ANSWERS: Final[dict[str, tuple[str, bool | Rule]]] = {
    "y": ("yes", True),
    "a": ("always", Rule.ALLOW),
    "n": ("no", False),
    "v": ("never", Rule.REJECT),
}
SHOWN: Final = 200  # characters of a request
PAUSE: Final = 0.5  # seconds from a question to its prompt: a key that was meant for the one before it counts for none


class Terminal:
    """Asks one question at a time on standard error; the others wait, and their time runs.

    A key counts while the prompt of a question stands there, which comes ``PAUSE`` seconds after the question.

    wanted: somebody is asked about something; if not, the terminal is left alone.
    ``there``: standard input is a terminal. ``here``: and it is ours now, so somebody can be asked.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        self.there = wanted and INTERACTIVE and sys.stdin is not None and sys.stdin.isatty()
        self._keyboard = sys.stdin.fileno() if self.there else -1
        self.here = self.there and _is_ours(self._keyboard)
        self._before: list[Any] | None = None  # how the terminal was
        self._one_at_a_time = asyncio.Lock()
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._questions = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Take keys as they are pressed; whatever happens, the terminal is left as it was."""
        if not self.there:
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCONT, self._look)
        self._look()
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCONT)
            loop.remove_reader(self._keyboard)
            prompt("")
            if self._before is not None and _is_ours(self._keyboard):
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)

    def _look(self) -> None:
        """Take the terminal if it is ours, as after ``fg``; leave it alone if it is not, as after ``bg``."""
        if not self.there:
            return
        loop = asyncio.get_running_loop()
        self.here = _is_ours(self._keyboard)
        if not self.here:
            loop.remove_reader(self._keyboard)
            return
        if self._before is None:
            self._before = termios.tcgetattr(self._keyboard)
        tty.setcbreak(self._keyboard)
        loop.add_reader(self._keyboard, self._read)

    def _read(self) -> None:
        if not _is_ours(self._keyboard):
            self._look()
            return
        try:
            pressed = os.read(self._keyboard, 1_024)
        except OSError:  # the terminal has gone
            pressed = b""
        if not pressed:
            self.there = self.here = False
            asyncio.get_running_loop().remove_reader(self._keyboard)
        for key in pressed.decode(errors="replace").lower() or "n":
            self._keys.put_nowait(key)

    async def ask(self, attempt: Attempt) -> bool | Rule:
        """The answer that is given at the terminal; no answer is a no."""
        self._questions += 1
        try:
            async with self._one_at_a_time:
                return await self._put(attempt) if self.here else False
        finally:
            self._questions -= 1

    async def _put(self, attempt: Attempt) -> bool | Rule:
        note(f"{attempt.peer} ({attempt.address}) asks {shown(attempt.view, attempt.protocol)}")
        try:
            await asyncio.sleep(min(PAUSE, attempt.deadline - asyncio.get_running_loop().time()))
            if not self.there:
                return False
            self._forget_keys()
            word, answer = ANSWERS[await self._key(attempt.deadline)]
        except asyncio.CancelledError:
            late = asyncio.get_running_loop().time() >= attempt.deadline
            prompt("")
            note("too late: refused" if late else "no answer is needed any more")
            raise
        prompt("", answered=word)
        return answer

    def _forget_keys(self) -> None:
        """Those that were pressed before the prompt was there, also where nobody has read them yet."""
        if self.here and _is_ours(self._keyboard):
            termios.tcflush(self._keyboard, termios.TCIFLUSH)
        while not self._keys.empty():
            self._keys.get_nowait()

    async def _key(self, deadline: float) -> str:
        loop = asyncio.get_running_loop()
        while True:
            left = max(deadline - loop.time(), 0.0)
            others = f", {self._questions - 1} more" if self._questions > 1 else ""
            if self.here:
                prompt(f"[y]es [a]lways [n]o ne[v]er ({left:.0f} s{others}) ")
            try:
                async with asyncio.timeout(left % 1 or 1):
                    key = await self._keys.get()
            except TimeoutError:
                continue
            if key in ANSWERS:
                return key


def _is_ours(keyboard: int) -> bool:
    """Whether we are the job that has the terminal; one that no shell controls is nobody else's."""
    try:
        return os.tcgetpgrp(keyboard) == os.getpgrp()
    except OSError:
        return True


def shown(view: Any, protocol: str) -> str:
    """One short line about what is asked for; no part of it can steer a terminal, and what was cut is said."""
    text = printable(protocol) if view is None else compact(view)
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}\N{HORIZONTAL ELLIPSIS} ({len(text) - SHOWN} characters more)"
