"""What an error means for the caller of a request: one table.

A request goes through the phases of ``Phase`` in their order. Dialing and our own firewall raise errors that need no
translation. From the negotiation on, an error is looked up by its phase, its class and, if the stream was reset, the
code of the reset; the table says which error the caller is given, and whether the peer may have acted (``sent``).
Codes are those of go-libp2p (core/network/mux.go). The Rust library resets with code 0 whatever has happened, which
says nothing: the caller is told so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeAlias

from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import (
    DeadlineExceeded,
    LimitExceeded,
    Malformed,
    P2PError,
    Rejected,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.identity import PeerId
from stronghold_p2p.streams.deadline import late
from stronghold_p2p.streams.negotiation import explain_reset, unsupported


class Phase(StrEnum):
    """How far a request has come; ``DeadlineExceeded.phase`` has the value."""

    DIAL = "dial"
    QUEUE = "queue"
    FIREWALL = "firewall"
    NEGOTIATE = "negotiate"
    SEND = "send"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Failure:
    """Where a request has failed. ``late``: the request's own timeout in seconds, if it is that which was over."""

    phase: Phase
    protocols: tuple[str, ...]
    peer: PeerId
    late: float | None = None


Explain: TypeAlias = Callable[[Any, Failure], P2PError]
Outcome: TypeAlias = tuple[Explain, bool]
"""What makes the caller's error of the one that came, and whether the peer may have acted on the request."""


def _itself(error: P2PError, _: Failure) -> P2PError:
    return error


def _unsupported(error: P2PError, failure: Failure) -> P2PError:
    known = isinstance(error, UnsupportedProtocol) and error.protocols == failure.protocols
    return error if known else unsupported(failure.protocols)


def _full(error: StreamReset, failure: Failure) -> P2PError:
    explained = explain_reset(error, failure.protocols)
    assert isinstance(explained, LimitExceeded)
    return explained


def _unreadable(error: StreamReset, _: Failure) -> P2PError:
    told = "the peer could not read the request: are both RequestProtocols the same? Nothing was done about it"
    return Malformed(f"{told} (reset {error.code:#x})", path="request")


def _handler_failed(error: StreamReset, _: Failure) -> P2PError:
    return StreamReset(f"{error}: its handler failed or was late, its own log tells", code=error.code)


def _late(error: DeadlineExceeded, failure: Failure) -> P2PError:
    if failure.late is None:  # a deadline of the stream's own, as that of its negotiation
        return error
    return late(failure.late, failure.phase.value, failure.peer, sent=False)


_EACH: Final = (Phase.NEGOTIATE, Phase.SEND, Phase.WAIT)
_BEFORE: Final = (Phase.NEGOTIATE,)
_AFTER: Final = (Phase.SEND, Phase.WAIT)

_ROWS: Final[tuple[tuple[tuple[Phase, ...], type[P2PError], int | None, Explain, bool], ...]] = (
    # phases, what came, the code of a reset (None: any other), what the caller is told, whether the peer may have acted
    (_EACH, StreamReset, Reset.NEGOTIATION_FAILED, _unsupported, False),
    (_EACH, StreamReset, Reset.RESOURCE_LIMIT, _full, False),
    (_EACH, StreamReset, Reset.PROTOCOL_VIOLATION, _unreadable, False),
    (_BEFORE, StreamReset, None, _itself, False),
    (_AFTER, StreamReset, None, _handler_failed, True),
    (_EACH, UnsupportedProtocol, None, _unsupported, False),
    (_EACH, Rejected, None, _itself, False),
    (_EACH, LimitExceeded, None, _itself, False),
    (_BEFORE, DeadlineExceeded, None, _late, False),
    (_AFTER, DeadlineExceeded, None, _late, True),
    # The rest: the connection ended, an answer cannot be read, a codec of the application raises an error of ours.
    (_BEFORE, P2PError, None, _itself, False),
    (_AFTER, P2PError, None, _itself, True),
)

TABLE: Final[dict[tuple[Phase, type[P2PError], int | None], Outcome]] = {
    (phase, kind, code): (explain, sent) for phases, kind, code, explain, sent in _ROWS for phase in phases
}


def outcome(error: P2PError, phase: Phase) -> Outcome:
    """The row for ``error``: that of its class before those of its bases, and of its code before that of any code."""
    code = error.code if isinstance(error, StreamReset) else None
    for kind in type(error).__mro__:
        row = TABLE.get((phase, kind, code)) or TABLE.get((phase, kind, None))
        if row is not None:
            return row
    raise KeyError((phase, type(error), code))


def fail(error: P2PError, failure: Failure) -> NoReturn:
    """Raise what ``error`` means for the caller."""
    explain, sent = outcome(error, failure.phase)
    told = explain(error, failure)
    told.peer, told.sent = failure.peer, sent
    if told is error:
        raise error
    raise told from (None if isinstance(error, DeadlineExceeded) else error)
