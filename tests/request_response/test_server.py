"""The responder: what it lets through, what it refuses and how, and what it never leaves behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import (
    DialError,
    LimitExceeded,
    Rejected,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import JSON, frame
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.request_response.server import Server
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import connect, swarm, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

ID = STRONGHOLD.ids[0]


@dataclass
class Pair:
    """alice asks, bob answers."""

    alice: Swarm
    bob: Swarm
    client: Client
    server: Server
    connection: LiveConnection

    async def ask(self, message: Any = "Ping", timeout: float | None = 5.0) -> Any:
        return await self.client.request(self.bob.peer_id, (), message, STRONGHOLD, timeout=timeout)

    async def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """What comes back, up to the end."""
        async with await self.connection.open_stream(ID) as stream:
            await stream.write(data)
            if end:
                stream.finish()
            return await stream.read_to_end()


@asynccontextmanager
async def pair(handler: Any = None, rule: Rule | None = Rule.ALLOW, **options: Any) -> AsyncIterator[Pair]:
    """Both, connected; bob has the ``options``. Afterwards nothing of any request is left."""
    async with swarm(1) as alice, swarm(2, rule, **options) as bob:
        server, client = Server(bob), Client(alice)
        if handler is not None:
            server.serve(STRONGHOLD, handler)
        connection = await connect(alice, bob)
        yield Pair(alice, bob, client, server, connection)
        await until(lambda: connection.streams == 0 and bob.connections()[0].streams == 0)
        await until(lambda: (server.places.total, client.places.total) == (0, 0))
        await until(lambda: bob.approval.snapshot() == {"asks": 0, "asking_peers": 0, "ask_memory": 0})
        assert not connection.closed


def levels(caplog: pytest.LogCaptureFixture) -> list[int]:
    """What was logged above DEBUG; the records are dropped, as their tracebacks keep everything alive."""
    found = [record.levelno for record in caplog.records if record.levelno > logging.DEBUG]
    caplog.clear()
    return found


def echo(request: Request[Any]) -> Any:
    return request.message


async def test_a_plain_function_answers() -> None:
    async with pair(echo) as two:
        assert await two.ask({"Say": "hi"}) == {"Say": "hi"}


async def test_a_coroutine_function_answers() -> None:
    async def slow(request: Request[Any]) -> Any:
        await asyncio.sleep(0.02)
        return request.message

    async with pair(slow) as two:
        assert await two.ask("x") == "x"


async def test_an_awaitable_is_an_answer_too() -> None:
    later: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with pair(lambda request: later) as two:
        asyncio.get_running_loop().call_later(0.02, later.set_result, "late")
        assert await two.ask() == "late"


async def test_the_handler_is_told_everything() -> None:
    seen: list[Request[Any]] = []

    def look(request: Request[Any]) -> None:
        seen.append(request)

    async with pair(look) as two:
        start = asyncio.get_running_loop().time()
        for _ in range(3):
            assert await two.ask({"Say": 1}) is None
        (his,) = two.bob.connections()
        assert [one.id for one in seen] == [1, 2, 3]
        for one in seen:
            assert (one.peer, one.message, one.protocol) == (two.alice.peer_id, {"Say": 1}, ID)
            assert one.connection is his.face
            assert start + 9 < one.deadline < start + 11
        seen.clear()


async def test_the_answer_and_its_end_are_all_that_comes() -> None:
    async with pair(echo) as two:
        assert await two.raw(frame(b"[1,2]")) == frame(b"[1,2]")
        assert await two.raw(frame(b"[1,2]"), end=True) == frame(b"[1,2]")


async def test_a_request_in_pieces() -> None:
    async with pair(echo) as two, await two.connection.open_stream(ID) as stream:
        for byte in frame(b'{"Say":"hi"}'):
            await stream.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await stream.read_to_end() == frame(b'{"Say":"hi"}')


async def test_all_ids_are_served() -> None:
    both: RequestProtocol[Any, Any] = RequestProtocol("/new/1", "/old/1", request=JSON, response=JSON)
    async with pair() as two:
        two.server.serve(both, lambda request: request.protocol)
        for name in both.ids:
            one: RequestProtocol[Any, Any] = RequestProtocol(name, request=JSON, response=JSON)
            assert await two.client.request(two.bob.peer_id, (), 1, one, timeout=5) == name


async def test_rules_name_the_first_id_and_mean_all() -> None:
    both: RequestProtocol[Any, Any] = RequestProtocol("/new/1", "/old/1", request=JSON, response=JSON)
    old: RequestProtocol[Any, Any] = RequestProtocol("/old/1", request=JSON, response=JSON)
    async with pair(rule=None) as two:
        two.server.serve(both, lambda request: request.protocol)
        ask = partial(two.client.request, two.bob.peer_id, (), 1, old, timeout=5)
        two.bob.firewall.set(Rule.ALLOW, protocol="/old/1")
        with pytest.raises(UnsupportedProtocol):
            await ask()
        two.bob.firewall.set(Rule.ALLOW, protocol="/new/1")
        assert await ask() == "/old/1"
        two.bob.firewall.set(Rule.REJECT, protocol="/new/1")
        with pytest.raises(UnsupportedProtocol):
            await ask()


# ---------------------------------------------------------------------- refusals


async def test_without_a_rule_it_looks_as_if_nothing_were_served() -> None:
    async with pair(echo, rule=None) as two:
        with pytest.raises(UnsupportedProtocol):
            await two.ask()
        two.bob.firewall.set(Rule.ALLOW, peer=two.alice.peer_id)
        assert await two.ask() == "Ping"
        two.bob.firewall.set(Rule.REJECT, peer=two.alice.peer_id)
        with pytest.raises(UnsupportedProtocol):
            await two.ask()


async def test_the_application_is_asked_with_the_request_in_view() -> None:
    asked: list[Attempt] = []
    async with pair(echo, rule=Rule.ASK) as two:

        @two.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            asked.append(attempt)
            return attempt.variant == "Ping"

        assert await two.ask("Ping") == "Ping"
        with pytest.raises(Rejected):
            await two.ask({"Delete": "all"})
        assert [attempt.variant for attempt in asked] == ["Ping", "Delete"]
        first = asked[0]
        assert (first.peer, first.protocol, first.direction) == (two.alice.peer_id, ID, "in")
        assert first.address == two.connection.local_address
        assert asked[1].view == {"Delete": "all"}
        asked.clear()


async def test_a_refusal_is_an_end_without_a_byte() -> None:
    async with pair(echo, rule=Rule.ASK) as two:
        assert await two.raw(frame(b'"Ping"')) == b""

        @two.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            return False

        assert await two.raw(frame(b'"Ping"')) == b""
        with pytest.raises(Rejected):
            await two.ask()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_handler_may_refuse(kind: str) -> None:
    def refuse(request: Request[Any]) -> Any:
        raise Rejected

    async def refuse_later(request: Request[Any]) -> Any:
        await asyncio.sleep(0)
        raise Rejected

    async with pair(refuse if kind == "sync" else refuse_later) as two:
        assert await two.raw(frame(b'"Ping"')) == b""
        with pytest.raises(Rejected):
            await two.ask()


async def test_silence_of_the_application_is_a_refusal() -> None:
    async with pair(echo, rule=Rule.ASK, timeouts=Timeouts(ask=0.1)) as two:

        @two.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            await asyncio.Event().wait()
            return True

        with pytest.raises(Rejected):
            await two.ask()


async def test_who_was_shut_out_meanwhile_gets_no_answer() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request[Any]) -> str:
        await go_on.wait()
        return "secret"

    async with pair(slow) as two:
        task = asyncio.ensure_future(two.ask())
        await until(lambda: two.server.places.total)
        await asyncio.sleep(0.02)
        two.bob.firewall.set(Rule.REJECT)
        go_on.set()
        with pytest.raises(Rejected):
            await task


async def test_a_peer_without_a_rule_is_asked_about_once() -> None:
    asked: list[Attempt] = []
    async with pair(echo, rule=None) as two:

        @two.bob.firewall.on_no_rule
        async def decide(attempt: Attempt) -> Rule | None:
            asked.append(attempt)
            await asyncio.sleep(0.02)
            return None if len(asked) == 1 else Rule.only(["Ping"])

        for _ in range(2):
            outcomes = await asyncio.gather(two.ask("Ping"), two.ask("Say"), return_exceptions=True)
            if len(asked) == 1:
                assert [type(outcome) for outcome in outcomes] == [Rejected, Rejected]
        assert outcomes[0] == "Ping"
        assert isinstance(outcomes[1], Rejected)
        assert await two.ask("Ping") == "Ping"
        assert [(attempt.peer, attempt.protocol) for attempt in asked] == [(two.alice.peer_id, ID)] * 2
        asked.clear()


@pytest.mark.parametrize("answer", [None, Rule.REJECT])
async def test_a_peer_that_gets_no_rule_or_a_rejecting_one(answer: Rule | None) -> None:
    async with pair(echo, rule=None) as two:

        @two.bob.firewall.on_no_rule
        async def decide(attempt: Attempt) -> Rule | None:
            return answer

        with pytest.raises(Rejected):
            await two.ask()
        with pytest.raises(Rejected if answer is None else UnsupportedProtocol):
            await two.ask()


async def test_a_requester_that_leaves_takes_the_question_with_it() -> None:
    started, ended = asyncio.Event(), asyncio.Event()
    async with pair(echo, rule=None) as two:

        @two.bob.firewall.on_no_rule
        async def decide(attempt: Attempt) -> Rule | None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return Rule.ALLOW

        task = asyncio.ensure_future(two.ask(timeout=None))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(1):
            await ended.wait()
        assert two.bob.firewall.rules() == ()


# ---------------------------------------------------------------------- rules that look at the request


async def test_only_some_variants() -> None:
    async with pair(echo, rule=Rule.only(["Ping", "Say"])) as two:
        assert await two.ask("Ping") == "Ping"
        assert await two.ask({"Say": "hi"}) == {"Say": "hi"}
        others: list[Any] = ["Delete", {"Delete": 1}, {"Say": 1, "Ping": 2}, [], None, 5]
        for message in others:
            with pytest.raises(Rejected):
                await two.ask(message)
        two.bob.firewall.set(Rule.only(["Ping"], then=Rule.REJECT, otherwise=Rule.ALLOW), peer=two.alice.peer_id)
        assert await two.ask({"Say": 1, "Ping": 2}) == {"Say": 1, "Ping": 2}
        with pytest.raises(Rejected):
            await two.ask("Ping")


async def test_a_rule_that_could_never_allow_hides_the_protocol() -> None:
    hopeless = Rule.only(["Ping"], then=Rule.REJECT, otherwise=Rule.when(bool, then=Rule.REJECT))
    async with pair(echo, rule=hopeless) as two:
        with pytest.raises(UnsupportedProtocol):
            await two.ask()
        two.bob.firewall.set(Rule.only(["Ping"], then=Rule.REJECT, otherwise=Rule.ASK))
        with pytest.raises(Rejected):
            await two.ask()


async def test_a_predicate_is_asked_once_about_each_request() -> None:
    asked: list[Attempt] = []

    def is_short(attempt: Attempt) -> bool:
        asked.append(attempt)
        return len(attempt.view["Say"]) < 5

    async with pair(echo, rule=Rule.when(is_short)) as two:
        assert await two.ask({"Say": "hi"}) == {"Say": "hi"}
        with pytest.raises(Rejected):
            await two.ask({"Say": "too long"})
        assert [(attempt.variant, attempt.view) for attempt in asked] == [
            ("Say", {"Say": "hi"}),
            ("Say", {"Say": "too long"}),
        ]
        asked.clear()


async def test_a_rule_that_allows_a_stream_without_request_is_not_taken_for_one_that_allows_all() -> None:
    """What ``Gatekeeper.passes`` remembers is about rules that look at nothing."""
    rule = Rule.when(lambda attempt: attempt.variant != "Delete")
    async with pair(echo, rule=rule) as two:
        for _ in range(3):
            assert await two.ask("Ping") == "Ping"
            with pytest.raises(Rejected):
                await two.ask("Delete")


async def test_a_broken_predicate_rejects_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Hostile row 80."""
    async with pair(echo, rule=Rule.when(lambda attempt: attempt.view["Say"], otherwise=Rule.ALLOW)) as two:
        assert await two.ask({"Say": True}) == {"Say": True}
        for message in ("Ping", {"Say": "no bool"}):
            with pytest.raises(Rejected):
                await two.ask(message)
        assert "told once" in caplog.text
    assert levels(caplog) == [logging.ERROR]


