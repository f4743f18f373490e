"""The program under test for hostile row 76: sets each option alone to a sentinel, and tells what has changed by that.

    python -m tests.hostile.options [settings]

One JSON line: for each kind of options its names as introspection finds them, and for each name what has become another
value (of the limits and the rest: where the value is used, in a network that is open and has a connection; of the
timeouts: how long it takes, in virtual time). Then it waits for SIGTERM.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import signal
from collections.abc import Callable, Coroutine
from dataclasses import fields
from functools import partial
from typing import Any

from stronghold_p2p import (
    BYTES,
    JSON,
    AddressBook,
    Connection,
    Dns,
    Events,
    Firewall,
    Identity,
    Limits,
    Network,
    RelayLimits,
    RequestProtocol,
    Timeouts,
    WebTLS,
)
from stronghold_p2p.addressing.parse import parse
from tests import inside
from tests.hostile import settings, waits

Snapshot = dict[str, Any]
Look = Callable[[dict[str, Any]], Coroutine[Any, Any, Snapshot]]
Sentinels = dict[str, Callable[[], Any]]
MINE, OTHER = Identity.from_seed(b"m" * 32), Identity.from_seed(b"o" * 32)
HOME = "/ip4/127.0.0.1/tcp/0"


# ---------------------------------------------------------------------- limits


OF_THE_GATE = ("connections", "inbound", "outbound", "per_peer", "per_subnet", "pending_in", "pending_out")


def limits_of(network: Network, connection: Connection) -> Snapshot:
    """Each limit where it is looked at."""
    swarm, session = network._swarm, inside.session(connection)
    gate, of_session, hooks = swarm.gate, session.limits, swarm.approval._hooks
    gate._check_rate("a source", 0.0)
    (arrivals,) = gate._arrivals.values()
    requests = {network._client.places.maximum, network._server.places.maximum}
    return {
        **{name: getattr(gate._limits, name) for name in OF_THE_GATE},
        "accept_rate": arrivals.rate,
        "receive_memory_total": swarm.pool._maximum,
        "streams_in": session.places._limit,
        "streams_in_total": session.places._pool._maximum,
        "max_window": of_session.max_window,
        "receive_memory": session._dropped.maximum,
        "requests_per_peer": sorted(requests),
        "requests_waiting": network._client._may_wait,
        "request_memory": network._server.memory.maximum,
        "request_memory_per_peer": network._server.memory.share,
        "asks": hooks.asks,
        "asks_per_peer": hooks.maximum,
        "mdns_peers": network._mdns._mdns._table._maximum,  # type: ignore[union-attr]
        "mdns_rate": network._mdns._mdns._rate,  # type: ignore[union-attr]
    }


async def with_limits(options: dict[str, Any]) -> Snapshot:
    made = Network(listen=[HOME], mdns=True, limits=Limits(**options))
    async with made as network, Network() as other:
        connection = await network.connect((await other.listen(HOME)).addresses[0])
        return limits_of(network, connection)


def other_limit(name: str) -> int | float:
    before: int | float | None = getattr(Limits(), name)
    return 97 if before is None else before + 1


# ---------------------------------------------------------------------- the rest


def with_one(made: Any, add: str, *what: Any) -> Any:
    """What is made, with one thing added."""
    getattr(made, add)(*what)
    return made


NETWORK: Sentinels = {
    "identity": lambda: OTHER,
    "listen": lambda: [HOME, "/ip4/127.0.0.9/tcp/0"],
    "firewall": lambda: with_one(Firewall(), "ban", "203.0.113.0/24"),
    "book": lambda: with_one(AddressBook(), "add", OTHER.peer_id, "/ip4/192.0.2.1/tcp/1"),
    "timeouts": lambda: Timeouts(ask=7.5),
    "limits": lambda: Limits(connections=299),
    "announce": lambda: ["/ip4/192.0.2.9/tcp/9"],
    "no_announce": lambda: ["127.0.0.0/8"],
    "dns": lambda: Dns(nameservers=["192.0.2.53"]),
    "tls": lambda: WebTLS(certificate="none.pem"),
    "mdns": lambda: True,
    "agent": lambda: "another/1",
    "relay": RelayLimits,
    "name": lambda: "bob",
}
PROTOCOL: Sentinels = {
    "ids": lambda: ("/b/1",),
    "request": lambda: JSON,
    "response": lambda: JSON,
    "max_request": lambda: 97,
    "max_response": lambda: 97,
    "view": lambda: len,
    "reasons": lambda: True,
}
EVENTS: Sentinels = {"buffer": lambda: 97, "overflow": lambda: "drop_newest"}


async def with_options(options: dict[str, Any]) -> Snapshot:
    """What others and we see of a network."""
    async with Network(**{"identity": MINE, "listen": [HOME], **options}) as network, Network() as other:
        told = await other.identify(network.listeners[0].addresses[0])
        swarm = network._swarm
        return {
            "identity": str(told.peer),
            "listen": [str(one).split("/")[2] for one in swarm.bound],
            "firewall": sorted(map(str, network.firewall.banned)),
            "book": len(network.book.addresses(OTHER.peer_id)),
            "timeouts": str(swarm.timeouts),
            "limits": str(swarm.limits),
            "announce": [str(one) for one in told.addresses if "192.0.2.9" in str(one)],
            "no_announce": bool(network.addresses),
            "dns": str(swarm.resolver._dns),
            "tls": str(swarm.transport_for(parse(f"{HOME}/tls/ws"))._tls),  # type: ignore[union-attr]
            "mdns": network._mdns is not None,
            "agent": told.agent,
            "relay": "reservations" in network.stats(),
            "name": repr(network).split()[1:-1],
        }


async def with_protocol(options: dict[str, Any]) -> Snapshot:
    given = {"ids": ("/a/1",), "request": BYTES, "response": BYTES, **options}
    protocol: RequestProtocol[Any, Any] = RequestProtocol(*given.pop("ids"), **given)
    return {name: str(getattr(protocol, name)).removesuffix(" in records") for name in PROTOCOL}


async def with_events(options: dict[str, Any]) -> Snapshot:
    events = Network().events(**options)
    return {"buffer": events._buffer, "overflow": (events._oldest, events._crowd is None)}


# ---------------------------------------------------------------------- what changes


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in {"self", "hub"}]


async def changed(snapshot: Look, table: Sentinels) -> dict[str, list[str]]:
    base = await snapshot({})
    assert base.keys() == table.keys()
    found = {}
    for name, sentinel in table.items():
        now = await snapshot({name: sentinel()})
        found[name] = [one for one in base if now[one] != base[one]]
    return found


def waits_changed(*, full: bool) -> dict[str, list[str]]:
    """One longer than the others, and all longer but one; in full each with each."""
    found = {}
    for name in waits.SCENES:
        measured = {one: waits.measured(one, waits.longer(name)) for one in (waits.SCENES if full else [name])}
        changed = [one if word == "longer" else f"{one}: {word}" for one, word in measured.items() if word != "base"]
        beside = "base" if full else waits.measured(name, waits.longer(*(waits.SCENES.keys() - {name})))
        found[name] = changed if beside == "base" else [*changed, f"beside longer ones {beside}"]
    return found


def report(*, full: bool) -> dict[str, Any]:
    names = {
        "Network": parameters(Network.__init__),
        "Timeouts": [one.name for one in fields(Timeouts)],
        "Limits": [one.name for one in fields(Limits)],
        "RequestProtocol": parameters(RequestProtocol.__init__),
        "Events": parameters(Events.__init__),
    }
    each_limit: Sentinels = {name: partial(other_limit, name) for name in names["Limits"]}
    changes = {
        "Network": asyncio.run(changed(with_options, NETWORK)),
        "Timeouts": waits_changed(full=full),
        "Limits": asyncio.run(changed(with_limits, each_limit)),
        "RequestProtocol": asyncio.run(changed(with_protocol, PROTOCOL)),
        "Events": asyncio.run(changed(with_events, EVENTS)),
    }
    return {"names": names, "changes": changes}


def main() -> None:
    options = settings.parsed("options", add=lambda parser: parser.add_argument("--full", action="store_true"))
    settings.weaken(options)
    logging.disable(logging.CRITICAL)  # of the scenes
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print(json.dumps(report(full=options.full)), flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
