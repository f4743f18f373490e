"""What a swarm asks its firewall, and what it remembers of the answers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import DialError, StreamReset, UnsupportedProtocol
from stronghold_p2p.events.backlog import Backlog
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.decisions import Decisions
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule
from stronghold_p2p.streams.waiter import Turn
from stronghold_p2p.swarm.gatekeeper import REMEMBERED_NAMES, Gatekeeper, Served
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import ECHO, ask, connect, echo, swarm, swarms, until
from tests.transport.ends import identity

ONLY = Rule.only(["Ping"], otherwise=Rule.ASK)
HOPELESS = Rule.only(["Ping"], then=Rule.REJECT, otherwise=Rule.REJECT)


def holds(attempt: Attempt) -> bool:
    return True


async def rule_for(attempt: Attempt) -> Rule | None:
    return None


class FakeConnection:
    """A connection as far as a gatekeeper knows one."""

    def __init__(self, number: int = 7) -> None:
        self.peer = identity(number).peer_id
        self.direction: Direction = "in"
        self.remote_address = parse("/ip4/10.0.0.1/tcp/1")
        self.closed = False
        self.turn = Turn(asyncio.get_running_loop())
        self.codes: list[int] = []
        self.may_stay: Callable[[str], bool] | None = None
        self.handlers = self

    def shut(self, code: int, error: Exception) -> None:
        self.codes.append(code)

    def recheck(self, may_stay: Callable[[str], bool]) -> None:
        self.may_stay = may_stay


def fake(number: int = 7) -> Any:
    return FakeConnection(number)


def gatekeeper(*peers: Any, **services: Served) -> tuple[Decisions, Gatekeeper]:
    """One that keeps no swarm."""
    firewall, audit = Decisions(), Audit()
    names = {f"/{name}": service for name, service in services.items()}
    one = Gatekeeper(
        firewall, Approval(firewall, audit, Timeouts(), Limits()), audit, names, backlog=Backlog(), ask_timeout=None
    )
    firewall.watch(lambda: one.recheck(peers))
    return firewall, one


async def test_a_change_of_the_rules_reaches_connections_and_streams() -> None:
    alice, bob = fake(7), fake(8)
    streams, requests = Served(echo, False, "/streams"), Served(echo, True, "/requests")
    firewall, _ = gatekeeper(alice, bob, streams=streams, requests=requests)
    firewall.set(Rule.ALLOW, peer=bob.peer)
    firewall.ban(alice.peer)
    assert (alice.codes, bob.codes) == ([GoAway.GATED], [])
    assert bob.may_stay is not None
    assert [bob.may_stay(name) for name in ("/streams", "/requests", "/gone")] == [True, True, True]
    firewall.set(Rule.REJECT, peer=bob.peer)
    assert [bob.may_stay(name) for name in ("/streams", "/requests", "/gone")] == [False, True, True]


async def test_what_is_remembered_ends_with_the_rules_and_with_the_connection() -> None:
    alice, bob = fake(7), fake(8)
    firewall, one = gatekeeper(alice, bob, echo=Served(echo, False, "/echo"))
    firewall.set(Rule.ALLOW)
    for peer in (alice, bob):
        assert one.admits(peer, "/echo") is True
        assert one.passes(peer, "/echo", "out") is True
    one.forget(alice)
    assert one.remembered == {"in": {bob: {"/echo": Rule.ALLOW}}, "out": {bob: {"/echo": Rule.ALLOW}}}
    firewall.set(Rule.REJECT)
    assert one.remembered == {"in": {}, "out": {}}
    alice.closed = True
    assert one.admits(alice, "/echo") is False
    assert one.remembered == {"in": {}, "out": {}}


async def test_a_change_for_one_peer_is_no_matter_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = fake(7), fake(8)
    firewall, audit = Decisions(), Audit()
    approval = Approval(firewall, audit, Timeouts(), Limits())
    one = Gatekeeper(firewall, approval, audit, {}, backlog=Backlog(), ask_timeout=None)
    firewall.set(Rule.ALLOW)
    for peer in (alice, bob):
        assert one.passes(peer, "/echo", "in")
    judged = Mock(wraps=firewall.match)
    monkeypatch.setattr(firewall, "match", judged)
    one.recheck([alice], alice.peer)
    assert one.remembered["in"] == {bob: {"/echo": Rule.ALLOW}}
    assert {call.args[0].peer for call in judged.call_args_list} == {alice.peer}
    assert (alice.may_stay is None, bob.may_stay) == (False, None)


async def test_no_more_names_are_remembered_than_there_is_room_for() -> None:
    alice = fake()
    firewall, one = gatekeeper(alice)
    firewall.set(Rule.ALLOW)
    for number in range(2 * REMEMBERED_NAMES):
        assert one.passes(alice, f"/{number}", "in")
    assert len(one.remembered["in"][alice]) == REMEMBERED_NAMES
    one.forget(alice)
    assert one.passes(alice, "/" + "x" * 128, "in")
    assert one.remembered["in"][alice] == {}


REQUESTS = "/requests/1"


@asynccontextmanager
async def guarded(rule: Rule | None) -> AsyncIterator[tuple[Swarm, LiveConnection, Gatekeeper]]:
    """Bob, who serves streams and requests by ``rule``, the connection from alice, and his gatekeeper."""
    async with swarms(echo, rule=rule) as (_, bob, _):
        bob.handle(REQUESTS, echo, judges=True)
        yield bob, bob.connections()[0], bob.gatekeeper


@pytest.mark.parametrize(
    ("rule", "stream", "requests", "passes"),
    [
        (Rule.ALLOW, True, True, True),
        (Rule.REJECT, False, False, False),
        (Rule.ASK, None, True, False),
        (None, False, False, False),
        (ONLY, None, True, False),
        (HOPELESS, False, False, False),
        (Rule.when(holds), None, True, False),
        (Rule.when(holds, then=Rule.REJECT), False, False, False),
    ],
)
async def test_what_each_rule_means_before_anything_is_read(
    rule: Rule | None, stream: bool | None, requests: bool, passes: bool
) -> None:
    async with guarded(rule) as (bob, connection, keeper):
        for _ in range(2):
            assert keeper.admits(connection, ECHO) is stream
            assert keeper.admits(connection, REQUESTS) is requests
            assert keeper.admits(connection, "/other/1") is False
            assert keeper.passes(connection, REQUESTS, "in") is passes
            assert keeper.passes(connection, REQUESTS, "out") is True
        assert keeper.remembered["in"][connection] == {ECHO: rule, REQUESTS: rule, "/other/1": rule}
        assert keeper.remembered["out"][connection] == {REQUESTS: Rule.ALLOW}
        if rule is None:  # a hook is asked
            bob.firewall.on_no_rule(rule_for)
            assert keeper.admits(connection, ECHO) is None
            assert keeper.admits(connection, REQUESTS) is True
            assert not keeper.passes(connection, REQUESTS, "in")


@pytest.mark.parametrize(
    ("rule", "passing"),
    [
        (Rule.ALLOW, ["Ping", {"Say": 1}, None]),
        (Rule.only(["Ping"]), ["Ping"]),
        (ONLY, ["Ping"]),  # what has to be asked about is judged
        (Rule.only(["Say"], then=Rule.only(["Ping"]), otherwise=Rule.ALLOW), ["Ping"]),
        (Rule.only(["Ping"], otherwise=Rule.when(holds)), []),
    ],
)
async def test_what_passes_by_its_variant_is_not_judged(rule: Rule, passing: list[object]) -> None:
    async with guarded(rule) as (bob, connection, keeper):
        messages = ["Ping", {"Say": 1}, None]
        assert [one for one in messages if keeper.passes(connection, ECHO, "in", one)] == passing
        bob.hub.follow(lambda event: None)  # who is told of each
        assert not any(keeper.passes(connection, ECHO, "in", one) for one in messages)


async def test_nothing_is_decided_twice_until_rules_change(monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded(ONLY) as (bob, connection, keeper):
        match = Mock(wraps=bob.firewall.match)
        monkeypatch.setattr(bob.firewall, "match", match)
        for _ in range(10):
            keeper.admits(connection, ECHO)
            keeper.passes(connection, ECHO, "in")
        assert match.call_count == 1
        bob.firewall.set(Rule.ALLOW)
        match.reset_mock()
        assert keeper.admits(connection, ECHO)
        assert keeper.passes(connection, ECHO, "in")
        assert match.call_count == 1
        match.reset_mock()


async def test_who_begins_to_follow_is_told_of_refusals_that_were_remembered() -> None:
    async with guarded(Rule.REJECT) as (bob, connection, keeper):
        assert keeper.admits(connection, ECHO) is False
        told: list[object] = []
        unfollow = bob.hub.follow(told.append)
        assert keeper.admits(connection, ECHO) is False
        await until(lambda: told)
        unfollow()


async def test_connecting_is_decided_at_once() -> None:
    async with swarm(1) as alice:
        peer, address = identity(7).peer_id, parse("/ip4/10.0.0.1/tcp/1")
        may_connect = partial(alice.gatekeeper.may_connect, direction="out", address=address)
        assert may_connect(peer)
        assert may_connect(None)
        for rule in (Rule.ASK, Rule.REJECT, ONLY, HOPELESS):
            alice.firewall.set(rule, protocol=CONNECTION, direction="out")
            assert not may_connect(peer)
            assert may_connect(None)  # it depends on who is there
            with pytest.raises(DialError, match=f"keeps us from {peer}"):
                await alice.dial(peer, [address])
        alice.firewall.set(Rule.when(holds), protocol=CONNECTION, direction="out")
        assert may_connect(peer)
        alice.firewall.ban("10.0.0.0/8")
        assert not may_connect(None)
        with pytest.raises(DialError, match="keeps us from whoever is at"):
            await alice.dial(None, [address])


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the audit log has said, without who and where."""
    said = [message for name, _, message in caplog.record_tuples if name == "stronghold_p2p.audit"]
    caplog.clear()
    return [re.sub(r"(net|peer|from)=\S+ ", "", line) for line in said]


