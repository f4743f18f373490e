"""Hostile rows 82 to 87, each with a control: without its check it fails. And relays that cheat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import (
    HOP,
    ConfigError,
    DecryptError,
    DialError,
    Identity,
    ListenError,
    Malformed,
    Network,
    PeerIdMismatch,
    RelayLimits,
    Request,
    Rule,
)
from stronghold_p2p.addressing.kinds import through_relay
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import P2PError, StreamReset
from stronghold_p2p.identity import PeerId
from stronghold_p2p.relay import messages, voucher
from stronghold_p2p.relay.circuit import Half
from stronghold_p2p.relay.client import asking
from stronghold_p2p.relay.client import place as places
from stronghold_p2p.relay.client.place import KeptPlace
from stronghold_p2p.relay.client.transport import RelayClient
from stronghold_p2p.relay.messages import HOP as HOP_ID
from stronghold_p2p.relay.messages import STOP, Reservation, Status
from stronghold_p2p.relay.reservations import Reservations
from stronghold_p2p.relay.service import relay as services
from stronghold_p2p.relay.service.relay import RelayService
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import LOOPBACK, connect, swarm, until

weakened = pytest.mark.parametrize("weak", [False, True], ids=["as it is", "control"])
PEERS = [Identity.from_seed(number.to_bytes(32, "big")).peer_id for number in range(500)]


@contextmanager
def failing(weak: bool) -> Iterator[None]:
    """The row has to fail if its check is taken away."""
    if not weak:
        yield
        return
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError)):
        yield


async def status(connection: LiveConnection, body: bytes) -> Status:
    async with await connection.open_stream(HOP_ID) as stream:
        await stream.write_message(body)
        return messages.status_of(messages.read_hop(await stream.read_message(messages.MAX_MESSAGE) or b""))


# ---------------------------------------------------------------------- rows


@weakened
def test_row_82_many_keys_want_places(weak: bool) -> None:
    """Hostile row 82."""
    table = Reservations(*((1_280, 80) if weak else (128, 8)), 3_600.0)
    with failing(weak):
        for number in range(10_000):
            table.reserve(PEERS[number % 500], "192.0.2.1", 0.0)
        assert len(table) == 8
        for number in range(10_000):
            table.reserve(PEERS[number % 500], f"192.0.2.{number % 250}", 0.0)
        assert len(table) == 128


@weakened
async def test_row_82_places_are_not_renewed_all_the_time(weak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if weak:
        monkeypatch.setattr(services, "ASKS_AT_ONCE", 100)
    async with swarm(1) as relay, swarm(2) as target:
        RelayService(relay)
        connection = await connect(target, relay)
        with failing(weak):
            answers = [await status(connection, messages.reserve()) for _ in range(30)]
            assert answers.count(Status.OK) == 10
            assert set(answers[10:]) == {Status.RESERVATION_REFUSED}


@weakened
async def test_row_83_messages_that_are_too_long_or_too_slow(weak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 83; the statuses are those of ``test_what_is_no_request_is_answered``."""
    monkeypatch.setattr(services, "MESSAGE", 60.0 if weak else 0.2)
    async with swarm(1) as relay, swarm(2) as source:
        RelayService(relay)
        connection = await connect(source, relay)
        with pytest.raises(StreamReset):
            await status(connection, bytes(messages.MAX_MESSAGE + 1))
        with failing(weak):
            stream = await connection.open_stream(HOP_ID)
            await stream.write(b"\x02\x08")
            with pytest.raises(StreamReset):
                async with asyncio.timeout(1):
                    await stream.read()
        stream.reset(0)
        assert not connection.closed


