"""Every exception that the package raises on purpose.

One root, ``P2PError``; below it one class for each phase in which something can go wrong. Where the
standard library has a class for the same thing (``TimeoutError``, ``ConnectionError``), ours derives from
it too, so that code which knows nothing of this package still handles it.

    P2PError
    ├── UsageError (RuntimeError)            the call itself is wrong: not open, another loop, two readers
    ├── ConfigError (ValueError)             an option, an address or a file
    │   └── IdentityError                    a key file
    ├── ListenError (OSError)                an address cannot be listened on
    ├── DialError (ConnectionError)          no address of a peer worked
    │   ├── NameResolutionError              a name in an address leads nowhere
    │   └── RelayRefused                     a relay says no
    ├── HandshakeError (ConnectionError)     between the socket and the finished connection
    │   ├── NegotiationError                 multistream-select found no common protocol, or nonsense
    │   ├── PeerIdMismatch                   somebody else answered
    │   ├── CertificateError                 the certificate of a wss server is not trusted
    │   └── ProxyError                       the HTTP proxy on the way refuses
    ├── ConnectionClosed (ConnectionError)   the connection ended under a call
    │   ├── DecryptError                     a record did not authenticate
    │   ├── MuxerError                       a yamux invariant was broken
    │   └── CircuitLimit                     a relay carries no more for us
    ├── DeadlineExceeded (TimeoutError)      any timeout
    ├── UnsupportedProtocol (LookupError)    the other side does not serve it (or rejects us)
    ├── Rejected (PermissionError)           a rule, a hook or a handler said no
    ├── LimitExceeded (RuntimeError)         ours or theirs
    ├── DecodeError (ValueError)             bytes that are not what their format says
    │   └── Malformed                        a message body
    ├── StreamReset (ConnectionResetError)   the other side (or a deadline) reset one stream
    └── StreamEnded (EOFError)               a stream ended before what was expected of it
"""

from collections.abc import Callable
from typing import Any, Final

_GATED: Final = 0x1007  # ``GoAway.GATED`` of codes.py, which stands above: a firewall does not want us


class P2PError(Exception):
    """The root. ``peer``: whom it concerns, if known. ``sent``: the peer may have acted on our request.

    Every error can be copied and pickled, with all its attributes and without its traceback.
    """

    def __init__(self, message: str = "", *, peer: Any = None, sent: bool = False) -> None:
        super().__init__(message)
        self.peer = peer
        self.sent = sent

    @property
    def temporary(self) -> bool:
        """The same call may work a little later: the peer is down, busy or out of reach. ``sent`` is another matter."""
        return _may_pass(self)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Callable[..., "P2PError"], tuple[Any, ...], dict[str, Any]]:
        return _blank, (type(self), self.args), vars(self)


class UsageError(P2PError, RuntimeError):
    """The call cannot be made now: the network is not open, or another event loop owns it."""


