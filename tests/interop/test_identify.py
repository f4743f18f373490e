"""identify, identify push and ping with go-libp2p: every field, the signed record, what changes later, every echo."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.protocols.identify import PUSH_EVERY
from stronghold_p2p.protocols.identify_messages import PROTOCOL_VERSION
from tests.interop.names import ECHO
from tests.interop.our_peer import AGENT, Pair, echo
from tests.interop.ways import OURS_DIALS, newer, played
from tests.peers import until

VERSION = "stronghold-interop/1.0.0"
LATE = "/test/late/1"


async def test_they_take_every_field_of_ours(pair: Pair) -> None:
    ours = pair.ours
    seen = await pair.real.call("identify", peer=str(ours.peer))
    addresses = [str(address) for address in ours.swarm.addresses]
    assert seen["key"] == {"type": "Ed25519", "protobuf": ours.swarm.identity.public_key.encode().hex()}
    assert seen["listen_addrs"] == addresses
    assert sorted(seen["protocols"]) == sorted(ours.swarm._services)
    assert newer(seen["observed_addr"]) == str(pair.connection.remote_address)
    assert seen["protocol_version"] == PROTOCOL_VERSION
    assert seen["agent_version"] == AGENT
    if pair.real.name == "rust-libp2p":  # which signs and expects records under another domain
        assert seen["signed_record"] is None
        return
    assert seen["signed_record"]["peer"] == str(ours.peer)
    assert seen["signed_record"]["addrs"] == addresses
    assert seen["signed_record"]["seq"] > 0
    assert sorted(seen["known_addrs"]) == sorted(addresses)  # go takes them from the record
    assert await pair.real.warnings() == []


async def test_we_take_every_field_of_theirs(pair: Pair) -> None:
    ready = pair.real.ready
    info = await pair.ours.identified(pair.real.peer)
    assert info.peer == pair.real.peer
    assert sorted(info.protocols) == sorted(ready.get("protocols", info.protocols))
    assert ECHO in info.protocols
    assert list(info.addresses) == pair.real.addresses
    if pair.real.name != "js-libp2p":  # which writes our peer id behind it
        assert newer(info.observed) == str(pair.connection.local_address)
    assert info.version == ("ipfs/0.1.0" if pair.real.name == "js-libp2p" else VERSION)
    assert info.agent == ready["version"].replace(" ", "/")
    again = await pair.ours.identify.identify(pair.connection)
    assert replace(again, record=None) == replace(info, record=None)  # js signs anew each time
    if pair.real.name == "rust-libp2p":
        assert info.record is None
        return
    assert info.record is not None
    assert info.record.peer_id == pair.real.peer
    assert [parse(address) for address in info.record.addresses] == pair.real.addresses
    assert set(pair.real.addresses) <= set(pair.ours.swarm.book.addresses(pair.real.peer))


@played("go", "js")
async def test_they_tell_what_changes(pair: Pair) -> None:
    identify, peer = pair.ours.identify, pair.real.peer

    def served() -> tuple[str, ...]:
        info = identify.info(peer)
        return () if info is None else info.protocols

    assert LATE not in served()
    await asyncio.sleep(PUSH_EVERY)  # go reports what is refused
    await pair.real.call("add_protocol", protocol=LATE)
    await until(lambda: LATE in served())
    async with await pair.open("/test/never/1", LATE) as stream:
        assert stream.protocol == LATE
        await stream.write(b"x")
        assert await stream.readexactly(1) == b"x"
    await asyncio.sleep(PUSH_EVERY)
    await pair.real.call("remove_protocol", protocol=LATE)
    await until(lambda: LATE not in served())


@played("go", "js")
async def test_we_tell_what_changes(pair: Pair) -> None:
    ours, peer = pair.ours, str(pair.ours.peer)
    before = await pair.real.call("identify", peer=peer)
    ours.serve(LATE, echo)
    ours.identify.changed()
    await pair.real.until("protocols_updated", peer=peer, added=[LATE])
    pushed = await pair.real.call("identify", peer=peer, after=before["count"])
    assert LATE in pushed["protocols"]
    assert pushed["signed_record"]["seq"] > before["signed_record"]["seq"]
    assert (await pair.real.call("streams_sequential", peer=peer, protocol=LATE))["done"] == 1

    ours.serve_no_longer(LATE)
    ours.identify.changed()
    await pair.real.until("protocols_updated", peer=peer, removed=[LATE])
    assert (await pair.real.call("protocols", peer=peer))["protocols"] != []


@OURS_DIALS
async def test_we_tell_of_a_new_address(pair: Pair) -> None:
    before = await pair.ask("identify")
    await pair.ours.swarm.listen(parse("/ip4/127.0.0.1/tcp/0"))
    pushed = await pair.ask("identify", after=before["count"])
    assert pushed["listen_addrs"] == [str(address) for address in pair.ours.swarm.addresses]
    if pair.real.name != "rust-libp2p":
        assert pushed["signed_record"]["addrs"] == pushed["listen_addrs"]
    assert len(pushed["listen_addrs"]) == 2


@played("go", "js")
async def test_both_ping_at_once(pair: Pair) -> None:
    async with asyncio.TaskGroup() as group:
        theirs = group.create_task(pair.ask("ping", n=100))
        mine = [group.create_task(pair.ours.ping.ping(pair.connection)) for _ in range(100)]
    assert len(theirs.result()["rtt_us"]) == len(mine) == 100
    assert all(0 <= took < 1e6 for took in theirs.result()["rtt_us"])
    assert all(0 < task.result() < 1.0 for task in mine)
