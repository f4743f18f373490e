"""Every error as a user meets it: through the public face, with its data and the way out."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stronghold_p2p import (
    BYTES,
    CONNECTION,
    HOP,
    Ended,
    Identity,
    Limits,
    Network,
    PeerId,
    RelayLimits,
    Request,
    RequestProtocol,
    Rule,
)
from stronghold_p2p import errors as failures
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.muxing.yamux_muxer import YamuxMuxer
from stronghold_p2p.streams.stream import Stream
from tests.inside import muxer
from tests.peers import LOOPBACK, until
from tests.support.certificates import Authority
from tests.test_errors import CLASSES

RAW: RequestProtocol[bytes, bytes] = RequestProtocol(
    "/raw/1", request=BYTES, response=BYTES, max_request=9, max_response=9
)
LONG = RequestProtocol("/long/1", request=BYTES, response=BYTES, max_response=9)
NOBODY = Identity.from_seed(b"n" * 32).peer_id
CLOSED = "/ip4/127.0.0.1/tcp/1"


@dataclass
class Scene:
    """Bob serves, alice calls; ``tasks`` are cancelled at the end."""

    bob: Network
    alice: Network
    folder: Path
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.bob.addresses[0])

    @property
    def place(self) -> str:
        return str(split_peer(self.bob.addresses[0])[0])


Provoke = Callable[[Scene], Awaitable[object]]


@dataclass(frozen=True)
class Row:
    """What to do, the error that comes of it, a pattern of its advice, whether it names nobody, and its data."""

    name: str
    kind: type[failures.P2PError]
    way_out: str
    anonymous: bool
    data: dict[str, Any]
    provoke: Provoke


ROWS: list[Row] = []


def row(
    name: str, kind: type[failures.P2PError], way_out: str = ".", *, anonymous: bool = False, **data: Any
) -> Callable[[Provoke], None]:
    """``anonymous``: nobody is concerned, or nobody knows who."""
    return lambda provoke: ROWS.append(Row(name, kind, way_out, anonymous, data, provoke))


row("not entered", failures.UsageError, "use async with", anonymous=True)(lambda one: Network().connect(CLOSED))


@row("two readers", failures.UsageError, "another task is reading", anonymous=True)
async def two_readers(one: Scene) -> None:
    stream = await one.alice.open_stream(one.address, "/silent/1")
    one.tasks.append(asyncio.ensure_future(stream.read()))
    await asyncio.sleep(0)
    await stream.read()


BAD = "/ip4/127.0.0.1/tcp/99999"
row("an address that is none", failures.ConfigError, "99999", anonymous=True, where=BAD)(
    lambda one: one.alice.connect(BAD)
)


@row("a key that others can read", failures.IdentityError, r"chmod 600 .*bob\.key", anonymous=True)
async def open_key(one: Scene) -> None:
    path = one.folder / "bob.key"
    Identity().save(path)
    path.chmod(0o644)
    Identity.load(path)


row("a port that is taken", failures.ListenError, "take another port, or 0", anonymous=True)(
    lambda one: one.alice.listen(one.place)
)
row("nobody there", failures.DialError, "tcp/1: Connection refused", anonymous=True, sent=False)(
    lambda one: one.alice.request(CLOSED, "x")
)
row("no address known", failures.DialError, r"book\.add", peer=NOBODY, attempts={})(
    lambda one: one.alice.request(NOBODY, "x")
)


@row("no address works", failures.DialError, "tcp/1.*refused; .*tcp/2.*refused", peer=NOBODY)
async def two_addresses(one: Scene) -> None:
    for port in (1, 2):
        one.alice.book.add(NOBODY, f"/ip4/127.0.0.1/tcp/{port}")
    await one.alice.connect(NOBODY)


row("a name that leads nowhere", failures.NameResolutionError, "nobody.invalid cannot exist", query="nobody.invalid A")(
    lambda one: one.alice._swarm.resolver.resolve(parse("/dns4/nobody.invalid/tcp/1"), peer=one.bob.peer_id)
)


@row("banned by us", failures.DialError, r"firewall\.banned")
async def banned(one: Scene) -> None:
    one.alice.firewall.ban(one.bob.peer_id)
    await one.alice.connect(one.address)


async def finds(one: Scene, said: bytes) -> None:
    """Alice dials one who says this and goes."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        await one.alice.connect(from_socket(server.sockets[0].getsockname()))


