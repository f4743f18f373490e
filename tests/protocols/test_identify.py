"""identify and push between swarms, and with peers that do not play by the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Timeouts
from stronghold_p2p.encoding import protobuf, varint
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DecodeError,
    HandshakeError,
    Malformed,
    P2PError,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.events.events import Ended, Event
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerRecord
from stronghold_p2p.multistream import propose
from stronghold_p2p.protocols.identify import IDENTIFY, PUSH, TEMPLATES, Identify
from stronghold_p2p.protocols.identify_messages import MAX_PART, MAX_PARTS, IdentifyMessage, PeerInfo, build
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.yamux.header import DATA, GO_AWAY, SYN, frame
from tests.peers import LOOPBACK, connect, saying, swarm, until
from tests.swarm.raw import raw_in

HASTY = Timeouts(identify=0.2)


def message(**fields: object) -> bytes:
    """One part, framed."""
    body = protobuf.encode(IdentifyMessage(**fields))  # type: ignore[arg-type]
    return varint.encode(len(body)) + body


def names(*protocols: str) -> dict[str, object]:
    return {"protocols": tuple(protocol.encode() for protocol in protocols)}


def info_of(service: Identify, other: Swarm) -> PeerInfo:
    info = service.info(other.peer_id)
    assert info is not None
    return info


def served(here: Swarm, there: Swarm) -> frozenset[str]:
    """What ``here`` believes that ``there`` serves."""
    return here.peer_protocols.get(there.peer_id, frozenset())


async def test_a_peer_is_not_told_of_what_the_rules_keep_from_it() -> None:
    async with swarm(1) as alice, swarm(2, None) as bob:
        hers, his = Identify(alice, "alice/1"), Identify(bob, "bob/1")
        bob.handle("/upper/1", saying())
        bob.handle("/requests/1", saying(), judges=True)
        connection = await connect(alice, bob)
        nothing = {IDENTIFY, PUSH}
        assert set((await hers.identify(connection)).protocols) == nothing
        for rule in (Rule.ALLOW, Rule.ASK, Rule.only(["Ping"])):
            bob.firewall.set(rule, peer=alice.peer_id, protocol="/requests/1")
            assert set((await hers.identify(connection)).protocols) == {*nothing, "/requests/1"}
        for refused in (Rule.REJECT, Rule.only(["Ping"], then=Rule.REJECT)):
            bob.firewall.set(refused, peer=alice.peer_id)
            bob.firewall.remove(peer=alice.peer_id, protocol="/requests/1")
            assert set((await hers.identify(connection)).protocols) == nothing
        for number in range(TEMPLATES):  # each peer could be told something else
            bob.handle(f"/{number}", saying())
            bob.firewall.set(Rule.ALLOW, peer=alice.peer_id, protocol=f"/{number}")
            assert f"/{number}" in (await hers.identify(connection)).protocols
        assert len(his._templates) <= TEMPLATES
        await hers.close()
        await his.close()


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
    async with swarm(1) as alice, swarm(2) as bob:
        hers, his = Identify(alice, "alice/1"), Identify(bob, "bob/1")
        bob.handle("/upper/1", saying())
        connection = await connect(alice, bob)
        await until(lambda: hers.info(bob.peer_id) and his.info(alice.peer_id))
        info = info_of(hers, bob)
        assert (info.peer, info.agent, info.version) == (bob.peer_id, "bob/1", "ipfs/0.1.0")
        assert set(info.protocols) == {IDENTIFY, PUSH, "/upper/1"} == served(alice, bob)
        assert info.addresses == bob.addresses
        assert info.observed == connection.local_address
        assert info.record is not None
        assert info.record.peer_id == bob.peer_id
        assert bob.book.addresses(alice.peer_id) == alice.addresses
        fresh = await hers.identify(connection)
        assert fresh.agent == "bob/1"
        await hers.close()
        await his.close()


async def test_what_was_told_goes_with_the_last_connection() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        hers, _ = Identify(alice, "a"), Identify(bob, "b")
        first = await connect(alice, bob)
        await until(lambda: hers.info(bob.peer_id))
        await first.close()
        assert hers.info(bob.peer_id) is None
        assert served(alice, bob) == frozenset()
        assert alice.book.addresses(bob.peer_id) == bob.addresses


async def test_who_asks_and_leaves_at_once_is_not_remembered() -> None:
    """Where handlers start a turn later the connection is over by then (before Python 3.12)."""
    async with swarm(1) as alice:
        service = Identify(alice, "alice/1")
        async with raw_in(alice) as (raw, connection):
            body = propose(IDENTIFY)
            await raw.send(frame(DATA, SYN, 1, len(body)), body, frame(GO_AWAY, 0, 0, 0))
            await until(lambda: connection.closed and not connection.handlers)
        await service.close()
        assert (service._sent_generation, service._sent_protocols) == ({}, {})


async def test_a_peer_without_identify_is_no_failure() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        connection = await connect(alice, bob)
        with pytest.raises(UnsupportedProtocol):
            await service.identify(connection)
        assert service.info(bob.peer_id) is None
        assert not connection.closed
        await until(lambda: connection.streams == 0)


async def test_the_task_of_a_connection_ends_with_it() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        Identify(alice, "a")
        bob.handle(IDENTIFY, saying(close=False))
        connection = await connect(alice, bob)
        await until(lambda: connection.streams == 1)
        await connection.close()


async def test_closing_ends_what_still_waits() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(close=False))
        connection = await connect(alice, bob)
        await until(lambda: connection.streams == 1)
        await service.close()
        await until(lambda: connection.streams == 0)
        service.changed()
        assert not connection.closed


def spread(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 7):
        yield data[at : at + 7]


async def test_a_message_may_come_in_parts_and_pieces() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        parts = [message(**names(f"/{number}"), agent_version=b"%d" % number) for number in range(MAX_PARTS)]
        bob.handle(IDENTIFY, saying(*spread(b"".join(parts))))
        info = await service.identify(await connect(alice, bob))
        assert info.protocols == tuple(f"/{number}" for number in range(MAX_PARTS))
        assert info.agent == str(MAX_PARTS - 1)


async def test_more_parts_than_we_take_are_not_read() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(*(message(agent_version=b"%d" % number) for number in range(MAX_PARTS + 1))))
        assert (await service.identify(await connect(alice, bob))).agent == str(MAX_PARTS - 1)


async def test_more_bytes_than_we_take_are_not_read() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        parts = [message(agent_version=b"%d" % number, observed_addr=bytes(MAX_PART - 8)) for number in range(9)]
        bob.handle(IDENTIFY, saying(*parts))
        assert (await service.identify(await connect(alice, bob))).agent == "7"  # eight parts are 64 KiB


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
async def test_nonsense_costs_only_the_stream(sent: bytes, error: type[Exception]) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(sent))
        connection = await connect(alice, bob)
        with pytest.raises(error) as caught:
            await service.identify(connection)
        assert isinstance(caught.value, P2PError)
        assert service.info(bob.peer_id) is None
        await until(lambda: connection.streams == 0)
        assert not connection.closed


@pytest.mark.parametrize("sent", [b"", b"\x05", message(agent_version=b"x")])
async def test_a_peer_that_does_not_finish_has_a_deadline(sent: bytes) -> None:
    async with swarm(1, timeouts=HASTY) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(sent, close=False))
        connection = await connect(alice, bob)
        with pytest.raises(DeadlineExceeded) as caught:
            await service.identify(connection)
        assert (caught.value.phase, caught.value.timeout, caught.value.peer) == ("identify", 0.2, bob.peer_id)
        await until(lambda: connection.streams == 0)


async def test_the_deadline_is_one_for_all_bytes() -> None:
    async def dribble(stream: LiveStream) -> None:
        for byte in message(agent_version=b"x" * 200):
            await stream.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with swarm(1, timeouts=HASTY) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, dribble)
        connection = await connect(alice, bob)
        start = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded):
            await service.identify(connection)
        assert asyncio.get_running_loop().time() - start < 1


async def test_another_key_ends_the_connection() -> None:
    async with swarm(1) as alice, swarm(2) as bob, swarm(3) as carol:
        ends: list[Event] = []
        bob.hub.on_event(lambda event: ends.append(event) if isinstance(event, Ended) else None)
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(message(public_key=carol.identity.public_key.encode(), **names("/x"))))
        connection = await alice.dial(bob.peer_id, bob.addresses)
        await until(lambda: ends and connection.closed)
        assert isinstance(connection.error, ConnectionClosed)
        assert connection.error.code == GoAway.PROTOCOL_VIOLATION
        (end,) = ends
        assert isinstance(end, Ended)
        assert isinstance(end.error, ConnectionClosed)
        assert (end.error.code, end.error.remote) == (GoAway.PROTOCOL_VIOLATION, True)
        assert service.info(bob.peer_id) is None
        assert served(alice, bob) == frozenset()
        ends.clear()


async def test_another_key_in_a_fresh_answer_is_told_to_the_caller() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        connection = await connect(alice, bob)
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(message(public_key=alice.identity.public_key.encode())))
        with pytest.raises(HandshakeError, match="public key"):
            await service.identify(connection)
        assert connection.closed


async def test_nobody_else_can_be_spoken_for() -> None:
    async with swarm(1) as alice, swarm(2) as bob, swarm(3) as carol:
        service = Identify(alice, "a")
        forged = protobuf.decode(IdentifyMessage, build(carol.identity, "c", [], carol.addresses, 2**62).message(None))
        address = bytes(parse(f"/ip4/127.0.0.1/tcp/1/p2p/{carol.peer_id}"))
        bob.handle(IDENTIFY, saying(message(signed_peer_record=forged.signed_peer_record, listen_addrs=(address,))))
        info = await service.identify(await connect(alice, bob))
        assert (info.record, info.addresses) == (None, ())
        assert alice.book.addresses(carol.peer_id) == ()


async def test_the_book_learns_from_the_signed_record_alone() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        signed, newer, unsigned = (parse(f"/ip4/127.0.0.1/tcp/{port}") for port in (1, 2, 3))

        def record(seq: int, address: Multiaddr) -> bytes:
            return PeerRecord(bob.peer_id, seq, (bytes(address),)).seal(bob.identity)

        connection = await connect(alice, bob)
        place = bob.addresses[0]  # a dial has found it: it stays
        for told, expected in (
            (message(listen_addrs=(bytes(unsigned),)), (place, unsigned)),
            (message(listen_addrs=(bytes(unsigned),), signed_peer_record=record(5, signed)), (place, signed)),
            (message(listen_addrs=(bytes(unsigned),)), (place, signed)),
            (message(listen_addrs=(bytes(unsigned),), signed_peer_record=record(4, unsigned)), (place, signed)),
            (message(signed_peer_record=record(6, newer)), (place, newer)),
        ):
            bob.handle(IDENTIFY, saying(told))
            info = await service.identify(connection)
            assert info.addresses == expected[1:]
            assert alice.book.addresses(bob.peer_id) == expected
        await connection.close()
        bob.handle(IDENTIFY, saying(message(signed_peer_record=record(3, unsigned))))  # of an earlier life
        await until(lambda: service.info(bob.peer_id) is None)
        connection = await connect(alice, bob)
        assert (await service.identify(connection)).addresses == (unsigned,)
        assert alice.book.addresses(bob.peer_id) == (place, newer)


# ---------------------------------------------------------------------- push


async def test_a_change_is_pushed() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        hers, his = Identify(alice, "a"), Identify(bob, "b")
        await connect(alice, bob)
        await until(lambda: hers.info(bob.peer_id) and his.info(alice.peer_id))
        assert info_of(hers, bob).addresses == bob.addresses
        first = info_of(hers, bob).record
        listener = await bob.listen(parse(LOOPBACK))
        bob.handle("/new/1", saying())
        his.changed()
        await until(lambda: "/new/1" in served(alice, bob))
        assert info_of(hers, bob).addresses == bob.addresses
        assert len(bob.addresses) == 2
        second = info_of(hers, bob).record
        assert first is not None
        assert second is not None
        assert second.seq > first.seq
        listener.stop()
        await until(lambda: info_of(hers, bob).addresses == bob.addresses)
        assert len(bob.addresses) == 1
        await until(lambda: not any(connection.streams for connection in (*alice.connections(), *bob.connections())))


async def test_changes_of_one_moment_are_one_push() -> None:
    pushes = 0

    async def count(stream: LiveStream) -> None:
        nonlocal pushes
        pushes += 1
        await stream.read_to_end()

    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(message(**names(PUSH))))
        bob.handle(PUSH, count)
        await connect(alice, bob)
        await until(lambda: PUSH in served(alice, bob))
        (connection,) = bob.connections()
        async with await connection.open_stream(IDENTIFY) as stream:
            assert await stream.read_message()
        for number in range(5):
            alice.handle(f"/new/{number}", saying())
            service.changed()
        await until(lambda: pushes and not service._tasks)
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

    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        Identify(bob, "b")
        bob.handle(PUSH, slow)
        await connect(alice, bob)
        await until(lambda: PUSH in served(alice, bob) and bob.peer_id in service._sent_generation)
        for number in range(5):
            alice.handle(f"/new/{number}", saying())
            service.changed()
            await asyncio.sleep(0.02)
        go_on.set()
        await until(lambda: len(got) == 2 and not service._tasks)
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
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        bob.handle(IDENTIFY, saying(message(agent_version=b"old")))
        await connect(alice, bob)
        await until(lambda: service.info(bob.peer_id))
        service.changed()
        assert not service._tasks


async def test_a_push_that_fails_is_no_failure() -> None:
    async with swarm(1, timeouts=HASTY) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        Identify(bob, "b")
        bob.handle(PUSH, saying(close=False))
        connection = await connect(alice, bob)
        await until(lambda: PUSH in served(alice, bob) and bob.peer_id in service._sent_generation)
        service.changed()
        assert service._tasks
        await until(lambda: not service._tasks)
        assert not connection.closed


async def push(stream_to: Swarm, sender: Swarm, data: bytes) -> LiveStream:
    (connection,) = sender.connections(stream_to.peer_id)
    stream = await connection.open_stream(PUSH)
    await stream.write(data)
    return stream


async def test_a_push_before_identify_is_taken() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        await connect(bob, alice)
        async with await push(alice, bob, message(**names("/a"), agent_version=b"one")) as stream:
            stream.finish()
            assert await stream.read() == b""  # nothing is answered
        assert info_of(service, bob).protocols == ("/a",)
        async with await push(alice, bob, message(**names("/b"))) as stream:
            stream.finish()
            assert await stream.read() == b""
        assert info_of(service, bob).protocols == ("/b",)
        assert info_of(service, bob).agent == "one"


async def test_half_a_push_changes_nothing() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        await connect(bob, alice)
        async with await push(alice, bob, message(**names("/a"))[:-1]) as stream:
            stream.finish()
            with pytest.raises(StreamReset):
                await stream.read()
        assert service.info(bob.peer_id) is None


async def test_a_second_push_at_the_same_time_is_reset() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        await connect(bob, alice)
        first = await push(alice, bob, b"\x05")
        for _ in range(20):
            excess = await push(alice, bob, b"\x05")
            with pytest.raises(StreamReset) as caught:
                await excess.read()
            assert caught.value.code == Reset.RATE_LIMITED
        first.reset()
        await until(lambda: not service._pushes_being_read)
        async with await push(alice, bob, message(**names("/a"))) as stream:
            stream.finish()
            assert await stream.read() == b""
        assert info_of(service, bob).protocols == ("/a",)


async def test_a_push_has_a_deadline() -> None:
    async with swarm(1, timeouts=HASTY) as alice, swarm(2) as bob:
        Identify(alice, "a")
        await connect(bob, alice)
        stream = await push(alice, bob, b"\x05")
        with pytest.raises(StreamReset):
            await stream.read()


async def test_a_push_with_another_key_ends_the_connection() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        Identify(alice, "a")
        connection = await connect(bob, alice)
        stream = await push(alice, bob, message(public_key=alice.identity.public_key.encode()))
        stream.finish()
        with pytest.raises(ConnectionClosed):
            await stream.read()
        await until(lambda: connection.closed)


async def test_a_thousand_pushes_leave_nothing() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        service = Identify(alice, "a")
        await connect(bob, alice)
        for number in range(300):
            async with await push(alice, bob, message(**names(f"/{number}"))) as stream:
                stream.finish()
                assert await stream.read() == b""
        assert served(alice, bob) == {"/299"}
        assert len(service._infos) == 1
        assert not alice.dialer._shared


async def test_identify_is_open_unless_a_rule_names_it() -> None:
    async with swarm(1) as alice, swarm(2, rule=None) as bob:
        service = Identify(alice, "a")
        Identify(bob, "b")
        connection = await connect(alice, bob)
        assert (await service.identify(connection)).agent == "b"
        bob.firewall.set(Rule.REJECT, protocol=IDENTIFY)
        with pytest.raises(UnsupportedProtocol):
            await service.identify(connection)
