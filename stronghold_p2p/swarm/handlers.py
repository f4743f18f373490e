"""Handlers of a connection's inbound streams: one task for each that runs, none before the protocol is agreed on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from stronghold_p2p import multistream
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DecodeError,
    HandshakeError,
    StreamEnded,
    StreamReset,
)
from stronghold_p2p.swarm.negotiation import Withheld
from stronghold_p2p.yamux import Reset, Stream

if TYPE_CHECKING:
    from stronghold_p2p.swarm.connection import Connection
    from stronghold_p2p.swarm.swarm import Swarm

PEERS_DOING = (ConnectionClosed, DeadlineExceeded, DecodeError, HandshakeError, StreamEnded, StreamReset)

log = logging.getLogger("stronghold_p2p.connection")


class Handlers:
    """Runs the handlers of one connection; ``tasks`` are those that run."""

    __slots__ = ("_connection", "_late", "_swarm", "tasks")

    def __init__(self, swarm: Swarm, connection: Connection) -> None:
        self._swarm = swarm
        self._connection = connection
        self._late: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, stream: Stream) -> None:
        """Start the handler of the stream's protocol."""
        maximum = self._swarm.limits.streams_in
        if maximum is not None and len(self.tasks) >= maximum:  # streams that were reset may leave theirs running
            stream.reset(Reset.RESOURCE_LIMIT)
            return
        self.tasks.add(self._swarm.loop.create_task(self._handle(stream)))

    def ask_first(self, stream: Stream, protocol: str, answer: bytes, leftover: bytes) -> None:
        """Ask the application before the protocol's id is echoed; what arrives meanwhile is kept."""
        stream.intake = withheld = Withheld(leftover)
        withheld.asking = task = self._swarm.loop.create_task(self._ask(stream, protocol, answer, withheld))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def cancel(self, delay: float = 0.0) -> None:
        """The connection is over; those that run ``delay`` seconds later are cancelled."""
        current = asyncio.current_task()  # a handler may close its own connection
        running = [task for task in self.tasks if task is not current]
        if not delay:
            for task in running:
                task.cancel()
        elif running:
            self._late = self._swarm.loop.call_later(delay, self.cancel)
            for task in running:
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not self.tasks and self._late is not None:
            self._late.cancel()
            self._late = None

    async def _ask(self, stream: Stream, protocol: str, answer: bytes, withheld: Withheld) -> None:
        try:
            await self._ask_and_handle(stream, protocol, answer, withheld)
        except Exception:  # a fault of ours: only the stream pays for it
            log.exception("internal error before the handler of %s", protocol)
            stream.reset()

    async def _ask_and_handle(self, stream: Stream, protocol: str, answer: bytes, withheld: Withheld) -> None:
        stream.protocol = protocol
        if not await self._swarm.ask(self._connection, protocol):
            stream.write_now(answer[: -len(multistream.message(protocol))] + multistream.NA)
            stream.intake = None
            stream.close_nowait()
        elif stream.intake is withheld:
            stream.write_now(answer)
            stream.negotiated(protocol)
            for piece in withheld.pieces:
                if piece:
                    stream.data(piece)
            await self._handle(stream)

    async def _handle(self, stream: Stream) -> None:
        handler = self._swarm.handler(stream.protocol)
        try:
            if handler is None:  # removed since the negotiation (reliability 4.2, row 25)
                stream.reset(Reset.NEGOTIATION_FAILED)
                return
            await handler(stream)
            stream.close_nowait()
        except asyncio.CancelledError:
            stream.reset(Reset.SHUTDOWN)
            raise
        except PEERS_DOING as error:
            log.debug("handler of %s for %s: %s", stream.protocol, stream.peer, error)
            stream.reset(Reset.PROTOCOL_VIOLATION if isinstance(error, DecodeError) else Reset.NONE)
        except Exception:  # the application's own: only its stream pays for it
            log.exception("handler of %s failed", stream.protocol)
            stream.reset()
        finally:
            self.tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
