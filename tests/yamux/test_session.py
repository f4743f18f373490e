from __future__ import annotations

from collections.abc import Callable

import pytest

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, MuxerError, StreamReset
from stronghold_p2p.seams import NOBODY
from stronghold_p2p.yamux.header import (
    DATA,
    HEADER_SIZE,
    INITIAL_WINDOW,
    MAX_BODY,
    MAX_CREDIT,
    PING,
    WINDOW_UPDATE,
)
from stronghold_p2p.yamux.outbox import EARLY, TURN_BYTES, WAKE_TOGETHER
from stronghold_p2p.yamux.state import Receiving
from stronghold_p2p.yamux.stream import YamuxStream
from tests.yamux.wire import (
    ACK,
    FIN,
    RST,
    SYN,
    Bounds,
    Frame,
    Pair,
    Side,
    data,
    go_away,
    inbound,
    outbound,
    parse,
    ping,
    syn,
    update,
)

OPENINGS = {
    "go": (syn(1), 0, b""),
    "go, larger window": (syn(1, 1_000), 1_000, b""),
    "data": (data(1, b"", SYN), 0, b""),
    "data with a body": (data(1, b"hello", SYN), 0, b"hello"),
}


# ---------------------------------------------------------------------- opening


def test_the_dialer_takes_odd_ids_and_the_listener_even_ones() -> None:
    client, server = Side(client=True), Side(client=False)
    assert [client.open().id for _ in range(3)] == [1, 3, 5]
    assert [server.open().id for _ in range(3)] == [2, 4, 6]


@pytest.mark.parametrize(("opening", "credit", "body"), OPENINGS.values(), ids=OPENINGS)
def test_both_kinds_of_opening_are_acknowledged(opening: bytes, credit: int, body: bytes) -> None:
    side = Side().hear(opening)
    assert [state.id for state in side.accepted] == [1]
    assert side.session.streams[1].credit == INITIAL_WINDOW + credit
    assert side.sinks[1].body == body
    assert side.frames() == [Frame(WINDOW_UPDATE, ACK, 1, 0)]
    assert side.frames() == []
    assert side.notified == 1
    assert Side(client=True).hear(syn(2)).frames() == [Frame(WINDOW_UPDATE, ACK, 2, 0)]


FIRST: dict[str, tuple[list[tuple[object, ...]], list[tuple[int, bytes]]]] = {
    "a write": ([("send", b"body")], [(0, b"body")]),
    "the end": ([("finish",)], [(FIN, b"")]),
    "a short piece": ([("send_now", b"/proposal")], [(0, b"/proposal")]),
    "short pieces with the next writes": (
        [("send_now", b"/one"), ("send_now", b"/two"), ("send", b"data"), ("send", b", more")],
        [(0, b"/one/twodata, more")],
    ),
    "a short piece before a long write": (
        [("send_now", b"/short"), ("send", bytes(40_000))],
        [(0, b"/short" + bytes(40_000))],
    ),
    "a short piece before the end": ([("send_now", b"/short"), ("finish",)], [(0, b"/short"), (FIN, b"")]),
}


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("calls", "bodies"), FIRST.values(), ids=FIRST)
def test_syn_and_ack_ride_on_the_first_frame_whatever_it_is(
    ours: bool, calls: list[tuple[object, ...]], bodies: list[tuple[int, bytes]]
) -> None:
    side = Side(client=ours)
    if not ours:
        side.hear(syn(1))
    state = side.open() if ours else side.accepted[0]
    for name, *arguments in calls:
        getattr(state, str(name))(*arguments)
    sent = side.frames()
    assert [(frame.flags, frame.body) for frame in sent] == [
        (flags | (0 if number else SYN if ours else ACK), body) for number, (flags, body) in enumerate(bodies)
    ]
    assert state.credit == INITIAL_WINDOW - sum(frame.length for frame in sent)


def test_the_ack_rides_on_an_update() -> None:
    side = Side().hear(data(1, bytes(INITIAL_WINDOW), SYN))
    side.read(side.accepted[0], INITIAL_WINDOW)
    assert Frame(WINDOW_UPDATE, ACK, 1, INITIAL_WINDOW) in side.frames()
    assert not any(frame.flags & ACK and frame.kind != PING for frame in side.frames())


