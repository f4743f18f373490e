"""The limits and timeouts that a user can set. What nobody tunes is a constant where it is used.

Each class lists its fields in its docstring, which ``help`` shows: default, meaning, where the figure comes from, and
what happens when it is reached. The stacks that agree on a figure are named: go-libp2p, rust-libp2p, js-libp2p.
"""

from dataclasses import dataclass, fields
from typing import Any

from stronghold_p2p.errors import ConfigError


class _Options:
    def __post_init__(self: Any) -> None:
        """``ConfigError`` for what is no number from 0 on, and for None where there has to be a number."""
        for option in fields(self):
            value, may_be_none = getattr(self, option.name), "None" in str(option.type)
            if value is None and may_be_none:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                where = f"{type(self).__name__}.{option.name}"
                advice = "take a number from 0 on" + (", or None for none" if may_be_none else "")
                raise ConfigError(f"{where} is {value!r}: {advice}", where=where)


@dataclass(frozen=True, kw_only=True)
class Timeouts(_Options):
    """Seconds. Each is one absolute deadline for its whole phase, never one for each read; None: no deadline.

    Where nothing else is said, the call that waits ends in ``DeadlineExceeded``.

    request = 10.0: one request as a whole (rust): dial, negotiation, body and answer; also one ping or identify
        that the application asks for. For who answers it runs from the request's arrival; then the handler is
        cancelled.
    ask = 8.0: the firewall's hooks, for their answer. Then the request is refused. Keep it below ``request`` of who
        asks, so that the refusal still arrives.
    dial = 30.0: one dial, over all addresses of the peer.
    resolve = 10.0: one address with a name, from its first question to the DNS to the last answer. Then what was found
        by then is dialed.
    connect = 5.0: one TCP connect (go). Then that address has failed, and the dial goes on with the others.
    upgrade = 10.0: security and muxer of one connection, from the socket until the connection is usable (rust, js).
        Then the socket is closed; a listener tells ``AcceptFailed``.
    negotiate = 10.0: multistream-select on one stream (go, rust, js). Then the stream is reset.
    identify = 5.0: one identify, or one push of it, after a connection was made (go, js). Then nothing is learned.
    idle = 120.0: how long a connection may have no stream of the application. Then it is closed in order; peers in
        ``Network.protected`` keep theirs.
    keepalive = 30.0: how long a peer may be silent before it is pinged (go); this keeps the socket of a js peer
        alive.
    keepalive_answer = 10.0: how long the answer to that ping may take (go), once it and what was written before it have
        reached the peer. Then the connection ends.
    write_stall = 10.0: how long a socket may take no byte while bytes wait (go). Then the connection ends.
    close = 3.0: an orderly shutdown of the whole network, in which handlers finish and what was written leaves. Then
        handlers are cancelled, and what is left is aborted.
    busy_poll = None: how long a connection that has answered a short message with a short one polls its socket for
        the next one, before it goes back to the event loop. None: it never polls. With 100e-6, two programs on one
        machine answer each other faster, for processor time that is spent on waiting.
    """

    request: float | None = 10.0
    """One request as a whole (rust): dial, negotiation, body and answer; also one ping or identify that the application
    asks for. For who answers it runs from the request's arrival; then the handler is cancelled.
    """
    ask: float | None = 8.0
    """The firewall's hooks, for their answer. Then the request is refused. Keep it below ``request`` of who asks, so
    that the refusal still arrives.
    """
    dial: float | None = 30.0
    """One dial, over all addresses of the peer."""
    resolve: float | None = 10.0
    """One address with a name, from its first question to the DNS to the last answer. Then what was found by then is
    dialed.
    """
    connect: float | None = 5.0
    """One TCP connect (go). Then that address has failed, and the dial goes on with the others."""
    upgrade: float | None = 10.0
    """Security and muxer of one connection, from the socket until the connection is usable (rust, js). Then the socket
    is closed; a listener tells ``AcceptFailed``.
    """
    negotiate: float | None = 10.0
    """Multistream-select on one stream (go, rust, js). Then the stream is reset."""
    identify: float | None = 5.0
    """One identify, or one push of it, after a connection was made (go, js). Then nothing is learned."""
    idle: float | None = 120.0
    """How long a connection may have no stream of the application. Then it is closed in order; peers in
    ``Network.protected`` keep theirs.
    """
    keepalive: float | None = 30.0
    """How long a peer may be silent before it is pinged (go); this keeps the socket of a js peer alive."""
    keepalive_answer: float | None = 10.0
    """How long the answer to that ping may take (go), once it and what was written before it have reached the peer.
    Then the connection ends.
    """
    write_stall: float | None = 10.0
    """How long a socket may take no byte while bytes wait (go). Then the connection ends."""
    close: float | None = 3.0
    """An orderly shutdown of the whole network, in which handlers finish and what was written leaves. Then handlers are
    cancelled, and what is left is aborted.
    """
    busy_poll: float | None = None
    """How long a connection that has answered a short message with a short one polls its socket for the next one,
    before it goes back to the event loop. None: it never polls. With 100e-6, two programs on one machine answer each
    other faster, for processor time that is spent on waiting.
    """


