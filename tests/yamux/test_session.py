from __future__ import annotations

from collections.abc import Callable

import pytest

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, MuxerError, StreamReset
from stronghold_p2p.yamux import session
from stronghold_p2p.yamux.header import (
    DATA,
    HEADER_SIZE,
    INITIAL_WINDOW,
    MAX_BODY,
    MAX_CREDIT,
    PING,
    WINDOW_UPDATE,
)
from stronghold_p2p.yamux.outbox import TURN_BYTES
from stronghold_p2p.yamux.session import EARLY, WAKE_TOGETHER
from stronghold_p2p.yamux.state import NOBODY, StreamState
from tests.yamux.wire import ACK, FIN, RST, SYN, Frame, Pair, Side, data, go_away, parse, parser, ping, syn, update

OPENINGS = {
    "go": syn(1),
    "go, larger window": syn(1, 1_000),
    "data": data(1, b"", SYN),
    "data with a body": data(1, b"hello", SYN),
}


# ---------------------------------------------------------------------- opening


def test_the_dialer_takes_odd_ids_and_the_listener_even_ones() -> None:
    client, server = Side(client=True), Side(client=False)
    assert [client.open().id for _ in range(3)] == [1, 3, 5]
    assert [server.open().id for _ in range(3)] == [2, 4, 6]


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_both_kinds_of_opening_are_acknowledged(opening: bytes) -> None:
    side = Side().hear(opening)
    assert [state.id for state in side.accepted] == [1]
    assert side.session.streams[1].credit == INITIAL_WINDOW + (
        1_000 if "larger" in next(name for name, frames in OPENINGS.items() if frames == opening) else 0
    )
    assert side.sinks[1].body == (b"hello" if opening.endswith(b"hello") else b"")
    assert side.frames() == [Frame(WINDOW_UPDATE, ACK, 1, 0)]
    assert side.frames() == []
    assert side.notified == 1


def test_the_client_accepts_even_ids() -> None:
    side = Side(client=True).hear(syn(2))
    assert side.frames() == [Frame(WINDOW_UPDATE, ACK, 2, 0)]


@pytest.mark.parametrize(
    "answer",
    [
        lambda side, state: side.session.send(state, b"body"),
        lambda side, state: side.session.send_now(state, b"body"),
        lambda side, state: side.session.finish(state),
    ],
)
def test_the_ack_rides_on_the_first_frame(answer: Callable[[Side, StreamState], object]) -> None:
    side = Side().hear(syn(1))
    answer(side, side.accepted[0])
    sent = side.frames()
    assert len(sent) == 1
    assert sent[0].flags & ACK
    assert not sent[0].flags & SYN


def test_the_ack_rides_on_an_update() -> None:
    side = Side().hear(data(1, bytes(INITIAL_WINDOW), SYN))
    side.read(side.accepted[0], INITIAL_WINDOW)
    assert Frame(WINDOW_UPDATE, ACK, 1, INITIAL_WINDOW) in side.frames()
    assert not any(frame.flags & ACK and frame.kind != PING for frame in side.frames())


def test_no_ack_for_a_stream_that_was_reset_at_once() -> None:
    side = Side()
    side.accepting = lambda state: side.session.reset(state, Reset.RESOURCE_LIMIT)
    side.hear(data(1, b"too late", SYN), data(1, b"more"), update(1, 0, FIN))
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 1, 0x1002)]
    assert side.sinks[1].pieces == []
    side.empty()


def test_the_syn_rides_on_the_first_frame_whatever_it_is() -> None:
    side = Side(client=True)
    by_data, by_fin, by_short, silent = (side.open() for _ in range(4))
    side.session.send(by_data, b"body")
    side.session.finish(by_fin)
    side.session.send_now(by_short, b"/proposal")
    assert side.frames() == [
        Frame(DATA, SYN, 1, 4, b"body"),
        Frame(DATA, SYN | FIN, 3, 0),
        Frame(DATA, SYN, 5, 9, b"/proposal"),
    ]
    assert silent.first == SYN


def test_a_short_piece_leaves_with_the_next_write() -> None:
    side = Side(client=True)
    state = side.open()
    side.session.send_now(state, b"/one")
    side.session.send_now(state, b"/two")
    side.session.send(state, b"data")
    side.session.send(state, b", more")
    assert side.frames() == [Frame(DATA, SYN, 1, 18, b"/one/twodata, more")]
    assert state.credit == INITIAL_WINDOW - 18