class ConfigError(P2PError, ValueError):
    """An option, an address or a file cannot be used; ``where`` names the place."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.where = where


class IdentityError(ConfigError):
    """A key or a key file cannot be used."""


class ListenError(P2PError, OSError):
    """The address cannot be listened on; ``address`` is its text."""

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class DialError(P2PError, ConnectionError):
    """No address worked; ``attempts`` maps each address that was tried to why it failed.

    ``temporary``: False where time changes nothing, as for our own address.
    """

    def __init__(
        self,
        message: str,
        *,
        peer: Any = None,
        attempts: dict[Any, Exception] | None = None,
        temporary: bool = True,
    ) -> None:
        super().__init__(message, peer=peer)
        self.attempts: dict[Any, Exception] = attempts or {}
        self._temporary = temporary


class NameResolutionError(DialError):
    """The name in an address leads nowhere; ``query`` is the first question to the DNS that failed, as ``name type``.

    ``address`` is the address as it was given. The cause, if there is one, is what the system said.
    """

    def __init__(self, message: str, *, query: str = "", address: Any = None, peer: Any = None) -> None:
        super().__init__(message, peer=peer)
        self.query = query
        self.address = address


class RelayRefused(DialError):
    """The ``relay`` has said no to a reservation, or to a circuit to ``peer``. ``status`` is its code
    (relay/circuit-v2.md, "Status codes"); 0: it serves nobody as a relay, or not us.
    """

    def __init__(self, message: str, *, relay: Any, status: int, peer: Any = None) -> None:
        super().__init__(message, peer=peer)
        self.relay = relay
        self.status = status


class HandshakeError(P2PError, ConnectionError):
    """The upgrade of a raw connection failed in ``phase``: ``multistream``, ``noise``, ``muxer``; for WebSocket also
    ``proxy``, ``tls`` or ``websocket``.
    """

    def __init__(self, message: str, *, phase: str = "noise", peer: Any = None) -> None:
        super().__init__(message, peer=peer)
        self.phase = phase


class NegotiationError(HandshakeError):
    """multistream-select: no common protocol (``refused``), or a message that is none."""

    def __init__(self, message: str, *, refused: bool = False, phase: str = "multistream", peer: Any = None) -> None:
        super().__init__(message, phase=phase, peer=peer)
        self.refused = refused


class PeerIdMismatch(HandshakeError):
    """The dialed address belongs to ``actual``, not to ``expected``."""

    def __init__(self, *, expected: Any, actual: Any) -> None:
        told = (
            f"{actual} answers where {expected} was expected: somebody may be in between, so nothing was said to it; "
            "only if the peer has told you its new key, correct the /p2p/ part"
        )
        super().__init__(told, peer=expected)
        self.expected = expected
        self.actual = actual


class CertificateError(HandshakeError):
    """The certificate of a wss server does not prove that it is ``name``.

    ``reason`` is ``expired``, ``not yet valid``, ``self-signed``, ``unknown authority``, ``another name``, or OpenSSL's
    own words for what is rarer.
    """

    def __init__(self, message: str, *, name: str, reason: str, peer: Any = None) -> None:
        super().__init__(message, phase="tls", peer=peer)
        self.name = name
        self.reason = reason


class ProxyError(HandshakeError):
    """``proxy``, the HTTP proxy that the environment names, does not lead on; ``status``: its answer, None if none."""

    def __init__(self, message: str, *, proxy: str, status: int | None = None, peer: Any = None) -> None:
        super().__init__(message, phase="proxy", peer=peer)
        self.proxy = proxy
        self.status = status


class ConnectionClosed(P2PError, ConnectionError):
    """The connection ended; ``remote``: the peer ended it, or has gone.

    ``code`` is that of the go-away: 0 for an orderly end, 0x1006 for a network that closes, others for a refusal; None:
    there was no goodbye, as after a crash.
    """

    def __init__(
        self, message: str = "connection closed", *, code: int | None = 0, remote: bool = False, peer: Any = None
    ) -> None:
        super().__init__(message, peer=peer)
        self.reason = message
        self.code = code
        self.remote = remote


class DecryptError(ConnectionClosed):
    """A Noise record did not authenticate: nothing on this connection can be trusted any more."""


class MuxerError(ConnectionClosed):
    """A yamux invariant was broken; ``code`` goes into the go-away that we send."""


class CircuitLimit(ConnectionClosed):
    """A relay carries no more for a relayed connection: ``limit`` is ``"data"`` (``maximum`` bytes each way) or
    ``"duration"`` (``maximum`` seconds). A new circuit begins anew; a rule of the relay may lift both.
    """

    def __init__(self, message: str, *, limit: str, maximum: float, peer: Any = None) -> None:
        super().__init__(message, code=None, peer=peer)
        self.limit = limit
        self.maximum = maximum


class DeadlineExceeded(P2PError, TimeoutError):
    """``timeout`` seconds passed (None: it is not known how many); ``phase`` says what was waited for.

    ``setting`` is what makes it longer: ``timeout=`` of the call, or a field of ``Timeouts``; empty if nothing does.
    """

    def __init__(
        self,
        message: str,
        *,
        timeout: float | None = None,
        phase: str = "",
        peer: Any = None,
        sent: bool = False,
        setting: str = "",
    ) -> None:
        super().__init__(message, peer=peer, sent=sent)
        self.timeout = timeout
        self.phase = phase
        self.setting = setting


class UnsupportedProtocol(P2PError, LookupError):
    """The peer serves none of ``protocols``, or its firewall hides them from us."""

    def __init__(self, message: str, *, protocols: tuple[str, ...] = (), peer: Any = None) -> None:
        super().__init__(message, peer=peer)
        self.protocols = protocols


class Rejected(P2PError, PermissionError):
    """A rule, a hook or a handler refused; ``local``: on our side.

    ``reason``: what the application that refuses has said; empty if it has said nothing, or its protocol carries none.
    In ``raise Rejected("why")`` it is the message.
    """

    def __init__(
        self,
        message: str = "",
        *,
        peer: Any = None,
        local: bool = False,
        sent: bool = False,
        reason: str | None = None,
    ) -> None:
        super().__init__(message or "rejected", peer=peer, sent=sent)
        self.local = local
        self.reason = message if reason is None else reason


class LimitExceeded(P2PError, RuntimeError):
    """``limit`` (name of the option) is full: ``current`` of ``maximum``.

    ``remote``: it is a limit of the peer, which does not tell its figures; then both are None.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: str,
        current: int | None = None,
        maximum: int | None = None,
        remote: bool = False,
        peer: Any = None,
    ) -> None:
        super().__init__(message, peer=peer)
        self.limit = limit
        self.current = current
        self.maximum = maximum
        self.remote = remote


