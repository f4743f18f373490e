"""identify: two peers tell each other who they are (identify/README.md).

``/ipfs/id/1.0.0``: the opener of the stream says nothing, the other side answers with one message and closes.
``/ipfs/id/push/1.0.0``: the opener of the stream sends its message because it has changed. Each side identifies the
other as soon as a connection is up, in one task that ends with the answer; an idle connection owns no task.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import ConnectionClosed, HandshakeError, Malformed, P2PError
from stronghold_p2p.events.events import AddressAdded, AddressRemoved, Event
from stronghold_p2p.firewall.decisions import watch_changes
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import OneLine
from stronghold_p2p.loops import at_home
from stronghold_p2p.protocols import identify_messages as messages
from stronghold_p2p.protocols.identify_messages import IdentifyMessage, PeerInfo, Template, View
from stronghold_p2p.protocols.observing import Observing, seen_by_us
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.host import Host, Service

IDENTIFY: Final = "/ipfs/id/1.0.0"
PUSH: Final = "/ipfs/id/push/1.0.0"
PUSHES: Final = 32  # pushes of one change that run at the same time (go)
PUSH_EVERY: Final = 1.0  # seconds: in this time one push of a connection is read
PUSH_PAUSE: Final = 1.1  # seconds between pushes of ours to one peer, so that none comes to it too early
CATCH_UP: Final = 1.25  # seconds after a refused push, if none was read in them: then we ask what it would have told
ASKS: Final = 10  # times in ``ASKS_IN`` that a peer is told who we are: kilobytes for a hundred bytes
ASKS_IN: Final = 60.0  # seconds
ASKING: Final = 1_024  # peers of whom it is remembered how often they have asked
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
        self._pushed: dict[LiveConnection, float] = {}  # when the last push was taken
        self._missed: dict[LiveConnection, asyncio.Task[object]] = {}  # a push was refused: ``_catch_up`` runs
        self._answered: set[LiveConnection] = set()  # at least once
        self._asked: OrderedDict[bytes, float] = (
            OrderedDict()
        )  # by peer id, who asked last stands last: see ``_may_ask``
        self._push_pending: dict[PeerId, bool] = {}  # a push runs; True: it has to run again
        self._push_next: dict[PeerId, float] = {}  # when the next one may leave
        self._places = asyncio.Semaphore(PUSHES)
        self._closed = self._told_too_many = False
        self._observing = Observing(swarm)
        swarm.handle(IDENTIFY, self._answer)
        swarm.handle(PUSH, self._on_push)
        self._comparing: dict[PeerId, None] = {}  # whose rules have changed in this turn of the loop
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
        self._unwatch = watch_changes(self._swarm.firewall, at_home(self._rules_changed))

    async def close(self) -> None:
        """Cancel the tasks that wait for a peer, and start no more."""
        self._closed = True
        if self._unwatch is not None:
            self._unwatch()
        self._observing.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, stream: LiveStream) -> None:
        if self._may_ask(stream.connection):
            await stream.write_message(self._message(stream.connection))
        else:
            stream.reset(Reset.RATE_LIMITED)

    def _may_ask(self, connection: LiveConnection) -> bool:
        """Whether its peer has not asked too often; what is kept is when all its ``ASKS`` will be free again.

        The first answer on each connection is free: it costs less than the handshake, and go reports one that fails.
        """
        if connection not in self._answered and not connection.closed:
            self._answered.add(connection)
            return True
        peer, asked, now = connection.peer, self._asked, self._swarm.loop.time()
        before = asked.pop(bytes(peer), now)
        after = max(before, now) + ASKS_IN / ASKS
        allowed = after <= now + ASKS_IN + 0.001  # rounded
        asked[bytes(peer)] = after if allowed else before
        while len(asked) > ASKING or next(iter(asked.values())) <= now:
            asked.popitem(last=False)
        return allowed

    def _message(self, connection: LiveConnection) -> bytes:
        """Our message for the peer; it names the protocols that the firewall lets the peer use."""
        swarm = self._swarm
        shown = swarm.gatekeeper.shown_to(connection)
        if not connection.closed:  # or the entries of a peer that asked and left would stay for ever
            self._sent[connection.peer] = self._generation, shown
        template = self._templates.get(shown)
        if template is None:
            self._seq = max(self._seq + 1, time.time_ns())  # nanoseconds, as go counts
            if len(shown) > messages.MAX_PROTOCOLS_SENT and not self._told_too_many:
                self._told_too_many = True
                log.warning("of %d protocols peers are told the first %d", len(shown), messages.MAX_PROTOCOLS_SENT)
            template = messages.build(swarm.identity, self._agent, shown, swarm.addresses, self._seq)
            if len(self._templates) >= TEMPLATES:
                self._templates.clear()
            self._templates[shown] = template
        return template.message(seen_by_us(connection))

    def _rules_changed(self, peer: PeerId | None) -> None:
        """Compare once for all rules that change in one turn of the loop, and those peers whom they concern."""
        concerned = list(self._sent) if peer is None else [peer] * (peer in self._sent)
        if concerned and not self._closed:
            if not self._comparing:
                self._start(self._compare_protocols())
            self._comparing.update(dict.fromkeys(concerned))

    async def _compare_protocols(self) -> None:
        concerned, self._comparing = self._comparing, {}
        for peer in concerned:
            connections, sent = self._swarm.connections(peer), self._sent.get(peer)
            if connections and sent is not None and self._swarm.gatekeeper.shown_to(connections[0]) != sent[1]:
                self._sent[peer] = -1, sent[1]
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
        """Push until nothing has changed meanwhile; changes of one turn of the loop go out together.

        The pause begins when the peer has read the push.
        """
        loop = self._swarm.loop
        try:
            again = True
            while again:
                await asyncio.sleep(self._push_next.get(peer, 0.0) - loop.time())
                again = self._push_pending[peer] = False
                if connections := self._swarm.connections(peer):
                    async with self._places:
                        await self._push(connections[0])
                if self._swarm.connections(peer):
                    self._push_next[peer] = loop.time() + PUSH_PAUSE
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
            log.debug("push to %s: %s", connection.peer, OneLine(error))

    async def _on_push(self, stream: LiveStream) -> None:
        connection: LiveConnection = stream.connection
        now, last = self._swarm.loop.time(), self._pushed.get(connection)
        if connection in self._pushes_being_read or (last is not None and now - last < PUSH_EVERY):
            stream.reset(Reset.RATE_LIMITED)
            if not (connection in self._missed or connection.closed or self._closed):
                self._missed[connection] = self._start(self._catch_up(connection))
            return
        if not connection.closed:  # or it would stay here for ever
            self._pushed[connection] = now
        self._pushes_being_read.add(connection)
        try:
            async with Deadline(self._swarm.timeouts.identify, "push", peer=connection.peer):
                message = await self._read(stream)
            self._learn(connection, message)
        finally:
            self._pushes_being_read.discard(connection)

    async def _catch_up(self, connection: LiveConnection) -> None:
        """Ask, once the peer has stopped to push: go pushes each change at once, and does not try again."""
        before, latest = None, self._pushed[connection]
        while latest != before:
            await asyncio.sleep(CATCH_UP)
            before, latest = latest, self._pushed[connection]
        del self._missed[connection]
        await self.identify(connection)

    async def _read(self, stream: LiveStream) -> IdentifyMessage:
        """All parts of a message, up to the end of the stream or to the most that we take; between them others work."""
        parts: list[IdentifyMessage] = []
        left = messages.MAX_TOTAL
        while left > 0 and len(parts) < messages.MAX_PARTS:
            data = await stream.read_message(messages.MAX_PART)
            if data is None:
                break
            left -= len(data)
            if parts:
                await asyncio.sleep(0)
            if left >= 0:
                parts.append(protobuf.decode(IdentifyMessage, data, max_fields=messages.MAX_FIELDS))
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
        known, store = self._infos.get(peer) or PeerInfo(peer=peer), store_of(self._swarm.book)
        view = View(peer, connection.remote_address, self._dialable, store.edition(peer), us=self._swarm.peer_id)
        info = messages.interpret(message, known, view)
        if not connection.closed:
            if (seen := view.seen(message)) is not None:
                self._observing.told(connection, seen)
            self._infos[peer] = info
            self._swarm.peer_protocols[peer] = frozenset(info.protocols)
            if info.record is not None:
                store.learn(peer, info.addresses, edition=info.record.edition)
            else:  # its record may be an older one because its clock went back: it says so itself, and now
                store.learn(peer, info.addresses, besides=True)
            self._push_if_stale(peer)
        return info

    def _dialable(self, address: Multiaddr) -> bool:
        return self._swarm.can_dial(address)

    def connected(self, connection: LiveConnection) -> None:
        if not self._closed:
            self._start(self.identify(connection))

    def disconnected(self, connection: LiveConnection) -> None:
        self._pushed.pop(connection, None)
        self._answered.discard(connection)
        self._observing.disconnected(connection)
        if (catching_up := self._missed.pop(connection, None)) is not None:
            catching_up.cancel()
        if not self._swarm.connections(connection.peer):
            self._infos.pop(connection.peer, None)
            self._push_next.pop(connection.peer, None)
            self._sent.pop(connection.peer, None)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, AddressAdded | AddressRemoved):
            self.changed()
            self._observing.look_soon()

    def _start(self, coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = self._swarm.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, P2PError):
            log.debug("identify: %s", OneLine(error))
        else:
            log.error("internal error in identify", exc_info=error)
