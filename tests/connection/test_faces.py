"""The faces of connections and listeners tell what the live ones know."""

from __future__ import annotations

from stronghold_p2p import Connection
from tests.peers import ask, echo, swarms


async def test_a_connection_s_face() -> None:
    async with swarms(echo) as (_, bob, live):
        face = live.face
        assert isinstance(face, Connection)
        assert (face.peer, face.public_key, face.direction) == (bob.peer_id, bob.identity.public_key, "out")
        assert (face.local_address, face.remote_address) == (live.local_address, bob.addresses[0])
        assert (face.streams, face.latency, face.closed, face.error) == (0, None, False, None)
        assert str(bob.peer_id) in repr(face)
        assert await ask(live) == b"hello"
        await face.close()
        assert face.closed
        assert face.error is live.error is not None
