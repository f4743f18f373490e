"""Every public coroutine, cancelled at each of its suspensions: nothing swallowed, nothing left, and it works again."""

from __future__ import annotations

import asyncio

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests import cancel
from tests.peers import ECHO, ask, connect, echo, swallow, swarm, swarms, turns, until
from tests.swarm.raw import dial_raw, muxer, raw_out
from tests.transport.ends import identity

HELLO = b"hello"


def settled(one: Swarm, connections: int = 0) -> bool:
    """No dial and no upgrade is under way."""
    counts = dict(one.gate.snapshot())
    return (
        not one.listeners.pending
        and counts["pending_in"] == counts["pending_out"] == 0
        and counts["inbound"] + counts["outbound"] == connections == len(one.connections())
    )


async def test_dial() -> None:
    async with swarm(1) as alice, swarm(2) as bob:

        async def check() -> None:
            await until(lambda: settled(alice) and settled(bob))

        async def finished(connection: LiveConnection) -> None:
            assert connection.peer == bob.peer_id
            await connection.close()

        number = await cancel.everywhere(lambda: alice.dial(bob.peer_id, bob.addresses), check, finished=finished)
        assert number >= 1


async def test_dial_at_each_turn_of_the_loop() -> None:
    """The dial is a task of its own: it is cancelled wherever it happens to be."""
    async with swarm(1) as alice, swarm(2) as bob:
        for after in range(60):
            task = asyncio.ensure_future(alice.dial(bob.peer_id, bob.addresses))
            await turns(after)
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            for connection in alice.connections():
                await connection.close()
            await until(lambda: settled(alice) and settled(bob))
            if isinstance(result, LiveConnection):
                break
        else:
            raise AssertionError("never finished")
        assert after > 5


async def test_listen() -> None:
    async with swarm(1) as alice:

        async def check() -> None:
            for listener in alice.listeners.all[1:]:
                await listener.face.close()
            assert len(alice.addresses) == 1

        assert await cancel.everywhere(lambda: alice.listen(parse("/ip4/127.0.0.1/tcp/0")), check) >= 1


async def test_open_stream() -> None:
    async with swarms(echo) as (_, bob, connection):

        async def check() -> None:
            await until(lambda: connection.streams == 0 and bob.connections()[0].streams == 0)
            assert await ask(connection) == HELLO

        async def finished(stream: LiveStream) -> None:
            stream.close()

        assert await cancel.everywhere(lambda: connection.open_stream(ECHO), check, finished=finished) == 0
        several = await cancel.everywhere(lambda: connection.open_stream("/x", "/y", ECHO), check, finished=finished)
        assert several >= 1


async def test_open_stream_that_waits_for_its_turn() -> None:
    async with swarm(1) as alice, raw_out(alice) as (_, connection):
        streams = [await connection.open_stream(ECHO) for _ in range(256)]

        async def check() -> None:
            assert connection.streams <= 256

        async def open_one() -> LiveStream:
            asyncio.get_running_loop().call_later(0.005, streams.pop().reset)
            return await connection.open_stream(ECHO)

        async def finished(stream: LiveStream) -> None:
            streams.append(stream)

        assert await cancel.everywhere(open_one, check, finished=finished) >= 1
        assert not muxer(connection)._session._opening
        connection.abort()


async def test_read_loses_nothing() -> None:
    async with swarms(echo) as (_, _, connection):
        stream = await connection.open_stream(ECHO)
        await stream.write(b"".join(bytes([n]) for n in range(200)))
        got = bytearray()

        async def read() -> bytes:
            return await stream.readexactly(3)

        async def finished(piece: bytes) -> None:
            got.extend(piece)

        async def check() -> None:
            got.extend(await stream.readexactly(2))

        for _ in range(5):
            await cancel.everywhere(read, check, finished=finished)
        assert bytes(got) == bytes(range(len(got)))
        stream.close()


async def test_write_and_close() -> None:
    async with swarms(swallow) as (_, bob, connection):

        async def write() -> None:
            async with await connection.open_stream(ECHO) as stream:
                await stream.write(bytes(2 << 20))

        async def check() -> None:
            await until(lambda: connection.streams == 0 and bob.connections()[0].streams == 0)

        assert await cancel.everywhere(write, check) >= 2


async def test_close_of_a_connection() -> None:
    async with swarm(1) as alice:
        raw = await dial_raw(alice)
        await until(lambda: alice.connections())
        (connection,) = alice.connections()
        task = asyncio.ensure_future(connection.close())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raw.close()
        connection.abort()
        await until(lambda: settled(alice) and not alice._ending)


async def test_close_of_a_swarm() -> None:
    for after in range(12):
        async with swarm(1) as alice, swarm(2) as bob:
            await connect(alice, bob)
            dialing = asyncio.ensure_future(alice.dial(identity(7).peer_id, bob.addresses))
            closing = asyncio.ensure_future(alice.close())
            await turns(after)
            closing.cancel()
            await asyncio.gather(closing, dialing, return_exceptions=True)
            await alice.close()
            await until(lambda alice=alice: settled(alice) and not alice._ending)  # type: ignore[misc]
