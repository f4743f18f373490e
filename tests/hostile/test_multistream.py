"""Hostile rows 15 to 24: negotiations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from harness.process import Process
from tests.hostile.arena import KIB, Arena, Target
from tests.hostile.client import DATA, FIN, SYN, Host, Peer, data, frame, half_way, update
from tests.hostile.codec import ECHO, MULTISTREAM, NOISE, PING, RR, YAMUX, Identity, line, noise, prefixed, propose
from tests.hostile.facts import judged
from tests.hostile.secure import Handshake, framed, read_framed
from tests.hostile.wire import Ended

NEGOTIATION_FAILED, RESOURCE_LIMIT = 0x1001, 0x1002

BAD_HEADERS = {
    "another version": line("/multistream/2.0.0"),
    "no newline": prefixed(b"/multistream/1.0.0"),
    "an empty line": b"\x01\n",
    "na first": line("na"),
    "not UTF-8": prefixed(b"/multistream/\xff.0.0\n"),
    "CRLF": prefixed(b"/multistream/1.0.0\r\n"),
    "two lines": prefixed(b"/multistream\n/1.0.0\n"),
}

BAD_LENGTHS = {
    "1,025 bytes": MULTISTREAM + b"\x81\x08",
    "a varint of three bytes": MULTISTREAM + b"\x80\x80\x01",
    "an over-long varint": MULTISTREAM + b"\x80\x00",
    "endless": MULTISTREAM + b"\xff" * 10,
    "no length": MULTISTREAM + b"\x00",
    "at once": b"\xff\xff\xff",
}


def raw_stream(peer: Peer, first: bytes) -> int:
    """A new stream with any bytes."""
    stream, peer.next_id = peer.next_id, peer.next_id + 2
    peer.send(data(stream, first, SYN))
    return stream


def refused_everywhere(target: Target, beside: Peer, openings: dict[str, bytes]) -> None:
    """On a connection: closed without a word. On a stream: reset; the connection goes on."""
    for name, opening in openings.items():
        with target.wire() as wire:
            wire.send(opening)
            wire.until_closed(1.0)
            assert bytes(wire.buffer) in {b"", MULTISTREAM}, name
        stream = raw_stream(beside, opening)
        beside.reset_with(stream, NEGOTIATION_FAILED)
    beside.request(b"another stream")


def test_row_15_bad_headers(arena: Arena) -> None:
    """Bad multistream headers"""
    with arena.serve() as target, target.connect() as peer:
        refused_everywhere(target, peer, BAD_HEADERS)
        raw_stream(peer, propose(PING))  # the negative control
        assert peer.pump(lambda: bool(peer.bodies))
    as_listener(arena, {name: (opening, "NegotiationError") for name, opening in BAD_HEADERS.items()})


def test_row_16_bad_lengths(arena: Arena) -> None:
    """Bad lengths of multistream messages"""
    with arena.serve(memory=256 * KIB) as target, target.connect() as peer:
        refused_everywhere(target, peer, BAD_LENGTHS)
        longest = MULTISTREAM + prefixed(b"/" + b"a" * 1_022 + b"\n")  # the negative control: 1,024 bytes are a line
        stream = raw_stream(peer, longest)
        assert peer.pump(lambda: peer.body(stream) == MULTISTREAM + line("na"))
    as_listener(arena, {name: (opening, "NegotiationError") for name, opening in BAD_LENGTHS.items()})


def as_listener(arena: Arena, answers: dict[str, tuple[bytes, str]]) -> None:
    """What a dialer makes of such answers, on the connection and on a stream."""
    with arena.dialer() as dialer, Host() as host:
        for name, (answer, error) in answers.items():
            dialer.tell(do="dial", addrs=[host.address])
            with host.accept() as wire:
                wire.send(answer)
                got = dialer.read()
                assert got["error"] == error, (name, got)
        with dialed(dialer, host) as peer:
            for name, (answer, error) in answers.items():
                dialer.tell(do="request", protocols=["/x/1"], write="secret")
                stream = accepted(peer, "/x/1")
                peer.send(data(stream, answer))
                got = dialer.read()
                assert got["error"] == error, (name, got)
                peer.reset_with(stream, NEGOTIATION_FAILED)


@contextmanager
def dialed(dialer: Process, host: Host, *, early: bool = True) -> Iterator[Peer]:
    """The package as dialer, connected to us."""
    dialer.tell(do="dial", addrs=[host.address], peer=host.identity.name)
    with host.peer(early=early) as peer:
        answer = dialer.read()
        assert answer["error"] == "", answer
        peer.pump(lambda: bool(peer.opened), 1.0)  # identify
        yield peer
        dialer.tell(do="hang_up")
        peer.rest(0.1)
    dialer.read()


def accepted(peer: Peer, protocol: str) -> int:
    """The stream that the dialer has opened for this protocol."""
    wanted = propose(protocol)

    def found() -> list[int]:
        return [stream for stream in peer.opened if peer.body(stream).startswith(wanted)]

    assert peer.pump(lambda: bool(found())), f"no stream for {protocol}"
    stream = found()[-1]
    peer.opened.remove(stream)
    return stream


def test_row_17_too_many_proposals(arena: Arena) -> None:
    """65 proposals; ls without end"""
    flights = {
        "65 proposals": MULTISTREAM + b"".join(line(f"/no/{number}") for number in range(65)),
        "ls": MULTISTREAM + line("ls") * 10_000,
        "in turn": MULTISTREAM + (line("/a") + line("ls")) * 40,
    }
    with arena.serve(memory=256 * KIB) as target, target.connect() as peer:
        for name, flight in flights.items():
            before = target.cpu()
            for _ in range(10):
                stream = peer.next_id
                peer.next_id += 2
                peer.send(
                    frame(1, SYN, stream, 0),
                    *(data(stream, flight[at : at + 8_000]) for at in range(0, len(flight), 8_000)),
                )
                peer.reset_with(stream, NEGOTIATION_FAILED)
                assert peer.body(stream).count(line("na")) <= 64, name
            arena.bound(f"{name}: ms of a core", (target.cpu() - before) * 100, 5.0)
            with target.wire() as wire:
                with suppress(Ended):
                    wire.push(flight)
                wire.until_closed(1.0)
                assert bytes(wire.buffer).count(line("na")) <= 64
        sixty_four = raw_stream(peer, MULTISTREAM + line("/no") * 63 + line(PING))  # the negative control
        assert peer.pump(lambda: peer.body(sixty_four).endswith(line(PING)))


def test_row_18_any_segments(arena: Arena) -> None:
    """One byte a segment; all in one with the next layer"""
    with arena.serve() as target:
        with target.wire() as wire:
            handshake = Handshake(Identity(), initiator=True)
            wire.slowly(propose(NOISE) + framed(handshake.write()), arena.pick(0.0, 0.002))
            assert wire.exactly(len(propose(NOISE))) == propose(NOISE)
            handshake.read(read_framed(wire))
            wire.slowly(framed(handshake.write(handshake.payload(()))))
            channel = handshake.channel(wire)
            for byte in propose(YAMUX):
                wire.slowly(channel.record(bytes([byte])))
            assert channel.at_least(len(propose(YAMUX))) == propose(YAMUX)
            peer = Peer(channel, client=True)
            flight = data(1, propose(RR) + b"byte by byte", SYN) + update(1, 0, FIN)
            for byte in flight:
                wire.slowly(channel.record(bytes([byte])))
            with judged("answered"):
                assert peer.pump(lambda: 1 in peer.finished)
            assert peer.body(1) == propose(RR) + b"byte by byte"
        with target.wire() as wire:
            handshake = half_way(wire)
            third = framed(handshake.write(handshake.payload(())))
            channel = handshake.channel(wire)
            wire.send(third + channel.record(propose(YAMUX) + flight))  # message 3, the muxer and a request together
            got = channel.at_least(len(propose(YAMUX)))
            assert got.startswith(propose(YAMUX))
            peer = Peer(channel, client=True)
            peer._take(got[len(propose(YAMUX)) :])
            with judged("answered"):
                assert peer.pump(lambda: 1 in peer.finished)
            assert peer.body(1) == propose(RR) + b"byte by byte"


def test_row_19_answers_to_another_question(arena: Arena) -> None:
    """An echo that is not the proposal's"""
    wrong = {
        "not proposed": "/plaintext/2.0.0",
        "a prefix": "/nois",
        "a suffix": "/noise/2",
        "a blank": "/noise ",
        "a blank before": " /noise",
        "another case": "/Noise",
        "the header again": "/multistream/1.0.0",
        "ls": "ls",
        "two answers": "na\n/noise",
    }
    with arena.dialer() as dialer, Host() as host:
        for name, answer in wrong.items():
            dialer.tell(do="dial", addrs=[host.address])
            with host.accept() as wire:
                wire.send(MULTISTREAM + line(answer))
                got = dialer.read()
                with judged("error"):
                    assert got["error"] == "NegotiationError", (name, got)
                wire.until_closed(1.0)
                assert line("/plaintext/2.0.0") not in bytes(wire.buffer)
        with dialed(dialer, host) as peer:
            for name, answer in wrong.items():
                for protocols in (["/noise"], ["/noise", "/none/1"]):
                    dialer.tell(do="request", protocols=protocols, write="secret")
                    stream = accepted(peer, "/noise")
                    peer.send(data(stream, MULTISTREAM + line(answer)))
                    got = dialer.read()
                    with judged("error"):
                        assert got["error"] == "NegotiationError", (name, got)
                    if len(protocols) > 1:
                        assert b"secret" not in peer.body(stream)


