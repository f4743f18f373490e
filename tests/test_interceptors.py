"""Interceptors: around each handler, in their order, whenever they are added; and nothing where there are none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stronghold_p2p import JSON, Handle, Network, PartsProtocol, Rejected, Request, RequestProtocol, Stream
from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import ConfigError, StreamReset
from stronghold_p2p.interceptors import Interceptors, name_of
from tests.peers import connected, mirror, network, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

COUNT: PartsProtocol[Any, Any] = PartsProtocol("/count/1", request=JSON, part=JSON)
SHOP: RequestProtocol[Any, Any] = RequestProtocol("/shop/1", request=JSON, response=JSON, reasons=True)
UPPER = "/upper/1"


class Told:
    """An interceptor that notes what passes."""

    def __init__(self, name: str, notes: list[Any]) -> None:
        self._name, self._notes = name, notes

    async def __call__(self, call: Request[Any] | Stream, go_on: Handle) -> Any:
        self._notes.append(f"{self._name} {call.protocol}")
        try:
            return await go_on(call)
        finally:
            self._notes.append(f"{self._name} ends")


def serving(notes: list[Any], *interceptors: Any) -> Network:
    bob = network(None)
    for interceptor in interceptors:
        assert bob.intercept(interceptor) is interceptor

    @bob.on_request
    def answer(request: Request[Any]) -> Any:
        notes.append("answer")
        return request.message

    @bob.on_request(COUNT)
    async def count(request: Request[Any]) -> AsyncIterator[Any]:
        for number in range(request.message):
            notes.append(number)
            yield number

    @bob.on_stream(UPPER)
    async def upper(stream: Stream) -> None:
        notes.append("upper")
        await stream.write((await stream.read()).upper())

    return bob


async def shout(alice: Network, bob: Network) -> bytes:
    async with alice.open_stream(bob.peer_id, UPPER) as stream:
        await stream.write(b"hello")
        return await stream.read()


@pytest.mark.parametrize("early", [True, False])
async def test_they_are_around_every_handler_in_their_order(early: bool) -> None:
    """Also around handlers that were added before them."""
    notes: list[Any] = []
    both = [Told(name, notes) for name in ("first", "second")]
    bob = serving(notes, *both) if early else serving(notes)
    for late in () if early else both:
        bob.intercept(late)
    async with connected(bob) as alice:
        for ask, did in (
            (lambda: alice.request(bob.peer_id, "hi"), ["answer"]),
            (lambda: shout(alice, bob), ["upper"]),
            (lambda: anext(alice.request_parts(bob.peer_id, 2, COUNT)), [0, 1]),
        ):
            await ask()
            await until(lambda: notes[-1] == "first ends")
            name = notes[0].partition(" ")[2]
            assert notes == [f"first {name}", f"second {name}", *did, "second ends", "first ends"]
            notes.clear()


async def test_one_may_change_what_passes() -> None:
    bob = network(mirror)

    @bob.intercept
    async def change(call: Request[Any], go_on: Handle) -> Any:
        return [await go_on(call._replace(message=call.message + 1)), "changed"]

    async with connected(bob) as alice:
        assert await alice.request(bob.peer_id, 41) == [42, "changed"]


async def test_one_may_refuse() -> None:
    notes: list[Any] = []
    bob = serving(notes)
    bob.on_request(SHOP)(mirror)

    @bob.intercept
    async def auth(call: Request[Any] | Stream, go_on: Handle) -> Any:
        raise Rejected("members only")

    async with connected(bob) as alice:
        for protocol, reason in ((SHOP, "members only"), (None, "")):
            with pytest.raises(Rejected) as caught:
                await (alice.request(bob.peer_id, 1, protocol) if protocol else alice.request(bob.peer_id, 1))
            assert caught.value.reason == reason
        with pytest.raises(Rejected, match="members only"):
            await anext(alice.request_parts(bob.peer_id, 2, COUNT))
        with pytest.raises(StreamReset) as reset:
            await shout(alice, bob)
        assert reset.value.code == Reset.GATED
    assert not notes


async def test_what_another_peer_refuses_to_a_stream_handler_is_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    bob = network(None)

    @bob.on_stream(UPPER)
    async def upper(stream: Stream) -> None:
        raise Rejected("by somebody else", peer=stream.peer)

    async with connected(bob) as alice:
        with pytest.raises(StreamReset) as reset:
            await shout(alice, bob)
        assert reset.value.code == Reset.NONE
    assert "handler of /upper/1 failed" in caplog.text
    caplog.clear()


async def test_one_may_answer_itself() -> None:
    notes: list[Any] = []
    bob = serving(notes)

    @bob.intercept
    async def cached(call: Request[Any] | Stream, go_on: Handle) -> Any:
        return "from the cache"

    async with connected(bob) as alice:
        assert await alice.request(bob.peer_id, 1) == "from the cache"
        assert [part async for part in alice.request_parts(bob.peer_id, 5, COUNT)] == []
        assert await shout(alice, bob) == b""
    assert not notes


async def test_it_sees_a_part_that_fails() -> None:
    """All parts have left, or it has failed, when what goes on returns."""
    seen: list[Any] = []
    bob = network(None)

    @bob.on_request(COUNT)
    async def count(request: Request[Any]) -> AsyncIterator[Any]:
        yield 1
        raise Rejected("enough")

    @bob.intercept
    async def watch(call: Request[Any] | Stream, go_on: Handle) -> Any:
        try:
            return await go_on(call)
        except Rejected as error:
            seen.append(str(error))
            raise

    async with connected(bob) as alice:
        with pytest.raises(Rejected):
            assert [part async for part in alice.request_parts(bob.peer_id, 5, COUNT)]
    assert seen == ["enough"]


async def test_one_added_later_is_there_from_the_next_call_on() -> None:
    notes: list[Any] = []
    async with connected(bob := serving(notes)) as alice:
        await alice.request(bob.peer_id, 1)
        bob.intercept(Told("late", notes))
        await alice.request(bob.peer_id, 1)
    assert notes == ["answer", "late /stronghold-p2p/1.0.0", "answer", "late ends"]


@pytest.mark.parametrize("wrong", [lambda call, go_on: None, mirror, 5, None])
async def test_what_cannot_wait_is_no_interceptor(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="async def of two parameters") as caught:
        network(None).intercept(wrong)
    assert caught.value.where == "intercept"


async def test_without_any_a_handler_is_stored_as_it_is() -> None:
    bob = network(None)
    stored: list[Any] = []
    serve: Any = bob._server.serve

    def note(*given: Any) -> Any:
        stored.append(serve(*given))
        return stored[-1]

    bob._server.serve = note  # type: ignore[method-assign, assignment]
    bob.on_request(mirror)
    assert stored[0].handler is mirror
    assert not Interceptors()


def test_a_handler_has_its_name_behind_interceptors() -> None:
    around = Interceptors()
    assert name_of(mirror) == name_of(around.around(mirror)) == "mirror"
    around.add(Told("one", []))
    around.add(Told("other", []))
    assert name_of(around.around(mirror)) == "mirror"
    assert name_of(Told("of a class", [])) == "Told"
