"""TLS as a wire around a wire, against Python's own ``ssl`` at the other end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import CertificateError, ConnectionClosed, HandshakeError
from stronghold_p2p.transport.certificates import ServerCertificate, TrustedAuthorities
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.tls_wire import HELLO, SILENT, TlsWire
from tests.peers import turns, until
from tests.support.certificates import DAY, NAME, Authority
from tests.support.tls import APPLICATION, HANDSHAKE, Sealer, Speaker, record
from tests.transport.wire import Bare, Taker, linked

PLACE = Multiaddr("/ip4/127.0.0.1/tcp/1")


def addressed(wire: SocketWire) -> None:
    wire.local = wire.remote = PLACE
    wire.host = "127.0.0.1"


@asynccontextmanager
async def around(context: ssl.SSLContext, name: str | None = None) -> AsyncIterator[tuple[TlsWire, Bare, Taker]]:
    """Our side around a socket, its user, and the bare socket of the other side."""
    socket_wire, bare = await linked(addressed)
    wire = TlsWire(socket_wire, context, name)
    taker = Taker(wire)
    try:
        yield wire, bare, taker
    finally:
        bare.close()
        wire.abort()
        await until(lambda: wire.lost)
    assert len(taker.lost) == 1


class Ends:
    """The contexts of both sides: ours from files, theirs as anybody makes them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        tls = self.authority.issue()
        self.server = ServerCertificate(tls).context()
        self.client = TrustedAuthorities(self.authority.ca).context()
        self.plain_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.plain_server.load_cert_chain(str(tls.certificate), str(tls.key))
        self.plain_client = ssl.create_default_context(cafile=str(self.authority.ca))


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    return Ends(tmp_path)


async def test_a_server(ends: Ends) -> None:
    ends.plain_client.set_alpn_protocols(["h2", "http/1.1"])
    async with around(ends.server) as (wire, bare, taker):
        assert (str(wire.local), str(wire.remote)) == (f"{PLACE}/tls", f"{PLACE}/tls")
        other = Speaker(bare, ends.plain_client, NAME)
        await other.handshake()
        assert other.tls.selected_alpn_protocol() == "http/1.1"
        body = bytes(range(256)) * 1_000
        await other.send(body)
        await until(lambda: len(taker.got) == len(body))
        assert taker.got == body
        for size in (1, 16_384, 16_385, 256_000):
            wire.write(memoryview(body)[:size])
            assert await other.receive(size) == body[:size]
        wire.finish()
        assert await other.receive(1) == b""  # by close_notify, as nothing else ends in b""


async def test_a_client_whose_words_wait_for_the_handshake(ends: Ends) -> None:
    async with around(ends.client, NAME) as (wire, bare, taker):
        wire.write(b"early ")
        wire.write(memoryview(b"words"))
        other = Speaker(bare, ends.plain_server)
        await other.handshake()
        assert await other.receive(11) == b"early words"
        await other.send(b"answer")
        await until(lambda: taker.got == b"answer")


async def test_any_pieces(ends: Ends) -> None:
    """A byte at a time; many records at once; and the end of one together with the next."""
    async with around(ends.server) as (_, bare, taker):
        other = Speaker(bare, ends.plain_client, NAME)
        dribble = asyncio.create_task(other.handshake())
        await dribble
        for word in (b"one", b"two", b"three"):
            other.tls.write(word)
        out = other.out.read()
        for place in range(len(out)):
            await bare.send(out[place : place + 1])
            await turns(2)
        await until(lambda: taker.got == b"onetwothree")


async def test_nothing_is_delivered_while_it_is_paused(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, taker):
        other = Speaker(bare, ends.plain_client, NAME)
        await other.handshake()
        taker.unit = 4
        await other.send(b"abcdef")
        await until(lambda: taker.got == b"abcd")
        assert wire.partial
        wire.pause()
        await other.send(b"gh")
        await turns()
        assert taker.got == b"abcd"
        wire.resume()
        await until(lambda: taker.got == b"abcdefgh")
        assert not wire.partial


async def test_who_pauses_in_the_middle_gets_the_rest_later(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, taker):
        other = Speaker(bare, ends.plain_client, NAME)
        await other.handshake()

        class Once:
            def received(self, view: memoryview) -> int:
                wire.pause()
                wire.user = taker
                return 0

            writable = ended = taker.writable

        wire.user = Once()  # type: ignore[assignment]
        await other.send(b"x" * 600_000)
        await turns(20)
        assert len(taker.got) <= 256 << 10
        wire.resume()
        await until(lambda: len(taker.got) == 600_000)


async def test_close_notify_is_an_end_and_is_answered(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, taker):
        other = Speaker(bare, ends.plain_client, NAME)
        await other.handshake()
        other.tls.write(b"last words")
        await other.close()
        assert await other.receive(1) == b""
        assert taker.got == b"last words"
        bare.finish()
        await until(lambda: wire.lost)
        assert taker.lost == [None]


async def test_a_cut_record_is_none(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, taker):
        other = Speaker(bare, ends.plain_client, NAME)
        await other.handshake()
        other.tls.write(b"never whole")
        await bare.send(other.out.read()[:-1])
        bare.finish()
        await until(lambda: wire.lost)
        assert isinstance(taker.lost[0], ConnectionClosed)
        assert taker.got == b""


