"""One or more scenarios for every parser of the package; tests/test_parsers.py finds the parsers and runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar, cast
from unittest.mock import MagicMock

from stronghold_p2p import exchange, multistream
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.book import json_form
from stronghold_p2p.codes import Reset
from stronghold_p2p.encoding import protobuf, strict_json, varint
from stronghold_p2p.errors import StreamEnded
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.identity import (
    Envelope,
    PeerId,
    PeerRecord,
    PublicKey,
)
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.noise import Noise, NoiseChannel, payload
from stronghold_p2p.noise.handshake import HandshakeState, KeyPair
from stronghold_p2p.noise.libp2p import Handshaken, secure
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.noise.records import Opener, Sealer, Workspace
from stronghold_p2p.request_response.codecs import codec
from stronghold_p2p.request_response.codecs.typed import messages
from stronghold_p2p.request_response.watch import Watch
from stronghold_p2p.seams import Secured
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.negotiation import HeldUntilAnswered, InboundNegotiation, LazyConfirm
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.stream_wire import StreamWire
from stronghold_p2p.transport.upgrade import Negotiated, UpgradeSettings
from stronghold_p2p.yamux import header as yamux
from tests.noise.opening import opened
from tests.noise.opening import sealed as sealed_by
from tests.yamux.wire import Side

T = TypeVar("T")

# The next layer's bytes: no field of a protobuf message, no JSON, no address and no base58 begins like this.
TAIL = b"\x07\xff\x00next"


@dataclass(frozen=True)
class Exchange(Generic[T]):
    """``given`` comes in; ``look`` makes of the result what is compared with ``expected``."""

    name: str
    make: Callable[[], exchange.Exchange[T]]
    given: bytes
    expected: Any
    sends: bytes | None
    look: Callable[[T], Any] = lambda result: result


@dataclass(frozen=True)
class Feeding:
    """A parser that keeps what is unfinished; ``outcome`` is all that it has told so far."""

    feed: Callable[[bytes], object]
    outcome: Callable[[], Any]


@dataclass(frozen=True)
class Stream:
    """``tail`` is a beginning that tells nothing yet."""

    name: str
    make: Callable[[], Feeding]
    given: bytes
    tail: bytes
    expected: Any


@dataclass(frozen=True)
class Block:
    """Every prefix of ``given``, and ``given`` with a tail, is refused, unless ``lenient`` knows better."""

    name: str
    parse: Callable[[Any], Any]
    given: bytes
    expected: Any
    lenient: Callable[[bytes, Any], bool] | None = None
    any_buffer: bool = True


# ---------------------------------------------------------------------- material


def lots(seed: str) -> Callable[[int], bytes]:
    """A source of the same random bytes, however often it is asked."""
    return lambda count: sha256(seed.encode()).digest()[:count]


ALICE, BOB = Identity.from_seed(b"A" * 32), Identity.from_seed(b"B" * 32)
KEYS = {who: StaticKeys.create(who, lots(str(who.peer_id))) for who in (ALICE, BOB)}
ADDRESS = bytes.fromhex("04 7f000001 06 0fa1")  # /ip4/127.0.0.1/tcp/4001
RECORD = PeerRecord(ALICE.peer_id, 7, (ADDRESS,))
JSON = b'{"Ping":[1,"\xc3\xa9"]}'


class Ping(NamedTuple):
    number: int
    text: str


TYPED = messages(Ping)


def converse(one: exchange.Exchange[Any], other: exchange.Exchange[Any]) -> tuple[bytes, bytes]:
    """What each side of a conversation sends; with the same lots drawn it is always the same."""
    sides = ExchangeRunner(one), ExchangeRunner(other)
    said = [sides[0].start(), sides[1].start()]
    new = list(said)
    while any(new):
        new = [sides[0].feed(new[1]), sides[1].feed(new[0])]
        said = [before + more for before, more in zip(said, new, strict=True)]
    assert sides[0].done
    assert sides[1].done
    return said[0], said[1]


def pair(
    name: str,
    one: Callable[[], exchange.Exchange[T]],
    other: Callable[[], exchange.Exchange[Any]],
    expected: Any,
    look: Callable[[T], Any] = lambda result: result,
) -> Exchange[T]:
    """The scenario of ``one``, in conversation with ``other``."""
    sent, received = converse(one(), other())
    return Exchange(name, one, received, expected, sent, look)


# ---------------------------------------------------------------------- exchanges


def noise(
    who: Identity, *, initiator: bool, muxers: tuple[str, ...] = ("/yamux/1.0.0",)
) -> exchange.Exchange[Handshaken]:
    return secure(initiator=initiator, local=KEYS[who], expected=None, muxers=muxers, random=lots("ephemeral"))


def dialed() -> exchange.Exchange[str]:
    return multistream.dial(["/a", "/b"])


def answered() -> exchange.Exchange[str]:
    return multistream.listen({"/b"}.__contains__)


def proposed() -> exchange.Exchange[None]:
    yield multistream.propose("/b")
    yield from multistream.confirm("/b")


def secured(result: Handshaken) -> Any:
    return result.peer, result.early_muxer, result.send.n, result.receive.n


def upgraded(result: Negotiated) -> Any:
    return result.secured.peer, result.muxer.id, result.early, result.plaintext


def upgrade(who: Identity, *, early: bool = True) -> UpgradeSettings:
    muxer: Any = SimpleNamespace(id="/yamux/1.0.0")
    return UpgradeSettings((Noise(KEYS[who], lots("ephemeral")),), (muxer,), early)


def security(who: Identity, *, initiator: bool) -> exchange.Exchange[Secured]:
    return Noise(KEYS[who], lots("ephemeral")).handshake(initiator=initiator, expected=None, muxers=("/yamux/1.0.0",))


EXCHANGES: dict[str, list[Exchange[Any]]] = {
    "stronghold_p2p.encoding.varint.read": [
        Exchange("varint-1", lambda: varint.read(maximum=127), b"\x05", 5, b""),
        Exchange("varint-3", lambda: varint.read(maximum=1 << 20), b"\xff\xff\x03", 65_535, b""),
    ],
    "stronghold_p2p.multistream.dial": [pair("dial", dialed, answered, "/b")],
    "stronghold_p2p.multistream.listen": [pair("listen", answered, dialed, "/b")],
    "stronghold_p2p.multistream.confirm": [
        Exchange("confirm", lambda: multistream.confirm("/b"), multistream.propose("/b"), None, b"")
    ],
    "stronghold_p2p.multistream.lazy": [
        Exchange(
            "lazy",
            lambda: multistream.lazy("/b", codec.unframe(100)),
            multistream.propose("/b") + b"\x05hello",
            b"hello",
            multistream.propose("/b"),
        )
    ],
    "stronghold_p2p.noise.libp2p.secure": [
        pair(
            f"noise-{'initiator' if initiator else 'responder'}",
            lambda who=who, initiator=initiator: noise(who, initiator=initiator),  # type: ignore[misc]
            lambda peer=peer, initiator=initiator: noise(peer, initiator=not initiator),  # type: ignore[misc]
            (peer.peer_id, "/yamux/1.0.0", 0, 0),
            secured,
        )
        for who, peer, initiator in ((ALICE, BOB, True), (BOB, ALICE, False))
    ],
    "stronghold_p2p.noise.security.Noise.handshake": [
        pair(
            "security",
            lambda: security(ALICE, initiator=True),
            lambda: security(BOB, initiator=False),
            (BOB.peer_id, BOB.public_key, "/yamux/1.0.0"),
            lambda result: (result.peer, result.public_key, result.muxer),
        )
    ],
    "stronghold_p2p.transport.upgrade.UpgradeSettings.outbound": [
        pair(
            f"outbound-{'early' if early else 'negotiated'}",
            lambda early=early: upgrade(ALICE, early=early).outbound(BOB.peer_id),  # type: ignore[misc]
            lambda: upgrade(BOB).inbound(),
            (BOB.peer_id, "/yamux/1.0.0", early, b""),
            upgraded,
        )
        for early in (True, False)
    ],
    "stronghold_p2p.transport.upgrade.UpgradeSettings.inbound": [
        pair(
            f"inbound-{'early' if early else 'negotiated'}",
            lambda: upgrade(BOB).inbound(),
            lambda early=early: upgrade(ALICE, early=early).outbound(BOB.peer_id),  # type: ignore[misc]
            (ALICE.peer_id, "/yamux/1.0.0", early, b""),
            upgraded,
        )
        for early in (True, False)
    ],
    "stronghold_p2p.request_response.codecs.codec.unframe": [
        Exchange("unframe", lambda: codec.unframe(200), codec.frame(b"x" * 130), b"x" * 130, b""),
        Exchange("unframe-empty", lambda: codec.unframe(200), b"\0", b"", b""),
    ],
}

# ---------------------------------------------------------------------- streams


def running() -> Feeding:
    """``ExchangeRunner.feed`` itself."""
    runner = ExchangeRunner(codec.unframe(100))
    runner.start()
    return Feeding(runner.feed, lambda: (runner.done, runner.result))


def opening(*, channel: bool = False) -> Feeding:
    """A record layer behind a buffer, as a connection has it; ``channel``: the one that the muxer sees."""
    done = handshaken()[1]
    opener = NoiseChannel(done, SPACE) if channel else Opener(done.receive, SPACE)
    buffer, plain = bytearray(), bytearray()

    def feed(data: bytes) -> None:
        buffer.extend(data)
        plaintexts, used = opened(opener, bytes(buffer))
        plain.extend(b"".join(plaintexts))
        del buffer[:used]

    return Feeding(feed, lambda: plain)


class Units:
    """The user of a wire, who takes whole units of four bytes."""

    def __init__(self, wire: Any) -> None:
        wire.user = self
        self.units: list[bytes] = []

    def received(self, view: memoryview) -> int:
        whole = len(view) // 4 * 4
        self.units += [bytes(view[at : at + 4]) for at in range(0, whole, 4)]
        return whole


def over_a_socket() -> Feeding:
    wire = SocketWire(memoryview(bytearray(1024)), lambda _: None)
    user = Units(wire)

    def feed(data: bytes) -> None:
        wire.get_buffer(-1)[: len(data)] = data
        wire.buffer_updated(len(data))

    return Feeding(feed, lambda: user.units)


def over_a_stream() -> Feeding:
    outer = MagicMock()
    outer.release.return_value = MagicMock(), b"", False
    outer.connection.turn.add.side_effect = lambda go_on: go_on()
    here = parse(ADDRESS)
    wire = StreamWire(outer, here, here, lambda: 0.0)
    user = Units(wire)
    return Feeding(wire.data, lambda: user.units)


def muxed() -> Feeding:
    """A listener's session that accepts everything."""
    side = Side()

    def outcome() -> Any:
        heard = {
            stream: (sink.body, sink.events, getattr(sink.error, "code", None)) for stream, sink in side.sinks.items()
        }
        return heard, side.take(), sorted(side.session.streams)

    return Feeding(side.hear, outcome)


