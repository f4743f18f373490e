"""identify and push between swarms, and with peers that do not play by the rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import errors
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Timeouts
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.encoding import protobuf, varint
from stronghold_p2p.errors import ConnectionClosed, DecodeError, Malformed, StreamEnded, StreamReset
from stronghold_p2p.events.events import Ended, Event
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerRecord
from stronghold_p2p.multistream import propose
from stronghold_p2p.protocols.identify import ASKING, ASKS, ASKS_IN, IDENTIFY, PUSH, PUSH_EVERY, TEMPLATES, Identify
from stronghold_p2p.protocols.identify_messages import MAX_PART, MAX_PARTS, IdentifyMessage, PeerInfo, build
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.yamux.header import DATA, GO_AWAY, SYN, frame
from tests.peers import LOOPBACK, connect, now, saying, swarm, turns, until
from tests.swarm.raw import raw_in
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
HASTY = Timeouts(identify=0.2)


def message(**fields: object) -> bytes:
    """One part, framed."""
    body = protobuf.encode(IdentifyMessage(**fields))  # type: ignore[arg-type]
    return varint.encode(len(body)) + body


def names(*protocols: str) -> dict[str, object]:
    return {"protocols": tuple(protocol.encode() for protocol in protocols)}


def served(here: Swarm, there: Swarm) -> frozenset[str]:
    """What ``here`` believes that ``there`` serves."""
    return here.peer_protocols.get(there.peer_id, frozenset())


@dataclass
class Meeting:
    """Alice, who has asked Bob when they met; ``his`` is Bob's service, if he has one."""

    alice: Swarm
    bob: Swarm
    connection: LiveConnection
    hers: Identify
    his: Identify | None

    @property
    def info(self) -> PeerInfo:
        """What Alice knows of Bob."""
        info = self.hers.info(self.bob.peer_id)
        assert info is not None
        return info

    @property
    def nothing_known(self) -> bool:
        return self.hers.info(self.bob.peer_id) is None

    async def ask(self) -> PeerInfo:
        return await self.hers.identify(self.connection)

    async def both_know(self) -> None:
        assert self.his is not None
        await until(lambda: self.hers.info(self.bob.peer_id) and self.his.info(self.alice.peer_id))  # type: ignore[union-attr]

    async def push(self, data: bytes, *, whole: bool = True) -> LiveStream:
        """A push to Alice."""
        (connection,) = self.bob.connections(self.alice.peer_id)
        stream = await connection.open_stream(PUSH)
        await stream.write(data)
        if whole:
            stream.finish()
        return stream

    async def pushed(self, data: bytes) -> None:
        """A push that is taken: nothing is answered."""
        async with await self.push(data) as stream:
            assert await stream.read() == b""


@asynccontextmanager
async def meeting(
    answer: Handler | None = None, *, rule: Rule | None = Rule.ALLOW, his: bool = False, hasty: bool = False
) -> AsyncIterator[Meeting]:
    """Bob has a service, or answers by hand, or not at all."""
    async with swarm(1, timeouts=HASTY if hasty else None) as alice, swarm(2, rule) as bob:
        hers, service = Identify(alice, "alice/1"), Identify(bob, "bob/1") if his else None
        if answer is not None:
            bob.handle(IDENTIFY, answer)
        yield Meeting(alice, bob, await connect(alice, bob), hers, service)


async def test_a_peer_is_not_told_of_what_the_rules_keep_from_it() -> None:
    async with meeting(rule=None, his=True) as on:
        alice, firewall = on.alice.peer_id, on.bob.firewall
        on.bob.handle("/upper/1", saying())
        on.bob.handle("/requests/1", saying(), judges=True)
        nothing = {IDENTIFY, PUSH}
        assert set((await on.ask()).protocols) == nothing
        for rule in (Rule.ALLOW, Rule.ASK, Rule.only(["Ping"])):
            firewall.set(rule, peer=alice, protocol="/requests/1")
            assert set((await on.ask()).protocols) == {*nothing, "/requests/1"}
        for refused in (Rule.REJECT, Rule.only(["Ping"], then=Rule.REJECT)):
            firewall.set(refused, peer=alice)
            firewall.remove(peer=alice, protocol="/requests/1")
            assert set((await on.ask()).protocols) == nothing
        for number in range(TEMPLATES):  # each peer could be told something else
            on.bob.handle(f"/{number}", saying())
            firewall.set(Rule.ALLOW, peer=alice, protocol=f"/{number}")
            await asyncio.sleep(ASKS_IN / ASKS)
            assert f"/{number}" in (await on.ask()).protocols
        assert on.his is not None
        assert len(on.his._templates) <= TEMPLATES
        await on.hers.close()
        await on.his.close()


