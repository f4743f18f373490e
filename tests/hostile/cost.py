"""What strangers can make us pay, by layer: ``python -m tests.hostile.cost [word ...]``, or ``make cost``.

For each kind of traffic: processor seconds per megabyte (10^6 bytes) that the attacker sends, bytes that we send and
bytes of our log for each byte of his. The log is the audit log at INFO, which is written in a second run, so that the
processor's time is that of default options. The attacker is somebody whom all rules reject; he connects as often as he
is put out, and what his connections cost is counted in ``handshake`` alone. The exit code is 1 if a bar is missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.hostile.arena import Arena, Program
from tests.hostile.client import Peer, half_way, upgrade_out
from tests.hostile.codec import Identity, integer, line, prefixed, propose
from tests.hostile.frames import FIN, RST, SYN, data, frame, ping, update
from tests.hostile.names import GUARDED, IDENTIFY, NOISE, PING, PUSH
from tests.hostile.told import identify, ip4_tcp
from tests.hostile.wire import Ended, Late, Wire

SECONDS_PER_MB: Final = 5.0
BYTES_OUT: Final = 8.0
ROUNDS: Final = 40  # connections of one kind, at most
ENOUGH: Final = 1.0  # seconds of the attacker for one kind
BATCH: Final = 64  # what is sent together
SERVED: Final = ("--protocols", "100")

Attack = Callable[[Peer], None]


@dataclass(frozen=True)
class Kind:
    """``attack`` sends one batch on a connection, or ``whole`` plays all of one on a socket."""

    layer: str
    name: str
    attack: Attack | None = None
    whole: Callable[[Wire], None] | None = None

    @property
    def handshake(self) -> bool:
        return self.layer == "handshake"


@dataclass
class Cost:
    """Sums over all connections of one kind."""

    seconds: float = 0.0
    sent: int = 0
    received: int = 0
    logged: int = 0

    @property
    def rate(self) -> float:
        return self.seconds / max(self.sent, 1) * 1e6

    @property
    def out(self) -> float:
        return self.received / max(self.sent, 1)

    @property
    def log(self) -> float:
        return self.logged / max(self.sent, 1)


def streams(peer: Peer, first: bytes, *, end: bytes = b"") -> None:
    """A batch of streams that begin with this; ``end`` is what the last frame of each is made of."""
    frames = bytearray()
    for _ in range(BATCH):
        stream, peer.next_id = peer.next_id, peer.next_id + 2
        frames += data(stream, first, SYN)
        if end:
            frames += update(stream, 0, FIN if end == b"fin" else RST)
    peer.send(bytes(frames))


def opening(protocol: str, body: bytes = b"", end: bytes = b"fin") -> Attack:
    return lambda peer: streams(peer, propose(protocol) + body, end=end)


def frames(*each: bytes) -> Attack:
    return lambda peer: peer.send(b"".join(each) * BATCH)


def one_by_one(peer: Peer) -> None:
    for number in range(BATCH):
        peer.send(ping(number))


def on_one_stream(protocol: str, piece: bytes) -> Attack:
    """A stream for each connection, on which pieces are sent within what is let in."""

    def attack(peer: Peer) -> None:
        if 1 not in peer.credit:
            peer.open(protocol)
        peer.write(1, piece * BATCH)

    return attack


def half_a_handshake(wire: Wire) -> None:
    """The listener has signed, and waits for message 3."""
    half_way(wire)


def a_handshake(wire: Wire) -> None:
    """Somebody new, each time."""
    upgrade_out(wire, Identity()).alive()


def nonsense(wire: Wire) -> None:
    wire.send(b"GET / HTTP/1.1\r\n\r\n" * BATCH)
    wire.until_closed()


def proposals(wire: Wire) -> None:
    wire.send(propose(*["/nothing/1.0.0"] * 64, NOISE))
    wire.until_closed()


PLACE: Final = ip4_tcp("192.0.2.7", 4_001)
KINDS: Final = (
    Kind("handshake", "whole, by somebody new", whole=a_handshake),
    Kind("handshake", "up to message 2", whole=half_a_handshake),
    Kind("multistream", "no header", whole=nonsense),
    Kind("multistream", "64 proposals for a connection", whole=proposals),
    Kind("records", "of one ping each", one_by_one),
    Kind("yamux", "pings", frames(ping(7))),
    Kind("yamux", "answers to pings that were not sent", frames(ping(7, 2))),
    Kind("yamux", "credit for streams that are gone", frames(update(1, 1))),
    Kind("yamux", "data for streams that are gone", frames(data(1, b"x" * 100))),
    Kind("yamux", "empty data for streams that are gone", frames(data(1, b""))),
    Kind("yamux", "streams that are reset at once", lambda peer: streams(peer, b"", end=b"rst")),
    Kind("yamux", "frames of an unknown type", frames(frame(9, 0, 0, 0))),
    Kind("streams", "of no protocol, closed", lambda peer: streams(peer, b"", end=b"fin")),
    Kind("streams", "a protocol that nobody serves", opening("/nobody/serves/this")),
    Kind("streams", "a protocol that is rejected", opening(GUARDED)),
    Kind("streams", "one that is rejected, with a request", opening(GUARDED, prefixed(b'"Ping"'))),
    Kind("streams", "64 proposals on a stream", opening("/nothing/1.0.0", b"".join(map(line, ["/nothing"] * 63)))),
    Kind("identify", "asked", opening(IDENTIFY)),
    Kind("identify", "told: one address, often", opening(PUSH, prefixed(identify(None, addresses=[PLACE] * 500)))),
    Kind("identify", "told: many protocols", opening(PUSH, prefixed(identify(None, protocols=["/p"] * 1_500)))),
    Kind("identify", "told: nonsense", opening(PUSH, prefixed(integer(7, 1) * 200))),
    Kind("ping", "32 bytes at a time", on_one_stream(PING, b"x" * 32)),
    Kind("ping", "a stream for each", opening(PING, b"x" * 32)),
)


def on_a_connection(program: Program, kind: Kind, cost: Cost, end: float) -> None:
    """Until the time is over, or the other side has had enough."""
    assert kind.attack is not None
    with program.connect() as peer:
        peer.rest(0.05)  # identify
        wire = peer.wire
        sent, received, start = wire.sent, wire.received, program.cpu()
        with suppress(Ended, Late, AssertionError):
            while time.monotonic() < end:
                kind.attack(peer)
                if not peer.alive(1.0):  # what nobody reads any more costs nothing, and does not count
                    break
        cost.seconds += program.cpu() - start
        cost.sent += wire.sent - sent
        cost.received += wire.received - received


def on_a_socket(program: Program, kind: Kind, cost: Cost) -> None:
    assert kind.whole is not None
    start = program.cpu()
    with program.wire() as wire:
        with suppress(Ended, Late, AssertionError):
            kind.whole(wire)
        cost.sent += wire.sent
        cost.received += wire.received
    time.sleep(0.005)
    cost.seconds += program.cpu() - start


def measured(guard: Program, kind: Kind, enough: float, *, log: bool) -> Cost:
    """All that was spent on one kind of traffic in so many seconds of the attacker."""
    cost = Cost()
    guard.rules(("reject", {}))
    guard.ask(do="log", level="INFO" if log else "WARNING")
    end, rounds = time.monotonic() + enough, 0
    while time.monotonic() < end and rounds < ROUNDS:
        rounds += 1
        if kind.attack is not None:
            on_a_connection(guard, kind, cost, end)
        else:
            on_a_socket(guard, kind, cost)
    cost.logged = guard.state()["written"]
    guard.ask(do="log", level="WARNING")
    return cost


def alone(kind: Kind, *, log: bool) -> Cost:
    """In a process of its own."""
    with Arena(full=False).guard(*SERVED) as guard:
        return measured(guard, kind, ENOUGH, log=log)


def missed(kind: Kind, cost: Cost) -> list[str]:
    """The bars that it does not keep."""
    slow = not kind.handshake and cost.rate > SECONDS_PER_MB
    return ["s/MB"] * slow + ["out"] * (cost.out > BYTES_OUT)


def row(kind: Kind, cost: Cost, log: Cost) -> str:
    wrong = missed(kind, cost)
    told = "above the bar: " + ", ".join(wrong) if wrong else "no bar for s/MB" if kind.handshake else ""
    return (
        f"{kind.layer:12} {kind.name:44.44} {cost.sent / 1e6:8.3f} {cost.rate:8.2f} {cost.out:8.2f} {log.log:8.3f}"
        f"  {told}".rstrip()
    )


def main(words: list[str]) -> int:
    chosen = [kind for kind in KINDS if not words or any(word in f"{kind.layer} {kind.name}" for word in words)]
    print(f"{'layer':12} {'traffic':44} {'MB':>8} {'s/MB':>8} {'out/in':>8} {'log/in':>8}")
    failures = 0
    for kind in chosen:
        cost, log = (alone(kind, log=log) for log in (False, True))
        failures += bool(missed(kind, cost))
        print(row(kind, cost, log), flush=True)
    bars = f"at most {SECONDS_PER_MB:g} s/MB but for handshakes, and {BYTES_OUT:g} bytes out for a byte in"
    print(f"{failures} of {len(chosen)} above the bars: {bars}" if failures else f"all within the bars: {bars}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
