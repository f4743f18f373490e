"""mDNS in the scenario T1 of the Rust library."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from stronghold_p2p import DialError, Network
from tests.peers import LOOPBACK, until

GRACE = 1.0  # seconds, as there


async def test_t1_who_has_mdns_is_found_by_those_who_have_it_and_by_nobody_else() -> None:
    """Two listeners have it. Two dialers without it find neither; that two with it find both, the crate's test promises
    and does not play.
    """
    async with AsyncExitStack() as stack:

        async def network(*, mdns: bool, listen: bool) -> Network:
            return await stack.enter_async_context(Network(mdns=mdns, listen=[LOOPBACK] if listen else []))

        listeners = [await network(mdns=True, listen=True) for _ in range(2)]
        without = [await network(mdns=False, listen=False) for _ in range(2)]
        having = [await network(mdns=True, listen=False) for _ in range(2)]
        await asyncio.sleep(GRACE)
        for dialer in without:
            for listener in listeners:
                with pytest.raises(DialError, match=r"no address of .* is known"):
                    await dialer.connect(listener.peer_id)
        for dialer in having:
            for listener in listeners:
                await until(lambda dialer=dialer, one=listener: dialer.book.addresses(one.peer_id))  # type: ignore[misc]
                assert (await dialer.connect(listener.peer_id)).peer == listener.peer_id
