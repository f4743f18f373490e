"""Runs upgrades over wires: callbacks and one timer each, no task. Accepting and dialing share it.

``Upgrader`` starts an ``UpgradeRunner`` for each wire. The runner is the wire's user and feeds the exchange of
``upgrade.py`` with what arrives. When that is done the peer is proven, and the runner itself is what the outcome gets
as ``Upgraded``: ``start`` makes the muxer the wire's user, ``refuse`` says goodbye and waits until the peer has gone.
Whatever else happens, a fault, the deadline, a lost wire, ends in ``failed`` of the outcome, once.

A connection that has not been accepted yet costs its wire, its exchange and a timer handle. The life of an upgrade is
``PHASES``: a pair of phase and event that is missing there cannot happen.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.errors import ConnectionClosed, HandshakeError, P2PError
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.identity import PeerId, PublicKey
from stronghold_p2p.seams import Arrivals, Muxer, MuxerUser, Outcome, Rationed, Upgraded, Wire
from stronghold_p2p.streams.deadline import late
from stronghold_p2p.transport.upgrade import Negotiated, UpgradeSettings

MAX_EARLY: Final = 4_096  # bytes that a dialer sends before it hears of us: two lines and Noise's first message are 62
CLOSE_GRACE: Final = 1.0  # seconds for the peer to close after we did: RST would destroy what it has not read yet


class Phase(Enum):
    """Where an upgrade is."""

    WAITING = "waiting"
    RUNNING = "running"
    PROVEN = "proven"
    REFUSED = "refused"
    OVER = "over"


class Event(Enum):
    """What happens to an upgrade."""

    BEGIN = "it may begin"
    PROVE = "the exchange is done"
    START = "a connection takes the wire"
    REFUSE = "limits or firewall do not take it"
    END = "it fails, is given up, or the wire is lost"


PHASES: Final[Mapping[tuple[Phase, Event], Phase]] = {
    (Phase.WAITING, Event.BEGIN): Phase.RUNNING,
    (Phase.WAITING, Event.END): Phase.OVER,
    (Phase.RUNNING, Event.PROVE): Phase.PROVEN,
    (Phase.RUNNING, Event.END): Phase.OVER,
    (Phase.PROVEN, Event.START): Phase.OVER,
    (Phase.PROVEN, Event.REFUSE): Phase.REFUSED,
    (Phase.PROVEN, Event.END): Phase.OVER,
    (Phase.REFUSED, Event.END): Phase.OVER,
}


class UpgradeRunner:
    """One upgrade in progress: the user of its wire, and what becomes ``Upgraded``.

    ``Upgrader.timeout`` seconds from now is one absolute deadline: a byte now and then does not move it.
    """

    peer: PeerId
    public_key: PublicKey
    local: Multiaddr
    remote: Multiaddr

    def __init__(
        self, upgrader: "Upgrader", wire: Wire, exchange: Exchange[Negotiated], outcome: Outcome, *, dialer: bool
    ) -> None:
        self._wire = wire
        self._exchange: ExchangeRunner[Negotiated] = ExchangeRunner(exchange)
        self._outcome: Outcome | None = outcome
        self._dialer = dialer
        self._timeout = upgrader.timeout
        self._running = upgrader.running
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.WAITING
        self._paused = False
        self._refusal: Exception | None = None
        self._take_back: Callable[[], None] | None = None
        self._timer = None if self._timeout is None else self._loop.call_later(self._timeout, self._expired)
        wire.user = self
        self._running.add(self)

    def begin(self) -> None:
        """Send what our side sends first, and take what has come meanwhile."""
        self._take_back = None
        self._phase = PHASES[self._phase, Event.BEGIN]
        try:
            self._wire.write(self._exchange.start())
            self._resume()
        except Exception as error:  # a fault of ours: the outcome hears of it, the loop does not
            self._fail(error)

    def wait(self, take_back: Callable[[], None]) -> None:
        """Read nothing until ``begin``, under the same deadline; ``take_back`` is called if it ends before."""
        self._take_back = take_back
        self._pause()

    def _pause(self) -> None:
        self._paused = True
        self._wire.pause()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._wire.resume()

    def cancel(self) -> None:
        """Give up without a word to anybody; the wire is aborted. Does nothing once it is over."""
        if self._phase is not Phase.OVER:
            self._leave(Event.END)
            self._wire.abort()

    def received(self, view: memoryview) -> int:
        try:
            if self._phase is Phase.RUNNING:
                out = self._exchange.feed(view)
                if out:
                    self._wire.write(out)
                if not self._exchange.done:
                    return len(view)
                leftover = len(self._exchange.leftover)
                self._prove()
                return len(view) - leftover
            # uvloop begins to read after ``connection_made``, whatever was said in it. Once the peer is proven, whoever
            # takes the connection is about to: it is the muxer's.
            if self._phase in {Phase.WAITING, Phase.PROVEN}:
                self._pause()
                if self._phase is Phase.WAITING and len(view) > MAX_EARLY:
                    raise HandshakeError(f"more than {MAX_EARLY} bytes before our answer", phase="multistream")
                return 0
        except Exception as error:  # whatever it is ends this upgrade only
            self._fail(error)
        return len(view)

    def writable(self) -> None:
        """An upgrade never has that much to write."""

    def ended(self, error: Exception | None) -> None:
        if self._refusal is not None:
            self._fail(self._refusal)
            return
        if isinstance(error, HandshakeError):  # of a wire around a wire, which begins with one of its own
            self._fail(error)
            return
        told = "the peer closed the connection during the upgrade"
        if self._dialer:  # who turns away before the handshake has no words for it
            told += ": it is no libp2p peer, or one of its limits refuses us, which its log tells"
        cause = ConnectionClosed(told, remote=True)
        cause.__cause__ = error
        self._fail(cause)

    def _prove(self) -> None:
        self._phase = PHASES[self._phase, Event.PROVE]
        secured = self._exchange.result.secured
        self.peer, self.public_key = secured.peer, secured.public_key
        self.local, self.remote = self._wire.local, self._wire.remote
        self._stop_timer()
        assert self._outcome is not None
        self._outcome.proven(self)

    @property
    def limited(self) -> Rationed | None:
        return self._wire if isinstance(self._wire, Rationed) else None

    def start(self, user: MuxerUser) -> Muxer:
        if self._phase is Phase.OVER:
            raise ConnectionClosed("the peer closed the connection during the upgrade", remote=True)
        self._leave(Event.START)
        negotiated = self._exchange.result
        muxer = negotiated.muxer.start(self._wire, negotiated.secured, negotiated.plaintext, user, dialer=self._dialer)
        if self._paused or self._wire.partial:  # what came meanwhile is the muxer's
            self._paused = False
            self._wire.resume()
        return muxer

    def refuse(self, code: int, error: Exception) -> None:
        """Close as a connection does: half, then wait for the peer, whatever it still says."""
        if self._phase is Phase.OVER:
            return
        self._phase = PHASES[self._phase, Event.REFUSE]
        self._refusal = error
        negotiated = self._exchange.result
        negotiated.muxer.refuse(self._wire, negotiated.secured, code)
        self._resume()
        self._wire.finish()
        self._timer = self._loop.call_later(CLOSE_GRACE, self._wire.abort)

    def _fail(self, error: Exception) -> None:
        if self._phase is Phase.OVER:
            return
        outcome = self._outcome
        assert outcome is not None
        self._leave(Event.END)
        # No error message exists in any handshake: the peer sees the connection close.
        self._wire.abort()
        if not isinstance(error, P2PError):
            internal = HandshakeError(f"internal error during the upgrade: {error!r}", phase="internal")
            internal.__cause__ = error
            error = internal
        outcome.failed(error)

    def _expired(self) -> None:
        self._timer = None
        limit = self._timeout or 0.0
        self._fail(late(limit, "upgrade", None, sent=False, setting="Timeouts.upgrade"))

    def _leave(self, event: Event) -> None:
        self._phase = PHASES[self._phase, event]
        # It knows how to cancel us, and the frames of a refusal lead back here: we would keep each other alive.
        self._outcome = self._refusal = None
        self._running.discard(self)
        self._stop_timer()
        take_back, self._take_back = self._take_back, None
        if take_back is not None:
            take_back()
        self._exchange.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Dialed:
    """The outcome for a dialer, who awaits it."""

    def __init__(self) -> None:
        self._future: asyncio.Future[Upgraded] = asyncio.get_running_loop().create_future()
        self.runner: UpgradeRunner | None = None  # set once there is a socket

    def proven(self, upgraded: Upgraded) -> None:
        if self._future.done():
            raise ConnectionClosed("the dial was given up")
        self._future.set_result(upgraded)

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)
            self._future.exception()  # it may be that nobody waits for it any more

    async def upgraded(self) -> Upgraded:
        """The connection; cancelled, it is aborted."""
        try:
            return await self._future
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Nobody wants the connection any more."""
        if self.runner is not None:
            self.runner.cancel()


class Upgrader:
    """Upgrades the wires of one network."""

    def __init__(self, settings: UpgradeSettings, timeout: float | None) -> None:
        self.settings = settings
        self.timeout = timeout
        self.running: set[UpgradeRunner] = set()

    def accept(self, wire: Wire, arrivals: Arrivals) -> None:
        """Upgrade an accepted wire for ``arrivals``, if they admit it."""
        arrival = arrivals.admit(wire.host, wire.local)
        if arrival is None:
            wire.abort()
            return
        runner = UpgradeRunner(self, wire, self.settings.inbound(), arrival, dialer=False)
        arrival.give_up = runner.cancel
        take_back = arrival.begin(runner.begin)
        if take_back is not None:
            runner.wait(take_back)

    def dial(self, wire: Wire, expected: PeerId | None, dialed: Dialed) -> None:
        """Upgrade a wire that we have dialed; ``dialed`` becomes its outcome."""
        runner = UpgradeRunner(self, wire, self.settings.outbound(expected), dialed, dialer=True)
        dialed.runner = runner
        runner.begin()

    def close(self) -> None:
        """Give up every upgrade that is under way, and what is left of refused ones."""
        for runner in list(self.running):
            runner.cancel()
