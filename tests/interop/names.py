"""Protocols that both sides serve, and what they agree on in them."""

RR = "/bench/rr/1"
ECHO = "/bench/echo/1"
SINK = "/test/sink/1"
SOURCE = "/test/source/1"
RESET = "/test/reset/1"
HALF_CLOSE = "/test/halfclose/1"
HOLD = "/test/hold/1"
SLOW = "/test/slow/1"
RESET_CODE = 0x2A
SLOW_CHUNK = 16_384
SLOW_PAUSE = 0.005
