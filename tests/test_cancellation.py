"""Hostile row 108: everything that can be awaited on the public face, cancelled wherever it can be.

``CancelledError`` comes out, nothing is left, and the same works afterwards. Whoever adds a coroutine to the face adds
a scenario here: ``test_every_awaitable_has_a_scenario`` fails until then.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

import stronghold_p2p
from stronghold_p2p import BYTES, Attempt, Dropped, Event, Network, Request, RequestProtocol, Rule, Stream
from stronghold_p2p.errors import StreamReset, UsageError
from stronghold_p2p.streams.stream import StreamOpening
from tests import cancel
from tests.cancel import Check, Finished, Make
from tests.peers import ECHO, LOOPBACK, echo, mirror, network, never, until

PROTOCOLS = {"__await__", "__aenter__", "__aexit__", "__aiter__", "__anext__"}
HOLD, LATE, SLOW = "/hold/1.0.0", "/late/1.0.0", "/slow/1.0.0"
VIEWED: RequestProtocol[bytes, bytes] = RequestProtocol("/viewed/1", request=BYTES, response=BYTES, view=len)
LONG = "long" * 75_000  # more than a window: it is sent while the answer may already come
WINDOW = 256 << 10


def awaitables() -> Iterator[str]:
    """``Class.method`` of what can be awaited, entered or iterated over asynchronously."""
    for name in stronghold_p2p.__all__:
        kind = getattr(stronghold_p2p, name)
        if not inspect.isclass(kind):
            assert not inspect.iscoroutinefunction(kind), f"{name}: a coroutine function needs a scenario, too"
            continue
        for attribute, found in inspect.getmembers(kind):
            public = not attribute.startswith("_") and _gives_a_coroutine(found)
            if public or inspect.isasyncgenfunction(found) or attribute in PROTOCOLS:
                yield f"{name}.{attribute}"
            elif not attribute.startswith("_") and callable(found):
                assert not _gives_something_to_await(found), f"{name}.{attribute}: what it returns is not on the face"


def _gives_a_coroutine(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or _returns(function).startswith("collections.abc.Coroutine")


def _gives_something_to_await(function: Any) -> bool:
    """Whether it returns an awaitable that has no scenario of its own (those on the face have)."""
    return re.match(r"([\w.]+\.)?(Awaitable|Future|Task|AsyncIterator)\b", _returns(function)) is not None


def _returns(function: Any) -> str:
    try:
        return str(inspect.signature(function).return_annotation)
    except (TypeError, ValueError):
        return ""


@dataclass
class Scene:
    """Bob serves everybody; alice has an open connection to him."""

    bob: Network
    alice: Network
    base: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """What may not grow; ``known_peers`` and the listeners are the scenario's own."""
        whose = {"bob": self.bob, "alice": self.alice}
        kept = {f"{who} {name}": count for who, one in whose.items() for name, count in one.stats().items()}
        kept["tasks"] = len(asyncio.all_tasks())
        return {name: count for name, count in kept.items() if "known" not in name}

    def grown(self) -> dict[str, int]:
        return {name: count for name, count in self.counts().items() if count > self.base[name]}

    async def calm(self) -> None:
        """Everything is as it was before, and works."""
        for _ in range(2):
            with suppress(TimeoutError):
                await until(lambda: not self.grown())
            assert not self.grown()
            assert await self.alice.request(self.bob.peer_id, "works") == "works"

    async def everywhere(self, make: Make, finished: Finished | None = None, tidy: Check | None = None) -> int:
        """Cancel it at each suspension, then after each number of turns; ``tidy`` before each look at what is left."""
        self.base = self.counts()

        async def check() -> None:
            if tidy is not None:
                await tidy()
            await self.calm()

        number = await cancel.everywhere(make, check, finished)
        await cancel.at_each_turn(make, check, finished)
        return number


def gives(right: Callable[[Any], bool]) -> Finished:
    """What comes out of a call that was not cancelled."""

    async def finished(result: Any) -> None:
        assert right(result), result

    return finished


async def answer(request: Request[Any]) -> Any:
    for _ in range(3):
        await asyncio.sleep(0)
    return request.message


def serving() -> Network:
    bob = network(answer)
    bob.on_request(VIEWED)(mirror)
    bob.on_stream(ECHO)(echo)
    bob.on_stream(HOLD)(never)

    @bob.on_stream(LATE)
    async def late(stream: Stream) -> None:
        await asyncio.sleep(0.02)
        await stream.read_to_end(4 * WINDOW)

    @bob.on_stream(SLOW)
    async def slow(stream: Stream) -> None:
        """Reads now and then; a turn of the loop passes before each piece."""
        async for _ in stream:
            await asyncio.sleep(0)

    return bob


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with serving() as bob, Network() as alice:
        connection = await alice.connect(bob.addresses[0])
        await until(lambda: bob.connections())
        await alice.request(bob.peer_id, "warm")
        await until(lambda: not connection.streams and not bob.connections()[0].streams)
        yield Scene(bob, alice)


