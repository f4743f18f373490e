"""Noise XX and the choice of the muxer, between ours and go-libp2p, in both roles and with all key types."""

from __future__ import annotations

from pathlib import Path

import pytest

from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.errors import ConnectionClosed, PeerIdMismatch
from stronghold_p2p.events.events import AcceptFailed, Opened
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.identity.public_key import KeyType
from tests.interop.go_peer import GoError, go_peer
from tests.interop.our_peer import ECHO, ROLES, Pair, Role, connected, eventually, our_peer


async def talk(pair: Pair) -> None:
    """Both directions of the connection carry streams of both."""
    async with await pair.open(ECHO) as stream:
        await stream.write(b"from ours")
        assert await stream.readexactly(9) == b"from ours"
    assert (await pair.ask_go("streams_sequential"))["done"] == 1


@pytest.mark.parametrize("ours_early", [True, False], ids=["ours early", "ours without"])
@pytest.mark.parametrize("go_early", ["on", "empty", "absent"])
@pytest.mark.parametrize("role", ROLES)
async def test_muxer_inside_the_handshake_or_after_it(go: Path, role: Role, go_early: str, ours_early: bool) -> None:
    """libp2p/specs noise/README.md, "Libp2p Data in Handshake Messages": without it, multistream chooses."""
    async with connected(go, role, "--early-muxer", go_early, early_muxer=ours_early) as pair:
        early = ours_early and go_early == "on"
        (seen,) = (await pair.ask_go("connections"))["connections"]
        assert seen["security"] == "/noise"
        assert seen["muxer"] == "/yamux/1.0.0"
        assert seen["early_muxer"] is early
        assert seen["direction"] == {"ours dials": "Inbound", "go dials": "Outbound"}[role]
        assert pair.connection.early_muxer is early
        assert pair.connection.direction == {"ours dials": "out", "go dials": "in"}[role]
        assert str(pair.connection.local_address) == seen["remote_addr"]
        assert str(pair.connection.remote_address) == seen["local_addr"]
        await talk(pair)


@pytest.mark.parametrize("kind", KeyType, ids=lambda kind: kind.name.lower())
@pytest.mark.parametrize("role", ROLES)
async def test_identity_keys(go: Path, role: Role, kind: KeyType) -> None:
    async with connected(go, role, "--key-type", kind.name.lower()) as pair:
        assert pair.connection.public_key.type is kind
        assert pair.connection.public_key.encode().hex() == pair.go.ready["key"]["protobuf"]
        assert pair.connection.peer == pair.go.peer
        assert pair.go.peer.matches(pair.connection.public_key)
        info = await pair.ours.identified(pair.go.peer)
        assert info.record is not None
        await talk(pair)


async def test_we_expect_somebody_else(go: Path) -> None:
    expected = Identity().peer_id
    async with our_peer() as ours, go_peer(go) as peer:
        address, _ = split_peer(parse(peer.address))
        with pytest.raises(PeerIdMismatch) as caught:
            await ours.swarm.dial(expected, [address])
        assert caught.value.expected == expected
        assert caught.value.actual == peer.peer
        assert ours.swarm.connections() == ()
        assert [event for event in ours.events if isinstance(event, Opened)] == []
        # Nothing is left that would be in the way of the right one.
        assert (await ours.swarm.dial(peer.peer, [address])).peer == peer.peer
        await peer.call("identify", peer=str(ours.peer))


async def test_go_expects_somebody_else(go: Path) -> None:
    expected = Identity().peer_id
    async with our_peer() as ours, go_peer(go) as peer:
        with pytest.raises(GoError, match="peer id mismatch") as caught:
            await peer.call("connect", addr=f"{ours.swarm.addresses[0]}/p2p/{expected}")
        assert str(ours.peer) in str(caught.value)
        await eventually(lambda: any(isinstance(event, AcceptFailed) for event in ours.events))
        (failed,) = [event for event in ours.events if isinstance(event, AcceptFailed)]
        assert isinstance(failed.error, ConnectionClosed)
        assert [event for event in ours.events if isinstance(event, Opened)] == []
        assert len((await peer.call("connect", addr=ours.address))["connections"]) == 1