def talking(intake: Callable[[Any, LiveStream], Any] | None = None) -> Feeding:
    """A stream between its end and a connection, which only take note; what is read from it are messages."""
    sent: list[bytes] = []
    started: list[str] = []
    end, connection = MagicMock(due=math.inf), MagicMock()
    end.send_now.side_effect = sent.append
    connection.admits.side_effect = lambda _, protocol: protocol == "/b"
    connection.start.side_effect = lambda stream: started.append(stream.protocol)
    stream = LiveStream(end, connection, MagicMock())
    if intake is not None:
        stream.take_in(intake(connection, stream))

    def outcome() -> Any:
        stream.end()
        messages = []
        try:
            while (message := at_once(stream.read_message())) is not None:
                messages.append(message)
        except StreamEnded:
            pass
        return stream.protocol, messages, b"".join(sent), started

    return Feeding(stream.data, outcome)


def keeping() -> Feeding:
    """``HeldUntilAnswered`` keeps everything."""
    held = HeldUntilAnswered(b"first ")
    return Feeding(held.data, lambda: b"".join(held.pieces))


def watching() -> Feeding:
    """``Watch`` resets the stream for whatever comes behind a request."""
    codes: set[int] = set()
    watch = Watch(cast(LiveStream, SimpleNamespace(reset=codes.add, intake=None)))
    return Feeding(watch.data, lambda: codes)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


