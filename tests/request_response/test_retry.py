"""``request(retry=True)``: again only after what the peer cannot have acted on, and what may pass."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import DeadlineExceeded, DialError, Identity, Limits, Network, Request
from stronghold_p2p.addressing.parse import split_peer
from stronghold_p2p.codes import GoAway
from stronghold_p2p.request_response.retry import insist
from tests.peers import LOOPBACK, connected, mirror, network, now
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
KEY = Identity()


def sent(error: p2p.P2PError) -> p2p.P2PError:
    error.sent = True
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (DialError("x"), True),
        (DialError("x", attempts={1: ConnectionRefusedError()}), True),
        (DialError("x", attempts={1: p2p.PeerIdMismatch(expected=1, actual=2)}), False),
        (p2p.PeerIdMismatch(expected=1, actual=2), False),
        (p2p.ConnectionClosed("x"), True),
        (p2p.ConnectionClosed("x", code=GoAway.GATED), False),
        (p2p.HandshakeError("x"), True),
        (p2p.NegotiationError("x"), False),
        (p2p.LimitExceeded("x", limit="streams", remote=True), True),
        (p2p.LimitExceeded("x", limit="max_request"), False),
        (DeadlineExceeded("x", phase="connecting"), True),
        (p2p.StreamReset("x"), True),
        (p2p.Rejected("x"), False),
        (p2p.UnsupportedProtocol("x"), False),
        (p2p.Malformed("x"), False),
        (p2p.UsageError("x"), False),
        (p2p.ConfigError("x"), False),
    ],
)
async def test_what_is_asked_again(error: p2p.P2PError, again: bool) -> None:
    tries = 0

    async def ask(left: float | None) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error
        return "answer"

    assert error.temporary is again
    if again:
        assert await insist(ask, 5.0) == "answer"
        tries = 0
    with pytest.raises(type(error)):
        sent(error)
        await insist(ask, 5.0)
    assert tries == 1


async def test_the_whole_has_one_deadline() -> None:
    lefts: list[float | None] = []

    async def ask(left: float | None) -> None:
        lefts.append(left)
        raise DialError("nobody")

    began = now()
    with pytest.raises(DialError):
        await insist(ask, 9.0)
    assert now() - began == pytest.approx(8.5)
    assert len(lefts) >= 6
    assert all(0 < left <= 9.0 for left in lefts if left is not None)

    async def late(left: float | None) -> None:
        await ask(left) if left == 9.0 else await asyncio.sleep(left or 0)
        raise DeadlineExceeded("x", timeout=left, phase="wait", sent=True)

    with pytest.raises(DeadlineExceeded, match=r"^no answer within 9 s$") as caught:
        await insist(late, 9.0)
    assert (caught.value.timeout, caught.value.sent, type(caught.value.__cause__)) == (9.0, True, DialError)


@pytest.mark.parametrize(("timeout", "last"), [(1.0, 0.9), (10.0, 9.5)])
async def test_the_last_try_comes_just_before_the_end(timeout: float, last: float) -> None:
    """And whether that fails by itself or by the end, the error is why there was nobody."""
    for lasts in (0.0, 60.0):
        began = now()

        async def ask(left: float | None, lasts: float = lasts, began: float = began) -> None:
            if now() - began >= last - 0.001:
                await asyncio.sleep(min(lasts, left or 0.0))
                if lasts:
                    raise DeadlineExceeded("no connection", timeout=left, phase="dial")
            raise DialError("nobody there")

        with pytest.raises(DialError, match="nobody there"):
            await insist(ask, timeout)
        assert now() - began == pytest.approx(timeout if lasts else last)


async def test_what_our_own_firewall_keeps_back_is_not_asked_again_for_ever() -> None:
    async with network(mirror) as bob, Network() as alice:
        alice.firewall.ban(bob.peer_id)
        with pytest.raises(DialError, match="our own firewall"):
            await alice.request(bob.addresses[0], "x", retry=True, timeout=1)
        with pytest.raises(DialError, match="our own peer id"):
            await alice.request(alice.peer_id, "x", retry=True, timeout=None)


async def test_a_peer_without_an_address_is_waited_for() -> None:
    """A server asks its client, which comes back by itself."""
    async with network(mirror) as bob:
        asking = asyncio.ensure_future(bob.request(KEY.peer_id, "x", retry=True, timeout=30))
        await asyncio.sleep(5)
        alice = Network(identity=KEY)
        alice.firewall.set(p2p.Rule.ALLOW, peer=bob.peer_id)
        alice.on_request(lambda request: "here")
        async with alice:
            await alice.connect(bob.addresses[0])
            assert await asking == "here"


@pytest.mark.tcp
async def test_a_server_that_restarts_is_asked_when_it_is_there() -> None:
    """Nothing that was sent is sent again: each request is answered once, or the caller is told."""
    got: list[Any] = []

    def serving(*listen: Any) -> Network:
        bob = Network(identity=KEY, listen=listen)
        bob.firewall.set(p2p.Rule.ALLOW)
        bob.on_request(lambda request: got.append(request.message))
        return bob

    async with Network() as alice:
        async with serving(LOOPBACK) as bob:
            place, to = split_peer(bob.addresses[0])[0], bob.addresses[0]
            await alice.request(to, 1, retry=True)
        asking = asyncio.ensure_future(alice.request(to, 2, retry=True, timeout=30))
        await asyncio.sleep(5)
        assert not asking.done()
        async with serving(place):
            await asking
            await alice.request(to, 3, retry=True)
    assert got == [1, 2, 3]


async def test_a_limit_of_the_peer_passes() -> None:
    async def answer(request: Request[Any]) -> Any:
        await asyncio.sleep(0.001)
        return request.message

    bob = network(answer, limits=Limits(requests_per_peer=4))
    async with connected(bob) as alice:
        asked = (alice.request(bob.peer_id, number, retry=True, timeout=None) for number in range(12))
        assert await asyncio.gather(*asked) == list(range(12))


async def test_without_it_nothing_is_asked_again() -> None:
    async with network(mirror) as bob, Network() as alice:
        with pytest.raises(DialError):
            await alice.request(f"/ip4/127.0.0.1/tcp/1/p2p/{bob.peer_id}", "x")
        with pytest.raises(p2p.Rejected):
            bob.firewall.set(p2p.Rule.only(["y"]))
            await alice.request(bob.addresses[0], "x", retry=True)
