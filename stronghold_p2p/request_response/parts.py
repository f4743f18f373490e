"""The requester of a ``PartsProtocol``: one message out, and any number back, read as the application asks for them.

What has not been asked for waits in the window of the stream, so a peer can be made to wait, and cannot make us keep
more. The write side stays open until the end, as for every request.
"""

import asyncio
import math
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, NoReturn, Self, TypeVar

from multiaddr import Multiaddr

from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import (
    DeadlineExceeded,
    Malformed,
    P2PError,
    Rejected,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
    UsageError,
    again,
)
from stronghold_p2p.identity import PeerId
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import Codec, decode
from stronghold_p2p.request_response.codecs.protocol import PartsProtocol
from stronghold_p2p.request_response.codecs.records import END, RecordReader
from stronghold_p2p.request_response.framing import write
from stronghold_p2p.request_response.outcome import Failure, Phase, fail
from stronghold_p2p.request_response.rust_quirks import Unanswered, another_stream
from stronghold_p2p.streams.aside import LONG
from stronghold_p2p.streams.deadline import Deadline, late
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.host import Host

P = TypeVar("P")

PIECE: Final = 16_384  # bytes that are read at once: they may be thousands of parts, between which nobody else works


class State(Enum):
    """Where an answer in parts is."""

    NEW = "nothing has been done yet"
    OPEN = "the request is on its way, or parts are"
    WHOLE = "its end has come"
    FAILED = "it ended in an error"
    CLOSED = "we gave it up"


class Step(Enum):
    """What happens to it."""

    BEGIN = "the first part is asked for"
    END = "the end has come"
    FAIL = "a call has failed"
    CLOSE = "closed, forgotten, or a call was cancelled"


