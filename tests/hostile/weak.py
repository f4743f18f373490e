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
from typing import Any

from stronghold_p2p import (
    Network,
    Timeouts,
    files,
    multistream,
)
from stronghold_p2p.book.file import BookFile
from stronghold_p2p.book.json_form import Content
from stronghold_p2p.book.store import Store
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
from stronghold_p2p.firewall.asking.hooks import Hook, Hooks
from stronghold_p2p.firewall.entries import Entries, Key
from stronghold_p2p.firewall.rules import Attempt, Rule
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

CHECKS: dict[str, Callable[[], None]] = {}


def check(take_out: Callable[[], None]) -> Callable[[], None]:
    """``bad_header`` is ``--without bad-header``."""
    CHECKS[take_out.__name__.replace("_", "-")] = take_out
    return take_out


_before: list[tuple[object, str, Any]] = []


def patch(target: object, name: str, instead: Any) -> None:
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

    patch(handshake.HandshakeState, "Split", counted)


# ---------------------------------------------------------------------- transport


@check
def loss() -> None:
    """That a socket which is gone gives its place back."""
    patch(UpgradeRunner, "ended", lambda _self, _error: None)


@check
def fin() -> None:
    """That the other side's FIN ends a connection."""
    patch(SocketWire, "eof_received", lambda _: True)


@check
def reachable() -> None:
    """That a peer's addresses have to mean something from here."""
    patch(identify_messages, "_reachable", lambda _address, _remote: True)


# ---------------------------------------------------------------------- multistream


@check
def header() -> None:
    """That a negotiation begins with the header."""

    def any_line() -> Exchange[None]:
        yield from multistream._read_line()

    patch(multistream, "_read_header", any_line)


@check
def line_length() -> None:
    """That a message has at most 1,024 bytes: ten times as many."""
    patch(multistream._read_line, "__defaults__", (10 * multistream.MAX_LINE,))


@check
def echo() -> None:
    """That the answer is the proposal, byte for byte."""

    def any_answer(_protocol: str) -> Exchange[bool]:
        yield from multistream._read_line()
        return True

    patch(multistream, "_read_answer", any_answer)


@check
def lazy_answer() -> None:
    """That nothing reaches the reader before the answer was confirmed."""

    def take(self: LazyConfirm, piece: bytes | memoryview) -> None:
        self._stream.negotiated(self._protocol, piece)
        self._stream.end()

    patch(LazyConfirm, "data", take)


@check
def security() -> None:
    """That there is no way around Noise."""

    def inbound(self: UpgradeSettings) -> Exchange[Negotiated]:
        yield from multistream.listen({self.securities[0].id, "/plaintext/2.0.0"}.__contains__)
        return (yield from self._muxer(False, (yield from self._handshake(self.securities[0], False, None))))

    patch(UpgradeSettings, "inbound", inbound)


@check
def coalesced() -> None:
    """That what came together with the end of the negotiation belongs to the next layer."""
    patch(YamuxMuxer, "begin", lambda _self: None)


# ---------------------------------------------------------------------- yamux


def forgive(kind: type[ConnectionClosed]) -> None:
    failed = YamuxMuxer._failed

    def forgiving(self: YamuxMuxer, error: Exception) -> None:
        if not isinstance(error, kind):
            failed(self, error)

    patch(YamuxMuxer, "_failed", forgiving)


@check
def invariants() -> None:
    """That a broken invariant ends the connection."""
    forgive(MuxerError)


@check
def window() -> None:
    """That a peer sends no more than it was allowed to."""

    def received(self: ReceiveWindow, count: int) -> bool:
        self.credit -= count
        self.buffered += count
        self._budget.buffered += count
        return True

    patch(ReceiveWindow, "received", received)


@check
def delta() -> None:
    """That the Length of a window update announces no body."""
    on_update = Receiver._on_window_update

    def misread(self: Receiver, flags: int, stream_id: int, length: int) -> None:
        on_update(self, flags, stream_id, length)
        if not flags & RST:
            self._body_left, self._body_stream, self._body_flags = length, None, 0

    patch(Receiver, "_on_window_update", misread)


@check
def pause() -> None:
    """That nothing is read from a peer who does not take our answers."""
    patch(Session, "overloaded", False)


@check
def turns() -> None:
    """That a writer who found the connection full is told when it is not any more."""
    patch(Session, "wait_for_room", lambda _self, _stream, again: None)


# ---------------------------------------------------------------------- Noise and identity


@check
def tags() -> None:
    """That a record which does not authenticate ends the connection."""
    forgive(DecryptError)


@check
def low_order() -> None:
    """That a shared secret is not zero."""
    exchanged = handshake.DH

    def exchange(pair: handshake.KeyPair, public: bytes) -> bytes:
        try:
            return exchanged(pair, public)
        except HandshakeError:
            return bytes(handshake.DHLEN)

    patch(handshake, "DH", exchange)


@check
def proof() -> None:
    """That a peer proves who it is."""
    checked = payload.check

    def believe(data: bytes, rs: bytes, expected: PeerId | None) -> tuple[PeerId, PublicKey, tuple[str, ...]]:
        try:
            return checked(data, rs, expected)
        except HandshakeError:
            nobody = PublicKey.decode(bytes.fromhex("08011220") + bytes(32))
            return PeerId.from_public_key(nobody), nobody, ("/yamux/1.0.0",)

    patch(payload, "check", believe)


@check
def signature() -> None:
    """That the identity key has signed the static key."""
    patch(PublicKey, "verify", lambda _self, _message, _signature: True)


@check
def key_sizes() -> None:
    """That RSA keys have 2,048 to 8,192 bits."""
    patch(verify, "RSA_BITS", range(1, 1 << 20))


