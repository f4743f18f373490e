"""B02: a client behind a router restarts with its key, and nobody tells the server that its old connection is dead."""

from __future__ import annotations

import time

from tests.field.figure import Figure
from tests.field.nodes import node
from tests.netns import B_ADDRESS, slow_link

PORT = 4_001
EVERY = 0.2  # seconds between two requests of the server
BOUND = 11.0  # seconds: ``Timeouts.keepalive_answer``, and one for the restart
WATCHED = 16.0  # seconds: until the last request of the old connection has ended


def restart_behind_a_vanished_connection() -> Figure:
    """The server asks the client all the time: when is the first answer after the client has vanished?"""
    address = f"/ip4/{B_ADDRESS}/tcp/{PORT}"
    with slow_link(0.005) as link, node("asks", address, str(EVERY), namespace=link.b) as server:
        server.says(20)
        with node("answers", address, namespace=link.a) as client:
            client.says(20)
            while server.says(20)["error"]:
                pass
            link.forget()  # from here on no packet of the old connection arrives, no FIN and no RST either
            vanished = time.monotonic()
        with node("answers", address, namespace=link.a) as client:
            back = client.says(20)["connected"]
            said = list(server.said_until(vanished + WATCHED))
    asked = [one for one in said if one["asked"] > vanished]
    answered = [one["ended"] for one in asked if one["error"] is None]
    unsent = [one for one in asked if one["error"] is not None and not one["sent"]]
    late = [one for one in asked if one["asked"] > back and one["error"] is not None]
    first = min(answered, default=float("inf")) - vanished
    return Figure(
        found=f"answers again after {first:.1f} s, {len(unsent)} lost unsent, {len(late)} lost of those asked later",
        bound=f"{BOUND:g} s, 0 lost",
        holds=first <= BOUND and not unsent and not late,
    )