def test_no_ack_for_a_stream_that_was_reset_at_once() -> None:
    side = Side()
    side.accepting = lambda state: state.reset(Reset.RESOURCE_LIMIT)
    side.hear(data(1, b"too late", SYN), data(1, b"more"), update(1, 0, FIN))
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 1, 0x1002)]
    assert side.sinks[1].pieces == []
    side.empty()


def test_a_short_piece_of_a_stream_that_was_reset_never_leaves() -> None:
    side = Side(client=True)
    state = side.open()
    assert side.frames() == []  # nobody needs to know yet
    state.send_now(b"/short")
    state.reset()
    assert side.frames() == []
    side.empty()


def test_data_may_follow_before_the_ack() -> None:
    side = Side(client=True)
    state = side.open()
    sent = state.send(bytes(INITIAL_WINDOW + 1))
    sent += state.send(b"x")
    assert sent <= INITIAL_WINDOW
    flags = [frame.flags for frame in side.frames()]
    assert flags == [SYN] + [0] * (len(flags) - 1)


@pytest.mark.parametrize(
    ("client", "stream"), [(False, 2), (True, 1), (False, 0), (True, 0)], ids=["even", "odd", "zero", "zero"]
)
def test_ids_of_our_own_parity_and_zero_are_refused(client: bool, stream: int) -> None:
    for frame in (syn(stream), data(stream, b"x", SYN)):
        with pytest.raises(MuxerError) as caught:
            Side(client=client).hear(frame)
        assert caught.value.code == GoAway.PROTOCOL_ERROR


@pytest.mark.parametrize("again", [syn(1), data(1, b"x", SYN), data(1, b"", SYN | ACK)])
def test_a_second_syn_is_refused(again: bytes) -> None:
    for before, told in ((b"", "SYN for stream 1"), (update(1, 0, RST), "used before")):
        side, _ = inbound()
        side.hear(before)
        with pytest.raises(MuxerError, match=told):
            side.hear(again)


def test_syns_may_overtake_each_other() -> None:
    side = Side().hear(syn(5), syn(1), syn(7), syn(3))
    assert sorted(side.session.streams) == [1, 3, 5, 7]
    assert [state.id for state in side.accepted] == [5, 1, 7, 3]


def test_ids_run_out() -> None:
    for client, last in ((True, 0xFFFF_FFFF), (False, 0xFFFF_FFFE)):
        side = Side(client=client)
        side.session._next_id = last
        assert side.open().id == last
        with pytest.raises(LimitExceeded, match="connect again") as caught:
            side.open()
        assert caught.value.limit == "stream ids"
        assert side.session.unacknowledged == 1


# ---------------------------------------------------------------------- the ACK backlog


@pytest.mark.parametrize(
    "freed",
    [
        lambda side, state: side.hear(update(1, 0, ACK)),
        lambda side, state: side.hear(data(1, b"", ACK)),
        lambda side, state: side.hear(data(1, b"x", ACK)),
        lambda side, state: side.hear(data(1, b"x", ACK)[:-1]),
        lambda side, state: side.hear(update(1, 0, ACK | FIN)),
        lambda side, state: side.hear(update(1, 7, RST)),
        lambda side, state: side.hear(data(1, b"", RST)),
        lambda side, state: state.reset(),
        lambda side, state: (side.hear(update(1, 0, FIN)), state.finish()),
    ],
)
def test_whatever_ends_the_waiting_gives_the_place_back_once(
    freed: Callable[[Side, YamuxStream], object], bounds: Bounds
) -> None:
    bounds(ACK_BACKLOG=1)
    side = Side(client=True)
    state = side.open()
    state.send(b"x")
    woken: list[int] = []
    side.session.when_openable(lambda: woken.append(1))
    side.session.when_openable(lambda: woken.append(2))
    freed(side, state)
    assert woken == [1]
    assert side.session.unacknowledged == 0
    state.reset()
    assert woken == [1]
    side.open()
    side.check()


