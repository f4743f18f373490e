"""``Network.keep``: connected again after every end, until it is stopped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import ConfigError, DeadlineExceeded, Identity, Keeping, Network, Retrying, Timeouts, UsageError
from stronghold_p2p.addressing.parse import split_peer
from tests.peers import LOOPBACK, connected, network, now, until
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL
KEY = Identity()


def retries(one: Network) -> list[Retrying]:
    told: list[Retrying] = []
    one.on_event(lambda event: told.append(event) if isinstance(event, Retrying) else None)
    return told


@asynccontextmanager
async def keeping(
    one: Network, address: object, longest: float = 30.0
) -> AsyncIterator[tuple[Keeping, list[Retrying]]]:
    told = retries(one)
    async with one.keep(address, longest=longest) as kept:  # type: ignore[arg-type]
        await kept.connected()
        yield kept, told


@pytest.mark.tcp
async def test_a_server_that_comes_back_is_connected_again() -> None:
    async with Network() as alice:
        bob = Network(identity=KEY, listen=[LOOPBACK])
        async with bob:
            address = bob.addresses[0]
            place = split_peer(address)[0]
            kept = alice.keep(address)
            told = retries(alice)
            first = await kept.connected()
            assert (first.peer, kept.error, kept.connection) == (bob.peer_id, None, first)
        await eventually(lambda: len(told) >= 5)
        assert all(retry.to is address for retry in told)
        assert isinstance(told[0].error, p2p.ConnectionClosed)
        assert isinstance(told[1].error, p2p.DialError)
        assert [retry.delay <= min(0.25 * 2**number, 30.0) for number, retry in enumerate(told)] == [True] * len(told)
        assert (kept.connection, kept.error) == (None, told[-1].error)
        async with Network(identity=KEY, listen=[place]):
            again = await kept.connected(timeout=60)
            assert again is not first
            assert alice.connections() == (again,)
            assert "connected" in repr(kept)
            kept.stop()
            kept.stop()
            await asyncio.sleep(0)
            assert not again.closed
            assert await kept.connected() is again
        told.clear()
        with pytest.raises(UsageError, match="stopped"):
            await kept.connected()
        await asyncio.sleep(100)
        assert told == []


async def test_it_waits_longer_each_time_and_never_longer_than_it_may() -> None:
    async with Network() as alice:
        told = retries(alice)
        async with alice.keep("/ip4/127.0.0.1/tcp/1", longest=3.0) as kept:
            with pytest.raises(DeadlineExceeded) as caught:
                await kept.connected(timeout=20)
            assert re.fullmatch("no connection within 20 s: .*tcp/1: Connection refused", str(caught.value))
            assert (caught.value.phase, caught.value.setting) == ("dial", "")
            assert caught.value.__cause__ is kept.error
            assert isinstance(kept.error, p2p.DialError)
            assert repr(kept) == "<Keeping /ip4/127.0.0.1/tcp/1 not connected>"
        delays = [retry.delay for retry in told]
        assert delays[0] <= 0.25
        assert all(1.5 <= delay <= 3.0 for delay in delays[4:])
        assert len(delays) >= 9


async def test_a_connection_that_ends_at_once_is_no_success() -> None:
    """Else a peer that turns us away after the handshake would be dialed four times a second."""
    bob = network()
    bob.firewall.ban("203.0.113.0/24")

    @bob.on_event
    def turn_away(event: p2p.Event) -> None:
        if isinstance(event, p2p.Opened):
            asyncio.ensure_future(event.connection.close())  # noqa: RUF006

    async with bob, Network() as alice:
        told = retries(alice)
        async with alice.keep(bob.addresses[0]):
            began = now()
            await eventually(lambda: len(told) >= 7)
            assert now() - began > 4
            assert told[-1].delay > 5
    assert all(isinstance(retry.error, p2p.ConnectionClosed) for retry in told)


async def test_neither_side_takes_it_for_idle() -> None:
    bob = network(timeouts=Timeouts(idle=120))
    async with bob, Network(timeouts=Timeouts(idle=7)) as alice, keeping(alice, bob.addresses[0]) as (kept, told):
        connection = kept.connection
        await asyncio.sleep(150)
        assert kept.connection is connection
        assert told == []
        kept.stop()
        await eventually(lambda: not alice.connections())


async def test_a_peer_that_connects_to_us_is_connected() -> None:
    """No address of it is known, and none is needed once it has come."""
    async with Network() as alice, network() as bob, bob.keep(alice.peer_id, longest=0.5) as kept:
        await alice.connect(bob.addresses[0])
        assert (await kept.connected()).direction == "in"


async def test_it_ends_with_its_network() -> None:
    alice = await Network().open()
    kept = alice.keep("/ip4/127.0.0.1/tcp/1")
    waiting = asyncio.ensure_future(kept.connected(timeout=None))
    await asyncio.sleep(1)
    await alice.close()
    with pytest.raises(p2p.ConnectionClosed, match="closing"):
        await waiting
    kept.stop()


async def test_two_that_keep_the_same_peer_share_its_connection() -> None:
    async with connected(bob := network()) as alice, alice.keep(bob.peer_id) as one, alice.keep(bob.peer_id) as other:
        assert await one.connected() is await other.connected()
        await alice.disconnect(bob.peer_id)
        assert await one.connected() is await other.connected()
        assert len(alice.connections()) == 1


async def test_what_cannot_be_kept_is_told_at_once() -> None:
    alice = Network()
    with pytest.raises(UsageError):
        alice.keep(KEY.peer_id)
    async with alice:
        with pytest.raises(ConfigError):
            alice.keep("nonsense")
        with pytest.raises(ConfigError, match="our own"):
            alice.keep(alice.peer_id)
        for longest in (0, -1, float("nan"), "5", None, True):
            with pytest.raises(ConfigError, match="longest"):
                alice.keep(KEY.peer_id, longest=longest)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        alice.keep(KEY.peer_id)


async def test_a_fault_of_ours_is_logged_and_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with network() as bob, Network() as alice:
        told, dial = retries(alice), alice._swarm.dial
        monkeypatch.setattr(alice._swarm, "dial", lambda *_: 1 / 0)
        async with alice.keep(bob.addresses[0]) as kept:
            await eventually(lambda: told)
            monkeypatch.setattr(alice._swarm, "dial", dial)
            assert (await kept.connected()).peer == bob.peer_id
        assert "internal error while keeping" in caplog.text
        caplog.clear()
        told.clear()
        await until(lambda: True)
