"""Every limit and timeout that a user can set, each default explained once.

``None`` switches a limit or a timeout off. Where go, rust or js have the same value, they are named beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from stronghold_p2p.errors import ConfigError


def check(options: Any) -> None:
    """``ConfigError`` for what is no number from 0 on, and for None where there has to be one."""
    for option in fields(options):
        value, optional = getattr(options, option.name), "None" in str(option.type)
        if value is None and optional:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            where = f"{type(options).__name__}.{option.name}"
            told = "take a number from 0 on" + (", or None for none" if optional else "")
            raise ConfigError(f"{where} is {value!r}: {told}", where=where)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds; each is one absolute deadline for the whole phase, never per read."""

    request: float | None = 10.0  # dial, negotiation, body and answer together (rust request-response)
    ask: float | None = 8.0  # below ``request``, so that the refusal still reaches the requester
    dial: float | None = 30.0  # over all addresses of a peer
    connect: float | None = 5.0  # one TCP connect (go)
    upgrade: float | None = 10.0  # socket accepted (or connected) until the connection is registered
    negotiate: float | None = 10.0  # multistream-select on one stream (go, rust, js)
    identify: float | None = 5.0  # go and js
    idle: float | None = 120.0  # without streams or pings of the application
    keepalive: float | None = 30.0  # yamux ping interval (go); keeps a js peer's socket alive too
    keepalive_answer: float | None = 10.0  # an unanswered ping ends the connection (go)
    write_stall: float | None = 10.0  # a socket that takes nothing (go ConnectionWriteTimeout)
    close: float | None = 3.0  # orderly shutdown of a whole network
    # How long a connection that has sent a short answer looks for the next message before it goes back to the event
    # loop. Only while nothing else talks and the peer is that quick, as programs on the same machine are.
    busy_poll: float | None = 100e-6

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Counts and bytes. ``streams_in`` and below are per connection."""

    connections: int | None = 300  # js and py
    inbound: int | None = None
    outbound: int | None = None
    per_peer: int | None = 8  # go
    per_subnet: int | None = 8  # per IPv4 address and per IPv6 /56; loopback exempt
    pending_in: int | None = 128  # accepted sockets that are not yet connections
    pending_per_ip: int | None = 16  # of those, from one address; loopback exempt
    pending_out: int | None = 128
    accept_rate: float | None = 5.0  # per second and address, burst 16 (js 5/s, go burst 16); loopback exempt
    accept_burst: int = 16
    dial_addresses: int = 16  # addresses of one peer that a dial tries
    # Unread bytes of all connections together, beyond 256 KiB on each: eight may fill their ``receive_memory``. With
    # all 300 at work that is 331 MiB, which leaves the rest of 1 GiB to connections and streams. go begins at
    # 128 MiB and adds as the machine has. The last quarter is kept for the peers in ``Network.protected``.
    receive_memory_total: int | None = 256 << 20
    streams_in: int | None = 512
    negotiating: int | None = 128  # inbound streams still in multistream-select (rust)
    ack_backlog: int = 256  # streams that we opened and the peer has not acknowledged (yamux spec)
    max_window: int = 16 << 20  # what auto-tuning of a stream's receive window may reach (go, js); it starts at 256 KiB
    receive_memory: int = 32 << 20  # bytes buffered and unread on one connection, and windows grown beyond the initial
    control_queue: int = 1_024  # control frames (acks, pongs, resets, updates) waiting to be written
    pongs: int = 32  # ping answers waiting to be written (go)
    reset_rate: float = 200.0  # stream resets per second, both sides' together, with ``reset_burst``
    reset_burst: int = 1_024
    empty_frames: int = 1_000  # frames in a row that carry nothing
    requests_per_peer: int | None = 100  # each way
    asks: int | None = 256
    asks_per_peer: int | None = 16
    ask_memory: int | None = 32 << 20  # bytes that requests take which wait to be let in (hostile row 79)

    def __post_init__(self) -> None:
        check(self)
