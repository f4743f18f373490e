"""Checks that can be taken out of a program under test, each by its name: the negative controls of the rows.

Where a limit decides, the control raises the limit (``--limit``, ``--timeout``, ``--constant``). Everything else
stands here; tests/hostile/controls.py tells which row fails without which check.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any, Final

from stronghold_p2p import Rule, Timeouts, files, multistream
from stronghold_p2p.errors import ConfigError, DecodeError, DecryptError, HandshakeError, Malformed, MuxerError
from stronghold_p2p.firewall import toml
from stronghold_p2p.identity import PeerId, PublicKey
from stronghold_p2p.identity.peer_record import PeerRecord
from stronghold_p2p.noise import handshake
from stronghold_p2p.request_response.codecs.codec import frame
from stronghold_p2p.yamux.header import RST

Function = Callable[..., Any]
Patch = tuple[str, Callable[[Any], Any]]
"""``"module:name"`` or ``"module:Class.name"``, and from what is there to what is put in its place."""

_before: list[tuple[object, str, Any]] = []


def patch(*patches: Patch) -> None:
    for place, instead in patches:
        owner, name = re.split(r"[.:](?=\w+$)", place)
        target = resolve_name(f"stronghold_p2p.{owner}")
        was = getattr(target, name)
        _before.append((target, name, was))
        setattr(target, name, instead(was))


def restore() -> None:
    """Everything as it was."""
    while _before:
        setattr(*_before.pop())


def begin_counting_at(send: int, receive: int) -> None:
    """Noise's counters, once the handshake is over (hostile row 48)."""

    def counting(split: Function) -> Function:
        def counted(self: Any) -> Any:
            sends, receives = split(self)
            sends.n, receives.n = send, receive
            return sends, receives

        return counted

    patch(("noise.handshake:HandshakeState.Split", counting))


def always(value: Any) -> Callable[[Any], Any]:
    return lambda _was: lambda *_given, **_options: value


def lenient(error: type[Exception], instead: Function) -> Callable[[Function], Function]:
    """Where the function raises this, it returns what ``instead`` does."""

    def forgive(was: Function) -> Function:
        @wraps(was)
        def forgiving(*given: Any, **options: Any) -> Any:
            try:
                return was(*given, **options)
            except error:
                return instead(*given)

        return forgiving

    return forgive


def forgives(kind: type[Exception]) -> Patch:
    """An error of this kind does not end a connection."""
    place = "muxing.yamux_muxer:YamuxMuxer._failed"
    return place, lambda failed: lambda self, error: None if isinstance(error, kind) else failed(self, error)


def nothing(*_: object) -> None:
    """Instead of something."""


def any_answer(_protocol: str) -> Any:
    yield from multistream._read_line()
    return True


def unconfirmed(self: Any, piece: bytes | memoryview) -> None:
    self._stream.negotiated(self._protocol, piece)
    self._stream.end()


def without_noise(self: Any) -> Any:
    yield from multistream.listen({self.securities[0].id, "/plaintext/2.0.0"}.__contains__)
    return (yield from self._muxer(False, (yield from self._handshake(self.securities[0], False, None))))


def unlimited(self: Any, count: int) -> bool:
    self.credit -= count
    self.buffered += count
    self._budget.buffered += count
    return True


def with_a_body(on_update: Function) -> Function:
    def update(self: Any, flags: int, stream_id: int, length: int) -> None:
        on_update(self, flags, stream_id, length)
        if not flags & RST:
            self._body_left, self._body_stream, self._body_flags = length, None, 0

    return update


def nobody(*_: object) -> tuple[PeerId, PublicKey, tuple[str, ...]]:
    key = PublicKey.decode(bytes.fromhex("08011220") + bytes(range(32)))
    return PeerId.from_public_key(key), key, ("/yamux/1.0.0",)


def slowly(path: Path, data: bytes) -> files.Stamp:
    """Write where the file is, to a disk that is not quick."""
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), 1_000):
            file.write(data[at : at + 1_000])
            time.sleep(0.001)
    return files.stamp_of(path.stat())


def any_record(sealed: bytes | None, *_: object) -> PeerRecord | None:
    return PeerRecord.open(sealed) if sealed else None


def forgetful(read: Function) -> Function:
    async def forgetting(self: Any, stream: Any) -> Any:
        self._pushes_being_read.discard(stream.connection)
        return await read(self, stream)

    return forgetting


def crossed(make: Function) -> Function:
    @wraps(make)
    def crossing(self: Any, *, timeouts: Timeouts | None = None, **others: Any) -> None:
        given = timeouts or Timeouts()
        make(self, timeouts=replace(given, ask=Timeouts().ask, idle=given.ask), **others)

    return crossing


async def untold(self: Any, request: Any, stream: Any, _held: Any) -> None:
    await stream.write(frame(self._protocol.response.encode(await self.handler(request))))


def each_told(record: Function) -> Function:
    def telling(self: Any, *given: Any) -> Any:
        self._counts.clear()
        self._refusals = SimpleNamespace(take=lambda _now: True)
        return record(self, *given)

    return telling


class Deaf:
    """A task that cannot be cancelled."""

    def __init__(self, task: Any) -> None:
        self.add_done_callback = task.add_done_callback

    def cancel(self) -> None:
        pass


def under_the_first(find: Function) -> Function:
    def finding(self: Any, *given: Any, **options: Any) -> Any:
        self.same.clear()
        return find(self, *given, **options)

    return finding