def test_row_20_parked_negotiations(arena: Arena) -> None:
    """129 streams parked in negotiation"""
    deadline = arena.pick(3.0, 10.0)
    with arena.serve("--timeout", f"negotiate={deadline}", memory=128 * 4 * KIB) as target, target.connect() as peer:
        start = time.monotonic()
        parked = [raw_stream(peer, MULTISTREAM + b"\x10/bench") for _ in range(128)]
        assert peer.alive()
        assert not peer.resets
        last = raw_stream(peer, MULTISTREAM + b"\x10/bench")
        peer.reset_with(last, RESOURCE_LIMIT)
        peer.request(b"whoever says it all at once is not parked")
        silent = peer.next_id
        peer.next_id += 2
        peer.send(update(silent, 0, SYN))
        while time.monotonic() - start < deadline * 0.6:
            peer.rest(0.1)
        assert not set(peer.resets) & {*parked, silent}  # the negative control: it is the deadline that ends them
        assert peer.pump(lambda: {*parked, silent} <= set(peer.resets), deadline)
        took = time.monotonic() - start
        assert {peer.resets[stream] for stream in (*parked, silent)} == {NEGOTIATION_FAILED}
        assert took >= deadline * 0.9
        arena.bound("s to the end", took, deadline + 1.0)
        again = raw_stream(peer, MULTISTREAM + b"\x10/bench")
        assert peer.alive()
        assert again not in peer.resets
        peer.request(b"the connection stays")


