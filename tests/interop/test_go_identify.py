"""identify, identify push and ping with go-libp2p: every field, the signed record, what changes later, every echo."""

from __future__ import annotations

import asyncio

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.codes import Reset
from stronghold_p2p.protocols.identify_messages import PROTOCOL_VERSION
from stronghold_p2p.protocols.ping import PING
from stronghold_p2p.protocols.ping import SIZE as PING_SIZE
from tests.interop.names import ECHO
from tests.interop.our_peer import AGENT, GO_DIALS, OURS_DIALS, Pair, echo
from tests.peers import until

LATE = "/test/late/1"


async def test_go_takes_every_field_of_ours(pair: Pair) -> None:
    ours = pair.ours
    seen = await pair.go.call("identify", peer=str(ours.peer))
    addresses = [str(address) for address in ours.swarm.addresses]
    assert seen["key"] == {"type": "Ed25519", "protobuf": ours.swarm.identity.public_key.encode().hex()}
    assert seen["listen_addrs"] == addresses
    assert sorted(seen["protocols"]) == sorted(ours.swarm._services)
    assert seen["observed_addr"] == str(pair.connection.remote_address)
    assert seen["protocol_version"] == PROTOCOL_VERSION
    assert seen["agent_version"] == AGENT
    assert seen["signed_record"]["peer"] == str(ours.peer)
    assert seen["signed_record"]["addrs"] == addresses
    assert seen["signed_record"]["seq"] > 0
    assert sorted(seen["known_addrs"]) == sorted(addresses)  # go takes them from the record
    assert (await pair.go.call("warnings"))["warnings"] == []


async def test_we_take_every_field_of_gos(pair: Pair) -> None:
    ready = pair.go.ready
    info = await pair.ours.identified(pair.go.peer)
    assert info.peer == pair.go.peer
    assert sorted(info.protocols) == sorted(ready["protocols"])
    assert list(info.addresses) == pair.go.addresses
    assert info.observed == pair.connection.local_address
    assert info.version == "stronghold-interop/1.0.0"
    assert info.agent == f"go-libp2p/{ready['version'].split()[1]}"
    assert info.record is not None
    assert info.record.peer_id == pair.go.peer
    assert [parse(address) for address in info.record.addresses] == pair.go.addresses
    assert set(pair.go.addresses) <= set(pair.ours.swarm.book.addresses(pair.go.peer))


async def test_go_tells_what_changes(pair: Pair) -> None:
    identify, peer = pair.ours.identify, pair.go.peer

    def served() -> tuple[str, ...]:
        info = identify.info(peer)
        return () if info is None else info.protocols

    assert LATE not in served()
    await pair.go.call("add_protocol", protocol=LATE)
    await until(lambda: LATE in served())
    async with await pair.open("/test/never/1", LATE) as stream:
        assert stream.protocol == LATE
        await stream.write(b"x")
        assert await stream.readexactly(1) == b"x"
    await pair.go.call("remove_protocol", protocol=LATE)
    await until(lambda: LATE not in served())


async def test_we_tell_what_changes(pair: Pair) -> None:
    ours, peer = pair.ours, str(pair.ours.peer)
    before = await pair.go.call("identify", peer=peer)
    ours.serve(LATE, echo)
    ours.identify.changed()
    await pair.go.until("protocols_updated", peer=peer, added=[LATE])
    pushed = await pair.go.call("identify", peer=peer, after=before["count"])
    assert LATE in pushed["protocols"]
    assert pushed["signed_record"]["seq"] > before["signed_record"]["seq"]
    assert (await pair.go.call("streams_sequential", peer=peer, protocol=LATE))["done"] == 1

    ours.serve_no_longer(LATE)
    ours.identify.changed()
    await pair.go.until("protocols_updated", peer=peer, removed=[LATE])
    assert (await pair.go.call("protocols", peer=peer))["protocols"] != []


@OURS_DIALS
async def test_we_tell_of_a_new_address(pair: Pair) -> None:
    before = await pair.ask_go("identify")
    await pair.ours.swarm.listen(parse("/ip4/127.0.0.1/tcp/0"))
    pushed = await pair.ask_go("identify", after=before["count"])
    assert pushed["listen_addrs"] == [str(address) for address in pair.ours.swarm.addresses]
    assert pushed["signed_record"]["addrs"] == pushed["listen_addrs"]
    assert len(pushed["listen_addrs"]) == 2


@OURS_DIALS
async def test_asking_again(pair: Pair) -> None:
    first = await pair.ours.identified(pair.go.peer)
    again = await pair.ours.identify.identify(pair.connection)
    assert again == first
    assert ECHO in again.protocols


async def test_we_ping(pair: Pair) -> None:
    times = [await pair.ours.ping.ping(pair.connection) for _ in range(20)]
    assert all(0 < took < 1.0 for took in times)
    together = await asyncio.gather(*(pair.ours.ping.ping(pair.connection) for _ in range(20)))
    assert all(0 < took < 1.0 for took in together)


async def test_go_pings(pair: Pair) -> None:
    answer = await pair.ask_go("ping", n=20)
    assert len(answer["rtt_us"]) == 20
    assert all(0 < took < 1e6 for took in answer["rtt_us"])


async def test_both_ping_at_once(pair: Pair) -> None:
    async with asyncio.TaskGroup() as group:
        theirs = group.create_task(pair.ask_go("ping", n=100))
        mine = [group.create_task(pair.ours.ping.ping(pair.connection)) for _ in range(100)]
    assert len(theirs.result()["rtt_us"]) == 100
    assert len(mine) == 100


@OURS_DIALS
async def test_half_a_ping_and_a_piece_of_the_next(pair: Pair) -> None:
    """A ping is 32 bytes however they come."""
    async with await pair.open(PING) as stream:
        message = bytes(range(2 * PING_SIZE))
        for start, end in ((0, 1), (1, 31), (31, 40), (40, 64)):
            await stream.write(message[start:end])
            await asyncio.sleep(0.01)
        assert await stream.readexactly(2 * PING_SIZE) == message
        stream.finish()
        assert await stream.read() == b""


@GO_DIALS
async def test_a_third_ping_stream_of_one_peer_is_refused(pair: Pair) -> None:
    answer = await pair.ask_go("open_hold", protocol=PING, n=2, no_echo=True)
    assert answer["failed"] == 0
    third = await pair.ask_go("expect_reset", protocol=PING)
    assert third["code"] == Reset.RESOURCE_LIMIT
    assert (await pair.go.call("release", n=1))["done"] == 1
    assert len((await pair.ask_go("ping", n=3))["rtt_us"]) == 3
    await pair.go.call("release")
