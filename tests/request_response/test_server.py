"""The responder: what it lets through, what it refuses and how, and what it never leaves behind."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from stronghold_p2p import DeadlineExceeded, Event, Malformed, RequestFailed, RequestUnread
from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import DialError, LimitExceeded, Rejected, StreamEnded, StreamReset, UnsupportedProtocol
from stronghold_p2p.events.hub import Events
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.request_response.codecs.codec import JSON, Named, frame, weight
from stronghold_p2p.request_response.server import Request
from tests.peers import levels, mirror, now, until
from tests.support.requests import ID, NOT_MINIMAL, Requests, json, requests
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

PING = frame(b'"Ping"')


class Held:
    """A handler or a hook that waits: how often it has begun and ended, and the event that lets it go on."""

    def __init__(self, result: Any = "held") -> None:
        self.began = self.ended = 0
        self.go_on = asyncio.Event()
        self._result = result

    async def __call__(self, given: Any) -> Any:
        self.began += 1
        try:
            await self.go_on.wait()
        finally:
            self.ended += 1
        return self._result


async def refused(on: Requests, message: Any = "Ping", kind: type[Exception] = Rejected) -> Any:
    with pytest.raises(kind) as caught:
        await on.ask(message)
    return caught.value


async def slow(request: Request[Any]) -> Any:
    await asyncio.sleep(0.02)
    return request.message


def future(request: Request[Any]) -> asyncio.Future[Any]:
    later = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.02, later.set_result, request.message)
    return later


@pytest.mark.parametrize("answer", [mirror, slow, future])
async def test_a_function_a_coroutine_and_an_awaitable_answer(answer: Any) -> None:
    async with requests(answer) as on:
        assert await on.ask({"Say": "hi"}) == {"Say": "hi"}


async def test_the_handler_is_told_everything() -> None:
    seen: list[Request[Any]] = []
    async with requests(seen.append) as on:
        start = now()
        for _ in range(3):
            assert await on.ask({"Say": 1}) is None
        (his,) = on.bob.connections()
        assert [one.id for one in seen] == [1, 2, 3]
        for one in seen:
            assert (one.peer, one.message, one.protocol) == (on.alice.peer_id, {"Say": 1}, ID)
            assert one.connection is his.face
            assert start + 9 < one.deadline < start + 11
        with pytest.raises(AttributeError):
            seen[0].message = "changed"  # type: ignore[misc]
        seen.clear()


async def test_the_answer_and_its_end_are_all_that_comes() -> None:
    async with requests(mirror) as on:
        assert await on.raw(frame(b"[1,2]")) == frame(b"[1,2]")
        assert await on.raw(frame(b"[1,2]"), end=True) == frame(b"[1,2]")


async def test_all_ids_are_served_and_rules_may_name_any() -> None:
    both, old = json("/new/1", "/old/1"), json("/old/1")
    async with requests(lambda request: request.protocol, protocol=both) as on:
        for name in both.ids:
            assert await on.ask(1, protocol=json(name)) == name
        on.bob.firewall.remove()
        for name, rule, allowed in (
            ("/old/1", Rule.ALLOW, 1),
            ("/old/1", Rule.REJECT, 0),
            ("/new/1", Rule.ALLOW, 0),  # one that rejects speaks, whichever id it names
            ("/old/1", Rule.ASK, 1),
            ("/new/1", Rule.REJECT, 0),
        ):
            on.bob.firewall.set(rule, protocol=name)
            for one in (json("/new/1"), old):
                if allowed:
                    assert await on.ask(1, protocol=one) == one.ids[0]
                else:
                    with pytest.raises(UnsupportedProtocol):
                        await on.ask(1, protocol=one)


async def test_our_own_requests_know_all_ids_too() -> None:
    both = json("/new/1", "/old/1")
    async with requests(mirror, protocol=both) as on:
        on.alice.firewall.set(Rule.REJECT, protocol="/old/1", direction="out")
        with pytest.raises(Rejected):
            await on.ask(1, protocol=both)
        on.alice.firewall.remove(protocol="/old/1", direction="out")
        assert await on.ask(1, protocol=both) == 1


async def test_the_application_is_asked_with_the_request_in_view() -> None:
    asked: list[Attempt] = []
    async with requests(mirror, Rule.ASK) as on:
        assert await on.raw(PING) == b""  # nobody is there to be asked

        @on.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            asked.append(attempt)
            return attempt.variant == "Ping"

        assert await on.ask("Ping") == "Ping"
        await refused(on, {"Delete": "all"})
        assert await on.raw(frame(b'"Delete"')) == b""  # a refusal is an end without a byte
        assert [attempt.variant for attempt in asked] == ["Ping", "Delete", "Delete"]
        first = asked[0]
        assert (first.peer, first.protocol, first.direction) == (on.alice.peer_id, ID, "in")
        assert first.address == on.connection.local_address
        assert asked[1].view == {"Delete": "all"}
        asked.clear()


def refuse(request: Request[Any]) -> Any:
    raise Rejected


async def refuse_later(request: Request[Any]) -> Any:
    await asyncio.sleep(0)
    raise Rejected


@pytest.mark.parametrize("answer", [refuse, refuse_later])
async def test_the_handler_may_refuse(answer: Any) -> None:
    async with requests(answer) as on:
        assert await on.raw(PING) == b""
        await refused(on)


@pytest.mark.parametrize(
    ("before", "after", "answered"),
    [
        (Rule.ALLOW, Rule.REJECT, False),
        (Rule.only(["Ping"]), Rule.only(["Say"]), False),
        (Rule.only(["Ping", "Say"]), Rule.only(["Ping"]), True),
    ],
)
async def test_who_was_shut_out_meanwhile_gets_no_answer(before: Rule, after: Rule, answered: bool) -> None:
    """Hostile row 77: judged again before the answer is written, if rules have changed."""
    secret = Held("secret")
    async with requests(secret, before) as on:
        task = on.asking()
        await until(lambda: secret.began)
        on.bob.firewall.set(after)
        secret.go_on.set()
        told: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        assert (told == "secret") is answered
        assert answered or type(told) is Rejected


@pytest.mark.parametrize("what", ["handler", "on_ask", "on_no_rule"])
@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_what_nobody_waits_for_any_more_is_cancelled(what: str, how: str) -> None:
    held = Held(Rule.ALLOW)
    rule = {"handler": Rule.ALLOW, "on_ask": Rule.ASK}.get(what)
    async with requests(held if what == "handler" else mirror, rule) as on:
        on.bob.firewall.on_ask(held)
        on.bob.firewall.on_no_rule(held)
        rules = on.bob.firewall.rules()
        task = on.asking(timeout=0.1 if how == "late" else None)
        await until(lambda: held.began)
        if how == "cancelled":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: held.ended, 1)
        assert on.bob.firewall.rules() == rules


async def test_a_predicate_is_asked_once_about_each_request() -> None:
    asked: list[Attempt] = []

    def is_short(attempt: Attempt) -> bool:
        asked.append(attempt)
        return len(attempt.view["Say"]) < 5

    async with requests(mirror, Rule.when(is_short)) as on:
        assert await on.ask({"Say": "hi"}) == {"Say": "hi"}
        await refused(on, {"Say": "too long"})
        assert await on.ask({"Say": "hi"}) == {"Say": "hi"}  # what is remembered is about rules that look at nothing
        assert [(attempt.variant, attempt.view["Say"]) for attempt in asked] == [
            ("Say", text) for text in ("hi", "too long", "hi")
        ]
        asked.clear()


async def test_a_broken_predicate_rejects_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Hostile row 80."""
    async with requests(mirror, Rule.when(lambda attempt: attempt.view["Say"], otherwise=Rule.ALLOW)) as on:
        assert await on.ask({"Say": True}) == {"Say": True}
        await refused(on, "Ping")
        await refused(on, {"Say": "no bool"})
        assert "told once" in caplog.text
    assert levels(caplog) == [logging.ERROR]


