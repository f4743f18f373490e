"""An address book's file: read whole or not at all, replaced in one step, and only where an address book was."""

from __future__ import annotations

from pathlib import Path

from stronghold_p2p import files
from stronghold_p2p.book import json_form
from stronghold_p2p.book.json_form import Content
from stronghold_p2p.errors import ConfigError


class BookFile:
    """One file. ``saved`` is what it held when we last read or wrote it; ``autosave``: networks save changes."""

    def __init__(self, path: Path, *, autosave: bool = False) -> None:
        self.path = path
        self.autosave = autosave
        self.saved = Content()
        self._stamp: files.Stamp | None = None

    def read(self) -> Content | None:
        """What the file holds; None: there is no file. ``ConfigError``: it cannot be read or understood."""
        try:
            data, stamp = files.read(self.path, json_form.MAX_FILE, "address book")
        except FileNotFoundError:
            return None
        content = json_form.loads(data, str(self.path))
        self._stamp = stamp
        return content

    def write(self, content: Content) -> None:
        """Replace what the file holds. ``ConfigError``: it cannot be, or is no address book; it stays as it was."""
        data = json_form.dumps(content)
        if len(data) > json_form.MAX_FILE:
            what = f"{len(data)} bytes of addresses, at most {json_form.MAX_FILE}: remove some"
            raise ConfigError(f"{self.path}: {what}", where=str(self.path))
        self._check()
        self._stamp = files.replace(self.path, data)
        self.saved = content

    def _check(self) -> None:
        """``ConfigError`` if the file, changed by somebody else, is no address book: it may be worth more than ours."""
        if self._stamp is not None and files.stamp(self.path) == self._stamp:
            return
        try:
            self.read()
        except ConfigError as error:
            raise ConfigError(f"{error}; it is not overwritten: move it away", where=error.where) from None
