"""The command line: a debugging tool and a demonstration."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from stronghold_p2p.cli import reading, rules
from stronghold_p2p.cli.commands import identify, key, perf, ping, request
from stronghold_p2p.cli.demo import demo
from stronghold_p2p.cli.discover import discover
from stronghold_p2p.cli.failures import CODES, FAILED, TERMINATED, Parser, UnreachedError, interrupted, report
from stronghold_p2p.cli.keys import add_passphrase
from stronghold_p2p.cli.listen import AFTERWARDS, listen
from stronghold_p2p.cli.output import let_go_of_output, logged, safe_output
from stronghold_p2p.cli.relay import relay
from stronghold_p2p.errors import P2PError
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from stronghold_p2p.version import VERSION

Command: TypeAlias = Callable[[argparse.Namespace], Coroutine[Any, Any, int]]

ASK: Final = 60.0  # seconds; a person has to answer
BYTES: Final = 64 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. An error is one line, or with ``--json`` one object."""
    safe_output()
    code = _run(sys.argv[1:] if arguments is None else list(arguments))
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:  # what is left cannot be printed, as when a disk is full
        let_go_of_output()
        return code or _failed(error, as_json=False, timeout=None)
    return code


def _run(words: list[str]) -> int:
    as_json, timeout = "--json" in words, None
    try:
        options = parser().parse_args(words)
        as_json, timeout = options.json, getattr(options, "timeout", None)
        with logged(verbose=options.verbose):
            return asyncio.run(_until_stopped(options.command(options)))
    except BrokenPipeError:  # the program that read our output has ended
        let_go_of_output()
        return FAILED
    except (P2PError, OSError, UnreachedError) as error:
        return _failed(error, as_json=as_json, timeout=timeout)
    except KeyboardInterrupt:
        return interrupted()
    except SystemExit as left:  # --help, --version
        return int(left.code or 0)


