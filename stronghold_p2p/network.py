"""The face of the package: one ``Network``, in ``async with`` or between ``open`` and ``close``."""

import asyncio
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from types import EllipsisType
from typing import Any, Final, NoReturn, Self, TypeAlias, TypeVar, overload

from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import with_peer
from stronghold_p2p.arguments import (
    awaited,
    check_coroutine_function,
    check_function,
    check_ids,
    check_ids_once,
    no_protocol,
)
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.live import Connection, LiveConnection
from stronghold_p2p.discovery import switch_on
from stronghold_p2p.errors import ConfigError, UsageError
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.interceptors import Interceptor, Interceptors
from stronghold_p2p.keeping import Keeper, Keeping
from stronghold_p2p.loops import at_home, check_home
from stronghold_p2p.options import announcer_of, check_options
from stronghold_p2p.protocols.identify import Identify
from stronghold_p2p.protocols.identify_messages import PeerInfo
from stronghold_p2p.protocols.ping import Ping
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.relaying import use_relays
from stronghold_p2p.request_response.attempts import kept_back
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, PartsProtocol, RequestProtocol
from stronghold_p2p.request_response.parts import LiveParts, Parts, Question
from stronghold_p2p.request_response.parts_server import PartsHandler, answer_with
from stronghold_p2p.request_response.retry import insist
from stronghold_p2p.request_response.server import Handler, Server
from stronghold_p2p.resolving.dns import Dns
from stronghold_p2p.shown import Shown
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.stream import Stream, StreamOpening
from stronghold_p2p.swarm.listeners import Listener
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.targets import Address, Target, Timeout, check_peer, own, parsed_all, resolved, seconds
from stronghold_p2p.transport.certificates import WebTLS
from stronghold_p2p.version import VERSION

AGENT: Final = f"stronghold-p2p/{VERSION}"

StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")
P = TypeVar("P")
Around = TypeVar("Around", bound=Interceptor)