STEPS: Final[Mapping[tuple[State, Step], State]] = {
    (State.NEW, Step.BEGIN): State.OPEN,
    (State.NEW, Step.CLOSE): State.CLOSED,
    (State.OPEN, Step.END): State.WHOLE,
    (State.OPEN, Step.FAIL): State.FAILED,
    (State.OPEN, Step.CLOSE): State.CLOSED,
    (State.WHOLE, Step.CLOSE): State.WHOLE,
    (State.FAILED, Step.CLOSE): State.FAILED,
    (State.CLOSED, Step.CLOSE): State.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of whom (None: whoever is at ``addresses``), and for how long.

    ``timeout``: seconds for the whole answer, from the first part that is asked for; ``part_timeout``: for each one,
    dial and request included in the first. None: any time.
    """

    peer: PeerId | None
    addresses: Sequence[Multiaddr]
    message: Any
    protocol: PartsProtocol[Any, Any]
    timeout: float | None
    part_timeout: float | None


class LiveParts(Generic[P]):
    """An answer as the library works with it."""

    def __init__(self, client: Client, host: Host, asked: Question) -> None:
        self.asked = asked
        self.loop = host.loop
        self._host = host
        self.state = State.NEW
        self.count = self.size = 0
        self._client = client
        self._stream: LiveStream | None = None
        self._records = RecordReader(asked.protocol.asked.max_response)
        self._reading = False
        self._over_at = math.inf  # of the whole answer
        self._error: P2PError | None = None

    async def next(self) -> P:
        """The next part; ``StopAsyncIteration`` at the end."""
        if self._reading:
            raise UsageError("another task is reading this answer")
        if self.state is not State.OPEN:
            self._begin()
        self._reading = True
        try:
            part: P = await self._next()
        except StopAsyncIteration:
            self._to(Step.END)
            raise
        except P2PError as error:
            if self._stream is not None:
                self._host.hub.counts.asked(error)
            self._error = again(error)
            self._error.__cause__ = None  # nothing that is kept leads to the frames of a call
            self._to(Step.FAIL, Reset.PROTOCOL_VIOLATION if isinstance(error, Malformed) else Reset.NONE)
            raise
        except BaseException:
            self._to(Step.CLOSE)
            raise
        finally:
            self._reading = False
        self.count += 1
        return part

    def close(self) -> None:
        """Give up what has not come; in any state, as often as you like."""
        if self._reading:
            raise UsageError("another task is reading this answer")
        self._to(Step.CLOSE)

    def _begin(self) -> None:
        if self.state is State.WHOLE:
            raise StopAsyncIteration
        if self._error is not None:
            raise again(self._error)
        if self.state is State.CLOSED:
            raise UsageError("this answer was given up before its end: closed, or a call that read it was cancelled")
        self._to(Step.BEGIN)
        if self.asked.timeout is not None:
            self._over_at = self.loop.time() + self.asked.timeout

    def _to(self, step: Step, code: int = 0) -> None:
        self.state = STEPS[self.state, step]
        stream, self._stream = self._stream, None
        if stream is None or step is Step.BEGIN:
            return
        if step is Step.END:
            stream.close()
        else:
            stream.reset(code)
        if step is Step.CLOSE:
            self._host.hub.counts["requests_out_cancelled"] += 1
        self._client.places.give_back(stream.connection.peer.multihash)

    async def _next(self) -> P:
        each = self.asked.part_timeout
        due = min(self._over_at, math.inf if each is None else self.loop.time() + each)
        stream = self._stream or await self._open(due)
        try:
            while (record := self._records.next()) is None:
                await self._more(stream, due)
            self.size += len(record)
            if record == bytes((END,)):
                raise StopAsyncIteration
            return await self._decoded(record, stream.peer, due)
        except P2PError as error:
            self._explain(error, stream, due)

    async def _open(self, due: float) -> LiveStream:
        """Send the request; ``due`` is for the first part."""
        client, asked, protocol = self._client, self.asked, self.asked.protocol.asked
        framed = write(protocol.request, asked.message, protocol.max_request, "request", asked.peer)
        left = None if due == math.inf else due - self.loop.time()
        stream = await client.stream_for(asked.peer, asked.addresses, asked.message, protocol, left)
        self._stream, phase = stream, Phase.SEND
        try:
            while True:
                tried = stream.protocol
                stream.expire(due)
                try:
                    await stream.write(framed)
                    phase = Phase.WAIT
                    first = await self._first(stream)
                except (UnsupportedProtocol, StreamReset) as error:
                    if isinstance(error, UnsupportedProtocol):
                        phase = Phase.NEGOTIATE  # it came before the protocol was agreed on
                    again_from = Unanswered(stream, tried, protocol.ids, due)
                    stream = self._stream = await another_stream(self._host, error, again_from)
                    phase = Phase.SEND
                else:
                    self._records.feed(first)
                    stream.expire(self._over_at)
                    return stream
        except P2PError as error:
            self._explain(error, stream, due, phase)

    async def _first(self, stream: LiveStream) -> bytes:
        if piece := await stream.read(PIECE):
            return piece
        raise Rejected(f"{stream.peer} refused the request: ask its owner", reason="")

    async def _more(self, stream: LiveStream, due: float) -> None:
        piece = stream.read_now(PIECE)
        if piece:
            await asyncio.sleep(0)  # a peer that is quicker than we are does not keep the loop to itself
        else:
            stream.expire(due)
            piece = await stream.read(PIECE)
            stream.expire(self._over_at)
        if not piece:
            raise StreamEnded("the answer breaks off: the peer closed the stream before its end", peer=stream.peer)
        self._records.feed(piece)

    async def _decoded(self, record: bytes, peer: PeerId, due: float) -> P:
        codec: Codec[P] = self.asked.protocol.asked.response
        if len(record) <= LONG:
            return decode(codec, record, "part")
        left = None if due == math.inf else due - self.loop.time()
        async with Deadline(left, Phase.WAIT.value, peer=peer):
            return await self._host.aside.run(peer, partial(decode, codec, record, "part"))

    def _explain(self, error: P2PError, stream: LiveStream, due: float, phase: Phase = Phase.WAIT) -> NoReturn:
        """Raise what ``error`` means for the caller, as for every request."""
        peer = stream.connection.peer
        if isinstance(error, Rejected) and self.count:  # it has acted, and then refused
            error.peer, error.sent = peer, True
            raise error
        if isinstance(error, DeadlineExceeded) and self.loop.time() >= due:
            whole = self.loop.time() >= self._over_at
            seconds = self.asked.timeout if whole else self.asked.part_timeout
            setting = "timeout=" if whole else "part_timeout="
            raise late(seconds or 0.0, phase.value, peer, sent=phase is Phase.WAIT, setting=setting) from None
        fail(error, Failure(phase, self.asked.protocol.ids, peer))


class Parts(Generic[P]):
    """An answer in parts: ``async for part in parts``. The request leaves when the first part is asked for.

    ``async with`` or ``aclose`` gives up what has not come, and so does forgetting it, as by ``break``; the peer's
    handler is cancelled then. A part that cannot come is an error, and nothing comes after it. One task reads.
    """

    __slots__ = ("__weakref__", "_forgotten", "_live")

    def __init__(self, live: LiveParts[P]) -> None:
        self._live = live
        self._forgotten = weakref.finalize(self, _forget, live)
        self._forgotten.atexit = False

    def __repr__(self) -> str:
        return f"<Parts {self._live.asked.protocol.ids[0]} {self.count} so far>"

    @property
    def count(self) -> int:
        """How many parts have been given out."""
        return self._live.count

    @property
    def size(self) -> int:
        """How many bytes these had, on the wire and without their lengths."""
        return self._live.size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> P:
        return await self._live.next()

    async def aclose(self) -> None:
        """Give up what has not come; in any state, as often as you like. ``UsageError`` while another task reads."""
        self._live.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._live.close()


def _forget(live: LiveParts[Any]) -> None:
    """Nobody can read it any more. This may run in any thread, or when the loop is over."""
    if live.state is State.OPEN:
        with suppress(RuntimeError):
            live.loop.call_soon_threadsafe(live.close)
