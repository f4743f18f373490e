"""perf: measure how fast bytes go (libp2p specs, perf/perf.md).

The client says how many bytes it wants back (u64, big-endian), uploads as many as it likes and closes its
write side; the server reads to the end and then sends that many. Serving it lets a peer turn eight bytes
into any number, so it is off unless it is asked for (specs: SHOULD NOT be enabled by default).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stronghold_p2p.errors import Malformed, StreamEnded

if TYPE_CHECKING:
    from stronghold_p2p.streams.stream import Stream

PERF: Final = "/perf/1.0.0"
CHUNK: Final = 65_536
_ZEROS: Final = bytes(CHUNK)


async def serve(stream: Stream) -> None:
    """Answer one measurement."""
    wanted = int.from_bytes(await stream.readexactly(8), "big")
    await drain(stream)
    await send_zeros(stream, wanted)


async def send_zeros(stream: Stream, count: int, chunk: int = CHUNK) -> None:
    """Write ``count`` bytes, ``chunk`` at a time."""
    block = _ZEROS if chunk == CHUNK else bytes(chunk)
    while count >= chunk:
        await stream.write(block)
        count -= chunk
    if count:
        await stream.write(block[:count])


async def drain(stream: Stream) -> int:
    """Read to the end; returns how many bytes came."""
    total = 0
    while piece := await stream.read():
        total += len(piece)
    return total


async def measure(stream: Stream, *, upload: int, download: int) -> None:
    """The client's side on a fresh stream; ``StreamEnded`` or ``Malformed``: not as many bytes as were asked for."""
    await stream.write(download.to_bytes(8, "big"))
    await send_zeros(stream, upload)
    await stream.close_write()
    got = await drain(stream)
    if got < download:
        raise StreamEnded(f"{got} of {download} bytes, then the end")
    if got > download:
        raise Malformed(f"{got} bytes where {download} were asked for")
