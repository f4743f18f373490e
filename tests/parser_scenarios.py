"""One or more scenarios for every parser of the package; tests/test_parsers.py finds the parsers and runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar, cast
from unittest.mock import MagicMock, patch

from stronghold_p2p import exchange, multistream
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.book import json_form
from stronghold_p2p.codes import Reset
from stronghold_p2p.encoding import protobuf, strict_json, varint
from stronghold_p2p.errors import StreamEnded
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.identity import Envelope, PeerId, PeerRecord, PublicKey
from stronghold_p2p.identity.keys import pkcs8, storage
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.mdns import messages as mdns
from stronghold_p2p.noise import payload
from stronghold_p2p.noise.handshake import HandshakeState
from stronghold_p2p.relay import messages as relay
from stronghold_p2p.relay import voucher
from stronghold_p2p.relay.allowance import UNLIMITED, Allowance
from stronghold_p2p.relay.circuit import Circuit, Half
from stronghold_p2p.relay.client.wire import CircuitWire
from stronghold_p2p.relay.messages import HopMessage, HopType, Peer, Status, StopMessage, StopType
from stronghold_p2p.request_response.codecs import codec, records
from stronghold_p2p.request_response.codecs.typed import messages
from stronghold_p2p.request_response.server import Watch
from stronghold_p2p.seams import Secured
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.negotiation import HeldUntilAnswered, InboundNegotiation, LazyConfirm
from stronghold_p2p.transport.proxy import Place, Proxy, connect
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.stream_wire import StreamWire
from stronghold_p2p.transport.upgrade import Negotiated
from stronghold_p2p.transport.websocket_opening import ClientOpening, ServerOpening
from stronghold_p2p.websocket.closing import Close
from tests.identity import private_keys
from tests.noise.pair import YAMUX, handshake, keys, opened, randomness, sealed, side
from tests.transport.ends import dialer, identity, listener
from tests.transport.test_websocket_opening import REQUEST, answer_to
from tests.websocket import by_the_book as book
from tests.yamux.wire import ACK, FIN, RST, SYN, Side, data, ping, syn, update

T = TypeVar("T")

# The next layer's bytes: no field of a protobuf message, no JSON, no address and no base58 begins like this.
TAIL = b"\x07\xff\x00next"


@dataclass(frozen=True)
class Exchange(Generic[T]):
    """``given`` comes in; ``look`` makes of the result what is compared with ``expected``."""

    parser: str
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

    parser: str
    make: Callable[[], Feeding]
    given: bytes
    tail: bytes
    expected: Any


@dataclass(frozen=True)
class Block:
    """Every prefix of ``given``, and ``given`` with a tail, is refused, unless ``lenient`` knows better."""

    parser: str
    parse: Callable[[Any], Any]
    given: bytes
    expected: Any
    lenient: Callable[[bytes, Any], bool] | None = None
    any_buffer: bool = True


ALICE, BOB = identity(1), identity(2)
ADDRESS = bytes.fromhex("04 7f000001 06 0fa1")  # /ip4/127.0.0.1/tcp/4001
RECORD = PeerRecord(ALICE.peer_id, 7, (ADDRESS,))
JSON = b'{"Ping":[1,"\xc3\xa9"]}'


class Ping(NamedTuple):
    number: int
    text: str


TYPED = messages(Ping)


def between(
    parser: str,
    one: Callable[[], exchange.Exchange[T]],
    other: Callable[[], exchange.Exchange[Any]],
    expected: Any,
    look: Callable[[T], Any] = lambda result: result,
) -> Exchange[T]:
    """The scenario of ``one``, in conversation with ``other``."""
    ours, theirs = ExchangeRunner(one()), ExchangeRunner(other())
    said = heard = b""
    new = ours.start(), theirs.start()
    while any(new):
        said, heard = said + new[0], heard + new[1]
        new = ours.feed(new[1]), theirs.feed(new[0])
    assert ours.done
    assert theirs.done
    return Exchange(parser, one, heard, expected, said, look)


def dialed() -> exchange.Exchange[str]:
    return multistream.dial(["/a", "/b"])


def answered() -> exchange.Exchange[str]:
    return multistream.listen({"/b"}.__contains__)


def secured(result: Secured) -> Any:
    return result.peer, result.public_key, result.muxer


def upgraded(result: Negotiated) -> Any:
    return result.secured.peer, result.muxer.id, result.secured.muxer, result.plaintext


EXCHANGES: list[Exchange[Any]] = [
    Exchange("encoding.varint.read", lambda: varint.read(maximum=127), b"\x05", 5, b""),
    Exchange("encoding.varint.read", lambda: varint.read(maximum=1 << 20), b"\xff\xff\x03", 65_535, b""),
    between("multistream.dial", dialed, answered, "/b"),
    between("multistream.listen", answered, dialed, "/b"),
    Exchange("multistream.confirm", lambda: multistream.confirm("/b"), multistream.propose("/b"), None, b""),
    Exchange(
        "multistream.lazy",
        lambda: multistream.lazy("/b", codec.unframe(100)),
        multistream.propose("/b") + b"\x05hello",
        b"hello",
        multistream.propose("/b"),
    ),
    between(
        "noise.libp2p.Noise.handshake",
        lambda: side(initiator=False, seed=2),
        lambda: side(initiator=True, seed=1),
        (ALICE.peer_id, ALICE.public_key, YAMUX),
        secured,
    ),
    *(
        between(
            "transport.upgrade.UpgradeSettings.outbound",
            lambda early=early: dialer(early=early, expected=BOB.peer_id),  # type: ignore[misc]
            listener,
            (BOB.peer_id, YAMUX, YAMUX if early else None, b""),
            upgraded,
        )
        for early in (True, False)
    ),
    *(
        between(
            "transport.upgrade.UpgradeSettings.inbound",
            listener,
            lambda early=early: dialer(early=early),  # type: ignore[misc]
            (ALICE.peer_id, YAMUX, YAMUX if early else None, b""),
            upgraded,
        )
        for early in (True, False)
    ),
    Exchange(
        "request_response.codecs.codec.unframe", lambda: codec.unframe(200), codec.frame(b"x" * 130), b"x" * 130, b""
    ),
    Exchange("request_response.codecs.codec.unframe", lambda: codec.unframe(200), b"\0", b"", b""),
    Exchange(
        "transport.proxy.connect",
        lambda: connect(Proxy("proxy", 1, "http://proxy:1"), Place("bob.example", 443, secure=True)),
        b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n",
        None,
        b"CONNECT bob.example:443 HTTP/1.1\r\nHost: bob.example:443\r\n\r\n",
    ),
]


def running() -> Feeding:
    """``ExchangeRunner.feed`` itself."""
    runner = ExchangeRunner(codec.unframe(100))
    runner.start()
    return Feeding(runner.feed, lambda: (runner.done, runner.result))


def opening() -> Feeding:
    """The channel behind a buffer, as a connection has it."""
    opener = handshake()[1].channel
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
    with patch("asyncio.get_running_loop"):
        wire = SocketWire(memoryview(bytearray(1024)), lambda _: None)
    user = Units(wire)

    def feed(data: bytes) -> None:
        wire.get_buffer(-1)[: len(data)] = data
        wire.buffer_updated(len(data))

    return Feeding(feed, lambda: user.units)


def framed() -> Feeding:
    heard = book.Heard()
    return Feeding(heard.hear, lambda: (bytes(heard.data), heard.pings, heard.close, heard.fault))


FRAGMENTS = (
    book.raw(book.BINARY, b"ab", key=b"1234")
    + book.raw(book.FIN | book.PING, b"?", key=b"5678")
    + book.raw(book.FIN | book.CONTINUATION, b"cd", key=b"9012")
    + book.raw(book.FIN | book.CLOSE, Close(1_000, "end").payload(), key=b"3456")
)


def asking() -> ClientOpening:
    """A dialer that always asks with the same key."""
    with patch("websockets.client.generate_key", return_value="dGhlIHNhbXBsZSBub25jZQ=="):
        return ClientOpening("localhost", 80)


def shaking(opening: ServerOpening | ClientOpening) -> Feeding:
    def feed(data: bytes) -> None:
        if not opening.done:
            opening.feed(memoryview(data))

    return Feeding(feed, lambda: (opening.done, opening.error, opening.out.partition(b"\r\n")[0]))


def over_a_stream() -> Feeding:
    outer = MagicMock()
    outer.release.return_value = MagicMock(), b"", False
    outer.connection.turn.add.side_effect = lambda go_on: go_on()
    here = parse(ADDRESS)
    wire = StreamWire(outer, here, here, lambda: 0.0)
    user = Units(wire)
    return Feeding(wire.data, lambda: user.units)


def over_a_circuit() -> Feeding:
    """The same at the end of a circuit, which counts what comes."""
    outer = MagicMock()
    outer.release.return_value = MagicMock(), b"", False
    outer.connection.turn.add.side_effect = lambda go_on: go_on()
    here = parse(ADDRESS)
    wire = CircuitWire(outer, here, here, lambda: 0.0, Allowance(data=1_000))
    user = Units(wire)
    return Feeding(wire.data, lambda: user.units)


def relayed() -> Feeding:
    """One direction of a circuit: all that comes leaves on the other stream, in order."""
    near, far, left = MagicMock(), MagicMock(), bytearray()

    def send(piece: bytes | memoryview) -> int:
        left.extend(piece)
        return len(piece)

    far.send.side_effect = send
    circuit = Circuit(UNLIMITED, 0.0, lambda *_: None)
    halves = [Half(circuit, stream, lambda go_on: go_on(), lambda: 0.0) for stream in (near, far)]
    circuit.join(halves[0], halves[1], (b"", b""), (False, False))
    return Feeding(halves[0].data, lambda: bytes(left))


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


def recorded() -> Feeding:
    """Records, taken out as soon as each is whole."""
    reader, found = records.RecordReader(200), list[bytes]()

    def feed(piece: bytes) -> None:
        reader.feed(piece)
        while (record := reader.next()) is not None:
            found.append(record)

    return Feeding(feed, lambda: found)


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


def sealed_records() -> bytes:
    sealer = handshake()[0].channel
    return b"".join(sealed(sealer, text) for text in (b"one", b"", b"x" * 90, b"three"))


FRAMES = syn(1) + data(1, b"hello") + ping(77) + data(3, b"abc", SYN) + data(1, b"!!", FIN) + update(3, 9, RST)
FRAMES += (
    data(5, b"", SYN | FIN) + data(99, b"for nobody") + update(1, 9) + data(1, b"", 0x40) + data(7, b"x", SYN | RST)
)
ANSWERS = ping(77, ACK) + update(1, 0, ACK) + update(5, 0, ACK)
MESSAGES = [b"one", b"", b"x" * 130]
FRAMED = b"".join(map(codec.frame, MESSAGES))
REFUSED_FIRST = multistream.propose("/a") + multistream.message("/b")
HEARD = {1: (b"hello!!", ["end"], None), 3: (b"abc", ["failed"], 9), 5: (b"", ["end"], None), 7: (b"x", ["failed"], 0)}

STREAMS: list[Stream] = [
    Stream("exchange.ExchangeRunner.feed", running, b"\x05hello", b"\x05", (True, b"hello")),
    Stream("noise.records.Opener.open", opening, sealed_records(), b"\x00\x20\x01", b"one" + b"x" * 90 + b"three"),
    Stream("transport.socket_wire.SocketWire.buffer_updated", over_a_socket, b"abcdefgh", b"ij", [b"abcd", b"efgh"]),
    Stream("transport.stream_wire.StreamWire.data", over_a_stream, b"abcdefgh", b"ij", [b"abcd", b"efgh"]),
    Stream("relay.client.wire.CircuitWire.data", over_a_circuit, b"abcdefgh", b"ij", [b"abcd", b"efgh"]),
    Stream("relay.circuit.Half.data", relayed, b"abcdefgh", b"", b"abcdefgh"),
    Stream("yamux.receiver.Receiver.receive", muxed, FRAMES, b"\0\0\0\0\0", (HEARD, ANSWERS, [1, 5])),
    Stream("yamux.receiver.Receiver.receive", muxed, FRAMES, FRAMES[:11], (HEARD, ANSWERS, [1, 5])),
    Stream(
        "websocket.frames.FrameReader.receive", framed, FRAGMENTS, b"\x82", (b"abcd", [b"?"], Close(1_000, "end"), None)
    ),
    Stream(
        "transport.websocket_opening.ServerOpening.feed",
        lambda: shaking(ServerOpening()),
        REQUEST,
        b"\x81\x05hello",
        (True, None, b"HTTP/1.1 101 Switching Protocols"),
    ),
    Stream(
        "transport.websocket_opening.ClientOpening.feed",
        lambda: shaking(asking()),
        answer_to(asking().out),
        b"\x81\x05hello",
        (True, None, b"GET / HTTP/1.1"),
    ),
    Stream("streams.live.LiveStream.data", talking, FRAMED, b"\x05ab", ("", MESSAGES, b"", [])),
    Stream(
        "streams.negotiation.LazyConfirm.data",
        lambda: talking(lambda _, stream: LazyConfirm(stream, "/b", multistream.propose("/b"), math.inf, None)),
        multistream.propose("/b") + FRAMED,
        b"\x05ab",
        ("/b", MESSAGES, b"", []),
    ),
    Stream(
        "streams.negotiation.InboundNegotiation.data",
        lambda: talking(lambda connection, stream: InboundNegotiation(connection, stream, math.inf, None)),
        multistream.propose("/b") + FRAMED,
        b"\x05ab",
        ("/b", MESSAGES, multistream.propose("/b"), ["/b"]),
    ),
    Stream(
        "streams.negotiation.InboundNegotiation.data",
        lambda: talking(lambda connection, stream: InboundNegotiation(connection, stream, math.inf, None)),
        REFUSED_FIRST + FRAMED,
        b"\x05ab",
        ("/b", MESSAGES, multistream.HEADER + multistream.NA + multistream.message("/b"), ["/b"]),
    ),
    Stream("streams.negotiation.HeldUntilAnswered.data", keeping, b"second", b"", b"first second"),
    Stream("request_response.codecs.records.RecordReader.feed", recorded, FRAMED, b"\x05ab", MESSAGES),
    Stream("request_response.server.Watch.data", watching, b"x", b"yz", {Reset.PROTOCOL_VIOLATION}),
]


def initiated() -> tuple[HandshakeState, bytes]:
    """A Noise initiator that waits for the second message, and the first one."""
    state = HandshakeState(initiator=True, s=keys(1).pair, random=randomness(1))
    return state, state.WriteMessage(b"")


def second_message() -> bytes:
    responder = HandshakeState(initiator=False, s=keys(2).pair, random=randomness(2))
    responder.ReadMessage(initiated()[1])
    return responder.WriteMessage(b"payload")


STATIC = keys(1).pair.public
PAYLOAD = payload.make(keys(1), (YAMUX,))
PLAIN_PAYLOAD = payload.make(keys(1), ())
MESSAGE = payload.NoiseExtensions(stream_muxers=(YAMUX, "/mplex"))
FLIGHT = multistream.propose("/echo/1.0.0")

BLOCKS: list[Block] = [
    Block(
        "encoding.varint.decode",
        varint.decode,
        b"\xac\x02",
        (300, 2),
        lambda data, result: data.endswith(TAIL) and result == (300, 2),
    ),
    Block(
        "encoding.protobuf.decode",
        lambda data: protobuf.decode(payload.NoiseExtensions, data),
        protobuf.encode(MESSAGE),
        MESSAGE,
        lambda message, result: protobuf.encode(result) == message,  # a shorter one that is a message, too
    ),
    Block(
        "mdns.messages.read",
        mdns.read,
        mdns.query(),
        mdns.Heard(asked=frozenset({mdns.SERVICE})),
        lambda data, result: data.endswith(TAIL) and result.asked == {mdns.SERVICE},  # as all of DNS takes it
        any_buffer=False,
    ),
    Block(
        "identity.envelope.Envelope.open",
        lambda data: Envelope.open(data, "domain", b"\x03\x02"),
        Envelope.seal(ALICE, "domain", b"\x03\x02", b"text"),
        Envelope(ALICE.public_key, b"text"),
    ),
    Block(
        "identity.keys.identity.Identity.from_private_protobuf",
        lambda data: Identity.from_private_protobuf(bytes(data)).peer_id,
        ALICE.private_protobuf(),
        ALICE.peer_id,
    ),
    Block(
        "identity.keys.pkcs8.decode",
        pkcs8.decode,
        private_keys.V2,
        (private_keys.SEED, private_keys.PUBLIC),
        lambda _wrong, result: result is None,  # whoever asks knows other forms
        any_buffer=False,
    ),
    Block(
        "identity.keys.storage.parse",
        lambda data: storage.parse(data, "key", b"").private_bytes_raw(),
        private_keys.pem(private_keys.V2),
        private_keys.SEED,
        lambda wrong, result: b"-----END PRIVATE KEY-----" in wrong and result == private_keys.SEED,
        any_buffer=False,
    ),
    Block("identity.peer_id.PeerId.__init__", PeerId, bytes(ALICE.peer_id), ALICE.peer_id, any_buffer=False),
    Block(
        "identity.peer_id.PeerId.__init__",
        lambda data: PeerId(data.decode("latin-1")),
        str(ALICE.peer_id).encode(),
        ALICE.peer_id,
        lambda text, result: str(result).encode() == text,
        any_buffer=False,
    ),
    Block(
        "identity.peer_id.PeerId.__init__",
        lambda data: PeerId(data.decode("latin-1")),
        ALICE.peer_id.to_cid().encode(),
        ALICE.peer_id,
        any_buffer=False,
    ),
    Block(
        "relay.voucher.check",
        lambda data: voucher.check(data, ALICE.peer_id, BOB.peer_id),
        voucher.issue(ALICE, BOB.peer_id, 1_800_000_000),
        1_800_000_000,
    ),
    Block(
        "relay.messages.read_hop",
        relay.read_hop,
        relay.connect(BOB.peer_id),
        HopMessage(type=HopType.CONNECT, peer=Peer(id=bytes(BOB.peer_id))),
        lambda data, result: relay.read_hop(data) == result,  # a shorter one that is a message, too
    ),
    Block(
        "relay.messages.read_stop",
        relay.read_stop,
        relay.stop_status(Status.OK),
        StopMessage(type=StopType.STATUS, status=Status.OK),
        lambda data, result: relay.read_stop(data) == result,
    ),
    Block("identity.peer_record.PeerRecord.open", PeerRecord.open, RECORD.seal(ALICE), RECORD),
    Block("identity.public_key.PublicKey.decode", PublicKey.decode, ALICE.public_key.encode(), ALICE.public_key),
    Block(
        "addressing.parse.parse",
        lambda data: bytes(parse(data)),
        ADDRESS,
        ADDRESS,
        lambda data, result: data == result == ADDRESS[:5],
        any_buffer=False,
    ),
    Block(
        "multistream.match_first",
        multistream.match_first,
        FLIGHT,
        ("/echo/1.0.0", len(FLIGHT)),
        lambda data, result: result == (("/echo/1.0.0", len(FLIGHT)) if data.startswith(FLIGHT) else None),
    ),
    Block(
        "noise.handshake.HandshakeState.ReadMessage",
        lambda data: initiated()[0].ReadMessage(data),
        second_message(),
        b"payload",
        None,
        False,
    ),
    Block(
        "noise.payload.check",
        lambda data: payload.check(data, STATIC, ALICE.peer_id),
        PAYLOAD,
        (ALICE.peer_id, ALICE.public_key, (YAMUX,)),
        lambda data, result: data == PLAIN_PAYLOAD and result == (ALICE.peer_id, ALICE.public_key, ()),
        any_buffer=False,
    ),
    Block(
        "request_response.codecs.codec.decode",
        lambda data: codec.decode(codec.JSON, data),
        JSON,
        {"Ping": [1, "é"]},
        None,
        False,
    ),
    Block(
        "request_response.codecs.codec.decode",
        lambda data: codec.decode(codec.BYTES, data),
        b"ab",
        b"ab",
        bytes.__eq__,
        False,
    ),
    Block(
        "request_response.codecs.records.read",
        lambda data: records.read(codec.JSON, data),
        b"\0" + JSON,
        {"Ping": [1, "é"]},
        None,
        False,
    ),
    Block(
        "request_response.codecs.records.InRecords.decode",
        lambda data: records.InRecords(codec.JSON).decode(data),
        b"\0" + JSON,
        {"Ping": [1, "é"]},
        None,
        False,
    ),
    Block(
        "websocket.closing.Close.parse",
        lambda data: Close.parse(bytes(data)),
        Close(1_000, "\xe9").payload(),
        Close(1_000, "\xe9"),
        lambda data, result: result.payload() == data,  # a reason may end anywhere, and there may be none
    ),
    Block("encoding.strict_json.loads", strict_json.loads, JSON, {"Ping": [1, "é"]}, any_buffer=False),
    Block(
        "book.json_form.loads",
        lambda data: json_form.loads(data, "book"),
        b'{"peers":{}}',
        json_form.Content(),
        any_buffer=False,
    ),
]
