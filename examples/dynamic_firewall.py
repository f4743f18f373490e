"""A firewall that begins with no rule at all, and asks you.

terminal 1:  python dynamic_firewall.py serve                                    (prints its ADDRESS)
terminal 2:  python dynamic_firewall.py ping ADDRESS | say ADDRESS TEXT          [--key FILE] [--timeout SECONDS]

Terminal 1 asks once about each peer that has no rule: [y]es lets it do everything, [n]o nothing, [p]ings only that;
[a]sk means that you are asked about each of its requests. What you say holds until the program ends. Saying nothing
for --limit seconds (30) is a no to what was asked, and nothing more. Exit codes of a client: 0 done, 1 failed,
2 usage, 3 refused.
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stronghold_p2p import (
    Attempt,
    Identity,
    Network,
    P2PError,
    Rejected,
    Request,
    RequestProtocol,
    Rule,
    Timeouts,
    UnsupportedProtocol,
    messages,
)


@dataclass(frozen=True)
class Ping: ...


class Say(NamedTuple):  # a NamedTuple is a tuple variant: {"Say":"hi"}
    text: str


Message = Ping | Say
PROTOCOL = RequestProtocol("/dynamic/1.0.0", request=messages(Message), response=messages(str))
ANSWERS = {"y": Rule.ALLOW, "n": Rule.REJECT, "a": Rule.ASK, "p": Rule.only([Ping])}


async def ask_person(question: str) -> str:
    """The first letter of what is typed; cancelled when it is too late."""
    line: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    print(question, end=" ", flush=True)
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: line.set_result(sys.stdin.readline()))
    try:
        return (await line).strip().lower()[:1]
    except asyncio.CancelledError:
        print("- too late")
        raise
    finally:
        asyncio.get_running_loop().remove_reader(sys.stdin)


async def serve(listen: str, identity: Identity, limit: float) -> None:
    network = Network(identity=identity, listen=[listen], timeouts=Timeouts(ask=limit, request=limit + 5))
    turn = asyncio.Lock()  # hooks run side by side; a person takes one question at a time

    @network.firewall.on_no_rule
    async def introduce(attempt: Attempt) -> Rule | None:
        async with turn:
            answer = await ask_person(f"{attempt.peer} is new\n[y]es [n]o [a]sk each time [p]ings only")
        return ANSWERS.get(answer)  # None: no, and the next request asks again

    @network.firewall.on_ask
    async def approve(attempt: Attempt) -> bool:
        async with turn:
            return await ask_person(f"{attempt.peer} asks {attempt.view}\n[y]es [n]o") == "y"

    @network.on_request(PROTOCOL)
    def answer(request: Request[Message]) -> str:
        print(f"answered {request.message} of {request.peer}", flush=True)
        return "Pong" if isinstance(request.message, Ping) else f"heard {request.message.text!r}"

    async with network:
        print(*network.addresses, sep="\n", flush=True)
        await network.serve_forever()


async def call(address: str, message: Message, identity: Identity, timeout: float) -> None:
    async with Network(identity=identity) as network:
        print(await network.request(address, message, PROTOCOL, timeout=timeout))


def main() -> int:
    parser = argparse.ArgumentParser(prog="dynamic_firewall.py")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="answer, and ask you who may ask")
    server.add_argument("--listen", default="/ip4/127.0.0.1/tcp/0")
    server.add_argument("--limit", type=float, default=30.0, metavar="SECONDS")
    for command in ("ping", "say"):
        client = commands.add_parser(command)
        client.add_argument("address")
        if command == "say":
            client.add_argument("text")
        client.add_argument("--timeout", type=float, default=40.0, metavar="SECONDS")
    for one in commands.choices.values():
        one.add_argument("--key", type=Path, help="keeps a peer id")
    o = parser.parse_args()
    try:
        identity = Identity.load(o.key, create=True) if o.key else Identity()
        if o.command == "serve":
            asyncio.run(serve(o.listen, identity, o.limit))
        else:
            asyncio.run(call(o.address, Say(o.text) if o.command == "say" else Ping(), identity, o.timeout))
    except KeyboardInterrupt:
        return 0 if o.command == "serve" else 130
    except (Rejected, UnsupportedProtocol) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 3
    except P2PError as error:
        print(f"dynamic_firewall.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
