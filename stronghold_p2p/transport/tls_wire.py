"""TLS as a wire around a wire: what stands below WebSocket in ``/tls/ws``.

asyncio's own TLS keeps some 280 KiB for an idle connection. Here a ``ssl.SSLObject`` works on two ``ssl.MemoryBIO``,
and these see one record at a time (RFC 8446, 5.1): their memory does not shrink again, so what goes in at once stays
taken. What is not a whole record yet is kept by the outer wire, as it does for every user.

Who uses this wire may write before the handshake is done; it leaves when it is. The deadline is that of the upgrade
above, which has begun when this wire was made. The certificates are those of the Web (RFC 6125); they say nothing about
the peer id, which is proven inside.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import TLS
from stronghold_p2p.errors import ConnectionClosed, HandshakeError, P2PError
from stronghold_p2p.logs import each
from stronghold_p2p.seams import NOBODY, Wire, WireUser
from stronghold_p2p.transport.tls_faults import failed, refused, words
from stronghold_p2p.transport.wire_faults import internal, log

HEADER: Final = 5  # bytes: type, version, length (RFC 8446, 5.1)
PLAIN: Final = 16_384  # bytes of plaintext in a record at most (RFC 8446, 5.1)
RECORD: Final = HEADER + PLAIN + 2_048  # and of the record (RFC 5246, 6.2.3); TLS 1.3 adds 256 to the plaintext at most
HELLO: Final = 32 << 10  # bytes of a client until the handshake is done; a hello with a post-quantum share has 1,519
CHAIN: Final = 128 << 10  # and of a server, which sends its certificates; OpenSSL takes 100 KiB of them
SILENT: Final = 32  # records in a row that bring no plaintext: tickets and key updates come one or two at a time
TOGETHER: Final = 64 << 10  # bytes beyond which records are written to the outer wire: the other end can begin
WORKSPACE: Final = 256 << 10  # bytes of plaintext that are handed on at once; connections of a loop share them
CLOSE_GRACE: Final = 1.0  # seconds for the other side to close after we did, so that nothing it sent is answered by RST

HANDSHAKE: Final = 22  # the type of the record with which each side begins (RFC 8446, B.1)
APPLICATION: Final = 23
TYPES: Final = frozenset({20, 21, HANDSHAKE, APPLICATION})

NO_TLS_HERE: Final = "what came is no TLS: who speaks plain WebSocket has to dial /ws, without /tls"
NO_TLS_THERE: Final = "the other side speaks no TLS: dial /ws, without /tls, if that is meant"

# To who speaks HTTP where HTTPS is spoken, as web servers tell it.
_NO_TLS: Final = b"This port speaks TLS: use wss or https.\n"
_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_NO_TLS), _NO_TLS)
)

# Those that nobody uses now: TLS inside TLS, as through a proxy that speaks it, takes two at a time.
_workspaces: WeakKeyDictionary[asyncio.AbstractEventLoop, list[memoryview]] = WeakKeyDictionary()


class TlsWire:
    """Takes the wire ``outer`` over. ``name``: what a client asks for and verifies; a server has none."""

    __slots__ = (
        "_context",
        "_early",
        "_ending",
        "_error",
        "_established",
        "_incoming",
        "_loop",
        "_name",
        "_object",
        "_outer",
        "_outgoing",
        "_paused",
        "_read",
        "_silent",
        "_tail",
        "_timer",
        "_workspaces",
        "congested",
        "host",
        "local",
        "lost",
        "remote",
        "user",
    )

    def __init__(self, outer: Wire, context: ssl.SSLContext, name: str | None = None) -> None:
        self.local, self.remote, self.host = _over_tls(outer.local), outer.remote, outer.host
        if name is None:
            self.remote = _over_tls(outer.remote)
        self.user: WireUser = NOBODY
        self.congested = self.lost = False
        self._outer = outer
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._context: ssl.SSLContext | None = context
        self._established = self._paused = self._ending = False
        self._early = b""
        self._tail = b""
        self._read = self._silent = 0
        self._error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._workspaces = _workspaces.setdefault(self._loop, [])
        outer.user = self
        if name is not None:
            self._start(context)

    def _start(self, context: ssl.SSLContext) -> None:
        """A server does so when something comes: a socket of which nothing does costs no more than any other."""
        self._context = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=self._name is None, server_hostname=self._name
        )
        self._step()

    # -------------------------------------------------------------------------------- as the outer wire's user

    def received(self, view: memoryview) -> int:
        if self._paused:  # uvloop begins to read after ``connection_made``, whatever was said in it
            self._outer.pause()
            return 0
        plain = self._workspaces.pop() if self._workspaces else memoryview(bytearray(WORKSPACE))
        try:
            if self._context is not None:
                self._start(self._context)
            return self._open(view, plain)
        except Exception as error:  # whatever it is ends this connection only
            self._fail(error)
            return len(view)
        finally:
            self._workspaces.append(plain)

    def _open(self, view: memoryview, plain: memoryview) -> int:
        """Every whole record at the front of ``view``, one after the other; how many bytes these were."""
        used, end, filled = 0, len(view), len(self._tail)
        plain[:filled], self._tail = self._tail, b""
        put = self._incoming.write
        while not (self._paused or self._ending) and end - used >= HEADER:
            if filled > WORKSPACE - PLAIN:
                filled = self._hand_over(plain, filled)
                if filled > WORKSPACE - PLAIN:
                    break
            size = HEADER + (view[used + 3] << 8 | view[used + 4])
            if size > RECORD or view[used] != APPLICATION or not self._established:
                self._check(view[used : used + HEADER], size)
            if end - used < size:
                break
            put(view[used : used + size])
            used += size
            if self._established:
                filled += self._read_into(plain[filled:])
            else:
                self._read += size
                self._step()
        if filled and not self._paused:
            filled = self._hand_over(plain, filled)
        self._tail = bytes(plain[:filled])
        return len(view) if self._ending else used

    def _check(self, header: memoryview, size: int) -> None:
        """That a record of ``size`` bytes with this header is one that there can be."""
        first = not (self._established or self._read)
        if header[0] not in TYPES or header[1] != 3 or size > RECORD or (first and header[0] == APPLICATION):
            if first and self._name is None and bytes(header[:4]) == b"GET ":
                self._outer.write(_BAD_REQUEST)
            raise HandshakeError(NO_TLS_HERE if self._name is None else NO_TLS_THERE, phase="tls")
        limit = HELLO if self._name is None else CHAIN
        if not self._established and self._read + size > limit:
            raise HandshakeError(f"more than {limit} bytes of a TLS handshake", phase="tls")

    def _step(self) -> None:
        """Go on with the handshake; what it says leaves at once."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        self._flush()
        self._established = True
        early, self._early = self._early, b""
        if early:
            self.write(early)

    def _read_into(self, plain: memoryview) -> int:
        """The plaintext of the record that was put in; 0 for one that has none, as a session ticket."""
        try:
            size: int = self._object.read(PLAIN, plain)  # type: ignore[assignment]
        except ssl.SSLWantReadError:
            self._bring_nothing()
            return 0
        except ssl.SSLZeroReturnError:
            size = 0
        if size:
            self._silent = 0
        else:
            self._close()
        return size

    def _bring_nothing(self) -> None:
        """A record without plaintext. It may have to be answered, which nobody may owe to who does not read."""
        self._silent += 1
        if self._silent > SILENT:
            raise ConnectionClosed(f"more than {SILENT} TLS records in a row that say nothing", code=None)
        if self._outgoing.pending and self._outer.congested:
            raise ConnectionClosed("TLS asks for answers, and does not read them", code=None)
        self._flush()

    def _close(self) -> None:
        """``close_notify`` came: who says nothing more has no ear either, as programs use it (RFC 8446, 6.1)."""
        self.finish()
        self._ending = True
        self._timer = self._loop.call_later(CLOSE_GRACE, self._outer.abort)

    def _hand_over(self, plain: memoryview, filled: int) -> int:
        """Give plaintext to the user, and move what it does not use yet to the front; how much that is."""
        view, user = plain[:filled], self.user
        used = user.received(view)
        while used < len(view) and self.user is not user:  # a change of phase: the rest is for the next one
            view, user = view[used:], self.user
            used = user.received(view)
        rest = len(view) - used
        if rest:
            plain[:rest] = bytes(view[used:])
        return rest

    def writable(self) -> None:
        self.congested = False
        self.user.writable()

    def ended(self, error: Exception | None) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        error = self._error or error
        if error is None and not self._established:
            told = "the other side ended the connection in the TLS handshake: it speaks no TLS, or none that we do"
            error = HandshakeError(told, phase="tls")
        elif error is None and self._tail:
            error = ConnectionClosed("the peer closed in the middle of a record", remote=True)
        user, self.user = self.user, NOBODY
        user.ended(error)

    def _fail(self, error: Exception) -> None:
        if self._ending:
            return
        self._ending = True
        self._error = self._told(error)
        each((self._flush, self._outer.abort), log, "internal error in TLS")  # an alert may tell the other side

    def _told(self, error: Exception) -> P2PError:
        if isinstance(error, P2PError):
            return error
        if not isinstance(error, ssl.SSLError):
            return internal(error, "TLS", opened=self._established)
        told: P2PError
        if isinstance(error, ssl.SSLCertVerificationError):
            told = refused(error, self._name or "")
        elif not self._established:
            told = HandshakeError(failed(error), phase="tls")
        else:
            told = ConnectionClosed(f"a TLS record cannot be used: {words(error)}", code=None)
        told.__cause__ = error
        return told

    # -------------------------------------------------------------------------------- as a wire

    @property
    def partial(self) -> bool:
        return bool(self._tail) or self._outer.partial

    @property
    def unsent(self) -> int:
        return self._outer.unsent

    @property
    def delivered(self) -> int:
        return self._outer.delivered

    def write(self, data: bytes | memoryview) -> None:
        if self.lost or self._ending:
            return
        if not self._established:
            self._early += data
            return
        if len(data) <= PLAIN:
            self._object.write(data)
            self._outer.write(self._outgoing.read())
        else:
            self._write_long(memoryview(data))
        self.congested = self._outer.congested

    def _write_long(self, view: memoryview) -> None:
        """Several records leave in one call of the system, out of memory that is used again."""
        seal, take, write = self._object.write, self._outgoing.read, self._outer.write
        space = self._workspaces.pop() if self._workspaces else memoryview(bytearray(WORKSPACE))
        try:
            filled = 0
            for start in range(0, len(view), PLAIN):
                seal(view[start : start + PLAIN])
                record = take()
                end = filled + len(record)
                space[filled:end] = record
                filled = end
                if filled > TOGETHER:
                    write(space[:filled])
                    filled = 0
            if filled:
                write(space[:filled])
        finally:
            self._workspaces.append(space)

    def _flush(self) -> None:
        if self._context is None and self._outgoing.pending:
            self._outer.write(self._outgoing.read())

    def pause(self) -> None:
        self._paused = True
        self._outer.pause()

    def resume(self) -> None:
        self._paused = False
        if self._tail:
            self._loop.call_soon(self._deliver_kept)
        self._outer.resume()

    def _deliver_kept(self) -> None:
        if self._tail and not (self.lost or self._ending):
            self.received(memoryview(b""))

    def finish(self) -> None:
        """Tells the other side by ``close_notify`` that this is the end, and no truncation."""
        if self._established and not (self.lost or self._ending):
            with suppress(ssl.SSLError):  # the other side's own has not come yet, and is not waited for
                self._object.unwrap()
            self._flush()
        self._outer.finish()

    def abort(self) -> None:
        self._ending = True
        self._outer.abort()


def _over_tls(address: Multiaddr) -> Multiaddr:
    return Multiaddr(bytes(address) + TLS.prefixed(b""))
