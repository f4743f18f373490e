"""What the arguments of the command line are read as; each error shows the argument and what would be one."""

import argparse
import sys
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of, through_relay
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.encoding import strict_json
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import PeerId

MOST: Final = 1 << 40
LONGEST: Final = 1 << 28  # bytes of a message from standard input or a file: more than any protocol takes
SHOWN: Final = 80  # characters of an argument
ADDRESS: Final = "an address looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…"
PEER: Final = "a peer id looks like 12D3KooW… and has 52 characters; key FILE, identify ADDR and listen show one"


def _wrong(text: str, told: object) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text[:SHOWN]!r}: {told}")


def listening(text: str) -> Multiaddr:
    """An address to listen on."""
    try:
        return parse(text)
    except DecodeError as error:
        if not text.startswith("/"):
            raise _wrong(text, "no address: one to listen on looks like /ip4/0.0.0.0/tcp/4001") from None
        raise _wrong(text, error) from None


def address(text: str) -> Multiaddr:
    """An address to connect to."""
    if not text.startswith("/"):
        raise _wrong(text, f"no address: {ADDRESS}")
    try:
        found = parse(text)
    except DecodeError as error:
        told = f"{error}; {PEER}" if "/p2p/" in text or "/ipfs/" in text else error
        raise _wrong(text, told) from None
    if not bytes(split_peer(found)[0]):
        raise _wrong(text, f"only a peer id: say where the peer is, too; {ADDRESS}")
    return found


def relay(text: str) -> Multiaddr:
    """Where to listen through a relay, from the relay's own address."""
    found = address(text)
    if relays_of(found):
        raise _wrong(text, "that leads through a relay already: name the relay itself")
    place, named = split_peer(found)
    if named is None:
        raise _wrong(text, f"the relay has to be named; {ADDRESS}")
    return through_relay(place, named)


def peer(text: str) -> PeerId:
    """A peer id."""
    try:
        return PeerId(text)
    except DecodeError:
        raise _wrong(text, f"no peer id: {PEER}") from None


def message(text: str) -> Any:
    """JSON: the argument itself, the file behind ``@``, or standard input for ``-``."""
    try:
        if text == "-":
            data = b"" if sys.stdin is None else sys.stdin.buffer.read(LONGEST + 1)
        elif text.startswith("@"):
            with open(text[1:], "rb") as file:
                data = file.read(LONGEST + 1)
        else:
            data = text.encode()
    except (OSError, UnicodeError) as error:
        raise _wrong(text, getattr(error, "strerror", None) or error) from None
    try:
        if len(data) > LONGEST:
            raise DecodeError(f"more than {LONGEST} bytes")
        return strict_json.loads(data)
    except (DecodeError, UnicodeError) as error:
        advice = "a text needs quotes of its own: '\"Ping\"'"
        if text.startswith("/"):
            advice = "options stand before the addresses, or behind the JSON"
        raise _wrong(text, f"{error}; {advice}") from None


def seconds(text: str) -> float:
    """More than none."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise _wrong(text, "take more than 0 seconds, as a number")
    return value


def count(text: str) -> int:
    """A whole number."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= MOST:
        raise _wrong(text, f"take a whole number from 1 to {MOST}")
    return value
