"""B06: bytes that leave are life, however long the peer has nothing to say."""

from __future__ import annotations

import time

from tests.field.figure import Figure
from tests.field.nodes import node
from tests.netns import B_ADDRESS, slow_link

PORT = 4_001
QUICK = "3"  # seconds at the speed of the machine, in which windows and buffers grow
SLOW = 1e6  # bits a second
PATIENCE = 230.0


def upload_that_becomes_slow() -> Figure:
    """One stream; what is on its way when the link becomes slow takes minutes, and no answer is due meanwhile."""
    address = f"/ip4/{B_ADDRESS}/tcp/{PORT}"
    with slow_link(0.0005) as link, node("takes", address, namespace=link.b) as server:
        server.says(20)
        with node("uploads", address, QUICK, namespace=link.a) as client:
            quick = client.says(30)["written"]
            link.rate(SLOW)
            start = time.monotonic()
            outcome = client.says(PATIENCE)
            took = time.monotonic() - start
    whole = outcome["came"] == outcome["size"]
    told = "whole" if whole else f"broken: {outcome['error']}"
    return Figure(
        found=f"{outcome['size'] / 1e6:.1f} MB, {quick / 1e6:.1f} of them before, {told} {took:.0f} s later",
        bound="whole",
        holds=whole,
    )
