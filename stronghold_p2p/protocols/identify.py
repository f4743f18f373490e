"""identify: two peers tell each other who they are (identify/README.md).

``/ipfs/id/1.0.0``: whoever opens the stream says nothing, the other answers with one message and closes.
``/ipfs/id/push/1.0.0``: whoever opens the stream tells what has changed. Each side identifies the other as soon
as a connection is up, in one task that ends with the answer; an idle connection keeps none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import ConnectionClosed, HandshakeError, Malformed, P2PError
from stronghold_p2p.events.events import (
    AddressAdded,
    AddressRemoved,
    Event,
)
from stronghold_p2p.protocols import identify_messages as messages
from stronghold_p2p.protocols.identify_messages import IdentifyMessage, PeerInfo, Template
from stronghold_p2p.streams.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from stronghold_p2p.connection.live import LiveConnection
    from stronghold_p2p.identity import PeerId
    from stronghold_p2p.streams.live import LiveStream
    from stronghold_p2p.swarm.host import Host

IDENTIFY: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"
PUSHES: Final = 32  # peers that are told of a change at the same time (go)
TEMPLATES: Final = 16  # messages that are kept: peers that may use the same protocols are told the same

log = logging.getLogger("stronghold_p2p.connection")


class Identify:
    """identify and push for one swarm. ``agent`` is the name of the software, at most 256 bytes.

    What peers have told is kept while they are connected: ``info(peer)``, ``swarm.peer_protocols`` and, for
    dialing, ``swarm.book``. Use ``changed`` after serving a new protocol; new addresses are noticed.
    """

    def __init__(self, swarm: Host, agent: str) -> None:
        self._swarm = swarm
        self._agent = agent
        self._known: dict[PeerId, PeerInfo] = {}
        self._templates: dict[tuple[str, ...], Template] = {}  # by the protocols that they name
        self._seq = 0
        self._generation = 0  # of what we say; counts the changes
        self._told: dict[PeerId, int] = {}  # the generation that a connected peer has
        self._shown: dict[PeerId, tuple[str, ...]] = {}  # and the protocols in it
        self._tasks: set[asyncio.Task[None]] = set()
        self._told_by: set[LiveConnection] = set()  # whose push is being read
        self._to_tell: dict[PeerId, bool] = {}  # peers that a push runs for; whether it has to run again
        self._places = asyncio.Semaphore(PUSHES)
        self._closed = False
        swarm.handle(IDENTIFY, self._answer)
        swarm.handle(PUSH, self._on_push)
        swarm.follow(self)
        swarm.hub.on_event(self._on_event)
        self._unwatch = swarm.firewall.watch(self._rules_changed)
        self._looking = False

    def info(self, peer: PeerId) -> PeerInfo | None:
        """What a connected peer has told so far."""
        return self._known.get(peer)

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
        """We serve other protocols, or listen elsewhere: tell the connected peers that want to know."""
        self._templates.clear()
        self._generation += 1
        for peer in self._known:
            self._keep_told(peer)

    async def close(self) -> None:
        """Start nothing any more, and end the tasks that still wait for a peer."""
        self._closed = True
        self._unwatch()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------ what we say

    async def _answer(self, stream: LiveStream) -> None:
        await stream.write_message(self._message(stream.connection))

    def _message(self, connection: LiveConnection) -> bytes:
        """Of the protocols it names those that the firewall does not keep from the peer."""
        swarm = self._swarm
        shown = swarm.judging.shown(connection)
        if not connection.closed:  # whoever asks and leaves at once would be remembered for ever
            self._told[connection.peer], self._shown[connection.peer] = self._generation, shown
        template = self._templates.get(shown)
        if template is None:
            self._seq = max(self._seq + 1, time.time_ns())  # nanoseconds, as go counts
            template = messages.build(swarm.identity, self._agent, shown, swarm.addresses, self._seq)
            if len(self._templates) >= TEMPLATES:
                self._templates.clear()
            self._templates[shown] = template
        return template.message(connection.remote_address)

    def _rules_changed(self) -> None:
        """What changes in one turn of the loop is looked at once."""
        if self._shown and not self._closed and not self._looking:
            self._looking = True
            self._start(self._look())

    async def _look(self) -> None:
        self._looking = False
        for peer, shown in list(self._shown.items()):
            connections = self._swarm.connections(peer)
            if connections and self._swarm.judging.shown(connections[0]) != shown:
                self._told[peer] = -1
                self._keep_told(peer)

    def _keep_told(self, peer: PeerId) -> None:
        """Push to a peer that wants to know and does not have what we say now; one push at a time."""
        current = self._told.get(peer, self._generation) == self._generation
        if current or self._closed or PUSH not in self._swarm.peer_protocols.get(peer, ()):
            return
        if peer in self._to_tell:
            self._to_tell[peer] = True
        else:
            self._to_tell[peer] = False
            self._start(self._tell(peer))

    async def _tell(self, peer: PeerId) -> None:
        """Push until nothing has changed since; what changes in one turn of the loop goes out together."""
        try:
            async with self._places:
                again = True
                while again and (connections := self._swarm.connections(peer)):
                    self._to_tell[peer] = False
                    await self._push(connections[0])
                    again = self._to_tell[peer]
        finally:
            del self._to_tell[peer]

    async def _push(self, connection: LiveConnection) -> None:
        try:
            limit = self._swarm.timeouts.identify
            async with Deadline(limit, "push", peer=connection.peer), await connection.open_stream(PUSH) as stream:
                await stream.write_message(self._message(connection))
                stream.finish()
                await stream.read()  # the receiver says nothing and closes
        except P2PError as error:
            log.debug("push to %s: %s", connection.peer, error)

    # ------------------------------------------------------------------ what we are told

    async def _introduce(self, connection: LiveConnection) -> None:
        try:
            await self.identify(connection)
        except P2PError as error:
            log.debug("identify of %s: %s", connection.peer, error)

    async def _on_push(self, stream: LiveStream) -> None:
        connection: LiveConnection = stream.connection
        if connection in self._told_by:
            stream.reset(Reset.RATE_LIMITED)
            return
        self._told_by.add(connection)
        try:
            async with Deadline(self._swarm.timeouts.identify, "push", peer=connection.peer):
                message = await self._read(stream)
            self._learn(connection, message)
        finally:
            self._told_by.discard(connection)

    async def _read(self, stream: LiveStream) -> IdentifyMessage:
        """All parts, up to the end of the stream or of what we take."""
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
        known = self._known.get(peer) or PeerInfo(peer=peer)
        info = messages.interpret(message, known, connection.remote_address)
        if not connection.closed:
            self._known[peer] = info
            self._swarm.peer_protocols[peer] = frozenset(info.protocols)
            self._swarm.book.learn(peer, info.addresses, seq=None if info.record is None else info.record.seq)
            self._keep_told(peer)
        return info

    # ------------------------------------------------------------------ events

    def connected(self, connection: LiveConnection) -> None:
        if not self._closed:
            self._start(self._introduce(connection))

    def disconnected(self, connection: LiveConnection) -> None:
        if not self._swarm.connections(connection.peer):
            self._known.pop(connection.peer, None)
            self._told.pop(connection.peer, None)
            self._shown.pop(connection.peer, None)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, AddressAdded | AddressRemoved):
            self.changed()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._swarm.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # a fault of ours
            log.error("internal error in identify", exc_info=error)