SPACE = Workspace()


def handshaken() -> tuple[Handshaken, Handshaken]:
    """Alice's and Bob's result."""
    sides = ExchangeRunner(noise(ALICE, initiator=True)), ExchangeRunner(noise(BOB, initiator=False))
    sides[1].start()
    sides[1].feed(sides[0].feed(sides[1].feed(sides[0].start())))
    return sides[0].result, sides[1].result


def sealed() -> bytes:
    sealer = Sealer(handshaken()[0].send, SPACE)
    return b"".join(sealed_by(sealer, text) for text in (b"one", b"", b"x" * 90, b"three"))


FRAMES = (
    yamux.frame(yamux.WINDOW_UPDATE, yamux.SYN, 1, 0)
    + yamux.frame(yamux.DATA, 0, 1, 5)
    + b"hello"
    + yamux.frame(yamux.PING, yamux.SYN, 0, 77)
    + yamux.frame(yamux.DATA, yamux.SYN, 3, 3)
    + b"abc"
    + yamux.frame(yamux.DATA, yamux.FIN, 1, 2)
    + b"!!"
    + yamux.frame(yamux.WINDOW_UPDATE, yamux.RST, 3, 9)
    + yamux.frame(yamux.DATA, yamux.SYN | yamux.FIN, 5, 0)
)
ANSWERS = (
    yamux.frame(yamux.PING, yamux.ACK, 0, 77)
    + yamux.frame(yamux.WINDOW_UPDATE, yamux.ACK, 1, 0)
    + yamux.frame(yamux.WINDOW_UPDATE, yamux.ACK, 5, 0)
)
MESSAGES = [b"one", b"", b"x" * 130]
FRAMED = b"".join(map(codec.frame, MESSAGES))
REFUSED_FIRST = multistream.propose("/a") + multistream.message("/b")
HEARD = {1: (b"hello!!", ["end"], None), 3: (b"abc", ["failed"], 9), 5: (b"", ["end"], None)}