async def test_a_change_of_the_rules_is_told_to_whom_it_concerns() -> None:
    async with swarm(1) as alice, swarm(2, None) as bob, swarm(3) as carol:
        services = [Identify(one, "agent") for one in (alice, bob, carol)]
        bob.handle("/upper/1", saying())
        for one in (alice, carol):
            await connect(one, bob)
        await until(lambda: services[1].info(alice.peer_id) and services[1].info(carol.peer_id))
        await until(lambda: PUSH in served(alice, bob) and PUSH in served(carol, bob))
        for rule, expected in ((Rule.ALLOW, {"/upper/1"}), (Rule.REJECT, set[str]())):
            bob.firewall.set(Rule.REJECT)
            bob.firewall.set(rule, peer=alice.peer_id)
            await until(lambda: served(alice, bob) == {IDENTIFY, PUSH} | expected)  # noqa: B023
        assert served(carol, bob) == {IDENTIFY, PUSH}
        for service in services:
            await service.close()
        bob.firewall.set(Rule.ALLOW)


async def test_both_sides_learn_everything() -> None:
    async with meeting(his=True) as on:
        on.bob.handle("/upper/1", saying())
        await on.both_know()
        info = await on.ask()
        assert (info.peer, info.agent, info.version) == (on.bob.peer_id, "bob/1", "ipfs/0.1.0")
        assert set(info.protocols) == {IDENTIFY, PUSH, "/upper/1"} == served(on.alice, on.bob)
        assert info.addresses == on.bob.addresses
        assert info.observed == on.connection.local_address
        assert info.record is not None
        assert info.record.peer_id == on.bob.peer_id
        assert on.bob.book.addresses(on.alice.peer_id) == on.alice.addresses


async def test_of_more_protocols_than_peers_are_told_the_log_tells(caplog: pytest.LogCaptureFixture) -> None:
    async with meeting(his=True) as on:
        for number in range(150):
            on.bob.handle(f"/{number}", saying())
        assert on.his is not None
        on.his.changed()
        info = await on.ask()
        on.his.changed()
        await on.ask()
    assert len(info.protocols) == 128
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["of 152 protocols peers are told the first 128"]
    caplog.clear()


async def test_what_was_told_goes_with_the_last_connection() -> None:
    async with meeting(his=True) as on:
        await until(lambda: not on.nothing_known)
        await on.connection.close()
        assert on.nothing_known
        assert served(on.alice, on.bob) == frozenset()
        assert on.alice.book.addresses(on.bob.peer_id) == on.bob.addresses


async def test_who_asks_and_leaves_at_once_is_not_remembered() -> None:
    """Where handlers start a turn later the connection is over by then (before Python 3.12)."""
    async with swarm(1) as alice:
        service = Identify(alice, "alice/1")
        async with raw_in(alice) as (raw, connection):
            body = propose(IDENTIFY)
            await raw.send(frame(DATA, SYN, 1, len(body)), body, frame(GO_AWAY, 0, 0, 0))
            await until(lambda: connection.closed and not connection.handlers.tasks)
        await service.close()
        assert service._sent == {}


async def test_a_peer_without_identify_is_no_failure() -> None:
    async with meeting() as on:
        with pytest.raises(errors.UnsupportedProtocol):
            await on.ask()
        assert on.nothing_known
        assert not on.connection.closed
        await until(lambda: on.connection.streams == 0)


@pytest.mark.parametrize("what", ["connection", "service"])
async def test_the_task_of_a_connection_ends_with_it_and_with_the_service(what: str) -> None:
    async with meeting(saying(close=False)) as on:
        await until(lambda: on.connection.streams == 1)
        await (on.connection if what == "connection" else on.hers).close()
        await until(lambda: on.connection.streams == 0)
        on.hers.changed()
        assert on.connection.closed is (what == "connection")


