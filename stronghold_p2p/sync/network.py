"""``Network`` for programs without an event loop: each has a thread, in which the loop of the real one runs."""

import atexit
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import wraps
from typing import Any, Self, TypeVar, overload

from multiaddr import Multiaddr

from stronghold_p2p import network
from stronghold_p2p.announcing.announcer import ObservedAddress
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import UsageError
from stronghold_p2p.events.events import Event
from stronghold_p2p.events.hub import Overflow
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.interceptors import Interceptor
from stronghold_p2p.loops import SyncOnly
from stronghold_p2p.network import AGENT
from stronghold_p2p.protocols.identify_messages import PeerInfo
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, PartsProtocol, RequestProtocol
from stronghold_p2p.request_response.server import Handler, Request
from stronghold_p2p.resolving.dns import Dns
from stronghold_p2p.streams import stream
from stronghold_p2p.sync.loop_thread import LoopThread
from stronghold_p2p.sync.parts import Connection, Events, Keeping, Listener, Parts, Stream, opening
from stronghold_p2p.targets import Address, Target, Timeout
from stronghold_p2p.transport.certificates import WebTLS

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")
P = TypeVar("P")
T = TypeVar("T")
Around = TypeVar("Around", bound=Interceptor)

StreamHandler = Callable[[Stream], object]
PartsHandler = Callable[[Request[Rq]], Iterator[P] | AsyncIterator[P]]
_END = object()

_open: "set[Network]" = set()


