"""Every error as a user meets it: through the public face, with its standard parent, its data and the way out."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stronghold_p2p import (
    BYTES,
    CONNECTION,
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    DecodeError,
    DecryptError,
    DialError,
    Ended,
    HandshakeError,
    Identity,
    IdentityError,
    LimitExceeded,
    Limits,
    ListenError,
    Malformed,
    MuxerError,
    NegotiationError,
    Network,
    P2PError,
    PeerId,
    PeerIdMismatch,
    Rejected,
    Request,
    RequestProtocol,
    Rule,
    Stream,
    StreamEnded,
    StreamReset,
    Timeouts,
    UnsupportedProtocol,
    UsageError,
    errors,
)
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.addressing.parse import split_peer
from stronghold_p2p.muxing.yamux_muxer import YamuxMuxer
from tests.inside import muxer
from tests.peers import LOOPBACK, until

RAW: RequestProtocol[bytes, bytes] = RequestProtocol(
    "/raw/1", request=BYTES, response=BYTES, max_request=9, max_response=9
)
NOBODY = Identity.from_seed(b"n" * 32).peer_id
CLOSED = "/ip4/127.0.0.1/tcp/1"
# The rows in which nobody is concerned, or nobody knows who.
OF_NOBODY = {
    "no handshake",
    "no peer id",
    "not entered",
    "two readers",
    "an address that is none",
    "a key that others can read",
    "a port that is taken",
    "nobody there",
    "not libp2p",
    "a late dial",
}


@dataclass
class Scene:
    """Bob serves, alice calls; ``others`` are closed at the end."""

    bob: Network
    alice: Network
    folder: Path
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.bob.addresses[0])


Provoke = Callable[[Scene], Awaitable[object]]


@dataclass(frozen=True)
class Row:
    """What to do, and the error that comes of it."""

    name: str
    kind: type[P2PError]
    parent: type[Exception]
    provoke: Provoke
    data: dict[str, Any]
    way_out: str


async def not_entered(_: Scene) -> None:
    await Network().connect(CLOSED)


async def two_readers(scene: Scene) -> None:
    stream = await scene.alice.open_stream(scene.address, "/silent/1")
    scene.tasks.append(asyncio.ensure_future(stream.read()))
    await asyncio.sleep(0)
    await stream.read()


async def bad_address(scene: Scene) -> None:
    await scene.alice.connect("/ip4/127.0.0.1/tcp/99999")


async def open_key(scene: Scene) -> None:
    path = scene.folder / "bob.key"
    Identity().save(path)
    path.chmod(0o644)
    Identity.load(path)


async def taken(scene: Scene) -> None:
    await scene.alice.listen(str(split_peer(scene.bob.addresses[0])[0]))


async def nobody_there(scene: Scene) -> None:
    await scene.alice.request(CLOSED, "x")


async def unknown(scene: Scene) -> None:
    await scene.alice.request(NOBODY, "x")


async def two_addresses(scene: Scene) -> None:
    for port in (1, 2):
        scene.alice.book.add(NOBODY, f"/ip4/127.0.0.1/tcp/{port}")
    await scene.alice.connect(NOBODY)


async def banned(scene: Scene) -> None:
    scene.alice.firewall.ban(scene.bob.peer_id)
    await scene.alice.connect(scene.address)


async def no_peer(scene: Scene) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        await scene.alice.connect(from_socket(server.sockets[0].getsockname()))


async def no_handshake(scene: Scene) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x03odd")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        await scene.alice.connect(from_socket(server.sockets[0].getsockname()))


async def changed_on_the_way(scene: Scene) -> None:
    await broken_connection(scene, lambda alice: alice._wire.write(b"\x00\x20" + bytes(32)))


async def no_frame(scene: Scene) -> None:
    await broken_connection(scene, lambda alice: alice._channel.seal([b"\xff" * 12], 12, alice._wire.write))


async def broken_connection(scene: Scene, send: Callable[[YamuxMuxer], object]) -> None:
    """What bob's ``Ended`` tells about it."""
    connection = await scene.alice.connect(scene.address)
    async with scene.bob.events() as events:
        send(muxer(connection))
        async for event in events:
            if isinstance(event, Ended):
                raise event.error


