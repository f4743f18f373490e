"""The pieces of the demo by themselves: its peers, and what it says when one of them fails."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys
import threading
from typing import Any

import pytest

import stronghold_p2p.__main__
from stronghold_p2p import Identity, P2PError
from stronghold_p2p.cli import demo as cli_demo
from stronghold_p2p.cli import demo_peer as cli_demo_peer
from stronghold_p2p.cli.main import main
from tests.peers import until

PEER = (sys.executable, "-m", "stronghold_p2p.cli.demo_peer")


def test_the_module_is_the_command() -> None:
    assert vars(stronghold_p2p.__main__)["main"] is main


class Listens:
    """Standard input, which says nothing until ``said`` is set."""

    def __init__(self) -> None:
        self.said = threading.Event()

    def readline(self) -> str:
        self.said.wait()
        return '["Ping", "Pong"]\n'


@pytest.mark.parametrize("yes", [True, False])
async def test_the_peers_play_their_roles(yes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(cli_demo_peer, "tell_json", told.append)
    bob, alice, carol = (Identity.from_seed(bytes([seed]) * 32) for seed in (1, 2, 3))
    words = Listens()
    monkeypatch.setattr(sys, "stdin", words)
    relaying = asyncio.ensure_future(cli_demo_peer.live(Identity(), "relay", {}))
    await until(lambda: told)
    orders = {"alice": str(alice.peer_id), "answer": yes, "relay": str(told.pop()["address"])}
    answering = asyncio.ensure_future(cli_demo_peer.live(bob, "bob", orders))
    await until(lambda: told)
    address = {"address": str(told.pop()["address"])}
    await cli_demo_peer.live(carol, "carol", address)
    assert told.pop()["refused"] == "UnsupportedProtocol"
    await cli_demo_peer.live(alice, "alice", address)
    await answering
    assert told[0] == {"asked": "Ping", "by": alice.peer_id}
    if yes:
        assert told[1]["for"] == alice.peer_id
        assert told[2]["answer"] == {"Pong": told[1]["nonce"]}
    else:
        assert told[1]["refused"] == "Rejected"
    words.said.set()
    await relaying
    assert told[-1]["carried"] > 1_000
    assert told[-1]["found"] == []


async def test_a_peer_that_finds_nobody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(cli_demo_peer, "tell_json", told.append)
    await cli_demo_peer.asking(Identity(), {"address": "/ip4/127.0.0.1/tcp/1"})
    assert told[0]["error"].startswith("DialError: ")


def test_a_peer_without_orders_leaves(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    cli_demo_peer.main("bob")
    assert set(json.loads(capsys.readouterr().out)) == {"peer", "process"}
    done = subprocess.run([*PEER, "alice"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


async def test_a_process_that_ends_too_early_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_demo, "PEER", "keyword")  # a module that does nothing
    with pytest.raises(P2PError, match="the demo failed at relay"):
        await cli_demo.demo(argparse.Namespace(answer="yes", json=False))


async def test_a_process_that_fails_is_named() -> None:
    async with cli_demo.actors("bob", "alice") as (bob, alice):
        await bob.order(alice="nonsense", answer=True, relay="nowhere")
        with pytest.raises(P2PError, match="the demo failed at bob: its process has ended"):
            await bob.hears("address")
        with pytest.raises(P2PError, match="the process of bob ended with 1"):
            await bob.leave()
        await alice.order(address="/ip4/127.0.0.1/tcp/1")
        with pytest.raises(P2PError, match="the demo failed at alice: DialError"):
            await alice.hears("answer")


async def test_an_answer_that_is_not_bobs_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub:
        def __init__(self, told: dict[str, Any]) -> None:
            self.told = told

        async def hears(self, *words: str) -> dict[str, Any]:
            return self.told

    with pytest.raises(P2PError, match="not what bob answered"):
        bob, alice = Stub({"nonce": "a"}), Stub({"answer": {"Pong": "b"}, "ms": 1})
        await cli_demo._answered(bob, alice, lambda line: None)  # type: ignore[arg-type]