Scenario = Callable[[Scene], Coroutine[Any, Any, int]]
SCENARIOS: dict[tuple[str, ...], tuple[Scenario, int]] = {}


def scenario(*names: str, least: int = 1) -> Callable[[Scenario], None]:
    """``least``: suspensions that there have to be, so that the scenario cannot become empty unnoticed."""
    return lambda play: SCENARIOS.update({names: (play, least)})


def test_every_awaitable_has_a_scenario() -> None:
    assert sorted(awaitables()) == sorted(name for names in SCENARIOS for name in names)
    assert len(list(awaitables())) >= 25


# ---------------------------------------------------------------------- Network


async def closed(network: Network) -> None:
    """It has ended, whatever became of the call that ended it."""
    await network.__aexit__(None, None, None)
    left = {name: count for name, count in network.stats().items() if name != "known_peers" and count}
    assert not left
    with pytest.raises(UsageError):
        await network.connect(LOOPBACK)


@scenario("Network.__aenter__", least=2)
async def enter(one: Scene) -> int:
    made: list[Network] = []

    async def open_it() -> Network:
        made.append(Network(listen=[LOOPBACK, LOOPBACK]))
        return await made[-1].__aenter__()

    async def finished(network: Network) -> None:
        assert len(network.listeners) == 2
        await one.alice.connect(network.addresses[1])
        await one.alice.disconnect(network.peer_id)

    async def tidy() -> None:
        for each in made:
            await closed(each)
        made.clear()

    return await one.everywhere(open_it, finished, tidy)


@scenario("Network.__aexit__")
async def leave(one: Scene) -> int:
    made: list[Network] = []

    async def close_it() -> None:
        made.append(serving())
        await made[-1].__aenter__()
        await one.alice.open_stream(made[-1].addresses[0], HOLD)
        dialing = asyncio.ensure_future(made[-1].connect("/ip4/127.0.0.1/tcp/1"))
        try:
            await made[-1].__aexit__(None, None, None)
        finally:
            dialing.cancel()
            await asyncio.gather(dialing, return_exceptions=True)

    async def tidy() -> None:
        for each in made:
            if hasattr(each._swarm, "loop"):
                await closed(each)
            await one.alice.disconnect(each.peer_id)
        made.clear()

    return await one.everywhere(close_it, None, tidy)


@scenario("Network.open", "Network.close")
async def open_and_close(one: Scene) -> int:
    """The same as entering and leaving, which call them."""
    made: list[Network] = []

    async def both() -> None:
        made.append(Network(listen=[LOOPBACK]))
        await made[-1].open()
        await made[-1].close()

    async def tidy() -> None:
        for each in made:
            await closed(each)
        made.clear()

    return await one.everywhere(both, None, tidy)


@scenario("Keeping.connected", "Keeping.__aenter__", "Keeping.__aexit__", least=2)
async def keeping(one: Scene) -> int:
    async def kept() -> bool:
        async with one.alice.keep(one.bob.addresses[0]) as keep:
            await one.alice.disconnect(one.bob.peer_id)
            return (await keep.connected()).peer == one.bob.peer_id

    async def tidy() -> None:
        await one.alice.connect(one.bob.addresses[0])

    return await one.everywhere(kept, gives(lambda found: found is True), tidy)


@scenario("Network.connect")
async def connect(one: Scene) -> int:
    async with serving() as carol:

        async def tidy() -> None:
            await one.alice.disconnect(carol.peer_id)
            await until(lambda: not any(carol.stats()[name] for name in ("inbound", "pending_in", "streams")))

        found = gives(lambda connection: bool(connection.peer == carol.peer_id))
        return await one.everywhere(lambda: one.alice.connect(carol.addresses[0]), found, tidy)


@scenario("Network.disconnect")
async def disconnect(one: Scene) -> int:
    async with serving() as carol:
        await one.alice.connect(carol.addresses[0])

        async def tidy() -> None:
            """Once it has begun it goes through; the peer is told before anything is waited for."""
            if begun:
                await until(lambda: not one.alice.connections(carol.peer_id))
            begun.clear()
            await until(lambda: len(carol.connections()) == len(one.alice.connections(carol.peer_id)))
            await one.alice.connect(carol.addresses[0])

        begun: list[bool] = []

        async def make() -> int:
            begun.append(True)
            return await one.alice.disconnect(carol.peer_id)

        return await one.everywhere(make, None, tidy)