async def test_a_rule_that_looks_may_ask() -> None:
    asked: list[str | None] = []
    async with pair(echo, rule=Rule.only(["Ping"], otherwise=Rule.ASK)) as two:

        @two.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool | Rule:
            asked.append(attempt.variant)
            return Rule.only(["Say"]) if attempt.variant == "Say" else False

        assert await two.ask("Ping") == "Ping"
        with pytest.raises(Rejected):
            await two.ask("Delete")
        assert await two.ask({"Say": 1}) == {"Say": 1}  # the answer is a rule, which lets this one pass
        with pytest.raises(Rejected):
            await two.ask("Ping")  # by the rule that was the answer
        assert asked == ["Delete", "Say"]


async def test_a_rule_that_looks_holds_for_our_own_requests() -> None:
    async with pair(echo) as two:
        two.alice.firewall.set(Rule.only(["Ping"]), direction="out")
        for _ in range(2):
            assert await two.ask("Ping") == "Ping"
            with pytest.raises(Rejected) as caught:
                await two.ask("Delete")
            assert caught.value.local


async def test_who_a_rule_that_looks_shuts_out_meanwhile_gets_no_answer() -> None:
    """Hostile row 77: judged again before the answer is written, if rules have changed."""
    go_on = asyncio.Event()

    async def slow(request: Request[Any]) -> str:
        await go_on.wait()
        return "secret"

    async with pair(slow, rule=Rule.only(["Ping", "Say"])) as two:
        tasks = [asyncio.ensure_future(two.ask(message)) for message in ("Ping", {"Say": 1})]
        await until(lambda: two.server.places.total == 2)
        await asyncio.sleep(0.02)
        two.bob.firewall.set(Rule.only(["Say"]))
        go_on.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[0], Rejected)
        assert outcomes[1] == "secret"


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    "data",
    [
        frame(b"nonsense"),
        frame(b""),
        frame(b"NaN"),
        frame(b'{"a":1,"a":2}'),
        frame(b"[" * 100 + b"]" * 100),
        frame(b"\xff"),
        frame(b"1") + b"2",
        frame(b" " * 11 + b"\xff"),
        b"\xff\xff\xff\x7f",
        b"\x80" * 10,
        b"\x81\x00",
    ],
)
async def test_a_request_that_cannot_be_read_is_reset(data: bytes) -> None:
    async with pair(echo) as two:
        others = [asyncio.ensure_future(two.ask(number)) for number in range(20)]
        with pytest.raises(StreamReset) as caught:
            await two.raw(data)
        assert caught.value.code == Reset.PROTOCOL_VIOLATION
        assert await asyncio.gather(*others) == list(range(20))