row("not libp2p", failures.NegotiationError, anonymous=True, phase="multistream")(
    lambda one: finds(one, b"HTTP/1.1 400 Bad Request\r\n\r\n")
)
row("no handshake", failures.HandshakeError, "handshake message of 3 bytes", anonymous=True, phase="noise")(
    lambda one: finds(one, b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x03odd")
)


async def breaks(one: Scene, send: Callable[[YamuxMuxer], object]) -> None:
    """What bob's ``Ended`` tells about a connection on which alice sent that."""
    connection = await one.alice.connect(one.address)
    async with one.bob.events() as events:
        send(muxer(connection))
        async for event in events:
            if isinstance(event, Ended):
                raise event.error


row("a changed record", failures.DecryptError, "authenticate", remote=False)(
    lambda one: breaks(one, lambda alice: alice._wire.write(b"\x00\x20" + bytes(32)))
)
row("no frame", failures.MuxerError, code=1, remote=False)(
    lambda one: breaks(one, lambda alice: alice._channel.seal([b"\xff" * 12], 12, alice._wire.write))
)


@asynccontextmanager
async def relayed(one: Scene, limits: RelayLimits) -> AsyncIterator[str]:
    """A relay at which bob listens, and where he is reached through it."""
    async with Network(listen=[LOOPBACK], relay=limits) as relay:
        relay.firewall.set(Rule.ALLOW, protocol=HOP)
        listener = await one.bob.listen(f"{relay.addresses[0]}/p2p-circuit")
        yield f"{listener.addresses[0]}/p2p/{one.bob.peer_id}"


@row("a relay without the peer", failures.RelayRefused, "has no place there", status=204)
async def not_at_the_relay(one: Scene) -> None:
    async with relayed(one, RelayLimits()) as at:
        await one.alice.connect(at.replace(str(one.bob.peer_id), str(NOBODY)))


@row("more than a relay carries", failures.CircuitLimit, "no more", limit="data", maximum=20_000)
async def more_than_a_relay_carries(one: Scene) -> None:
    async with relayed(one, RelayLimits(data=20_000)) as at:
        await one.alice.request(at, "x" * 30_000)


@row("no peer id", failures.DecodeError, anonymous=True)
async def no_peer_id(_: Scene) -> None:
    PeerId("12D3KooWnonsense")


row("somebody else", failures.PeerIdMismatch, "correct the /p2p/", expected=NOBODY)(
    lambda one: one.alice.connect(f"{one.place}/p2p/{NOBODY}")
)


@row("not trusted", failures.CertificateError, r"give that one as WebTLS\(ca=", reason="unknown authority")
async def not_trusted(one: Scene) -> None:
    address = f"{LOOPBACK}/tls/ws"
    async with Network(listen=[address], tls=Authority(one.folder, 7).issue("127.0.0.1", number=7)) as carol:
        await one.alice.connect(carol.addresses[0])


@row("a proxy in between", failures.ProxyError, "cannot be reached", status=None, proxy="http://127.0.0.1:1")
async def proxy_in_between(one: Scene) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        patched.delenv("http_proxy", raising=False)
        await one.alice.connect(f"/ip4/192.0.2.7/tcp/80/ws/p2p/{NOBODY}")


@row("shut out", failures.ConnectionClosed, "its firewall keeps us out", remote=True)
async def shut_out(one: Scene) -> None:
    stream = await one.alice.open_stream(one.address, "/silent/1")
    await until(lambda: one.bob.connections())
    one.bob.firewall.set(Rule.REJECT, protocol=CONNECTION)
    await stream.read()


@row(
    "late",
    failures.DeadlineExceeded,
    "no answer within 0.1 s",
    setting="timeout=",
    timeout=0.1,
    phase="wait",
    sent=True,
)
async def late(one: Scene) -> None:
    await one.alice.connect(one.address)
    await one.alice.request(one.address, "Hang", timeout=0.1)


@row("a late dial", failures.DeadlineExceeded, "no connection within 0.1 s", anonymous=True, phase="dial", sent=False)
async def late_dial(one: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        await one.alice.connect(from_socket(silent.getsockname()), timeout=0.1)


row("not served", failures.UnsupportedProtocol, "ask its owner", protocols=("/none/1", "/none/2"))(
    lambda one: one.alice.open_stream(one.address, "/none/1", "/none/2")
)


@row("hidden", failures.UnsupportedProtocol, "firewall rejects us", protocols=("/raw/1",), sent=False)
async def hidden(one: Scene) -> None:
    one.bob.firewall.set(Rule.REJECT, protocol=RAW.ids[0])
    await one.alice.request(one.address, b"x", RAW)


row("refused", failures.Rejected, "ask its owner", local=False, sent=False)(
    lambda one: one.alice.request(one.address, "Refuse")
)


@row("kept back", failures.Rejected, r"firewall\.rules", local=True)
async def kept_back(one: Scene) -> None:
    one.alice.firewall.set(Rule.REJECT, direction="out")
    await one.alice.request(one.address, "x")


FULL: dict[str, Any] = {"limit": "requests_per_peer", "current": 1, "maximum": 1}
REMEDY = "requests_per_peer 1/1 .*raise it in Limits"
WAITING: dict[str, Any] = {"limit": "requests_waiting", "current": 1, "maximum": 1}


@row("too many requests", failures.LimitExceeded, REMEDY, remote=False, **FULL)
async def too_many(one: Scene) -> None:
    one.tasks.append(asyncio.ensure_future(one.alice.request(one.address, "Hang")))
    await until(lambda: one.alice.stats()["requests_out"])
    await one.alice.request(one.address, "x")


@row("too many wait", failures.LimitExceeded, "requests_waiting 1/1 .*raise it in Limits", remote=False, **WAITING)
async def too_many_wait(one: Scene) -> None:
    async with Network(limits=Limits(requests_per_peer=1, requests_waiting=1)) as carol:
        await carol.connect(one.address)
        asked = [asyncio.ensure_future(carol.request(one.address, "Hang")) for _ in range(2)]
        try:
            await asyncio.sleep(0)
            await carol.request(one.address, "x")
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)


row("too long", failures.LimitExceeded, "max_request 10/9.*RequestProtocol", limit="max_request", maximum=9)(
    lambda one: one.alice.request(one.address, b"x" * 10, RAW)
)


@row("full", failures.LimitExceeded, "connections 1/1: raise it in Limits", limit="connections", maximum=1)
async def full(one: Scene) -> None:
    async with Network(listen=[LOOPBACK]) as carol, Network(limits=Limits(connections=1)) as dave:
        await dave.connect(one.address)
        await dave.connect(carol.addresses[0])


row("an answer too long", failures.Malformed, "at most 9 bytes.*max_response", sent=True)(
    lambda one: one.alice.request(one.address, b"long", LONG)
)
row("no JSON", failures.Malformed, r"^request\.Say\.text: not JSON", path="request.Say.text")(
    lambda one: one.alice.request(one.address, {"Say": {"text": float("nan")}, "to": [1, float("inf")]})
)
row("a handler that fails", failures.StreamReset, "its own log tells", sent=True)(
    lambda one: one.alice.request(one.address, "Break")
)


@row("an early end", failures.StreamEnded, "3 of 5 bytes", partial=b"abc")
async def short(one: Scene) -> None:
    async with one.alice.open_stream(one.address, "/three/1") as stream:
        await stream.readexactly(5)


def serving() -> Network:
    bob = Network(listen=[LOOPBACK])
    bob.firewall.set(Rule.ALLOW)

    @bob.on_request
    async def answer(request: Request[Any]) -> Any:
        match request.message:
            case "Refuse":
                raise failures.Rejected
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
    async with serving() as bob, Network(limits=Limits(requests_per_peer=1, requests_waiting=0)) as alice:
        scene = Scene(bob, alice, tmp_path)
        with pytest.raises(row.kind) as caught:
            await row.provoke(scene)
        for task in scene.tasks:
            task.cancel()
        await asyncio.gather(*scene.tasks, return_exceptions=True)
    error = caught.value
    assert type(error) is row.kind
    assert {name: getattr(error, name) for name in row.data} == row.data
    assert re.search(row.way_out, str(error)), str(error)
    assert "None" not in str(error)
    assert len(str(error).splitlines()) == 1
    assert (error.peer is None) is row.anonymous
    caplog.clear()


def test_every_error_that_a_user_can_meet_is_provoked() -> None:
    assert {row.kind for row in ROWS} | {failures.P2PError} == set(CLASSES.values())
