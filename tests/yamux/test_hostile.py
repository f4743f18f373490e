"""Hostile rows 26 to 45, as far as a session decides about them; each test bears its row's number.

tests/hostile/ plays all rows against a process of ours, and against one in which the limit is lifted. Here stands what
is not seen from outside: exact numbers, memory, who is told.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, MuxerError
from stronghold_p2p.yamux import receiver, session
from stronghold_p2p.yamux.header import HEADER, HEADER_SIZE, INITIAL_WINDOW, MAX_CREDIT, PING
from stronghold_p2p.yamux.receiver import LOOK_PIECES
from stronghold_p2p.yamux.window import REMEMBERED
from tests.yamux.wire import ACK, FIN, RST, SYN, Bounds, Frame, Side, data, go_away, inbound, ping, syn, update

KIB = 1 << 10
MIB = 1 << 20


@contextmanager
def at_most(maximum: int) -> Iterator[None]:
    """What is newly allocated inside, at its peak, in bytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= maximum, f"{peak} bytes, not {maximum}"


def refused(side: Side, *frames: bytes, code: int = GoAway.PROTOCOL_ERROR) -> None:
    """The connection ends with this go-away."""
    with pytest.raises(MuxerError) as caught:
        side.hear(*frames)
    assert type(caught.value) is MuxerError
    assert caught.value.code == code


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(1, 0, 0, 1, 0),
        HEADER.pack(0xFF, 1, SYN, 3, 0),
        HEADER.pack(0, 4, 0, 0, 0),
        HEADER.pack(0, 0xFF, SYN, 1, 0),
        data(0, b"x"),
        data(0),
        update(0, 1),
        HEADER.pack(0, 2, SYN, 1, 0),
        HEADER.pack(0, 2, ACK, 99, 0),
        HEADER.pack(0, 3, 0, 1, 0),
    ],
    ids=["version 1", "version 255", "type 4", "type 255", "data 0", "empty 0", "update 0", "ping 1", "pong", "away 1"],
)
def test_row_26_a_broken_header_ends_the_connection(frame: bytes) -> None:
    side, _ = inbound()
    refused(side, frame[:HEADER_SIZE])
    assert side.take() == b""


