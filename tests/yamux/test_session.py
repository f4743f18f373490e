from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, MuxerError, StreamReset
from stronghold_p2p.seams import NOBODY
from stronghold_p2p.yamux.header import DATA, HEADER_SIZE, INITIAL_WINDOW, MAX_BODY, MAX_CREDIT, PING, WINDOW_UPDATE
from stronghold_p2p.yamux.outbox import EARLY, TURN_BYTES, WAKE_TOGETHER
from stronghold_p2p.yamux.session import YamuxStream
from stronghold_p2p.yamux.state import Receiving
from tests.yamux.wire import (
    ACK,
    FIN,
    RST,
    SYN,
    Bounds,
    Frame,
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
    state.send_now(b"too late")
    assert side.frames() == []
    side.empty()


@pytest.mark.parametrize(
    ("client", "before", "stream", "told"),
    [
        (False, b"", 2, "stream 2"),
        (True, b"", 1, "stream 1"),
        (False, b"", 0, "stream 0"),
        (True, b"", 0, "stream 0"),
        (False, syn(1), 1, "SYN for stream 1"),
        (False, syn(1) + update(1, 0, RST), 1, "used before"),
    ],
    ids=["even", "odd", "zero", "zero to a dialer", "a second one", "one after a reset"],
)
def test_a_syn_for_an_id_that_cannot_begin_is_refused(client: bool, before: bytes, stream: int, told: str) -> None:
    for frame in (syn(stream), data(stream, b"x", SYN), data(stream, b"", SYN | ACK)):
        with pytest.raises(MuxerError, match=told) as caught:
            Side(client=client).hear(before).hear(frame)
        assert caught.value.code == GoAway.PROTOCOL_ERROR


def test_dialers_take_odd_ids_and_listeners_even_ones_until_they_run_out() -> None:
    for client, last in ((True, 0xFFFF_FFFF), (False, 0xFFFF_FFFE)):
        side = Side(client=client)
        assert [side.open().id for _ in range(3)] == ([1, 3, 5] if client else [2, 4, 6])
        side.session._next_id = last
        assert side.open().id == last
        with pytest.raises(LimitExceeded, match="connect again") as caught:
            side.open()
        assert caught.value.limit == "stream ids"
        assert side.session.unacknowledged == 4


FREED: list[tuple[Callable[[YamuxStream], None] | None, bytes]] = [
    *[(None, update(1, 0, flags)) for flags in (ACK, ACK | FIN, RST)],
    *[(None, data(1, b"", flags)) for flags in (ACK, RST)],
    *[(None, data(1, b"x", ACK)[:size]) for size in (13, 12)],
    (YamuxStream.reset, b""),
    (YamuxStream.finish, update(1, 0, FIN)),
]


@pytest.mark.parametrize(("act", "heard"), FREED)
def test_whatever_ends_the_waiting_gives_the_place_back_once(
    act: Callable[[YamuxStream], None] | None, heard: bytes, bounds: Bounds
) -> None:
    bounds(ACK_BACKLOG=1)
    side = Side(client=True)
    state = side.open()
    state.send(b"x")
    woken: list[int] = []
    side.session.when_openable(lambda: woken.append(1))
    side.session.when_openable(lambda: woken.append(2))
    side.hear(heard)
    if act is not None:
        act(state)
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
    told: list[str] = []
    first, second, third = (lambda name=name: told.append(name) for name in ("first", "second", "third"))
    for wake in (first, second, third):
        side.session.when_openable(wake)
    side.session.forget_opening(second)
    state.reset()
    assert told == ["first"]
    side.session.forget_opening(first)  # it was told, but will not open
    assert told == ["first", "third"]
    side.session.forget_opening(third)
    side.open()
    side.session.when_openable(second)
    side.session.forget_opening(first)
    assert told == ["first", "third"]


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


@pytest.mark.parametrize("held", [b"", b"held"])
def test_answers_on_streams_that_go_on_leave_early_too(held: bytes) -> None:
    side = Side()
    states = [side.given(number) for number in range(1, 2 * EARLY + 1, 2)]
    for state in states:
        state.send_now(held)
        assert side.early_notices == 0
        assert state.send(b"answer") == 6
    assert side.early_notices == 1


def test_what_is_passed_on_is_a_copy() -> None:
    """The memory in which records are opened is used again at once."""
    side, _ = inbound()
    memory = bytearray(data(1, b"whole") + data(1, b"in two pieces"))
    view = memoryview(memory)
    for part in (view[:-6], view[-6:]):
        side.hear(part)
        part[:] = bytes(len(part))
    assert side.sinks[1].body == b"wholein two pieces"


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
    side.hear(data(1, bytes(INITIAL_WINDOW)))
    side.read(state, INITIAL_WINDOW)
    assert side.frames()[0] == Frame(PING, SYN, 0, 0)
    side.now += 0.1
    side.hear(ping(0, ACK))
    assert side.session.round_trip == pytest.approx(0.1)
    for _ in range(9):
        window = state.window.credit
        side.now += 0.1
        for start in range(0, window, 1 << 20):
            side.hear(data(1, bytes(min(1 << 20, window - start))))
        side.read(state, window)
        assert [(frame.kind, frame.length) for frame in side.frames()] == [(WINDOW_UPDATE, state.window.credit)]
        side.check()
    assert state.window.size == 16 << 20
    side.hear(update(1, 0, RST))
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
    had, sink = state.credit, side.sink(state)
    side.hear(update(1, code, flags))
    assert isinstance(sink.error, StreamReset)
    assert (state.credit, sink.error.code, sink.events) == (had, code, ["failed"])
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


def test_our_reset_carries_its_code_and_may_come_in_the_middle_of_a_body() -> None:
    side, state = inbound()
    side.hear(data(1, b"hello", FIN)[:14])
    state.reset(0x1004)
    state.reset(0x1005)
    state.finish()
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 1, 0x1004)]
    side.hear(b"llo", data(1, b"x"))
    assert (side.sinks[1].body, side.sinks[1].events) == (b"he", [])
    assert state.sink is NOBODY
    side.empty()