async def test_each_decision_has_its_line_in_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.audit")
    async with swarm(1) as alice, swarm(2) as bob:
        alice.handle(ECHO, echo)
        alice.handle("/requests/1", echo, judges=True)
        await connect(bob, alice)
        assert lines(caplog) == []  # nobody has said who may connect
        assert await ask(bob.connections()[0], protocol=ECHO) == b"hello"
        assert lines(caplog) == [f"verdict=allow protocol={ECHO} variant=- rule=allow@default"]
        assert await ask(bob.connections()[0], protocol="/requests/1") == b"hello"
        assert lines(caplog) == []  # judged when the request has been read
        async with await bob.connections()[0].open_stream(ECHO) as stream:
            await stream.write(b"hello")
            await stream.readexactly(5)
            lines(caplog)
            alice.firewall.set(Rule.REJECT, protocol=ECHO)  # an open stream is reset
            with pytest.raises(StreamReset):
                await stream.read()
        assert lines(caplog) == [f"verdict=reject protocol={ECHO} variant=- rule=reject@protocol"]
        for _ in range(2):
            with pytest.raises(UnsupportedProtocol):
                await ask(bob.connections()[0], protocol=ECHO)
        await asyncio.sleep(0.01)
        assert lines(caplog) == []  # it has a line
        alice.firewall.set(Rule.ALLOW, protocol=CONNECTION)
        alice.firewall.ban(bob.peer_id)
        await until(lambda: not bob.connections())
        assert lines(caplog) == [
            "verdict=reject protocol=connection variant=- rule=ban",
            f"verdict=allow protocol={ECHO} variant=- rule=allow@default count=2",
            f"verdict=reject protocol={ECHO} variant=- rule=reject@protocol count=3",
        ]
        alice.firewall.unban(bob.peer_id)
        await connect(bob, alice)
        assert lines(caplog) == ["verdict=allow protocol=connection variant=- rule=allow@protocol"]


async def test_a_handler_that_has_not_begun_does_not_when_its_peer_is_shut_out() -> None:
    """The loop comes to it a turn later: before Python 3.12, or beside a task factory."""
    loop, began = asyncio.get_running_loop(), list[object]()

    async def handler(stream: object) -> None:
        began.append(stream)

    async with swarms(handler) as (alice, bob, connection):

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            if coroutine.__name__ == "_handle":
                loop.call_soon(partial(bob.firewall.set, Rule.REJECT))
            return asyncio.Task(coroutine, loop=loop, **options)

        loop.set_task_factory(factory)  # type: ignore[arg-type,unused-ignore]
        try:
            async with await connection.open_stream(ECHO) as stream:
                with pytest.raises(StreamReset) as caught:
                    await stream.read()
        finally:
            loop.set_task_factory(None)
        assert caught.value.code == Reset.GATED
        (his,) = bob.connections(alice.peer_id)
        assert (began, his.handlers.tasks) == ([], {})
