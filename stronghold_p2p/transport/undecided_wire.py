"""A wire of which it is not known yet what it leads to: who uses it may write already, and is told nothing.

Something has to happen first over the wire below: a proxy has to lead on (``proxy.py``), or the first bytes have to
tell what is spoken (``shared_port.py``). Then it is decided which wire this one stands for, and our user becomes that
one's: of what is received from then on, nothing passes through here.
"""

from multiaddr import Multiaddr

from stronghold_p2p.errors import P2PError
from stronghold_p2p.seams import NOBODY, Wire, WireUser
from stronghold_p2p.transport.wire_faults import internal


class UndecidedWire:
    """Takes the wire ``outer`` over. Subclasses implement ``_advance``, which calls ``_decide``."""

    def __init__(self, outer: Wire) -> None:
        self._outer = self._to = outer
        self._user: WireUser = NOBODY
        self._decided = False
        self._early = b""
        self._paused = False
        self._error: Exception | None = None
        outer.user = self

    def received(self, view: memoryview) -> int:
        if self._paused:  # uvloop begins to read after ``connection_made``, whatever was said in it
            self._outer.pause()
            return 0
        if self._error is None:
            try:
                return self._advance(view)
            except Exception as error:  # whatever it is ends this connection only
                wrong = error if isinstance(error, P2PError) else internal(error, "a wire", opened=False)
                self._error = wrong
                if not self._decided:  # a wire that was half made may have taken it: our user has to hear of the end
                    self._outer.user = self
                self._outer.abort()
        return len(view)

    def _advance(self, view: memoryview) -> int:
        """Bytes came before it is decided. Returns how many were used; the others are for who has the wire next."""
        raise NotImplementedError

    def writable(self) -> None:
        """Nobody else writes before it is decided, and so little that there is always room."""

    def ended(self, error: Exception | None) -> None:
        user, self._user = self._user, NOBODY
        user.ended(self._error or error)

    def _decide(self, to: Wire) -> None:
        """From now on stand for ``to``: ``outer``, or a wire around it."""
        self._to, self._decided = to, True
        to.user = self._user
        self._user = NOBODY
        early, self._early = self._early, b""
        if early:
            to.write(early)

    @property
    def user(self) -> WireUser:
        return self._to.user if self._decided else self._user

    @user.setter
    def user(self, user: WireUser) -> None:
        if self._decided:
            self._to.user = user
        else:
            self._user = user

    @property
    def local(self) -> Multiaddr:
        return self._to.local

    @local.setter
    def local(self, local: Multiaddr) -> None:
        self._to.local = local

    @property
    def remote(self) -> Multiaddr:
        return self._to.remote

    @remote.setter
    def remote(self, remote: Multiaddr) -> None:
        self._to.remote = remote

    @property
    def host(self) -> str | None:
        return self._to.host

    @host.setter
    def host(self, host: str | None) -> None:
        self._to.host = host

    @property
    def congested(self) -> bool:
        return self._to.congested

    @congested.setter
    def congested(self, congested: bool) -> None:
        self._to.congested = congested

    @property
    def lost(self) -> bool:
        return self._to.lost

    @lost.setter
    def lost(self, lost: bool) -> None:
        self._to.lost = lost

    @property
    def partial(self) -> bool:
        return self._to.partial

    @property
    def unsent(self) -> int:
        return self._to.unsent

    @property
    def delivered(self) -> int:
        return self._to.delivered

    def write(self, data: bytes | memoryview) -> None:
        if self._decided:
            self._to.write(data)
        else:
            self._early += data

    def pause(self) -> None:
        self._paused = True
        self._to.pause()

    def resume(self) -> None:
        self._paused = False
        self._to.resume()

    def finish(self) -> None:
        self._to.finish()

    def abort(self) -> None:
        self._to.abort()
