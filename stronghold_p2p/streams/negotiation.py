"""multistream-select on streams, inside the receive callback: no task, no queue.

The usual stream costs no round trip: the opener sends header, proposal and its first data at once, and the accepter
answers header and echo together with its own first data. Both usual cases are compared as whole byte strings, which
is nearly free; whatever does not match goes through the generators of ``multistream``, which know every other case.

``LazyConfirm`` and ``InboundNegotiation`` are the two sides: each is the ``Intake`` of its stream until it is over, and
then hands what it did not need to the reader. ``negotiate`` is the slow way of an opener that offers several protocols.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from stronghold_p2p import multistream
from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import LimitExceeded, NegotiationError, StreamEnded, StreamReset, UnsupportedProtocol
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import Muxer, StreamEnd
from stronghold_p2p.streams.deadline import Deadline, late
from stronghold_p2p.streams.live import JOIN_BELOW, Intake, LiveStream

SILENT_AFTER: Final = 1.0  # seconds: from then on a stream of the peer without a byte counts as one that says nothing


class Accepter(Protocol):
    """Who serves the streams of a connection's peer."""

    def park(self, stream: LiveStream) -> bool:
        """The negotiation has begun and waits for more; False: too many do, and the stream was reset."""

    def unpark(self) -> None:
        """A negotiation that had to wait is over, one way or the other."""

    def silent(self, stream: LiveStream) -> None:
        """The peer has said nothing on it for ``SILENT_AFTER`` seconds."""

    def admits(self, stream: LiveStream, protocol: str) -> bool | None:
        """Whether the peer may open a stream for ``protocol`` now; None: the application has to be asked."""

    def ask_first(self, stream: LiveStream, protocol: str, answer: bytes, leftover: bytes) -> None:
        """Ask the application before ``protocol`` is echoed; what arrives meanwhile is kept."""

    def start(self, stream: LiveStream) -> None:
        """Start the handler of the stream's protocol, once the callback that agreed on it is through."""


def explain_reset(error: Exception, protocols: tuple[str, ...]) -> Exception:
    """What a reset before the answer means, by go-libp2p's codes (core/network/mux.go)."""
    if isinstance(error, StreamReset) and error.code == Reset.NEGOTIATION_FAILED:
        return unsupported(protocols)
    if isinstance(error, StreamReset) and error.code == Reset.RESOURCE_LIMIT:
        told = (
            "the peer takes no more now (its Limits.streams_in, requests_per_peer, request_memory; or it is closing): "
            "wait and try again"
        )
        return LimitExceeded(told, limit="streams", remote=True)
    return error


async def open_when_acknowledged(muxer: Muxer, check: Callable[[], None]) -> StreamEnd:
    """A new stream, once the ACK backlog has a place for it (yamux/README.md); ``check`` raises if it is too late."""
    while True:
        check()
        try:
            return muxer.open()
        except LimitExceeded as error:
            if error.limit != "ack_backlog":
                raise
        place = asyncio.Event()
        muxer.when_openable(place.set)
        try:
            await place.wait()
        except BaseException:
            muxer.forget_opening(place.set)
            raise


async def negotiate(stream: LiveStream, protocols: tuple[str, ...], timeout: float | None) -> str:
    """The first of ``protocols`` that the peer serves, asked for one after the other within ``timeout`` seconds."""
    try:
        async with Deadline(timeout, "negotiate", peer=stream.peer, setting="Timeouts.negotiate"):
            return await _ask(stream, protocols)
    except NegotiationError as error:
        if error.refused:
            raise unsupported(protocols, stream.peer) from None
        raise
    except StreamReset as error:
        raise explain_reset(error, protocols) from None
    except StreamEnded:
        raise NegotiationError(f"the peer closed the stream instead of answering {protocols[0]}") from None


def unsupported(protocols: tuple[str, ...], peer: PeerId | None = None) -> UnsupportedProtocol:
    """The error for a peer that serves none of ``protocols``, or says so."""
    told = f"the peer does not serve {', '.join(protocols)}, or its firewall rejects us: ask its owner"
    return UnsupportedProtocol(told, protocols=protocols, peer=peer)


async def _ask(stream: LiveStream, protocols: tuple[str, ...]) -> str:
    runner = ExchangeRunner(multistream.dial(protocols))
    out = runner.start()
    while True:
        if out:
            await stream.write(out)
        if runner.done:
            return runner.result
        out = runner.feed(await stream.readexactly(runner.need))


class _Negotiation(Intake):
    """Either side: the peer's part has to be there at ``due``, after ``timeout`` seconds."""

    __slots__ = ("_stream", "_timeout", "due")

    setting = "Timeouts.negotiate"  # what makes it longer
    _stream: LiveStream
    _timeout: float | None

    def expired(self) -> None:
        error = late(self._timeout or 0.0, "negotiate", self._stream.peer, sent=False, setting=self.setting)
        self._stream.abandon(error, Reset.NEGOTIATION_FAILED)


