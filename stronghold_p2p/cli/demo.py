"""``stronghold-p2p demo``: a peer that only a relay can reach, and two who come to it through that; it decides whom it
answers. Each is a process.
"""

import argparse
import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final, TypeAlias

from stronghold_p2p.cli.output import DONE, compact, tell, tell_json
from stronghold_p2p.errors import DeadlineExceeded, P2PError

Say: TypeAlias = Callable[[str], None]

PEER: Final = "stronghold_p2p.cli.demo_peer"
CAST: Final = ("relay", "bob", "alice", "carol")
PATIENCE: Final = 60.0  # seconds for the whole demo; it takes about one


class Actor:
    """A peer in a process of its own."""

    def __init__(self, name: str, process: Process) -> None:
        self._process = process
        self.name = name
        self.peer = ""
        self.number = 0

    @property
    def who(self) -> str:
        """Its name in the story, with the end of its peer id, as all ids begin alike."""
        return f"{self.name:<6} 12D3..{self.peer[-6:]} (process {self.number})"

    async def order(self, **orders: Any) -> None:
        await self.say(orders)

    async def say(self, orders: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders).encode() + b"\n")
        await self._process.stdin.drain()

    async def hears(self, *words: str) -> dict[str, Any]:
        """The next line that the peer tells; it has to be about one of ``words``."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": "its process has ended"}
        if not set(words) & set(told):
            raise P2PError(f"the demo failed at {self.name}: {told.get('error', told)}")
        return told

    async def leave(self) -> None:
        """Wait for the process; an error of its own is the demo's."""
        if await self._process.wait() != 0:
            raise P2PError(f"the demo failed: the process of {self.name} ended with {self._process.returncode}")

    async def end(self) -> None:
        """Whatever happened, the process is gone afterwards."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@asynccontextmanager
async def actors(*names: str) -> AsyncIterator[list[Actor]]:
    """Start one process for each name; none is left behind."""
    started: list[Actor] = []
    try:
        for name in names:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", PEER, name, stdin=PIPE, stdout=PIPE, start_new_session=True
            )  # a session of its own, so that Ctrl-C reaches us alone; we end the processes
            started.append(Actor(name, process))
        for actor in started:
            hello = await actor.hears("peer", "process")
            actor.peer, actor.number = hello["peer"], hello["process"]
        yield started
    finally:
        for actor in started:
            await actor.end()


async def demo(options: argparse.Namespace) -> int:
    """Show it: one peer asks another through a relay, and the other's firewall decides."""
    start = perf_counter()
    say: Say = _in_json if options.json else tell
    try:
        async with asyncio.timeout(PATIENCE), actors(*CAST) as (relay, bob, alice, carol):
            await _play(relay, bob, alice, carol, say, yes=options.answer == "yes")
    except TimeoutError:
        message = f"the demo did not end within {PATIENCE:g} s"
        raise DeadlineExceeded(message, timeout=PATIENCE, phase="demo") from None
    say(f"done in {perf_counter() - start:.1f} s: four processes, each with its own key, every connection encrypted")
    return DONE


def _in_json(line: str) -> None:
    tell_json({"told": line.strip()})


async def _play(relay: Actor, bob: Actor, alice: Actor, carol: Actor, tell: Say, *, yes: bool) -> None:
    await relay.order()
    where = (await relay.hears("address"))["address"]
    tell(f"{relay.who} relays at {where.partition('/p2p/')[0]}")
    await bob.order(alice=alice.peer, answer=yes, relay=where)
    address = (await bob.hears("address"))["address"]
    tell(f"{bob.who} listens nowhere: who wants to reach him goes through the relay")
    tell("       his firewall lets nobody in; about alice he wants to be asked")

    await carol.order(address=address)
    refused = await carol.hears("refused")
    tell(f'{carol.who} asks "Ping": bob\'s firewall refuses, and he is not even asked')
    tell(f"       carol got {refused['refused']}: for her, bob serves nothing")
    await carol.leave()

    await alice.order(address=address)
    asked = await bob.hears("asked")
    tell(f"{alice.who} asks {compact(asked['asked'])}: bob's firewall asks bob, and he says {'yes' if yes else 'no'}")
    words = ["Ping"]
    if yes:
        words += ["Pong", await _answered(bob, alice, tell)]
    else:
        refused = await alice.hears("refused")
        tell(f"       alice got {refused['refused']}, and no answer")
    await alice.leave()
    await bob.leave()
    await _looked_for(words, relay, tell)


async def _looked_for(words: list[str], relay: Actor, tell: Say) -> None:
    await relay.say(words)
    told = await relay.hears("carried")
    if told["found"] or not told["carried"]:
        raise P2PError(f"the demo failed: the relay has read {told['found']} in {told['carried']} bytes")
    tell(f"relay  has carried {told['carried']} bytes, and has found in them neither {' nor '.join(words)}")
    await relay.leave()


async def _answered(bob: Actor, alice: Actor, tell: Say) -> str:
    made = (await bob.hears("nonce"))["nonce"]
    tell(f"       bob makes up a number for his answer: {made}")
    told = await alice.hears("answer")
    if told["answer"] != {"Pong": made}:
        raise P2PError(f"the demo failed: alice got {compact(told['answer'])}, which is not what bob answered")
    tell(f"       alice got {compact(told['answer'])} in {told['ms']:.0f} ms, connecting included")
    return str(made)