def test_a_short_piece_before_a_long_write_or_a_fin() -> None:
    side = Side(client=True)
    long, closed = side.open(), side.open()
    side.session.send_now(long, b"/short")
    side.session.send(long, bytes(40_000))
    side.session.send_now(closed, b"/short")
    side.session.finish(closed)
    sent = side.frames()
    assert b"".join(frame.body for frame in sent if frame.stream == 1) == b"/short" + bytes(40_000)
    assert [(frame.kind, frame.flags) for frame in sent if frame.stream == 3] == [(DATA, SYN), (DATA, FIN)]


def test_a_short_piece_of_a_stream_that_was_reset_never_leaves() -> None:
    side = Side(client=True)
    state = side.open()
    side.session.send_now(state, b"/short")
    side.session.reset(state)
    assert side.frames() == []
    side.empty()


def test_data_may_follow_before_the_ack() -> None:
    side = Side(client=True)
    state = side.open()
    sent = side.session.send(state, bytes(INITIAL_WINDOW + 1))
    sent += side.session.send(state, b"x")
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
    side = Side()
    side.given(1)
    with pytest.raises(MuxerError, match="SYN for stream 1"):
        side.hear(again)


def test_a_used_id_is_refused() -> None:
    side = Side()
    side.hear(syn(1), update(1, 0, RST))
    side.empty()
    with pytest.raises(MuxerError, match="used before"):
        side.hear(syn(1))


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


