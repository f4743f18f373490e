"""Checks that can be taken out of a program under test, each by its name: the negative controls of the rows.

Where a limit decides, the control raises the limit (``--limit``, ``--timeout``, ``--constant``). Everything else
stands here; tests/hostile/controls.py tells which row fails without which check.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from stronghold_p2p import Network, Timeouts, files, multistream
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.book.file import BookFile
from stronghold_p2p.connection.handlers import Handlers
from stronghold_p2p.encoding import protobuf, strict_json
from stronghold_p2p.errors import (
    ConfigError,
    ConnectionClosed,
    DecodeError,
    DecryptError,
    HandshakeError,
    Malformed,
    MuxerError,
)
from stronghold_p2p.exchange import Exchange
from stronghold_p2p.firewall import toml
from stronghold_p2p.firewall.asking.hooks import Hooks
from stronghold_p2p.firewall.entries import Entries, Key
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId, PublicKey, verify
from stronghold_p2p.identity.peer_record import PeerRecord
from stronghold_p2p.muxing.yamux_muxer import YamuxMuxer
from stronghold_p2p.noise import handshake, payload
from stronghold_p2p.noise.cipher import CipherState
from stronghold_p2p.protocols import identify_messages
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.request_response import framing
from stronghold_p2p.request_response.codecs.codec import frame, unframe
from stronghold_p2p.request_response.server import Responder
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.negotiation import LazyConfirm
from stronghold_p2p.swarm.gatekeeper import Gatekeeper
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.upgrade import Negotiated, UpgradeSettings
from stronghold_p2p.transport.upgrading import UpgradeRunner
from stronghold_p2p.yamux import Session
from stronghold_p2p.yamux.header import RST
from stronghold_p2p.yamux.receiver import Receiver
from stronghold_p2p.yamux.window import ReceiveWindow

Patch = tuple[object, str, Any]
"""Of this object or module, what has this name is replaced by this."""

_before: list[Patch] = []


def patch(*patches: Patch) -> None:
    for target, name, instead in patches:
        assert hasattr(target, name), f"{target} has no {name}"
        _before.append((target, name, getattr(target, name)))
        setattr(target, name, instead)


def restore() -> None:
    """Everything as it was."""
    while _before:
        setattr(*_before.pop())


def begin_counting_at(send: int, receive: int) -> None:
    """Noise's counters, once the handshake is over (hostile row 48)."""
    split = handshake.HandshakeState.Split

    def counted(self: handshake.HandshakeState) -> tuple[CipherState, CipherState]:
        sends, receives = split(self)
        sends.n, receives.n = send, receive
        return sends, receives

    patch((handshake.HandshakeState, "Split", counted))


def lenient(function: Callable[..., Any], *errors: type[Exception], instead: Callable[..., Any]) -> Callable[..., Any]:
    """The function; where it raises one of these, it returns what ``instead`` does."""

    @wraps(function)
    def forgiving(*given: Any, **options: Any) -> Any:
        try:
            return function(*given, **options)
        except errors:
            return instead(*given)

    return forgiving


def nothing(*_: object) -> None:
    """Instead of something."""


def any_line() -> Exchange[None]:
    yield from multistream._read_line()


def any_answer(_protocol: str) -> Exchange[bool]:
    yield from multistream._read_line()
    return True


def unconfirmed(self: LazyConfirm, piece: bytes | memoryview) -> None:
    self._stream.negotiated(self._protocol, piece)
    self._stream.end()


def without_noise(self: UpgradeSettings) -> Exchange[Negotiated]:
    yield from multistream.listen({self.securities[0].id, "/plaintext/2.0.0"}.__contains__)
    return (yield from self._muxer(False, (yield from self._handshake(self.securities[0], False, None))))


def forgives(kind: type[ConnectionClosed]) -> Patch:
    """An error of this kind does not end a connection."""
    failed = YamuxMuxer._failed

    def forgiving(self: YamuxMuxer, error: Exception) -> None:
        if not isinstance(error, kind):
            failed(self, error)

    return YamuxMuxer, "_failed", forgiving