PARTS = [message(**names(f"/{number}"), agent_version=b"%d" % number) for number in range(MAX_PARTS + 1)]
LARGE = [message(agent_version=b"%d" % number, observed_addr=bytes(MAX_PART - 8)) for number in range(9)]


@pytest.mark.parametrize(
    ("pieces", "agent"),
    [
        ([b"".join(PARTS[:-1])[at : at + 7] for at in range(0, len(b"".join(PARTS[:-1])), 7)], str(MAX_PARTS - 1)),
        (PARTS, str(MAX_PARTS - 1)),
        (LARGE, "7"),  # eight parts are 64 KiB
    ],
    ids=["in pieces", "more parts than we take", "more bytes than we take"],
)
async def test_a_message_may_come_in_so_many_parts(pieces: list[bytes], agent: str) -> None:
    async with meeting(saying(*pieces)) as on:
        info = await on.ask()
        assert info.agent == agent
        assert pieces is LARGE or info.protocols == tuple(f"/{number}" for number in range(MAX_PARTS))


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", Malformed),
        (varint.encode(MAX_PART + 1), Malformed),
        (varint.encode(2**62), Malformed),
        (b"\x80" * 10, Malformed),
        (b"\x80", StreamEnded),
        (b"\x05\x0a", StreamEnded),
        (b"\x01\x0b", DecodeError),
        (b"\x02\x0a\x05", DecodeError),
        (message(agent_version=b"x") + b"\x02\x0a\x05", DecodeError),
    ],
)
async def test_nonsense_costs_only_the_stream(sent: bytes, error: type[errors.P2PError]) -> None:
    async with meeting(saying(sent)) as on:
        with pytest.raises(error):
            await on.ask()
        assert on.nothing_known
        await until(lambda: on.connection.streams == 0)
        assert not on.connection.closed


@pytest.mark.parametrize("sent", [b"", b"\x05", message(agent_version=b"x")], ids=["nothing", "a length", "no end"])
async def test_a_peer_that_does_not_finish_has_one_deadline_for_all_bytes(sent: bytes) -> None:
    async with meeting(saying(sent, close=False), hasty=True) as on:
        start = now()
        with pytest.raises(errors.DeadlineExceeded) as caught:
            await on.ask()
        assert now() - start < 1
        assert (caught.value.phase, caught.value.timeout, caught.value.peer) == ("identify", 0.2, on.bob.peer_id)
        await until(lambda: on.connection.streams == 0)


async def test_another_key_ends_the_connection() -> None:
    async with swarm(1) as alice, swarm(2) as bob, swarm(3) as carol:
        ends: list[Event] = []
        bob.hub.on_event(lambda event: ends.append(event) if isinstance(event, Ended) else None)
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(message(public_key=carol.identity.public_key.encode(), **names("/x"))))
        connection = await alice.dial(bob.peer_id, bob.addresses)
        await until(lambda: ends and connection.closed)
        (end,) = ends
        assert isinstance(end, Ended)
        for error, remote in ((connection.error, False), (end.error, True)):
            assert isinstance(error, ConnectionClosed)
            assert (error.code, error.remote) == (GoAway.PROTOCOL_VIOLATION, remote)
        assert service.info(bob.peer_id) is None
        assert served(alice, bob) == frozenset()
        ends.clear()


@pytest.mark.parametrize("pushed", [False, True])
async def test_another_key_in_a_fresh_answer_or_in_a_push(pushed: bool) -> None:
    async with meeting() as on:
        other = message(public_key=on.alice.identity.public_key.encode())
        on.bob.handle(IDENTIFY, saying(other))
        with pytest.raises(
            ConnectionClosed if pushed else errors.HandshakeError, match=None if pushed else "public key"
        ):
            await (await on.push(other)).read() if pushed else await on.ask()
        await until(lambda: on.connection.closed)


async def test_nobody_else_can_be_spoken_for() -> None:
    async with meeting() as on, swarm(3) as carol:
        forged = protobuf.decode(IdentifyMessage, build(carol.identity, "c", [], carol.addresses, 2**62).message(None))
        address = bytes(parse(f"/ip4/127.0.0.1/tcp/1/p2p/{carol.peer_id}"))
        on.bob.handle(IDENTIFY, saying(message(signed_peer_record=forged.signed_peer_record, listen_addrs=(address,))))
        info = await on.ask()
        assert (info.record, info.addresses) == (None, ())
        assert on.alice.book.addresses(carol.peer_id) == ()


