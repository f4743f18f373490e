"""The Noise handshake as libp2p frames it: three messages in, a proven peer and two ciphers out.

noise/README.md, Wire Format and The libp2p Handshake Payload. Nothing of a peer is passed on before its
identity is proven, and after any failure nothing more is sent: the format knows no error message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stronghold_p2p.errors import HandshakeError
from stronghold_p2p.exchange import Exchange
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.identity.public_key import PublicKey
from stronghold_p2p.noise import payload
from stronghold_p2p.noise.cipher import TAGLEN, CipherState
from stronghold_p2p.noise.handshake import DHLEN, HandshakeState
from stronghold_p2p.noise.payload import MAX_PAYLOAD, StaticKeys

# What a message can measure at all, so that its length is judged before any of it is read. Message 1 is the
# bare ephemeral key: its payload is sent in the clear and has to be empty, as rust demands.
_STATIC: Final = DHLEN + TAGLEN
_MESSAGE_1: Final = range(DHLEN, DHLEN + 1)
_MESSAGE_2: Final = range(DHLEN + _STATIC + TAGLEN, DHLEN + _STATIC + MAX_PAYLOAD + TAGLEN + 1)
_MESSAGE_3: Final = range(_STATIC + TAGLEN, _STATIC + MAX_PAYLOAD + TAGLEN + 1)


@dataclass(frozen=True, slots=True)
class Handshaken:
    """A finished handshake; ``early_muxer`` is what both sides now run without a word, None: they have to negotiate."""

    peer: PeerId
    public_key: PublicKey
    send: CipherState
    receive: CipherState
    early_muxer: str | None


def secure(
    *,
    initiator: bool,
    local: StaticKeys,
    expected: PeerId | None,
    muxers: tuple[str, ...],
    random: Callable[[int], bytes],
) -> Exchange[Handshaken]:
    """Run the handshake in either role.

    ``expected``: the only peer to accept, in both roles; ``None`` accepts whoever proves an identity.
    ``muxers``: ours, best first and at most 100 (a peer ignores more), for the early choice; none leaves the extension
    out. ``random(n)``: n random bytes for the ephemeral key. ``PeerIdMismatch`` or ``HandshakeError``; the connection
    is then to be closed. An initiator learns only from the next read whether the responder accepted it.
    """
    state = HandshakeState(initiator=initiator, s=local.pair, random=random)
    ours = payload.make(local, muxers)
    if initiator:
        yield _frame(state.WriteMessage(b""))
        received = state.ReadMessage((yield from _read(_MESSAGE_2)))
        # The responder is judged first: message 3 would tell a wrong one who we are.
        peer, public_key, theirs = payload.check(received, state.rs, expected)
        yield _frame(state.WriteMessage(ours))
        early = choose_muxer(muxers, theirs)
    else:
        state.ReadMessage((yield from _read(_MESSAGE_1)))
        yield _frame(state.WriteMessage(ours))
        received = state.ReadMessage((yield from _read(_MESSAGE_3)))
        peer, public_key, theirs = payload.check(received, state.rs, expected)
        early = choose_muxer(theirs, muxers)
    send, receive = state.Split()
    return Handshaken(peer, public_key, send, receive, early)


def choose_muxer(initiators: tuple[str, ...], responders: tuple[str, ...]) -> str | None:
    """The first of the initiator's list that the responder has too; ``None`` when there is none.

    connections/inlined-muxer-negotiation.md, Multiplexer Negotiation over Noise. It wants the handshake to
    fail without overlap; go falls back to multistream, and so do we: a peer may speak what it did not list.
    """
    return next((muxer for muxer in initiators if muxer in responders), None)


def _frame(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def _read(sizes: range) -> Exchange[bytes]:
    """One message, refused by its length before it is read when no valid one can have it."""
    size = int.from_bytes((yield 2), "big")
    if size not in sizes:
        raise HandshakeError(f"a Noise handshake message of {size} bytes, {sizes[0]} to {sizes[-1]} expected")
    return (yield size)