async def test_too_long_is_refused_at_the_prefix() -> None:
    small: RequestProtocol[Any, Any] = RequestProtocol("/small/1", request=JSON, response=JSON, max_request=9)
    async with pair() as two:
        two.server.serve(small, echo)
        async with await two.connection.open_stream("/small/1") as stream:
            await stream.write(b"\x0a")
            with pytest.raises(StreamReset) as caught:
                await stream.read()
            assert caught.value.code == Reset.PROTOCOL_VIOLATION


async def test_half_a_request_is_reset_and_none_is_not() -> None:
    async with pair(echo) as two:
        assert await two.raw(b"", end=True) == b""
        with pytest.raises(StreamReset):
            await two.raw(frame(b'"Ping"')[:-1], end=True)


@pytest.mark.parametrize("kind", [ValueError, DialError, TimeoutError, StreamEnded])
async def test_a_handler_that_fails_resets_its_stream(kind: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request[Any]) -> Any:
        raise kind("elsewhere")

    async with pair(fail) as two:
        with pytest.raises(StreamReset) as caught:
            await two.ask()
        assert caught.value.code == 0
    assert levels(caplog) == [logging.ERROR]


@pytest.mark.parametrize("answer", [float("nan"), {1: 2}, object(), "x" * 100])
async def test_an_answer_that_has_no_form_resets_the_stream(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    small: RequestProtocol[Any, Any] = RequestProtocol(ID, request=JSON, response=JSON, max_response=99)
    async with pair() as two:
        two.server.serve(small, lambda request: answer)
        with pytest.raises(StreamReset):
            await two.ask()
    assert levels(caplog) == [logging.ERROR]


async def test_a_view_that_fails_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    protocol: RequestProtocol[Any, Any] = RequestProtocol(
        ID, request=JSON, response=JSON, view=lambda message: message["kind"]
    )
    async with pair() as two:
        two.server.serve(protocol, echo)
        with pytest.raises(StreamReset):
            await two.ask("Ping")
        assert await two.ask({"kind": "Ping"}) == {"kind": "Ping"}
    assert levels(caplog) == [logging.ERROR]


async def test_a_request_that_does_not_come_has_a_deadline() -> None:
    async with pair(echo, timeouts=Timeouts(request=0.2)) as two, await two.connection.open_stream(ID) as stream:
        start = asyncio.get_running_loop().time()
        for byte in frame(b" " * 60):
            await stream.write(bytes([byte]))
            await asyncio.sleep(0.02)
            if stream._error is not None:
                break
        with pytest.raises(StreamReset):
            await stream.read()
        assert 0.15 < asyncio.get_running_loop().time() - start < 1


async def test_a_handler_that_is_late_is_cancelled() -> None:
    ended: list[str] = []

    async def hang(request: Request[Any]) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with pair(hang, timeouts=Timeouts(request=0.1)) as two:
        with pytest.raises(StreamReset):
            await two.ask()
        await until(lambda: ended == ["cancelled"])


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_handler_nobody_waits_for_is_cancelled(how: str) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(request: Request[Any]) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with pair(hang) as two:
        task = asyncio.ensure_future(two.ask(timeout=0.1 if how == "deadline" else None))
        await started.wait()
        if how == "cancel":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(1):
            await ended.wait()


async def test_a_question_nobody_waits_for_is_taken_back() -> None:
    started, ended = asyncio.Event(), asyncio.Event()
    async with pair(echo, rule=Rule.ASK) as two:

        @two.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return True

        task = asyncio.ensure_future(two.ask(timeout=None))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(1):
            await ended.wait()


async def test_more_bytes_while_the_handler_works_are_a_violation() -> None:
    started = asyncio.Event()

    async def hang(request: Request[Any]) -> Any:
        started.set()
        await asyncio.Event().wait()

    async with pair(hang) as two, await two.connection.open_stream(ID) as stream:
        await stream.write(frame(b"1"))
        await started.wait()
        await stream.write(b"x")
        with pytest.raises(StreamReset) as caught:
            await stream.read()
        assert caught.value.code == Reset.PROTOCOL_VIOLATION


async def test_an_end_while_the_handler_works_is_none() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request[Any]) -> str:
        started.set()
        await go_on.wait()
        return "still"

    async with pair(slow) as two, await two.connection.open_stream(ID) as stream:
        await stream.write(frame(b"1"))
        await started.wait()
        stream.finish()
        await asyncio.sleep(0.02)
        go_on.set()
        assert await stream.read_to_end() == frame(b'"still"')