def unlimited(self: ReceiveWindow, count: int) -> bool:
    self.credit -= count
    self.buffered += count
    self._budget.buffered += count
    return True


on_update = Receiver._on_window_update


def with_a_body(self: Receiver, flags: int, stream_id: int, length: int) -> None:
    on_update(self, flags, stream_id, length)
    if not flags & RST:
        self._body_left, self._body_stream, self._body_flags = length, None, 0


def nobody(*_: object) -> tuple[PeerId, PublicKey, tuple[str, ...]]:
    key = PublicKey.decode(bytes.fromhex("08011220") + bytes(32))
    return PeerId.from_public_key(key), key, ("/yamux/1.0.0",)


checked = payload.check


def slowly(path: Path, data: bytes) -> files.Stamp:
    """Write where the file is, to a disk that is not quick."""
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), 1_000):
            file.write(data[at : at + 1_000])
            time.sleep(0.001)
    return files.stamp_of(path.stat())


read_file = files.read


def any_record(sealed: bytes | None, _known: object) -> PeerRecord | None:
    return PeerRecord.open(sealed) if sealed else None


read_message = Identify._read


async def forgetful(self: Identify, stream: LiveStream) -> identify_messages.IdentifyMessage:
    self._pushes_being_read.discard(stream.connection)
    return await read_message(self, stream)


make = Network.__init__


@wraps(make)
def crossed(self: Network, *, timeouts: Timeouts | None = None, **others: Any) -> None:
    given = timeouts or Timeouts()
    make(self, timeouts=replace(given, ask=Timeouts().ask, idle=given.ask), **others)


async def untold(self: Responder[Any, Any], request: Any, stream: LiveStream) -> None:
    await stream.write(frame(self._protocol.response.encode(await self._handler(request))))


class Deaf:
    """A task that cannot be cancelled."""

    def __init__(self, task: Any) -> None:
        self.add_done_callback = task.add_done_callback

    def cancel(self) -> None:
        pass


start, admits, handler, loads = Hooks.start, Gatekeeper.admits, Swarm.handler, toml.loads


def nearly(protocol: str) -> str:
    return protocol.rstrip("/").lower()