def test_a_discarded_stream_holds_the_peer_to_its_credit() -> None:
    side = Side()
    side.given(1).discard()
    side.hear(data(1, bytes(INITIAL_WINDOW)))
    with pytest.raises(MuxerError, match="window"):
        side.hear(data(1, b"x"))


@pytest.mark.parametrize("stream", [1, 2, 98, 99, 0xFFFF_FFFF])
def test_frames_for_streams_that_do_not_exist_are_ignored(stream: int) -> None:
    side = Side()
    for flags in (0, ACK, FIN, RST, ACK | FIN | RST, 0xFFF0):
        side.hear(data(stream, b"body", flags), data(stream, b"", flags), update(stream, 9, flags))
    side.hear(syn(5))
    assert side.frames() == [Frame(WINDOW_UPDATE, ACK, 5, 0)]
    assert list(side.session.streams) == [5]


def test_the_values_of_pings_wrap_and_an_answer_in_no_time_is_a_round_trip() -> None:
    side = Side()
    side.session._ping_value = MAX_CREDIT - 1
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
    assert (type(caught.value), caught.value.code, caught.value.remote) == (ConnectionClosed, code, True)
    side.session.fail(caught.value)
    assert (side.sinks[1].body, side.sinks[1].error, state.gone) == (b"before", caught.value, True)
    side.empty()


def test_our_go_away_is_the_last_frame() -> None:
    side, _ = inbound()
    assert parse(side.session.go_away(GoAway.PROTOCOL_ERROR)) == [Frame(3, 0, 0, 1)]
    side.hear(syn(3), data(1, b"x"), bytes(1_000)).hear(bytes(1_000))
    assert list(side.session.streams) == [1]
    assert side.sinks[1].pieces == []
    assert len(side.parser._partial) <= HEADER_SIZE


@pytest.mark.parametrize(("limit", "let_in"), [(1, 1), (None, 600)])
def test_streams_of_ours_count_on_their_own(limit: int | None, let_in: int) -> None:
    side = Side(limits=Limits(streams_in=limit))
    side.open()
    side.open()
    for stream in range(1, 1_201, 2):
        side.hear(syn(stream))
    assert side.session.inbound == let_in
    assert len(side.session.streams) == let_in + 2


@pytest.mark.parametrize("cut", [MAX_BODY, 500])
def test_too_many_unread_bytes_end_the_stream_that_brought_them(cut: int) -> None:
    side = Side(limits=Limits(receive_memory=1_000))
    first, second = side.given(1), side.given(3)
    side.hear(data(1, bytes(600)))
    frame = data(3, bytes(401), FIN)
    side.hear(frame[:cut]).hear(frame[cut:])
    assert side.frames() == [Frame(WINDOW_UPDATE, RST, 3, Reset.RESOURCE_LIMIT)]
    sink = side.sinks[3]
    assert isinstance(sink.error, LimitExceeded)
    assert (sink.error.limit, sink.error.maximum) == ("receive_memory", 1_000)
    assert (sink.events, sink.pieces, second.gone) == (["failed"], [], True)
    side.hear(data(1, bytes(400)))
    assert not first.gone
    side.check()


