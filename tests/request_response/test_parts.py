"""Answers in parts: what comes, in which order, how fast it may be made, and what is left when either side stops."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from stronghold_p2p import BYTES, JSON, Network, Parts, PartsProtocol, Request, RequestFailed, Rule, Timeouts
from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import (
    ConfigError,
    DeadlineExceeded,
    DialError,
    LimitExceeded,
    Malformed,
    Rejected,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
    UsageError,
)
from stronghold_p2p.request_response.codecs.codec import frame
from stronghold_p2p.request_response.parts import STEPS, State, Step
from stronghold_p2p.request_response.parts_server import serve_parts
from tests.peers import network, turns, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

COUNT: PartsProtocol[Any, Any] = PartsProtocol("/count/1", request=JSON, part=JSON)
BLOBS: PartsProtocol[Any, Any] = PartsProtocol("/blobs/1", request=JSON, part=BYTES, max_part=1 << 20)


async def count(request: Request[Any]) -> AsyncIterator[Any]:
    for number in range(request.message):
        yield number


class Endless:
    """Parts without end: how many were made, and whether it was told that nobody wants more."""

    def __init__(self, part: Any = "part", pause: float | None = None) -> None:
        self.made = 0
        self.ended = False
        self._part, self._pause = part, pause

    async def __call__(self, request: Request[Any]) -> AsyncIterator[Any]:
        try:
            while True:
                self.made += 1
                yield self._part
                if self._pause is not None:
                    await asyncio.sleep(self._pause)
        finally:
            await asyncio.sleep(0)  # tidying may take its time
            self.ended = True


@asynccontextmanager
async def pair(
    handler: Any = count, protocol: PartsProtocol[Any, Any] = COUNT, **options: Any
) -> AsyncIterator[tuple[Network, Network]]:
    """Bob, who answers in parts, and Alice, connected. Afterwards nothing is left of any answer."""
    bob = network(None, **options)
    bob.on_request(protocol)(handler)
    async with bob, Network() as alice:
        await alice.connect(bob.addresses[0])
        yield bob, alice
        names = "requests_in", "requests_out", "streams"
        await until(lambda: not any(one.stats()[name] for one in (alice, bob) for name in names))


async def everything(parts: Parts[Any]) -> list[Any]:
    return [part async for part in parts]


async def error_of(parts: Parts[Any]) -> Any:
    with pytest.raises(Exception) as caught:
        await everything(parts)
    return caught.value


@pytest.mark.parametrize("number", [0, 1, 3, 2_000])
async def test_all_parts_come_in_order(number: int) -> None:
    async with pair() as (bob, alice):
        parts = alice.request_parts(bob.peer_id, number, COUNT)
        assert await everything(parts) == list(range(number))
        assert parts.count == number
        assert parts.size == sum(1 + len(str(one)) for one in range(number)) + 1
        with pytest.raises(StopAsyncIteration):
            await anext(parts)
        await parts.aclose()


async def test_the_first_call_dials() -> None:
    bob = network(None)
    bob.on_request(COUNT)(count)
    async with bob, Network() as alice:
        parts = alice.request_parts(bob.addresses[0], 2, COUNT)
        await turns()
        assert not alice.connections()
        assert await everything(parts) == [0, 1]
        assert repr(parts) == "<Parts /count/1 2 so far>"


async def test_what_goes_over_the_wire() -> None:
    """docs/requests.md, "On the wire"."""
    async with pair() as (bob, alice), alice.open_stream(bob.peer_id, "/count/1") as stream:
        await stream.write(frame(b"2"))
        assert await stream.read_to_end() == frame(b"\x000") + frame(b"\x001") + frame(b"\x02")


@pytest.mark.parametrize("size", [70_000, 1_000_000])
async def test_parts_may_be_long(size: int) -> None:
    async def blobs(request: Request[Any]) -> AsyncIterator[bytes]:
        for letter in (b"a", b"b", b"c"):
            yield letter * size

    async with pair(blobs, BLOBS) as (bob, alice):
        got = await everything(alice.request_parts(bob.peer_id, 3, BLOBS))
        assert got == [letter * size for letter in (b"a", b"b", b"c")]


async def test_a_long_request_reaches_the_handler() -> None:
    async def length(request: Request[Any]) -> AsyncIterator[Any]:
        yield len(request.message)

    async with pair(length) as (bob, alice):
        assert await everything(alice.request_parts(bob.peer_id, "x" * 900_000, COUNT)) == [900_000]


async def test_a_reader_that_is_slow_holds_up_the_handler() -> None:
    """Back-pressure: no more is made than the window of the stream takes, and all of it comes in the end."""
    endless = Endless("x" * 20_000)
    async with pair(endless, timeouts=Timeouts(request=None)) as (bob, alice):
        async with alice.request_parts(bob.peer_id, None, COUNT) as parts:
            await anext(parts)
            await asyncio.sleep(60)
            made = endless.made
            assert made * 20_000 < 2 << 20
            await asyncio.sleep(60)
            assert endless.made == made
            for _ in range(2 * made):
                assert await anext(parts) == "x" * 20_000
        await until(lambda: endless.ended)


async def test_many_small_parts_do_not_keep_the_loop_to_themselves() -> None:
    async def rush(request: Request[Any]) -> AsyncIterator[Any]:
        for _ in range(2_000):
            yield "x" * 60

    async with pair(rush) as (bob, alice):
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async for _ in alice.request_parts(bob.peer_id, 1, COUNT):
            pass
        ticking.cancel()
        assert ticks > 4


# ---------------------------------------------------------------------- Ends


@pytest.mark.parametrize("how", ["aclose", "async with", "break", "aclosing", "del", "cancel"])
async def test_giving_up_ends_the_handler(how: str) -> None:
    endless = Endless(pause=0.01)
    async with pair(endless) as (bob, alice):
        parts = alice.request_parts(bob.peer_id, None, COUNT)
        if how == "cancel":
            task = asyncio.create_task(everything(parts))
            await until(lambda: endless.made > 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(UsageError, match="given up before its end"):
                await anext(parts)
        elif how == "async with":
            async with parts:
                assert await anext(parts) == "part"
        elif how == "aclosing":
            async with aclosing(parts):
                assert await anext(parts) == "part"
        elif how == "break":
            del parts
            async for part in alice.request_parts(bob.peer_id, None, COUNT):
                assert part == "part"
                break
        else:
            assert await anext(parts) == "part"
            if how == "aclose":
                await parts.aclose()
                await parts.aclose()
                with pytest.raises(UsageError):
                    await anext(parts)
            del parts
        gc.collect()
        await until(lambda: endless.ended)
        assert alice.is_connected(bob.peer_id)


async def test_an_answer_that_was_not_begun_leaves_nothing() -> None:
    async with pair() as (bob, alice):
        parts = alice.request_parts(bob.peer_id, 1, COUNT)
        await parts.aclose()
        with pytest.raises(UsageError):
            await anext(parts)
        del parts
        alice.request_parts(bob.peer_id, 1, COUNT)


async def test_one_task_reads() -> None:
    async with pair(Endless(pause=1)) as (bob, alice), alice.request_parts(bob.peer_id, None, COUNT) as parts:
        await anext(parts)
        waiting = asyncio.ensure_future(anext(parts))
        await turns()
        with pytest.raises(UsageError, match="another task"):
            await anext(parts)
        with pytest.raises(UsageError, match="another task"):
            await parts.aclose()
        assert await waiting == "part"


async def test_a_closed_connection_ends_both() -> None:
    endless = Endless(pause=0.01)
    async with pair(endless) as (bob, alice):
        parts = alice.request_parts(bob.peer_id, None, COUNT)
        await anext(parts)
        await alice.disconnect(bob.peer_id)
        error = await error_of(parts)
        assert (type(error).__name__, error.sent, error.peer) == ("ConnectionClosed", True, bob.peer_id)
        assert type(await error_of(parts)) is type(error)  # nothing comes after an error
        await until(lambda: endless.ended)


# ---------------------------------------------------------------------- Refusals and failures


@pytest.mark.parametrize("after", [0, 3])
async def test_the_handler_may_refuse_at_any_time(after: int) -> None:
    async def some(request: Request[Any]) -> AsyncIterator[Any]:
        for number in range(after):
            yield number
        raise Rejected("that is all")

    async with pair(some) as (bob, alice):
        parts, got = alice.request_parts(bob.peer_id, None, COUNT), []
        with pytest.raises(Rejected, match="that is all") as caught:
            async for part in parts:
                got += [part]
        assert got == list(range(after))
        assert (caught.value.reason, caught.value.sent) == ("that is all", after > 0)


async def test_rules_refuse_without_a_word() -> None:
    async with pair(rule=Rule.only(["Say"])) as (bob, alice):
        error = await error_of(alice.request_parts(bob.peer_id, 1, COUNT))
        assert (type(error), error.reason, error.sent) == (Rejected, "", False)
        bob.firewall.set(Rule.REJECT)
        assert type(await error_of(alice.request_parts(bob.peer_id, 1, COUNT))) is UnsupportedProtocol


@pytest.mark.parametrize("after", [0, 2])
async def test_who_is_shut_out_meanwhile_gets_no_more(after: int) -> None:
    """Hostile row 77, for each part."""
    failed: list[RequestFailed] = []

    async def some(request: Request[Any]) -> AsyncIterator[Any]:
        for number in range(5):
            if number == after:
                bob.firewall.set(Rule.only(["Say"]))
            yield number

    async with pair(some, rule=Rule.ALLOW) as (bob, alice):
        bob.on_event(lambda event: failed.append(event) if isinstance(event, RequestFailed) else None)
        parts, got = alice.request_parts(bob.peer_id, 5, COUNT), []
        with pytest.raises(StreamReset if after else Rejected) as caught:
            async for part in parts:
                got += [part]
        assert got == list(range(after))[: len(got)]
        assert getattr(caught.value, "code", Reset.GATED) == Reset.GATED
        assert [type(one.error) for one in failed] == [Rejected]
        failed.clear()


async def test_rules_that_still_allow_it_change_nothing() -> None:
    async def some(request: Request[Any]) -> AsyncIterator[Any]:
        for number in range(3):
            bob.firewall.set(Rule.ALLOW, protocol="/other/1")
            yield number

    async with pair(some) as (bob, alice):
        assert await everything(alice.request_parts(bob.peer_id, 5, COUNT)) == [0, 1, 2]


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("fault", [ValueError("a secret"), ConnectionResetError("elsewhere")])
async def test_a_handler_that_fails_costs_its_stream(
    after: int, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[RequestFailed] = []

    async def some(request: Request[Any]) -> AsyncIterator[Any]:
        for number in range(after):
            yield number
        raise type(fault)(*fault.args)

    async with pair(some) as (bob, alice):
        bob.on_event(lambda event: failed.append(event) if isinstance(event, RequestFailed) else None)
        error = await error_of(alice.request_parts(bob.peer_id, 5, COUNT))
        assert (type(error), error.sent) == (StreamReset, True)
        assert "secret" not in str(error)
        assert [type(one.error) for one in failed] == [type(fault)]
        failed.clear()
    assert "handler of /count/1 failed" in caplog.text
    caplog.clear()


async def test_a_part_that_cannot_be_sent_is_the_handlers_fault(caplog: pytest.LogCaptureFixture) -> None:
    tight: PartsProtocol[Any, Any] = PartsProtocol("/count/1", request=JSON, part=JSON, max_part=10)

    async def some(request: Request[Any]) -> AsyncIterator[Any]:
        yield "fits"
        yield "does not fit"

    async with pair(some, tight) as (bob, alice):
        parts = alice.request_parts(bob.peer_id, 5, tight)
        assert type(await error_of(parts)) is StreamReset  # it may take with it what had not been read
    assert "cannot be sent: max_part 15/10" in caplog.text
    caplog.clear()


async def test_a_handler_that_is_no_generator_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def plain(request: Request[Any]) -> Any:
        return 1

    words = "gives no async iterator: make it an async def with yield"
    with pytest.raises(ConfigError, match=words):
        network(None).on_request(COUNT)(plain)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=words):
        serve_parts(network(None)._server, COUNT, plain)  # type: ignore[arg-type]
    async with pair(lambda request: plain(request)) as (bob, alice):
        assert type(await error_of(alice.request_parts(bob.peer_id, 5, COUNT))) is StreamReset
    assert words in caplog.text
    caplog.clear()


async def test_any_async_iterator_answers() -> None:
    class Three:
        def __init__(self, request: Request[Any]) -> None:
            self.left = 3

        def __aiter__(self) -> Three:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    async with pair(Three) as (bob, alice):
        assert await everything(alice.request_parts(bob.peer_id, 5, COUNT)) == [2, 1, 0]


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (frame(b"\x001"), StreamEnded, "breaks off"),
        (frame(b"\x001") + b"\x05", StreamEnded, "breaks off"),
        (frame(b"\x001") + frame(b"\x09"), Malformed, "kind 9"),
        (frame(b"\x001") + frame(b"\x00{"), Malformed, "part: not JSON"),
        (frame(b"\x001") + b"\xff\xff\xff\x7f", Malformed, "record length"),
        (b"", Rejected, "ask its owner"),
    ],
)
async def test_nonsense_from_a_peer(said: bytes, kind: type[Exception], words: str) -> None:
    bob = network(None)

    @bob.on_stream("/count/1")
    async def nonsense(stream: Any) -> None:
        await stream.read_message()
        await stream.write(said)

    async with bob, Network() as alice:
        parts = alice.request_parts(bob.addresses[0], 1, COUNT)
        if said:
            assert await anext(parts) == 1
        error: Any = await error_of(parts)
        assert words in str(error)
        assert error.sent is (kind is not Rejected)
        assert type(error) is kind
        await until(lambda: not alice.stats()["requests_out"])


# ---------------------------------------------------------------------- Time and limits


async def test_each_part_has_its_time() -> None:
    async with pair(Endless(pause=3)) as (bob, alice):
        parts = alice.request_parts(bob.peer_id, None, COUNT, part_timeout=4)
        for _ in range(4):  # 12 s together, and the time between two calls does not count
            await anext(parts)
            await asyncio.sleep(5)
        await parts.aclose()
        late = await error_of(alice.request_parts(bob.peer_id, None, COUNT, part_timeout=2))
        assert (type(late), late.timeout, late.phase, late.sent) == (DeadlineExceeded, 2, "wait", True)
        assert str(late) == "no answer within 2 s: raise part_timeout="


async def test_the_whole_answer_has_its_time() -> None:
    async with pair(Endless(pause=3)) as (bob, alice):
        parts = alice.request_parts(bob.peer_id, None, COUNT, timeout=7, part_timeout=None)
        late = await error_of(parts)
        assert (parts.count, late.timeout, str(late)) == (3, 7, "no answer within 7 s")


async def test_the_time_of_a_part_is_that_of_a_request_unless_given() -> None:
    async with pair(Endless(pause=30), timeouts=Timeouts(request=None)) as (bob, alice):
        late = await error_of(alice.request_parts(bob.peer_id, None, COUNT))
        assert (late.timeout, late.phase) == (10, "wait")


async def test_the_handler_has_its_time_for_each_part() -> None:
    endless = Endless(pause=7)
    async with pair(endless, timeouts=Timeouts(request=10)) as (bob, alice):
        async with alice.request_parts(bob.peer_id, None, COUNT) as parts:
            for _ in range(4):
                await anext(parts)
        await until(lambda: endless.ended)
    slow = Endless(pause=11)
    async with pair(slow, timeouts=Timeouts(request=10)) as (bob, alice):
        error = await error_of(alice.request_parts(bob.peer_id, None, COUNT, part_timeout=60))
        assert type(error) is StreamReset
        await until(lambda: slow.ended)


async def test_an_answer_has_a_place_until_its_end() -> None:
    async with (
        pair(Endless(pause=1), limits=Limits(requests_per_peer=2)) as (bob, alice),
        alice.request_parts(bob.peer_id, None, COUNT) as one,
        alice.request_parts(bob.peer_id, None, COUNT) as two,
    ):
        assert [await anext(one), await anext(two)] == ["part", "part"]
        assert (bob.stats()["requests_in"], alice.stats()["requests_out"]) == (2, 2)
        error = await error_of(alice.request_parts(bob.peer_id, None, COUNT))
        assert (type(error), error.remote, error.sent) == (LimitExceeded, True, False)


async def test_nobody_there() -> None:
    async with Network() as alice, Network() as bob:
        error = await error_of(alice.request_parts(bob.peer_id, 1, COUNT))
        assert (type(error), error.sent) == (DialError, False)
        with pytest.raises(LimitExceeded, match="max_request"):
            await anext(alice.request_parts(bob.peer_id, "x" * (1 << 21), COUNT))
        with pytest.raises(ConfigError):
            alice.request_parts("nonsense", 1, COUNT)
    with pytest.raises(UsageError):
        alice.request_parts(bob.peer_id, 1, COUNT)


async def test_each_call_has_its_kind_of_protocol() -> None:
    async with pair() as (bob, alice):
        with pytest.raises(ConfigError, match="/count/1 answers in parts: call request_parts"):
            await alice.request(bob.peer_id, 1, COUNT)  # type: ignore[call-overload]
        with pytest.raises(ConfigError, match="is no PartsProtocol: call request"):
            alice.request_parts(bob.peer_id, 1, COUNT.asked)  # type: ignore[arg-type]
        assert repr(COUNT).startswith("PartsProtocol(ids=('/count/1',), asked=RequestProtocol(")


async def test_a_second_id_is_tried_after_the_first() -> None:
    both: PartsProtocol[Any, Any] = PartsProtocol("/count/2", "/count/1", request=JSON, part=JSON)
    async with pair() as (bob, alice):
        await alice.identify(bob.peer_id)
        assert await everything(alice.request_parts(bob.peer_id, 3, both)) == [0, 1, 2]
        alice._swarm.peer_protocols.clear()
        assert await everything(alice.request_parts(bob.peer_id, 3, both)) == [0, 1, 2]


# ---------------------------------------------------------------------- States


def test_an_answer_that_is_over_stays_what_it_was() -> None:
    over = State.WHOLE, State.FAILED, State.CLOSED
    assert {(was, now) for (was, _), now in STEPS.items() if was in over} == {(one, one) for one in over}
    assert {was for was, step in STEPS if step is Step.CLOSE} == set(State)
    assert {now for (was, _), now in STEPS.items() if was is State.OPEN} == set(over)


async def test_whatever_is_called_in_whatever_order() -> None:
    """What comes is the beginning of the whole answer; once it is over, every call says so."""
    dice = random.Random(5)
    async with pair() as (bob, alice):
        for _ in range(60):
            number, got, over = dice.randrange(4), list[Any](), ""
            parts = alice.request_parts(bob.peer_id, number, COUNT)
            for _ in range(dice.randrange(8)):
                if dice.random() < 0.2:
                    await parts.aclose()
                    over = over or "closed"
                    continue
                try:
                    got.append(await anext(parts))
                    assert not over
                except StopAsyncIteration:
                    assert over in {"", "whole"}
                    over = "whole"
                except UsageError:
                    assert over == "closed"
            assert got == list(range(number))[: len(got)]
            assert over != "whole" or len(got) == number == parts.count