def _failed(error: Exception, *, as_json: bool, timeout: float | None) -> int:
    try:
        return report(error, as_json=as_json, timeout=timeout)
    except OSError:  # standard output takes not even that, as when a disk is full
        let_go_of_output()
        return report(error, timeout=timeout)


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
    whole = Parser(prog="stronghold-p2p", description=__doc__, epilog=CODES)
    whole.add_argument("--version", action="version", version=f"stronghold-p2p {VERSION}")
    _add_common(whole, default=False)
    common = Parser(add_help=False)
    _add_common(common, default=argparse.SUPPRESS)  # else it would take back what stands before the command
    peer = Parser(add_help=False, parents=[common])
    mine = "be this identity (see: key), - is one on standard input; else a fresh one"
    peer.add_argument("--key", type=Path, metavar="FILE", help=mine)
    add_passphrase(peer)
    trusted = "trust the authorities in this file, too, where secure WebSocket is dialed (PEM)"
    peer.add_argument("--ca", type=Path, metavar="FILE", help=trusted)
    reach = Parser(add_help=False, parents=[peer])
    reach.add_argument("addr", type=reading.address, metavar="ADDR", help="/ip4/<ip>/tcp/<port>/p2p/<peer id>")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def add(command: Command, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return _add(commands, command, *parents)

    shown = add(demo, common)
    shown.add_argument("--answer", choices=["yes", "no"], default="yes", help="what bob says when he is asked (yes)")
    keys = add(key, common)
    keys.add_argument("file", type=Path, metavar="FILE", help="made with mode 0600 if it is not there")
    keys.add_argument("--public", action="store_true", help="show the public key of a file that is there, as PEM")
    add_passphrase(keys)
    _add_listening(add(listen, peer))
    _add_relaying(add(relay, peer))
    _add_discovering(add(discover, peer))
    _add_asking(add(request, peer))
    pinging = add(ping, reach)
    pinging.add_argument("-n", dest="count", type=reading.count, default=3, metavar="N", help="how often (3)")
    _add_timeout(pinging, 10.0, "for connecting, and for each answer")
    _add_timeout(add(identify, reach), 10.0, "for everything")
    measuring = add(perf, reach)
    measuring.add_argument("--bytes", type=reading.count, default=BYTES, metavar="N", help=f"each way ({BYTES})")
    _add_timeout(measuring, 2 * ASK, "for everything; whoever is asked has to answer")
    _add_rules(commands, common)
    return whole


def _add(
    commands: Any, command: Command, *parents: argparse.ArgumentParser, name: str | None = None
) -> argparse.ArgumentParser:
    about = (command.__doc__ or "").splitlines()[0]
    added: argparse.ArgumentParser = commands.add_parser(
        name or command.__name__,
        help=about[0].lower() + about[1:].rstrip("."),
        description=about,
        epilog=CODES,
        parents=parents,
    )
    added.set_defaults(command=command)
    return added


def _add_common(to: argparse.ArgumentParser, *, default: Any) -> None:
    to.add_argument("--json", action="store_true", default=default, help="print JSON, one object a line")
    verbose = "tell on standard error of connections, dials and refusals"
    to.add_argument("-v", "--verbose", action="store_true", default=default, help=verbose)


def _add_listening(listening: argparse.ArgumentParser) -> None:
    where = "default: /ip4/0.0.0.0/tcp/4001"
    listening.add_argument("addrs", nargs="*", type=reading.listening, metavar="ADDR", help=where)
    listening.add_argument(
        "--allow",
        action="append",
        default=[],
        type=reading.peer,
        metavar="PEER",
        help="answer this peer without asking",
    )
    kept = "rules and bans in TOML (see: rules check); always and never at the terminal are kept there"
    listening.add_argument("--rules", type=Path, metavar="FILE", help=kept)
    reply = "the answer to every request (else an echo), to everybody unasked unless there is an --allow or --rules"
    listening.add_argument("--reply", type=reading.message, default=..., metavar="JSON", help=reply)
    through = "listen through this relay, too; without an ADDR nowhere else: /ip4/<ip>/tcp/<port>/p2p/<relay>"
    listening.add_argument("--via", action="append", default=[], type=reading.relay, metavar="RELAY", help=through)
    shown = "the certificate for addresses with /tls/ws, and those in between (PEM); read again when it changes"
    listening.add_argument("--tls-cert", type=Path, metavar="FILE", help=shown)
    listening.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (in the same file)")
    listening.add_argument("--perf", action="store_true", help="serve /perf/1.0.0 to those who are let in")
    listening.add_argument("--mdns", action="store_true", help="let peers on the LAN discover us")
    _add_timeout(listening, ASK, "for an answer at the terminal")


def _add_relaying(relaying: argparse.ArgumentParser) -> None:
    usual = RelayLimits()
    where = "default: /ip4/0.0.0.0/tcp/4001"
    relaying.add_argument("addrs", nargs="*", type=reading.listening, metavar="ADDR", help=where)
    some = "let this peer reserve, and of others only those that are named so; without it, everybody may"
    relaying.add_argument("--allow", action="append", default=[], type=reading.peer, metavar="PEER", help=some)
    trusted = "as --allow, and circuits from and to this peer have no limits"
    relaying.add_argument("--trust", action="append", default=[], type=reading.peer, metavar="PEER", help=trusted)
    rules = "rules and bans in TOML (see: rules check), instead of --allow and --trust"
    relaying.add_argument("--rules", type=Path, metavar="FILE", help=rules)
    for name, what in (
        ("reservations", "peers that are reached through us"),
        ("circuits", "circuits at the same time"),
        ("data", "bytes that a circuit carries each way"),
        ("duration", "seconds that a circuit lasts"),
    ):
        value = getattr(usual, name)
        kind = reading.seconds if name == "duration" else reading.count
        relaying.add_argument(f"--{name}", type=kind, default=value, metavar="N", help=f"{what} ({value:g})")
    relaying.add_argument("--unlimited", action="store_true", help="circuits carry any amount for any time")


def _add_discovering(discovering: argparse.ArgumentParser) -> None:
    where = "where we listen, so that others discover us, too; default: a free port; nobody is let in"
    discovering.add_argument("addrs", nargs="*", type=reading.listening, metavar="ADDR", help=where)
    discovering.add_argument("--hidden", action="store_true", help="do not listen, and do not announce ourselves")
    told = "seconds until it ends (never)"
    discovering.add_argument("--timeout", type=reading.seconds, default=None, metavar="S", help=told)


def _add_asking(asking: argparse.ArgumentParser) -> None:
    where = "/ip4/<ip>/tcp/<port>/p2p/<peer id>; of several each is asked, one line for each"
    asking.add_argument("addrs", nargs="+", type=reading.address, metavar="ADDR", help=where)
    what = "for example '\"Ping\"'; - for standard input, @FILE for a file"
    asking.add_argument("message", type=reading.message, metavar="JSON", help=what)
    asking.add_argument("--protocol", metavar="ID", help=f"default: {STRONGHOLD.ids[0]}")
    _add_timeout(asking, ASK + AFTERWARDS, "for everything; whoever is asked has to answer")


def _add_rules(commands: Any, common: argparse.ArgumentParser) -> None:
    about = (
        "Say what a rules file would decide. A file begins with version = 1; banned = [...] lists peers and subnets; "
        'each [[rules]] has a rule ("allow", "reject", "ask", { only = ["Ping"] }) and whom it is for: peer, protocol, '
        "subnet, or nothing for everybody."
    )
    group = commands.add_parser("rules", help="say what a rules file would decide", description=about, epilog=CODES)
    checking = _add(group.add_subparsers(required=True, metavar="check"), rules.check, common)
    checking.add_argument("file", type=Path, metavar="FILE", help="rules and bans in TOML")
    checking.add_argument("--peer", type=reading.peer, metavar="PEER", help="who asks (somebody whom no rule names)")
    checking.add_argument("--protocol", metavar="ID", help=f"for what ({STRONGHOLD.ids[0]})")
    checking.add_argument("--variant", metavar="NAME", help="which request (one that no rule names)")
    checking.add_argument(
        "--address", type=reading.address, metavar="ADDR", help="from where (an address like any other)"
    )


def _add_timeout(command: argparse.ArgumentParser, default: float, what: str) -> None:
    told = f"seconds {what} ({default:g})"
    command.add_argument("--timeout", type=reading.seconds, default=default, metavar="S", help=told)