STREAMS: dict[str, list[Stream]] = {
    "stronghold_p2p.exchange.ExchangeRunner.feed": [
        Stream("runner", running, b"\x05hello", b"\x05", (True, b"hello")),
    ],
    "stronghold_p2p.noise.records.Opener.open": [
        Stream("records", opening, sealed(), b"\x00\x20\x01", b"one" + b"x" * 90 + b"three"),
    ],
    "stronghold_p2p.noise.security.NoiseChannel.open": [
        Stream("channel", lambda: opening(channel=True), sealed(), b"\x00\x20\x01", b"one" + b"x" * 90 + b"three"),
    ],
    "stronghold_p2p.transport.socket_wire.SocketWire.buffer_updated": [
        Stream("socket", over_a_socket, b"abcdefgh", b"ij", [b"abcd", b"efgh"]),
    ],
    "stronghold_p2p.transport.stream_wire.StreamWire.data": [
        Stream("circuit", over_a_stream, b"abcdefgh", b"ij", [b"abcd", b"efgh"]),
    ],
    "stronghold_p2p.yamux.receiver.Receiver.receive": [
        Stream("yamux", muxed, FRAMES, b"\0\0\0\0\0", (HEARD, ANSWERS, [1, 5])),
        Stream("frames", muxed, FRAMES, FRAMES[:11], (HEARD, ANSWERS, [1, 5])),
    ],
    "stronghold_p2p.streams.live.LiveStream.data": [
        Stream("messages", talking, FRAMED, b"\x05ab", ("", MESSAGES, b"", [])),
    ],
    "stronghold_p2p.streams.negotiation.LazyConfirm.data": [
        Stream(
            "lazy-confirm",
            lambda: talking(lambda _, stream: LazyConfirm(stream, "/b", multistream.propose("/b"), math.inf, None)),
            multistream.propose("/b") + FRAMED,
            b"\x05ab",
            ("/b", MESSAGES, b"", []),
        ),
    ],
    "stronghold_p2p.streams.negotiation.InboundNegotiation.data": [
        Stream(
            "listening",
            lambda: talking(lambda connection, stream: InboundNegotiation(connection, stream, math.inf, None)),
            multistream.propose("/b") + FRAMED,
            b"\x05ab",
            ("/b", MESSAGES, multistream.propose("/b"), ["/b"]),
        ),
        Stream(
            "listening-second",
            lambda: talking(lambda connection, stream: InboundNegotiation(connection, stream, math.inf, None)),
            REFUSED_FIRST + FRAMED,
            b"\x05ab",
            ("/b", MESSAGES, multistream.HEADER + multistream.NA + multistream.message("/b"), ["/b"]),
        ),
    ],
    "stronghold_p2p.streams.negotiation.HeldUntilAnswered.data": [
        Stream("withheld", keeping, b"second", b"", b"first second")
    ],
    "stronghold_p2p.request_response.watch.Watch.data": [
        Stream("watched", watching, b"x", b"yz", {Reset.PROTOCOL_VIOLATION})
    ],
}

