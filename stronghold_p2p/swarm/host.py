"""The swarm as others of this package see it: the services above it, and its own dialer and listeners."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from multiaddr import Multiaddr

from stronghold_p2p.announcing.announcer import Announcer
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.events.hub import Hub
from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.limits.gate import Gate, Token
from stronghold_p2p.firewall.rules import Direction
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.logs import Faults, Refusals
from stronghold_p2p.resolving.nameservers.resolver import Resolver
from stronghold_p2p.seams import Transport, Upgraded
from stronghold_p2p.streams.aside import Aside
from stronghold_p2p.swarm.gatekeeper import Gatekeeper
from stronghold_p2p.transport.upgrading import Upgrader


class Service:
    """The base of what works above the swarm: its constructor takes the ``Host``, serves protocols there, and adds it.

    It is told of connections as they come and go, before and apart from the events that users see.
    """

    def start(self) -> None:
        """The network is open, and its loop runs."""

    def connected(self, connection: LiveConnection) -> None:
        """A connection is up."""

    def disconnected(self, connection: LiveConnection) -> None:
        """It is over."""

    async def close(self) -> None:
        """The network closes: end every task. The connections are still there."""


class Host(Protocol):
    """One swarm, for identify, ping, requests, and every other service."""

    identity: Identity
    peer_id: PeerId
    loop: asyncio.AbstractEventLoop
    timeouts: Timeouts
    limits: Limits
    book: AddressBook
    firewall: Firewall
    gatekeeper: Gatekeeper
    approval: Approval
    hub: Hub
    refusals: Refusals
    """Tells the log who was refused by a limit."""
    strangers: Faults
    """Tells the log of those who came and are no peers."""
    gate: Gate
    aside: Aside
    """Where long messages are read."""
    upgrader: Upgrader
    transports: list[Transport]
    """A service appends its own."""
    resolver: Resolver
    """Looks names up."""
    protected: set[PeerId]
    """Peers that the application wants to keep."""
    peer_protocols: dict[PeerId, frozenset[str]]
    """What connected peers have said to serve; identify fills it."""

    announcer: Announcer
    """Where peers see us, and what we tell of where we are."""

    @property
    def bound(self) -> tuple[Multiaddr, ...]:
        """Where we listen."""

    @property
    def own(self) -> tuple[Multiaddr, ...]:
        """Wherever a dial would find ourselves, without ``/p2p/``."""

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where others are told to reach us, without ``/p2p/``."""

    def transport_for(self, address: Multiaddr) -> Transport | None:
        """The first that handles ``address``; None: nobody here."""

    def can_dial(self, address: Multiaddr) -> bool:
        """Whether its form is one that can be dialed, or that of a name which may lead to such ones."""

    def handle(self, protocol: str, handler: Handler, *, judges: bool = False, rule_name: str = "") -> None:
        """Serve ``protocol``: ``handler(stream)`` runs as a task; returning closes the stream, raising resets it.

        ``rule_name``: the id that rules name where a protocol has several; by default the protocol itself.
        """

    def add(self, service: Service) -> None:
        """Start ``service`` with the network, tell it of connections, and close it."""

    def connections(self, peer: PeerId | None = None) -> tuple[LiveConnection, ...]:
        """Open connections, of one peer or of all."""

    def connected(self, peer: PeerId) -> LiveConnection | None:
        """An open connection to ``peer``, if there is one."""

    def dialed_at(self, addresses: Sequence[Multiaddr], peer: PeerId | None = None) -> LiveConnection | None:
        """The newest open connection that we have dialed at one of ``addresses``, to ``peer`` if one is named."""

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr] = ()) -> LiveConnection:
        """The open connection to ``peer``, or a new one; ``addresses`` are tried before the known ones.

        ``DialError`` names each address and its cause; a single address' own error is raised as it is.
        """

    def establish(self, upgraded: Upgraded, token: Token, direction: Direction) -> LiveConnection:
        """Make a connection of what was upgraded. ``LimitExceeded`` or ``ConnectionClosed`` if it is not wanted: it has
        been refused then.
        """