CHECKS: Final[dict[str, tuple[str, *tuple[Patch, ...]]]] = {
    # transport
    "loss": ("that a socket which is gone gives its place back", (UpgradeRunner, "ended", nothing)),
    "fin": ("that the other side's FIN ends a connection", (SocketWire, "eof_received", lambda _: True)),
    "reachable": (
        "that a peer's addresses have to mean something from here",
        (identify_messages, "_reachable", lambda _address, _remote: True),
    ),
    # multistream-select
    "header": ("that a negotiation begins with the header", (multistream, "_read_header", any_line)),
    "line-length": (
        "that a message has at most 1,024 bytes: ten times as many",
        (multistream._read_line, "__defaults__", (10 * multistream.MAX_LINE,)),
    ),
    "echo": ("that the answer is the proposal, byte for byte", (multistream, "_read_answer", any_answer)),
    "lazy-answer": (
        "that nothing reaches the reader before the answer was confirmed",
        (LazyConfirm, "data", unconfirmed),
    ),
    "security": ("that there is no way around Noise", (UpgradeSettings, "inbound", without_noise)),
    "coalesced": (
        "that what came together with the end of the negotiation belongs to the next layer",
        (YamuxMuxer, "begin", nothing),
    ),
    # Yamux
    "invariants": ("that a broken invariant ends the connection", forgives(MuxerError)),
    "window": ("that a peer sends no more than it was allowed to", (ReceiveWindow, "received", unlimited)),
    "delta": (
        "that the Length of a window update announces no body",
        (Receiver, "_on_window_update", with_a_body),
    ),
    "pause": ("that nothing is read from a peer who does not take our answers", (Session, "overloaded", False)),
    "turns": (
        "that a writer who found the connection full is told when it is not any more",
        (Session, "wait_for_room", nothing),
    ),
    # Noise and the identity
    "tags": ("that a record which does not authenticate ends the connection", forgives(DecryptError)),
    "low-order": (
        "that a shared secret is not zero",
        (handshake, "DH", lenient(handshake.DH, HandshakeError, instead=lambda *_: bytes(handshake.DHLEN))),
    ),
    "proof": (
        "that a peer proves who it is",
        (payload, "check", lenient(checked, HandshakeError, instead=nobody)),
    ),
    "signature": ("that the identity key has signed the static key", (PublicKey, "verify", lambda *_: True)),
    "key-sizes": ("that RSA keys have 2,048 to 8,192 bits", (verify, "RSA_BITS", range(1, 1 << 20))),
    "expected": (
        "that it is the peer who was dialed",
        (payload, "check", lambda data, rs, _expected: checked(data, rs, None)),
    ),
    "inlined-keys": (
        "that a peer id which holds something holds a key",
        (PublicKey, "decode", staticmethod(lambda data: SimpleNamespace(encode=lambda: data))),
    ),
    # what is stored
    "in-use": ("that a peer in use is not forgotten", (AddressBook, "_is_held", lambda _self, _peer: False)),
    "damaged-books": (
        "that a damaged book is an error",
        (BookFile, "read", lenient(BookFile.read, ConfigError, instead=nothing)),
    ),
    "one-step": ("that a file is replaced in one step", (files, "replace", slowly)),
    "owner-only": (
        "that a key which others can read is refused",
        (files, "read", lambda *given, private=False: read_file(*given)),
    ),
    "end-line": (
        "that a rules file of ours ends with its last line",
        (toml, "loads", lambda text, *rest: loads(text.removeprefix(toml._BEGIN), *rest)),
    ),
    # identify
    "records": (
        "that a signed record is the peer's own, and newer",
        (identify_messages, "_record", lenient(any_record, DecodeError, instead=nothing)),
    ),
    "one-push": ("that one push of a connection is read at a time", (Identify, "_read", forgetful)),
    "decoding": (
        "that a message which is none is refused",
        (protobuf, "decode", lenient(protobuf.decode, DecodeError, instead=lambda kind, _data: kind())),
    ),
    # the application
    "options": (
        "that an option sets what it is called: the time for an answer of the application sets the one for idleness",
        (Network, "__init__", crossed),
    ),
    # requests
    "read-json": (
        "that a message is JSON as it has to be",
        (strict_json, "loads", lenient(strict_json.loads, Malformed, instead=nothing)),
    ),
    "answer-length": (
        "that an answer has at most ``max_response`` bytes: ten times as many",
        (framing, "unframe", lambda maximum: unframe(10 * maximum)),
    ),
    "endings": ("that a request which was let in is told to have failed, if it has", (Responder, "_answer", untold)),
    "requester": ("that a handler ends with its requester", (Handlers, "cancel_one", nothing)),
    # the firewall
    "foresight": (
        "that who could be let in by no rule is told so before anything is read",
        (Gatekeeper, "_match", lambda _self, _connection, _name, _direction: Rule.ALLOW),
    ),
    "strict-json": ("that JSON is read strictly, and not without bounds", (strict_json, "loads", json.loads)),
    "removal": (
        "that a rule which is removed is gone",
        (Entries, "drop", lambda self, key: isinstance(key, Key) and key in self.rules),
    ),
    "last-look": (
        "that the rules are looked at once more before an answer leaves",
        (Responder, "_still_allowed", lambda _self, _request: True),
    ),
    "withdrawal": (
        "that nobody is asked any more about what is over",
        (Hooks, "start", lambda self, hook, attempt: Deaf(start(self, hook, attempt))),
    ),
    "exact-ids": (
        "that a protocol id matches exactly",
        (Gatekeeper, "admits", lambda self, connection, protocol: admits(self, connection, nearly(protocol))),
        (Swarm, "handler", lambda self, protocol: handler(self, nearly(protocol))),
    ),
}
"""What is not checked, and what has to be replaced for that."""