def named(decide: Function) -> Function:
    return lambda rule, attempt, fault: decide(rule, replace(attempt, variant=attempt.variant or ""), fault)


def apart(self: Any, piece: bytes | memoryview) -> None:
    self.pieces.append(bytes(piece))


def nearly(protocol: str) -> str:
    return protocol.rstrip("/").lower()


CHECKS: Final[dict[str, list[Patch]]] = {
    "loss": [("transport.upgrading:UpgradeRunner.ended", always(None))],
    "fin": [("transport.socket_wire:SocketWire.eof_received", always(True))],
    "reachable": [("protocols.identify_messages:_reachable", always(True))],
    "permitted": [("resolving.expansion:why_refused", always(None))],
    "header": [("multistream:_read_header", lambda _: multistream._read_line)],
    "line-length": [("multistream:_read_line.__defaults__", lambda _: (10 * multistream.MAX_LINE,))],
    "echo": [("multistream:_read_answer", lambda _: any_answer)],
    "lazy-answer": [("streams.negotiation:LazyConfirm.data", lambda _: unconfirmed)],
    "security": [("transport.upgrade:UpgradeSettings.inbound", lambda _: without_noise)],
    "coalesced": [("muxing.yamux_muxer:YamuxMuxer.begin", always(None))],
    "invariants": [forgives(MuxerError)],
    "window": [("yamux.window:ReceiveWindow.received", lambda _: unlimited)],
    "delta": [("yamux.receiver:Receiver._on_window_update", with_a_body)],
    "pause": [("yamux.session:Session.overloaded", lambda _: False)],
    "turns": [("yamux.session:Session.wait_for_room", always(None))],
    "tags": [forgives(DecryptError)],
    "low-order": [("noise.handshake:DH", lenient(HandshakeError, lambda *_: bytes(handshake.DHLEN)))],
    "proof": [("noise.payload:check", lenient(HandshakeError, nobody))],
    "signature": [("identity:PublicKey.verify", always(True))],
    "key-sizes": [("identity.verify:RSA_BITS", lambda _: range(1, 1 << 20))],
    "sound-keys": [("identity.verify:is_sound", always(True))],
    "expected": [("noise.payload:check", lambda check: lambda data, rs, _expected: check(data, rs, None))],
    "inlined-keys": [
        ("identity:PublicKey.decode", lambda _: staticmethod(lambda data: SimpleNamespace(encode=lambda: data)))
    ],
    "in-use": [("book.store:Store._is_held", always(False))],
    "damaged-books": [("book.addresses:BookFile.read", lenient(ConfigError, nothing))],
    "one-step": [("files:replace", lambda _: slowly)],
    "owner-only": [("files:read", lambda read: lambda *given, private="": read(*given))],
    "end-line": [
        ("firewall.toml:loads", lambda loads: lambda text, *rest: loads(text.removeprefix(toml._BEGIN), *rest))
    ],
    "records": [("protocols.identify_messages:_record", lambda _: lenient(DecodeError, nothing)(any_record))],
    "editions": [("identity.peer_record:Edition.follows", always(True))],
    "early-bans": [("swarm.gatekeeper:Gatekeeper.may_arrive", always(True))],
    "one-push": [("protocols.identify:Identify._read", forgetful)],
    "decoding": [("encoding.protobuf:decode", lenient(DecodeError, lambda kind, _data: kind()))],
    "options": [("network:Network.__init__", crossed)],
    "read-json": [("request_response.codecs.codec:JSON.decode", lenient(Malformed, nothing))],
    "answer-length": [("request_response.framing:unframe", lambda unframe: lambda maximum: unframe(10 * maximum))],
    "endings": [("request_response.server:Responder._answer", lambda _: untold)],
    "requester": [("connection.handlers:Handlers.cancel_one", always(None))],
    "foresight": [("swarm.gatekeeper:Gatekeeper._match", always(Rule.ALLOW))],
    "strict-json": [("request_response.codecs.codec:JSON.decode", lambda _: json.loads)],
    "removal": [("firewall.entries:Entries.drop", lambda _: lambda self, key: key in self.rules)],
    "one-peer": [("firewall.decisions:Decisions._tell", lambda tell: lambda self, _whom: tell(self, None))],
    "shape": [("firewall.toml:_check_shape", always(None))],
    "others": [("files:_of_others", always(None))],
    "first-line": [("firewall.asking.audit:Audit.record", each_told)],
    "last-look": [("request_response.server:Responder._still_allowed", always(True))],
    "withdrawal": [
        ("firewall.asking.questions:Hooks.start", lambda start: lambda self, *given: Deaf(start(self, *given)))
    ],
    "held-by-events": [("events.hub:held_of", always(None))],
    "reserve": [("firewall.asking.approval:Approval._prefers", always(False))],
    "all-ids": [("firewall.entries:Entries.find", under_the_first)],
    "names": [("firewall.decisions:rule_of", named)],
    "joined": [("streams.negotiation:HeldUntilAnswered.data", lambda _: apart)],
    "unwanted": [("swarm.dialer:Dialer._close_unwanted", always(None))],
    "exact-ids": [
        (
            "connection.handlers:Handlers.admits",
            lambda admits: lambda self, stream, protocol: admits(self, stream, nearly(protocol)),
        ),
        ("swarm.swarm:Swarm.handler", lambda handler: lambda self, protocol: handler(self, nearly(protocol))),
    ],
}
"""What has to be replaced so that it is not checked; tests/hostile/README.md tells what each is."""
