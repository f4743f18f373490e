"""A stronghold on the command line: a vault and a store that others may use, as far as they are permitted.

    python -m examples.stronghold serve FOLDER [--listen ADDRESS]... [--permit PEER=RIGHT[:PATH],...]...
    python -m examples.stronghold ask FOLDER TARGET generate|public-key|revoke|paths|read PATH
    python -m examples.stronghold ask FOLDER TARGET sign PATH MESSAGE | derive PATH NEW INFO | write PATH VALUE
    python -m examples.stronghold sync FOLDER TARGET [--permit PEER=...]...
    python -m examples.stronghold id FOLDER

FOLDER holds the key of the network, the vault and the store; the passphrase of the vault is in STRONGHOLD_PASSPHRASE.
RIGHT is use, write, list (of secrets), read or store (of records). ADDRESS may lead through a relay. Exit codes:
0 done, 1 failed, 2 usage, 3 refused.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.stronghold import protocol
from examples.stronghold.permissions import Grant
from examples.stronghold.protocol import PROTOCOL
from examples.stronghold.stronghold import Stronghold, open_both
from examples.stronghold.vault import VaultError
from stronghold_p2p import Identity, Network, P2PError, PeerId, Rejected, UnsupportedProtocol

QUESTIONS: dict[str, Callable[..., Any]] = {
    "generate": protocol.Generate,
    "public-key": protocol.PublicKey,
    "revoke": protocol.Revoke,
    "paths": protocol.Paths,
    "read": protocol.Read,
    "sign": protocol.Sign,
    "derive": protocol.Derive,
    "write": protocol.Write,
}


def permission(text: str) -> tuple[PeerId, list[Grant]]:
    peer, _, rights = text.partition("=")
    return PeerId(peer), [Grant.parse(one) for one in rights.split(",")]


def stronghold(folder: Path, listen: list[str], permits: list[tuple[PeerId, list[Grant]]]) -> Stronghold:
    vault, store = open_both(folder, os.environb.get(b"STRONGHOLD_PASSPHRASE", b""))
    one = Stronghold(Network(identity=identity(folder), listen=listen), vault, store)
    for peer, grants in permits:
        one.permit(peer, grants)
    return one


def identity(folder: Path) -> Identity:
    folder.mkdir(parents=True, exist_ok=True)
    return Identity.load(folder / "network.key", create=True)


async def serve(folder: Path, listen: list[str], permits: list[tuple[PeerId, list[Grant]]]) -> None:
    one = stronghold(folder, listen, permits)
    async with one.network as network:
        for address in network.addresses:
            print(f"ready at {address}", flush=True)
        await network.serve_forever()


async def ask(folder: Path, target: str, question: str, values: list[str]) -> None:
    async with Network(identity=identity(folder)) as network:
        print(await network.request(target, QUESTIONS[question](*values), PROTOCOL))


async def sync(folder: Path, target: str, permits: list[tuple[PeerId, list[Grant]]]) -> None:
    one = stronghold(folder, [], permits)
    async with one.network:
        came, sent = await one.synchronise(target)
        print(f"{came} records came, {sent} were sent")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.stronghold", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serve", "ask", "sync", "id"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        if name in {"ask", "sync"}:
            command.add_argument("target")
        if name in {"serve", "sync"}:
            command.add_argument("--permit", type=permission, action="append", default=[])
        if name == "serve":
            command.add_argument("--listen", action="append", default=[])
        if name == "ask":
            command.add_argument("question", choices=sorted(QUESTIONS))
            command.add_argument("values", nargs="*")
    return parser.parse_args()


def main() -> int:
    options = parse()
    try:
        if options.command == "id":
            print(identity(options.folder).peer_id)
        elif options.command == "serve":
            listen = options.listen or ["/ip4/127.0.0.1/tcp/0"]
            asyncio.run(serve(options.folder, listen, options.permit))
        elif options.command == "ask":
            asyncio.run(ask(options.folder, options.target, options.question, options.values))
        else:
            asyncio.run(sync(options.folder, options.target, options.permit))
    except (Rejected, UnsupportedProtocol) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 3
    except (P2PError, VaultError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except TypeError as error:  # a question with too many values, or too few
        print(f"usage: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
