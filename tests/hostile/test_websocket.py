"""Hostile rows 12 to 14: WebSocket, as a listener and as a dialer."""

from __future__ import annotations

import time
from contextlib import suppress

from harness.process import soon
from stronghold_p2p.codes import GoAway
from tests.hostile.arena import KIB, Arena, Program, warm_up_listener
from tests.hostile.client import Host, Peer, closing, upgrade_in, upgrade_out
from tests.hostile.codec import Identity, propose
from tests.hostile.names import HOLD, MULTISTREAM, NOISE
from tests.hostile.websocket import ACCEPT, WebSocket, frame, request
from tests.hostile.wire import Ended, Wire
from tests.websocket.by_the_book import BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, raw


def socket_to(target: Program) -> WebSocket:
    address = target.ready["ws"].split("/")
    return WebSocket(Wire.connect((address[2], int(address[4]))).sock)


def websocket(target: Program) -> WebSocket:
    """Open, with nothing agreed upon."""
    wire = socket_to(target)
    assert wire.open() == 101
    assert ACCEPT.encode() in wire.head
    return wire


def connected(target: Program) -> Peer:
    """Honest up to the session."""
    with closing(websocket(target)) as wire:
        return upgrade_out(wire, Identity())


def warm_up(target: Program) -> None:
    """What happens for the first time takes memory once: the package that reads requests is loaded."""
    warm_up_listener(target)
    for _ in range(3):
        with connected(target) as peer:
            peer.request(bytes(200_000))
        with socket_to(target) as wire:
            wire.open(request(Upgrade="h2c"))
            wire.until_closed()
        with websocket(target) as wire:
            wire.say(b"\xff\xff")
            wire.until_closed()


FIRST = propose(NOISE)  # what a dialer says first; the header is the answer
LINES = [f"X-Header-{number}: {'x' * 500}" for number in range(120)]
REQUESTS: list[tuple[bytes, int]] = [
    (request(*LINES), 431),  # 64 KiB
    (request(*(f"X-{number}: y" for number in range(10_000))), 431),
    (request("X: " + "x" * 70_000), 431),
    (request(first="GET /" + "x" * 70_000 + " HTTP/1.1"), 431),
    (request(Sec_WebSocket_Key=None), 400),
    (request(Sec_WebSocket_Key="c2hvcnQ="), 400),
    (request(Sec_WebSocket_Version="8"), 400),
    (request(Sec_WebSocket_Version=None), 400),
    (request(Upgrade="h2c"), 426),
    (request(Connection="close"), 426),
    (request(first="POST / HTTP/1.1"), 405),
    (request(first="GET / HTTP/1.0"), 505),
    (request(Sec_WebSocket_Key=None) + request(), 400),  # a second one behind it
    (request(Sec_WebSocket_Key=None) + frame(FIRST), 400),
    (request("X: folded", " over two lines"), 0),
    (request("Content-Length: 0", "Content-Length: 5"), 0),
    (request("Content-Length: 5") + b"hello", 0),
    (request("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n", 0),
    (request("no colon"), 0),
    (request("X : y"), 0),
    (b"GET / HTTP/1.1\nHost: x\n\n", 0),
    (b"GET / HTTP/0.9\r\n\r\n", 0),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0),
    (MULTISTREAM + FIRST, 0),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512), 0),
    (bytes(1 << 20), 0),
]


def test_row_12_requests_that_are_none(arena: Arena) -> None:
    """Requests for a WebSocket that are none, or much more"""
    with arena.serve("--ws", "--timeout", "upgrade=4", warm_up=warm_up, memory=512 * KIB) as target:
        for asked, status in REQUESTS:
            with socket_to(target) as wire:
                with suppress(Ended):
                    wire.push(asked)
                assert wire.answer() == status, asked[:60]
                arena.took(wire.until_closed(2.0), 0.1)
                assert not wire.buffer
        for behind in (frame(FIRST), frame(FIRST[:7]) + frame(b"") + frame(FIRST[7:])):
            with socket_to(target) as wire:  # in one piece with the request, they are the first frames
                assert wire.open(request() + behind) == 101
                assert wire.exactly(len(MULTISTREAM), 1.0) == MULTISTREAM
        with socket_to(target) as wire:  # and in any pieces
            asked = request()
            for at in range(0, len(asked), 5):
                wire.say(asked[at : at + 5])
            assert wire.answer() == 101
            wire.send(FIRST)
            assert wire.exactly(len(MULTISTREAM), 1.0) == MULTISTREAM
        with socket_to(target) as wire:  # a dribble does not move the deadline
            start = time.monotonic()
            with suppress(Ended):
                for byte in request(*LINES[:4]):
                    wire.say(bytes([byte]))
                    wire.fill(0.02)
            wire.until_closed(3.0)
            assert time.monotonic() - start <= 4.0 + arena.slack
        before, count = target.cpu(), arena.pick(52, 2_000)
        for number in range(count):
            with socket_to(target) as wire, suppress(Ended):
                wire.push(REQUESTS[number % len(REQUESTS)][0])
                wire.until_closed(2.0)
        arena.bound("ms of a core for each", (target.cpu() - before) * 1e3 / count, 3.0)


