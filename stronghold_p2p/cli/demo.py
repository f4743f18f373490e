"""``stronghold-p2p demo``: three peers in three processes; one of them decides whom it answers."""

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
    """Show it: one peer asks, the other's firewall decides."""
    start = perf_counter()
    say: Say = _in_json if options.json else tell
    try:
        async with asyncio.timeout(PATIENCE), actors("bob", "alice", "carol") as (bob, alice, carol):
            await _play(bob, alice, carol, say, yes=options.answer == "yes")
    except TimeoutError:
        message = f"the demo did not end within {PATIENCE:g} s"
        raise DeadlineExceeded(message, timeout=PATIENCE, phase="demo") from None
    say(f"done in {perf_counter() - start:.1f} s: three processes, each with its own key, every connection encrypted")
    return DONE


def _in_json(line: str) -> None:
    tell_json({"told": line.strip()})


async def _play(bob: Actor, alice: Actor, carol: Actor, tell: Say, *, yes: bool) -> None:
    await bob.order(alice=alice.peer, answer=yes)
    address = (await bob.hears("address"))["address"]
    tell(f"{bob.who} listens on {address.partition('/p2p/')[0]}")
    tell("       his firewall lets nobody in; about alice he wants to be asked")

    await carol.order(address=address)
    refused = await carol.hears("refused")
    tell(f'{carol.who} asks "Ping": bob\'s firewall refuses, and he is not even asked')
    tell(f"       carol got {refused['refused']}: for her, bob serves nothing")
    await carol.leave()

    await alice.order(address=address)
    asked = await bob.hears("asked")
    tell(f"{alice.who} asks {compact(asked['asked'])}: bob's firewall asks bob, and he says {'yes' if yes else 'no'}")
    if yes:
        await _answered(bob, alice, tell)
    else:
        refused = await alice.hears("refused")
        tell(f"       alice got {refused['refused']}, and no answer")
    await alice.leave()
    await bob.leave()


async def _answered(bob: Actor, alice: Actor, tell: Say) -> None:
    made = (await bob.hears("nonce"))["nonce"]
    tell(f"       bob makes up a number for his answer: {made}")
    told = await alice.hears("answer")
    if told["answer"] != {"Pong": made}:
        raise P2PError(f"the demo failed: alice got {compact(told['answer'])}, which is not what bob answered")
    tell(f"       alice got {compact(told['answer'])} in {told['ms']:.0f} ms, connecting included")
