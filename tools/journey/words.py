"""What the document says in sentences. What it says in numbers and names comes from the recording and the code."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Final

from stronghold_p2p import multistream
from stronghold_p2p.yamux.header import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE
from tools.journey.pieces import Layer
from tools.journey.wire import Side


class Type(IntEnum):
    """Names of frames."""

    DATA = DATA
    WINDOW_UPDATE = WINDOW_UPDATE
    PING = PING
    GO_AWAY = GO_AWAY


class Flag(IntFlag):
    """Names of the bits of the Flags field."""

    SYN = SYN
    ACK = ACK
    FIN = FIN
    RST = RST


INTRO: Final = """\
# One connection, byte by byte

One peer asks another a question and gets an answer. This page shows everything that they say to each other for it:
{total} bytes in {count} segments, from the first byte of the dialer to the goodbye. Each byte has a name here, the
layer that it belongs to, and the place where that is specified.

No byte and no number on this page is written by hand. `python -m tools.journey` lets two real peers talk over a wire
in memory that writes down what passes, and names the bytes by the tables that the code itself uses; it prints this
page. `tests/test_journey.py` fails when the page is another one, and when a byte has no name or two.

The layers, from the outside in:

1. **TCP** carries bytes in order (RFC 9293). The operating system speaks it, so it is not shown.
2. **multistream-select** agrees on what is spoken next. Its messages are lines of text with a length in front.
3. **Noise** (`{noise}`) makes the connection secret and proves to each side who the other
   one is.
4. **Yamux** (`{yamux}`) makes of the one connection any number of streams. Each request has one of its own.
5. **`{protocol}`** is what runs on the stream: one question and one answer, JSON with a length in front.

## Who talks

Whatever is random elsewhere is fixed here, so that the page is the same each time: each private key is one byte,
32 times. Keys that are printed are no secret; never use these.
"""

TIME: Final = """\
## What waits for what

A round trip (RTT) is the time from sending something to having the answer. The question costs {answered:g} of them,
counted from the dialer's first TCP packet: one for TCP, one for Noise, one for question and answer. Nothing else
costs time: multistream-select travels with what it announces, Yamux is chosen inside the Noise handshake, and a
stream is opened by its first data. A second question on the same connection costs one round trip.

A segment is what was written at once. TCP may cut and join segments as it likes, so a receiver must not rely on
where they end. Here nothing but the wire takes time: each segment leaves as soon as what it waits for has arrived.
"""

BYTES: Final = """\
## How to read the tables

Offsets and bytes are hexadecimal, all other numbers decimal. Offsets count from the start of the segment. Encrypted
bytes stand there twice: first as they are on the wire, then as what is inside, with offsets `↳` that count from the
start of the plaintext. Both have the same length; the tag follows by itself. `‖` joins bytes.

The second kind of table follows the handshake's secrets, which both sides compute alike without ever sending them:
`h` is the hash of all that was said so far, `ck` the chaining key in which all shared secrets so far are mixed, `k`
the key of the encryption. Under each `k` a number `n` counts the messages from 0; as the nonce of ChaChaPoly it is
four zero bytes and then `n` in eight, little-endian (Noise, 12.3).
"""

COST: Final = """\
## What each layer costs

Every byte of the wire, counted once, by its innermost name. {handshake} of them come before the first record: they
are paid once for each connection, whatever is asked on it.
"""

COSTS: Final[Mapping[Layer, str]] = {
    Layer.MULTISTREAM: "agreeing on Noise",
    Layer.FRAMING: "two bytes of length before each Noise message",
    Layer.KEYS: "an ephemeral and a static key of each side",
    Layer.PAYLOAD: "identity key, signature and muxer of each side",
    Layer.TAG: "nobody can change, drop, repeat or reorder a byte unnoticed",
    Layer.YAMUX: "headers: any number of streams, each with flow control",
    Layer.STREAM: "agreeing on what the stream speaks",
    Layer.MESSAGE: "what the two applications say, with a length in front",
}

_REFUSAL: Final = multistream.NA[1:-1].decode()

NEGOTIATIONS: Final[Mapping[Side, str]] = {
    Side.DIALER: (
        "The dialer waits for nothing but the TCP connection. It names the negotiation protocol, and then the protocol "
        "that it wants to speak next. Both fit into one flight."
    ),
    Side.LISTENER: (
        "The listener waits for the proposal. To agree, it names the negotiation protocol too, and repeats the "
        f"proposal; `{_REFUSAL}` in its place would refuse."
    ),
}

MESSAGES: Final = (
    (
        "The dialer opens with a key that it made for this connection only. It needs no answer for that, so it does "
        "not wait for the listener to agree on Noise first. The message is not encrypted, as there is no common secret "
        "yet; its payload has to be empty."
    ),
    (
        "The listener needs the dialer's `e` before it can say anything secret. From here on both have a common key, "
        "and everything is encrypted. The listener tells who it is: the payload holds its identity key, and a "
        "signature that ties this key to the Noise key `s`. Only the owner of the identity can have made it."
    ),
    (
        "The dialer waits for message 2 and judges it before it answers: does the signature verify, and is this the "
        "peer that was to be reached? A wrong one never learns who called. Now the dialer tells who it is, in the same "
        "way. Both have listed the muxers that they speak: the first of the dialer's that the listener has too is "
        "spoken from here on, without another word about it."
    ),
)
"""One for each row of the pattern."""

FRAMES: Final[Mapping[tuple[Type, Flag], tuple[str, str]]] = {
    (Type.DATA, Flag.SYN): (
        "stream opened, request",
        (
            "For the dialer the handshake ends with its last message, so it need not wait for anything: the request "
            "leaves right behind it. One frame opens a stream, proposes the protocol for it and carries the request. "
            "If the listener refuses, the dialer learns it in place of the answer: the connection ends when it refuses "
            f"the peer, `{_REFUSAL}` comes for the protocol, and the stream ends without a byte for the request."
        ),
    ),
    (Type.DATA, Flag.ACK): (
        "stream accepted, answer",
        (
            "The listener has waited for the dialer's identity, and then for the request; its firewall has let both "
            "pass, and its application has answered. One frame accepts the stream, agrees on the protocol and carries "
            "the answer."
        ),
    ),
    (Type.DATA, Flag.FIN): (
        "end of this direction",
        (
            "FIN says that the sender has no more to say on this stream. Who answers sends it behind the answer, who "
            "asks once it has the answer; with both, the stream is gone."
        ),
    ),
    (Type.GO_AWAY, Flag(0)): (
        "goodbye",
        (
            "Go Away ends the session, and the sender's side of the TCP connection is closed behind it. The other side "
            "does the same, so that each can tell an end from a connection that broke."
        ),
    ),
}
"""Title and text of the frames that can occur."""
