"""The other end of ``process``: a program that does what JSON lines on its standard input say, one after the other."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

Line = dict[str, Any]


def say(line: Line) -> None:
    """One JSON line on standard output."""
    print(json.dumps(line), flush=True)


async def commands(ready: Line) -> AsyncIterator[Line]:
    """Say ``ready``, then give each line of standard input, until it ends or SIGTERM comes."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    stopping = asyncio.create_task(stop.wait())
    say(ready)
    while not stopping.done():
        reading = asyncio.create_task(reader.readline())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            break
        if not reading.result():
            break
        yield json.loads(reading.result())
    stopping.cancel()
    transport.close()