def test_who_gives_up_waiting_leaves_the_place_to_the_next(bounds: Bounds) -> None:
    bounds(ACK_BACKLOG=1)
    side = Side(client=True)
    state = side.open()
    woken: list[str] = []
    first, second, third = (lambda name=name: woken.append(name) for name in ("first", "second", "third"))
    for wake in (first, second, third):
        side.session.when_openable(wake)
    side.session.forget_opening(second)
    state.reset()
    assert woken == ["first"]
    side.session.forget_opening(first)  # it was told, but will not open
    assert woken == ["first", "third"]
    side.session.forget_opening(third)
    side.open()
    side.session.when_openable(second)
    side.session.forget_opening(first)
    assert woken == ["first", "third"]


# ---------------------------------------------------------------------- data and windows


def test_data_is_delivered_in_order_and_a_body_as_it_arrives() -> None:
    side, _ = inbound()
    side.hear(data(1, b"a"), data(1, b""), data(1, b"bc"))
    frame = data(1, b"hello")
    side.hear(frame[:13])
    assert side.sinks[1].body == b"abch"
    side.hear(frame[13:])
    assert side.sinks[1].body == b"abchello"


def test_twelve_answers_leave_early_and_what_is_held_back_stays() -> None:
    """The peer works on them while we make the others; a frame that may still grow is not cut short."""
    early: list[int] = []
    side = Side()
    side.early = lambda: early.append(len(parse(b"".join(side.session.outbox.take(early=True)))))  # type: ignore[method-assign]
    for number in range(1, 41, 2):
        side.given(number)
    for number in range(1, 41, 2):
        side.session.streams[number].send_now(b"held")
    for number in range(1, 39, 2):
        state = side.session.streams[number]
        assert state.send(b"answer") == 6
        state.finish()
    assert early == [EARLY]
    last = parse(b"".join(side.session.data_to_send()))
    assert [frame.body for frame in last if frame.body] == [b"heldanswer"] * 7 + [b"held"]


def test_what_is_passed_on_is_a_copy() -> None:
    """The memory in which records are opened is used again at once."""
    side, _ = inbound()
    memory = bytearray(data(1, b"whole") + data(1, b"in two pieces"))
    view = memoryview(memory)
    for part in (view[:-6], view[-6:]):
        side.hear(part)
        part[:] = bytes(len(part))
    assert side.sinks[1].body == b"wholein two pieces"


def test_any_buffer_is_taken() -> None:
    side, _ = inbound()
    frame = data(1, b"hello")
    for kind in (bytes, bytearray, memoryview):
        side.hear(kind(frame))
        side.hear(kind(frame[:5]))
        side.hear(kind(frame[5:]))
    assert side.sinks[1].body == b"hello" * 6


def test_sending_uses_up_credit_and_stops() -> None:
    side, state = outbound()
    sent = 0
    while taken := state.send(bytes(100_000)):
        sent += taken
        assert sum(frame.length for frame in side.frames()) == taken
    assert sent == INITIAL_WINDOW
    assert state.credit == 0
    side.hear(update(1, 0))
    assert side.sink(state).readies == 0
    side.hear(update(1, 5))
    assert side.sink(state).readies == 1
    side.hear(update(1, 2))
    assert side.sink(state).readies == 1
    assert state.send(b"123456789") == 7


@pytest.mark.parametrize("flags", [SYN, ACK, FIN, ACK | FIN, 0x40])
def test_credit_counts_whatever_flags_come_with_it(flags: int) -> None:
    side = Side(client=True)
    side.opened()
    stream = 2 if flags & SYN else 1
    side.hear(update(stream, 77, flags))
    state = side.session.streams[stream]
    assert state.credit == INITIAL_WINDOW + 77
    state.finish()  # neither headers nor flags use any
    if not state.gone:
        assert state.credit == INITIAL_WINDOW + 77
        side.hear(update(stream, MAX_CREDIT), update(stream, MAX_CREDIT))
        assert state.credit == MAX_CREDIT