class LazyConfirm(_Negotiation):
    """The opener's side of a lazy negotiation: consume ``header ‖ echo`` before anything reaches the reader.

    Any other answer fails the stream: what was sent with the proposal went nowhere
    (multistream-select, lazy negotiation).
    """

    __slots__ = ("_buffer", "_expected", "_protocol")

    def __init__(self, stream: LiveStream, protocol: str, expected: bytes, due: float, timeout: float | None) -> None:
        self._stream = stream
        self._timeout = timeout
        self.due = due
        self._protocol = protocol
        self._expected = expected  # what was proposed: the peer repeats it, byte for byte
        self._buffer = b""

    def data(self, piece: bytes | memoryview) -> None:
        received = self._buffer + piece if self._buffer else piece
        size = len(self._expected)
        if len(received) >= size and received[:size] == self._expected:
            leftover = received[size:]
            self._stream.negotiated(self._protocol, leftover, len(piece) - len(leftover))
        else:
            self._stream.consumed(len(piece))
            self._buffer = bytes(received)
            self._slow()

    def _slow(self) -> None:
        runner = ExchangeRunner(multistream.confirm(self._protocol))
        try:
            runner.start()
            runner.feed(self._buffer)
        except NegotiationError as error:
            cause: Exception = error
            if error.refused:
                cause = unsupported((self._protocol,), self._stream.peer)
            self._stream.abandon(cause, Reset.NEGOTIATION_FAILED)
        finally:
            runner.close()

    def end(self) -> None:
        cause = NegotiationError(f"the peer closed the stream instead of answering {self._protocol}")
        self._stream.abandon(cause, Reset.NEGOTIATION_FAILED)

    def failed(self, error: Exception) -> None:
        if isinstance(error, StreamReset):
            self._stream.protocol = ""  # nothing was said about it: what that means is for the opener to find out
        self._stream.explain(explain_reset(error, (self._protocol,)))


class PatientConfirm(LazyConfirm):
    """Until the end of a ``timeout`` that the caller has given."""

    __slots__ = ()

    setting = "timeout="


class InboundNegotiation(_Negotiation):
    """The accepter's side: ends in a handler, in a reset, or at the deadline for negotiations."""

    __slots__ = ("_accepter", "_late", "_parked", "_refused", "_runner", "_verdict")

    def __init__(self, accepter: Accepter, stream: LiveStream, due: float, timeout: float | None) -> None:
        """``due``: when the peer should have said something, ``SILENT_AFTER`` seconds from now at the latest."""
        self._stream = stream
        self._timeout = timeout
        self.due = due
        self._late = False
        self._accepter = accepter
        self._runner: ExchangeRunner[str] | None = None
        self._parked = False
        self._verdict: bool | None = False
        self._refused = ""

    def expired(self) -> None:
        left = inf if self._timeout is None else self._timeout - SILENT_AFTER
        if not self._late and self._runner is None:
            self._accepter.silent(self._stream)
        if self._late or left <= 0:
            super().expired()
            return
        self._late = True
        self.due += left

    def data(self, piece: bytes | memoryview) -> None:
        if self._runner is None:
            first = multistream.match_first(piece)
            if first is not None and self._supported(first[0]):
                self._finish(first[0], multistream.propose(first[0]), piece[first[1] :], first[1])
                return
            self._runner = ExchangeRunner(multistream.listen(self._supported))
            self._feed(self._runner.start, 0)
        runner = self._runner
        self._feed(lambda: runner.feed(piece), len(piece))

    def _feed(self, step: Callable[[], bytes], size: int) -> None:
        runner = self._runner
        assert runner is not None
        try:
            out = step()
        except NegotiationError as error:
            self._settled()
            self._stream.abandon(error, Reset.NEGOTIATION_FAILED)
            return
        if runner.done:
            self._finish(runner.result, out, runner.leftover, size - len(runner.leftover))
            return
        self._stream.consumed(size)
        if out:
            self._stream.send_now(out)
        if not self._parked:
            self._parked = self._accepter.park(self._stream)

    def _supported(self, protocol: str) -> bool:
        if protocol == self._refused:  # the quick look has asked already
            return False
        self._verdict = self._accepter.admits(self._stream, protocol)
        if self._verdict is False:
            self._refused = protocol
        return self._verdict is not False

    def _finish(self, protocol: str, answer: bytes, leftover: bytes | memoryview, taken: int) -> None:
        if self._parked:
            self._settled()
        if self._verdict is None:
            self._stream.consumed(taken)
            self._accepter.ask_first(self._stream, protocol, answer, bytes(leftover))
            return
        self._stream.send_now(answer)
        self._stream.negotiated(protocol, leftover, taken)
        self._accepter.start(self._stream)

    def end(self) -> None:
        self._settled()
        self._stream.abandon(NegotiationError("the stream ended during negotiation"), Reset.NEGOTIATION_FAILED)

    def failed(self, error: Exception) -> None:
        self._settled()

    def _settled(self) -> None:
        if self._parked:
            self._parked = False
            self._accepter.unpark()


class HeldUntilAnswered(Intake):
    """Keeps what arrives while the application, whose hook has a deadline of its own, is asked for the stream.

    Short pieces are joined, as in ``LiveStream.data``, and for the same reason (hostile row 141).
    """

    __slots__ = ("asking", "pieces")

    begun = False

    def __init__(self, first: bytes) -> None:
        self.pieces = [first]
        self.asking: asyncio.Task[None] | None = None

    def data(self, piece: bytes | memoryview) -> None:
        pieces = self.pieces
        if pieces and len(piece) < JOIN_BELOW and len(pieces[-1]) < JOIN_BELOW:
            pieces[-1] = b"".join((pieces[-1], piece))
        else:
            pieces.append(bytes(piece))

    def failed(self, error: Exception) -> None:
        self.pieces.clear()
        if self.asking is not None:  # nobody waits for the answer any more
            self.asking.cancel()
