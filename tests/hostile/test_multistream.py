"""Hostile rows 15 to 24: negotiations."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from contextlib import suppress

from stronghold_p2p.codes import GoAway, Reset
from tests.hostile.arena import KIB, Arena, Program, accepted, dialed, refuses
from tests.hostile.client import Host, Peer, chosen, expect_lines, half_way, third
from tests.hostile.codec import Identity, line, noise, prefixed, propose
from tests.hostile.frames import DATA, FIN, SYN, data, frame, update
from tests.hostile.names import ECHO, MULTISTREAM, NOISE, PING, RR, YAMUX
from tests.hostile.secure import Handshake, framed, read_framed
from tests.hostile.wire import Ended

BAD_HEADERS = (
    *(line("/multistream/2.0.0"), prefixed(b"/multistream/1.0.0"), b"\x01\n", line("na")),
    *map(prefixed, (b"/multistream/\xff.0.0\n", b"/multistream/1.0.0\r\n", b"/multistream\n/1.0.0\n")),
)
LENGTHS = (b"\x81\x08", b"\x80\x80\x01", b"\x80\x00", b"\xff" * 10, b"\x00")  # 1,025 and more, over-long, none
BAD_LENGTHS = (*(MULTISTREAM + length for length in LENGTHS), b"\xff\xff\xff")


def refused_everywhere(target: Program, beside: Peer, openings: Sequence[bytes]) -> None:
    """On a connection: closed without a word. On a stream: reset; the connection goes on."""
    for opening in openings:
        with target.wire() as wire:
            wire.send(opening)
            wire.until_closed(1.0)
            assert bytes(wire.buffer) in {b"", MULTISTREAM}, opening
        beside.reset_with(beside.open_raw(opening), Reset.NEGOTIATION_FAILED)
    beside.request(b"another stream")


def test_row_15_bad_headers(arena: Arena) -> None:
    """Bad multistream headers"""
    with arena.serve() as target, target.connect() as peer:
        refused_everywhere(target, peer, BAD_HEADERS)
        peer.open_raw(propose(PING))  # the negative control
        assert peer.pump(lambda: bool(peer.bodies))
    refused_as_answers(arena, BAD_HEADERS)


def test_row_16_bad_lengths(arena: Arena) -> None:
    """Bad lengths of multistream messages"""
    with arena.serve(memory=256 * KIB) as target, target.connect() as peer:
        refused_everywhere(target, peer, BAD_LENGTHS)
        longest = MULTISTREAM + prefixed(b"/" + b"a" * 1_022 + b"\n")  # the negative control: 1,024 bytes are a line
        stream = peer.open_raw(longest)
        assert peer.pump(lambda: peer.body(stream) == MULTISTREAM + line("na"))
    refused_as_answers(arena, BAD_LENGTHS)


def refused_as_answers(arena: Arena, answers: Sequence[bytes]) -> None:
    """What a dialer makes of them, on the connection and on a stream."""
    with arena.dialer() as dialer, Host() as host:
        for answer in answers:
            with refuses(dialer, host, "NegotiationError", answer) as wire:
                wire.send(answer)
        with dialed(dialer, host) as peer:
            for answer in answers:
                stream = fails(dialer, peer, ["/x/1"], answer, "NegotiationError")
                peer.reset_with(stream, Reset.NEGOTIATION_FAILED)


def fails(dialer: Program, peer: Peer, protocols: list[str], answer: bytes, error: str) -> int:
    """A stream that the dialer opens for these protocols ends with this error, as this is the answer."""
    dialer.tell(do="request", protocols=protocols, write="secret")
    stream = accepted(peer, protocols[0])
    if len(protocols) == 1:
        assert peer.says(stream, b"secret")
    if answer:
        peer.send(data(stream, answer))
    got = dialer.read()
    assert got["error"] == error, (answer, got)
    assert "got" not in got
    return stream


def test_row_17_too_many_proposals(arena: Arena) -> None:
    """65 proposals; ls without end"""
    flights = {
        "65 proposals": propose(*(f"/no/{number}" for number in range(65))),
        "ls": MULTISTREAM + line("ls") * 10_000,
        "in turn": MULTISTREAM + (line("/a") + line("ls")) * 40,
    }
    with arena.serve(memory=256 * KIB) as target, target.connect() as peer:
        for name, flight in flights.items():
            before = target.cpu()
            for _ in range(10):
                stream = peer.open_raw(b"")
                peer.send(*(data(stream, flight[at : at + 8_000]) for at in range(0, len(flight), 8_000)))
                peer.reset_with(stream, Reset.NEGOTIATION_FAILED)
                assert peer.body(stream).count(line("na")) <= 64, name
            arena.bound(f"{name}: ms of a core", (target.cpu() - before) * 100, 5.0)
            with target.wire() as wire:
                with suppress(Ended):
                    wire.push(flight)
                wire.until_closed(1.0)
                assert bytes(wire.buffer).count(line("na")) <= 64
        sixty_four = peer.open_raw(MULTISTREAM + line("/no") * 63 + line(PING))  # the negative control
        assert peer.says(sixty_four, line(PING))


def test_row_18_any_segments(arena: Arena) -> None:
    """One byte a segment; all in one with the next layer"""
    with arena.serve() as target:
        with target.wire() as wire:
            handshake = Handshake(Identity(), initiator=True)
            wire.slowly(propose(NOISE) + framed(handshake.write()), arena.pick(0.0, 0.002))
            assert wire.exactly(len(propose(NOISE))) == propose(NOISE)
            handshake.read(read_framed(wire))
            wire.slowly(third(handshake, ()))
            channel = handshake.channel(wire)
            for byte in propose(YAMUX):
                wire.slowly(channel.record(bytes([byte])))
            assert channel.at_least(len(propose(YAMUX))) == propose(YAMUX)
            peer = Peer(channel, client=True)
            flight = data(1, propose(RR) + b"byte by byte", SYN) + update(1, 0, FIN)
            for byte in flight:
                wire.slowly(channel.record(bytes([byte])))
            assert peer.pump(lambda: 1 in peer.finished)
            assert peer.body(1) == propose(RR) + b"byte by byte"
        with target.wire() as wire:
            handshake = half_way(wire)
            last = third(handshake, ())
            channel = handshake.channel(wire)
            wire.send(last + channel.record(propose(YAMUX) + flight))  # message 3, the muxer and a request together
            peer = chosen(channel, channel.at_least(len(propose(YAMUX))))
            assert peer.pump(lambda: 1 in peer.finished)
            assert peer.body(1) == propose(RR) + b"byte by byte"


WRONG = [
    "/plaintext/2.0.0",
    "/nois",
    "/noise/2",
    "/noise ",
    " /noise",
    "/Noise",
    "/multistream/1.0.0",
    "ls",
    "na\n/noise",
]


def test_row_19_answers_to_another_question(arena: Arena) -> None:
    """An echo that is not the proposal's"""
    with arena.dialer() as dialer, Host() as host:
        for answer in WRONG:
            with refuses(dialer, host, "NegotiationError", answer) as wire:
                wire.send(MULTISTREAM + line(answer))
            assert line("/plaintext/2.0.0") not in bytes(wire.buffer)
        with dialed(dialer, host) as peer:
            for answer, protocols in itertools.product(WRONG, (["/noise"], ["/noise", "/none/1"])):
                stream = fails(dialer, peer, protocols, MULTISTREAM + line(answer), "NegotiationError")
                assert len(protocols) == 1 or b"secret" not in peer.body(stream)