def test_the_257th_stream_waits_for_an_acknowledgement() -> None:
    side = Side(client=True)
    for _ in range(256):
        side.open()
    with pytest.raises(LimitExceeded) as caught:
        side.open()
    assert (caught.value.limit, caught.value.current, caught.value.maximum) == ("ack_backlog", 256, 256)
    woken: list[int] = []
    side.session.when_openable(lambda: woken.append(1))
    side.session.when_openable(lambda: woken.append(2))
    side.hear(update(1, 0, ACK))
    assert woken == [1]
    assert side.open().id == 513
    side.hear(update(1, 0, ACK), data(3, b"x", ACK))
    assert woken == [1, 2]
    side.check()


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
        lambda side, state: side.session.reset(state),
        lambda side, state: (side.hear(update(1, 0, FIN)), side.session.finish(state)),
    ],
)
def test_whatever_ends_the_waiting_gives_the_place_back_once(
    freed: Callable[[Side, StreamState], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ACK_BACKLOG", 1)
    side = Side(client=True)
    state = side.open()
    side.session.send(state, b"x")
    woken: list[int] = []
    side.session.when_openable(lambda: woken.append(1))
    side.session.when_openable(lambda: woken.append(2))
    freed(side, state)
    assert woken == [1]
    assert side.session.unacknowledged == 0
    side.session.reset(state)
    assert woken == [1]
    side.open()
    side.check()


def test_who_gives_up_waiting_leaves_the_place_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ACK_BACKLOG", 1)
    side = Side(client=True)
    state = side.open()
    woken: list[str] = []
    first, second, third = (lambda name=name: woken.append(name) for name in ("first", "second", "third"))
    for wake in (first, second, third):
        side.session.when_openable(wake)
    side.session.forget_opening(second)
    side.session.reset(state)
    assert woken == ["first"]
    side.session.forget_opening(first)  # it was told, but will not open
    assert woken == ["first", "third"]
    side.session.forget_opening(third)
    side.open()
    side.session.when_openable(second)
    side.session.forget_opening(first)
    assert woken == ["first", "third"]


# ---------------------------------------------------------------------- data and windows


def test_data_is_delivered_in_order() -> None:
    side = Side()
    side.given(1)
    side.hear(data(1, b"a"), data(1, b""), data(1, b"bc"))
    assert side.sinks[1].body == b"abc"


def test_a_body_is_passed_on_as_it_arrives() -> None:
    side = Side()
    side.given(1)
    frame = data(1, b"hello")
    side.hear(frame[:13])
    assert side.sinks[1].body == b"h"
    side.hear(frame[13:])
    assert side.sinks[1].body == b"hello"


def test_twelve_answers_leave_early_and_what_is_held_back_stays() -> None:
    """The peer works on them while we make the others; a frame that may still grow is not cut short."""
    early: list[int] = []
    side = Side()
    side.session._early = lambda: early.append(len(parse(b"".join(side.session.early_data()))))
    for number in range(1, 41, 2):
        side.given(number)
    for number in range(1, 41, 2):
        side.session.send_now(side.session.streams[number], b"held")
    for number in range(1, 39, 2):
        state = side.session.streams[number]
        assert side.session.send(state, b"answer") == 6
        side.session.finish(state)
    assert early == [EARLY]
    last = parse(b"".join(side.session.data_to_send()))
    assert [frame.body for frame in last if frame.body] == [b"heldanswer"] * 7 + [b"held"]


def test_what_is_passed_on_is_a_copy() -> None:
    """The memory in which records are opened is used again at once."""
    side = Side()
    side.given(1)
    memory = bytearray(data(1, b"whole") + data(1, b"in two pieces"))
    view = memoryview(memory)
    for part in (view[:-6], view[-6:]):
        side.session.receive(part, side.now)
        part[:] = bytes(len(part))
    assert side.sinks[1].body == b"wholein two pieces"


def test_any_buffer_is_taken() -> None:
    side = Side()
    side.given(1)
    frame = data(1, b"hello")
    for kind in (bytes, bytearray, memoryview):
        side.session.receive(kind(frame), side.now)
        side.session.receive(kind(frame[:5]), side.now)
        side.session.receive(kind(frame[5:]), side.now)
    assert side.sinks[1].body == b"hello" * 6


def test_sending_uses_up_credit_and_stops() -> None:
    side = Side(client=True)
    state = side.opened()
    sent = 0
    while taken := side.session.send(state, bytes(100_000)):
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
    assert side.session.send(state, b"123456789") == 7


def test_headers_and_flags_use_no_credit() -> None:
    side = Side(client=True)
    state = side.opened()
    side.session.finish(state)
    assert state.credit == INITIAL_WINDOW


@pytest.mark.parametrize("flags", [SYN, ACK, FIN, ACK | FIN, 0x40])
def test_credit_counts_whatever_flags_come_with_it(flags: int) -> None:
    side = Side(client=True)
    side.opened()
    state = side.session.streams[1]
    if flags & SYN:
        side.hear(update(2, 77, flags))
        state = side.session.streams[2]
    else:
        side.hear(update(1, 77, flags))
    assert state.credit == INITIAL_WINDOW + 77


def test_credit_is_clamped() -> None:
    side = Side(client=True)
    state = side.opened()
    side.hear(update(1, MAX_CREDIT), update(1, MAX_CREDIT))
    assert state.credit == MAX_CREDIT


def test_credit_comes_back_as_the_reader_takes() -> None:
    side = Side()
    state = side.given(1)
    side.hear(data(1, bytes(INITIAL_WINDOW)))
    side.read(state, INITIAL_WINDOW // 2 - 1)
    assert side.frames() == []
    side.read(state, 1)
    assert Frame(WINDOW_UPDATE, 0, 1, INITIAL_WINDOW // 2) in side.frames()
    side.check()


def test_no_credit_for_a_stream_whose_fin_has_come() -> None:
    side = Side()
    state = side.given(1)
    side.hear(data(1, bytes(INITIAL_WINDOW)), update(1, 0, FIN))
    side.read(state, INITIAL_WINDOW)
    assert side.frames() == []
    assert side.session.budget.buffered == 0


def test_nothing_is_counted_for_a_stream_that_is_gone() -> None:
    side = Side()
    state = side.given(1)
    side.hear(data(1, bytes(1_000)), update(1, 0, RST))
    side.read(state, 1_000)
    side.empty()


def test_the_round_trip_is_measured_when_it_is_needed_and_windows_grow() -> None:
    side = Side()
    state = side.given(1)
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
    side = Side()
    state = side.given(1)
    side.hear(data(1, b"x"), fin)
    assert side.sinks[1].events == ["end"]
    assert side.session.send(state, b"still open") == 10
    assert side.session.streams == {1: state}
    side.session.finish(state)
    assert [frame.flags for frame in side.frames()] == [0, FIN]
    side.empty()
    side.hear(fin, update(1, 9), data(1, b""))
    assert side.sinks[1].events == ["end"]


def test_half_close_ours_first() -> None:
    side = Side(client=True)
    state = side.opened()
    side.session.finish(state)
    side.session.finish(state)
    assert side.frames() == [Frame(DATA, FIN, 1, 0)]
    side.hear(data(1, b"still open"))
    assert side.sink(state).body == b"still open"
    side.hear(update(1, 0, FIN))
    assert side.sink(state).events == ["end"]
    side.empty()


def test_a_fin_with_a_body_the_body_comes_first() -> None:
    side = Side()
    state = side.given(1)
    seen: list[object] = []
    side.sinks[1].on = lambda event: seen.append(bytes(side.sinks[1].body) if event == "end" else event)
    frame = data(1, b"last words", FIN)
    side.hear(frame[:15])
    assert not state.fin_received
    side.hear(frame[15:])
    assert seen == ["data", "data", b"last words"]


def test_a_fin_twice_is_told_once() -> None:
    side = Side()
    side.given(1)
    side.hear(update(1, 0, FIN), update(1, 0, FIN), data(1, b"", FIN))
    assert side.sinks[1].events == ["end"]


def test_data_after_fin_is_dropped() -> None:
    side = Side()
    state = side.given(1)
    side.hear(update(1, 0, FIN), data(1, b"late"), data(1, b"later")[:13], b"ater"[:0])
    side.hear(b"ater")
    assert side.sinks[1].pieces == []
    assert state.window.credit == INITIAL_WINDOW
    side.hear(data(1, b"late", RST))
    assert side.sinks[1].events == ["end", "failed"]
    side.empty()


@pytest.mark.parametrize("flags", [RST, RST | FIN, RST | ACK])
@pytest.mark.parametrize("code", [0, 0x1001, MAX_CREDIT])
def test_the_length_of_a_reset_is_a_code_and_no_credit(flags: int, code: int) -> None:
    side = Side(client=True)
    state = side.opened()
    had = state.credit
    side.hear(update(1, code, flags))
    assert state.credit == had
    error = side.sink(state).error
    assert isinstance(error, StreamReset)
    assert error.code == code
    assert side.sink(state).events == ["failed"]
    side.empty()


def test_a_reset_on_data() -> None:
    side = Side(client=True)
    first, second = side.opened(), side.opened()
    side.hear(data(1, b"", RST), data(3, b"bytes before it", RST))
    assert side.sink(first).events == side.sink(second).events == ["failed"]
    assert side.sink(second).body == b"bytes before it"
    side.empty()


@pytest.mark.parametrize("frame", [update(1, 9, SYN | RST), data(1, b"", SYN | RST), data(1, b"x", SYN | RST)])
def test_opened_and_reset_in_one_frame(frame: bytes) -> None:
    side = Side().hear(frame)
    assert side.sinks[1].events == ["failed"]
    assert side.frames() == []
    side.empty()


def test_our_reset_carries_its_code() -> None:
    side = Side()
    state = side.given(1)
    side.session.reset(state, 0x1004)
    side.session.reset(state, 0x1005)
    side.session.finish(state)
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 1, 0x1004)]
    assert side.sinks[1].events == []
    assert state.sink is NOBODY
    side.empty()


def test_a_reset_in_the_middle_of_a_body() -> None:
    side = Side()
    state = side.given(1)
    side.hear(data(1, b"hello", FIN)[:14])
    side.session.reset(state)
    side.hear(b"llo", data(1, b"x"), syn(3))
    assert side.sinks[1].body == b"he"
    assert side.sinks[1].events == []
    assert list(side.session.streams) == [3]


# ---------------------------------------------------------------------- discarding


def test_a_discarded_stream_keeps_nothing() -> None:
    side = Side()
    state = side.given(1)
    side.hear(data(1, bytes(1_000)))
    side.session.finish(state)
    side.session.discard(state)
    side.session.discard(state)
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
    side.session.discard(side.given(1))
    side.hear(data(1, bytes(INITIAL_WINDOW)))
    with pytest.raises(MuxerError, match="window"):
        side.hear(data(1, b"x"))


def test_many_discarded_streams_cost_the_others_nothing() -> None:
    side = Side(limits=Limits(receive_memory=INITIAL_WINDOW * 2))
    for stream in range(1, 21, 2):
        side.session.discard(side.given(stream))
        side.hear(data(stream, bytes(INITIAL_WINDOW)))
    side.given(99)
    side.hear(data(99, bytes(INITIAL_WINDOW)))
    assert len(side.session.streams) == 11
    side.check()


def test_discard_in_the_middle_of_a_body() -> None:
    side = Side()
    state = side.given(1)
    frame = data(1, bytes(100))
    side.hear(frame[:50])
    side.session.discard(state)
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
        side.session.receive(whole[at : at + 1], side.now)
    assert side.sinks[1].body == b"ok"


# ---------------------------------------------------------------------- pings, go-away


def test_a_ping_is_answered_with_its_value() -> None:
    side = Side().hear(ping(42), ping(0), ping(MAX_CREDIT))
    assert side.frames() == [Frame(PING, ACK, 0, value) for value in (42, 0, MAX_CREDIT)]
    assert side.session.pongs == 0


def test_one_ping_at_a_time_and_a_wrong_answer_is_no_answer() -> None:
    side = Side()
    assert side.session.ping_sent_at is None
    side.session.ping(1_000.0)
    side.session.ping(1_000.1)
    assert side.frames() == [Frame(PING, SYN, 0, 0)]
    assert side.session.ping_sent_at == 1_000.0
    side.hear(ping(1, ACK), ping(MAX_CREDIT, ACK), ping(0, 0))
    assert side.session.ping_sent_at == 1_000.0
    side.now = 1_000.25
    side.hear(ping(0, ACK))
    assert side.session.ping_sent_at is None
    assert side.session.round_trip == pytest.approx(0.25)
    side.hear(ping(0, ACK))
    side.session.ping(1_001.0)
    assert side.frames() == [Frame(PING, SYN, 0, 1)]


def test_the_values_of_pings_wrap() -> None:
    side = Side()
    side.session._ping_value = MAX_CREDIT
    side.session.ping(1_000.0)
    side.hear(ping(MAX_CREDIT, ACK))
    side.session.ping(1_000.0)
    assert [frame.length for frame in side.frames()] == [MAX_CREDIT, 0]


def test_an_answer_in_no_time_is_still_a_round_trip() -> None:
    side = Side()
    side.session.ping(side.now)
    side.hear(ping(0, ACK))
    assert side.session.round_trip > 0


@pytest.mark.parametrize("code", [0, 1, 2, 0x1002, MAX_CREDIT])
def test_any_go_away_is_the_end(code: int) -> None:
    side = Side()
    state = side.given(1)
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
    side = Side()
    side.given(1)
    assert parse(side.session.go_away(GoAway.PROTOCOL_ERROR)) == [Frame(3, 0, 0, 1)]
    side.hear(syn(3), data(1, b"x"))
    assert list(side.session.streams) == [1]
    assert side.sinks[1].pieces == []
    for _ in range(3):
        side.hear(bytes(1_000))
    assert len(parser(side.session)._partial) <= HEADER_SIZE


# ---------------------------------------------------------------------- limits


def test_the_513th_stream_is_refused_and_the_others_go_on() -> None:
    side = Side()
    for stream in range(1, 1_025, 2):
        side.hear(syn(stream))
    side.frames()
    side.hear(data(1_025, b"/multistream", SYN), data(1_025, b"more"), update(1_025, 0, FIN))
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 1_025, 0x1002)]
    side.hear(data(1, b"x"), data(1_023, b"y"))
    assert (side.sinks[1].body, side.sinks[1_023].body) == (b"x", b"y")
    assert len(side.accepted) == side.session.inbound == 512
    side.session.finish(side.session.streams[1])
    side.hear(update(1, 0, FIN), syn(1_027))
    assert Frame(WINDOW_UPDATE, ACK, 1_027, 0) in side.frames()
    side.check()


