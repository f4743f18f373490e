"""identify: two peers tell each other who they are (identify/README.md).

``/ipfs/id/1.0.0``: the opener of the stream says nothing, the other side answers with one message and closes.
``/ipfs/id/push/1.0.0``: the opener of the stream sends its message because it has changed. Each side identifies the
other as soon as a connection is up, in one task that ends with the answer; an idle connection owns no task.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import ConnectionClosed, HandshakeError, Malformed, P2PError
from stronghold_p2p.events.events import AddressAdded, AddressRemoved, Event
from stronghold_p2p.identity import PeerId
from stronghold_p2p.protocols import identify_messages as messages
from stronghold_p2p.protocols.identify_messages import IdentifyMessage, PeerInfo, Template
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.host import Host, Service

IDENTIFY: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"
PUSHES: Final = 32  # pushes of one change that run at the same time (go)
TEMPLATES: Final = 16  # messages in the cache; peers that may use the same protocols get the same one

log = logging.getLogger("stronghold_p2p.connection")


class Identify(Service):
    """identify and push for one swarm. ``agent`` is the name of the software, at most 256 bytes.

    What a peer has sent is available while it is connected: ``info(peer)``, ``swarm.peer_protocols`` and, for dialing,
    ``swarm.book``. Call ``changed`` after serving a new protocol; changes of our addresses come as events.

    Every change of what we say counts ``_generation`` up. A peer that serves push gets a push when the generation that
    it has is an older one; at most one push to a peer runs, and what changes meanwhile makes it run once more.
    """

    def __init__(self, swarm: Host, agent: str) -> None:
        self._swarm = swarm
        self._agent = agent
        self._infos: dict[PeerId, PeerInfo] = {}
        self._templates: dict[tuple[str, ...], Template] = {}  # by the protocols in the message
        self._seq = 0
        self._generation = 0
        self._sent: dict[PeerId, tuple[int, tuple[str, ...]]] = {}  # generation and protocols that a peer has
        self._tasks: set[asyncio.Task[object]] = set()
        self._pushes_being_read: set[LiveConnection] = set()  # one for each connection
        self._push_pending: dict[PeerId, bool] = {}  # a push runs; True: it has to run again
        self._places = asyncio.Semaphore(PUSHES)
        self._closed = False
        swarm.handle(IDENTIFY, self._answer)
        swarm.handle(PUSH, self._on_push)
        self._comparing = False
        self._unwatch: Callable[[], None] | None = None
        swarm.add(self)

    def info(self, peer: PeerId) -> PeerInfo | None:
        """What a connected peer has said about itself so far; None before its first message."""
        return self._infos.get(peer)

    async def identify(self, connection: LiveConnection) -> PeerInfo:
        """Ask the peer now.

        ``DeadlineExceeded`` after ``Timeouts.identify`` seconds, ``UnsupportedProtocol`` if the peer does not
        speak identify, ``HandshakeError`` if it names another key, which ends the connection.
        """
        limit = self._swarm.timeouts.identify
        async with (
            Deadline(limit, "identify", peer=connection.peer, setting="Timeouts.identify"),
            await connection.open_stream(IDENTIFY) as stream,
        ):
            message = await self._read(stream)
        return self._learn(connection, message)

    def changed(self) -> None:
        """Push to the connected peers that serve push: we serve other protocols now, or listen elsewhere."""
        self._templates.clear()
        self._generation += 1
        for peer in self._infos:
            self._push_if_stale(peer)

    def start(self) -> None:
        self._swarm.hub.on_event(self._on_event)
        self._unwatch = self._swarm.firewall.watch(self._rules_changed)

    async def close(self) -> None:
        """Cancel the tasks that wait for a peer, and start no more."""
        self._closed = True
        if self._unwatch is not None:
            self._unwatch()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, stream: LiveStream) -> None:
        await stream.write_message(self._message(stream.connection))

    def _message(self, connection: LiveConnection) -> bytes:
        """Our message for the peer; it names the protocols that the firewall lets the peer use."""
        swarm = self._swarm
        shown = swarm.gatekeeper.shown_to(connection)
        if not connection.closed:  # or the entries of a peer that asked and left would stay for ever
            self._sent[connection.peer] = self._generation, shown
        template = self._templates.get(shown)
        if template is None:
            self._seq = max(self._seq + 1, time.time_ns())  # nanoseconds, as go counts
            template = messages.build(swarm.identity, self._agent, shown, swarm.addresses, self._seq)
            if len(self._templates) >= TEMPLATES:
                self._templates.clear()
            self._templates[shown] = template
        return template.message(connection.remote_address)

    def _rules_changed(self) -> None:
        """Compare once for all rules that change in one turn of the loop."""
        if self._sent and not self._closed and not self._comparing:
            self._comparing = True
            self._start(self._compare_protocols())

    async def _compare_protocols(self) -> None:
        self._comparing = False
        for peer, (_, shown) in list(self._sent.items()):
            connections = self._swarm.connections(peer)
            if connections and self._swarm.gatekeeper.shown_to(connections[0]) != shown:
                self._sent[peer] = -1, shown
                self._push_if_stale(peer)

    def _push_if_stale(self, peer: PeerId) -> None:
        """Push to ``peer`` if it serves push and has an older generation; one push at a time."""
        current = peer not in self._sent or self._sent[peer][0] == self._generation
        if current or self._closed or PUSH not in self._swarm.peer_protocols.get(peer, ()):
            return
        if peer in self._push_pending:
            self._push_pending[peer] = True
        else:
            self._push_pending[peer] = False
            self._start(self._push_until_current(peer))

    async def _push_until_current(self, peer: PeerId) -> None:
        """Push until nothing has changed meanwhile; changes of one turn of the loop go out together."""
        try:
            async with self._places:
                again = True
                while again and (connections := self._swarm.connections(peer)):
                    self._push_pending[peer] = False
                    await self._push(connections[0])
                    again = self._push_pending[peer]
        finally:
            del self._push_pending[peer]

    async def _push(self, connection: LiveConnection) -> None:
        try:
            limit = self._swarm.timeouts.identify
            async with Deadline(limit, "push", peer=connection.peer), await connection.open_stream(PUSH) as stream:
                await stream.write_message(self._message(connection))
                stream.finish()
                await stream.read()  # the receiver says nothing and closes
        except P2PError as error:
            log.debug("push to %s: %s", connection.peer, error)

    async def _on_push(self, stream: LiveStream) -> None:
        connection: LiveConnection = stream.connection
        if connection in self._pushes_being_read:
            stream.reset(Reset.RATE_LIMITED)
            return
        self._pushes_being_read.add(connection)
        try:
            async with Deadline(self._swarm.timeouts.identify, "push", peer=connection.peer):
                message = await self._read(stream)
            self._learn(connection, message)
        finally:
            self._pushes_being_read.discard(connection)

    async def _read(self, stream: LiveStream) -> IdentifyMessage:
        """All parts of a message, up to the end of the stream or to the most that we take."""
        parts: list[IdentifyMessage] = []
        left = messages.MAX_TOTAL
        while left > 0 and len(parts) < messages.MAX_PARTS:
            data = await stream.read_message(messages.MAX_PART)
            if data is None:
                break
            left -= len(data)
            if left >= 0:
                parts.append(protobuf.decode(IdentifyMessage, data))
        if not parts:
            raise Malformed("identify without a message", peer=stream.peer)
        return messages.merge(parts)

    def _learn(self, connection: LiveConnection, message: IdentifyMessage) -> PeerInfo:
        peer = connection.peer
        try:
            messages.check_key(message, peer)
        except HandshakeError as error:
            code = GoAway.PROTOCOL_VIOLATION
            connection.shut(code, ConnectionClosed(str(error), code=code))
            raise
        known = self._infos.get(peer) or PeerInfo(peer=peer)
        info = messages.interpret(message, known, connection.remote_address)
        if not connection.closed:
            self._infos[peer] = info
            self._swarm.peer_protocols[peer] = frozenset(info.protocols)
            store_of(self._swarm.book).learn(peer, info.addresses, seq=None if info.record is None else info.record.seq)
            self._push_if_stale(peer)
        return info

    def connected(self, connection: LiveConnection) -> None:
        if not self._closed:
            self._start(self.identify(connection))

    def disconnected(self, connection: LiveConnection) -> None:
        if not self._swarm.connections(connection.peer):
            self._infos.pop(connection.peer, None)
            self._sent.pop(connection.peer, None)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, AddressAdded | AddressRemoved):
            self.changed()

    def _start(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task = self._swarm.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, P2PError):
            log.debug("identify: %s", error)
        else:
            log.error("internal error in identify", exc_info=error)
