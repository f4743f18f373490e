"""An end reaches its end, whatever fails inside it; and its error tells what kind of end it was."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from stronghold_p2p import ConnectionClosed, Ended, Network, Rule
from stronghold_p2p.codes import GoAway
from stronghold_p2p.connection import live as live_module
from stronghold_p2p.connection.deadlines import Deadlines
from stronghold_p2p.connection.handlers import Handlers
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.muxing import yamux_muxer
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.gatekeeper import Gatekeeper
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.yamux.session import Session
from tests.inside import live, wire
from tests.peers import connected, mirror, network, never, until

FAULTS: tuple[tuple[type[Any], str], ...] = (
    (Session, "data_to_send"),
    (Session, "fail"),
    (LiveStream, "failed"),
    (Deadlines, "clear"),
    (Handlers, "cancel"),
    (Gatekeeper, "ended"),
    (Audit, "over"),
    (Identify, "disconnected"),
    (SocketWire, "resume"),
    (SocketWire, "finish"),
)


def breaks(patch: pytest.MonkeyPatch, where: type[Any], name: str) -> list[int]:
    """It raises each time that it is called, and does nothing."""
    calls: list[int] = []

    def broken(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise ZeroDivisionError("ours")

    patch.setattr(where, name, broken)
    return calls


@pytest.mark.parametrize(("where", "name"), FAULTS, ids=[f"{where.__name__}.{name}" for where, name in FAULTS])
async def test_b05_whatever_fails_inside_it_a_ban_ends_the_connection(
    where: type[Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    bob = network(never)
    ended: list[Ended] = []
    bob.on_event(lambda event: ended.append(event) if isinstance(event, Ended) else None)
    async with connected(bob) as alice:
        asking = asyncio.ensure_future(alice.request(bob.peer_id, "x"))
        await until(lambda: bob.stats()["requests_in"])
        theirs = live(bob.connections()[0])
        with pytest.MonkeyPatch.context() as patch:
            calls = breaks(patch, where, name)
            bob.firewall.ban(alice.peer_id)
            assert bob.connections() == ()
            assert bob.stats()["inbound"] == 0
            assert [event.connection.peer for event in ended] == [alice.peer_id]
            await until(lambda: calls)
        theirs.abort()
        if not wire(theirs).lost:
            wire(theirs).abort()
        for task in theirs.handlers.tasks.values():
            task.cancel()
        with pytest.raises(ConnectionClosed):
            await asking
        bob.firewall.unban(alice.peer_id)
        bob.firewall.set(Rule.ALLOW)
        assert await alice.ping(bob.addresses[0]) < 5
        theirs.deadlines.end()
        del theirs
        await until(lambda: not bob.stats()["requests_in"])
    assert all(record.exc_info is not None for record in caplog.records if record.levelno >= logging.ERROR)
    caplog.clear()


async def test_b05_one_connection_that_fails_keeps_a_ban_from_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with network(mirror) as bob, Network() as alice, Network() as carol:
        await alice.connect(bob.addresses[0])
        await carol.connect(bob.addresses[0])
        await until(lambda: len(bob.connections()) == 2)
        recheck, broken = Gatekeeper._recheck, live(bob.connections(alice.peer_id)[0])

        def fails(self: Gatekeeper, connection: Any) -> None:
            if connection is broken:
                raise ZeroDivisionError("ours")
            recheck(self, connection)

        monkeypatch.setattr(Gatekeeper, "_recheck", fails)
        bob.firewall.ban("127.0.0.0/8")
        assert bob.connections() == ()  # the one that could not be looked at has not been kept either
    caplog.clear()


def test_b05_an_end_without_a_running_loop_reaches_its_end() -> None:
    async def close_both() -> None:
        await bob.__aexit__(None, None, None)
        await alice.__aexit__(None, None, None)

    async def begin() -> None:
        await bob.__aenter__()
        await alice.__aenter__()
        assert await alice.request(bob.addresses[0], "x") == "x"

    async def again() -> None:
        await until(lambda: not alice.connections())
        assert await alice.request(bob.addresses[0], "y") == "y"

    with asyncio.Runner() as runner:
        bob, alice = network(mirror), Network()
        runner.run(begin())
        live(bob.connections()[0]).shut(GoAway.GATED)
        assert bob.connections() == ()
        assert bob.stats()["inbound"] == 0
        runner.run(again())
        runner.run(close_both())


# ---------------------------------------------------------------------- what kind of end


async def test_defect_9_a_crash_an_orderly_end_and_a_shutdown_can_be_told_apart() -> None:
    told: dict[str, ConnectionClosed] = {}
    for how in ("crash", "close", "shutdown"):
        bob = network(mirror)
        async with Network() as alice:
            async with bob:
                ours = await alice.connect(bob.addresses[0])
                await until(bob.connections)
                (theirs,) = bob.connections()
                if how == "crash":
                    wire(theirs).abort()  # what the system does when a process is gone
                elif how == "close":
                    await theirs.close()
                else:
                    await bob.__aexit__(None, None, None)
            await until(lambda: not alice.connections())
            assert isinstance(ours.error, ConnectionClosed)
            told[how] = ours.error
    assert {how: error.code for how, error in told.items()} == {"crash": None, "close": 0, "shutdown": GoAway.SHUTDOWN}
    assert all(error.remote for error in told.values())
    assert "without a goodbye" in str(told["crash"])
    assert str(told["close"]) == "the peer closed the connection"
    assert "it shuts down (code 0x1006)" in str(told["shutdown"])


@pytest.mark.parametrize(("code", "waits"), [(GoAway.SHUTDOWN, True), (GoAway.PROTOCOL_ERROR, False)])
async def test_b07_what_was_written_still_leaves_when_a_network_closes(
    code: GoAway, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only then: whoever makes us close is not waited for."""
    monkeypatch.setattr(yamux_muxer, "CLOSE_GRACE", 0.02)
    monkeypatch.setattr(live_module, "CLOSE_GRACE", 20.0)
    async with connected(network(mirror)) as alice:
        connection = live(alice.connections()[0])
        left = list(range(20))
        monkeypatch.setattr(SocketWire, "unsent", property(lambda _: left.pop() if left else 0))
        monkeypatch.setattr(SocketWire, "finish", lambda _: None)  # so that the peer does not close its end
        monkeypatch.setattr(connection._muxer, "_channel", _Silent())
        await connection.close(code)
        assert (len(left) < 2) == waits, left


class _Silent:
    """A channel that takes everything and says nothing."""

    def seal(self, *_: object) -> None: ...
