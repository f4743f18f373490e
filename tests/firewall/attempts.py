"""Peers and attempts for the tests of the firewall."""

from __future__ import annotations

from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p.firewall.rules import Attempt, Direction
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity

ALICE, BOB, CAROL = (Identity.from_seed(bytes((number,)) * 32).peer_id for number in (1, 2, 3))
ECHO = "/echo/1.0.0"
UPPER = "/upper/1.0.0"


def attempt(
    peer: PeerId = ALICE,
    protocol: str = ECHO,
    *,
    direction: Direction = "in",
    address: str = "/ip4/10.0.0.1/tcp/4001",
    deadline: float = 1e9,
    variant: str | None = "Ping",
    view: Any = None,
) -> Attempt:
    return Attempt(
        peer=peer,
        protocol=protocol,
        direction=direction,
        address=Multiaddr(address),
        deadline=deadline,
        variant=variant,
        view=view,
    )
