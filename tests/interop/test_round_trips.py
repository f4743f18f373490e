"""How often a new connection goes there and back before the first byte is echoed, over a link of 100 ms.

TCP takes one round trip. Noise XX takes two, in which the first message goes with the proposal and the muxer is
chosen; its last message is on its way together with the stream's proposal and the byte, so the third round trip
brings the echo.

What a round trip of this link takes at this moment is measured beside it, by bare TCP connections: a busy machine
carries packets later than it was told to. The best of three measurements counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns import B_ADDRESS, Link, Unavailable, run_in, slow_link

ROOT = Path(__file__).resolve().parents[2]
OURS = [sys.executable, "-m", "harness.peer"]

DELAY = 0.05
RTT_MS = 2 * DELAY * 1e3
MOST = 3.2
TIMES = 5
TRIES = 3
PATIENCE = 60.0

# Prints how many seconds a TCP connection to HOST PORT takes, the median of so many.
CONNECT = """
import socket, statistics, sys, time
times = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()
    times.append(time.perf_counter() - start)
print(statistics.median(times))
"""

pytestmark = pytest.mark.serial


@pytest.fixture
def link() -> Iterator[Link]:
    try:
        with slow_link(DELAY) as between:
            yield between
    except Unavailable as reason:
        pytest.skip(str(reason))


@contextmanager
def serving(link: Link, peer: list[str], *options: str) -> Iterator[str]:
    """A server of the peer contract at the far end; its address."""
    command = run_in(link.b, *peer, "serve", "--host", B_ADDRESS, *options)
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["addr"]
    finally:
        server.terminate()
        server.wait(PATIENCE)
        if server.stdout is not None:
            server.stdout.close()


def said(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measured(link: Link, address: str) -> tuple[float, float]:
    """Milliseconds from before ``connect`` to the first echoed byte, and those of one round trip; medians."""
    host, port = address.split("/")[2], address.split("/")[4]
    trip = float(said(run_in(link.a, sys.executable, "-c", CONNECT, host, port, str(TIMES)))) * 1e3
    options = ["client", "--addr", address, "--mode", "connect", "--n", str(TIMES)]
    return float(json.loads(said(run_in(link.a, *OURS, *options)))["fb_median_ms"]), trip


@pytest.fixture
def judge(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    def judge(between: str, link: Link, address: str, most: float = MOST) -> None:
        for _ in range(TRIES):
            first, trip = measured(link, address)
            with capsys.disabled():
                told = f"{first:.1f} ms, {first / trip:.2f} round trips of {trip:.1f} ms"
                print(f"\nconnect and first echoed byte {between}: {told}")
            assert trip >= RTT_MS, "the link is not as slow as it has to be"
            if first <= most * trip:
                return
        raise AssertionError(f"{first / trip:.2f} round trips, {most} allowed; the best of {TRIES} was no better")

    return judge


def test_between_two_of_ours(link: Link, judge: Callable[..., None]) -> None:
    with serving(link, OURS) as address:
        judge("between two of ours", link, address)


def test_from_ours_to_go(go: Path, link: Link, judge: Callable[..., None]) -> None:
    with serving(link, [str(go)]) as address:
        judge("from ours to go", link, address)


def test_over_websocket_it_is_one_more(go: Path, link: Link, judge: Callable[..., None]) -> None:
    """The request for a WebSocket and its answer; what we say first leaves as soon as that is there."""
    for between, peer in (("two of ours", OURS), ("ours and go", [str(go)])):
        with serving(link, peer, "--over", "ws") as address:
            judge(f"between {between} over WebSocket", link, address, MOST + 1)


def test_nothing_is_left_of_a_link(link: Link) -> None:
    """Neither the namespaces nor who runs in them, when whoever wanted the link fails."""
    names: list[str] = []
    running: list[subprocess.Popen[bytes]] = []
    with pytest.raises(ZeroDivisionError), slow_link(DELAY) as other:
        names += [other.a, other.b]
        running += [subprocess.Popen(run_in(name, "sleep", "60")) for name in names]
        assert set(names) <= _namespaces()
        raise ZeroDivisionError
    assert [process.wait(PATIENCE) for process in running] == [-9, -9]
    assert set(names) & _namespaces() == set()


def _namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listed.stdout.splitlines()}
