"""A network follows the rules file of its firewall. Time is virtual."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stronghold_p2p.events.events import RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.swarm.watches import RULES_EVERY as LOOK
from tests.firewall.attempts import ALICE, attempt
from tests.peers import swarm
from tests.swarm.raw import Events
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

ASKING = 'version = 1\n[[rules]]\nrule = "ask"\n'
ALLOWING = 'version = 1\n[[rules]]\nrule = "allow"\n'


@asynccontextmanager
async def open_swarm(firewall: Firewall) -> AsyncIterator[tuple[Swarm, Events]]:
    one = Swarm(Identity(), firewall=firewall)
    events = Events(one)
    one.start()
    try:
        yield one, events
    finally:
        await one.close()


def change(path: Path, text: str) -> None:
    stamp = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))


async def test_a_change_holds_after_two_looks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.network.rules")
    path = tmp_path / "rules.toml"
    path.write_text(ASKING)
    firewall = Firewall.load(path)
    async with open_swarm(firewall) as (_, events):
        await asyncio.sleep(10 * LOOK)
        assert events.of(RulesLoaded) == []
        change(path, ALLOWING)
        await asyncio.sleep(2.1 * LOOK)
        assert events.of(RulesLoaded) == [RulesLoaded(path, None)]
        assert firewall.decide(attempt()) == Rule.ALLOW
        await asyncio.sleep(10 * LOOK)
        assert len(events.of(RulesLoaded)) == 1
    change(path, ASKING)
    await asyncio.sleep(10 * LOOK)  # nobody looks any more
    assert firewall.decide(attempt()) == Rule.ALLOW
    assert caplog.messages == [f"rules loaded from {path}"]


async def test_a_bad_edit_is_told_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(ASKING)
    firewall = Firewall.load(path)
    firewall.set(Rule.ALLOW, peer=ALICE)
    before = firewall.rules()
    async with open_swarm(firewall) as (_, events):
        change(path, ALLOWING.replace("allow", "alow"))
        await asyncio.sleep(10 * LOOK)
        (told,) = events.of(RulesLoaded)
        assert (told.path, told.error.where) == (path, f"{path}:3")
        assert firewall.rules() == before
        assert caplog.messages == [f"rules stay as they are: {told.error}"]
        change(path, ALLOWING)
        await asyncio.sleep(3 * LOOK)
        assert events.of(RulesLoaded)[1:] == [RulesLoaded(path, None)]
        assert dict(firewall.rules()[1:][0][0]) == {"direction": "in"}
        assert firewall.decide(attempt(ALICE)) == Rule.ALLOW
    events.all.clear()


async def test_a_ban_in_the_file_ends_connections(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(ALLOWING)
    async with open_swarm(Firewall.load(path)) as (alice, _), swarm(2) as bob:
        connection = await alice.dial(bob.peer_id, bob.addresses)
        change(path, f'version = 1\nbanned = ["{bob.peer_id}"]\n')
        await asyncio.sleep(3 * LOOK)
        assert connection.closed


async def test_networks_that_share_a_firewall_each_tell(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(ASKING)
    firewall = Firewall.load(path)
    async with open_swarm(firewall) as (_, first), open_swarm(firewall) as (_, second):
        change(path, ALLOWING)
        await asyncio.sleep(4 * LOOK)
        assert first.of(RulesLoaded) == second.of(RulesLoaded) == [RulesLoaded(path, None)]


@pytest.mark.parametrize("kind", ["no file", "watch=False"])
async def test_without_a_file_there_is_no_timer(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(ASKING)
    firewall = Firewall() if kind == "no file" else Firewall.load(path, watch=False)
    async with open_swarm(firewall) as (one, events):
        assert one._rules_watch._timer is None
        change(path, ALLOWING)
        await asyncio.sleep(5 * LOOK)
        assert events.of(RulesLoaded) == []
        assert firewall.decide(attempt()) != Rule.ALLOW


async def test_what_was_changed_before_the_network_was_opened_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(ASKING)
    firewall = Firewall.load(path)
    change(path, ALLOWING)
    async with open_swarm(firewall) as (alice, _), swarm(2) as bob:
        await asyncio.sleep(3 * LOOK)
        assert firewall.decide(attempt()) == Rule.ALLOW
        assert alice.connections() == bob.connections() == ()