async def test_a_rule_that_looks_holds_for_our_own_requests() -> None:
    async with requests(mirror) as on:
        on.alice.firewall.set(Rule.only(["Ping"]), direction="out")
        for _ in range(2):
            assert await on.ask("Ping") == "Ping"
            assert (await refused(on, "Delete")).local


@pytest.mark.parametrize(
    "data",
    [
        frame(b"nonsense"),
        frame(b""),
        frame(b"1") + b"2",
        frame(b" " * 11 + b"\xff"),
        b"\xff\xff\xff\x7f",
        b"\x80" * 10,
        *(prefix + b"null" for prefix in NOT_MINIMAL),
    ],
)
async def test_d14_a_request_that_cannot_be_read_is_reset(data: bytes) -> None:
    """And costs nobody else anything, as no fault of one stream does: ``requests`` looks at the connection (D14)."""
    async with requests(mirror) as on:
        others = [on.asking(number) for number in range(20)]
        with pytest.raises(StreamReset) as caught:
            await on.raw(data)
        assert caught.value.code == Reset.PROTOCOL_VIOLATION
        assert await asyncio.gather(*others) == list(range(20))


async def test_too_long_is_refused_at_the_prefix() -> None:
    async with requests(mirror, protocol=json(ID, max_request=9)) as on, await on.connection.open_stream(ID) as stream:
        await stream.write(b"\x0a")
        with pytest.raises(StreamReset) as caught:
            await stream.read()
        assert caught.value.code == Reset.PROTOCOL_VIOLATION


