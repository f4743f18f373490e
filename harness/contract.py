"""What our two ways to keep the peer contract share: protocols, limits, timeouts, and what a client can do."""

from __future__ import annotations

import argparse
from typing import Protocol

from stronghold_p2p import Limits, Stream, Timeouts
from stronghold_p2p.streams.live import LiveStream

RR = "/bench/rr/1"
ECHO = "/bench/echo/1"
WRONG = "wrong answer"
BUSY_POLL = 100e-6

LIFTED = Limits(
    connections=None,
    per_peer=None,
    per_subnet=None,
    pending_in=None,
    pending_out=None,
    accept_rate=None,
    streams_in=None,
    streams_in_total=None,
)


class Client(Protocol):
    """A fresh host: it connects to the server once, and then opens streams to it and asks it."""

    async def connect(self, addr: str) -> None: ...

    async def open(self, protocol: str) -> Stream | LiveStream: ...

    async def ask(self, body: bytes) -> float:
        """One request, its answer checked; how many milliseconds both took."""
        ...


def timeouts(options: argparse.Namespace) -> Timeouts:
    return Timeouts(idle=None, busy_poll=BUSY_POLL if options.busy_poll else None)


async def answer(stream: Stream) -> None:
    """``/bench/rr/1``: read to the end, write the same bytes back."""
    await stream.write(await stream.read_to_end(1 << 24))


async def answer_echo(stream: Stream) -> None:
    """``/bench/echo/1``: each chunk as it arrives."""
    async for chunk in stream:
        await stream.write(chunk)