class Network(SyncOnly):
    """A peer, as ``stronghold_p2p.Network`` is one, for programs without an event loop.

    ``with Network(...) as network`` opens and closes it; so do ``open`` and ``close``, and what is still open when the
    interpreter ends is closed then. Any thread may call it, several at once; each call blocks until it is done, and
    raises the errors of ``stronghold_p2p``. Ctrl-C cancels what the main thread waits for.

    Handlers that are plain functions run in threads, ``threads`` of them at most, and may block. Coroutine functions,
    the hooks of ``firewall`` and ``on_event`` run in the network's own thread: they must not block, and a call of this
    network is a ``UsageError`` there. The options are those of ``stronghold_p2p.Network``.
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
        threads: int = 32,
    ) -> None:
        self._of = of = network.Network(
            identity=identity,
            listen=listen,
            firewall=firewall,
            book=book,
            timeouts=timeouts,
            limits=limits,
            announce=announce,
            no_announce=no_announce,
            dns=dns,
            tls=tls,
            mdns=mdns,
            relay=relay,
            agent=agent,
            name=name,
        )
        self.identity, self.name = of.identity, of.name
        self.timeouts, self.limits = of.timeouts, of.limits
        self._thread: LoopThread | None = None
        self._handlers = ThreadPoolExecutor(threads, thread_name_prefix=f"{name or 'network'} handler")
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return repr(self._of)

    def open(self) -> Self:
        """Listen, and be ready to connect, from now on until ``close``; returns the network. ``with`` does both."""
        if self._thread is not None:
            raise UsageError("a network is opened once: make a new one")
        self._thread = LoopThread(self.name or "network")
        try:
            self._call(self._of.open())
        except BaseException:
            self._thread.stop()
            raise
        _open.add(self)
        return self

    def close(self) -> None:
        """Close everything in order, within ``timeouts.close`` seconds; as often as you like."""
        if self._thread is not None and not self._closed.is_set():
            self._thread.check()
            try:
                self._thread.call(self._of.close())
            finally:
                self._thread.stop()
        _open.discard(self)
        self._closed.set()
        self._handlers.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def serve_forever(self) -> None:
        """Wait until another thread calls ``close``, or for Ctrl-C; requests are answered with and without it."""
        self._running()
        while not self._closed.wait(1.0):  # not for ever: some systems would not let Ctrl-C through
            pass

    @property
    def peer_id(self) -> PeerId:
        """Our peer id: the name by which others know us."""
        return self._of.peer_id

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where others reach us, each ending in ``/p2p/`` and our peer id."""
        return self._of.addresses

    @property
    def observed(self) -> tuple[ObservedAddress, ...]:
        """Where connected peers see us, what most of their networks say first."""
        return self._of.observed

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The listeners that accept connections now."""
        return tuple(Listener(self._running(), one) for one in self._of.listeners)

    @property
    def firewall(self) -> Firewall:
        """Who may do what: rules, bans, and the hooks that are asked."""
        return self._of.firewall

    @property
    def book(self) -> AddressBook:
        """Where peers can be reached."""
        return self._of.book

    @property
    def protected(self) -> set[PeerId]:
        """Peers whose connections are kept although nothing happens on them; change the set as you like."""
        return self._of.protected

    def listen(self, address: Address) -> Listener:
        """Accept connections on one more address."""
        return Listener(self._running(), self._call(self._of.listen(address)))

    def connect(self, to: Target, *, timeout: Timeout = ...) -> Connection:
        """The open connection to ``to``, or a new one."""
        return Connection(self._running(), self._call(self._of.connect(to, timeout=timeout)))

    def keep(self, to: Target, *, longest: float = 30.0) -> Keeping:
        """Connect to ``to``, and again whenever that connection has ended, until it is stopped."""

        async def keep() -> Any:
            return self._of.keep(to, longest=longest)

        return Keeping(self._running(), self._call(keep()))

    def disconnect(self, peer: PeerId) -> int:
        """Close every connection to ``peer`` in order; how many there were."""
        return self._call(self._of.disconnect(peer))

    def is_connected(self, peer: PeerId) -> bool:
        """Whether there is an open connection to ``peer``, opened by either side."""
        return self._of.is_connected(peer)

    def connections(self, peer: PeerId | None = None) -> tuple[Connection, ...]:
        """The open connections, to ``peer`` or to everybody."""
        return tuple(Connection(self._running(), one) for one in self._of.connections(peer))

    @overload
    def request(self, to: Target, message: Any, *, timeout: Timeout = ..., retry: bool = False) -> Any: ...
    @overload
    def request(
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
    ) -> Any:
        """Send ``message`` and return the answer."""
        return self._call(self._of.request(to, message, protocol, timeout=timeout, retry=retry))

    def request_parts(
        self,
        to: Target,
        message: Rq,
        protocol: PartsProtocol[Rq, P],
        *,
        timeout: float | None = None,
        part_timeout: Timeout = ...,
    ) -> Parts[P]:
        """Send ``message``, and iterate over the parts of the answer: ``for part in network.request_parts(...)``."""

        async def ask() -> Any:
            return self._of.request_parts(to, message, protocol, timeout=timeout, part_timeout=part_timeout)

        return Parts(self._running(), self._call(ask()))

    @overload
    def on_request(self, handler: Handler[Any, Any], /) -> Handler[Any, Any]: ...
    @overload
    def on_request(self, protocol: RequestProtocol[Rq, Rs], /) -> Callable[[Handler[Rq, Rs]], Handler[Rq, Rs]]: ...
    @overload
    def on_request(self, protocol: PartsProtocol[Rq, P], /) -> Callable[[PartsHandler[Rq, P]], PartsHandler[Rq, P]]: ...
    def on_request(self, given: Any, /) -> Any:
        """Let a function answer requests (a decorator): ``@network.on_request`` for the protocol ``STRONGHOLD``,
        ``@network.on_request(protocol)`` for another one. It runs in a thread, unless it is a coroutine function.
        For a ``PartsProtocol`` it is a generator.
        """
        if isinstance(given, (RequestProtocol, PartsProtocol)):
            in_a_thread: Callable[[Any], Any] = (
                self._in_a_thread if isinstance(given, RequestProtocol) else self._parts_in_a_thread
            )
            take: Callable[[Any], object] = self._of.on_request(given)

            def register(handler: Any) -> Any:
                take(in_a_thread(handler))
                return handler

            return register
        self._of.on_request(self._in_a_thread(given))
        return given

    def intercept(self, interceptor: Around) -> Around:
        """Put ``interceptor``, a coroutine function, around all handlers (a decorator). It runs in the network's
        thread, and is called as that of ``stronghold_p2p.Network`` is.
        """
        return self._of.intercept(interceptor)

    def open_stream(self, to: Target, *protocols: str, timeout: Timeout = ..., wait: bool = False) -> Stream:
        """A stream for the first of ``protocols`` that the peer serves; use it in ``with``, or close it yourself."""
        made = self._of.open_stream(to, *protocols, timeout=timeout, wait=wait)
        return Stream(self._running(), self._call(opening(made)))

    def on_stream(self, *protocols: str) -> Callable[[StreamHandler], StreamHandler]:
        """Let a function handle streams of your own ``protocols`` (a decorator). It runs in a thread.

        Returning closes the stream, raising resets it.
        """
        given: Callable[[Any], object] = self._of.on_stream(*protocols)

        def register(handler: Any) -> Any:
            run = self._in_a_thread(handler)

            @wraps(handler)
            async def handle(live: stream.Stream) -> None:
                await run(Stream(self._running(), live))

            given(handle if callable(handler) else handler)
            return handler

        return register

    def ping(self, to: Target, *, timeout: Timeout = ...) -> float:
        """One round trip through the peer's ping handler, in seconds."""
        return self._call(self._of.ping(to, timeout=timeout))

    def identify(self, to: Target, *, timeout: Timeout = ...) -> PeerInfo:
        """What the peer says about itself, asked now."""
        return self._call(self._of.identify(to, timeout=timeout))

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[Event], None]:
        """Call ``callback`` with every event at once (a decorator), in the network's thread. It must not block."""
        return self._of.on_event(callback)

    def events(self, *, buffer: int = 256, overflow: Overflow = "drop_oldest") -> Events:
        """What happens from now on, for ``for``, until the network closes."""
        return Events(self._running(), self._of.events(buffer=buffer, overflow=overflow))

    def stats(self) -> Mapping[str, int]:
        """Counts of what there is now."""
        return self._of.stats()

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise UsageError("the network is not open: use with")
        return self._thread

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._thread is None:
            coroutine.close()
        return self._running().call(coroutine)

    def _in_a_thread(self, handler: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
        """``handler`` as a coroutine function; whoever waits for it may leave, and it runs to its end."""
        if inspect.iscoroutinefunction(handler) or not callable(handler):  # which is told where it is registered
            return handler

        @wraps(handler)
        async def run(given: Any) -> Any:
            return await self._running().loop.run_in_executor(self._handlers, handler, given)

        return run

    def _parts_in_a_thread(self, handler: Any) -> Any:
        """``handler``, a generator function, as an asynchronous one."""
        if not inspect.isgeneratorfunction(handler):  # an asynchronous one, or what is told where it is registered
            return handler

        @wraps(handler)
        async def run(given: Any) -> AsyncIterator[Any]:
            loop, parts = self._running().loop, handler(given)
            while (part := await loop.run_in_executor(self._handlers, next, parts, _END)) is not _END:
                yield part

        return run


@atexit.register
def _close_all() -> None:
    """The interpreter ends: the peers are told, instead of finding out."""
    for one in list(_open):
        with suppress(Exception):
            one.close()