# ---------------------------------------------------------------------- blocks


def initiated() -> HandshakeState:
    """A Noise initiator that waits for the second message."""
    state = HandshakeState(initiator=True, s=KeyPair.create(b"s" * 32), random=lots("e"))
    state.WriteMessage(b"")
    return state


def second_message() -> bytes:
    first = HandshakeState(initiator=True, s=KeyPair.create(b"s" * 32), random=lots("e")).WriteMessage(b"")
    responder = HandshakeState(initiator=False, s=KeyPair.create(b"t" * 32), random=lots("f"))
    responder.ReadMessage(first)
    return responder.WriteMessage(b"payload")


def same_again(message: bytes, result: Any) -> bool:
    """A shorter message that is one too: encoded again it is what was given."""
    return protobuf.encode(result) == message


def same_in_front(expected: Any) -> Callable[[bytes, Any], bool]:
    """The result with its length tells where the next layer begins."""
    return lambda message, result: message.endswith(TAIL) and result == expected


STATIC = KEYS[ALICE].pair.public
PAYLOAD = payload.make(KEYS[ALICE], ("/yamux/1.0.0",))
PLAIN_PAYLOAD = payload.make(KEYS[ALICE], ())
MESSAGE = payload.NoiseExtensions(stream_muxers=("/yamux/1.0.0", "/mplex"))
FLIGHT = multistream.propose("/echo/1.0.0")

