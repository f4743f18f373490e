"""An address book's file: read whole or not at all, replaced in one step, and only where an address book was."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stronghold_p2p import files
from stronghold_p2p.book import book_json
from stronghold_p2p.book.book_json import Content
from stronghold_p2p.errors import ConfigError


class BookFile:
    """``saved`` is what the file said when we last read or wrote it; ``autosave`` whether networks save changes."""

    def __init__(self, path: Path, *, autosave: bool = False) -> None:
        self.path = path
        self.autosave = autosave
        self.saved = Content()
        self._stamp: files.Stamp | None = None

    def read(self) -> Content | None:
        """What it says; None: there is no file. ``ConfigError``: it cannot be read or understood."""
        where = str(self.path)
        try:
            data, stamp = files.read(self.path, book_json.MAX_FILE, "address book", partial(ConfigError, where=where))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}", where=where) from error
        content = book_json.loads(data, where)
        self._stamp = stamp
        return content

    def write(self, content: Content) -> None:
        """Make it say this. ``ConfigError``: it cannot be written, or holds something else; then it is as it was."""
        data = book_json.dumps(content)
        if len(data) > book_json.MAX_FILE:
            what = f"{len(data)} bytes of addresses, at most {book_json.MAX_FILE}: remove some"
            raise ConfigError(f"{self.path}: {what}", where=str(self.path))
        self._check()
        try:
            self._stamp = files.replace(self.path, data)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}", where=str(self.path)) from error
        self.saved = content

    def _check(self) -> None:
        """What we have not read or written ourselves may be worth more than what we have."""
        if self._stamp is not None and files.stamp(self.path) == self._stamp:
            return
        try:
            self.read()
        except ConfigError as error:
            raise ConfigError(f"{error}; it is not overwritten: move it away", where=error.where) from None
