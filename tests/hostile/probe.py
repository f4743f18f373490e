"""The honest user beside a row, in a process of its own: one request every 50 ms over one connection.

    python -m tests.hostile.probe HOST PORT [--connect]

With ``--connect`` it dials anew for each request, four times a second (the rate of connections is limited). When it
is told to stop it prints how many requests there were, how many failed, and how long they took.
"""

from __future__ import annotations

import json
import signal
import sys
import time

from tests.hostile.client import Peer, connect
from tests.hostile.codec import Identity
from tests.hostile.wire import Ended, Late

SOURCE = "127.77.77.77"  # not the attackers'
EVERY = 0.05
EVERY_CONNECT = 0.25
PATIENCE = 3.0


def main(host: str, port: int, *, anew: bool) -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    address, identity, every = (host, port), Identity(), EVERY_CONNECT if anew else EVERY
    peer: Peer | None = connect(address, identity, source=SOURCE)
    times: list[float] = []
    failures: list[str] = []
    print(json.dumps({"ready": True}), flush=True)
    due = time.monotonic()
    while not stopped:
        start = time.monotonic()
        try:
            if peer is not None and anew:
                peer.wire.close()
            if peer is None or anew:
                peer = connect(address, identity, source=SOURCE)
            peer.request(b"are you there?", PATIENCE)
        except (Ended, Late, AssertionError, OSError) as error:
            failures.append(repr(error))
            peer = None
        times.append(time.monotonic() - start)
        due = max(due + every, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
    times.sort()
    worst = times[int(len(times) * 0.99)] if times else 0.0
    print(json.dumps({"count": len(times), "failures": failures[:5], "p99": worst}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), anew="--connect" in sys.argv)