@weakened
async def test_row_84_no_relay_behind_a_relay(weak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 84."""
    async with swarm(1) as relay, swarm(2, listen=False) as target, swarm(3, listen=False) as source:
        RelayService(relay)
        RelayService(target)
        for one in (target, source):
            RelayClient(one)
        listener = await target.listen(through_relay(relay.addresses[0], relay.peer_id))
        connection = await source.dial(target.peer_id, list(listener.addresses))
        if weak:
            for there in target.connections(source.peer_id):
                there.relayed = False
        with failing(weak):
            assert await status(connection, messages.reserve()) is Status.PERMISSION_DENIED
            assert await status(connection, messages.connect(relay.peer_id)) is Status.PERMISSION_DENIED
        twice = Multiaddr(f"{listener.addresses[0]}/p2p/{target.peer_id}/p2p-circuit")
        with pytest.raises(ConfigError):
            await source.listen(twice)
        with pytest.raises(DialError):
            await source.dial(PEERS[0], [twice])


@weakened
async def test_row_85_a_byte_too_many(weak: bool) -> None:
    """Hostile row 85; ends, half-closes and time are those of ``test_circuit.py``."""
    limits = RelayLimits(data=None) if weak else RelayLimits()
    async with swarm(1) as relay, swarm(2) as target, swarm(3) as source:
        service = RelayService(relay, limits)
        offers: asyncio.Queue[LiveStream] = asyncio.Queue()
        over = asyncio.Event()

        async def stop(stream: LiveStream) -> None:
            await stream.read_message(messages.MAX_MESSAGE)
            await stream.write_message(messages.stop_status(Status.OK))
            offers.put_nowait(stream)
            await over.wait()

        target.handle(STOP, stop)
        await status(await connect(target, relay), messages.reserve())
        near = await (await connect(source, relay)).open_stream(HOP_ID)
        await near.write_message(messages.connect(target.peer_id))
        await near.read_message(messages.MAX_MESSAGE)
        far = await offers.get()
        await near.write(bytes(131_072))
        with failing(weak):
            assert len(await far.readexactly(131_072)) == 131_072
            await near.write(b"x")
            for stream in (near, far):
                with pytest.raises(StreamReset):
                    async with asyncio.timeout(1):
                        while await stream.read():
                            pass
            assert service.snapshot()["circuits"] == 0
            assert service.snapshot()["circuit_bytes_total"] == 131_072
        over.set()


def lie(relay: Swarm, target: PeerId, kind: str) -> Reservation:
    """What a relay tells that does not say the truth."""
    now = int(time.time())
    signer = Identity() if kind == "signer" else relay.identity
    sealed = voucher.issue(signer, PEERS[0] if kind == "peer" else target, now + 3_600)
    if kind == "relay":  # of somebody else
        sealed = voucher.issue(Identity(), target, now + 3_600)
    expire = {"past": 1, "century": now + 100 * 365 * 86_400}.get(kind, now + 3_600)
    return Reservation(expire=expire, addrs=(b"\x04\x7f\x00\x00\x01\x06\x00\x01",) * 60, voucher=sealed)


@weakened
@pytest.mark.parametrize("kind", ["signer", "peer", "relay", "past", "century"])
async def test_row_86_a_relay_that_lies(kind: str, weak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 86."""
    if weak:
        monkeypatch.setattr(voucher, "check", lambda *_: 0)
        monkeypatch.setattr(places, "SOONEST", -1e12)
        monkeypatch.setattr(places, "LATEST", 1e12)
    async with swarm(1) as relay, swarm(2, listen=False) as target:
        client = RelayClient(target)

        async def hop(stream: LiveStream) -> None:
            await stream.read_message(messages.MAX_MESSAGE)
            told = lie(relay, target.peer_id, kind)
            await stream.write_message(messages.hop_status(Status.OK, reservation=told))

        relay.handle(HOP_ID, hop)
        at = through_relay(relay.addresses[0], relay.peer_id)
        with failing(weak):
            if kind in {"signer", "peer", "relay"}:
                with pytest.raises(ListenError) as caught:
                    await target.listen(at)
                assert isinstance(caught.value.__cause__, Malformed)
                assert client.snapshot()["relays_used"] == 0
            else:
                listener = await target.listen(at)
                assert len(listener.addresses) <= asking.MOST
                assert 30 <= client.places[relay.peer_id][0]._renewal() <= 3_600


@weakened
async def test_row_87_a_relay_that_does_not_come_back(weak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 87; restarts are those of ``test_it_listens_again_when_the_relay_is_back``."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 30:
            await asyncio.Event().wait()

    if weak:
        monkeypatch.setattr(places, "FIRST", 0.001)
    async with swarm(2, listen=False) as target:
        kept = KeptPlace(target, PEERS[0], [])
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "sleep", sleep)
            kept._task = task = asyncio.ensure_future(kept._keep())
            async with asyncio.timeout(5):
                while len(pauses) < 30:
                    await asyncio.wait([task], timeout=0.01)
        with failing(weak):
            assert all(0.5 * min(300, 2**n) <= pause <= min(300, 2**n) for n, pause in enumerate(pauses[1:]))
        kept.stop()
        await asyncio.wait([task])


# ---------------------------------------------------------------------- relays that cheat


@asynccontextmanager
async def cheated() -> AsyncIterator[tuple[Network, Network, Network, str]]:
    """Alice and Bob, who answers her, and the relay between them."""
    relay = Network(listen=[LOOPBACK], relay=RelayLimits())
    relay.firewall.set(Rule.ALLOW, protocol=HOP)
    async with relay, Network() as bob, Network() as alice:
        bob.firewall.set(Rule.ALLOW)

        @bob.on_request
        def answer(request: Request[Any]) -> Any:
            return request.message

        await bob.listen(f"{relay.addresses[0]}/p2p-circuit")
        yield relay, bob, alice, str(bob.addresses[0])


@pytest.mark.parametrize("how", ["changes", "replays", "drops"])
async def test_a_relay_that_touches_what_it_carries(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cheated() as (_, bob, alice, at):
        assert await alice.request(at, "before") == "before"
        (here,), (there,) = bob.connections(alice.peer_id), alice.connections(bob.peer_id)
        plain, cheats = Half.data, iter([True])

        def data(half: Half, piece: bytes | memoryview) -> None:
            if not next(cheats, False):
                plain(half, piece)
            elif how == "changes":
                plain(half, bytes((*piece[:-1], piece[-1] ^ 1)))
            elif how == "replays":
                plain(half, piece)
                plain(half, piece)

        monkeypatch.setattr(Half, "data", data)
        with pytest.raises(P2PError):
            for _ in range(3):  # what was dropped is missed when something follows it
                await alice.request(bob.peer_id, "again", timeout=0.5)
        await until(lambda: here.closed and there.closed)
        # Whoever was to read what it has touched: bytes of identify may have been on their way to Alice.
        assert any(isinstance(one.error, DecryptError) for one in (here, there))


async def test_a_relay_that_gives_the_circuit_to_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cheated() as (relay, bob, alice, at), Network() as mallory:
        mallory.firewall.set(Rule.ALLOW)
        await mallory.listen(f"{relay.addresses[0]}/p2p-circuit")
        honest = messages.peer_of
        monkeypatch.setattr(
            messages,
            "peer_of",
            lambda message: mallory.peer_id if bob.peer_id == honest(message) else honest(message),
        )
        with pytest.raises(PeerIdMismatch) as caught:
            await alice.connect(at)
        assert (caught.value.expected, caught.value.actual) == (bob.peer_id, mallory.peer_id)
