"""asyncio's reader and writer over a stream do what they do over a socket of asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from stronghold_p2p import Network, Stream
from stronghold_p2p.errors import StreamReset
from tests.peers import connected, network, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BIG = bytes(range(256)) * 8_000  # 2 MiB


@asynccontextmanager
async def by_socket(serve: Serve) -> AsyncIterator[Ends]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        yield reader, writer
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def by_stream(serve: Serve, limit: int = 65_536) -> AsyncIterator[Ends]:
    bob = network(None)

    @bob.on_stream("/any/1")
    async def handle(stream: Stream) -> None:
        reader, writer = stream.to_asyncio()
        await serve(reader, writer)
        writer.close()

    async with connected(bob) as alice:
        async with alice.open_stream(bob.peer_id, "/any/1") as stream:
            reader, writer = stream.to_asyncio(limit)
            yield reader, writer
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        await until(lambda: not alice.stats()["streams"] and not bob.stats()["streams"])


EACH = pytest.mark.parametrize("over", [by_socket, by_stream])


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@EACH
async def test_bytes_there_and_back(over: Any) -> None:
    async with over(echo) as (reader, writer):
        writer.writelines([b"one\n", bytearray(b"two"), memoryview(b"\n")])
        assert [await reader.readline(), await reader.readuntil(b"o\n")] == [b"one\n", b"two\n"]

        async def send() -> None:
            for at in range(0, len(BIG), 100_000):
                writer.write(BIG[at : at + 100_000])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert await reader.read(-1) == BIG
        await sending
        assert reader.at_eof()
        assert writer.can_write_eof()
        with pytest.raises(RuntimeError):
            writer.write(b"more")


@EACH
async def test_a_peer_that_does_not_read_holds_up_drain(over: Any) -> None:
    go_on = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await echo(reader, writer)

    async with over(slow) as (reader, writer):
        transport = cast(asyncio.WriteTransport, writer.transport)
        for _ in range(200):
            writer.write(bytes(100_000))
        assert transport.get_write_buffer_size() > 65_536
        draining = asyncio.create_task(writer.drain())
        await asyncio.sleep(5)
        assert not draining.done()
        go_on.set()
        got = 0
        while got < 20_000_000:
            got += len(await reader.read(1 << 20))
        await draining
        assert transport.get_write_buffer_size() == 0


@EACH
async def test_closing_lets_leave_what_was_written(over: Any) -> None:
    got: list[bytes] = []
    done = asyncio.Event()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(-1))
        writer.close()
        done.set()

    async with over(keep) as (_, writer):
        writer.write(BIG)
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()
        await done.wait()
        assert got == [BIG]
        writer.write(b"for nobody")
        with pytest.raises(ConnectionResetError):
            await writer.drain()


@EACH
async def test_an_end_in_the_middle(over: Any) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half")
        writer.close()

    async with over(half) as (reader, _):
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.readexactly(8)
        assert caught.value.partial == b"half"
        assert await reader.read() == b""


@EACH
async def test_a_reset_is_the_standard_error(over: Any) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if isinstance(found := writer.get_extra_info("stream"), Stream):
            found.reset()
        else:
            writer.transport.abort()
            await asyncio.sleep(0)

    async with over(cut) as (reader, writer):
        transport = writer.transport
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(100):
                writer.write(bytes(100_000))
                await writer.drain()
            await reader.read(-1)
        await until(transport.is_closing)
        writer.write(b"for nobody")
        with pytest.raises(ConnectionResetError):
            await writer.drain()


async def test_a_reset_by_the_peer_reaches_the_reader() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.get_extra_info("stream").reset(7)

    async with by_stream(cut) as (reader, writer):
        writer.write(b"x")
        with pytest.raises(StreamReset) as caught:
            await reader.readline()
        assert caught.value.code == 7
        with pytest.raises(StreamReset):
            await writer.wait_closed()


async def test_what_nobody_reads_waits_at_the_peer() -> None:
    """The reader takes twice its limit, and the rest stays in the window of the stream."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 4 << 20:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with by_stream(flood, 1_000) as (reader, writer):
        await asyncio.sleep(5)
        assert not cast(asyncio.ReadTransport, writer.transport).is_reading()
        assert sent < 1 << 20
        assert len(await reader.read(-1)) == 4 << 20


async def test_abort_resets() -> None:
    ended: list[BaseException] = []

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except StreamReset as error:
            ended.append(error)

    async with by_stream(wait) as (reader, writer):
        writer.write(BIG)
        writer.transport.abort()
        await writer.wait_closed()
        assert await reader.read() == b""
        await until(lambda: ended)
    ended.clear()


async def test_what_else_it_tells() -> None:
    async with by_stream(echo) as (reader, writer):
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        transport = cast(Any, writer.transport)
        assert writer.get_extra_info("stream").protocol == "/any/1"
        assert writer.get_extra_info("peername")[0] == writer.get_extra_info("sockname")[0] == "127.0.0.1"
        assert writer.get_extra_info("peername") != writer.get_extra_info("sockname")
        assert writer.get_extra_info("sslcontext", "none") == "none"
        assert (transport.get_write_buffer_limits(), transport.is_reading()) == ((16_384, 65_536), True)
        transport.set_write_buffer_limits(low=10)
        assert transport.get_write_buffer_limits() == (10, 40)
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(1, 2)
        assert repr(transport).startswith("<StreamTransport <Stream")
        assert transport.get_protocol()


async def test_a_handler_that_just_returns_ends_both_tasks() -> None:
    """The library closes the stream then; the leak check sees what is left."""
    kept: list[Any] = []
    bob = network(None)

    @bob.on_stream("/any/1")
    async def handle(stream: Stream) -> None:
        kept.extend(stream.to_asyncio())
        kept[1].write(b"bye")

    async with connected(bob, Network()) as alice, alice.open_stream(bob.peer_id, "/any/1") as stream:
        assert await stream.read(-1) == b"bye"
        assert kept[1].is_closing()
        kept.clear()


@pytest.mark.parametrize("name", ["read", "write"])
async def test_a_fault_of_ours_reaches_reader_and_writer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 113: the loop hears nothing of it."""

    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    bob = network(None)

    @bob.on_stream("/any/1")
    async def handle(stream: Stream) -> None:
        await stream.read()

    async with connected(bob) as alice, alice.open_stream(bob.peer_id, "/any/1") as stream:
        monkeypatch.setattr(stream._live, name, broken)
        reader, writer = stream.to_asyncio()
        writer.write(BIG)
        with pytest.raises(ZeroDivisionError):
            await reader.read()
        with pytest.raises(ZeroDivisionError):
            await writer.wait_closed()
        with pytest.raises(ZeroDivisionError):
            await writer.drain()