async def stop_listening(one: Scene) -> None:
    for listener in one.alice.listeners:
        await listener.close()


@scenario("Network.listen")
async def listen(one: Scene) -> int:
    return await one.everywhere(lambda: one.alice.listen(LOOPBACK), None, lambda: stop_listening(one))


@scenario("Network.request")
async def request(one: Scene) -> int:
    said = gives(lambda answer: answer in ("hello", b"hello", LONG))
    await one.everywhere(lambda: one.alice.request(one.bob.peer_id, b"hello", VIEWED), said)
    await one.everywhere(lambda: one.alice.request(one.bob.peer_id, LONG), said)
    await asked(one, one.alice, "out")
    await asked(one, one.bob, "in")
    async with serving() as carol:
        make, tidy = one.alice.request, one.alice.disconnect
        await one.everywhere(lambda: make(carol.addresses[0], "hello"), said, lambda: tidy(carol.peer_id))
    return await one.everywhere(lambda: one.alice.request(one.bob.peer_id, "hello"), said)


async def asked(one: Scene, whose: Network, direction: Any) -> None:
    """A request while a hook is asked."""

    @whose.firewall.on_ask
    async def approve(attempt: Attempt) -> bool:
        await asyncio.sleep(0)
        return True

    whose.firewall.set(Rule.ASK, direction=direction)
    await one.everywhere(lambda: one.alice.request(one.bob.peer_id, "hello"), gives(lambda answer: answer == "hello"))
    whose.firewall.set(Rule.ALLOW, direction=direction)


@scenario("Network.ping")
async def ping(one: Scene) -> int:
    await one.alice.ping(one.bob.peer_id)  # its stream stays for a while
    return await one.everywhere(lambda: one.alice.ping(one.bob.peer_id), gives(lambda took: took > 0))


@scenario("Network.identify")
async def identify(one: Scene) -> int:
    right = gives(lambda info: bool(info.peer == one.bob.peer_id))
    with pytest.MonkeyPatch.context() as patch:  # it is soon too often
        patch.setattr("stronghold_p2p.protocols.identify.ASKS", 1 << 20)
        one.bob._identify._asked.clear()
        return await one.everywhere(lambda: one.alice.identify(one.bob.peer_id), right)


@scenario("Network.serve_forever")
async def serve_forever(one: Scene) -> int:
    """It ends by being cancelled only."""
    one.base = one.counts()
    for turns in range(4):
        task = asyncio.ensure_future(one.bob.serve_forever())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await one.calm()
    return 1


# ---------------------------------------------------------------------- Opening


def unheard(one: Scene) -> StreamOpening:
    """What identify has told is forgotten: protocols have to be negotiated."""
    one.alice._swarm.peer_protocols.clear()
    return one.alice.open_stream(one.bob.peer_id, "/none/1", ECHO)


@scenario("StreamOpening.__await__")
async def opening(one: Scene) -> int:
    async def opened() -> Stream:
        return await unheard(one)

    async def finished(stream: Stream) -> None:
        assert stream.protocol == ECHO
        await stream.close()

    return await one.everywhere(opened, finished)


@scenario("StreamOpening.__aenter__", "StreamOpening.__aexit__", least=2)
async def opening_in_a_block(one: Scene) -> int:
    async def block() -> bytes:
        async with unheard(one) as stream:
            await stream.write(b"hello")
            return await stream.readexactly(5)

    return await one.everywhere(block, gives(lambda answer: answer == b"hello"))


# ---------------------------------------------------------------------- Connection, Listener


@scenario("Connection.close")
async def close_connection(one: Scene) -> int:
    async with serving() as carol:
        connections = [await one.alice.connect(carol.addresses[0])]

        async def tidy() -> None:
            await connections[-1].close()  # a call that was cancelled before it began has done nothing
            await until(lambda: not carol.connections())
            connections.append(await one.alice.connect(carol.addresses[0]))

        return await one.everywhere(lambda: connections[-1].close(), None, tidy)


@scenario("Listener.close", least=0)
async def close_listener(one: Scene) -> int:
    async def close() -> None:
        await (await one.alice.listen(LOOPBACK)).close()

    await one.everywhere(close, None, lambda: stop_listening(one))
    return 0  # it waits for nothing


# ---------------------------------------------------------------------- Stream