async def no_peer_id(_: Scene) -> None:
    PeerId("12D3KooWnonsense")


async def somebody_else(scene: Scene) -> None:
    await scene.alice.connect(f"{split_peer(scene.bob.addresses[0])[0]}/p2p/{NOBODY}")


async def shut_out(scene: Scene) -> None:
    stream = await scene.alice.open_stream(scene.address, "/silent/1")
    await until(lambda: scene.bob.connections())
    scene.bob.firewall.set(Rule.REJECT, protocol=CONNECTION)
    await stream.read()


async def late(scene: Scene) -> None:
    await scene.alice.connect(scene.address)
    await scene.alice.request(scene.address, "Hang", timeout=0.1)


async def late_dial(scene: Scene) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        await scene.alice.connect(from_socket(silent.getsockname()), timeout=0.1)


async def not_served(scene: Scene) -> None:
    await scene.alice.open_stream(scene.address, "/none/1", "/none/2")


async def hidden(scene: Scene) -> None:
    scene.bob.firewall.set(Rule.REJECT, protocol=RAW.ids[0])
    await scene.alice.request(scene.address, b"x", RAW)


async def refused(scene: Scene) -> None:
    await scene.alice.request(scene.address, "Refuse")


async def kept_back(scene: Scene) -> None:
    scene.alice.firewall.set(Rule.REJECT, direction="out")
    await scene.alice.request(scene.address, "x")


async def too_many(scene: Scene) -> None:
    scene.tasks.append(asyncio.ensure_future(scene.alice.request(scene.address, "Hang")))
    await until(lambda: scene.alice.stats()["requests_out"])
    await scene.alice.request(scene.address, "x")


async def too_long(scene: Scene) -> None:
    await scene.alice.request(scene.address, b"x" * 10, RAW)


async def full(scene: Scene) -> None:
    async with Network(listen=[LOOPBACK]) as carol, Network(limits=Limits(connections=1)) as dave:
        await dave.connect(scene.address)
        await dave.connect(carol.addresses[0])


async def long_answer(scene: Scene) -> None:
    await scene.alice.request(
        scene.address, b"long", RequestProtocol("/long/1", request=BYTES, response=BYTES, max_response=9)
    )


async def no_form(scene: Scene) -> None:
    await scene.alice.request(scene.address, {"Say": {"text": float("nan")}, "to": [1, float("inf")]})


async def broken_handler(scene: Scene) -> None:
    await scene.alice.request(scene.address, "Break")


async def short(scene: Scene) -> None:
    async with scene.alice.open_stream(scene.address, "/three/1") as stream:
        await stream.readexactly(5)