def test_credit_comes_back_as_the_reader_takes() -> None:
    side, state = inbound()
    side.hear(data(1, bytes(INITIAL_WINDOW)))
    side.read(state, INITIAL_WINDOW // 2 - 1)
    assert side.frames() == []
    side.read(state, 1)
    assert Frame(WINDOW_UPDATE, 0, 1, INITIAL_WINDOW // 2) in side.frames()
    side.check()


@pytest.mark.parametrize("flag", [FIN, RST])
def test_no_credit_for_a_stream_that_the_peer_has_ended(flag: int) -> None:
    side, state = inbound()
    side.hear(data(1, bytes(INITIAL_WINDOW)), update(1, 0, flag))
    side.read(state, INITIAL_WINDOW)
    assert side.frames() == []
    assert side.session.budget.buffered == 0
    side.check()


def test_the_round_trip_is_measured_when_it_is_needed_and_windows_grow() -> None:
    side, state = inbound()
    total = INITIAL_WINDOW
    side.hear(data(1, bytes(INITIAL_WINDOW)))
    side.read(state, INITIAL_WINDOW)
    sent = side.frames()
    assert sent[0] == Frame(PING, SYN, 0, 0)
    side.now += 0.1
    side.hear(ping(0, ACK))
    assert side.session.round_trip == pytest.approx(0.1)
    for _ in range(9):
        window = state.window.credit
        side.now += 0.1
        for start in range(0, window, 1 << 20):
            side.hear(data(1, bytes(min(1 << 20, window - start))))
        side.read(state, window)
        total += window
        assert [(frame.kind, frame.length) for frame in side.frames()] == [(WINDOW_UPDATE, state.window.credit)]
        side.check()
    assert state.window.size == 16 << 20
    side.hear(update(1, 0, RST))
    side.empty()


def test_windows_grow_only_as_far_as_the_connection_has_memory() -> None:
    side = Side(limits=Limits(receive_memory=INITIAL_WINDOW * 2))
    states = [side.given(stream) for stream in (1, 3)]
    side.session.round_trip = 1.0
    for _ in range(6):
        for state in states:
            side.hear(data(state.id, bytes(state.window.credit)))
            side.read(state, state.window.buffered)
            side.now += 0.01
            side.check()
    assert side.session.budget.grown == INITIAL_WINDOW * 2


# ---------------------------------------------------------------------- closing


@pytest.mark.parametrize("fin", [update(1, 0, FIN), data(1, b"", FIN)], ids=["go", "rust"])
def test_half_close_theirs_first(fin: bytes) -> None:
    side, state = inbound()
    side.hear(data(1, b"x"), fin)
    assert side.sinks[1].events == ["end"]
    assert state.send(b"still open") == 10
    assert side.session.streams == {1: state}
    state.finish()
    assert [frame.flags for frame in side.frames()] == [0, FIN]
    side.empty()
    side.hear(fin, update(1, 9), data(1, b""))
    assert side.sinks[1].events == ["end"]


def test_half_close_ours_first() -> None:
    side, state = outbound()
    state.finish()
    state.finish()
    assert side.frames() == [Frame(DATA, FIN, 1, 0)]
    side.hear(data(1, b"still open"))
    assert side.sink(state).body == b"still open"
    side.hear(update(1, 0, FIN))
    assert side.sink(state).events == ["end"]
    side.empty()


def test_a_fin_with_a_body_the_body_comes_first() -> None:
    side, state = inbound()
    seen: list[object] = []
    side.sinks[1].on = lambda event: seen.append(bytes(side.sinks[1].body) if event == "end" else event)
    frame = data(1, b"last words", FIN)
    side.hear(frame[:15])
    assert state.receiving is not Receiving.FINISHED
    side.hear(frame[15:])
    assert seen == ["data", "data", b"last words"]


def test_data_after_fin_is_dropped() -> None:
    side, state = inbound()
    side.hear(update(1, 0, FIN), update(1, 0, FIN), data(1, b"", FIN), data(1, b"late"), data(1, b"later")[:13])
    side.hear(b"ater")
    assert side.sinks[1].events == ["end"]
    assert side.sinks[1].pieces == []
    assert state.window.credit == INITIAL_WINDOW
    side.hear(data(1, b"late", RST))
    assert side.sinks[1].events == ["end", "failed"]
    side.empty()


@pytest.mark.parametrize("flags", [RST, RST | FIN, RST | ACK])
@pytest.mark.parametrize("code", [0, 0x1001, MAX_CREDIT])
def test_the_length_of_a_reset_is_a_code_and_no_credit(flags: int, code: int) -> None:
    side, state = outbound()
    had = state.credit
    side.hear(update(1, code, flags))
    assert state.credit == had
    error = side.sink(state).error
    assert isinstance(error, StreamReset)
    assert error.code == code
    assert side.sink(state).events == ["failed"]
    side.empty()


@pytest.mark.parametrize("frame", [update(1, 9, RST), data(1, b"", RST), data(1, b"x", RST)])
@pytest.mark.parametrize("opens", [False, True])
def test_a_reset_on_any_frame_comes_behind_its_bytes(frame: bytes, opens: bool) -> None:
    side = Side()
    if opens:
        side.hear(frame[:3] + bytes([frame[3] | SYN]) + frame[4:])
    else:
        side.given(1)
        side.hear(frame)
    assert (side.sinks[1].body, side.sinks[1].events) == (frame[HEADER_SIZE:], ["failed"])
    assert side.frames() == []
    side.empty()


def test_our_reset_carries_its_code() -> None:
    side, state = inbound()
    state.reset(0x1004)
    state.reset(0x1005)
    state.finish()
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 1, 0x1004)]
    assert side.sinks[1].events == []
    assert state.sink is NOBODY
    side.empty()