async def test_a_connection_that_ends_cancels_its_handlers() -> None:
    ended = 0

    async def hang(request: Request[Any]) -> Any:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended += 1

    async with swarm(1) as alice, swarm(2) as bob:
        server, client = Server(bob), Client(alice)
        server.serve(STRONGHOLD, hang)
        connection = await connect(alice, bob)
        tasks = [asyncio.ensure_future(client.request(bob.peer_id, (), 1, STRONGHOLD, timeout=None)) for _ in range(20)]
        await until(lambda: server.places.total == 20)
        connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: ended == 20)
        assert server.places.total == 0


async def test_more_requests_than_a_peer_may_have_are_reset_at_once() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request[Any]) -> Any:
        await go_on.wait()
        return request.message

    async with pair(slow, limits=Limits(requests_per_peer=5)) as two:
        tasks = [asyncio.ensure_future(two.ask(number)) for number in range(5)]
        await until(lambda: two.server.places.total == 5)
        for _ in range(10):
            with pytest.raises(LimitExceeded) as caught:
                await two.ask()
            assert caught.value.remote
        go_on.set()
        assert await asyncio.gather(*tasks) == list(range(5))
        assert await two.ask("again") == "again"


async def test_many_workers_against_few_places_lose_nothing() -> None:
    async def slow(request: Request[Any]) -> Any:
        await asyncio.sleep(0.002)
        return request.message

    async with pair(slow, limits=Limits(requests_per_peer=16)) as two:

        async def insist(number: int) -> Any:
            while True:
                try:
                    return await two.ask(number)
                except LimitExceeded:
                    await asyncio.sleep(0.01)

        assert await asyncio.gather(*(insist(number) for number in range(100))) == list(range(100))