@dataclass
class Counted:
    """An echo stream on which numbered bytes go out, and what came back: no byte may be lost or come twice."""

    stream: Stream
    sent: int = 0
    got: bytearray = field(default_factory=bytearray)

    async def feed(self, count: int) -> None:
        """Let bytes arrive, in two pieces and some turns apart."""
        for size in (count // 2, count - count // 2):
            await self.stream.write(bytes((self.sent + n) % 251 for n in range(size)))
            self.sent += size

    async def rest(self) -> None:
        """All that was sent comes back, once and in order."""
        while len(self.got) < self.sent:
            self.got += await self.stream.read(1_000)
        assert bytes(self.got) == bytes(n % 251 for n in range(self.sent))


@asynccontextmanager
async def counted(one: Scene) -> AsyncIterator[Counted]:
    async with one.alice.open_stream(one.bob.peer_id, ECHO) as stream:
        await stream.write(b"?")
        assert await stream.readexactly(1) == b"?"
        yield Counted(stream)


async def reading(one: Scene, read: Callable[[Stream], Coroutine[Any, Any, bytes]]) -> int:
    """``read`` takes up to ten bytes; a cancelled one takes none."""
    async with counted(one) as numbers:

        async def make() -> bytes:
            await numbers.feed(10)
            return await read(numbers.stream)

        async def finished(piece: bytes) -> None:
            numbers.got += piece

        return await one.everywhere(make, finished, numbers.rest)


async def first(stream: Stream) -> bytes:
    async for piece in stream:
        return piece
    return b""


scenario("Stream.read")(lambda one: reading(one, lambda stream: stream.read(10)))
scenario("Stream.readexactly")(lambda one: reading(one, lambda stream: stream.readexactly(10)))
scenario("Stream.__aiter__")(lambda one: reading(one, first))


@scenario("Stream.read_message", "Stream.write_message")
async def messages(one: Scene) -> int:
    async with counted(one) as numbers:
        stream, waiting = numbers.stream, 0

        async def make() -> bytes | None:
            nonlocal waiting
            if not waiting:
                await stream.write_message(b"m" * 200)
                waiting = 1
            message = await stream.read_message()
            waiting = 0
            return message

        return await one.everywhere(make, gives(lambda message: message == b"m" * 200))


@scenario("Stream.read_to_end")
async def read_to_end(one: Scene) -> int:
    made: list[Stream] = []

    async def make() -> bytes:
        stream = await one.alice.open_stream(one.bob.peer_id, ECHO)
        made.append(stream)
        await stream.write(b"x" * 5_000)
        await stream.close_write()
        return await stream.read_to_end()

    async def tidy() -> None:
        for stream in made:  # what had come is still there
            assert await stream.read_to_end() in (b"x" * 5_000, b"")
            await stream.close()
        made.clear()

    return await one.everywhere(make, gives(lambda data: data == b"x" * 5_000), tidy)


@scenario("Stream.write", "Stream.__aenter__", "Stream.__aexit__", least=2)
async def write(one: Scene) -> int:
    async def make() -> None:
        async with await one.alice.open_stream(one.bob.peer_id, SLOW) as stream:
            await stream.write(bytes(4 * WINDOW))

    return await one.everywhere(make)


@scenario("Stream.close", "Stream.close_write", least=0)
async def close_stream(one: Scene) -> int:
    """They wait for nothing, not for a write either: it makes a close a reset, and that of one direction an error."""
    made: list[tuple[Stream, asyncio.Task[None]]] = []

    async def make() -> None:
        stream = await one.alice.open_stream(one.bob.peer_id, LATE)
        made.append((stream, asyncio.ensure_future(stream.write(bytes(2 * WINDOW)))))
        await asyncio.sleep(0)
        with pytest.raises(UsageError):
            await stream.close_write()
        await stream.close()

    async def tidy() -> None:
        for stream, writing in made:
            await stream.close()
            await asyncio.gather(writing, return_exceptions=True)
            with suppress(StreamReset, UsageError):
                writing.result()
        made.clear()

    await one.everywhere(make, None, tidy)
    return 0


# ---------------------------------------------------------------------- Events


@scenario("Events.__aiter__", "Events.__anext__", "Events.__aenter__", "Events.__aexit__")
async def events(one: Scene) -> int:
    async with Network() as quiet, quiet.events() as seen:
        told = got = 0

        async def make() -> Event:
            nonlocal told
            told += 1
            asyncio.get_running_loop().call_later(0.001, quiet._swarm.hub.emit, Dropped(told))
            return await anext(aiter(seen))

        async def finished(event: Event) -> None:
            nonlocal got
            assert event == Dropped(got + 1)
            got += 1

        async def tidy() -> None:
            """A reader who was cancelled has taken nothing."""
            while got < told:
                await finished(await anext(seen))

        return await one.everywhere(make, finished, tidy)


@pytest.mark.speed
@pytest.mark.parametrize(("play", "least"), SCENARIOS.values(), ids=map(" ".join, SCENARIOS))
async def test_cancelled_everywhere(play: Scenario, least: int) -> None:
    async with scene() as one:
        assert await play(one) >= least