def test_a_reset_in_the_middle_of_a_body() -> None:
    side, state = inbound()
    side.hear(data(1, b"hello", FIN)[:14])
    state.reset()
    side.hear(b"llo", data(1, b"x"), syn(3))
    assert side.sinks[1].body == b"he"
    assert side.sinks[1].events == []
    assert list(side.session.streams) == [3]


# ---------------------------------------------------------------------- discarding


def test_a_discarded_stream_keeps_nothing() -> None:
    side, state = inbound()
    side.hear(data(1, bytes(1_000)))
    state.finish()
    state.discard()
    state.discard()
    assert side.session.budget.buffered == 0
    side.hear(data(1, bytes(2_000)), data(1, bytes(3_000))[:1_000])
    side.check()
    assert side.session.budget.buffered == 0
    side.read(state, 500)
    side.hear(bytes(3_012 - 1_000), update(1, 0, FIN))
    assert len(side.sinks[1].body) == 1_000
    assert side.sinks[1].events == ["end"]
    side.empty()


def test_a_discarded_stream_holds_the_peer_to_its_credit() -> None:
    side = Side()
    side.given(1).discard()
    side.hear(data(1, bytes(INITIAL_WINDOW)))
    with pytest.raises(MuxerError, match="window"):
        side.hear(data(1, b"x"))


def test_many_discarded_streams_cost_the_others_nothing() -> None:
    side = Side(limits=Limits(receive_memory=INITIAL_WINDOW * 2))
    for stream in range(1, 21, 2):
        side.given(stream).discard()
        side.hear(data(stream, bytes(INITIAL_WINDOW)))
    side.given(99)
    side.hear(data(99, bytes(INITIAL_WINDOW)))
    assert len(side.session.streams) == 11
    side.check()


def test_discard_in_the_middle_of_a_body() -> None:
    side, state = inbound()
    frame = data(1, bytes(100))
    side.hear(frame[:50])
    state.discard()
    side.hear(frame[50:])
    assert len(side.sinks[1].body) == 38
    side.check()


# ---------------------------------------------------------------------- unknown streams


@pytest.mark.parametrize("stream", [1, 2, 98, 99, 0xFFFF_FFFF])
def test_frames_for_streams_that_do_not_exist_are_ignored(stream: int) -> None:
    side = Side()
    for flags in (0, ACK, FIN, RST, ACK | FIN | RST, 0xFFF0):
        side.hear(data(stream, b"body", flags), data(stream, b"", flags), update(stream, 9, flags))
    side.hear(syn(5))
    assert side.frames() == [Frame(WINDOW_UPDATE, ACK, 5, 0)]
    assert list(side.session.streams) == [5]


def test_unknown_bodies_are_skipped_however_they_are_cut() -> None:
    side = Side()
    whole = data(9, bytes(100)) + syn(1) + data(9, b"x" * 50, FIN) + data(1, b"ok")
    for at in range(len(whole)):
        side.hear(whole[at : at + 1])
    assert side.sinks[1].body == b"ok"


# ---------------------------------------------------------------------- pings, go-away


def test_a_ping_is_answered_with_its_value() -> None:
    side = Side().hear(ping(42), ping(0), ping(MAX_CREDIT))
    assert side.frames() == [Frame(PING, ACK, 0, value) for value in (42, 0, MAX_CREDIT)]
    assert side.session.pongs == 0


