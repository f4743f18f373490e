"""How a WebSocket begins: a request of HTTP/1.1 and its answer (RFC 6455, 4), by the ``websockets`` package.

Its sans-IO protocols read and write both; what they would do with frames is ours (``websocket/frames.py``). They are
given no byte behind the blank line, as they would read frames before the request is answered, and no more than
``MAX_HEAD`` up to it, as they would take a megabyte (websockets 17.4). What is behind it is the wire's to keep.

Both classes are fed until they are ``done`` or tell an ``error``; ``out`` is what has to be sent then, or at first.
"""

import logging
from typing import Final, Protocol

from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from stronghold_p2p.errors import HandshakeError
from stronghold_p2p.logs import OneLine

MAX_HEAD: Final = 8_192  # bytes of a request or an answer up to the blank line, as most web servers have it
SENTENCE: Final = (
    "This is a libp2p peer. Other peers reach it here by WebSocket; there is no page to look at, and all is well.\n"
)
PHASE: Final = "websocket"

_BLANK: Final = b"\r\n\r\n"
# The package tells each handshake at INFO, and what came at DEBUG. We tell what there is to tell.
_QUIET: Final = logging.Logger("websockets", logging.CRITICAL + 1)  # noqa: LOG001 - nobody's, so that nobody tunes it


class Opening(Protocol):
    """One side of the handshake."""

    client: bool
    out: bytes
    done: bool
    error: HandshakeError | None

    def feed(self, view: memoryview) -> int:
        """Bytes came; returns how many belong to the handshake."""


class _Head:
    """Finds the blank line in bytes that come in any pieces."""

    def __init__(self) -> None:
        self._end = b""  # the last three bytes: the blank line may be in two pieces
        self._left = MAX_HEAD
        self.whole = False

    @property
    def too_long(self) -> bool:
        return not self.whole and not self._left

    def take(self, view: memoryview) -> bytes:
        """The front of ``view``, up to the blank line or as much as there may be."""
        taken = bytes(view[: self._left])
        found = (self._end + taken).find(_BLANK)
        if found >= 0:
            self.whole = True
            taken = taken[: found + len(_BLANK) - len(self._end)]
        self._end = (self._end + taken)[1 - len(_BLANK) :]
        self._left -= len(taken)
        return taken


class ServerOpening:
    """The listener's side. Any path and any origin is welcome (go, rust, js); no extension and no subprotocol is."""

    client = False

    def __init__(self) -> None:
        self.out = b""
        self.done = False
        self.error: HandshakeError | None = None
        self._head = _Head()
        self._protocol = ServerProtocol(max_size=None, logger=_QUIET)
        self._begun = False

    def feed(self, view: memoryview) -> int:
        if not self._begun:
            self._begun = True
            if not ord("A") <= view[0] <= ord("Z"):  # a method: nothing else begins a request
                self.error = HandshakeError("what came is no HTTP request", phase=PHASE)
                return len(view)
        protocol = self._protocol
        taken = self._head.take(view)
        protocol.receive_data(taken)
        for event in protocol.events_received():
            assert isinstance(event, Request)
            self._answer(event)
        if protocol.handshake_exc is not None:
            self.error = self.error or HandshakeError(
                f"what came is no request for a WebSocket: {OneLine(protocol.handshake_exc)}", phase=PHASE
            )
        elif self._head.too_long:
            told = f"a request of more than {MAX_HEAD} bytes"
            protocol.send_response(protocol.reject(431, told + "\n"))
            self.error = HandshakeError(told, phase=PHASE)
        self.out += b"".join(protocol.data_to_send())
        self.done = protocol.state is State.OPEN
        return len(taken)

    def _answer(self, request: Request) -> None:
        """Whoever asks for no WebSocket, a browser or what looks whether we are well, is told so in plain words.

        It is no failure of theirs: by 426, which would be the other answer, we would be ill.
        """
        protocol = self._protocol
        if request.method in {"GET", "HEAD"} and "Upgrade" not in request.headers:
            response = protocol.reject(200, SENTENCE)
            if request.method == "HEAD":
                response.body = b""
            told = f"a {request.method} without an upgrade was answered: a browser, or a health check"
            self.error = HandshakeError(told, phase=PHASE)
        else:
            response = protocol.accept(request)
        protocol.send_response(response)


class ClientOpening:
    """The dialer's side. ``host`` is what the server is told that it is called, an IP address or a name."""

    client = True

    def __init__(self, host: str, port: int, path: str = "/", *, secure: bool = False) -> None:
        self.done = False
        self.error: HandshakeError | None = None
        self._head = _Head()
        self._status = b""
        uri = WebSocketURI(secure=secure, host=host, port=port, path=path, query="")
        self._protocol = ClientProtocol(uri, max_size=None, logger=_QUIET)
        self._protocol.send_request(self._protocol.connect())
        self.out = b"".join(self._protocol.data_to_send())

    def feed(self, view: memoryview) -> int:
        protocol = self._protocol
        taken = self._head.take(view)
        if b"\n" not in self._status:
            self._status += taken
        protocol.receive_data(taken)
        for event in protocol.events_received():
            assert isinstance(event, Response)
        self.done = protocol.state is State.OPEN
        status = self._status.partition(b"\r\n")[0].decode("latin-1")
        if self._head.whole and status.startswith("HTTP/") and " 101" not in status:  # it may have more to say to us
            self.error = HandshakeError(f"a web server answers, and no WebSocket: {OneLine(status)}", phase=PHASE)
        elif protocol.handshake_exc is not None or self._head.too_long:
            told = OneLine(protocol.handshake_exc or f"an answer of more than {MAX_HEAD} bytes")
            self.error = HandshakeError(f"what answered is no WebSocket: {told}", phase=PHASE)
        return len(taken)