async def test_half_a_request_is_reset_and_none_is_not() -> None:
    async with requests(mirror) as on:
        assert await on.raw(b"", end=True) == b""
        with pytest.raises(StreamReset):
            await on.raw(PING[:-1], end=True)


@pytest.mark.parametrize("kind", [ValueError, DialError, TimeoutError, StreamEnded])
async def test_a_handler_that_fails_resets_its_stream(kind: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request[Any]) -> Any:
        raise kind("elsewhere")

    async with requests(fail) as on:
        assert (await refused(on, kind=StreamReset)).code == 0
    assert levels(caplog) == [logging.ERROR]


@pytest.mark.parametrize("answer", [float("nan"), {1: 2}, object(), "x" * 100])
async def test_an_answer_that_has_no_form_resets_the_stream(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with requests(lambda request: answer, protocol=json(ID, max_response=99)) as on:
        await refused(on, kind=StreamReset)
    assert levels(caplog) == [logging.ERROR]


async def test_a_view_that_fails_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    async with requests(mirror, protocol=json(ID, view=lambda message: message["kind"])) as on:
        await refused(on, kind=StreamReset)
        assert await on.ask({"kind": "Ping"}) == {"kind": "Ping"}
    assert levels(caplog) == [logging.ERROR]


async def test_a_request_that_does_not_come_has_a_deadline() -> None:
    async with requests(mirror, timeouts=Timeouts(request=0.2)) as on, await on.connection.open_stream(ID) as stream:
        start = now()
        for byte in frame(b" " * 60):
            await stream.write(bytes([byte]))
            await asyncio.sleep(0.02)
            if stream._error is not None:
                break
        with pytest.raises(StreamReset):
            await stream.read()
        assert 0.15 < now() - start < 1


async def test_more_bytes_while_the_handler_works_are_a_violation() -> None:
    held = Held()
    async with requests(held) as on, await on.connection.open_stream(ID) as stream:
        await stream.write(frame(b"1"))
        await until(lambda: held.began)
        await stream.write(b"x")
        with pytest.raises(StreamReset) as caught:
            await stream.read()
        assert caught.value.code == Reset.PROTOCOL_VIOLATION


async def test_an_end_while_the_handler_works_is_none() -> None:
    held = Held()
    async with requests(held) as on, await on.connection.open_stream(ID) as stream:
        await stream.write(frame(b"1"))
        await until(lambda: held.began)
        stream.finish()
        await asyncio.sleep(0.02)
        held.go_on.set()
        assert await stream.read_to_end() == frame(b'"held"')


async def test_more_requests_than_a_peer_may_have_are_reset_at_once() -> None:
    held = Held()
    async with requests(held, limits=Limits(requests_per_peer=5)) as on:
        tasks = [on.asking() for _ in range(5)]
        await until(lambda: on.server.places.total == 5)
        for _ in range(10):
            assert (await refused(on, kind=LimitExceeded)).remote
        held.go_on.set()
        assert await asyncio.gather(*tasks, on.ask()) == ["held"] * 6


BIG = "x" * 300_000


def unread(on: Requests) -> list[RequestUnread]:
    """What Bob is told of requests that did not become one."""
    told: list[RequestUnread] = []

    def note(event: Event) -> None:
        if isinstance(event, RequestUnread):
            told.append(event)

    on.bob.hub.on_event(note)
    return told


class Threads:
    """JSON, the threads in which it was read, and a gate before that."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.codec = Named("THREADS", JSON.encode, self._decode)

    def _decode(self, body: bytes) -> Any:
        self.seen.append(threading.get_ident())
        self.began.set()
        assert self.go_on.wait(10)
        return JSON.decode(body)


@pytest.mark.parametrize("part", ["request", "response"])
async def test_what_is_long_is_read_beside_the_loop(part: str) -> None:
    """Hostile row 130."""
    threads = Threads()
    protocol: Any = json(ID)
    object.__setattr__(protocol, part, threads.codec)
    async with requests(mirror, protocol=protocol) as on:
        for message in ("short", "x" * 60_000, BIG):
            assert await on.ask(message, protocol=protocol) == message
        here = threading.get_ident()
        assert [one == here for one in threads.seen] == [True, True, False]


async def test_what_is_long_and_cannot_be_read_is_malformed() -> None:
    async with requests(mirror) as on:
        told = unread(on)
        with pytest.raises(StreamReset) as caught:
            await on.raw(frame(b"[" + b"1," * 50_000))
        assert caught.value.code == Reset.PROTOCOL_VIOLATION
        assert [type(event.error) for event in told] == [Malformed]
        error = told[0].error
        assert [error.__traceback__, error.__cause__, error.__context__] == [None] * 3
        told.clear()


@pytest.mark.parametrize("how", ["reset", "late", "more"])
async def test_a_requester_that_leaves_while_its_request_is_read(how: str) -> None:
    threads = Threads()
    threads.go_on.clear()
    protocol: Any = json(ID)
    object.__setattr__(protocol, "request", threads.codec)
    handled: list[Any] = []
    timeouts = Timeouts(request=0.3 if how == "late" else 60)  # the time is real while a thread works
    async with requests(handled.append, protocol=protocol, timeouts=timeouts) as on:
        told = unread(on)
        stream = await on.connection.open_stream(ID)
        await stream.write(frame(JSON.encode(BIG)))
        await until(threads.began.is_set)
        if how == "reset":
            stream.reset()
        elif how == "more":
            await stream.write(b"more")
        await until(lambda: told)
        assert [type(event.error) for event in told] == [DeadlineExceeded if how == "late" else StreamReset]
        threads.go_on.set()
        await until(lambda: not on.bob.aside._working)
        stream.reset()
        assert (handled, on.server.memory.total) == ([], 0)
        told.clear()


async def test_what_has_come_of_requests_is_counted_and_shared() -> None:
    """Hostile row 131: bytes that have come, what they become, until the answer."""
    held = Held("done")
    limits = Limits(request_memory=2_000_000, request_memory_per_peer=1_000_000)
    async with requests(held, limits=limits) as on:
        told = unread(on)
        memory, body = on.server.memory, JSON.encode(BIG)
        stream = await on.connection.open_stream(ID)
        await stream.write(frame(body)[:-1])
        await until(lambda: memory.total == 2 * (len(frame(body)) - 1))
        assert (await refused(on, BIG, LimitExceeded)).remote
        await until(lambda: told)
        error: Any = told[0].error
        assert (error.limit, error.maximum) == ("request_memory_per_peer", 1_000_000)
        stream.reset()
        await until(lambda: memory.total == 0)
        large = on.asking("y" * 200_000)
        await until(lambda: held.began == 1)
        assert memory.total == weight(JSON, JSON.encode("y" * 200_000))
        held.go_on.set()
        assert await large == "done"
        await until(lambda: memory.total == 0)
        told.clear()


async def test_who_is_protected_has_a_reserve() -> None:
    async with requests(mirror, limits=Limits(request_memory=800_000, request_memory_per_peer=None)) as on:
        assert on.server.memory.take(b"others", 600_000)
        for protected in (False, True):
            if protected:
                on.bob.protected.add(on.alice.peer_id)
                assert await on.ask("x" * 80_000) == "x" * 80_000
            else:
                error = await refused(on, "x" * 80_000, LimitExceeded)
                assert error.remote
        on.server.memory.give_back(b"others", 600_000)
        on.bob.protected.clear()


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "wait"])
async def test_what_waits_for_a_reader_of_events_is_counted(overflow: Any) -> None:
    """Until it is read, lost, or its reader is forgotten."""
    async with requests(mirror) as on:
        memory, size = on.server.memory, weight(JSON, JSON.encode("y" * 1_000))
        events = Events(on.bob.hub, 2 if overflow != "wait" else 64, overflow)
        for number in range(1, 4):
            assert await on.ask("y" * 1_000)
            await until(lambda number=number: memory.total == size * (number if overflow == "wait" else min(number, 2)))  # type: ignore[misc]
        while memory.total:
            await anext(events)
        assert await on.ask("y" * 1_000)
        assert memory.total == size
        del events
        await until(lambda: memory.total == 0)


async def test_what_failed_is_counted_until_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request[Any]) -> Any:
        raise ConnectionError

    async with requests(fail) as on:
        events = Events(on.bob.hub, 4, "drop_oldest")
        await refused(on, "y" * 1_000, StreamReset)
        assert on.server.memory.total == weight(JSON, JSON.encode("y" * 1_000))
        async for event in events:
            if isinstance(event, RequestFailed):
                break
        assert on.server.memory.total == 0
    assert levels(caplog) == [logging.ERROR]


async def test_a_view_does_not_hide_the_variant() -> None:
    asked: list[Attempt] = []

    def note(attempt: Attempt) -> bool:
        asked.append(attempt)
        return True

    protocol = json(ID, view=lambda message: {"Ping": None})
    async with requests(mirror, Rule.when(note), protocol=protocol) as on:
        await on.ask({"Delete": "all"})
        assert [(one.variant, one.view) for one in asked] == [("Delete", {"Ping": None})]
        on.bob.firewall.set(Rule.only(["Ping"]))
        await refused(on, {"Delete": "all"})
        asked.clear()


@pytest.mark.parametrize("message", [[1, 2], 5, {"Delete": 1, "Ping": 2}, True])
async def test_a_list_of_what_is_denied_lets_nothing_pass_that_has_no_name(message: Any) -> None:
    async with requests(mirror, Rule.only(["Delete"], then=Rule.REJECT, otherwise=Rule.ALLOW)) as on:
        await refused(on, message)
        assert await on.ask("Ping") == "Ping"
