"""The rules file on the disk: read whole or not at all, replaced in one step, looked at again when it has changed.

The only module of this room that touches files.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from stronghold_p2p import files
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.files import Stamp
from stronghold_p2p.firewall import toml
from stronghold_p2p.firewall.entries import Content
from stronghold_p2p.firewall.rules import Predicate

MAX_FILE: Final = 1 << 19  # bytes; some 5,000 rules, which take half a second to read
REST: Final = 0.5  # seconds that a file has to stay as it is before it is read again: editors may write it in parts


class RulesFile:
    """One file, and the predicates that it may name. ``follow`` is called with what it says after a change.

    ``watch``: whether networks follow its changes. ``loads`` counts the changes that were read, also those that could
    not be used; ``error`` is why the last one could not, or None. ``latest`` is what was read or written last: several
    threads may do so.
    """

    def __init__(
        self, path: Path, predicates: Mapping[str, Predicate], follow: Callable[[Content], None], *, watch: bool
    ) -> None:
        self.path = path
        self.watch = watch
        self.loads = 0
        self.error: ConfigError | None = None
        self._predicates = dict(predicates)
        self._follow = follow
        self.latest = Content()
        self._stamp: Stamp | None = None
        self._reading = False
        self._seen: tuple[Stamp | None, float] | None = None  # how the last look found it, and since when

    def read(self, *, create: bool = False) -> Content:
        """The content; ``ConfigError`` tells why it cannot be used. ``create``: a file that is not there is empty."""
        try:
            data, self._stamp = files.read(self.path, MAX_FILE, "rules file")
        except FileNotFoundError:
            if create:
                return Content()
            raise self._missing() from None
        self.latest = self._understood(data)
        return self.latest

    def _missing(self) -> ConfigError:
        return ConfigError(f"{self.path} does not exist", where=str(self.path))

    def _understood(self, data: bytes) -> Content:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            where = f"{self.path}:{data[: error.start].count(10) + 1}"
            raise ConfigError(f"{where}: not UTF-8", where=where) from None
        return toml.loads(text, self._predicates, str(self.path))

    async def refresh(self, now: float) -> None:
        """Follow the file, if it has changed and been at rest for a while; ``now`` is in seconds on any clock.

        One that cannot be used changes nothing, and is tried again the next time. It is read in a thread, as a long one
        takes half a second; if somebody reads or writes it meanwhile, that is what counts.
        """
        stamp = files.stamp(self.path)
        if self._seen is None or stamp != self._seen[0]:
            self._seen = (stamp, now)
        if stamp == self._stamp or now - self._seen[1] < REST or self._reading:
            return
        before, self._reading = self._stamp, True
        try:
            stamp, content = await asyncio.to_thread(self._look)
        finally:
            self._reading = False
        if self._stamp != before:
            return
        self._stamp = stamp or before
        if isinstance(content, ConfigError):
            if self.error is None or str(content) != str(self.error):
                self.loads += 1
            self.error = content
            return
        self.loads += 1
        self.error = None
        self.latest = content
        self._follow(content)

    def _look(self) -> tuple[Stamp | None, Content | ConfigError]:
        """What the file says, or why it says nothing that can be used. Changes nothing here, so a thread may do it."""
        stamp: Stamp | None = None
        try:
            data, stamp = files.read(self.path, MAX_FILE, "rules file")
            return stamp, self._understood(data)
        except FileNotFoundError:
            return None, self._missing()
        except ConfigError as error:
            return stamp, ConfigError(str(error), where=error.where)  # without the frames, and the text in them

    def write(self, content: Content) -> None:
        """Write ``content``. ``ConfigError``: it has no text form, or cannot be written; the file is as it was."""
        self._stamp = write(self.path, toml.dumps(content, self._predicates))
        self.latest = content


def write(path: Path, text: str) -> Stamp:
    """Replace the file at ``path`` in one step, flushed to the disk; it keeps its mode, a new one has 0600.

    A symbolic link is followed. ``ConfigError``: it cannot be written, or is too long to be read again.
    """
    data = text.encode()
    if len(data) > MAX_FILE:
        message = f"{path}: {len(data)} bytes of rules, at most {MAX_FILE}: put peers together by subnet or protocol"
        raise ConfigError(message, where=str(path))
    return files.replace(path, data)
