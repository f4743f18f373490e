"""B12: more sockets than descriptors, at a server that has never printed an address."""

from __future__ import annotations

import resource
import socket
import sys
import tempfile
import time
from contextlib import ExitStack

from harness.process import processor_time
from tests.field.figure import Figure
from tests.field.node import RECORD
from tests.field.nodes import node
from tests.netns import Unavailable

SOCKETS = 60
DESCRIPTORS = 12
SECONDS = 6.0  # asyncio tries again, and logs, once a second
SHARE = 0.05  # of a core
LINES = 10


def no_descriptor_left() -> Figure:
    """What it costs while the sockets are there, and whether it listens afterwards."""
    if sys.platform != "linux":
        raise Unavailable("the limit of another process is set by Linux only")
    with tempfile.TemporaryFile() as errors, node("listens", errors=errors) as server, ExitStack() as stack:
        place = "127.0.0.1", int(server.says(20)["port"])
        pid = server.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
        before, start = processor_time(pid), time.monotonic()
        for _ in range(SOCKETS):
            stack.enter_context(socket.create_connection(place, timeout=5))
        time.sleep(SECONDS)
        share = (processor_time(pid) - before) / (time.monotonic() - start)
        errors.seek(0)
        records = [line for line in errors.read().decode().splitlines() if line.startswith(RECORD)]
        stack.close()
        works = _is_served(place)
    return Figure(
        found=f"{share:.1%} of a core, {len(records)} log lines in {SECONDS:.0f} s, "
        f"{'works' if works else 'does not work'} afterwards",
        bound=f"{SHARE:.0%}, {LINES} lines",
        holds=share < SHARE and len(records) <= LINES and works,
    )


def _is_served(place: tuple[str, int]) -> bool:
    """Whether who connects now is spoken to."""
    with socket.create_connection(place, timeout=10) as sock:
        sock.sendall(b"\x13/multistream/1.0.0\n")
        try:
            return sock.recv(1) != b"" or sock.recv(1) != b""
        except TimeoutError:
            return False
