"""The user as firewall: questions at the terminal, answered with one key within a time that is shown."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from stronghold_p2p.cli.output import compact, printable
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
_CLEAR: Final = "\r\x1b[K"


class Terminal:
    """Asks one question at a time on standard error; the others wait, and their time runs.

    A key counts while the prompt of a question stands there, which comes ``PAUSE`` seconds after the question.

    ``here``: somebody can be asked, because standard input is a terminal.
    """

    def __init__(self) -> None:
        self.here = INTERACTIVE and sys.stdin is not None and sys.stdin.isatty()
        self._one_at_a_time = asyncio.Lock()
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._questions = 0
        self._prompt = ""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Take keys as they are pressed; whatever happens, the terminal is left as it was."""
        if not self.here:
            yield
            return
        loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
        self._keyboard = keyboard
        before = termios.tcgetattr(keyboard)
        tty.setcbreak(keyboard)
        loop.add_reader(keyboard, self._read, keyboard)
        try:
            yield
        finally:
            loop.remove_reader(keyboard)
            self.tell("")
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)

    def _read(self, keyboard: int) -> None:
        try:
            pressed = os.read(keyboard, 1_024)
        except OSError:  # the terminal has gone
            pressed = b""
        if not pressed:
            self.here = False
            asyncio.get_running_loop().remove_reader(keyboard)
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
        self.tell(f"{attempt.peer} ({attempt.address}) asks {shown(attempt.view, attempt.protocol)}")
        try:
            await asyncio.sleep(min(PAUSE, attempt.deadline - asyncio.get_running_loop().time()))
            if not self.here:
                return False
            self._forget_keys()
            word, answer = ANSWERS[await self._key(attempt.deadline)]
        except asyncio.CancelledError:
            self._prompt = ""
            late = asyncio.get_running_loop().time() >= attempt.deadline
            self._say(f"{_CLEAR}{'too late: refused' if late else 'no answer is needed any more'}\n")
            raise
        self._say(f"{word}\n")
        self._prompt = ""
        return answer

    def _forget_keys(self) -> None:
        """Those that were pressed before the prompt was there, also where nobody has read them yet."""
        termios.tcflush(self._keyboard, termios.TCIFLUSH)
        while not self._keys.empty():
            self._keys.get_nowait()

    async def _key(self, deadline: float) -> str:
        loop = asyncio.get_running_loop()
        while True:
            left = max(deadline - loop.time(), 0.0)
            others = f", {self._questions - 1} more" if self._questions > 1 else ""
            self._prompt = f"[y]es [a]lways [n]o ne[v]er ({left:.0f} s{others}) "
            self._say(f"{_CLEAR}{self._prompt}")
            try:
                async with asyncio.timeout(left % 1 or 1):
                    key = await self._keys.get()
            except TimeoutError:
                continue
            if key in ANSWERS:
                return key

    def tell(self, line: str, *, answer: bool = False) -> None:
        """A line beside a question that may stand there; ``answer``: to standard output."""
        if self._prompt:
            self._say(_CLEAR)
        if line:
            print(line, file=sys.stdout if answer else sys.stderr, flush=True)
        if self._prompt:
            self._say(self._prompt)

    def _say(self, text: str) -> None:
        print(text, end="", file=sys.stderr, flush=True)


def shown(view: Any, protocol: str) -> str:
    """One short line about what is asked for; no part of it can steer a terminal, and what was cut is said."""
    text = printable(protocol) if view is None else compact(view)
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}\N{HORIZONTAL ELLIPSIS} ({len(text) - SHOWN} characters more)"
