"""What ``stats()`` counts: each thing that happens moves its own number, and no number ever goes back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stronghold_p2p import JSON, Attempt, Identity, Network, PartsProtocol, Rejected, Request, Rule, Timeouts
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import P2PError
from stronghold_p2p.events.counts import Counts
from stronghold_p2p.events.events import Opened
from tests.peers import LOOPBACK, connected, mirror, network, never, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

COUNT: PartsProtocol[Any, Any] = PartsProtocol("/count/1", request=JSON, part=JSON)
PROBED = "requests_in_unread"
NOWHERE = "/ip4/127.0.0.1/tcp/1"


def totals(network: Network) -> dict[str, int]:
    return {name[: -len("_total")]: count for name, count in network.stats().items() if name.endswith("_total")}


class Moved:
    """What has moved since the last look, of two networks."""

    def __init__(self, *networks: Network) -> None:
        self._networks = networks
        self._before = [totals(one) for one in networks]

    def look(self) -> list[dict[str, int]]:
        now = [totals(one) for one in self._networks]
        # Of a stream that is reset before its protocol was agreed on, the requester finds out whether that was a no.
        moved = [
            {name: more for name, count in there.items() if (more := count - before.get(name, 0)) and name != PROBED}
            for there, before in zip(now, self._before, strict=True)
        ]
        self._before = now
        return moved

    async def by(self, work: Any, kind: type[BaseException] | None = None) -> list[dict[str, int]]:
        if kind is None:
            await work
        else:
            with pytest.raises(kind):
                await work
        await until(lambda: not any(one.stats()[name] for one in self._networks for name in ("requests_in", "streams")))
        return self.look()


async def answer(request: Request[Any]) -> Any:
    match request.message:
        case "refuse":
            raise Rejected("no")
        case "fail":
            raise ValueError
        case "wait":
            await never(request)
    return request.message


async def test_each_outcome_of_a_request_has_its_number(caplog: pytest.LogCaptureFixture) -> None:
    bob = network(answer, Rule.only(["ok", "refuse", "fail", "wait"]), timeouts=Timeouts(request=5))
    async with connected(bob) as alice:
        await alice.identify(bob.peer_id)
        await until(lambda: not alice.stats()["streams"] and not bob.stats()["streams"])
        moved = Moved(bob, alice)

        def ask(message: str, timeout: float | None = None) -> Any:
            return alice.request(bob.peer_id, message, timeout=timeout)

        assert await moved.by(ask("ok")) == [{"requests_in": 1}, {"requests_out": 1}]
        one, refused = {"requests_in": 1}, {"requests_out": 1, "requests_out_refused": 1}
        failed = {"requests_out": 1, "requests_out_failed": 1}
        assert await moved.by(ask("refuse"), Rejected) == [one | {"requests_in_refused": 1}, refused]
        assert await moved.by(ask("else"), Rejected) == [{"requests_in_rejected": 1}, refused]
        assert await moved.by(ask("fail"), P2PError) == [one | {"requests_in_failed": 1}, failed]
        assert await moved.by(ask("wait"), P2PError) == [one | {"requests_in_late": 1}, failed]
        late = {"requests_out": 1, "requests_out_late": 1}
        assert await moved.by(ask("wait", timeout=1), P2PError) == [one | {"requests_in_left": 1}, late]
        task = asyncio.create_task(ask("wait"))
        await until(lambda: bob.stats()["requests_in"])
        task.cancel()
        gone = {"requests_out": 1, "requests_out_cancelled": 1}
        assert await moved.by(task, asyncio.CancelledError) == [one | {"requests_in_left": 1}, gone]
        async with alice.open_stream(bob.peer_id, "/stronghold-p2p/1.0.0") as stream:
            await stream.write(b"\x02{]")
            with pytest.raises(P2PError):
                await stream.read()
        assert await moved.by(asyncio.sleep(0)) == [{}, {}]
        assert totals(bob)[PROBED] > 0
        with pytest.raises(P2PError):
            await alice.request(NOWHERE, "ok")
        assert moved.look()[1] == {"requests_out_unsent": 1, "dials_failed": 1}
        await alice.ping(bob.peer_id)
        await alice.disconnect(bob.peer_id)
        await until(lambda: not bob.connections())
        assert moved.look() == [{"connections_ended_in": 1}, {"connections_ended_out": 1}]
    caplog.clear()


async def test_answers_in_parts_are_requests() -> None:
    async def count(request: Request[Any]) -> AsyncIterator[Any]:
        for number in range(request.message):
            yield number
        raise Rejected

    bob = network(None)
    bob.on_request(COUNT)(count)
    async with connected(bob) as alice:
        await alice.identify(bob.peer_id)
        moved = Moved(bob, alice)

        async def some(number: int) -> None:
            async with alice.request_parts(bob.peer_id, number, COUNT) as parts:
                for _ in range(2):
                    await anext(parts)

        assert (await moved.by(some(1), Rejected))[1] == {"requests_out": 1, "requests_out_refused": 1}
        assert (await moved.by(some(100_000)))[1] == {"requests_out": 1, "requests_out_cancelled": 1}


async def test_who_asks_first_is_counted_with_the_dial() -> None:
    """The first request opens the connection, and those of a hook are asked about: neither is on the quick way."""
    bob = network(mirror)
    async with bob, Network() as alice:
        assert await alice.request(bob.addresses[0], 1) == 1
        alice.firewall.set(Rule.ASK, direction="out")

        @alice.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            return bool(attempt.view != "no")

        assert await alice.request(bob.peer_id, 2) == 2
        with pytest.raises(Rejected):
            await alice.request(bob.peer_id, "no")
        assert (totals(alice)["requests_out"], totals(alice)["requests_out_unsent"]) == (2, 1)
        assert (totals(alice)["connections_out"], totals(bob)["connections_in"], totals(bob)["requests_in"]) == (
            1,
            1,
            2,
        )
    assert (totals(alice)["requests_out"], totals(alice)["connections_out"]) == (2, 1)  # also when they are over


async def test_a_limit_that_refuses_is_named() -> None:
    limits = Limits(requests_per_peer=1, inbound=1)
    async with connected(network(never, limits=limits)) as alice, Network() as carol:
        (bob_id,) = [one.peer for one in alice.connections()]
        address = alice.connections()[0].remote_address
        tasks = [asyncio.create_task(alice.request(bob_id, number, timeout=3)) for number in range(2)]
        assert all(isinstance(error, P2PError) for error in await asyncio.gather(*tasks, return_exceptions=True))
        with pytest.raises(P2PError):
            await carol.connect(address)
        mine = Network(limits=Limits(outbound=0))
        async with mine:
            with pytest.raises(P2PError):
                await mine.connect(address)
            assert (totals(mine)["limit_outbound"], totals(mine)["dials_forbidden"]) == (1, 1)


async def test_limits_of_a_server_are_named_there() -> None:
    bob = network(never, limits=Limits(requests_per_peer=1, inbound=1))
    async with connected(bob) as alice, Network() as carol:
        tasks = [asyncio.create_task(alice.request(bob.peer_id, number, timeout=3)) for number in range(2)]
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(P2PError):
            await carol.connect(bob.addresses[0])
        await until(lambda: "limit_inbound" in totals(bob))
        counts = totals(bob)
        assert (counts["limit_requests_per_peer"], counts["requests_in_unread"]) == (1, 1)
        assert (counts["limit_inbound"], counts["accepts_failed"]) == (1, 1)


async def test_dials_by_outcome() -> None:
    async with network(mirror) as bob, Network(timeouts=Timeouts(connect=None, dial=1)) as alice:
        for address, name in (
            (NOWHERE, "dials_failed"),
            (f"{bob.addresses[0]}".replace(str(bob.peer_id), str(Identity().peer_id)), "dials_unproven"),
        ):
            with pytest.raises(P2PError):
                await alice.connect(address)
            assert totals(alice)[name] == 1
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent_at = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}"
            with pytest.raises(P2PError):
                await alice.connect(silent_at, timeout=60)
        assert totals(alice)["dials_late"] == 1
        alice.firewall.ban(bob.peer_id)
        with pytest.raises(P2PError):
            await alice.connect(bob.addresses[0])
        assert totals(alice)["dials_failed"] == 2


def test_what_is_not_counted_moves_nothing() -> None:
    counts = Counts()
    before = dict(counts)
    counts.tell(Opened(None))  # type: ignore[arg-type]
    counts.limit(ValueError())
    assert counts == before
    assert all(name.endswith("_total") for name in counts.snapshot())


async def test_a_network_that_is_not_open_has_counts() -> None:
    assert set(totals(Network(listen=[LOOPBACK])).values()) == {0}