ROWS = [
    Row("not entered", UsageError, RuntimeError, not_entered, {}, "use async with"),
    Row("two readers", UsageError, RuntimeError, two_readers, {}, "another task is reading"),
    Row(
        "an address that is none", ConfigError, ValueError, bad_address, {"where": "/ip4/127.0.0.1/tcp/99999"}, "99999"
    ),
    Row("a key that others can read", IdentityError, ConfigError, open_key, {}, r"chmod 600 .*bob\.key"),
    Row("a port that is taken", ListenError, OSError, taken, {}, "take another port, or 0"),
    Row("nobody there", DialError, ConnectionError, nobody_there, {"sent": False}, "tcp/1: Connection refused"),
    Row("no address known", DialError, ConnectionError, unknown, {"peer": NOBODY, "attempts": {}}, r"book\.add"),
    Row(
        "no address works",
        DialError,
        ConnectionError,
        two_addresses,
        {"peer": NOBODY},
        "tcp/1.*refused; .*tcp/2.*refused",
    ),
    Row("banned by us", DialError, ConnectionError, banned, {}, r"firewall\.banned"),
    Row("not libp2p", NegotiationError, HandshakeError, no_peer, {"phase": "multistream"}, "."),
    Row(
        "no handshake",
        HandshakeError,
        ConnectionError,
        no_handshake,
        {"phase": "noise"},
        "handshake message of 3 bytes",
    ),
    Row("a changed record", DecryptError, ConnectionClosed, changed_on_the_way, {"remote": False}, "authenticate"),
    Row("no frame", MuxerError, ConnectionClosed, no_frame, {"code": 1, "remote": False}, "."),
    Row("no peer id", DecodeError, ValueError, no_peer_id, {}, "."),
    Row("somebody else", PeerIdMismatch, HandshakeError, somebody_else, {"expected": NOBODY}, "correct the /p2p/"),
    Row("shut out", ConnectionClosed, ConnectionError, shut_out, {"remote": True}, "its firewall keeps us out"),
    Row(
        "late", DeadlineExceeded, TimeoutError, late, {"timeout": 0.1, "phase": "wait", "sent": True}, "raise timeout="
    ),
    Row("a late dial", DeadlineExceeded, TimeoutError, late_dial, {"phase": "dial", "sent": False}, "raise timeout="),
    Row(
        "not served",
        UnsupportedProtocol,
        LookupError,
        not_served,
        {"protocols": ("/none/1", "/none/2")},
        "ask its owner",
    ),
    Row(
        "hidden",
        UnsupportedProtocol,
        LookupError,
        hidden,
        {"protocols": ("/raw/1",), "sent": False},
        "firewall rejects us",
    ),
    Row("refused", Rejected, PermissionError, refused, {"local": False, "sent": False}, "ask its owner"),
    Row("kept back", Rejected, PermissionError, kept_back, {"local": True}, r"firewall\.rules"),
    Row(
        "too many requests",
        LimitExceeded,
        RuntimeError,
        too_many,
        {"limit": "requests_per_peer", "current": 1, "maximum": 1, "remote": False},
        "requests_per_peer 1/1 .*raise it in Limits",
    ),
    Row(
        "too long",
        LimitExceeded,
        RuntimeError,
        too_long,
        {"limit": "max_request", "maximum": 9},
        "max_request 10/9.*RequestProtocol",
    ),
    Row(
        "full",
        LimitExceeded,
        RuntimeError,
        full,
        {"limit": "connections", "maximum": 1},
        "connections 1/1: raise it in Limits",
    ),
    Row("an answer too long", Malformed, ValueError, long_answer, {"sent": True}, "at most 9 bytes.*max_response"),
    Row("no JSON", Malformed, ValueError, no_form, {"path": "request.Say.text"}, r"^request\.Say\.text: not JSON"),
    Row("a handler that fails", StreamReset, ConnectionResetError, broken_handler, {"sent": True}, "its own log tells"),
    Row("an early end", StreamEnded, EOFError, short, {"partial": b"abc"}, "3 of 5 bytes"),
]


def serving() -> Network:
    bob = Network(listen=[LOOPBACK])
    bob.firewall.set(Rule.ALLOW)

    @bob.on_request
    async def answer(request: Request[Any]) -> Any:
        match request.message:
            case "Refuse":
                raise Rejected
            case "Break":
                raise ValueError("mine")
            case "Hang":
                await asyncio.Event().wait()
        return request.message

    bob.on_request(RAW)(lambda request: request.message)
    bob.on_request(RequestProtocol("/long/1", request=BYTES, response=BYTES))(lambda request: b"x" * 10)

    @bob.on_stream("/silent/1")
    async def silent(stream: Stream) -> None:
        await stream.read_to_end()

    @bob.on_stream("/three/1")
    async def three(stream: Stream) -> None:
        await stream.write(b"abc")

    return bob


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_an_error_says_what_to_do(row: Row, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(requests_per_peer=1) if row.provoke is too_many else None
    async with serving() as bob, Network(limits=limits, timeouts=Timeouts(idle=None)) as alice:
        scene = Scene(bob, alice, tmp_path)
        with pytest.raises(row.kind) as caught:
            await row.provoke(scene)
        for task in scene.tasks:
            task.cancel()
        await asyncio.gather(*scene.tasks, return_exceptions=True)
    error = caught.value
    assert type(error) is row.kind
    assert isinstance(error, row.parent)
    assert {name: getattr(error, name) for name in row.data} == row.data
    assert re.search(row.way_out, str(error)), str(error)
    assert "None" not in str(error)
    assert len(str(error).splitlines()) == 1
    assert (error.peer is None) is (row.name in OF_NOBODY)
    caplog.clear()


def test_every_error_that_a_user_can_meet_is_provoked() -> None:
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, P2PError)}
    assert {row.kind for row in ROWS} | {P2PError} == classes