class DecodeError(P2PError, ValueError):
    """Bytes or text that are not what their format says."""


class Malformed(DecodeError):
    """A message body that cannot be read; ``path`` names the field."""

    def __init__(self, message: str, *, path: str = "", peer: Any = None) -> None:
        super().__init__(message, peer=peer)
        self.path = path


class StreamReset(P2PError, ConnectionResetError):
    """The stream was reset; ``code`` is the peer's reason (0: none given)."""

    def __init__(self, message: str = "stream reset", *, code: int = 0, peer: Any = None) -> None:
        super().__init__(message, peer=peer)
        self.code = code


class StreamEnded(P2PError, EOFError):
    """The stream ended early; ``partial`` is what had arrived."""

    def __init__(self, message: str, *, partial: bytes = b"", peer: Any = None) -> None:
        super().__init__(message, peer=peer)
        self.partial = partial


def _may_pass(error: Exception) -> bool:
    """Whether what has failed so may work a little later."""
    match error:
        case PeerIdMismatch() | NegotiationError():
            return False
        case ConnectionClosed():
            return error.code != _GATED
        case LimitExceeded():
            return error.limit != "max_request"  # a message does not become shorter
        case StreamReset():
            return not error.sent  # its handler failed, and would fail again
        case DialError():
            causes = [one for one in error.attempts.values() if one is not error]  # a single address' own error
            return error._temporary and (not causes or any(map(_may_pass, causes)))  # noqa: SLF001 - of this module
        case P2PError():
            return isinstance(error, (DeadlineExceeded, HandshakeError))
    return isinstance(error, OSError)  # the system's reason, for one address of a dial


def again(cause: Exception, peer: Any = None) -> P2PError:
    """A fresh copy of ``cause`` to raise: several tasks may be told what ended their stream or their connection.

    Each raise adds to an exception's traceback, so none may be raised twice. The copy has the class, the attributes and
    the cause of the original; it names ``peer`` if that names nobody. What is no ``P2PError`` ended the connection.
    """
    if not isinstance(cause, P2PError):
        closed = ConnectionClosed(str(cause), peer=peer)
        closed.__cause__ = cause
        return closed
    fresh = _blank(type(cause), cause.args)
    vars(fresh).update(vars(cause))
    fresh.__cause__ = cause.__cause__
    if fresh.peer is None:
        fresh.peer = peer
    return fresh


def _blank(kind: type[P2PError], args: tuple[Any, ...]) -> P2PError:
    """An error whose attributes are still to be set; not through ``__init__``, as classes differ in what that takes."""
    error = kind.__new__(kind)
    error.args = args
    return error