BLOCKS: dict[str, list[Block]] = {
    "stronghold_p2p.encoding.varint.decode": [
        Block("varint", varint.decode, b"\xac\x02", (300, 2), same_in_front((300, 2))),
    ],
    "stronghold_p2p.encoding.protobuf.decode": [
        Block(
            "protobuf",
            lambda data: protobuf.decode(payload.NoiseExtensions, data),
            protobuf.encode(MESSAGE),
            MESSAGE,
            same_again,
        ),
    ],
    "stronghold_p2p.identity.envelope.Envelope.open": [
        Block(
            "envelope",
            lambda data: Envelope.open(data, "domain", b"\x03\x02"),
            Envelope.seal(ALICE, "domain", b"\x03\x02", b"text"),
            Envelope(ALICE.public_key, b"text"),
        ),
    ],
    "stronghold_p2p.identity.keys.identity.Identity.from_private_protobuf": [
        Block(
            "private-key",
            lambda data: Identity.from_private_protobuf(bytes(data)).peer_id,
            ALICE.private_protobuf(),
            ALICE.peer_id,
        ),
    ],
    "stronghold_p2p.identity.peer_id.PeerId.__init__": [
        Block("peer-id", PeerId, bytes(ALICE.peer_id), ALICE.peer_id, any_buffer=False),
        Block(
            "peer-id-text",
            lambda data: PeerId(data.decode("latin-1")),
            str(ALICE.peer_id).encode(),
            ALICE.peer_id,
            lambda text, result: str(result).encode() == text,
            any_buffer=False,
        ),
        Block(
            "peer-id-cid",
            lambda data: PeerId(data.decode("latin-1")),
            ALICE.peer_id.to_cid().encode(),
            ALICE.peer_id,
            any_buffer=False,
        ),
    ],
    "stronghold_p2p.identity.peer_record.PeerRecord.open": [
        Block("peer-record", PeerRecord.open, RECORD.seal(ALICE), RECORD),
    ],
    "stronghold_p2p.identity.public_key.PublicKey.decode": [
        Block("public-key", PublicKey.decode, ALICE.public_key.encode(), ALICE.public_key),
    ],
    "stronghold_p2p.addressing.parse.parse": [
        Block(
            "address-parsed",
            lambda data: bytes(parse(data)),
            ADDRESS,
            ADDRESS,
            lambda data, result: data == result == ADDRESS[:5],
            any_buffer=False,
        ),
    ],
    "stronghold_p2p.multistream.match_first": [
        Block(
            "first-flight",
            multistream.match_first,
            FLIGHT,
            ("/echo/1.0.0", len(FLIGHT)),
            lambda data, result: result == (("/echo/1.0.0", len(FLIGHT)) if data.startswith(FLIGHT) else None),
        ),
    ],
    "stronghold_p2p.noise.handshake.HandshakeState.ReadMessage": [
        Block("noise-message", lambda data: initiated().ReadMessage(data), second_message(), b"payload", None, False),
    ],
    "stronghold_p2p.noise.payload.check": [
        Block(
            "noise-payload",
            lambda data: payload.check(data, STATIC, ALICE.peer_id),
            PAYLOAD,
            (ALICE.peer_id, ALICE.public_key, ("/yamux/1.0.0",)),
            lambda data, result: data == PLAIN_PAYLOAD and result == (ALICE.peer_id, ALICE.public_key, ()),
            any_buffer=False,
        ),
    ],
    "stronghold_p2p.request_response.codecs.codec.decode": [
        Block("json-body", lambda data: codec.decode(codec.JSON, data), JSON, {"Ping": [1, "é"]}, None, False),
        Block("bytes-body", lambda data: codec.decode(codec.BYTES, data), b"ab", b"ab", bytes.__eq__, False),
    ],
    "stronghold_p2p.encoding.strict_json.loads": [
        Block("json", strict_json.loads, JSON, {"Ping": [1, "é"]}, any_buffer=False),
    ],
    "stronghold_p2p.book.json_form.loads": [
        Block(
            "book", lambda data: json_form.loads(data, "book"), b'{"peers":{}}', json_form.Content(), any_buffer=False
        ),
    ],
    "stronghold_p2p.request_response.codecs.typed.MessageCodec.decode": [
        Block("typed", TYPED.decode, JSON, Ping(1, "é"), any_buffer=False),
    ],
}