@pytest.mark.parametrize("cut", [2 * MIB, 100])
@pytest.mark.parametrize("before", [0, 200_000])
def test_row_28_nothing_of_a_body_beyond_the_window_is_delivered(cut: int, before: int) -> None:
    side, state = inbound()
    side.hear(data(1, bytes(before)))
    side.read(state, before // 2)
    frame = memoryview(data(1, bytes(INITIAL_WINDOW + 1 - before)))[:cut]
    with at_most(64 * KIB), pytest.raises(MuxerError, match="exceeds the window") as caught:
        side.hear(frame)
    assert caught.value.code == GoAway.PROTOCOL_ERROR
    assert len(side.sinks[1].body) == before


@pytest.mark.parametrize(
    ("stream", "frames", "finishes"),
    [(1, syn(1) + update(1, 0, FIN), True), (77, b"", False), (1, syn(1) + update(1, 0, FIN), False)],
    ids=["long gone", "never opened", "after FIN"],
)
@pytest.mark.parametrize("size", [100, 5_000])
def test_row_32_dropped_bytes_add_up(stream: int, frames: bytes, finishes: bool, size: int) -> None:
    for memory, allowed in ((20_000, 20_000 // size), (200_000, 20_000 // size + 1)):
        side = Side(limits=Limits(receive_memory=memory)).hear(frames)
        if finishes:
            side.accepted[0].finish()
        with at_most(64 * KIB):
            for _ in range(allowed):
                side.hear(data(stream, bytes(size)))
            if memory == 20_000:
                refused(side, data(stream, b"x"))


def test_row_32_what_was_under_way_to_a_reset_stream_is_free() -> None:
    side = Side(limits=Limits(receive_memory=1_000_000))
    for stream in range(1, 41, 2):
        state = side.given(stream)
        state.reset()
        side.hear(data(stream, bytes(INITIAL_WINDOW)), update(stream, 0, FIN))
    side.hear(data(1, bytes(1_000_000)))
    refused(side, data(1, b"x"))


def test_row_32_bytes_for_a_refused_stream_are_within_its_window() -> None:
    side = Side(limits=Limits(streams_in=0, receive_memory=0))
    side.hear(data(1, bytes(INITIAL_WINDOW - 1), SYN), data(1, b"x"))
    refused(side, data(1, b"x"))


def test_row_33_pings_of_a_peer_that_does_not_read() -> None:
    flood = ping(1) * (256 * KIB // HEADER_SIZE)  # what one turn of the loop can bring
    side = Side()
    side.take(congested=True)
    side.hear(ping(1) * 32)
    assert not side.session.overloaded
    side.hear(ping(1))
    assert side.session.overloaded
    side.hear(flood)
    assert len(side.take()) <= 256 * KIB + 33 * HEADER_SIZE
    assert not side.session.overloaded


@pytest.mark.parametrize("resets", [False, True])
def test_row_34_answers_owed_to_a_peer_that_does_not_read(resets: bool, bounds: Bounds) -> None:
    bounds(CONTROL_QUEUE=1_024, RESET_BURST=20_000)
    side = Side(limits=Limits(streams_in=None if resets else 0))
    if resets:
        side.accepting = lambda state: state.reset(Reset.NEGOTIATION_FAILED)
    side.take(congested=True)
    for number in range(1_025):
        assert not side.session.overloaded
        side.hear(data(2 * number + 1, b"\xff\xff", SYN))
    assert side.session.overloaded
    assert len(side.take()) == 1_025 * HEADER_SIZE <= 256 * KIB
    assert not side.session.overloaded


def test_row_35_a_peer_that_never_acknowledges() -> None:
    side = Side(client=True)
    for _ in range(256):
        side.open()
    with pytest.raises(LimitExceeded) as caught:
        side.open()
    assert (caught.value.limit, caught.value.current, caught.value.maximum) == ("ack_backlog", 256, 256)
    woken: list[int] = []
    side.session.when_openable(lambda: woken.append(1))
    side.session.when_openable(lambda: woken.append(2))
    for _ in range(5):  # what is acknowledged twice, or was never opened, frees no second place
        side.hear(update(1, 0, ACK), update(999, 0, ACK), data(2, b"x", ACK), data(1, b"x", ACK))
    assert woken == [1]
    assert side.open().id == 513
    side.hear(data(3, b"x", ACK))
    assert woken == [1, 2]
    side.check()


def test_row_39_rapid_reset() -> None:
    pairs = [syn(stream) + update(stream, 0, RST) for stream in range(1, 10_001, 2)]
    refused(Side(), *pairs[:5_000], code=GoAway.RATE_LIMITED)  # in one piece
    refused(Side(limits=Limits(streams_in=0)), *map(syn, range(1, 2_053, 2)), code=GoAway.RATE_LIMITED)
    moderate = Side()
    for pair in pairs[:5_000]:
        moderate.now += 1 / 200
        moderate.hear(pair)
    assert moderate.session.violation is None
    side = Side().hear(*pairs[:1_024])
    refused(side, pairs[1_024], code=GoAway.RATE_LIMITED)
    assert (len(side.accepted), side.session.inbound) == (1_025, 0)


def test_row_40_a_violation_found_outside_receive_is_told(bounds: Bounds) -> None:
    bounds(RESET_BURST=0, RESET_RATE=0.0)
    side, state = inbound()
    before = side.notified
    state.reset(Reset.PROTOCOL_VIOLATION)
    assert side.notified == before + 1
    assert side.session.violation is not None
    refused(side, b"", code=GoAway.RATE_LIMITED)


def test_row_40_resets_of_our_own_accord_cost_nothing(bounds: Bounds) -> None:
    bounds(RESET_BURST=0, RESET_RATE=0.0)
    side = Side()
    side.given(1).reset()
    client = Side(client=True)
    state = client.opened()
    state.reset(Reset.SHUTDOWN)
    assert side.session.violation is client.session.violation is None


EMPTY = [kind(1, flags=flags) for kind in (data, update) for flags in (0, ACK, FIN, ACK | FIN, 0x10)]


@pytest.mark.parametrize("frame", EMPTY, ids=lambda frame: bytes(frame[:4]).hex())
def test_empty_frames_in_a_row(frame: bytes, bounds: Bounds) -> None:
    bounds(EMPTY_FRAMES=100)
    side, _ = inbound()
    side.hear(update(1, 1, FIN) if frame[3] & FIN else b"")
    side.hear(frame * 100, data(1, b"x"), frame * 100, update(1, 1), frame * 100)
    refused(side, frame)


def test_frames_that_change_something_are_not_empty(bounds: Bounds) -> None:
    bounds(EMPTY_FRAMES=0)
    side = Side(client=True)
    for _ in range(3):
        state = side.open()
        state.send(b"x")
        side.hear(update(state.id, 0, ACK), update(state.id, 0, FIN))
    side.hear(data(2, b"", SYN), data(2, b"", FIN), data(2, b"", RST), syn(4), update(4, 0, RST))


def test_row_43_half_closed_streams_count() -> None:
    side = Side(limits=Limits(streams_in=16))
    for stream in range(1, 33, 2):
        side.hear(syn(stream), update(stream, 0, FIN))
    side.frames()
    side.hear(syn(33))
    assert [frame.length for frame in side.frames()] == [0x1002]
    side.session.streams[1].finish()
    side.hear(syn(35), update(35, 0, FIN))
    assert 35 in side.session.streams


@pytest.mark.long(6)
@pytest.mark.speed
def test_row_43_no_tombstones_without_bound() -> None:
    side = Side()
    with at_most(MIB):
        for stream in range(1, 60_001, 2):
            side.now += 0.01
            state = side.given(stream)
            state.reset()
            side.accepted.clear()
            side.sinks.clear()
    dropped = side.session._dropped
    assert len(dropped._credit) <= REMEMBERED
    assert dropped._opened.bit_length() <= REMEMBERED
    side.empty()


def test_row_45_one_ping_at_a_time_and_a_wrong_answer_is_no_answer() -> None:
    side = Side()
    assert side.session.ping_sent_at is None
    side.session.ping(1_000.0)
    side.session.ping(1_000.1)
    assert side.frames() == [Frame(PING, SYN, 0, 0)]
    side.hear(*(ping(value, ACK) for value in (1, 2, MAX_CREDIT)), ping(0, 0))
    assert side.session.ping_sent_at == 1_000.0
    side.now = 1_000.25
    side.hear(ping(0, ACK))
    assert side.session.ping_sent_at is None
    assert side.session.round_trip == pytest.approx(0.25)
    side.hear(ping(0, ACK))
    side.session.ping(1_001.0)
    assert side.frames() == [Frame(PING, SYN, 0, 1)]


RECORDED_FRAMES = [
    syn(1),
    data(3, b"first", SYN),
    data(1, b"hello "),
    ping(7),
    data(1, b"world", FIN),
    data(99, b"for nobody"),
    update(3, 1_000),
    data(3, b"", 0x40),
    update(5, 9, SYN | FIN),
    data(3, b" second", RST),
    update(1, 0x1001, RST),
    data(7, b"x" * 300, SYN | FIN),
    ping(8, ACK),
    update(5, 2, RST),
]
RECORDED = b"".join(RECORDED_FRAMES)


FRAMES = st.one_of(
    st.builds(data, st.integers(0, 9), st.binary(max_size=40), st.integers(0, 31)),
    st.builds(update, st.integers(0, 9), st.integers(0, MAX_CREDIT), st.integers(0, 31)),
    st.builds(ping, st.integers(0, 3), st.integers(0, 3)),
    st.builds(HEADER.pack, st.sampled_from([0] * 20 + [1]), st.integers(0, 5), st.integers(0, 15), st.integers(0, 5),
              st.integers(0, 70)),
    st.builds(go_away, st.integers(0, 3)),
    st.binary(max_size=30) | st.binary(max_size=2_000),
)  # fmt: skip


@given(st.lists(FRAMES, max_size=40), st.booleans(), st.integers(1, 100))
def test_whatever_arrives_only_typed_errors_leave(frames: list[bytes], client: bool, cut: int) -> None:
    side = Side(client=client, limits=Limits(streams_in=3, receive_memory=500))
    side.open().send(b"x")
    received = b"".join(frames)
    try:
        with pytest.MonkeyPatch.context() as patch:  # once for each example
            patch.setattr(receiver, "EMPTY_FRAMES", 5)
            patch.setattr(session, "RESET_BURST", 4)
            for start in range(0, len(received), cut):
                side.hear(received[start : start + cut])
                side.check()
                assert side.session.inbound <= 3
                assert len(side.parser._partial) < HEADER_SIZE
    except ConnectionClosed as error:
        assert 0 <= error.code <= MAX_CREDIT
        side.session.fail(error)
    else:
        side.session.fail(ConnectionClosed("over"))
    side.empty()
    assert all(len(sink.events) <= 2 and sink.events.count("failed") <= 1 for sink in side.sinks.values())
    side.hear(received)
    assert side.take() == b""


PLACES = st.integers(0, 10_000)
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "drop", "twice", "swap", "truncate"]), PLACES, PLACES), min_size=1, max_size=6
)


