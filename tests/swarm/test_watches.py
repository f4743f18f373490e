"""What a swarm looks at again and again: the rules file of its firewall, the addresses of its host. Time is virtual."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.events.events import AddressAdded, AddressRemoved, RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.swarm.watches import ADDRESSES_EVERY, RULES_EVERY, Watch
from stronghold_p2p.transport import tcp
from tests.firewall.attempts import ALICE, attempt
from tests.peers import swarm
from tests.swarm.raw import Events
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

ASKING = 'version = 1\n[[rules]]\nrule = "ask"\n'
ALLOWING = 'version = 1\n[[rules]]\nrule = "allow"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A rules file that says to ask."""
    found = tmp_path / "rules.toml"
    found.write_text(ASKING)
    return found


@pytest.fixture(autouse=True)
def read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread takes real time; tests/firewall/asking/test_rules_file.py has them."""

    async def at_once(function: Callable[[], object]) -> object:
        return function()

    monkeypatch.setattr(asyncio, "to_thread", at_once)


def change(path: Path, text: str = ALLOWING) -> None:
    stamp = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))


@asynccontextmanager
async def open_swarm(firewall: Firewall) -> AsyncIterator[tuple[Swarm, Events]]:
    one = Swarm(Identity(), firewall=firewall)
    events = Events(one)
    one.start()
    try:
        yield one, events
    finally:
        await one.close()


async def test_a_look_is_repeated_also_where_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    watch, look = Watch(1.0), Mock(side_effect=ZeroDivisionError)
    watch.start(look)
    watch.start(Mock(side_effect=AssertionError))  # it runs
    await asyncio.sleep(2.5)
    watch.stop()
    await asyncio.sleep(10)
    assert look.call_count == 2
    assert caplog.messages == ["internal error while looking at what may have changed"] * 2
    look.side_effect = watch.stop  # a look may end the watch
    watch.start(look)
    await asyncio.sleep(10)
    assert (look.call_count, watch._timer) == (3, None)


async def test_a_change_holds_after_two_looks(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.network.rules")
    firewall = Firewall.load(path)
    async with open_swarm(firewall) as (_, events):
        await asyncio.sleep(10 * RULES_EVERY)
        assert events.of(RulesLoaded) == []
        change(path)
        await asyncio.sleep(2.1 * RULES_EVERY)
        assert events.of(RulesLoaded) == [RulesLoaded(path, None)]
        assert firewall.decide(attempt()) == Rule.ALLOW
        await asyncio.sleep(10 * RULES_EVERY)
        assert len(events.of(RulesLoaded)) == 1
    change(path, ASKING)
    await asyncio.sleep(10 * RULES_EVERY)  # nobody looks any more
    assert firewall.decide(attempt()) == Rule.ALLOW
    assert caplog.messages == [f"rules loaded from {path}"]


async def test_a_bad_edit_is_told_and_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    firewall = Firewall.load(path)
    firewall.set(Rule.ALLOW, peer=ALICE)
    before = firewall.rules()
    async with open_swarm(firewall) as (_, events):
        change(path, ALLOWING.replace("allow", "alow"))
        await asyncio.sleep(10 * RULES_EVERY)
        (told,) = events.of(RulesLoaded)
        assert (told.path, told.error.where) == (path, f"{path}:3")
        assert firewall.rules() == before
        assert caplog.messages == [f"rules stay as they are: {told.error}"]
        change(path)
        await asyncio.sleep(3 * RULES_EVERY)
        assert events.of(RulesLoaded)[1:] == [RulesLoaded(path, None)]
        assert dict(firewall.rules()[1:][0][0]) == {"direction": "in"}
        assert firewall.decide(attempt(ALICE)) == Rule.ALLOW
    events.all.clear()


async def test_networks_that_share_a_firewall_each_tell_also_of_what_changed_before(path: Path) -> None:
    firewall = Firewall.load(path)
    change(path)
    async with open_swarm(firewall) as (_, first), open_swarm(firewall) as (_, second):
        await asyncio.sleep(4 * RULES_EVERY)
        assert first.of(RulesLoaded) == second.of(RulesLoaded) == [RulesLoaded(path, None)]
        assert firewall.decide(attempt()) == Rule.ALLOW


@pytest.mark.parametrize("load", [lambda path: Firewall(), partial(Firewall.load, watch=False)])
async def test_without_a_file_there_is_no_timer(path: Path, load: Callable[[Path], Firewall]) -> None:
    firewall = load(path)
    async with open_swarm(firewall) as (one, events):
        assert one._rules_watch._timer is None
        change(path)
        await asyncio.sleep(5 * RULES_EVERY)
        assert events.of(RulesLoaded) == []
        assert firewall.decide(attempt()) != Rule.ALLOW


async def test_addresses_follow_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["127.0.0.1", "192.0.2.7"]
    monkeypatch.setattr(tcp, "host_addresses", lambda _family: list(hosts))

    def named(found: Iterable[object]) -> list[str]:
        return [str(address).split("/")[2] for address in found]

    async with swarm(1) as alice:
        listener = await alice.listen(parse("/ip4/0.0.0.0/tcp/0"))
        events = Events(alice)
        hosts[1:] = ["192.0.2.8", "198.51.100.1"]
        await asyncio.sleep(ADDRESSES_EVERY + 1)
        assert named(event.address for event in events.of(AddressRemoved)) == ["192.0.2.7"]
        assert named(event.address for event in events.of(AddressAdded)) == ["192.0.2.8", "198.51.100.1"]
        assert named(listener.addresses) == hosts
        assert set(listener.addresses) < set(alice.addresses)
        before = listener.addresses
        events.all.clear()
        with monkeypatch.context() as patched:  # a system that does not tell
            patched.setattr(tcp, "host_addresses", Mock(side_effect=OSError))
            await asyncio.sleep(2 * ADDRESSES_EVERY)
        await asyncio.sleep(3 * ADDRESSES_EVERY)
        assert (events.all, listener.addresses) == ([], before)
        listener.stop()
        events.all.clear()
        hosts.pop()
        await asyncio.sleep(3 * ADDRESSES_EVERY)
        assert events.all == []


async def test_nothing_is_watched_for_one_address() -> None:
    async with swarm(1) as alice:
        assert alice._address_watch._timer is None
