"""A store: records that two strongholds keep equal. Of two that differ, the later one counts.

A record is a value and when it was written; a deletion is a record without a value, or a peer that still has it would
bring it back. Later means a higher time, and of two equal ones the greater bytes, so that both sides choose the same.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time_ns

from examples.stronghold.reconcile import LONGEST_KEY, Records

LARGEST = 65_536  # bytes of a value
AHEAD = 300 * 10**9  # nanoseconds that a clock of somebody else may be ahead of ours


@dataclass(frozen=True, order=True)
class Entry:
    """``value`` None: it was deleted."""

    time: int
    value: str | None

    def digest(self, key: str) -> bytes:
        return sha256(json.dumps([key, self.time, self.value]).encode()).digest()


class Store:
    """Kept in ``file`` if there is one. ``clock`` tells nanoseconds."""

    def __init__(self, file: Path | None = None, clock: Callable[[], int] = time_ns) -> None:
        self._file = file
        self._clock = clock
        self.version = 0  # one more with each change
        self._entries: dict[str, Entry] = {}
        if file is not None and file.exists():
            told = json.loads(file.read_text(encoding="utf-8"))
            self._entries = {key: Entry(time, value) for key, (time, value) in told.items()}

    def read(self, key: str) -> str | None:
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def write(self, key: str, value: str | None) -> None:
        """``None`` deletes. ``ValueError``: the key or the value is too long, or the key is empty."""
        before = self._entries.get(key)
        now = max(self._clock(), 0 if before is None else before.time + 1)
        self.take({key: Entry(now, value)})

    def keys(self, visible: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Of records that there are, those that are ``visible``."""
        return sorted(key for key, entry in self._entries.items() if entry.value is not None and visible(key))

    def records(self, visible: Callable[[str], bool]) -> Records:
        """What is compared with another store: nothing but what the other side may see."""
        seen = {key: entry for key, entry in self._entries.items() if visible(key)}
        return Records({key.encode(): entry.digest(key) for key, entry in seen.items()})

    def give(self, keys: list[str]) -> dict[str, Entry]:
        return {key: self._entries[key] for key in keys if key in self._entries}

    def take(self, entries: dict[str, Entry]) -> int:
        """Keep those that are later than ours; how many. ``ValueError``: one cannot be, and nothing was kept."""
        latest = self._clock() + AHEAD
        for key, entry in entries.items():
            if not 0 < len(key.encode()) <= LONGEST_KEY or len((entry.value or "").encode()) > LARGEST:
                raise ValueError(f"a record {key[:40]!r} is too long, or has no key")
            if entry.time > latest:
                raise ValueError(f"the record {key[:40]!r} is of tomorrow: set the clock of who wrote it")
        news = {key: entry for key, entry in entries.items() if _later(entry, self._entries.get(key))}
        if news:
            self._entries.update(news)
            self.version += 1
            self._save()
        return len(news)

    def _save(self) -> None:
        if self._file is None:
            return
        told = {key: [entry.time, entry.value] for key, entry in self._entries.items()}
        with tempfile.NamedTemporaryFile("w", dir=self._file.parent, prefix=self._file.name, delete=False) as beside:
            json.dump(told, beside)
        os.replace(beside.name, self._file)


def _later(entry: Entry, before: Entry | None) -> bool:
    return before is None or (entry.time, entry.value or "") > (before.time, before.value or "")
