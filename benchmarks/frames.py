"""What a byte costs in a WebSocket, by the frames of ours and by those of the package: ``python -m benchmarks.frames``.

As connections do it: 256 KiB arrive together, in messages of 64 KiB as ours and rust's are, in fragments of 4 KiB as
go's client sends them, and in 1 KiB. A server's frames are not masked, a client's are.
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable
from functools import partial

from websockets.client import ClientProtocol
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask
from websockets.uri import parse_uri

from stronghold_p2p.websocket.frames import FrameReader, FrameWriter
from stronghold_p2p.websocket.space import Space

TOGETHER = 256 << 10
SIZES = (64 << 10, 4 << 10, 1 << 10)


def package(client: bool) -> Protocol:
    if client:
        return ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN)
    return ServerProtocol(state=State.OPEN)


def ours_receives(reader: FrameReader, space: Space, arrived: memoryview) -> int:
    space.begin(b"")
    reader.receive(arrived, space.take, 0.0)
    return len(space.taken())


def package_sends(protocol: Protocol, payload: bytes) -> bytes:
    protocol.send_binary(payload)
    return b"".join(protocol.data_to_send())


def package_receives(protocol: Protocol, arrived: memoryview) -> int:
    protocol.receive_data(bytes(arrived))  # it takes no view
    return sum(len(event.data) for event in protocol.events_received() if hasattr(event, "data"))


def microseconds(call: Callable[[], object], pieces: int) -> float:
    """For each message, in the quickest of several tries."""
    return min(timeit.repeat(call, number=50, repeat=7)) / 50 / pieces * 1e6


def main() -> None:
    print("µs for each message: sent by ours, by the package; received, 256 KiB at once, by ours, by the package")
    for size in SIZES:
        payload, count = os.urandom(size), TOGETHER // size
        for client in (True, False):  # who sends
            sends, receives = package(client), package(not client)
            space = Space()
            writer = FrameWriter(apply_mask, os.urandom if client else None, space.sent)
            reader = FrameReader(apply_mask, masked=client)
            arrived = memoryview(bytes(writer.frame(payload)) * count)
            times = (
                microseconds(partial(writer.frame, payload), 1),
                microseconds(partial(package_sends, sends, payload), 1),
                microseconds(partial(ours_receives, reader, space, arrived), count),
                microseconds(partial(package_receives, receives, arrived), count),
            )
            who = "client" if client else "server"
            print(f"{size:6} bytes of a {who}: {times[0]:5.1f} {times[1]:5.1f}; {times[2]:5.1f} {times[3]:5.1f}")


if __name__ == "__main__":
    main()