class Network(Shown):
    """A peer: it listens, connects, asks and answers, as one ``identity``, behind one ``firewall``.

    ``async with Network(...) as network`` opens it once, and closes it in order within ``timeouts.close`` seconds:
    handlers at work finish, new requests and streams are refused; so do ``open`` and ``close``. Handlers are best added
    before. It belongs to the event loop in which it was opened: docs/api.md has a table of what may be called from
    elsewhere. Networks share nothing but a ``firewall`` or ``book`` that is given to both.

    identity: our key pair; a fresh one by default.
    listen: the addresses to accept connections at; none by default.
    firewall: who may do what; by default nobody gets further than connecting, identify and ping.
    book: the addresses of peers; empty by default.
    timeouts: seconds until something is given up, see ``Timeouts``.
    limits: how much there may be at once, see ``Limits``.
    announce: where peers are told to reach us; by default where we listen, and where enough of them see us.
    no_announce: what they are never told: networks, or addresses or beginnings of them.
    dns: who is asked for the names in addresses, see ``Dns``; by default the system's nameservers.
    tls: the certificates of secure WebSocket, see ``WebTLS``; as a listener there are none by default.
    mdns: announce us on the LAN, and discover others there (docs/mdns.md).
    relay: be a relay for those whom the firewall lets use ``HOP``, within these limits; by default it is none.
    agent: what identify tells about the software, at most 256 bytes.
    name: what ``repr`` and the audit log call this network.

    Every ``timeout`` of a call is seconds, one absolute deadline with the dial included; None is none. Without one the
    call takes its default from ``timeouts``.
    """

    def __init__(
        self,
        *,
        identity: Identity | None = None,
        listen: Iterable[Address] = (),
        firewall: Firewall | None = None,
        book: AddressBook | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        announce: Iterable[Address] | None = None,
        no_announce: Iterable[Address] = (),
        dns: Dns | None = None,
        tls: WebTLS | None = None,
        mdns: bool = False,
        relay: RelayLimits | None = None,
        agent: str = AGENT,
        name: str = "",
    ) -> None:
        given: dict[str, Any] = {"firewall": firewall, "book": book, "timeouts": timeouts, "limits": limits, "dns": dns}
        given["tls"] = tls
        check_options(**given, identity=identity, mdns=mdns, relay=relay, agent=agent, name=name)
        self.identity, self.name = identity or Identity(), name
        self._swarm = swarm = Swarm(
            self.identity,
            announcer=announcer_of(announce, no_announce, self.peer_id),
            name=name,
            **given,
        )
        self.timeouts, self.limits = swarm.timeouts, swarm.limits
        self._identify, self._ping = Identify(swarm, agent), Ping(swarm)
        use_relays(swarm, relay)
        self._client, self._server, self._keeper = Client(swarm), Server(swarm), Keeper(swarm, self._ping.ping)
        self._mdns = switch_on(swarm) if mdns else None
        self._loop: asyncio.AbstractEventLoop | None = None  # since it was opened
        self._checked: set[tuple[str, ...]] = set()  # protocols that streams were opened for
        self._interceptors = Interceptors()
        self._listen = swarm.listeners.checked(own(one, self.peer_id) for one in parsed_all("listen", listen))

    def __repr__(self) -> str:
        return f"<Network {' '.join(filter(None, (self.name, str(self.peer_id))))}>"

    async def open(self) -> Self:
        """Listen, and be ready to connect, from now on until ``close``; returns the network. ``async with`` does both.

        ``UsageError``: it was open, or closed, before. When it fails, or is cancelled, nothing is left open.
        """
        if self._loop is not None or self._swarm.closing:
            raise UsageError("a network is opened once: make a new one")
        self._loop = asyncio.get_running_loop()
        self._swarm.start()
        try:
            for address in self._listen:
                await self.listen(address)
        except BaseException:
            await self._swarm.close()
            raise
        return self

    async def close(self) -> None:
        """Close everything in order, within ``timeouts.close`` seconds; what is left then is aborted.

        As often as you like, from a handler, too. ``UsageError``: called in another event loop than ``open``.
        """
        if self._loop is not None:
            check_home(self._loop)
        await self._swarm.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def serve_forever(self) -> NoReturn:
        """Wait until this task is cancelled; requests are answered meanwhile, as they are without it."""
        self._check_open()
        while True:
            await asyncio.Event().wait()

    @property
    def peer_id(self) -> PeerId:
        """Our peer id: the name by which others know us."""
        return self.identity.peer_id

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where others are told to reach us, each ending in ``/p2p/`` and our peer id.

        ``UsageError``: the network has yet to be opened, so that is not known.
        """
        if self._loop is None and self._swarm.announcer.announce is None:
            raise UsageError("a network has no addresses before it is open: use async with")
        return tuple(with_peer(address, self.peer_id) for address in self._swarm.addresses)

    async def listen(self, address: Address) -> Listener:
        """Accept connections on ``/ip4/<ip>/tcp/<port>`` or ``/ip6/...``, or those with ``/ws`` or ``/tls/ws``; port 0
        is a free one, ``0.0.0.0`` every address of this host. ``<relay's address>/p2p/<relay>/p2p-circuit``: through
        that relay, for as long as one listens. ``ConfigError``: no such address, or no certificate for it;
        ``ListenError``: the system, or the relay, refuses it.
        """
        self._check_open()
        return (await self._swarm.listen(own(address, self.peer_id))).face

    async def connect(self, to: Target, *, timeout: Timeout = ...) -> Connection:
        """The open connection to ``to``, or a new one; callers for one peer share the dial.

        ``DialError`` names every address that was tried and why it failed; a single address' own error comes as it
        is (``PeerIdMismatch``, ``HandshakeError``). ``timeout``: by default ``timeouts.dial``.
        """
        async with Deadline(self._timeout(timeout, self.timeouts.dial), "dial") as deadline:
            return (await self._connected(to, deadline)).face

    def keep(self, to: Target, *, longest: float = 30.0) -> Keeping:
        """Connect to ``to``, and again whenever that connection has ended, until the network closes.

        Returns at once: ``async with network.keep(...) as kept`` stops it at the end, and so does ``kept.stop()``;
        ``await kept.connected()`` waits for the connection. The first try after an end comes within a quarter of a
        second, each further one after about twice the time, ``longest`` seconds (at least a quarter) at most;
        ``Retrying`` tells of each.
        While it is connected the peer is pinged now and then, so that neither side takes the connection for idle.
        ``ConfigError``: no address, our own peer id, or no seconds. ``UsageError``: the network is not open, or belongs
        to another event loop.
        """
        self._check_open()
        return self._keeper.keep(to, longest)

    async def disconnect(self, peer: PeerId) -> int:
        """Close every connection to ``peer`` in order; how many there were."""
        self._check_open()
        check_peer(peer)
        open_ones = self._swarm.connections(peer)
        for connection in open_ones:
            connection.shut()  # before anything is waited for: cancelled, the peer is gone all the same
        await asyncio.gather(*(connection.close() for connection in open_ones))
        return len(open_ones)

    @overload
    async def request(self, to: Target, message: Any, *, timeout: Timeout = ..., retry: bool = False) -> Any: ...
    @overload
    async def request(
        self,
        to: Target,
        message: Rq,
        protocol: RequestProtocol[Rq, Rs],
        *,
        timeout: Timeout = ...,
        retry: bool = False,
    ) -> Rs: ...
    def request(
        self,
        to: Target,
        message: Any,
        protocol: RequestProtocol[Any, Any] = STRONGHOLD,
        *,
        timeout: Timeout = ...,
        retry: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Send ``message`` and return the answer.

        ``timeout`` (default ``timeouts.request``, 10 s) covers dial, negotiation and answer. Each call ends in its
        answer or one error: ``DeadlineExceeded``, ``DialError`` (or another error of the dial), ``ConnectionClosed``,
        ``UnsupportedProtocol``, ``Rejected``, ``LimitExceeded``, ``Malformed``, ``StreamReset``; ``error.sent`` tells
        whether the peer may have acted. With ``retry`` it is asked again, within ``timeout``, after an error for which
        that is not so and which may pass: nobody there, the connection ended before, a limit. A refusal stays one.

        Where ``limits.requests_per_peer`` are under way to that peer, further ones wait for their turn.
        """
        if retry or self._swarm.closing or _get_running_loop() is not self._loop:
            return self._request_later(to, message, protocol, timeout, retry=retry)
        peer, addresses = (to, ()) if isinstance(to, PeerId) else resolved(to)
        limit = self.timeouts.request if timeout is ... else seconds(timeout)
        return self._client.request(peer, addresses, message, protocol, timeout=limit)

    async def _request_later(
        self,
        to: Target,
        message: Any,
        protocol: RequestProtocol[Any, Any],
        timeout: Timeout,
        *,
        retry: bool,
    ) -> Any:
        """As ``request``; the call may have come from another thread, which runs this in our loop then."""
        self._check_open()
        peer, addresses = resolved(to)
        limit = self._timeout(timeout, self.timeouts.request)

        def ask(left: float | None) -> Coroutine[Any, Any, Any]:
            return self._client.request(peer, addresses, message, protocol, timeout=left)

        return await (insist(ask, limit) if retry else ask(limit))

    def request_parts(
        self,
        to: Target,
        message: Rq,
        protocol: PartsProtocol[Rq, P],
        *,
        timeout: float | None = None,
        part_timeout: Timeout = ...,
    ) -> Parts[P]:
        """Send ``message``, and iterate over the parts of the answer: ``async for part in network.request_parts(...)``.

        The request leaves when the first part is asked for. ``part_timeout`` (default ``timeouts.request``) is for
        each part, from the moment in which it is asked for, and for the first one with the dial; ``timeout`` is for
        all together. Errors are those of ``request``; ``StreamEnded``: the answer breaks off.
        """
        self._check_open()
        if not isinstance(protocol, PartsProtocol):
            raise ConfigError(f"{protocol!r:.100} is no PartsProtocol: call request for one answer", where="protocol")
        peer, addresses = resolved(to)
        each = self._timeout(part_timeout, self.timeouts.request)
        asked = Question(peer, addresses, message, protocol, seconds(timeout), each)
        return Parts(LiveParts(self._client, self._swarm, asked))

    @overload
    def on_request(self, handler: Handler[Any, Any], /) -> Handler[Any, Any]: ...
    @overload
    def on_request(self, protocol: RequestProtocol[Rq, Rs], /) -> Callable[[Handler[Rq, Rs]], Handler[Rq, Rs]]: ...
    @overload
    def on_request(self, protocol: PartsProtocol[Rq, P], /) -> Callable[[PartsHandler[Rq, P]], PartsHandler[Rq, P]]: ...
    def on_request(self, given: Any, /) -> Any:
        """Let a function answer requests (a decorator): ``@network.on_request`` for the protocol ``STRONGHOLD``,
        ``@network.on_request(protocol)`` for another one.

        It is called with each ``Request`` that the firewall lets through, and returns the answer or an awaitable of
        it; ``raise Rejected`` refuses, anything else that it raises resets the stream. It is cancelled after
        ``timeouts.request`` seconds and when the requester has gone. For a ``PartsProtocol`` it is an asynchronous
        generator, and each part has that time. ``ConfigError``: it is no function of a request.
        """
        if isinstance(given, (RequestProtocol, PartsProtocol)):
            return lambda handler: self._answer_with(given, handler)
        if isinstance(given, str):
            raise no_protocol(given)
        return self._answer_with(STRONGHOLD, given)

    def _answer_with(self, protocol: RequestProtocol[Any, Any] | PartsProtocol[Any, Any], handler: Any) -> Any:
        check_function("on_request", handler, "a Request")
        self._swarm.check_free(protocol.ids)
        answer_with(self._server, self._interceptors, protocol, handler)
        self._serves_more()
        return handler

    def open_stream(self, to: Target, *protocols: str, timeout: Timeout = ..., wait: bool = False) -> StreamOpening:
        """A stream for the first of ``protocols`` that the peer serves; await it, or use it in ``async with``.

        With one protocol nothing is waited for beyond the connection: a refusal comes from the first read, as
        ``UnsupportedProtocol``. With ``wait`` it comes from here, after the peer's application was asked if need be.
        ``timeout`` is until the peer has accepted the stream, wherever that is waited for; by default it may take
        ``timeouts.dial`` to connect and then ``timeouts.negotiate`` to accept.
        """
        try:
            if protocols not in self._checked:
                check_ids_once(protocols, self._checked)
        except TypeError:  # a list in the place of an id
            check_ids(protocols)
            raise
        limit = self.timeouts.dial if timeout is ... else seconds(timeout)
        patient = timeout is not ...
        return StreamOpening(lambda: self._open_stream(to, protocols, limit, patient=patient, wait=wait))

    async def _open_stream(
        self, to: Target, protocols: tuple[str, ...], timeout: float | None, *, patient: bool, wait: bool
    ) -> Stream:
        async with Deadline(timeout, "dial") as deadline:
            connection = await self._connected(to, deadline)
            deadline.phase = "firewall"
            keeper, ask = self._swarm.gatekeeper, self._swarm.approval.ask
            to_ask = [name for name in protocols if not keeper.passes(connection, name, "out")]
            no = [name for name in to_ask if not await ask(keeper.attempt(connection, name, "out", deadline.when))]
            allowed = [name for name in protocols if name not in no]
            if not allowed:
                raise kept_back(connection, "stream")
            deadline.phase = "negotiate"
            patience = deadline if patient else None
            return Stream(await connection.open_stream(*allowed, wait=wait, patience=patience))

    def on_stream(self, *protocols: str) -> Callable[[StreamHandler], StreamHandler]:
        """Let a coroutine function handle streams of your own ``protocols`` (a decorator).

        The firewall is asked before the stream is accepted. Returning closes the stream, raising resets it.
        ``ConfigError``: something else than ids, or no coroutine function of a stream.
        """
        if protocols and callable(protocols[0]):
            raise ConfigError(
                "on_stream needs the id of a protocol: @network.on_stream('/chat/1.0.0')", where="on_stream"
            )
        check_ids_once(protocols, self._checked)

        def register(handler: StreamHandler) -> StreamHandler:
            certain = check_coroutine_function("on_stream", handler, "a Stream")
            self._swarm.check_free(protocols)
            served = handler if certain else partial(awaited, handler)
            self._interceptors.keep(lambda: self._handle(protocols, served))
            self._serves_more()
            return handler

        return register

    def _handle(self, protocols: tuple[str, ...], handler: StreamHandler) -> None:
        called = self._interceptors.around(handler) if self._interceptors else handler
        for protocol in protocols:
            self._swarm.handle(protocol, lambda live: called(Stream(live)))

    def intercept(self, interceptor: Around) -> Around:
        """Put ``interceptor`` around all handlers of requests and streams, whenever they are added (a decorator).

        It is called with the ``Request`` or ``Stream`` that the firewall let through, and with what handles it:
        ``return await go_on(call)``. The first that was added is the outermost. ``ConfigError``: it is no coroutine
        function.
        """
        self._interceptors.add(interceptor)
        return interceptor

    async def ping(self, to: Target, *, timeout: Timeout = ...) -> float:
        """One round trip through the peer's ping handler, in seconds. ``timeout``: by default ``timeouts.request``."""
        async with Deadline(self._timeout(timeout, self.timeouts.request), "dial") as deadline:
            connection = await self._connected(to, deadline)
            deadline.phase = "ping"
            return await self._ping.ping(connection, timeout=None)

    async def identify(self, to: Target, *, timeout: Timeout = ...) -> PeerInfo:
        """What the peer says about itself, asked now. ``timeout``: by default ``timeouts.request``."""
        async with Deadline(self._timeout(timeout, self.timeouts.request), "dial") as deadline:
            connection = await self._connected(to, deadline)
            deadline.phase = "identify"
            return await self._identify.identify(connection)

    def stats(self) -> Mapping[str, int]:
        """Counts of what there is now: connections, sockets on their way, streams, requests, asks; and bytes: unread,
        and taken by requests. Names that end with ``_total`` count what has happened since the network was made, and
        only grow; docs/counts.md explains each.
        """
        return {
            **self._swarm.snapshot(),
            **self._server.memory.snapshot(),
            "requests_in_total": self._server.begun,
            "requests_in": self._server.places.total,
            "requests_out": self._client.places.total,
            "known_peers": len(self.book.peers()),
        }

    async def _connected(self, to: Target, deadline: Deadline) -> LiveConnection:
        self._check_open()
        peer, addresses = resolved(to)
        deadline.peer = peer
        connection = await self._swarm.dial(peer, addresses)
        deadline.peer = connection.peer
        return connection

    def _timeout(self, given: Timeout, default: float | None) -> float | None:
        return default if isinstance(given, EllipsisType) else seconds(given)

    def _check_open(self) -> None:
        if self._loop is None or self._swarm.closing:
            raise UsageError("the network is not open: use async with")
        check_home(self._loop)

    def _serves_more(self) -> None:
        """Tell the peers, from whatever thread the handler was added."""
        if self._loop is None:
            self._identify.changed()
        else:
            at_home(self._identify.changed, self._loop)()
