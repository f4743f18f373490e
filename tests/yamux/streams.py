"""Streams over a connection that is nothing but memory: the test plays the peer, or two ends are joined."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.seams import StreamEnd
from stronghold_p2p.streams.live import Intake, LiveStream
from stronghold_p2p.streams.waiter import Turn
from stronghold_p2p.yamux.receiver import Receiver
from stronghold_p2p.yamux.session import Session
from tests.yamux.wire import Frame, all_places, alone, parse

PEER = Identity.from_seed(bytes(32)).peer_id


class End:
    """What a ``LiveStream`` needs of its connection. Without ``other`` all that leaves collects in ``sent``."""

    def __init__(self, *, client: bool, limits: Limits | None = None) -> None:
        self.peer = PEER
        self.face = object()
        self.loop = asyncio.get_running_loop()
        self.turn = Turn(self.loop)
        limits = limits or Limits()
        budget, places = alone(limits.receive_memory), all_places(limits.streams_in)
        self.session = Session(self, client=client, limits=limits, budget=budget, places=places)
        self._parser = Receiver(self.session, self.loop.time)
        self.accepted: asyncio.Queue[LiveStream] = asyncio.Queue()
        self.intake: Callable[[LiveStream], Intake] | None = None
        self.deadlines: End = self
        self.handlers: End = self
        self.all_at = inf
        self.looks: list[float] = []
        self.lingers_until = inf
        self.other: End | None = None
        self.congested = False
        self.sent = b""

    def sooner(self, due: float) -> None:
        self.all_at = due
        self.looks.append(due)

    def linger(self) -> float:
        return self.lingers_until

    def refused(self, error: LimitExceeded) -> None: ...

    def worn(self) -> None:
        """Few ids are left."""

    def left(self, stream: LiveStream, error: Exception) -> None:
        """There is no handler."""

    def accept(self, stream: StreamEnd) -> LiveStream:
        live = LiveStream(stream, self, self.loop)
        if self.intake is not None:
            live.take_in(self.intake(live))
        self.accepted.put_nowait(live)
        return live

    def open(self) -> LiveStream:
        state = self.session.open()
        stream = LiveStream(state, self, self.loop)
        state.sink = stream
        return stream

    def notify(self) -> None:
        self.loop.call_soon(self.flush)

    def early(self) -> None:
        """Nothing leaves before the end of the turn."""

    def flush(self) -> None:
        """What the muxer does at the end of a turn, with no cipher and no socket."""
        if self.congested:
            self.session.congested = True
            return
        sent = b"".join(self.session.data_to_send())
        if self.other is None:
            self.sent += sent
        elif sent:
            self.other.hear(sent)
        self.session.flushed(congested=False)

    def hear(self, *frames: bytes) -> None:
        """Bytes from the peer."""
        self.session.now = self.loop.time()
        self._parser.receive(b"".join(frames))

    def frames(self) -> list[Frame]:
        """What has left since the last look."""
        self.flush()
        sent, self.sent = self.sent, b""
        return parse(sent)

    def fail(self, error: Exception) -> None:
        """The connection ends."""
        self.session.fail(error)


def joined(limits: Limits | None = None) -> tuple[End, End]:
    """A client and a server, joined."""
    client, server = End(client=True, limits=limits), End(client=False, limits=limits)
    client.other, server.other = server, client
    return client, server