def test_row_20_parked_negotiations(arena: Arena) -> None:
    """129 streams parked in negotiation"""
    deadline = arena.pick(3.0, 10.0)
    with arena.serve("--timeout", f"negotiate={deadline}", memory=128 * 4 * KIB) as target, target.connect() as peer:
        start = time.monotonic()
        parked = [peer.open_raw(MULTISTREAM + b"\x10/bench") for _ in range(128)]
        assert peer.alive()
        assert not peer.resets
        last = peer.open_raw(MULTISTREAM + b"\x10/bench")
        peer.reset_with(last, Reset.RESOURCE_LIMIT)
        peer.request(b"whoever says it all at once is not parked")
        silent = peer.open_raw(b"")
        while time.monotonic() - start < deadline * 0.6:
            peer.rest(0.1)
        assert not set(peer.resets) & {*parked, silent}  # the negative control: it is the deadline that ends them
        assert peer.pump(lambda: {*parked, silent} <= set(peer.resets), deadline)
        took = time.monotonic() - start
        assert {peer.resets[stream] for stream in (*parked, silent)} == {Reset.NEGOTIATION_FAILED}
        assert took >= deadline * 0.9
        arena.bound("s to the end", took, deadline + 1.0)
        again = peer.open_raw(MULTISTREAM + b"\x10/bench")
        assert peer.alive()
        assert again not in peer.resets
        peer.request(b"the connection stays")


