"""The scenarios T6, T7 and T8 of the Rust library, and every way in which an answer can come, or not (hostile row 72).

A handler answers by what it returns, so there is no handle to be lost or used twice. Whoever wants to answer later, or
from elsewhere, lets the handler wait for a future; what becomes of that future is what is told here.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import ConnectionClosed, Network, Rejected, Request, RequestFailed, StreamReset, Timeouts
from tests.peers import levels, network, until

Answer = asyncio.Future[Any]


@dataclass
class Scene:
    """Alice asks; Bob's handler waits for a future, which stands in ``answers`` by what was asked."""

    alice: Network
    bob: Network
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request[Any]] = field(default_factory=list)
    failed: list[RequestFailed] = field(default_factory=list)

    def ask(self, message: str, timeout: float | None = 5.0) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.alice.request(self.bob.addresses[0], message, timeout=timeout))

    async def asked(self, message: str, timeout: float | None = 5.0) -> tuple[asyncio.Task[Any], Answer]:
        """The call and the future that its handler waits for."""
        task = self.ask(message, timeout)
        await until(lambda: message in self.answers)
        return task, self.answers[message]

    async def answer(self, request: Request[Any]) -> Any:
        self.requests.append(request)
        if request.message == "Ping":
            return "Pong"
        later: Answer = asyncio.get_running_loop().create_future()
        self.answers[request.message] = later
        return await later

    def told(self) -> list[tuple[str, type[Exception]]]:
        """What Bob was told of requests that he did not answer."""
        return [(event.request.message, type(event.error)) for event in self.failed]


@asynccontextmanager
async def scene(timeouts: Timeouts | None = None) -> AsyncIterator[Scene]:
    """In the end the connection is the one from the beginning, and answers, unless one of the two was closed."""
    bob, alice = network(timeouts=timeouts), Network()
    scene = Scene(alice, bob)
    bob.on_request(scene.answer)
    bob.on_event(lambda event: scene.failed.append(event) if isinstance(event, RequestFailed) else None)
    async with bob, alice:
        connection = await alice.connect(bob.addresses[0])
        yield scene
        if not alice._swarm.closing and not bob._swarm.closing and not connection.closed:
            assert await scene.ask("Ping") == "Pong"
            assert alice.connections() == (connection,)
            await until(lambda: alice.stats()["streams"] == bob.stats()["streams"] == 0)
            assert (alice.stats()["requests_out"], bob.stats()["requests_in"]) == (0, 0)
    scene.requests.clear()
    scene.failed.clear()


def too_late(answer: Answer) -> None:
    with pytest.raises(asyncio.InvalidStateError):
        answer.set_result("too late")


async def test_t6_a_hundred_pings_one_after_the_other() -> None:
    """T6, behaviour::ping_protocol: over one connection; ids and peers match."""
    async with scene() as on:
        for _ in range(100):
            assert await on.ask("Ping") == "Pong"
        (his,) = on.bob.connections()
        assert [request.id for request in on.requests] == list(range(1, 101))
        assert {(request.peer, request.connection) for request in on.requests} == {(on.alice.peer_id, his)}


async def test_t7_the_requester_vanishes_after_its_request_was_delivered() -> None:
    """T7, behaviour::emits_inbound_connection_closed_failure: the responder is told, and answering fails."""
    async with scene() as on:
        task, answer = await on.asked("Say")
        on.alice._swarm.connections()[0].abort()
        await until(lambda: on.failed)
        assert on.told() == [("Say", ConnectionClosed)]
        assert on.failed[0].error.peer == on.alice.peer_id  # type: ignore[attr-defined]
        too_late(answer)
        with pytest.raises(ConnectionClosed) as caught:
            await task
        assert caught.value.sent


async def test_t8_the_responder_drops_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """T8, behaviour::emits_inbound_connection_closed_if_channel_is_dropped: told at once, and not as a timeout.

    The Rust library's requester is told that the connection closed, and closes it. Here it is one stream's reset.
    """
    async with scene() as on:
        task, answer = await on.asked("Say", timeout=None)
        answer.cancel()
        with pytest.raises(StreamReset) as caught:
            await task
        assert (caught.value.sent, caught.value.peer) == (True, on.bob.peer_id)
        assert on.told() == [("Say", p2p.UsageError)]
        assert "dropped" in str(on.failed[0].error)
    assert levels(caplog) == [logging.ERROR]


async def test_an_answer_from_another_task_or_thread() -> None:
    async with scene() as on:
        loop = asyncio.get_running_loop()
        task, answer = await on.asked("Say")
        loop.call_later(0.01, answer.set_result, "later")
        assert await task == "later"
        task, answer = await on.asked("Say it again")
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(answer.set_result, "from afar"))
        thread.start()
        assert await task == "from afar"
        thread.join()


async def test_answers_in_another_order_than_the_requests() -> None:
    async with scene() as on:
        calls = {name: (await on.asked(name))[0] for name in ("a", "b", "c")}
        for name in ("c", "a", "b"):
            on.answers[name].set_result(name.upper())
            too_late(on.answers[name])  # it fails in who answers twice
            assert await calls[name] == name.upper()
        assert on.told() == []


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [(Rejected, Rejected, []), (ValueError, StreamReset, [("Say", ValueError)])],  # to refuse is an outcome
)
async def test_an_error_for_an_answer(
    error: type[Exception], kind: type[p2p.P2PError], told: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    async with scene() as on:
        task, answer = await on.asked("Say")
        answer.set_exception(error())
        with pytest.raises(kind) as caught:
            await task
        assert caught.value.sent is bool(told)
        assert on.told() == told
    caplog.clear()


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_an_answer_after_the_requester_has_given_up(how: str) -> None:
    """D14: with the Rust library that late answer made the responder drop the connection."""
    async with scene() as on:
        task, answer = await on.asked("Say", timeout=0.1 if how == "timeout" else None)
        if how == "cancelled":
            task.cancel()
        await asyncio.wait([task])
        await until(lambda: on.failed)
        assert on.told() == [("Say", StreamReset)]
        too_late(answer)
        if how == "timeout":
            assert isinstance(error := task.exception(), p2p.DeadlineExceeded)
            assert (error.phase, error.sent, error.peer) == ("wait", True, on.bob.peer_id)


async def test_an_answer_after_the_responders_own_time() -> None:
    async with scene(Timeouts(request=0.1, ask=0.05)) as on:
        task, answer = await on.asked("Say")
        with pytest.raises(StreamReset) as caught:
            await task
        assert caught.value.sent
        assert on.told() == [("Say", p2p.DeadlineExceeded)]
        assert (on.failed[0].error.phase, on.failed[0].error.timeout) == ("answer", 0.1)  # type: ignore[attr-defined]
        assert "Timeouts.request" in str(on.failed[0].error)
        too_late(answer)


@pytest.mark.parametrize("who", ["alice", "bob"])
async def test_an_answer_after_the_network_was_closed(who: str) -> None:
    async with scene(timeouts=Timeouts(close=0.3)) as on:
        task, answer = await on.asked("Say")
        await getattr(on, who).__aexit__(None, None, None)
        with pytest.raises(ConnectionClosed) as caught:
            await task
        assert caught.value.sent
        await until(lambda: on.failed)
        assert on.told() == [("Say", ConnectionClosed)]
        too_late(answer)