def test_the_values_of_pings_wrap_and_an_answer_in_no_time_is_a_round_trip() -> None:
    side = Side()
    side.session._ping_value = MAX_CREDIT
    for value in (MAX_CREDIT, 0):
        side.session.ping(side.now)
        side.hear(ping(value, ACK))
    assert side.session.round_trip > 0
    assert [frame.length for frame in side.frames()] == [MAX_CREDIT, 0]


@pytest.mark.parametrize("code", [0, 1, 2, 0x1002, MAX_CREDIT])
def test_any_go_away_is_the_end(code: int) -> None:
    side, state = inbound()
    with pytest.raises(ConnectionClosed) as caught:
        side.hear(data(1, b"before"), go_away(code), data(1, b"after"))
    assert not isinstance(caught.value, MuxerError)
    assert (caught.value.code, caught.value.remote) == (code, True)
    assert side.sinks[1].body == b"before"
    side.session.fail(caught.value)
    assert side.sinks[1].error is caught.value
    assert state.gone
    side.empty()


def test_our_go_away_is_the_last_frame() -> None:
    side, _ = inbound()
    assert parse(side.session.go_away(GoAway.PROTOCOL_ERROR)) == [Frame(3, 0, 0, 1)]
    side.hear(syn(3), data(1, b"x"))
    assert list(side.session.streams) == [1]
    assert side.sinks[1].pieces == []
    for _ in range(3):
        side.hear(bytes(1_000))
    assert len(side.parser._partial) <= HEADER_SIZE


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize(("limit", "let_in"), [(1, 1), (None, 600)])
def test_streams_of_ours_count_on_their_own(limit: int | None, let_in: int) -> None:
    side = Side(limits=Limits(streams_in=limit))
    side.open()
    side.open()
    for stream in range(1, 1_201, 2):
        side.hear(syn(stream))
    assert side.session.inbound == let_in
    assert len(side.session.streams) == let_in + 2


@pytest.mark.parametrize("cut", [None, 500])
def test_too_many_unread_bytes_end_the_stream_that_brought_them(cut: int | None) -> None:
    side = Side(limits=Limits(receive_memory=1_000))
    first, second = side.given(1), side.given(3)
    side.hear(data(1, bytes(600)))
    frame = data(3, bytes(401), FIN)
    side.hear(frame[:cut])
    if cut:
        side.hear(frame[cut:])
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 3, Reset.RESOURCE_LIMIT)]
    error = side.sinks[3].error
    assert isinstance(error, LimitExceeded)
    assert (error.limit, error.maximum) == ("receive_memory", 1_000)
    assert side.sinks[3].events == ["failed"]
    assert side.sinks[3].pieces == []
    assert second.gone
    side.hear(data(1, bytes(400)))
    assert not first.gone
    side.check()


# ---------------------------------------------------------------------- sending


def test_frames_of_one_turn_leave_together() -> None:
    side = Side(client=True)
    one, two = side.opened(), side.opened()
    before = side.notified
    one.send(b"a")
    one.send(b"b")
    two.send(b"c")
    one.send(b"d")
    assert side.notified == before + 1
    assert [(frame.stream, frame.body) for frame in side.frames()] == [(1, b"ab"), (3, b"c"), (1, b"d")]
    one.send(b"e")
    assert side.notified == before + 2


@pytest.mark.parametrize("size", [10_000, 250_000])
def test_bodies_fill_records_whatever_their_size(size: int) -> None:
    side, state = outbound()
    body = bytes(range(250)) * 1_000
    for start in range(0, len(body), size):
        assert state.send(memoryview(body)[start : start + size]) == size
    sent = side.frames()
    assert [frame.length for frame in sent] == [MAX_BODY] * 3 + [250_000 - 3 * MAX_BODY]
    assert b"".join(frame.body for frame in sent) == body
    assert state.credit == INITIAL_WINDOW - 250_000


def test_a_frame_does_not_grow_behind_another() -> None:
    side, state = outbound()
    state.send(b"a")
    side.session.ping(1.0)
    state.send(b"b")
    state.finish()
    assert [(frame.kind, frame.length) for frame in side.frames()] == [
        (DATA, 1),
        (PING, 0),
        (DATA, 1),
        (DATA, 0),
    ]


