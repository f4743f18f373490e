"""What held when users' programs were played, and has to go on holding (B20, B21, B23, B24)."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stronghold_p2p import ConnectionClosed, DialError, Identity, Network, Request, Rule, Stream, Timeouts
from tests.peers import LOOPBACK, network, until

ECHO = "/echo/1.0.0"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_b20_a_listener_ends_soon_and_says_so() -> None:
    listen = ("-m", "stronghold_p2p", "listen", LOOPBACK, "--reply", '"here"')
    process = await asyncio.create_subprocess_exec(sys.executable, *listen, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    at = (await process.stdout.readline()).decode().split()[-1]
    async with Network() as alice:
        assert await alice.request(at, "who") == "here"
        connection = await alice.connect(at)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await until(lambda: connection.closed, 10.0)
        assert "closed the connection" in str(connection.error)
        async with asyncio.timeout(10.0):
            assert await process.wait() == 0
        assert time.monotonic() - began < 5.0  # 0.16 s on a machine that has nothing else to do


@contextmanager
def in_another_loop() -> Iterator[str]:
    """A network whose handler holds its event loop up for as many seconds as it is asked to; where it is."""
    ready, addresses = threading.Event(), list[str]()
    stop: list[Any] = []

    async def serve() -> None:
        bob = Network(listen=[LOOPBACK])
        bob.firewall.set(Rule.ALLOW)

        @bob.on_request
        async def block(request: Request[Any]) -> Any:
            time.sleep(request.message)  # noqa: ASYNC251 - as a program does that ought not to
            return request.message

        async with bob:
            over = asyncio.Event()
            loop = asyncio.get_running_loop()
            stop.append(lambda: loop.call_soon_threadsafe(over.set))
            addresses.append(str(bob.addresses[0]))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10.0)
        yield addresses[0]
    finally:
        stop[0]()
        thread.join(10.0)


async def test_b21_a_peer_whose_loop_stands_still_for_less_than_the_answer_limit_loses_nothing() -> None:
    timeouts = Timeouts(keepalive=0.1, keepalive_answer=5.0)
    with in_another_loop() as at:
        async with Network(timeouts=timeouts) as alice:
            connection = await alice.connect(at)
            assert await alice.request(at, 0.6) == 0.6
            assert not connection.closed


async def test_b21_a_peer_that_is_silent_for_longer_is_given_up_and_dialed_anew() -> None:
    timeouts = Timeouts(keepalive=0.1, keepalive_answer=0.2)
    with in_another_loop() as at:
        async with Network(timeouts=timeouts) as alice:
            with pytest.raises(ConnectionClosed, match="keep-alive ping within"):
                await alice.request(at, 1.5)
            assert await alice.request(at, 0, timeout=20) == 0


async def test_b23_opened_used_and_closed_by_three_tasks() -> None:
    async with network(lambda request: request.message) as bob:
        alice = Network()
        await asyncio.create_task(alice.open())
        assert await asyncio.create_task(alice.request(bob.addresses[0], "x")) == "x"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await alice.request(bob.addresses[0], "late")
        async with asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(alice.request(bob.addresses[0], number)) for number in range(20)]
        assert [answer.result() for answer in answers] == list(range(20))
        await asyncio.create_task(alice.close())


async def test_b23_two_thousand_who_wait_for_one_dial_that_fails() -> None:
    nowhere = f"/ip4/127.0.0.1/tcp/1/p2p/{Identity().peer_id}"
    async with Network() as alice:
        failed = await asyncio.gather(*(alice.connect(nowhere) for _ in range(2_000)), return_exceptions=True)
        assert all(isinstance(error, DialError) for error in failed)
        assert len(set(map(id, failed))) == 1
        first = failed[0]
        assert isinstance(first, DialError)
        assert len(traceback.extract_tb(first.__traceback__)) <= 9 * 2_000  # what one object collects for all of them


async def test_b24_what_was_written_before_the_end_is_read_after_it() -> None:
    async with Network(listen=[LOOPBACK]) as bob, Network() as alice:
        bob.firewall.set(Rule.ALLOW)

        @bob.on_stream(ECHO)
        async def write(stream: Stream) -> None:
            await stream.write(bytes(250_000))

        stream = await alice.open_stream(bob.addresses[0], ECHO, wait=True)
        await bob.close()
        await asyncio.sleep(0.2)
        assert len(await stream.read_to_end(1 << 20)) == 250_000
