"""Two sides of Noise with fixed keys, joined by nothing but bytes; and one side that says what we tell it to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.noise.libp2p import Handshaken, secure
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.noise.records import Opener, Sealer, Workspace
from stronghold_p2p.seams import Buffer, SecureChannel

YAMUX = "/yamux/1.0.0"
KEY = bytes(range(32))


def randomness(seed: int) -> Callable[[int], bytes]:
    """A source that gives the same bytes in each run."""
    return lambda size: bytes([seed]) * size


@cache
def keys(seed: int) -> StaticKeys:
    """The static keys of a peer; 1 is ours by custom, 2 the other side's."""
    return StaticKeys.create(identity(seed), bytes([seed + 100]) * 32)


@cache
def identity(seed: int) -> Identity:
    """The identity that ``keys(seed)`` belongs to."""
    return Identity.from_seed(bytes([seed]) * 32)


def side(
    *, initiator: bool, seed: int, expected: PeerId | None = None, muxers: tuple[str, ...] = (YAMUX,)
) -> Exchange[Handshaken]:
    """An honest side; the ephemeral key follows from role and seed."""
    random = randomness(seed + (50 if initiator else 60))
    return secure(initiator=initiator, local=keys(seed), expected=expected, muxers=muxers, random=random)


def framed(message: bytes) -> bytes:
    """A handshake message on the wire."""
    return len(message).to_bytes(2, "big") + message


def talk(one: Exchange[Any], two: Exchange[Any]) -> tuple[ExchangeRunner[Any], ExchangeRunner[Any]]:
    """Pass on what each says until neither has anything to say; whoever fails raises."""
    runners = ExchangeRunner(one), ExchangeRunner(two)
    waiting = [runners[0].start(), runners[1].start()]
    while any(waiting):
        for this in (0, 1):
            said, waiting[this] = waiting[this], b""
            if said:
                waiting[1 - this] += runners[1 - this].feed(said)
    return runners


def handshake(**options: Any) -> tuple[Handshaken, Handshaken]:
    """Both results of a handshake that works: the initiator's (keys 1) and the responder's (keys 2)."""
    ours, theirs = talk(
        side(initiator=True, seed=1, **options.get("initiator", {})),
        side(initiator=False, seed=2, **options.get("responder", {})),
    )
    return ours.result, theirs.result


def transcript() -> tuple[bytes, bytes, bytes]:
    """The three framed messages of the handshake between keys 1 and 2."""
    initiator = ExchangeRunner(side(initiator=True, seed=1))
    responder = ExchangeRunner(side(initiator=False, seed=2))
    first = initiator.start()
    responder.start()
    second = responder.feed(first)
    return first, second, initiator.feed(second)


def feed_all(runner: ExchangeRunner[Any], pieces: Iterable[bytes]) -> bytes:
    """Everything that is said in answer to the pieces."""
    return b"".join([runner.feed(piece) for piece in pieces])


SPACE = Workspace()


def opened(opener: Opener | SecureChannel, wire: bytes | bytearray | memoryview) -> tuple[list[bytes], int]:
    """The plaintexts of the records at the front of ``wire``, and how many bytes those took; the workspace is wiped."""
    plaintexts: list[bytes] = []

    def deliver(plaintext: bytes | memoryview) -> None:
        plaintexts.append(bytes(plaintext))
        SPACE.opened[:] = bytes(len(SPACE.opened))

    used = opener.open(memoryview(wire), deliver)
    return plaintexts, used


def sealed(sealer: Sealer | SecureChannel, *pieces: Buffer) -> bytes:
    """The records of ``pieces``, which are one plaintext."""
    wire = bytearray()
    sealer.seal(pieces, sum(map(len, pieces)), wire.extend)
    return bytes(wire)
