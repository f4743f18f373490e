"""perf: measure how fast bytes go (libp2p specs, perf/perf.md).

The client says how many bytes it wants back (u64, big-endian), uploads as many as it likes and closes its
write side; the server reads to the end and then sends that many. Serving it lets a peer turn eight bytes
into any number, so it is off unless it is asked for (specs: SHOULD NOT be enabled by default).
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from stronghold_p2p.errors import Malformed, StreamEnded
from stronghold_p2p.streams.stream import Stream

PERF: Final = "/perf/1.0.0"
CHUNK: Final = 65_536
_ZEROS: Final = bytes(CHUNK)

Progress: TypeAlias = Callable[[int], object]


def _ignore(_count: int) -> None:
    """The progress that nobody looks at."""


async def serve(stream: Stream) -> None:
    """Answer one measurement."""
    wanted = int.from_bytes(await stream.readexactly(8), "big")
    await drain(stream)
    await send_zeros(stream, wanted)


async def send_zeros(stream: Stream, count: int, chunk: int = CHUNK, progress: Progress = _ignore) -> None:
    """Write ``count`` bytes, ``chunk`` at a time; ``progress`` is called with the bytes so far."""
    block = _ZEROS if chunk == CHUNK else bytes(chunk)
    for sent in range(0, count, chunk):
        await stream.write(block[: count - sent])
        progress(min(sent + chunk, count))


async def drain(stream: Stream, progress: Progress = _ignore) -> int:
    """Read to the end; returns how many bytes came. ``progress`` is called with the bytes so far."""
    total = 0
    while piece := await stream.read():
        total += len(piece)
        progress(total)
    return total


async def measure(
    stream: Stream, *, upload: int, download: int, progress: Progress = _ignore, back: Progress | None = None
) -> None:
    """The client's side on a fresh stream; ``progress`` is called with the bytes so far, each way from 0.

    ``back`` is called instead of it on the way back, whose first bytes say that the upload has arrived.

    ``StreamEnded`` if fewer bytes come back than were asked for, ``Malformed`` if more do.
    """
    await stream.write(download.to_bytes(8, "big"))
    await send_zeros(stream, upload, progress=progress)
    await stream.close_write()
    got = await drain(stream, back or progress)
    if got < download:
        raise StreamEnded(f"{got} of {download} bytes, then the end")
    if got > download:
        raise Malformed(f"{got} bytes where {download} were asked for")