def test_streams_of_ours_count_on_their_own() -> None:
    side = Side(limits=Limits(streams_in=1))
    side.hear(syn(1))
    side.open()
    side.open()
    side.hear(syn(3))
    assert side.session.inbound == 1
    assert len(side.session.streams) == 3


def test_no_limit_on_streams() -> None:
    side = Side(limits=Limits(streams_in=None))
    for stream in range(1, 1_201, 2):
        side.hear(syn(stream))
    assert side.session.inbound == 600


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
    side.session.send(one, b"a")
    side.session.send(one, b"b")
    side.session.send(two, b"c")
    side.session.send(one, b"d")
    assert side.notified == before + 1
    assert [(frame.stream, frame.body) for frame in side.frames()] == [(1, b"ab"), (3, b"c"), (1, b"d")]
    side.session.send(one, b"e")
    assert side.notified == before + 2


def test_bodies_fill_records() -> None:
    side = Side(client=True)
    state = side.opened()
    body = bytes(range(250)) * 1_000
    for start in range(0, len(body), 10_000):
        assert side.session.send(state, body[start : start + 10_000]) == 10_000
    sent = side.frames()
    assert [frame.length for frame in sent] == [MAX_BODY] * 3 + [250_000 - 3 * MAX_BODY]
    assert b"".join(frame.body for frame in sent) == body
    assert state.credit == INITIAL_WINDOW - 250_000