@dataclass(frozen=True, kw_only=True)
class Limits(_Options):
    """Counts and bytes; None: no limit.

    A call of ours that meets a full limit ends in ``LimitExceeded``, at once. A socket that a peer opens beyond one is
    closed, and ``AcceptFailed`` tells it; a stream that a peer opens beyond one is reset with the code for that.

    connections = 300: connections of the network, both ways together (js). Peers that have connected to us and are
        not in ``Network.protected`` have three quarters of them. Where a place is missing, the connection of such
        a peer that has had no stream for longest gives way, if that is ten seconds; it is told that with 0x1005.
    inbound = None: of these, those that peers have opened.
    outbound = None: of these, those that we have opened.
    per_peer = 8: connections with one peer (go).
    per_subnet = 8: inbound connections from one IPv4 address or one IPv6 /56; eight times as many from a /48.
        Addresses of this machine are exempt.
    pending_in = 128: accepted sockets that are no connections yet. Then the oldest of the address that has most of
        them gives way. One address may have 16, or an eighth if that is more; addresses of this machine are exempt.
    pending_out = 128: sockets of dials that are no connections yet.
    accept_rate = 5.0: sockets per second from one address, after 16 at once (js, go). Addresses of this machine are
        exempt.
    receive_memory_total = 268435456 (256 MiB): unread bytes of all connections together, beyond 256 KiB on each.
        Then the stream that brings more is reset. Peers in ``Network.protected`` keep a quarter of it. Eight
        connections may fill their ``receive_memory``; with 300 connections at work this leaves two thirds of 1 GiB
        to everything else.
    streams_in = 512: streams that the peer has open on one connection.
    streams_in_total = 32768: streams that peers have open on all connections together, beyond 32 on each. Then the
        next one is reset. Peers in ``Network.protected`` keep a quarter of it.
    max_window = 16777216 (16 MiB): what the receive window of a stream may grow to (go, js); it starts at 256 KiB.
        Then it stays there.
    receive_memory = 33554432 (32 MiB): unread bytes of one connection, and as much again of windows that have
        grown. Then the stream that brings more is reset, and windows grow no more.
    requests_per_peer = 100: requests at once with one peer (rust), those to it and those from it each for
        themselves. Further ones to it wait.
    requests_waiting = 1000: requests of ours to one peer that wait, each for its own ``timeout``, as
        ``requests_per_peer`` are under way. With 0 none waits: ``LimitExceeded`` tells of ``requests_per_peer``.
    request_memory = 268435456 (256 MiB): what all requests of peers take from their first byte to their answer: what
        has come of one, what that is reckoned to become when it is read, and this as long as an event that shows it
        waits for its reader. Then the request that needs more is reset, unless readers lose events in time, which
        those do who do not take ``"wait"``. Peers in ``Network.protected`` keep a quarter of it.
    request_memory_per_peer = 67108864 (64 MiB): of this, for the requests of one peer.
    asks = 256: questions to the firewall's hooks at once. Then what would be asked about is refused. Peers that a rule
        names keep a quarter of them.
    asks_per_peer = 16: of these, about one peer.
    mdns_peers = 256: peers that mDNS has discovered and not lost. Then the source that has most of them gives way to
        one that has less.
    mdns_rate = 20.0: mDNS packets of one source that are read in a second, after three times as many at once; of all
        sources together twenty times as many. Further ones are dropped.
    """

    connections: int | None = 300
    """Connections of the network, both ways together (js). Peers that have connected to us and are not in
    ``Network.protected`` have three quarters of them. Where a place is missing, the connection of such a peer that has
    had no stream for longest gives way, if that is ten seconds; it is told that with 0x1005.
    """
    inbound: int | None = None
    """Of these, those that peers have opened."""
    outbound: int | None = None
    """Of these, those that we have opened."""
    per_peer: int | None = 8
    """Connections with one peer (go)."""
    per_subnet: int | None = 8
    """Inbound connections from one IPv4 address or one IPv6 /56; eight times as many from a /48. Addresses of this
    machine are exempt.
    """
    pending_in: int | None = 128
    """Accepted sockets that are no connections yet. Then the oldest of the address that has most of them gives way. One
    address may have 16, or an eighth if that is more; addresses of this machine are exempt.
    """
    pending_out: int | None = 128
    """Sockets of dials that are no connections yet."""
    accept_rate: float | None = 5.0
    """Sockets per second from one address, after 16 at once (js, go). Addresses of this machine are exempt."""
    receive_memory_total: int | None = 256 << 20
    """Unread bytes of all connections together, beyond 256 KiB on each. Then the stream that brings more is reset.
    Peers in ``Network.protected`` keep a quarter of it. Eight connections may fill their ``receive_memory``; with 300
    connections at work this leaves two thirds of 1 GiB to everything else.
    """
    streams_in: int | None = 512
    """Streams that the peer has open on one connection."""
    streams_in_total: int | None = 32_768
    """Streams that peers have open on all connections together, beyond 32 on each. Then the next one is reset. Peers in
    ``Network.protected`` keep a quarter of it.
    """
    max_window: int = 16 << 20
    """What the receive window of a stream may grow to (go, js); it starts at 256 KiB. Then it stays there."""
    receive_memory: int = 32 << 20
    """Unread bytes of one connection, and as much again of windows that have grown. Then the stream that brings more is
    reset, and windows grow no more.
    """
    requests_per_peer: int | None = 100
    """Requests at once with one peer (rust), those to it and those from it each for themselves. Further ones to it
    wait.
    """
    requests_waiting: int | None = 1_000
    """Requests of ours to one peer that wait, each for its own ``timeout``, as ``requests_per_peer`` are under way.
    With 0 none waits: ``LimitExceeded`` tells of ``requests_per_peer``.
    """
    request_memory: int | None = 256 << 20
    """What all requests of peers take from their first byte to their answer: what has come of one, what that is
    reckoned to become when it is read, and this as long as an event that shows it waits for its reader. Then the
    request that needs more is reset, unless readers lose events in time, which those do who do not take ``"wait"``.
    Peers in ``Network.protected`` keep a quarter of it.
    """
    request_memory_per_peer: int | None = 64 << 20
    """Of this, for the requests of one peer."""
    asks: int | None = 256
    """Questions to the firewall's hooks at once. Then what would be asked about is refused. Peers that a rule names
    keep a quarter of them.
    """
    asks_per_peer: int | None = 16
    """Of these, about one peer."""
    mdns_peers: int | None = 256
    """Peers that mDNS has discovered and not lost. Then the source that has most of them gives way to one that has
    less.
    """
    mdns_rate: float | None = 20.0
    """MDNS packets of one source that are read in a second, after three times as many at once; of all sources together
    twenty times as many. Further ones are dropped.
    """
