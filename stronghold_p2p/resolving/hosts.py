"""The hosts file: addresses that the owner of this machine has given to names (hosts(5))."""

import ipaddress
import re
from typing import Final

from stronghold_p2p.resolving.questions import normal

MOST: Final = 64  # addresses of one name that count


def addresses_in(text: bytes, name: str) -> tuple[bytes, ...]:
    """The IP addresses of ``name`` in a hosts file that was made lower-case, each once, in the order of the file.

    A line is an address, then its names; ``#`` begins a comment. Lines that are none are passed over, as everywhere.
    Some hosts files have 100,000 lines and more, to block names: so only lines that hold the name are taken apart.
    """
    found = dict[bytes, None]()
    if not (wanted := re.escape(normal(name).encode())):
        return ()
    # Two searches for fixed texts, as one for either blank takes twenty times as long.
    ends = (at.end() for blank in (b" ", b"\t") for at in re.finditer(blank + wanted + rb"\.?(?=[\s#]|\Z)", text))
    for end in sorted(ends):
        line = text[text.rfind(b"\n", 0, end) + 1 : end]
        words = line.split()
        packed = None if b"#" in line or len(words) < 2 else _packed(words[0])
        if packed is not None:
            found[packed] = None
        if len(found) == MOST:
            break
    return tuple(found)


def _packed(word: bytes) -> bytes | None:
    try:
        return ipaddress.ip_address(word.decode()).packed if b"%" not in word else None
    except ValueError:
        return None