def test_a_turn_takes_so_much_and_no_more_but_control_frames() -> None:
    side, state = outbound()
    side.hear(update(1, 10 * TURN_BYTES))
    taken = state.send(bytes(2 * TURN_BYTES))
    assert taken == TURN_BYTES
    assert state.send(b"x") == 0
    state.send_now(b"short")
    side.hear(ping(5))
    sent = side.frames()
    assert sum(frame.length for frame in sent[:-2]) == taken
    assert [frame.kind for frame in sent[-2:]] == [PING, DATA]
    assert state.send(b"x") == 1


def test_nothing_is_taken_while_the_socket_is_full() -> None:
    side, state = outbound()
    side.take(congested=True)
    assert side.session.congested
    assert state.send(b"x") == 0
    state.wait_turn(again=False)
    side.take(congested=True)
    assert side.sink(state).readies == 0
    side.take()
    assert side.sink(state).readies == 1
    assert state.send(b"x") == 1


def test_writers_are_woken_in_the_order_of_their_waiting() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(WAKE_TOGETHER + 3)]
    order: list[int] = []
    for state in reversed(states):
        side.sink(state).on = lambda _, number=state.id: order.append(number)  # type: ignore[misc]
        state.wait_turn(again=False)
        state.wait_turn(again=False)
    notified = side.notified
    side.take()
    waiting = [state.id for state in reversed(states)]
    assert order == waiting[:WAKE_TOGETHER]
    assert side.notified == notified + 1
    side.take()
    assert order == waiting
    side.take()
    assert order == waiting


def test_a_writer_that_found_no_room_keeps_its_place() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(4)]
    for state in states:
        state.wait_turn(again=False)
    side.take()
    newcomer = side.open()
    newcomer.wait_turn(again=False)
    states[0].wait_turn(again=False)  # it had its share
    for state in states[1:]:
        state.wait_turn(again=True)
    order: list[int] = []
    for state in (*states, newcomer):
        side.sink(state).on = lambda _, number=state.id: order.append(number)  # type: ignore[misc]
    side.take()
    assert order == [3, 5, 7, 9, 1]


def test_a_stream_that_ended_gives_its_turn_away() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(2 * WAKE_TOGETHER)]
    for state in states:
        state.wait_turn(again=False)
    for state in states[:-1]:
        state.reset()
    side.take()
    side.take()
    assert side.sink(states[-1]).readies == 1
    assert all(side.sink(state).readies == 0 for state in states[:-1])


def test_overloaded_by_answers_and_by_pongs(bounds: Bounds) -> None:
    bounds(CONTROL_QUEUE=10, PONGS=3)
    pongs, answers = [ping(value) for value in range(4)], [syn(stream) for stream in range(1, 23, 2)]
    for limits, frames in ((Limits(), pongs), (Limits(streams_in=0), answers)):
        side = Side(limits=limits).hear(*frames[:-1])
        assert not side.session.overloaded
        side.hear(frames[-1])
        assert side.session.overloaded
        side.take()
        assert not side.session.overloaded


# ---------------------------------------------------------------------- the end of it all


def test_fail_tells_every_stream_and_every_opener_once(bounds: Bounds) -> None:
    bounds(ACK_BACKLOG=2)
    side, theirs = inbound()
    ours = [side.open(), side.open()]
    side.hear(data(1, bytes(100)))
    ours[0].send(b"x")
    ours[0].wait_turn(again=False)
    woken: list[int] = []
    for number in range(3):
        side.session.when_openable(lambda number=number: woken.append(number))  # type: ignore[misc]
    cause = ConnectionClosed("lost")
    side.session.fail(cause)
    side.session.fail(ConnectionClosed("again"))
    for state in (theirs, *ours):
        assert state.gone
        assert side.sink(state).events == ["failed"]
        assert side.sink(state).error is cause
    assert woken == [0, 1, 2]
    assert side.take() == b""
    side.empty()


def test_a_sink_that_resets_all_others_when_it_fails() -> None:
    side = Side()
    states = [side.given(stream) for stream in (1, 3, 5)]

    def reset_all(_: str) -> None:
        for state in states:
            state.reset()

    side.sinks[1].on = reset_all
    side.session.fail(ConnectionClosed("lost"))
    assert side.sinks[1].events == ["failed"]
    assert side.session.streams == {}
    assert (side.session.inbound, side.session.unacknowledged) == (0, 0)
    assert side.take() == b""


