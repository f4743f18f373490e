"""``discover``, and ``listen --mdns``."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest
from multiaddr import Multiaddr

from stronghold_p2p import Network, PeerDiscovered, PeerId, PeerLost
from stronghold_p2p.cli.discover import _tell
from tests.cli.commands import run
from tests.peers import LOOPBACK


def lines_of(out: str, peer: object) -> list[dict[str, Any]]:
    """Other tests run on this machine, too."""
    return [line for line in map(json.loads, out.splitlines()) if line["peer"] == str(peer)]


async def test_it_lists_who_is_there() -> None:
    async with Network(listen=[LOOPBACK], mdns=True) as network:
        code, out, err = await run("discover", LOOPBACK, "--timeout", "2", "--json")
        assert (code, err) == (0, "")
        first = json.loads(out.splitlines()[0])
        assert (first["event"], len(first["addresses"])) == ("looking", 1)
        (found,) = lines_of(out, network.peer_id)
        assert found["event"] == "found"
        assert found["addresses"] == [str(address) for address in network.listeners[0].addresses]
        assert network.stats()["peers_discovered_total"] >= 1


async def test_in_words_and_hidden() -> None:
    async with Network(listen=[LOOPBACK], mdns=True) as network:
        code, out, err = await run("discover", "--hidden", "--timeout", "2")
        assert code == 0
        place = network.listeners[0].addresses[0]
        assert f"found {network.peer_id} {place}\n" in out
        me = err.partition(", as ")[2].partition(";")[0]
        assert me.startswith("12D3KooW")
        assert me not in map(str, network.book.peers())


def test_it_tells_what_is_new_what_has_changed_and_what_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    peer, place, known = Network().peer_id, Multiaddr("/ip4/192.0.2.1/tcp/1"), set[PeerId]()
    for event in (PeerDiscovered(peer, (place,)), PeerDiscovered(peer, (place, place)), PeerLost(peer)):
        _tell(event, known, argparse.Namespace(json=False))
    said = [f"found {peer} {place}", f"changed {peer} {place} {place}", f"lost {peer}"]
    assert capsys.readouterr().out.splitlines() == said
    assert known == set()