async def test_the_book_learns_from_the_signed_record_alone() -> None:
    async with meeting() as on:
        bob, book = on.bob, on.alice.book
        signed, newer, unsigned = (parse(f"/ip4/127.0.0.1/tcp/{port}") for port in (1, 2, 3))

        def record(seq: int, address: Multiaddr) -> bytes:
            return PeerRecord(bob.peer_id, seq, (bytes(address),)).seal(bob.identity)

        place = bob.addresses[0]  # a dial has found it: it stays
        for told, expected in (
            (message(listen_addrs=(bytes(unsigned),)), (place, unsigned)),
            (message(listen_addrs=(bytes(unsigned),), signed_peer_record=record(5, signed)), (place, signed)),
            (message(listen_addrs=(bytes(unsigned),)), (place, signed)),
            (message(listen_addrs=(bytes(unsigned),), signed_peer_record=record(4, unsigned)), (place, signed)),
            (message(signed_peer_record=record(6, newer)), (place, newer)),
        ):
            bob.handle(IDENTIFY, saying(told))
            assert (await on.ask()).addresses == expected[1:]
            assert book.addresses(bob.peer_id) == expected
        await on.connection.close()
        bob.handle(IDENTIFY, saying(message(signed_peer_record=record(3, unsigned))))  # of an earlier life
        await until(lambda: on.nothing_known)
        on.connection = await connect(on.alice, bob)
        assert (await on.ask()).addresses == ()
        assert book.addresses(bob.peer_id) == (place, newer)


async def test_identify_is_open_unless_a_rule_names_it() -> None:
    async with meeting(rule=None, his=True) as on:
        assert (await on.ask()).agent == "bob/1"
        on.bob.firewall.set(Rule.REJECT, protocol=IDENTIFY)
        with pytest.raises(errors.UnsupportedProtocol):
            await on.ask()


# ---------------------------------------------------------------------- push


async def test_a_change_is_pushed() -> None:
    async with meeting(his=True) as on:
        await on.both_know()
        assert on.info.addresses == on.bob.addresses
        first = on.info.record
        listener = await on.bob.listen(parse(LOOPBACK))
        on.bob.handle("/new/1", saying())
        on.his.changed()  # type: ignore[union-attr]
        await until(lambda: "/new/1" in served(on.alice, on.bob))
        assert on.info.addresses == on.bob.addresses
        assert len(on.bob.addresses) == 2
        second = on.info.record
        assert first is not None
        assert second is not None
        assert second.seq > first.seq
        listener.stop()
        await until(lambda: on.info.addresses == on.bob.addresses)
        assert len(on.bob.addresses) == 1
        await until(lambda: not any(each.streams for each in (*on.alice.connections(), *on.bob.connections())))


async def test_changes_of_one_moment_are_one_push() -> None:
    pushes = 0

    async def count(stream: LiveStream) -> None:
        nonlocal pushes
        pushes += 1
        await stream.read_to_end()

    async with meeting(saying(message(**names(PUSH)))) as on:
        on.bob.handle(PUSH, count)
        await until(lambda: PUSH in served(on.alice, on.bob))
        (connection,) = on.bob.connections()
        async with await connection.open_stream(IDENTIFY) as stream:
            assert await stream.read_message()
        for number in range(5):
            on.alice.handle(f"/new/{number}", saying())
            on.hers.changed()
        await until(lambda: pushes and not on.hers._tasks)
        assert pushes == 1


async def test_changes_during_a_push_are_one_more() -> None:
    got: list[tuple[bytes, ...]] = []
    go_on = asyncio.Event()
    running = 0

    async def slow(stream: LiveStream) -> None:
        nonlocal running
        running += 1
        assert running == 1
        data = await stream.read_message()
        got.append(protobuf.decode(IdentifyMessage, data or b"").protocols)
        await go_on.wait()
        running -= 1

    async with meeting(his=True) as on:
        on.bob.handle(PUSH, slow)
        await until(lambda: PUSH in served(on.alice, on.bob) and on.bob.peer_id in on.hers._sent)
        for number in range(5):
            on.alice.handle(f"/new/{number}", saying())
            on.hers.changed()
            await asyncio.sleep(0.02)
        go_on.set()
        await until(lambda: len(got) == 2 and not on.hers._tasks)
        assert b"/new/4" not in got[0]
        assert b"/new/4" in got[1]


