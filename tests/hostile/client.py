"""A peer of our own on a blocking socket, in both roles: it sends what it is told, right or wrong.

``connect`` dials and ``Host`` listens; both give a ``Peer``, which keeps what has come in. Noise is that of another
library; of the package it has the encoders of single frames, keys and numbers.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from harness.process import Patience
from stronghold_p2p.yamux import header
from tests.hostile.codec import Identity, line, prefixed, propose
from tests.hostile.frames import ACK, DATA, FIN, GO_AWAY, PINGS, RST, SYN, UPDATE, WINDOW, data, ping, update
from tests.hostile.names import MULTISTREAM, NOISE, PUSH, RR, YAMUX
from tests.hostile.secure import Channel, Handshake, framed, read_framed
from tests.hostile.wire import PATIENCE, Ended, Late, Wire


class Peer:
    """The session over a channel: counts, bodies, credit and ends of all streams, as they arrive."""

    def __init__(self, channel: Channel, *, client: bool) -> None:
        self.channel = channel
        self.wire = channel.wire
        self.next_id = 1 if client else 2
        self.bodies: dict[int, bytearray] = {}
        self.credit: dict[int, int] = {}  # what the other side still lets us send
        self.opened: list[int] = []  # streams of the other side
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self.acked: set[int] = set()
        self.pongs: list[int] = []
        self.pings: list[int] = []
        self.go_away: int | None = None
        self.generous = True  # give credit back for what arrives
        self.answers_pings = True
        self._rest = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    # ------------------------------------------------------------------ sending

    def send(self, *frames: bytes) -> None:
        """All frames together in as few records as possible."""
        self.channel.send(b"".join(frames))

    def write(self, stream: int, body: bytes, flags: int = 0, size: int = 65_000) -> None:
        """Data within the credit that is known; waits for more."""
        while body:
            assert self.pump(lambda: self.credit.get(stream, WINDOW) > 0 or stream in self.resets), "no credit"
            if stream in self.resets:
                return
            piece = body[: min(size, self.credit.get(stream, WINDOW))]
            self.credit[stream] = self.credit.get(stream, WINDOW) - len(piece)
            body = body[len(piece) :]
            self.send(data(stream, piece, flags))
            flags = 0

    def open(self, protocol: str, body: bytes = b"", *, fin: bool = False) -> int:
        """A new stream: its SYN, the proposal and ``body`` in one frame."""
        return self.open_raw(propose(protocol) + body, fin=fin)

    def open_raw(self, first: bytes, *, fin: bool = False) -> int:
        """A new stream that begins with any bytes."""
        stream, self.next_id = self.next_id, self.next_id + 2
        self.credit[stream] = WINDOW - len(first)
        self.send(data(stream, first, SYN), update(stream, 0, FIN) if fin else b"")
        return stream

    def ask(self, protocol: str, message: object, *, fin: bool = True) -> int:
        """One request in JSON, whole, on a new stream."""
        return self.open(protocol, prefixed(json.dumps(message).encode()), fin=fin)

    def finish(self, stream: int, flags: int = FIN) -> None:
        """End our direction of the stream, or with ``RST`` both."""
        self.send(update(stream, 0, flags))

    # ------------------------------------------------------------------ receiving

    def pump(self, until: Callable[[], bool], within: float = PATIENCE) -> bool:
        """Take what comes until the condition holds; False when it does not in time, or the other side has gone."""
        return self._take_until(until, Patience.of(within))

    def _take_until(self, until: Callable[[], bool], within: float) -> bool:
        end = time.monotonic() + within
        while not until():
            try:
                if self.channel.whole():
                    self._take(self.channel.receive())
                elif not self.wire.fill(end - time.monotonic()) and time.monotonic() >= end:
                    return False
            except (Ended, Late):
                return until()
        return True

    def rest(self, within: float) -> None:
        """Take what comes for ``within`` seconds, not more and not less."""
        self._take_until(lambda: False, within)

    def _take(self, plaintext: bytes) -> None:
        self._rest += plaintext
        rest, at = self._rest, 0
        while len(rest) - at >= 12:
            version, kind, flags, stream, length = header.HEADER.unpack_from(rest, at)
            assert version == 0
            end = at + 12 + (length if kind == DATA else 0)
            if len(rest) < end:
                break
            if kind == GO_AWAY:
                self.go_away = length
            elif kind == PINGS and not flags & SYN:
                self.pongs.append(length)
            elif kind == PINGS:
                self.pings.append(length)
                self.send(ping(length, ACK) if self.answers_pings else b"")
            else:
                self._on_stream(kind, flags, stream, length, bytes(rest[at + 12 : end]))
            at = end
        del rest[:at]

    def _on_stream(self, kind: int, flags: int, stream: int, length: int, body: bytes) -> None:
        if flags & SYN:
            self.opened.append(stream)
        if flags & ACK:
            self.acked.add(stream)
        if flags & RST:
            self.resets[stream] = length if kind == UPDATE else 0
            return
        if kind == UPDATE:
            self.credit[stream] = self.credit.get(stream, WINDOW) + length
        elif body:
            self.bodies.setdefault(stream, bytearray()).extend(body)
            if self.generous and not flags & FIN:
                self.send(update(stream, len(body)))
        if flags & FIN:
            self.finished.add(stream)

    # ------------------------------------------------------------------ what is expected

    def body(self, stream: int) -> bytes:
        return bytes(self.bodies.get(stream, b""))

    def says(self, stream: int, end: bytes, within: float = PATIENCE) -> bool:
        """What comes on the stream ends with this, in time."""
        return self.pump(lambda: self.body(stream).endswith(end), within)

    def over(self, stream: int, within: float = PATIENCE) -> bool:
        """The other side ends the stream, in time."""
        return self.pump(lambda: stream in self.resets or stream in self.finished, within)

    def asked(self, protocol: str, count: int = 1) -> list[int]:
        """The streams on which the other side proposes this to us, at least so many."""

        def found() -> list[int]:
            return [stream for stream in self.opened if self.body(stream).startswith(propose(protocol))]

        assert self.pump(lambda: len(found()) >= count), f"{len(found())} of {count} streams for {protocol}"
        return found()

    def alive(self, within: float = PATIENCE) -> bool:
        """A ping of ours is answered."""
        value = 0x5EED0000 + len(self.pongs)
        try:
            self.send(ping(value))
        except Ended:
            return False
        return self.pump(lambda: value in self.pongs, within)

    def lasts(self, within: float, meanwhile: Callable[[], object]) -> float:
        """Seconds until the other side has gone, which has to be in time; ``meanwhile`` is done again and again."""
        start, within = time.monotonic(), Patience.of(within)
        while self.wire.ending is None and time.monotonic() - start < within:
            meanwhile()
            self.rest(0.05)
        assert self.wire.ending is not None, f"not closed after {within:g} s"
        return time.monotonic() - start

    def ends(self, code: int | None, within: float = PATIENCE) -> float:
        """The connection ends with this go-away (None: without one); the seconds it took."""
        start = time.monotonic()
        self.pump(lambda: False, within)
        assert self.wire.ending is not None, f"not closed after {within:g} s"
        assert self.go_away == code, f"go-away {self.go_away}, not {code}"
        return time.monotonic() - start

    def reset_with(self, stream: int, code: int, within: float = PATIENCE) -> None:
        """The stream is reset with this code."""
        assert self.pump(lambda: stream in self.resets, within), f"stream {stream} is not reset"
        assert self.resets[stream] == code, f"reset with {self.resets[stream]:#x}, not {code:#x}"

    def push(self, body: bytes, *, fin: bool = True) -> int:
        """Tell with identify push, on the stream that is returned."""
        stream = self.open(PUSH)
        self.write(stream, body)
        if fin:
            self.finish(stream)
        return stream

    def request(self, body: bytes, within: float = PATIENCE) -> None:
        """One request with its answer, in order: what an honest user does."""
        stream = self.open(RR, body if len(body) < 60_000 else b"", fin=len(body) < 60_000)
        if len(body) >= 60_000:
            self.write(stream, body)
            self.finish(stream)
        assert self.over(stream, within), "no answer"
        assert self.body(stream) == propose(RR) + body, "a wrong answer"
        del self.bodies[stream]


# ---------------------------------------------------------------------- upgrades


@contextmanager
def closing(wire: Wire) -> Iterator[Wire]:
    """The wire, which is closed if what is done with it fails."""
    try:
        yield wire
    except BaseException:
        wire.close()
        raise


def connect(address: tuple[str, int], identity: Identity | None = None, *, source: str | None = None) -> Peer:
    """Dial, honestly up to the session."""
    with closing(Wire.connect(address, source=source)) as wire:
        return upgrade_out(wire, identity or Identity())


def upgrade_out(wire: Wire, identity: Identity, *, early: bool = True) -> Peer:
    """The dialer's side. ``early``: the muxer is chosen inside the handshake."""
    handshake = half_way(wire, identity)
    wire.send(third(handshake, (YAMUX,) if early else ()))
    channel = handshake.channel(wire)
    if early:
        return Peer(channel, client=True)
    channel.send(propose(YAMUX))
    return chosen(channel, channel.at_least(len(propose(YAMUX))))


