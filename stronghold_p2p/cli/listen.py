"""``stronghold-p2p listen``: answers requests, and asks at the terminal whom to let in."""

import argparse
import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from stronghold_p2p.cli.keys import identity_of
from stronghold_p2p.cli.output import DONE, let_go_of_output, note, printable, short, tell, tell_json
from stronghold_p2p.cli.terminal import Terminal, shown
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.events.events import Event, Judged, RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.network import Network
from stronghold_p2p.protocols import perf
from stronghold_p2p.request_response.server import Request
from stronghold_p2p.transport.certificates import WebTLS

DEFAULT: Final = "/ip4/0.0.0.0/tcp/4001"
AFTERWARDS: Final = 5.0  # seconds for a handler after the longest question
TOGETHER: Final = 1.0  # seconds in which a peer tries the ids of a protocol
NOBODY: Final = "stronghold-p2p: no terminal, so nobody can be asked: only peers given with --allow are let in"
BACKGROUND: Final = (
    "stronghold-p2p: in the background nobody can be asked: only peers given with --allow are let in; fg brings it back"
)


async def listen(options: argparse.Namespace) -> int:
    """Answer requests; ask at the terminal whom to let in."""
    saved = None if options.rules is None else SavedRules(options.rules)
    network = Network(
        identity=identity_of(options.key, options, create=True) if options.key else None,
        listen=[*(options.addrs or ([] if options.via else [DEFAULT])), *options.via],
        firewall=None if saved is None else saved.firewall,
        mdns=options.mdns,
        timeouts=Timeouts(ask=options.timeout, request=options.timeout + AFTERWARDS),
        tls=WebTLS(certificate=options.tls_cert, key=options.tls_key, ca=options.ca),
    )
    open_to_all = options.reply is not ... and not options.allow and saved is None
    terminal, voice = Terminal(wanted=not open_to_all), Voice(options)
    _set_rules(network, terminal, saved, voice, options)
    if open_to_all:
        network.firewall.set(Rule.ALLOW)
    _serve(network, voice, options)
    with terminal.reading():
        async with network:
            for address in network.addresses:
                voice.answer({"listening": str(address)}, f"listening on {address}")
            if not (terminal.here or options.allow or open_to_all or saved):
                voice.tell(BACKGROUND if terminal.there else NOBODY)
            with suppress(asyncio.CancelledError):
                await network.serve_forever()
    return DONE


def _set_rules(
    network: Network, terminal: Terminal, saved: "SavedRules | None", voice: "Voice", options: argparse.Namespace
) -> None:
    firewall = network.firewall
    for peer in options.allow:
        firewall.set(Rule.ALLOW, peer=peer)
    if not terminal.there:
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
            voice.tell(f"not kept: {printable(str(error))}")
            return answer  # so it holds as long as we run
        voice.tell(f"kept in {printable(str(options.rules))}")
        return answer == Rule.ALLOW


class Voice:
    """What ``listen`` says. A peer is answered whether or not somebody reads what is said of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._json = options.json
        self._lost = False

    def tell(self, told: str) -> None:
        """A line that is about ourselves."""
        if self._json:
            self.answer({"told": told})
        else:
            note(told)

    def answer(self, value: dict[str, Any], line: str = "") -> None:
        """A line to standard output, as long as that takes any."""
        try:
            if self._json:
                tell_json(value)
            else:
                tell(line)
            self._lost = False
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                let_go_of_output()
            if not self._lost:
                self._lost = True
                note(f"standard output takes no more ({error.strerror}): requests are answered all the same")


def _serve(network: Network, voice: Voice, options: argparse.Namespace) -> None:
    refusals = Refusals()

    def told(what: str, peer: PeerId, view: Any, protocol: str) -> None:
        # Who was refused may be let in by --allow, which takes the whole id.
        who = peer if options.verbose or what == "refused" else short(peer)
        value = {"peer": peer, "request": view, "verdict": what, "protocol": protocol}
        voice.answer(value, f"{what} {who}: {shown(view, protocol)}")

    @network.on_request
    def answer(request: Request[Any]) -> Any:
        told("answered", request.peer, request.message, request.protocol)
        return request.message if options.reply is ... else options.reply

    if options.perf:
        network.on_stream(perf.PERF)(perf.serve)

    @network.on_event
    def notice(event: Event) -> None:
        match event:
            case Judged(attempt, Rule.REJECT) if attempt.direction == "in" and refusals.new(attempt):
                told("refused", attempt.peer, attempt.view, attempt.protocol)
            case RulesLoaded():
                voice.tell(news(event))
            case _:
                pass


class Refusals:
    """A request that no rule lets in is tried under each id of its protocol: that is one request, and one line."""

    def __init__(self) -> None:
        self._told: dict[object, float] = {}  # whom of late, and when

    def new(self, attempt: Attempt) -> bool:
        now = asyncio.get_running_loop().time()
        self._told = {this: at for this, at in self._told.items() if now - at < TOGETHER}
        this = (attempt.peer, attempt.address, attempt.protocol)
        if attempt.view is None and self._told.pop(this, None) is not None:
            return False
        self._told[this] = now
        return True


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
