"""What has happened since the network was made, as numbers that only grow.

What goes well is not counted one by one: ids are handed out, and places taken, anyhow, and say how much there was.
Counted is what fails, where it is told as an event.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DialError,
    HandshakeError,
    LimitExceeded,
    Rejected,
    StreamReset,
)
from stronghold_p2p.events.events import AcceptFailed, DialFailed, Ended, Event, RequestFailed, RequestUnread

# Which number an error of a dial, or of a request that was delivered, belongs to; the first row that fits.
DIALS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (DeadlineExceeded, "dials_late"),
    (HandshakeError, "dials_unproven"),
    (DialError, "dials_failed"),
    (Exception, "dials_forbidden"),
)
HANDLED: Final[tuple[tuple[type[Exception], str], ...]] = (
    (DeadlineExceeded, "requests_in_late"),
    (StreamReset, "requests_in_left"),
    (ConnectionClosed, "requests_in_left"),
    (Rejected, "requests_in_rejected"),
    (Exception, "requests_in_failed"),
)
ASKED: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (DeadlineExceeded, "requests_out_late"),
    (Rejected, "requests_out_refused"),
    (Exception, "requests_out_failed"),
    (BaseException, "requests_out_cancelled"),
)
NAMES: Final = (
    "connections_ended_in",
    "connections_ended_out",
    "accepts_failed",
    "requests_in_refused",
    "requests_in_unread",
    "requests_out",  # on connections that are over
    "requests_out_unsent",
    "peers_discovered",
    "peers_lost",
    "mdns_packets",
    "mdns_dropped",
    *dict.fromkeys(name for table in (DIALS, HANDLED, ASKED) for _, name in table),
)


class Counts(Counter[str]):
    """The numbers by their names, without ``_total``; ``limit_`` and a limit's name: how often that has refused."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(NAMES, 0))

    def tell(self, event: Event) -> None:
        """Count ``event``, if it is one of those that are counted."""
        match event:
            case AcceptFailed(error=error):
                self["accepts_failed"] += 1
                self.limit(error)
            case DialFailed(error=error):
                self[_row(DIALS, error)] += 1
                self.limit(error)
            case Ended(connection):
                self["connections_ended_in" if connection.direction == "in" else "connections_ended_out"] += 1
            case RequestFailed(error=error):
                self[_row(HANDLED, error)] += 1
            case RequestUnread(error=error):
                self["requests_in_unread"] += 1
                self.limit(error)
            case _:
                pass

    def limit(self, error: BaseException) -> None:
        """A limit of ours has refused somebody, if that is what ``error`` says."""
        if isinstance(error, LimitExceeded) and not error.remote:
            self[f"limit_{error.limit}"] += 1

    def asked(self, error: BaseException) -> None:
        """A request of ours, for which there was a stream, has ended in ``error``."""
        self[_row(ASKED, error)] += 1

    def snapshot(self) -> Mapping[str, int]:
        return {f"{name}_total": count for name, count in self.items()}


def _row(table: tuple[tuple[type[BaseException], str], ...], error: BaseException) -> str:
    return next(name for kind, name in table if isinstance(error, kind))