def test_a_large_body_is_cut_into_records() -> None:
    side = Side(client=True)
    state = side.opened()
    body = bytes(range(200)) * 1_000
    assert side.session.send(state, memoryview(body)) == 200_000
    sent = side.frames()
    assert max(frame.length for frame in sent) == MAX_BODY
    assert b"".join(frame.body for frame in sent) == body


def test_a_frame_does_not_grow_behind_another() -> None:
    side = Side(client=True)
    state = side.opened()
    side.session.send(state, b"a")
    side.session.ping(1.0)
    side.session.send(state, b"b")
    side.session.finish(state)
    assert [(frame.kind, frame.length) for frame in side.frames()] == [
        (DATA, 1),
        (PING, 0),
        (DATA, 1),
        (DATA, 0),
    ]


def test_a_turn_takes_so_much_and_no_more() -> None:
    side = Side(client=True)
    state = side.opened()
    side.hear(update(1, 10 * TURN_BYTES))
    taken = side.session.send(state, bytes(2 * TURN_BYTES))
    assert taken == TURN_BYTES
    assert side.session.send(state, b"x") == 0
    sent = side.frames()
    assert sum(frame.length for frame in sent) == taken
    assert side.session.send(state, b"x") == 1


def test_control_frames_leave_even_when_the_turn_is_full() -> None:
    side = Side(client=True)
    state = side.opened()
    side.hear(update(1, 10 * TURN_BYTES))
    side.session.send(state, bytes(2 * TURN_BYTES))
    side.session.send_now(state, b"short")
    side.hear(ping(5))
    assert [frame.kind for frame in side.frames()][-2:] == [PING, DATA]


