"""How a WebSocket ends: the payload of a Close frame (RFC 6455, 5.5.1 and 7.4)."""

from dataclasses import dataclass
from typing import Final

from stronghold_p2p.errors import DecodeError

NORMAL: Final = 1_000
GOING_AWAY: Final = 1_001
PROTOCOL_ERROR: Final = 1_002
NO_CODE: Final = 1_005  # it stands for none; never sent
VIOLATION: Final = 1_008
TOO_BIG: Final = 1_009

ORDINARY: Final = frozenset({NORMAL, GOING_AWAY, NO_CODE})
"""What peers say that have not met with anything wrong: go and rust 1000, a browser's tab 1001, js none."""

_SENT: Final = frozenset({*range(1_000, 1_004), *range(1_007, 1_015), *range(3_000, 5_000)})
_MOST: Final = 123  # bytes of a reason: with its code it has to fit into a control frame


@dataclass(frozen=True, slots=True)
class Close:
    """Why one side ends it. ``reason`` is for people; it may be the peer's."""

    code: int
    reason: str = ""

    @staticmethod
    def parse(payload: bytes) -> "Close":
        """``DecodeError``: that is no payload of a Close frame."""
        if not payload:
            return Close(NO_CODE)
        code = int.from_bytes(payload[:2], "big")
        if len(payload) == 1 or code not in _SENT:
            raise DecodeError("a close with a code that there is not")
        try:
            return Close(code, payload[2:].decode())
        except UnicodeDecodeError:
            raise DecodeError("a close with a reason that is no text") from None

    def payload(self) -> bytes:
        """As it is sent; a reason that is too long is cut."""
        if self.code == NO_CODE:
            return b""
        reason = self.reason.encode()[:_MOST].decode(errors="ignore")
        return self.code.to_bytes(2, "big") + reason.encode()

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()
