"""Defects of the Rust library in connections and events, each by its number in docs/catalogue/parity.md.

D10 (a listener after an error) stands in tests/swarm/test_listener.py, D25 (the order of events) in
tests/events/test_hub.py, beside what they are about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from stronghold_p2p import AcceptFailed, DialError, Event, Firewall, Identity, Network, P2PError, Rule
from tests.hostile import waits
from tests.peers import mirror, network, until

FRIEND = Identity.from_seed(b"f" * 32)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("option", "measured"), [("ask", ["ask"]), ("idle", ["idle"])])
def test_d5_the_time_of_the_firewall_is_its_own(option: str, measured: list[str]) -> None:
    """There ``with_firewall_timeout`` sets the time for idle connections. Hostile row 76 plays all options."""
    longer = waits.longer(option)
    assert [name for name in ("ask", "idle") if waits.measured(name, longer) == "longer"] == measured


async def test_bans_are_kept_with_the_rules(tmp_path: Path) -> None:
    """There they are kept nowhere."""
    path = tmp_path / "rules.toml"
    before = Firewall.load(path, create=True)
    before.set(Rule.ALLOW)
    before.ban(FRIEND.peer_id)
    before.ban("203.0.113.0/24")
    before.save()
    after = Firewall.load(path)
    assert after.banned == before.banned == {FRIEND.peer_id, "203.0.113.0/24"}
    told: list[Event] = []
    async with network(mirror, None, firewall=after) as bob, Network(identity=FRIEND) as alice:
        bob.on_event(told.append)
        with pytest.raises(P2PError):
            await alice.request(bob.addresses[0], "hi")
        await until(lambda: any(isinstance(event, AcceptFailed) for event in told))
        with pytest.raises(DialError, match=r"firewall\.banned"):
            await bob.connect(f"/ip4/127.0.0.1/tcp/1/p2p/{FRIEND.peer_id}")
        after.unban(FRIEND.peer_id)
        after.save()
        assert await alice.request(bob.addresses[0], "hi") == "hi"
    assert Firewall.load(path).banned == {"203.0.113.0/24"}