def test_nothing_is_taken_while_the_socket_is_full() -> None:
    side = Side(client=True)
    state = side.opened()
    side.take(congested=True)
    assert side.session.congested
    assert side.session.send(state, b"x") == 0
    side.session.wait_turn(state)
    side.take(congested=True)
    assert side.sink(state).readies == 0
    side.take()
    assert side.sink(state).readies == 1
    assert side.session.send(state, b"x") == 1


def test_writers_are_woken_in_the_order_of_their_waiting() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(WAKE_TOGETHER + 3)]
    order: list[int] = []
    for state in reversed(states):
        side.sink(state).on = lambda _, number=state.id: order.append(number)  # type: ignore[misc]
        side.session.wait_turn(state)
        side.session.wait_turn(state)
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
        side.session.wait_turn(state)
    side.take()
    newcomer = side.open()
    side.session.wait_turn(newcomer)
    side.session.wait_turn(states[0])  # it had its share
    for state in states[1:]:
        side.session.wait_turn(state, again=True)
    order: list[int] = []
    for state in (*states, newcomer):
        side.sink(state).on = lambda _, number=state.id: order.append(number)  # type: ignore[misc]
    side.take()
    assert order == [3, 5, 7, 9, 1]


def test_a_stream_that_ended_gives_its_turn_away() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(2 * WAKE_TOGETHER)]
    for state in states:
        side.session.wait_turn(state)
    for state in states[:-1]:
        side.session.reset(state)
    side.take()
    side.take()
    assert side.sink(states[-1]).readies == 1
    assert all(side.sink(state).readies == 0 for state in states[:-1])


