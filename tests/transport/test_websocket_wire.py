"""A WebSocket around a wire: what both sides hand on, and how it ends, whoever ends it.

Hostile rows 13 and 14 stand in tests/hostile, over sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from stronghold_p2p.errors import ConnectionClosed, HandshakeError
from stronghold_p2p.seams import NOBODY
from stronghold_p2p.transport.websocket_opening import MAX_HEAD, ClientOpening, ServerOpening
from stronghold_p2p.transport.websocket_wire import CLOSE_GRACE, PHASES, Event, Phase, WebSocketWire
from stronghold_p2p.websocket.closing import NO_CODE, Close
from stronghold_p2p.websocket.frames import MAX_FRAMES, NOTHINGS
from tests.transport.below import Above, Below
from tests.transport.test_websocket_opening import REQUEST, answer_to
from tests.virtual import VIRTUAL
from tests.websocket.by_the_book import BINARY, CLOSE, FIN, KEY, PING, PONG, Heard, raw

LOOPS = VIRTUAL


class Side:
    """Our WebSocket, below it the test, above it the test. ``hear`` and ``said`` are what the other end writes and
    reads.
    """

    def __init__(self, *, client: bool, opened: bool = True, unit: int = 1) -> None:
        self.below, self.above = Below(), Above(unit)
        self.client = client
        self.wire = WebSocketWire(self.below, ClientOpening("example.org", 80) if client else ServerOpening())
        self.wire.user = self.above
        self.key = b"" if client else KEY
        if opened:
            self.open()

    def open(self) -> None:
        if self.client:
            self.hear(answer_to(self.below.said))
        else:
            self.hear(REQUEST)
            assert self.below.said.startswith(b"HTTP/1.1 101 ")

    def hear(self, data: bytes) -> None:
        self.below.hear(data)

    def data(self, payload: bytes) -> bytes:
        return raw(FIN | BINARY, payload, key=self.key)

    def closing(self, close: Close) -> bytes:
        return raw(FIN | CLOSE, close.payload(), key=self.key)

    @property
    def said(self) -> Heard:
        return Heard(of_client=self.client).hear(self.below.said)


@pytest.fixture(params=["client", "server"])
def side(request: pytest.FixtureRequest) -> Iterator[Callable[..., Side]]:
    """Either side; its wire below is lost in the end."""
    sides: list[Side] = []

    def made(**options: object) -> Side:
        sides.append(Side(client=request.param == "client", **options))  # type: ignore[arg-type]
        return sides[-1]

    yield made
    for one in sides:
        one.below.end()


# ------------------------------------------------------------------------------ to begin with


async def test_what_is_written_before_the_end_of_the_handshake_follows_it_as_one_message(
    side: Callable[..., Side],
) -> None:
    ours = side(opened=False)
    ours.wire.write(b"first ")
    ours.wire.write(memoryview(b"second"))
    assert ours.wire.unsent == ours.below.unsent + 12
    if ours.client:
        ours.hear(answer_to(ours.below.said))
        assert len(ours.below.written) == 1
        assert ours.said.data == b"first second"
    else:
        ours.hear(REQUEST)
        assert [piece[:12] for piece in ours.below.written[:1]] == [b"HTTP/1.1 101"]
        assert Heard(of_client=False).hear(ours.below.written[1]).data == b"first second"
    assert ours.wire.unsent == ours.below.unsent


async def test_what_came_behind_the_handshake_is_read() -> None:
    ours = Side(client=False, opened=False)
    ours.hear(REQUEST + ours.data(b"at once"))
    assert ours.above.data == b"at once"


async def test_a_refused_request_is_answered_and_the_user_told_at_the_end() -> None:
    """What is behind it is dropped."""
    ours = Side(client=False, opened=False)
    ours.hear(REQUEST.replace(b"Version: 13", b"Version: 8") + ours.data(b"x"))
    assert ours.below.said.startswith(b"HTTP/1.1 400 ")
    assert (ours.below.finished, ours.above.told) == (True, [])
    ours.hear(b"GET / HTTP/1.1\r\n\r\n")
    assert (ours.below.said, ours.above.data) == (b"", b"")
    ours.below.end()
    assert ours.above.told == ["ended"]
    assert isinstance(ours.above.error, HandshakeError)


async def test_the_other_side_of_a_refused_request_stays() -> None:
    ours = Side(client=False, opened=False)
    ours.hear(REQUEST.replace(b"GET", b"PUT"))
    await asyncio.sleep(CLOSE_GRACE * 0.9)
    assert not ours.below.aborted
    await asyncio.sleep(CLOSE_GRACE * 0.2)
    assert ours.below.aborted
    assert ours.above.told == ["ended"]


async def test_a_server_that_is_no_websocket() -> None:
    ours = Side(client=True, opened=False)
    ours.hear(b"HTTP/1.1 404 Not Found\r\n\r\n<html>")
    ours.below.end()
    assert isinstance(ours.above.error, HandshakeError)
    assert "404" in str(ours.above.error)


async def test_bytes_that_come_while_it_waits_for_its_turn_are_kept_and_counted() -> None:
    """uvloop begins to read although the wire was paused when it was made."""
    ours = Side(client=False, opened=False)
    ours.wire.pause()
    ours.hear(REQUEST)
    assert (ours.below.paused, ours.below.kept) == (True, REQUEST)
    ours.hear(bytes(MAX_HEAD))
    ours.below.end()
    assert isinstance(ours.above.error, HandshakeError)


# ------------------------------------------------------------------------------ open


async def test_all_of_one_callback_is_handed_on_at_once(side: Callable[..., Side]) -> None:
    ours = side()
    ours.hear(ours.data(b"one") + ours.data(b"") + ours.data(b"two") + ours.data(b"three")[:-2])
    assert ours.above.pieces == [b"onetwothr"]


async def test_one_write_is_one_message(side: Callable[..., Side]) -> None:
    ours = side()
    big = bytes(range(256)) * 400
    ours.wire.write(memoryview(big))
    assert len(ours.below.written) == 1
    assert ours.said.data == big


async def test_what_the_user_leaves_comes_again_in_front_of_the_next(side: Callable[..., Side]) -> None:
    ours = side(unit=4)
    ours.hear(ours.data(b"abcdef"))
    assert (ours.above.data, ours.wire.partial) == (b"abcd", True)
    ours.hear(ours.data(b"g"))
    assert ours.above.data == b"abcd"
    ours.hear(ours.data(b"hij"))
    assert (ours.above.pieces[1:], ours.wire.partial) == ([b"efgh"], True)


async def test_a_change_of_phase_is_one_assignment(side: Callable[..., Side]) -> None:
    ours, later = side(), Above()

    class First(Above):
        def received(self, view: memoryview) -> int:
            ours.wire.user = later
            return 3

    ours.wire.user = First()
    ours.hear(ours.data(b"abcdef"))
    assert later.data == b"def"


async def test_pause_and_resume_go_through(side: Callable[..., Side]) -> None:
    ours = side(unit=4)
    ours.hear(ours.data(b"abcdef"))
    ours.wire.pause()
    assert ours.below.paused
    ours.above.unit = 1
    ours.wire.resume()
    assert not ours.below.paused
    assert ours.above.data == b"abcd"  # not from within the call
    await asyncio.sleep(0)
    assert ours.above.data == b"abcdef"


async def test_a_user_that_pauses_at_once_is_asked_again_when_it_goes_on(side: Callable[..., Side]) -> None:
    """The close behind it waits, too: nothing that came before it is lost."""
    ours = side()

    class Slow(Above):
        def received(self, view: memoryview) -> int:
            ours.wire.pause()
            return 0

    ours.wire.user = Slow()
    ours.hear(ours.data(b"abc") + ours.closing(Close(1_000)))
    await asyncio.sleep(0)
    assert not ours.below.finished
    ours.wire.user = ours.above
    ours.wire.resume()
    await asyncio.sleep(0)
    assert ours.above.data == b"abc"
    assert ours.below.finished


async def test_room_is_told(side: Callable[..., Side]) -> None:
    ours = side()
    ours.below.fills = True
    ours.wire.write(b"x")
    assert ours.wire.congested
    ours.below.congested = False
    ours.below.user.writable()
    assert (ours.wire.congested, ours.above.told) == (False, ["writable"])
    assert (ours.wire.unsent, ours.wire.delivered, ours.wire.host) == (7, 11, "192.0.2.2")


async def test_many_small_frames_let_others_have_their_turn(side: Callable[..., Side]) -> None:
    ours = side()
    ours.hear(ours.data(b"x") * (MAX_FRAMES + 10))
    assert (len(ours.above.data), ours.below.paused) == (MAX_FRAMES, True)
    ours.hear(b"")
    assert len(ours.above.data) == MAX_FRAMES
    await asyncio.sleep(0)
    assert not ours.below.paused
    ours.hear(b"")  # what is kept comes again
    assert len(ours.above.data) == MAX_FRAMES + 10


async def test_a_rest_does_not_end_a_pause(side: Callable[..., Side]) -> None:
    ours = side()
    ours.hear(ours.data(b"x") * (MAX_FRAMES + 10))
    ours.wire.pause()
    await asyncio.sleep(0)
    assert ours.below.paused
    ours.wire.resume()
    assert not ours.below.paused


async def test_a_ping_is_answered_the_newest_of_many(side: Callable[..., Side]) -> None:
    """RFC 6455, 5.5.3 allows that."""
    ours = side()
    ours.hear(b"".join(raw(FIN | PING, bytes([number]), key=ours.key) for number in range(5)))
    written = ours.below.said
    assert written[0] == FIN | PONG
    assert Heard(of_client=ours.client).hear(written).rest == b""
    assert len(written) == (7 if ours.client else 3)
    ours.hear(raw(FIN | PONG, b"unasked", key=ours.key))
    assert ours.below.said == b""


# ------------------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("code", [1_000, 1_001, NO_CODE])
async def test_the_other_side_closes(side: Callable[..., Side], code: int) -> None:
    """It is answered in kind; a reset behind it is an ordinary end, too."""
    ours = side()
    ours.hear(ours.data(b"last") + ours.closing(Close(code)) + ours.data(b"behind it"))
    assert ours.said.close == Close(code)
    assert (ours.above.data, ours.below.finished, ours.above.told) == (b"last", True, [])
    ours.wire.write(b"too late")
    assert ours.below.said == b""
    ours.below.end(ConnectionResetError())
    assert (ours.above.told, ours.above.error, ours.wire.lost) == (["ended"], None, True)
    assert ours.wire.user is NOBODY


async def test_the_other_side_closes_for_a_reason(side: Callable[..., Side]) -> None:
    ours = side()
    ours.hear(ours.closing(Close(1_009, "too\nbig")))
    ours.below.end()
    assert isinstance(ours.above.error, ConnectionClosed)
    assert "1009 too" in str(ours.above.error)
    assert str(ours.above.error).isprintable()
    assert ours.above.error.remote


async def test_the_other_side_closes_and_does_not_leave(side: Callable[..., Side]) -> None:
    ours = side()
    ours.hear(ours.closing(Close(1_000)))
    await asyncio.sleep(CLOSE_GRACE * 1.1)
    assert ours.below.aborted
    assert ours.above.told == ["ended"]


async def test_we_close(side: Callable[..., Side]) -> None:
    """And go on reading until the other side has closed as well."""
    ours = side()
    ours.wire.write(b"last")
    ours.wire.finish()
    said = ours.said
    assert (said.data, said.close, ours.below.finished) == (b"last", Close(1_000), True)
    ours.wire.write(b"too late")
    ours.hear(ours.data(b"still") + raw(FIN | PING, b"?", key=ours.key))
    assert (ours.above.data, ours.below.said) == (b"still", b"")
    ours.hear(ours.closing(Close(1_000)))
    assert ours.below.said == b""  # one close is enough
    ours.below.end()
    assert (ours.above.told, ours.above.error) == (["ended"], None)


async def test_it_ends_without_a_close(side: Callable[..., Side]) -> None:
    """As litep2p does: between records that is an ordinary end."""
    ours = side()
    ours.below.end()
    assert (ours.above.told, ours.above.error) == (["ended"], None)


@pytest.mark.parametrize("where", ["in a frame", "in a message", "in a record"])
async def test_it_ends_in_the_middle(side: Callable[..., Side], where: str) -> None:
    ours = side(unit=4)
    whole = ours.data(b"abcdefgh")
    ours.hear({"in a frame": whole[:-1], "in a message": bytes([BINARY]) + whole[1:]}.get(where, ours.data(b"abc")))
    ours.below.end()
    assert isinstance(ours.above.error, ConnectionClosed)
    assert "middle" in str(ours.above.error)


async def test_what_breaks_the_rules_is_told_and_ends_it(side: Callable[..., Side]) -> None:
    ours = side()
    ours.hear(ours.data(b"good") + b"\xff\xff" + ours.data(b"more"))
    said = ours.said
    assert said.close is not None
    assert said.close.code == 1_002
    assert ours.above.data == b"good"
    await asyncio.sleep(CLOSE_GRACE * 1.1)
    assert (ours.below.aborted, ours.above.told) == (True, ["ended"])
    assert isinstance(ours.above.error, ConnectionClosed)


async def test_empty_messages_without_end(side: Callable[..., Side]) -> None:
    ours = side()
    ours.hear(ours.data(b"") * (NOTHINGS + 1))
    assert (said := ours.said).close is not None
    assert said.close.code == 1_008


async def test_abort_says_nothing(side: Callable[..., Side]) -> None:
    ours = side()
    ours.wire.abort()
    assert (ours.below.said, ours.above.told, ours.wire.lost) == (b"", ["ended"], True)
    ours.wire.write(b"x")
    ours.wire.finish()
    ours.wire.abort()
    assert ours.below.said == b""


async def test_the_end_while_the_handshake_is_on_its_way(side: Callable[..., Side]) -> None:
    ours = side(opened=False)
    ours.wire.finish()
    assert ours.below.finished
    ours.below.end(ConnectionResetError())
    assert (ours.above.told, type(ours.above.error)) == (["ended"], ConnectionResetError)


def test_every_phase_ends() -> None:
    """Whatever has happened, the wire below may be lost next; of a lost one nothing more happens."""
    assert {phase for phase, event in PHASES if event is Event.LOSE} == set(Phase) - {Phase.LOST}
    assert not [phase for phase, _ in PHASES if phase is Phase.LOST]