@given(MUTATIONS, st.integers(1, 400))
def test_mutated_sessions_end_in_typed_errors_or_go_on(mutations: list[tuple[str, int, int]], cut: int) -> None:
    frames = list(RECORDED_FRAMES)
    for how, where, detail in mutations:
        at, other = where % len(frames), detail % len(frames)
        frame = frames[at]
        if how == "flip":
            mutated = bytearray(frame or b"\0")
            mutated[detail // 8 % len(mutated)] ^= 1 << detail % 8
            frames[at] = bytes(mutated)
        elif how == "swap":
            frames[at], frames[other] = frames[other], frames[at]
        else:
            frames[at] = {"drop": b"", "twice": frame * 2, "truncate": frame[: detail % (len(frame) + 1)]}[how]
    side = Side()
    received = b"".join(frames)
    try:
        for start in range(0, len(received), cut):
            side.hear(received[start : start + cut])
            side.check()
    except ConnectionClosed as error:
        side.session.fail(error)
        side.empty()
    assert sum(len(sink.body) for sink in side.sinks.values()) <= len(received)


@pytest.mark.parametrize(
    ("frames", "turns"), [([ping(7)] * 2_560, 14), ([syn(1), *[data(1, b"x")] * 2_500], 14), ([ping(7)] * 150, 1)]
)
def test_row_42_a_turn_takes_five_milliseconds_of_small_frames(frames: list[bytes], turns: int) -> None:
    side = Side()
    assert side.turns(b"".join(frames) + ping(8)[:5], look=0.002) == turns  # the third look ends one
    side.hear(ping(8)[5:])
    answers = [frame for frame in side.frames() if frame.kind == PING]
    assert [frame.length for frame in answers] == [7] * frames.count(ping(7)) + [8]


@pytest.mark.parametrize("piece", [b"", b"x"])
def test_row_42_pieces_in_which_no_frame_begins_take_time_too(piece: bytes) -> None:
    side = Side().hear(syn(1), data(1, bytes(5_000))[:HEADER_SIZE])
    side.look, side.parser.since = 0.002, side.now
    assert [side.parser.receive_in_turn(piece) for _ in range(1_000)].index(True) == 3 * LOOK_PIECES - 1
    side.parser.since = side.now
    assert not side.parser.receive_in_turn(b"")
    assert not side.parser.behind