def test_overloaded_by_answers_and_by_pongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONTROL_QUEUE", 10)
    monkeypatch.setattr(session, "PONGS", 3)
    side = Side()
    for value in range(3):
        side.hear(ping(value))
    assert not side.session.overloaded
    side.hear(ping(3))
    assert side.session.overloaded
    side.take()
    assert not side.session.overloaded
    side = Side(limits=Limits(streams_in=0))
    for stream in range(1, 21, 2):
        side.hear(syn(stream))
    assert not side.session.overloaded
    side.hear(syn(21))
    assert side.session.overloaded


# ---------------------------------------------------------------------- the end of it all


def test_fail_tells_every_stream_and_every_opener_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ACK_BACKLOG", 2)
    side = Side()
    inbound = side.given(1)
    outbound = [side.open(), side.open()]
    side.hear(data(1, bytes(100)))
    side.session.send(outbound[0], b"x")
    side.session.wait_turn(outbound[0])
    woken: list[int] = []
    for number in range(3):
        side.session.when_openable(lambda number=number: woken.append(number))  # type: ignore[misc]
    cause = ConnectionClosed("lost")
    side.session.fail(cause)
    side.session.fail(ConnectionClosed("again"))
    for state in (inbound, *outbound):
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
            side.session.reset(state)

    side.sinks[1].on = reset_all
    side.session.fail(ConnectionClosed("lost"))
    assert side.sinks[1].events == ["failed"]
    assert side.session.streams == {}
    assert (side.session.inbound, side.session.unacknowledged) == (0, 0)
    assert side.take() == b""


@pytest.mark.parametrize("event", ["data", "end"])
@pytest.mark.parametrize("act", ["reset", "finish", "discard"])
def test_sinks_may_act_from_inside_receive(event: str, act: str) -> None:
    side = Side()
    state = side.given(1)

    def on(name: str) -> None:
        if name == event:
            getattr(side.session, act)(state)

    side.sinks[1].on = on
    side.hear(data(1, b"one"), data(1, b"two", FIN), data(1, b"three"), syn(3), data(3, b"ok"))
    side.check()
    assert side.sinks[3].body == b"ok"
    if act == "reset" or (act == "finish"):
        assert state.gone
    assert side.sinks[1].events.count("failed") == 0


def test_a_writer_woken_by_credit_that_comes_with_a_fin() -> None:
    side = Side(client=True)
    state = side.opened()
    state.credit = 0
    side.sink(state).on = lambda event: side.session.reset(state) if event == "ready" else None
    side.hear(update(1, 5, FIN))
    assert side.sink(state).events == []
    side.empty()


# ---------------------------------------------------------------------- unfinished frames


def test_an_unfinished_frame_is_dated() -> None:
    side = Side()
    side.given(1)
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
    side = Side()
    state = side.given(1)
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
    ends = ((pair.client, ours, pair.server, theirs), (pair.server, theirs, pair.client, ours))
    body = bytes(range(256)) * 4_096
    left = [body, body]
    got = [b"", b""]
    while any(left):
        for number, (here, state, there, other) in enumerate(ends):
            taken = here.session.send(state, left[number])
            left[number] = left[number][taken:]
            pair.run()
            sink = there.sink(other)
            got[number] += sink.body
            there.read(other, len(sink.body))
            sink.pieces.clear()
    assert got == [body, body]
    pair.client.session.finish(ours)
    pair.server.session.finish(theirs)
    pair.run()
    pair.client.empty()
    pair.server.empty()


def test_both_reset_at_once() -> None:
    pair = Pair()
    ours, theirs = pair.stream()
    pair.client.session.send(ours, b"crossing")
    pair.client.session.reset(ours, 1)
    pair.server.session.send(theirs, b"crossing")
    pair.server.session.reset(theirs, 2)
    pair.run()
    pair.client.empty()
    pair.server.empty()


# ---------------------------------------------------------------------- who flushes


def test_who_holds_the_outbox_is_not_notified() -> None:
    side = Side()
    assert side.session.hold() is False
    assert side.session.hold() is True
    side.hear(ping(1))
    assert side.notified == 0
    assert len(side.frames()) == 1
    side.hear(ping(2))
    assert side.notified == 1
    assert side.session.hold() is True
    side.take()
    side.hear(ping(3))
    assert side.notified == 2


def test_a_reader_that_frees_nothing_promises_nothing() -> None:
    side = Side()
    state = side.given(1)
    state.window.credit = 0
    state.window.buffered = state.window.size
    side.session.budget.buffered = state.window.size
    side.read(state, 0)
    assert side.frames() == []
