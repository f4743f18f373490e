"""What this machine says of names: its nameservers, its search list, its hosts file. What changes is read anew."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from stronghold_p2p.resolving.dns import Server
from stronghold_p2p.resolving.hosts import addresses_in

CONFIGURATION: Final = Path("/etc/resolv.conf")  # on Windows dnspython takes this for the registry
HOSTS: Final = Path(r"C:\Windows\System32\drivers\etc\hosts" if sys.platform == "win32" else "/etc/hosts")
MOST_OF_HOSTS: Final = 16 << 20  # bytes that are read of it

_State: TypeAlias = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """servers: whom to ask, in this order. search, ndots: how short names are made longer. problem: why nobody."""

    servers: tuple[Server, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    problem: str = ""


class HostsFile:
    """The hosts file; one that is missing or cannot be read has no names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: _State = None
        self._text = b""

    def addresses(self, name: str) -> tuple[bytes, ...]:
        """Those of ``name``, in their 4 or 16 bytes."""
        state = state_of(self._path)
        if state != self._state:
            self._state, self._text = state, self._read()
        return addresses_in(self._text, name)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(MOST_OF_HOSTS).lower()
        except OSError:
            return b""


def state_of(path: Path) -> _State:
    """Another one after every change of the file; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