async def test_changed_bytes_end_the_connection(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, taker):
        other = Speaker(bare, ends.plain_client, NAME)
        await other.handshake()
        await bare.send(record(APPLICATION, bytes(40)))
        await until(lambda: wire.lost)
        (error,) = taker.lost
        assert isinstance(error, ConnectionClosed)
        assert "record" in str(error)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (b"\x13/multistream/1.0.0\n", "no TLS"),
        (record(APPLICATION, b"x"), "no TLS"),
        (record(HANDSHAKE, b"", 0xFFFF), "no TLS"),
        (b"\x16\x02\x00\x00\x01\x01", "no TLS"),
        (record(HANDSHAKE, b"\x02\0\0\x01x"), "no TLS handshake"),
        (record(HANDSHAKE, b"\x01\0\0\x02xx"), "no TLS handshake"),
    ],
)
async def test_what_is_no_handshake(ends: Ends, what: bytes, words: str) -> None:
    async with around(ends.server) as (wire, bare, taker):
        await bare.send(what)
        await until(lambda: wire.lost)
        (error,) = taker.lost
        assert isinstance(error, HandshakeError)
        assert (error.phase, words in str(error)) == ("tls", True)


async def test_plain_http_is_told_so(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, _):
        await bare.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await bare.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"This port speaks TLS" in answer
        await until(lambda: wire.lost)


async def test_a_hello_without_end(ends: Ends) -> None:
    """It says that it has 100,000 bytes; at ``HELLO`` it is enough."""
    async with around(ends.server) as (wire, bare, taker):
        await bare.send(record(HANDSHAKE, b"\x01" + (100_000).to_bytes(3, "big") + bytes(16_000)))
        await turns(10)
        assert not wire.lost
        await bare.send(record(HANDSHAKE, bytes(16_000)) * 2)
        await until(lambda: wire.lost)
        assert f"more than {HELLO} bytes" in str(taker.lost[0])


async def test_an_end_in_the_handshake(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, taker):
        bare.finish()
        await until(lambda: wire.lost)
        assert isinstance(taker.lost[0], HandshakeError)


async def test_key_updates_without_end(ends: Ends, tmp_path: Path) -> None:
    """Some are in order, between words; many without a word are not."""
    ends.plain_client.keylog_filename = str(tmp_path / "secrets")
    async with around(ends.server) as (wire, bare, taker):
        await Speaker(bare, ends.plain_client, NAME).handshake()
        sealer = Sealer(tmp_path / "secrets")
        for _ in range(3):
            for _ in range(SILENT):
                await bare.send(sealer.key_update())
            await bare.send(sealer.seal(b"x"))
        await until(lambda: taker.got == b"xxx")
        await bare.send(b"".join(sealer.key_update() for _ in range(SILENT + 1)))
        await until(lambda: wire.lost)
        assert "in a row" in str(taker.lost[0])


@pytest.mark.parametrize(("tickets", "kept"), [(SILENT, True), (SILENT + 1, False)])
async def test_tickets_without_end(ends: Ends, tickets: int, kept: bool) -> None:
    ends.plain_server.num_tickets = tickets
    async with around(ends.client, NAME) as (wire, bare, taker):
        other = Speaker(bare, ends.plain_server)
        await other.handshake()
        await other.send(b"hello")
        await until(lambda: wire.lost or taker.got == b"hello")
        assert wire.lost is not kept


async def test_older_versions_are_refused(ends: Ends) -> None:
    ends.plain_client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with around(ends.server) as (wire, bare, taker):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Speaker(bare, ends.plain_client, NAME).handshake()
        await until(lambda: wire.lost)
        assert "unsupported protocol" in str(taker.lost[0])


@pytest.mark.parametrize(
    ("names", "dialed", "reason"),
    [
        (["other.example"], NAME, "another name"),
        ([NAME], "127.0.0.1", "another name"),
        (["127.0.0.1", "::1"], "127.0.0.1", ""),
        (["127.0.0.1", "::1"], "::1", ""),
        (["*.peer.example"], "a.peer.example", ""),
    ],
)
async def test_names(ends: Ends, names: list[str], dialed: str, reason: str) -> None:
    tls = ends.authority.issue(*names)
    ends.plain_server.load_cert_chain(str(tls.certificate), str(tls.key))
    await refused(ends, dialed, reason)


async def refused(ends: Ends, dialed: str, reason: str) -> None:
    async with around(ends.client, dialed) as (wire, bare, taker):
        other = asyncio.create_task(Speaker(bare, ends.plain_server).handshake())
        if not reason:
            await other
            return
        await until(lambda: wire.lost)
        (error,) = taker.lost
        assert isinstance(error, CertificateError)
        assert (error.name, error.reason, error.phase) == (dialed, reason, "tls")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await other


async def test_times(ends: Ends) -> None:
    for starts, end, reason in ((-2 * DAY, -DAY, "expired"), (DAY, 2 * DAY, "not yet valid")):
        tls = ends.authority.issue(starts=starts, ends=end)
        ends.plain_server.load_cert_chain(str(tls.certificate), str(tls.key))
        await refused(ends, NAME, reason)


async def test_authorities(ends: Ends, tmp_path: Path) -> None:
    tls = Authority(tmp_path, 3).issue()
    ends.plain_server.load_cert_chain(str(tls.certificate), str(tls.key))
    await refused(ends, NAME, "unknown authority")


async def test_who_refuses_our_certificate(ends: Ends) -> None:
    async with around(ends.server) as (wire, bare, taker):
        with pytest.raises(ssl.SSLCertVerificationError):
            await Speaker(bare, ssl.create_default_context(), NAME).handshake()
        await until(lambda: wire.lost)
        assert "does not take our certificate" in str(taker.lost[0])