def test_frames_of_one_turn_leave_together_and_grow_only_at_the_end() -> None:
    side = Side(client=True)
    one, two = side.opened(), side.opened()
    before = side.notified
    one.send(b"a")
    one.send(b"b")
    two.send(b"c")
    one.send(b"d")
    side.session.ping(1.0)
    one.send(b"e")
    assert side.notified == before + 1
    sent = [(frame.kind, frame.stream, frame.body) for frame in side.frames()]
    assert sent == [(DATA, 1, b"ab"), (DATA, 3, b"c"), (DATA, 1, b"d"), (PING, 0, b""), (DATA, 1, b"e")]
    one.send(b"f")
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


def woken(side: Side, states: Iterable[YamuxStream]) -> list[int]:
    """The ids of those who are woken from now on, in their order."""
    order: list[int] = []
    for state in states:
        side.sink(state).on = lambda _, number=state.id: order.append(number)  # type: ignore[misc]
    return order


def test_writers_are_woken_in_the_order_of_their_waiting() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(WAKE_TOGETHER + 3)][::-1]
    order, waiting = woken(side, states), [state.id for state in states]
    for state in states:
        state.wait_turn(again=False)
        state.wait_turn(again=False)
    notified = side.notified
    side.take()
    assert order == waiting[:WAKE_TOGETHER]
    assert side.notified == notified + 1
    side.take()
    side.take()
    assert order == waiting


def test_a_writer_that_found_no_room_keeps_its_place() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(4)]
    for state in states:
        state.wait_turn(again=False)
    side.take()
    states.append(side.open())
    order = woken(side, states)
    for state in (states[-1], states[0]):  # one that is new, and one that had its share
        state.wait_turn(again=False)
    for state in states[1:-1]:
        state.wait_turn(again=True)
    side.take()
    assert order == [3, 5, 7, 9, 1]


def test_a_stream_that_ended_gives_its_turn_away() -> None:
    side = Side(client=True)
    states = [side.open() for _ in range(2 * WAKE_TOGETHER)]
    order = woken(side, states)
    for state in states:
        state.wait_turn(again=False)
    for state in states[:-1]:
        state.reset()
    side.take()
    side.take()
    assert order == [states[-1].id]


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
@pytest.mark.parametrize("act", [YamuxStream.reset, YamuxStream.finish, YamuxStream.discard])
def test_sinks_may_act_from_inside_receive(event: str, act: Callable[[YamuxStream], None]) -> None:
    side, state = inbound()
    side.sinks[1].on = lambda name: act(state) if name == event else None
    side.hear(data(1, b"one"), data(1, b"two", FIN), data(1, b"three"), syn(3), data(3, b"ok"))
    side.check()
    assert side.sinks[3].body == b"ok"
    assert state.gone or act is YamuxStream.discard
    assert side.sinks[1].events.count("failed") == 0


def test_a_writer_woken_by_credit_that_comes_with_a_fin() -> None:
    side, state = outbound()
    state.credit = 0
    side.sink(state).on = lambda event: state.reset() if event == "ready" else None
    side.hear(update(1, 5, FIN))
    assert side.sink(state).events == []
    side.empty()


def test_an_unfinished_frame_is_dated() -> None:
    """Hostile row 31: the muxer closes 30 s after this."""
    side, _ = inbound()
    frame = data(1, bytes(100))
    for side.now, piece, since in ((1.0, frame[:5], 1.0), (2.0, frame[5:8], 1.0), (3.0, frame[8:50], 3.0)):
        side.hear(piece)
        assert side.session.incomplete_since == since  # of the header, and once that is whole, of the body
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


def test_who_holds_the_outbox_is_not_notified() -> None:
    side = Side()
    assert side.session.outbox.notified is False
    side.session.outbox.notified = True
    side.hear(ping(1))
    assert side.notified == 0
    assert len(side.frames()) == 1
    side.hear(ping(2))
    assert side.notified == 1
    assert side.session.outbox.notified is True
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