def test_row_21_lazy_dialer(arena: Arena) -> None:
    """A lazy dialer's data came before its answer"""
    answers = (
        *((propose("na") + data, "UnsupportedProtocol") for data in (b"", b"taken for an answer")),
        *((data, "NegotiationError") for data in (propose("/y/1"), noise(3_000), b"HTTP/1.1 200 OK\r\n\r\n")),
        (b"", "DeadlineExceeded"),
    )
    with arena.dialer("--timeout", "negotiate=1") as dialer, Host() as host, dialed(dialer, host) as peer:
        for answer, error in answers:
            start = time.monotonic()
            fails(dialer, peer, ["/x/1"], answer, error)
            arena.took(time.monotonic() - start, 2.5)
        dialer.tell(do="request", protocols=["/x/1"], write="first", close=True)
        accepted(peer, "/x/1")
        closed = dialer.read()
        assert closed["error"] == ""  # close does not wait for the echo
        arena.took(closed["seconds"], 1.0)
        dialer.tell(do="request", protocols=["/x/1"], write="first")  # the negative control
        stream = accepted(peer, "/x/1")
        peer.send(data(stream, propose("/x/1") + b"answer"), update(stream, 0, FIN))
        assert bytes.fromhex(dialer.read()["got"]) == b"answer"


def test_row_23_stripped_security(arena: Arena) -> None:
    """A man in the middle strips security"""
    with arena.serve() as target:
        several = ["/tls/1.0.0", "/plaintext/2.0.0", "/secio/1.0.0"]
        for offers in (["/plaintext/2.0.0"], several, [YAMUX], ["/mplex/6.7.0"]):
            with target.wire() as wire:
                wire.send(propose(*offers))
                expect_lines(wire, MULTISTREAM, *[line("na")] * len(offers))
                wire.send(frame(DATA, SYN, 1, 0))  # as if it were agreed on
                wire.until_closed(1.0)
                assert not wire.buffer
    with arena.dialer() as dialer, Host() as host:
        for answer in ("na", "/plaintext/2.0.0"):
            with refuses(dialer, host, "NegotiationError") as wire:
                wire.send(MULTISTREAM + line(answer))
            said = bytes(wire.buffer)
            assert said.startswith(propose(NOISE))
            assert len(said) == len(propose(NOISE)) + 34  # message 1, and no other proposal
            assert "Opened" not in dialer.state()["seen"]


def test_row_24_many_failed_negotiations(arena: Arena) -> None:
    """1,000 failed negotiations on one connection"""
    with arena.serve() as target, target.connect() as peer:
        kept = peer.open(ECHO, b"before")
        streams = [peer.open_raw(MULTISTREAM + b"\x00") for _ in range(1_000)]
        assert peer.pump(lambda: len(peer.resets) == 1_000)
        assert {peer.resets[stream] for stream in streams} == {Reset.NEGOTIATION_FAILED}
        peer.write(kept, b" and after")
        assert peer.pump(lambda: peer.body(kept) == propose(ECHO) + b"before and after")
        peer.request(b"the connection lives")
        for _ in range(4_000):  # the negative control: beyond the budget it does not
            with suppress(Ended):
                peer.open_raw(MULTISTREAM + b"\x00")
        peer.ends(GoAway.RATE_LIMITED)