async def test_a_change_before_the_answer_came_is_pushed_too() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        hers, his = Identify(alice, "a"), Identify(bob, "b")
        answer = alice.handler(IDENTIFY)
        wait = asyncio.Event()

        async def late(stream: LiveStream) -> None:
            assert answer is not None
            await wait.wait()
            await answer(stream)

        alice.handle(IDENTIFY, late)
        await connect(alice, bob)
        await until(lambda: hers.info(bob.peer_id))
        bob.handle("/new/1", saying())
        his.changed()  # bob does not know yet that alice takes pushes
        wait.set()
        await until(lambda: "/new/1" in served(alice, bob))


async def test_a_peer_that_takes_no_push_gets_none() -> None:
    async with meeting(saying(message(agent_version=b"old"))) as on:
        await until(lambda: not on.nothing_known)
        on.hers.changed()
        assert not on.hers._tasks


async def test_a_push_that_fails_is_no_failure() -> None:
    async with meeting(his=True, hasty=True) as on:
        on.bob.handle(PUSH, saying(close=False))
        await until(lambda: PUSH in served(on.alice, on.bob) and on.bob.peer_id in on.hers._sent)
        on.hers.changed()
        assert on.hers._tasks
        await until(lambda: not on.hers._tasks)
        assert not on.connection.closed


async def test_a_push_before_identify_is_taken() -> None:
    async with meeting() as on:
        await on.pushed(message(**names("/a"), agent_version=b"one"))
        assert on.info.protocols == ("/a",)
        await asyncio.sleep(PUSH_EVERY)
        await on.pushed(message(**names("/b")))
        assert (on.info.protocols, on.info.agent) == (("/b",), "one")


async def test_a_second_push_at_the_same_time_is_reset() -> None:
    async with meeting() as on:
        first = await on.push(b"\x05", whole=False)
        with pytest.raises(StreamReset) as caught:
            await (await on.push(b"\x05", whole=False)).read()
        assert caught.value.code == Reset.RATE_LIMITED
        first.reset()


async def test_one_push_in_a_second_is_read() -> None:
    """However often it is tried; another connection has its own."""
    async with meeting() as on:
        for round_number in range(3):
            await on.pushed(message(**names(f"/{round_number}")))
            for _ in range(20):
                with pytest.raises(StreamReset) as caught:
                    await (await on.push(message(**names("/too/early")))).read()
                assert caught.value.code == Reset.RATE_LIMITED
            assert on.info.protocols == (f"/{round_number}",)
            await asyncio.sleep(PUSH_EVERY)
        assert len(on.hers._pushed) == 1
        await on.connection.close()
        assert on.hers._pushed == {}


async def test_what_a_refused_push_would_have_told_is_asked_for() -> None:
    """go pushes each change at once, and does not push again what was refused."""
    asked = 0

    async def answer(stream: LiveStream) -> None:
        nonlocal asked
        asked += 1
        await saying(message(**names("/latest")))(stream)

    async with meeting(answer) as on:
        await until(lambda: not on.nothing_known)
        for _ in range(3):
            await on.pushed(message(**names("/first")))
            for _ in range(5):
                with pytest.raises(StreamReset):
                    await (await on.push(message(**names("/refused")))).read()
            await asyncio.sleep(PUSH_EVERY)
            assert (on.info.protocols, asked) == (("/first",), 1)
        await until(lambda: on.info.protocols == ("/latest",))
        assert asked == 2
        await until(lambda: not on.hers._tasks)
        assert on.hers._missed == {}
        await on.pushed(message(**names("/first")))
        with pytest.raises(StreamReset):
            await (await on.push(message(**names("/refused")))).read()
        await on.connection.close()  # nobody is left to ask
        await turns()
        assert (on.hers._missed, on.hers._tasks, asked) == ({}, set(), 2)


async def test_changes_of_one_second_are_at_most_two_pushes() -> None:
    async with meeting(his=True) as on:
        await on.both_know()
        start = now()
        for number in range(9):
            on.bob.handle(f"/new/{number}", saying())
            on.his.changed()  # type: ignore[union-attr]
            await asyncio.sleep(0.1)
        await until(lambda: "/new/8" in served(on.alice, on.bob))
        assert PUSH_EVERY <= now() - start < 2 * PUSH_EVERY