def closed_with(wire: WebSocket, code: int, said: bytes = b"") -> None:
    """The other side says so, and leaves."""
    wire.until_closed(2.0)
    assert wire.closed == code, said[:40]


FAULTS: list[tuple[bytes, int]] = [
    (raw(FIN | BINARY, b"x"), 1002),
    (frame(b"x", FIN | 0x40 | BINARY), 1002),
    (frame(b"x", FIN | 0x20 | BINARY), 1002),
    (frame(b"x", FIN | 0x10 | PING), 1002),
    (frame(b"x", FIN | 3), 1002),
    (frame(b"x", FIN | 15), 1002),
    (frame(b"x", PING), 1002),
    (frame(bytes(126), FIN | PING), 1002),
    (frame(b"x", CONTINUATION), 1002),
    (frame(MULTISTREAM[:1], BINARY) + frame(b"y"), 1002),
    (frame(b"x" * 5, size=2), 1002),
    (frame(b"x" * 300, size=8), 1002),
    (frame(b"", length=1 << 63), 1009),
    (frame(b"", length=(1 << 20) + 1), 1009),
    (frame(b"\x03", FIN | CLOSE), 1002),
    (frame(b"\x03\xe8\xff", FIN | CLOSE), 1002),
]


def test_row_13_frames_that_are_none(arena: Arena) -> None:
    """Frames that are none, or nothing"""
    with arena.serve("--ws", warm_up=warm_up, memory=1024 * KIB) as target:
        for said, code in FAULTS:
            with websocket(target) as wire:
                wire.say(said)
                closed_with(wire, code, said)
        with socket_to(target) as wire:  # deflate is declined, and text read as bytes
            assert wire.open(request("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")) == 101
            assert b"xtensions" not in wire.head
            wire.say(frame(FIRST[:9], TEXT) + frame(FIRST[9:], FIN | CONTINUATION))
            assert wire.exactly(len(MULTISTREAM), 1.0) == MULTISTREAM
        count = arena.pick(5_000, 1_000_000)
        for nothing in (frame(b"", BINARY) + frame(b"", CONTINUATION) * (count - 1), frame(b"?", FIN | PING) * count):
            with websocket(target) as wire:
                with suppress(Ended):
                    wire.push(nothing, 0.5)
                closed_with(wire, 1008)
        with connected(target) as peer:  # in an established connection it is the same
            peer.wire.say(frame(b"!", FIN | PING))  # type: ignore[attr-defined]
            peer.request(b"behind a ping")
            peer.rest(0.2)
            assert peer.wire.controls == [10]  # type: ignore[attr-defined]
            peer.wire.say(b"\xff\xff")  # type: ignore[attr-defined]
            closed_with(peer.wire, 1002)  # type: ignore[arg-type]
    with arena.dialer() as dialer, Host() as host:
        for said in (
            frame(b"x"),
            raw(FIN | 0x40 | BINARY, b"x"),
            raw(CONTINUATION, b"x"),
            raw(FIN | BINARY, b"", length=1 << 62),
        ):
            dialer.tell(do="dial", addrs=[f"{host.address}/ws"])
            with WebSocket(host.accept().sock) as wire:
                wire.accept()
                wire.say(said)
                assert dialer.read()["error"] == "ConnectionClosed"
                wire.until_closed(2.0)


def dialed(dialer: Program, host: Host) -> Peer:
    """The package has dialed us over WebSocket, and is connected."""
    dialer.tell(do="dial", addrs=[f"{host.address}/ws"], peer=host.identity.name)
    wire = WebSocket(host.accept().sock)
    with closing(wire):
        wire.accept()
        peer = upgrade_in(wire, host.identity)
    assert dialer.read()["error"] == ""
    return peer


def test_row_14_the_end_of_a_websocket(arena: Arena) -> None:
    """The end of a WebSocket, by either side or by none"""
    with arena.serve("--ws", warm_up=warm_up, memory=512 * KIB) as target:
        with connected(target) as peer:  # it closes, and stays
            peer.request(b"before")
            peer.wire.say(frame(b"\x03\xe8", FIN | CLOSE))  # type: ignore[attr-defined]
            peer.wire.until_closed(3.0)
            assert peer.wire.closed == 1000  # type: ignore[attr-defined]
            start = time.monotonic()
            assert soon(lambda: target.state()["inbound"] == 0)
            arena.took(time.monotonic() - start, 1.2)
        with connected(target) as peer, suppress(Ended):  # it is wrong, and stays
            peer.wire.say(b"\xff\xff")  # type: ignore[attr-defined]
            peer.wire.until_closed(3.0)
            assert soon(lambda: target.state()["inbound"] == 0)
    with arena.dialer() as dialer, Host() as host:
        with dialed(dialer, host) as peer:  # the end without a close
            dialer.tell(do="request", protocols=[HOLD], write="waiting")
            peer.pump(lambda: bool(peer.asked(HOLD)), 2.0)
            peer.wire.close()
            assert dialer.read()["error"] == "ConnectionClosed"
        with dialed(dialer, host) as peer:  # it leaves, and we never answer
            dialer.tell(do="hang_up")
            peer.ends(GoAway.NORMAL)
            assert peer.wire.closed == 1000  # type: ignore[attr-defined]
            arena.took(peer.wire.until_closed(3.0), 1.5)
            assert dialer.read()["error"] == ""
