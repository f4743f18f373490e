"""What users see of connections, streams, listeners and networks: what docs/api.md explains, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stronghold_p2p import Connection, Network, Stream
from stronghold_p2p.swarm.listeners import Listener
from tests.peers import connect, swarm
from tests.swarm.handlers import ECHO, ask, echo

API = Path(__file__).parents[2] / "docs" / "api.md"


def explained() -> set[str]:
    """Every name that stands as code in the text, or that a snippet uses."""
    snippets = r"^```python\n.*?^```"
    page = API.read_text()
    code = " ".join(re.findall(r"`([^`\n]+)`", re.sub(snippets, "", page, flags=re.DOTALL | re.MULTILINE)))
    used = " ".join(re.findall(snippets, page, flags=re.DOTALL | re.MULTILINE))
    return {*re.findall(r"\w+", code), *re.findall(r"(?<=\.)\w+|\w+(?==)", used)}


@pytest.mark.parametrize(
    "face", [Connection, Stream, Listener, Network()], ids=["connection", "stream", "listener", "network"]
)
def test_what_is_there_is_explained(face: object) -> None:
    public = {name for name in dir(face) if not name.startswith("_")}
    assert public - explained() == set()


async def test_a_connection_s_face() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ECHO, echo)
        live = await connect(alice, bob)
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