@pytest.mark.parametrize("event", ["data", "end"])
@pytest.mark.parametrize("act", ["reset", "finish", "discard"])
def test_sinks_may_act_from_inside_receive(event: str, act: str) -> None:
    side, state = inbound()

    def on(name: str) -> None:
        if name == event:
            getattr(state, act)()

    side.sinks[1].on = on
    side.hear(data(1, b"one"), data(1, b"two", FIN), data(1, b"three"), syn(3), data(3, b"ok"))
    side.check()
    assert side.sinks[3].body == b"ok"
    if act == "reset" or (act == "finish"):
        assert state.gone
    assert side.sinks[1].events.count("failed") == 0


def test_a_writer_woken_by_credit_that_comes_with_a_fin() -> None:
    side, state = outbound()
    state.credit = 0
    side.sink(state).on = lambda event: state.reset() if event == "ready" else None
    side.hear(update(1, 5, FIN))
    assert side.sink(state).events == []
    side.empty()


# ---------------------------------------------------------------------- unfinished frames


def test_an_unfinished_frame_is_dated() -> None:
    side, _ = inbound()
    frame = data(1, bytes(100))
    side.now = 1.0
    side.hear(frame[:5])
    assert side.session.incomplete_since == 1.0
    side.now = 2.0
    side.hear(frame[5:8])
    assert side.session.incomplete_since == 1.0
    side.now = 3.0
    side.hear(frame[8:50])
    assert side.session.incomplete_since == 3.0  # the header is whole: now its body has to come
    for side.now in (4.0, 5.0):
        side.hear(b"\0")
        assert side.session.incomplete_since == 3.0
    side.hear(bytes(60))
    assert side.session.incomplete_since is None


def test_a_transfer_that_never_stops_at_a_frame_is_not_one_unfinished_frame() -> None:
    side, state = inbound()
    stream = data(1, bytes(1_000)) * 50
    for step, start in enumerate(range(0, len(stream), 1_000)):
        side.now = float(step)
        side.hear(stream[start : start + 1_000])
        side.read(state, state.window.buffered)
        since = side.session.incomplete_since
        assert since is None or side.now - since <= 1.0
    side.hear(data(1, b"12")[:-1])
    side.now += 1
    side.hear(b"2", data(1, b"3")[:5])
    assert side.session.incomplete_since == side.now


# ---------------------------------------------------------------------- two sessions


def test_a_megabyte_each_way_through_small_windows() -> None:
    pair = Pair()
    ours, theirs = pair.stream()
    ends = ((ours, pair.server, theirs), (theirs, pair.client, ours))
    body = bytes(range(256)) * 4_096
    left = [body, body]
    got = [b"", b""]
    while any(left):
        for number, (state, there, other) in enumerate(ends):
            taken = state.send(left[number])
            left[number] = left[number][taken:]
            pair.run()
            sink = there.sink(other)
            got[number] += sink.body
            there.read(other, len(sink.body))
            sink.pieces.clear()
    assert got == [body, body]
    ours.finish()
    theirs.finish()
    pair.run()
    pair.client.empty()
    pair.server.empty()


def test_both_reset_at_once() -> None:
    pair = Pair()
    ours, theirs = pair.stream()
    ours.send(b"crossing")
    ours.reset(1)
    theirs.send(b"crossing")
    theirs.reset(2)
    pair.run()
    pair.client.empty()
    pair.server.empty()


# ---------------------------------------------------------------------- who flushes


def test_who_holds_the_outbox_is_not_notified() -> None:
    side = Side()
    assert side.session.outbox.claim_flush() is False
    assert side.session.outbox.claim_flush() is True
    side.hear(ping(1))
    assert side.notified == 0
    assert len(side.frames()) == 1
    side.hear(ping(2))
    assert side.notified == 1
    assert side.session.outbox.claim_flush() is True
    side.take()
    side.hear(ping(3))
    assert side.notified == 2


def test_a_reader_that_frees_nothing_promises_nothing() -> None:
    side, state = inbound()
    state.window.credit = 0
    state.window.buffered = state.window.size
    side.session.budget.buffered = state.window.size
    side.read(state, 0)
    assert side.frames() == []
