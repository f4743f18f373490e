"""A remote counter: everybody may read it, a person lets others add to it, its owner resets it.

terminal 1:  python counter.py serve [--owner PEER] [--limit SECONDS]     (prints its ADDRESS, asks you about each Add)
terminal 2:  python counter.py add ADDRESS 5 | read ADDRESS | reset ADDRESS   [--key FILE] [--timeout SECONDS]

--key keeps a peer id in FILE; `stronghold-p2p key FILE` shows it, for --owner. Exit codes of a client: 0 done,
1 failed, 2 usage, 3 refused, 4 too late, 5 unreachable, 6 wrong message.
"""

import argparse
import asyncio
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import stronghold_p2p as p2p
from stronghold_p2p import Attempt, Identity, Network, PeerId, Request, RequestProtocol, Rule, Timeouts, messages


@dataclass(frozen=True)
class Add:
    amount: int


@dataclass(frozen=True)
class Read: ...


@dataclass(frozen=True)
class Reset: ...


@dataclass(frozen=True)
class Total:
    value: int


Message = Add | Read | Reset
COUNTER = RequestProtocol("/counter/1.0.0", request=messages(Message), response=messages(Total))


class Keyboard:
    """Lines that are typed, from a thread: on Windows no event loop can wait for them."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), daemon=True).start()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while typed := os.read(sys.stdin.fileno(), 4_096):  # of sys.stdin, it would hold the lock when we end
            loop.call_soon_threadsafe(self._lines.put_nowait, typed.decode(errors="replace"))

    async def ask(self, question: str) -> str:
        while not self._lines.empty():  # what was typed before this question does not answer it
            self._lines.get_nowait()
        print(question, end=" ", flush=True)
        try:
            return (await self._lines.get()).strip().lower()
        except asyncio.CancelledError:
            print("- too late, or decided otherwise")
            raise


async def serve(listen: str, identity: Identity, owner: PeerId | None, limit: float) -> None:
    total, turn, keyboard = 0, asyncio.Lock(), Keyboard()
    network = Network(identity=identity, listen=[listen], timeouts=Timeouts(request=limit + 5, ask=limit))
    firewall, asking = network.firewall, Rule.only([Add], then=Rule.ASK)
    firewall.set(Rule.only([Read], otherwise=asking), protocol=COUNTER.ids[0])
    if owner:
        firewall.set(Rule.only([Read, Reset], otherwise=asking), protocol=COUNTER.ids[0], peer=owner)

    @firewall.on_ask
    async def ask(attempt: Attempt) -> bool | Rule:
        async with turn:  # hooks run side by side; a person takes one question at a time
            left = attempt.deadline - asyncio.get_running_loop().time()
            answer = await keyboard.ask(f"{attempt.peer} asks {attempt.view}\n[y]es [a]lways [n]o ({left:.0f} s)")
        if answer in ("a", "always"):  # a rule becomes this peer's for this protocol
            return Rule.only([Add, Read, Reset] if attempt.peer == owner else [Add, Read])
        return answer in ("y", "yes")

    @network.on_request(COUNTER)
    def handle(request: Request[Message]) -> Total:
        nonlocal total
        match request.message:
            case Add(amount):
                total += amount
            case Reset():
                total = 0
        print(f"{request.peer} {request.message} -> {total}")
        return Total(total)

    async with network:
        print(*network.addresses, sep="\n", flush=True)
        await network.serve_forever()


async def call(address: str, message: Message, identity: Identity, timeout: float) -> None:
    async with Network(identity=identity) as network:
        print((await network.request(address, message, COUNTER, timeout=timeout)).value)


def explain(error: Exception) -> tuple[int, str]:
    match error:
        case p2p.Rejected():
            return 3, "refused, or nobody there decided in time: the total is as it was"
        case p2p.DeadlineExceeded(sent=True):
            return 4, f"too late: no answer within {error.timeout:g} s; the total may have changed"
        case p2p.Malformed() | p2p.UnsupportedProtocol():
            return 6, f"wrong message, the other side is no counter like this one: {error}"
        case p2p.NegotiationError() | p2p.DeadlineExceeded() | ConnectionError():
            return 5, f"unreachable: {error}" + (
                "; the total may have changed" if getattr(error, "sent", False) else ""
            )
        case ValueError():
            return 2, f"usage: {error}"
    return 1, f"failed: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serve", "add", "read", "reset"):
        command = commands.add_parser(name)
        command.add_argument("--key", type=Path)
        if name == "serve":
            command.add_argument("--listen", default="/ip4/127.0.0.1/tcp/4001")
            command.add_argument("--owner", type=PeerId)
            command.add_argument("--limit", type=float, default=20)
        else:
            command.add_argument("address")
            command.add_argument("--timeout", type=float, default=30)
        if name == "add":
            command.add_argument("amount", type=int)
    o = parser.parse_args()
    if o.command == "serve" and not sys.stdin.isatty():
        parser.error("serve asks at a terminal")
    try:
        identity = Identity.load(o.key, create=True) if o.key else Identity()
        if o.command == "serve":
            asyncio.run(serve(o.listen, identity, o.owner, o.limit))
        else:
            message = Add(o.amount) if o.command == "add" else Read() if o.command == "read" else Reset()
            asyncio.run(call(o.address, message, identity, o.timeout))
    except KeyboardInterrupt:
        return 0 if o.command == "serve" else 130
    except (p2p.P2PError, ValueError) as error:
        code, text = explain(error)
        print(text, file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
