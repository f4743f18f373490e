"""Echo for those on an allow-list.

Terminal 1, the friend:      python echo.py id --key me.key          # hand the printed id to the server's owner
Terminal 2, the server:      python echo.py serve --key server.key --allow 12D3KooW... [--rules rules.toml]
Terminal 1 again:            python echo.py ask /ip4/127.0.0.1/tcp/7007/p2p/12D3KooW... "hello" --key me.key

To let in somebody else while the server runs, write this into the rules file (read again within seconds):

    version = 1
    [[rules]]
    peer = "12D3KooW..."
    rule = "allow"
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from stronghold_p2p import (
    Event,
    Firewall,
    Identity,
    Judged,
    Network,
    P2PError,
    PeerId,
    Rejected,
    Request,
    RequestFailed,
    RequestProtocol,
    Rule,
    RulesLoaded,
    UnsupportedProtocol,
    messages,
)

ECHO = RequestProtocol("/echo/1.0.0", request=messages(str), response=messages(str))


def tell(event: Event) -> None:
    match event:
        case Judged(attempt, Rule.REJECT):
            print(f"refused  {attempt.peer}", flush=True)
        case RequestFailed(request, error):
            print(f"failed   {request.peer}: {error}", flush=True)
        case RulesLoaded(path, None):  # an error is in the log already, which Python shows on stderr
            print(f"{path}: the new rules hold", flush=True)
        case _:
            pass


async def serve(key: Path, allow: list[PeerId], port: int, rules: Path) -> None:
    firewall = Firewall.load(rules, create=True)  # nobody is let in without a rule
    for peer in allow:
        firewall.set(Rule.ALLOW, peer=peer, protocol=ECHO.ids[0])
    identity, listen = Identity.load(key, create=True), [f"/ip4/127.0.0.1/tcp/{port}"]
    server = Network(identity=identity, listen=listen, firewall=firewall)
    server.on_event(tell)

    @server.on_request(ECHO)
    async def echo(request: Request[str]) -> str:
        print(f"answered {request.peer}: {request.message!r:.60}", flush=True)
        return request.message

    async with server:
        print(f"listening on {server.addresses[0]}", flush=True)
        await server.serve_forever()


async def ask(address: str, text: str, key: Path) -> None:
    async with Network(identity=Identity.load(key)) as client:
        await client.connect(address, timeout=10)
        begin = time.perf_counter()
        try:
            answer = await client.request(address, text, ECHO, timeout=10)
        except (Rejected, UnsupportedProtocol):
            raise SystemExit(f"echo.py: refused; give {client.peer_id} to the owner of the server") from None
        print(f"{answer} ({(time.perf_counter() - begin) * 1000:.1f} ms)")


def main() -> None:
    parser = argparse.ArgumentParser(prog="echo.py")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="echo what the allowed peers send")
    server.add_argument("--allow", type=PeerId, action="append", default=[], metavar="PEER_ID")
    server.add_argument("--port", type=int, default=7007)
    server.add_argument("--rules", type=Path, default=Path("rules.toml"), help="may be edited at any time")
    client = commands.add_parser("ask", help="send a text and show the echo")
    client.add_argument("address")
    client.add_argument("text")
    own = commands.add_parser("id", help="show the own peer id; makes the key if there is none")
    for command in (server, client, own):
        command.add_argument("--key", type=Path, required=True)
    args = parser.parse_args()
    try:
        match args.command:
            case "serve":
                asyncio.run(serve(args.key, args.allow, args.port, args.rules))
            case "ask":
                asyncio.run(ask(args.address, args.text, args.key))
            case _:
                print(Identity.load(args.key, create=True).peer_id)
    except P2PError as error:
        sys.exit(f"echo.py: {error}")
    except KeyboardInterrupt:
        sys.exit(0 if args.command == "serve" else 130)


if __name__ == "__main__":
    main()