@check
def expected() -> None:
    """That it is the peer who was dialed."""
    checked = payload.check
    patch(payload, "check", lambda data, rs, _expected: checked(data, rs, None))


@check
def inlined_keys() -> None:
    """That a peer id which holds something holds a key."""
    patch(PublicKey, "decode", staticmethod(lambda data: SimpleNamespace(encode=lambda: data)))


# ---------------------------------------------------------------------- what is stored


@check
def in_use() -> None:
    """That a peer in use is not forgotten."""
    patch(Store, "_is_held", lambda _self, _peer: False)


@check
def damaged_books() -> None:
    """That a damaged book is an error."""
    read = BookFile.read

    def forgiving(self: BookFile) -> Content | None:
        try:
            return read(self)
        except ConfigError:
            return None

    patch(BookFile, "read", forgiving)


@check
def one_step() -> None:
    """That a file is replaced in one step."""

    def write(path: Path, data: bytes) -> files.Stamp:
        with path.open("wb", buffering=0) as file:
            for at in range(0, len(data), 1_000):
                file.write(data[at : at + 1_000])
                time.sleep(0.001)  # a disk that is not quick
        return files.stamp_of(path.stat())

    patch(files, "replace", write)


@check
def owner_only() -> None:
    """That a key which others can read is refused."""
    read = files.read
    patch(files, "read", lambda *given, private=False: read(*given))


# ---------------------------------------------------------------------- identify


@check
def records() -> None:
    """That a signed record is the peer's own, and newer."""

    def opened(sealed: bytes | None, _known: object) -> PeerRecord | None:
        try:
            return PeerRecord.open(sealed) if sealed else None
        except DecodeError:
            return None

    patch(identify_messages, "_record", opened)


@check
def one_push() -> None:
    """That one push of a connection is read at a time."""
    read = Identify._read

    async def forgetful(self: Identify, stream: LiveStream) -> identify_messages.IdentifyMessage:
        self._pushes_being_read.discard(stream.connection)
        return await read(self, stream)

    patch(Identify, "_read", forgetful)


@check
def decoding() -> None:
    """That a message which is none is refused."""
    decode = protobuf.decode

    def lenient(kind: Any, data: bytes, **options: Any) -> Any:
        try:
            return decode(kind, data, **options)
        except DecodeError:
            return kind()

    patch(protobuf, "decode", lenient)


# ---------------------------------------------------------------------- the application


@check
def options() -> None:
    """That an option sets what it is called: the time for an answer of the application sets the one for idleness."""
    make = Network.__init__

    @wraps(make)
    def crossed(self: Network, *, timeouts: Timeouts | None = None, **others: Any) -> None:
        given = timeouts or Timeouts()
        make(self, timeouts=replace(given, ask=Timeouts().ask, idle=given.ask), **others)

    patch(Network, "__init__", crossed)


# ---------------------------------------------------------------------- requests


@check
def read_json() -> None:
    """That a message is JSON as it has to be."""
    loads = strict_json.loads

    def lenient(body: bytes) -> Any:
        try:
            return loads(body)
        except Malformed:
            return None

    patch(strict_json, "loads", lenient)


@check
def answer_length() -> None:
    """That an answer has at most ``max_response`` bytes: ten times as many."""
    patch(framing, "unframe", lambda maximum: unframe(10 * maximum))


@check
def endings() -> None:
    """That a request which was let in is told to have failed, if it has."""

    async def answer(self: Responder[Any, Any], request: Any, stream: LiveStream) -> None:
        body = self._protocol.response.encode(await self._handler(request))
        await stream.write(frame(body))

    patch(Responder, "_answer", answer)


@check
def requester() -> None:
    """That a handler ends with its requester."""
    patch(Handlers, "cancel_one", lambda _self, _stream, _reason: None)


# ---------------------------------------------------------------------- firewall


@check
def foresight() -> None:
    """That who could be let in by no rule is told so before anything is read."""
    patch(Gatekeeper, "_match", lambda _self, _connection, _name, _direction: Rule.ALLOW)


@check
def strict_json_() -> None:
    """That JSON is read strictly, and not without bounds."""
    patch(strict_json, "loads", json.loads)


CHECKS["strict-json"] = CHECKS.pop("strict-json-")


@check
def removal() -> None:
    """That a rule which is removed is gone."""
    patch(Entries, "drop", lambda self, key: isinstance(key, Key) and key in self.rules)


@check
def last_look() -> None:
    """That the rules are looked at once more before an answer leaves."""
    patch(Responder, "_still_allowed", lambda _self, _request: True)


class _Deaf:
    """A task that cannot be cancelled."""

    def __init__(self, task: Any) -> None:
        self.add_done_callback = task.add_done_callback

    def cancel(self) -> None:
        pass


@check
def withdrawal() -> None:
    """That nobody is asked any more about what is over."""
    start = Hooks.start

    def deaf(self: Hooks, hook: Hook, attempt: Attempt) -> _Deaf:
        return _Deaf(start(self, hook, attempt))

    patch(Hooks, "start", deaf)


@check
def exact_ids() -> None:
    """That a protocol id matches exactly."""
    admits, handler = Gatekeeper.admits, Swarm.handler

    def nearly(protocol: str) -> str:
        return protocol.rstrip("/").lower()

    patch(Gatekeeper, "admits", lambda self, connection, protocol: admits(self, connection, nearly(protocol)))
    patch(Swarm, "handler", lambda self, protocol: handler(self, nearly(protocol)))


@check
def end_line() -> None:
    """That a rules file of ours ends with its last line."""
    loads = toml.loads
    patch(toml, "loads", lambda text, *rest: loads(text.removeprefix(toml._BEGIN), *rest))
