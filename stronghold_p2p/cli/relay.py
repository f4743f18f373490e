"""``stronghold-p2p relay``: carries circuits for others, and tells which."""

import argparse
import asyncio
import sys
from contextlib import suppress
from functools import partial
from typing import Any, Final

from stronghold_p2p.cli.keys import identity_of
from stronghold_p2p.cli.output import DONE, note, prompt, short, tell, tell_json
from stronghold_p2p.events.events import (
    CircuitClosed,
    CircuitOpened,
    Event,
    ReservationLost,
    ReservationMade,
    ReservationRefused,
    RulesLoaded,
)
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.network import Network
from stronghold_p2p.relay.messages import HOP
from stronghold_p2p.relay.options import RelayLimits

EVERY: Final = 1.0  # seconds between two looks
UNITS: Final = ("B", "kB", "MB", "GB", "TB")


async def relay(options: argparse.Namespace) -> int:
    """Be a relay for peers that cannot be dialed."""
    network = Network(
        identity=identity_of(options.key, options, create=True) if options.key else None,
        listen=options.addrs or ["/ip4/0.0.0.0/tcp/4001"],
        firewall=None if options.rules is None else Firewall.load(options.rules),
        relay=RelayLimits(
            reservations=options.reservations,
            circuits=options.circuits,
            data=None if options.unlimited else options.data,
            duration=None if options.unlimited else options.duration,
        ),
    )
    if options.rules is None:
        _let_in(network.firewall, options)
    network.on_event(partial(_happened, options))
    async with network:
        for address in network.addresses:
            _say(options, {"listening": str(address)}, f"relaying at {address}")
        with suppress(asyncio.CancelledError):
            await _watch(network, options)
    return DONE


def _let_in(firewall: Firewall, options: argparse.Namespace) -> None:
    """Reservations for all, or for those who are allowed; circuits to them for all; without limits for the trusted."""
    everybody = ["connect"] if options.allow or options.trust else ["reserve", "connect"]
    firewall.set(Rule.only(everybody), protocol=HOP)
    for peer in options.allow:
        firewall.set(Rule.only(["reserve", "connect"]), peer=peer, protocol=HOP)
    for peer in options.trust:
        firewall.set(Rule.ALLOW, peer=peer, protocol=HOP)


async def _watch(network: Network, options: argparse.Namespace) -> None:
    """The state now: at a terminal a line that changes; with ``--json`` an object whenever it has changed."""
    before = ""
    live = sys.stderr is not None and sys.stderr.isatty() and not options.json
    try:
        while True:
            state = status(network.stats())
            line = ", ".join(f"{shown} {name.replace('_', ' ')}" for name, shown in state.items())
            if line != before and options.json:
                tell_json({"status": {name: network.stats()[key] for name, key in STATUS.items()}})
            elif line != before and live:
                prompt(f"{line} ")
            before = line
            await asyncio.sleep(EVERY)
    finally:
        if live:
            prompt("")


STATUS: Final = {
    "reservations": "reservations",
    "circuits": "circuits",
    "relayed": "circuit_bytes_total",
    "circuits_so_far": "circuits_total",
    "refused": "relay_refusals_total",
}


def status(stats: Any) -> dict[str, str]:
    """What is shown of a relay."""
    return {name: amount(stats[key]) if name == "relayed" else str(stats[key]) for name, key in STATUS.items()}


def amount(size: float) -> str:
    """Bytes, for people."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _happened(options: argparse.Namespace, event: Event) -> None:
    who = str if options.verbose or options.json else short
    match event:
        case ReservationMade(_, peer, seconds):
            _say(options, {"reserved": peer, "seconds": seconds}, f"reserved {who(peer)}")
        case ReservationLost(_, peer, error):
            _say(options, {"left": peer, "error": error}, f"left {who(peer)}")
        case ReservationRefused(_, peer, error):
            _say(options, {"refused": peer, "error": error}, f"refused {peer}: {error}")
        case CircuitOpened(source, target):
            value = {"opened": {"source": source, "target": target}}
            _say(options, value, f"circuit {who(source)} -> {who(target)}")
        case CircuitClosed(source, target, reason, sent, received, seconds):
            ends = {"source": source, "target": target}
            over: dict[str, Any] = {
                "closed": ends,
                "reason": reason,
                "sent": sent,
                "received": received,
                "seconds": round(seconds, 3),
            }
            told = f"{amount(sent)} and {amount(received)} back in {seconds:.1f} s: {reason}"
            _say(options, over, f"circuit {who(source)} -> {who(target)} over, {told}")
        case RulesLoaded(path, error):
            note(f"rules of {path}: {error or 'read again'}")
        case _:
            pass


def _say(options: argparse.Namespace, value: dict[str, Any], line: str) -> None:
    """A relay goes on when nobody reads what it says."""
    with suppress(OSError):
        if options.json:
            tell_json(value)
        else:
            tell(line)
