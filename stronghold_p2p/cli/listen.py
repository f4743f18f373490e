"""``stronghold-p2p listen``: answers requests, and asks at the terminal whom to let in."""

import argparse
import asyncio
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from stronghold_p2p.cli.keys import identity_of
from stronghold_p2p.cli.output import DONE, printable, short, show, tell_json
from stronghold_p2p.cli.terminal import Terminal, shown
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.events.events import AcceptFailed, Event, Judged, RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.network import Network
from stronghold_p2p.protocols import perf
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from stronghold_p2p.request_response.server import Request

DEFAULT: Final = "/ip4/0.0.0.0/tcp/4001"
AFTERWARDS: Final = 5.0  # seconds for a handler after the longest question
NOBODY: Final = "no terminal, so nobody can be asked: only peers given with --allow are let in"


async def listen(options: argparse.Namespace) -> int:
    """Answer requests; ask at the terminal whom to let in."""
    saved = None if options.rules is None else SavedRules(options.rules)
    network = Network(
        identity=identity_of(options.key, options, create=True) if options.key else None,
        listen=options.addrs or [DEFAULT],
        firewall=None if saved is None else saved.firewall,
        timeouts=Timeouts(ask=options.timeout, request=options.timeout + AFTERWARDS),
    )
    terminal = Terminal()
    _set_rules(network, terminal, saved, options)
    _serve(network, terminal, options)
    with terminal.reading():
        async with network:
            for address in network.addresses:
                show(options, {"listening": address}, f"listening on {address}")
            if not (terminal.here or options.allow or options.reply is not ... or saved):
                print(f"stronghold-p2p: {NOBODY}", file=sys.stderr, flush=True)
            with suppress(asyncio.CancelledError):
                await network.serve_forever()
    return DONE


def _set_rules(network: Network, terminal: Terminal, saved: "SavedRules | None", options: argparse.Namespace) -> None:
    firewall = network.firewall
    for peer in options.allow:
        firewall.set(Rule.ALLOW, peer=peer)
    if options.reply is not ... and not options.allow and saved is None:
        firewall.set(Rule.ALLOW, protocol=STRONGHOLD.ids[0])
    if not terminal.here:
        return
    if saved is None or saved.new:  # a file that is there says itself who is asked about
        firewall.set(Rule.ASK)

    @firewall.on_ask
    async def ask(attempt: Attempt) -> bool | Rule:
        answer = await terminal.ask(attempt)
        if not isinstance(answer, Rule):
            return answer
        if saved is None:  # as a rule of ours: what a hook returns may be forgotten when many have come
            firewall.set(answer, peer=attempt.peer, protocol=attempt.protocol)
            return answer == Rule.ALLOW
        try:
            saved.save(attempt.peer, attempt.protocol, answer)
        except ConfigError as error:
            _tell(terminal, f"not kept: {printable(str(error))}", options)
            return answer  # so it holds as long as we run
        _tell(terminal, f"kept in {printable(str(options.rules))}", options)
        return answer == Rule.ALLOW


def _tell(terminal: Terminal, told: str, options: argparse.Namespace) -> None:
    if options.json:
        tell_json({"told": told})
    else:
        terminal.tell(told)


def _serve(network: Network, terminal: Terminal, options: argparse.Namespace) -> None:
    def told(what: str, peer: Any, view: Any, protocol: str) -> None:
        if options.json:
            tell_json({"peer": peer, "request": view, "verdict": what, "protocol": protocol})
        else:
            who = peer if options.verbose else short(peer)
            terminal.tell(f"{what} {who}: {shown(view, protocol)}", answer=True)

    @network.on_request
    def answer(request: Request[Any]) -> Any:
        told("answered", request.peer, request.message, request.protocol)
        return request.message if options.reply is ... else options.reply

    if options.perf:
        network.on_stream(perf.PERF)(perf.serve)

    @network.on_event
    def show(event: Event) -> None:
        match event:
            case Judged(attempt, Rule.REJECT) if attempt.direction == "in":
                told("refused", attempt.peer, attempt.view, attempt.protocol)
            case RulesLoaded():
                _tell(terminal, news(event), options)
            case AcceptFailed(remote, error) if options.verbose:
                terminal.tell(f"turned away {remote}: {printable(str(error))}")
            case _:
                pass


class SavedRules:
    """The rules at ``path`` and the answers that are given for good; those of the command line stay out of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.firewall = Firewall.load(path, create=True)
        self.new = not path.exists()
        logging.getLogger("stronghold_p2p.network.rules").setLevel(logging.CRITICAL)  # the terminal tells it

    def save(self, peer: PeerId, protocol: str, rule: Rule) -> None:
        """Add a rule to what the file says now, and apply it. ``ConfigError``: it cannot be written."""
        saved = Firewall.load(self._path, create=True)
        if not self._path.exists():
            saved.set(Rule.ASK)
        saved.set(rule, peer=peer, protocol=protocol)
        saved.save()
        self.firewall.reload()


def news(event: RulesLoaded) -> str:
    """The line that tells of a change of the file."""
    if event.error is not None:
        return f"the rules stay as they are: {printable(str(event.error))}"
    return f"rules loaded from {printable(str(event.path))}"
