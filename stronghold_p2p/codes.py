"""Codes that end a connection or a stream: those of Yamux, and those of go-libp2p (core/network/conn.go, mux.go)."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class GoAway(IntEnum):
    """Why a connection ends: 0 to 2 are of the yamux spec, the rest of go-libp2p."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    NEGOTIATION_FAILED = 0x1000
    RESOURCE_LIMIT = 0x1001
    RATE_LIMITED = 0x1002
    PROTOCOL_VIOLATION = 0x1003
    SUPPLANTED = 0x1004
    GARBAGE_COLLECTED = 0x1005
    SHUTDOWN = 0x1006
    GATED = 0x1007


class Reset(IntEnum):
    """Why a stream ends, in the Length of a RST; shifted by one against ``GoAway``."""

    NONE = 0
    NEGOTIATION_FAILED = 0x1001
    RESOURCE_LIMIT = 0x1002
    RATE_LIMITED = 0x1003
    PROTOCOL_VIOLATION = 0x1004
    SUPPLANTED = 0x1005
    GARBAGE_COLLECTED = 0x1006
    SHUTDOWN = 0x1007
    GATED = 0x1008


_REASONS: Final[Mapping[int, str]] = {
    GoAway.PROTOCOL_ERROR: "it says that we broke the protocol",
    GoAway.INTERNAL_ERROR: "an internal error",
    GoAway.NEGOTIATION_FAILED: "nothing was agreed on",
    GoAway.RESOURCE_LIMIT: "it takes no more connections now",
    GoAway.RATE_LIMITED: "too much at once",
    GoAway.PROTOCOL_VIOLATION: "it says that we broke the protocol",
    GoAway.SUPPLANTED: "another connection takes its place",
    GoAway.GARBAGE_COLLECTED: "it was not used",
    GoAway.SHUTDOWN: "it shuts down",
    GoAway.GATED: "its firewall keeps us out",
}


def farewell(code: int) -> str:
    """What a go-away tells, in words."""
    if code == GoAway.NORMAL:
        return "the peer closed the connection"
    reason = _REASONS.get(code, "for a reason that we do not know")
    return f"the peer closed the connection: {reason} (code {code:#x})"