def test_row_21_lazy_dialer(arena: Arena) -> None:
    """A lazy dialer's data came before its answer"""
    answers = {
        "na": (MULTISTREAM + line("na"), "UnsupportedProtocol"),
        "another protocol": (MULTISTREAM + line("/y/1"), "NegotiationError"),
        "data": (noise(3_000), "NegotiationError"),
        "data that looks like an answer": (b"HTTP/1.1 200 OK\r\n\r\n", "NegotiationError"),
        "na, then data": (MULTISTREAM + line("na") + b"taken for an answer", "UnsupportedProtocol"),
        "nothing": (b"", "DeadlineExceeded"),
    }
    with arena.dialer("--timeout", "negotiate=1") as dialer, Host() as host, dialed(dialer, host) as peer:
        for name, (answer, error) in answers.items():
            dialer.tell(do="request", protocols=["/x/1"], write="first")
            stream = accepted(peer, "/x/1")
            assert peer.pump(lambda stream=stream: peer.body(stream) == propose("/x/1") + b"first")  # type: ignore[misc]
            if answer:
                peer.send(data(stream, answer))
            got = dialer.read()
            with judged("error"):
                assert got["error"] == error, (name, got)
            assert "got" not in got
            arena.took(got["seconds"], 2.5)
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
        for offers in (
            ["/plaintext/2.0.0"],
            ["/tls/1.0.0", "/plaintext/2.0.0", "/secio/1.0.0"],
            [YAMUX],
            ["/mplex/6.7.0"],
        ):
            with target.wire() as wire:
                wire.send(propose(*offers))
                assert wire.read_line() == MULTISTREAM[1:]
                for _ in offers:
                    with judged("na"):
                        assert wire.read_line() == b"na\n"
                wire.send(frame(DATA, SYN, 1, 0))  # as if it were agreed on
                wire.until_closed(1.0)
                assert not wire.buffer
    with arena.dialer() as dialer, Host() as host:
        for answer in ("na", "/plaintext/2.0.0"):
            dialer.tell(do="dial", addrs=[host.address])
            with host.accept() as wire:
                wire.send(MULTISTREAM + line(answer))
                assert dialer.read()["error"] == "NegotiationError"
                wire.until_closed(1.0)
                said = bytes(wire.buffer)
                assert said.startswith(propose(NOISE))
                assert len(said) == len(propose(NOISE)) + 34  # message 1, and no other proposal
            assert "Opened" not in dialer.ask(do="state")["events"]


def test_row_24_many_failed_negotiations(arena: Arena) -> None:
    """1,000 failed negotiations on one connection"""
    with arena.serve() as target, target.connect() as peer:
        kept = peer.open(ECHO, b"before")
        streams = [raw_stream(peer, MULTISTREAM + b"\x00") for _ in range(1_000)]
        assert peer.pump(lambda: len(peer.resets) == 1_000)
        assert {peer.resets[stream] for stream in streams} == {NEGOTIATION_FAILED}
        peer.write(kept, b" and after")
        assert peer.pump(lambda: peer.body(kept) == propose(ECHO) + b"before and after")
        peer.request(b"the connection lives")
        for _ in range(4_000):  # the negative control: beyond the budget it does not
            with suppress(Ended):
                raw_stream(peer, MULTISTREAM + b"\x00")
        peer.ends(0x1002)