def chosen(channel: Channel, got: bytes) -> Peer:
    """The session behind what has come in: the choice of a muxer, and its first bytes."""
    before, echoed, rest = got.partition(line(YAMUX))
    assert before.startswith(MULTISTREAM)
    assert echoed
    peer = Peer(channel, client=True)
    peer._take(rest)
    return peer


def half_way(wire: Wire, identity: Identity | None = None) -> Handshake:
    """The dialer's side, up to message 2."""
    handshake = Handshake(identity or Identity(), initiator=True)
    wire.send(propose(NOISE) + framed(handshake.write()))
    expect_lines(wire, MULTISTREAM, line(NOISE))
    handshake.read(read_framed(wire))
    return handshake


def third(handshake: Handshake, muxers: tuple[str, ...] = (YAMUX,)) -> bytes:
    """An honest message 3 (or, as listener, 2), framed."""
    return framed(handshake.write(handshake.payload(muxers)))


def upgrade_in(wire: Wire, identity: Identity, *, early: bool = True) -> Peer:
    """The listener's side."""
    handshake = answer_security(wire, identity)
    wire.send(third(handshake, (YAMUX,) if early else ()))
    handshake.read(read_framed(wire))
    channel = handshake.channel(wire)
    if not early:
        assert channel.at_least(len(propose(YAMUX))) == propose(YAMUX)
        channel.send(propose(YAMUX))
    return Peer(channel, client=False)