async def test_a_peer_is_told_who_we_are_so_many_times_in_a_minute() -> None:
    """By all its connections together; whoever else asks is answered."""
    async with meeting(his=True) as on, swarm(3) as carol:
        await on.both_know()  # the first answer on a connection is free
        for _ in range(ASKS):
            await on.ask()
        for _ in range(30):
            with pytest.raises(StreamReset) as caught:
                await on.ask()
            assert caught.value.code == Reset.RATE_LIMITED
        await on.connection.close()
        on.connection = await connect(on.alice, on.bob)
        await on.both_know()
        with pytest.raises(StreamReset):
            await on.ask()
        assert (await Identify(carol, "carol").identify(await connect(carol, on.bob))).agent == "bob/1"
        await asyncio.sleep(ASKS_IN / ASKS)
        await on.ask()
        with pytest.raises(StreamReset):
            await on.ask()


async def test_those_who_asked_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stronghold_p2p.protocols.identify.ASKING", 1)
    assert ASKING > 300  # connections
    async with meeting(his=True) as on, swarm(3) as carol:
        await on.both_know()
        await on.ask()
        hers, connection = Identify(carol, "carol"), await connect(carol, on.bob)
        for _ in range(2):
            await hers.identify(connection)
        assert on.his is not None
        assert list(on.his._asked) == [bytes(carol.peer_id)]


async def test_a_record_is_not_taken_back() -> None:
    """Hostile row 95: by a lower sequence, or the same with other addresses, on this connection or the next."""
    async with meeting() as on:
        bob, book = on.bob, on.alice.book
        first, other = (parse(f"/ip4/127.0.0.1/tcp/{port}") for port in (1, 2))

        def told(seq: int, address: Multiaddr) -> bytes:
            return message(signed_peer_record=PeerRecord(bob.peer_id, seq, (bytes(address),)).seal(bob.identity))

        bob.handle(IDENTIFY, saying(told(5, first)))
        assert (await on.ask()).addresses == (first,)
        known = book.addresses(bob.peer_id)
        for again in (False, True):
            if again:
                bob.handle(IDENTIFY, saying(told(4, other)))
                await on.connection.close()
                on.connection = await connect(on.alice, bob)
            for seq, address, nothing in ((5, other, again), (4, other, again), (5, first, False)):
                bob.handle(IDENTIFY, saying(told(seq, address)))
                assert (await on.ask()).addresses == (() if nothing else (first,))
                assert book.addresses(bob.peer_id) == known
        bob.handle(IDENTIFY, saying(told(2**64 - 1, other)))
        assert (await on.ask()).addresses == (other,)


async def test_b16_a_peer_whose_clock_went_back_is_found_at_its_new_address() -> None:
    """Its record is older than the one that is known and not taken; what it says itself is dialed last."""
    async with meeting() as on:
        bob, book = on.bob, on.alice.book
        old, new = (parse(f"/ip4/127.0.0.1/tcp/{port}") for port in (1, 2))

        def told(seq: int, address: Multiaddr) -> bytes:
            signed = PeerRecord(bob.peer_id, seq, (bytes(address),)).seal(bob.identity)
            return message(listen_addrs=(bytes(address),), signed_peer_record=signed)

        bob.handle(IDENTIFY, saying(told(5, old)))
        await on.ask()
        place = bob.addresses[0]
        assert book.addresses(bob.peer_id) == (place, old)
        await on.connection.close()  # and the peer starts again
        bob.handle(IDENTIFY, saying(told(4, new)))
        await until(lambda: on.nothing_known)
        on.connection = await connect(on.alice, bob)
        info = await on.ask()
        assert (info.record, info.addresses) == (None, (new,))
        assert book.addresses(bob.peer_id) == (place, old, new)
        bob.handle(IDENTIFY, saying(told(6, new)))
        await on.ask()
        assert book.addresses(bob.peer_id) == (place, new)


async def test_half_a_push_changes_nothing() -> None:
    async with meeting() as on:
        async with await on.push(message(**names("/a"))[:-1]) as stream:
            with pytest.raises(StreamReset):
                await stream.read()
        assert on.nothing_known
