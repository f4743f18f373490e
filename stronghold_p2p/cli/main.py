"""The command line: a debugging tool and a demonstration."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.cli.commands import identify, key, perf, ping, request
from stronghold_p2p.cli.demo import demo
from stronghold_p2p.cli.keys import add_passphrase
from stronghold_p2p.cli.listen import AFTERWARDS, listen
from stronghold_p2p.cli.output import FAILED, INTERRUPTED, TERMINATED, report, safe_output
from stronghold_p2p.encoding import strict_json
from stronghold_p2p.errors import DecodeError, P2PError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD

Command: TypeAlias = Callable[[argparse.Namespace], Coroutine[Any, Any, int]]

CODES: Final = (
    "exit codes: 0 done (listen: also when it is stopped), 1 failed, 2 usage, 3 refused, 4 deadline, 5 unreachable, "
    "130 interrupted (Ctrl-C), 143 terminated"
)
ASK: Final = 60.0  # seconds; a person has to answer
BYTES: Final = 64 << 20
MOST: Final = 1 << 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one line each."""
    safe_output()
    options = parser().parse_args(arguments)
    if options.verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    command: Command = options.command
    try:
        return asyncio.run(_until_stopped(command(options)))
    except BrokenPipeError:  # the program that read our output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (P2PError, OSError) as error:
        return report(error, as_json=options.json)
    except KeyboardInterrupt:
        return INTERRUPTED


async def _until_stopped(command: Coroutine[Any, Any, int]) -> int:
    """SIGTERM ends a command as Ctrl-C does: what is open is closed in order."""
    task = asyncio.ensure_future(command)
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if (current := asyncio.current_task()) is not None and current.cancelling():
            raise  # Ctrl-C
        return TERMINATED


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, one object a line")
    common.add_argument("-v", "--verbose", action="store_true", help="log to standard error")
    peer = argparse.ArgumentParser(add_help=False, parents=[common])
    mine = "be this identity (see: key), - is one on standard input; else a fresh one"
    peer.add_argument("--key", type=Path, metavar="FILE", help=mine)
    add_passphrase(peer)
    reach = argparse.ArgumentParser(add_help=False, parents=[peer])
    reach.add_argument("addr", type=_address, metavar="ADDR", help="/ip4/<ip>/tcp/<port>/p2p/<peer id>")

    whole = argparse.ArgumentParser(prog="stronghold-p2p", description=__doc__, epilog=CODES)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def add(command: Command, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        about = (command.__doc__ or "").splitlines()[0]
        added = commands.add_parser(
            command.__name__,
            help=about[0].lower() + about[1:].rstrip("."),
            description=about,
            epilog=CODES,
            parents=parents,
        )
        added.set_defaults(command=command)
        return added

    shown = add(demo)
    shown.add_argument("--answer", choices=["yes", "no"], default="yes", help="what bob says when he is asked (yes)")
    shown.set_defaults(json=False, verbose=False)
    keys = add(key, common)
    keys.add_argument("file", type=Path, metavar="FILE", help="made with mode 0600 if it is not there")
    add_passphrase(keys)
    _add_listening(add(listen, peer))
    asking = add(request, reach)
    asking.add_argument("message", type=_message, metavar="JSON", help="for example '\"Ping\"'")
    asking.add_argument("--protocol", metavar="ID", help=f"default: {STRONGHOLD.ids[0]}")
    _add_timeout(asking, ASK + AFTERWARDS, "for everything; whoever is asked has to answer")
    pinging = add(ping, reach)
    pinging.add_argument("-n", dest="count", type=_count, default=3, metavar="N", help="how often (3)")
    _add_timeout(pinging, 10.0, "for everything")
    _add_timeout(add(identify, reach), 10.0, "for everything")
    measuring = add(perf, reach)
    measuring.add_argument("--bytes", type=_count, default=BYTES, metavar="N", help=f"each way ({BYTES})")
    _add_timeout(measuring, 60.0, "for everything")
    return whole


def _add_listening(listening: argparse.ArgumentParser) -> None:
    listening.add_argument("addrs", nargs="*", type=_address, metavar="ADDR", help="default: /ip4/0.0.0.0/tcp/4001")
    listening.add_argument(
        "--allow", action="append", default=[], type=_peer, metavar="PEER", help="answer this peer without asking"
    )
    rules = "rules and bans in TOML (docs/firewall.md); always and never at the terminal are kept there"
    listening.add_argument("--rules", type=Path, metavar="FILE", help=rules)
    reply = "the answer to every request (else an echo), to everybody unasked unless there is an --allow or --rules"
    listening.add_argument("--reply", type=_message, default=..., metavar="JSON", help=reply)
    listening.add_argument("--perf", action="store_true", help="serve /perf/1.0.0 to those who are let in")
    _add_timeout(listening, ASK, "for an answer at the terminal")


def _add_timeout(command: argparse.ArgumentParser, default: float, what: str) -> None:
    told = f"seconds {what} ({default:g})"
    command.add_argument("--timeout", type=_seconds, default=default, metavar="S", help=told)


def _reading(read: Callable[[str], Any], advice: str = "") -> Callable[[str], Any]:
    """A type of argument; argparse would not tell what is wrong with it."""

    def argument(text: str) -> Any:
        try:
            return read(text)
        except (DecodeError, UnicodeError) as error:
            raise argparse.ArgumentTypeError(f"{error}{advice}") from None

    return argument


_address, _peer = _reading(parse), _reading(PeerId)
_message = _reading(lambda text: strict_json.loads(text.encode()), "; a text needs quotes of its own: '\"Ping\"'")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("more than 0 seconds")
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= MOST:
        raise argparse.ArgumentTypeError(f"1 to {MOST}")
    return count