def answer_security(wire: Wire, identity: Identity) -> Handshake:
    """The listener's side, up to message 1."""
    handshake = Handshake(identity, initiator=False)
    expect_lines(wire, MULTISTREAM, line(NOISE))
    wire.send(propose(NOISE))
    handshake.read(read_framed(wire))
    return handshake


def expect_lines(wire: Wire, *lines: bytes) -> None:
    for expected in lines:
        got = wire.exactly(len(expected))
        assert got == expected, got


class Host:
    """A listening socket of ours."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.sock = socket.create_server((host, 0), backlog=64)
        self.identity = Identity()
        self.port: int = self.sock.getsockname()[1]
        self.address = f"/ip4/{host}/tcp/{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def accept(self, within: float = PATIENCE) -> Wire:
        self.sock.settimeout(Patience.of(within))
        return Wire(self.sock.accept()[0])

    def nobody_comes(self, within: float) -> None:
        """Nobody has been led here."""
        self.sock.settimeout(within)
        with suppress(TimeoutError):
            self.sock.accept()[0].close()
            raise AssertionError("the canary was dialed")

    def peer(self, *, early: bool = True) -> Peer:
        """Accept, honestly up to the session."""
        with closing(self.accept()) as wire:
            return upgrade_in(wire, self.identity, early=early)
