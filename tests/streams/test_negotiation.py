"""multistream-select on streams, both roles, against a peer made by hand. Time is virtual."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Timeouts
from stronghold_p2p.connection.handlers import SILENT_BURST
from stronghold_p2p.errors import (
    ConfigError,
    ConnectionClosed,
    DeadlineExceeded,
    LimitExceeded,
    NegotiationError,
    P2PError,
    StreamReset,
    UnsupportedProtocol,
    UsageError,
)
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.streams.live import JOIN_BELOW
from stronghold_p2p.streams.negotiation import SILENT_AFTER, HeldUntilAnswered
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.yamux.header import ACK, DATA, FIN, RST, SYN, WINDOW_UPDATE, frame
from tests.peers import ECHO, ask, echo, swarm, until
from tests.swarm.raw import Raw, raw_in, raw_out
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
HELLO = b"hello"

REFUSALS: dict[str, tuple[bytes, type[P2PError]]] = {
    "na": (multistream.HEADER + multistream.NA, UnsupportedProtocol),
    "another protocol": (multistream.propose("/other"), NegotiationError),
    "data without answer": (b"hello, here is your answer", NegotiationError),
    "endless length": (b"\xff" * 40, NegotiationError),
}


async def proposed(raw: Raw, data: bytes = b"", protocol: str = ECHO) -> int:
    """Read our lazy proposal and what came with it; the stream's id."""
    first = await raw.until(DATA, SYN)
    wanted = multistream.propose(protocol) + data
    body = first.body
    while len(body) < len(wanted):
        body += (await raw.until(DATA, stream=first.stream)).body
    assert body == wanted
    return first.stream


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("cut", [1, 1_000])
async def test_refused_after_the_first_data(name: str, cut: int) -> None:
    """Hostile rows 19 and 21: the caller learns why, gets no byte, and the connection lives."""
    said, kind = REFUSALS[name]
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        stream = await connection.open_stream(ECHO)
        await stream.write(HELLO)
        number = await proposed(raw, HELLO)
        for start in range(0, len(said), cut):
            await raw.data(number, said[start : start + cut], ACK)
        with pytest.raises(kind) as caught:
            await stream.read()
        assert type(caught.value) is kind
        if isinstance(caught.value, UnsupportedProtocol):
            assert (caught.value.protocols, caught.value.peer) == ((ECHO,), raw.id)
        with pytest.raises(kind):
            await stream.write(b"more")
        assert (await raw.until(WINDOW_UPDATE, RST)).length == Reset.NEGOTIATION_FAILED
        other = asyncio.ensure_future(ask(connection))
        again = await proposed(raw, HELLO)
        await raw.answer(again, ECHO, b"HELLO")
        await raw.finish(again)
        assert await other == b"HELLO"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, StreamReset),
        (0x1001, UnsupportedProtocol),
        (0x1002, LimitExceeded),
        (0x1008, StreamReset),
        (None, NegotiationError),
    ],
)
async def test_the_end_instead_of_an_answer(code: int | None, kind: type[P2PError]) -> None:
    """A reset with this code; None: FIN."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        stream = await connection.open_stream(ECHO)
        number = await proposed(raw)
        await (raw.finish(number) if code is None else raw.reset(number, code))
        with pytest.raises(kind) as caught:
            await stream.read()
        if isinstance(caught.value, LimitExceeded):
            assert caught.value.remote
        if code is None:
            assert (await raw.until(WINDOW_UPDATE, RST)).length == Reset.NEGOTIATION_FAILED


async def test_no_answer() -> None:
    loop = asyncio.get_running_loop()
    async with swarm(1, timeouts=Timeouts(negotiate=3.0)) as alice, raw_out(alice) as (raw, connection):
        began = loop.time()
        stream = await connection.open_stream(ECHO)
        await proposed(raw)
        with pytest.raises(DeadlineExceeded) as caught:
            await stream.read()
        assert 3.0 <= loop.time() - began < 3.1
        assert (caught.value.phase, caught.value.timeout, caught.value.peer) == ("negotiate", 3.0, raw.id)
        assert (await raw.until(WINDOW_UPDATE, RST)).length == Reset.NEGOTIATION_FAILED
        assert not connection.closed


async def test_row_140_who_says_nothing_for_long_may_still_do_it_in_time() -> None:
    loop = asyncio.get_running_loop()
    async with swarm(1, timeouts=Timeouts(negotiate=6.0)) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        began = loop.time()
        await raw.send(*(frame(WINDOW_UPDATE, SYN, number, 0) for number in (1, 3, 5)))
        await asyncio.sleep(SILENT_AFTER + 0.5)
        await raw.data(3, multistream.HEADER)  # it speaks late, and not to the end
        await asyncio.sleep(1.0)
        await raw.data(5, multistream.propose(ECHO) + HELLO)
        assert await raw.body(5, len(multistream.propose(ECHO) + HELLO)) == multistream.propose(ECHO) + HELLO
        resets = [await raw.until(WINDOW_UPDATE, RST) for _ in range(2)]
        assert {(reset.stream, reset.length) for reset in resets} == {(n, Reset.NEGOTIATION_FAILED) for n in (1, 3)}
        assert 6.0 <= loop.time() - began < 6.2
        assert not connection.closed


async def test_row_140_too_many_who_say_nothing_end_the_connection_before_their_time_is_over() -> None:
    loop = asyncio.get_running_loop()
    async with swarm(1, timeouts=Timeouts(negotiate=60.0)) as alice, raw_in(alice) as (raw, connection):
        began = loop.time()
        await raw.send(*(frame(WINDOW_UPDATE, SYN, number, 0) for number in range(1, 2 * SILENT_BURST, 2)))
        await asyncio.sleep(SILENT_AFTER + 0.5)
        assert not connection.closed
        await raw.send(*(frame(WINDOW_UPDATE, SYN, 2 * SILENT_BURST + number, 0) for number in range(1, 21, 2)))
        assert await raw.gone() == GoAway.RATE_LIMITED
        assert loop.time() - began < 2 * SILENT_AFTER + 1.0


@pytest.mark.parametrize(("limit", "late"), [(3.0, 2.9), (None, 3_600)])
async def test_an_answer_in_time_ends_the_deadline(limit: float | None, late: float) -> None:
    timeouts = Timeouts(negotiate=limit, keepalive=None)
    async with swarm(1, timeouts=timeouts) as alice, raw_out(alice) as (raw, connection):
        stream = await connection.open_stream(ECHO)
        number = await proposed(raw)
        await asyncio.sleep(late)
        await raw.answer(number, ECHO)
        await asyncio.sleep(60)
        await raw.data(number, b"late")
        assert await stream.read() == b"late"
        stream.reset()


@pytest.mark.parametrize("answers", [True, False])
async def test_close_does_not_wait_for_the_answer(answers: bool) -> None:
    """Hostile row 21. A stream that sent everything still gets its confirmation, and nobody minds."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        async with await connection.open_stream(ECHO) as stream:
            await stream.write(HELLO)
        number = await proposed(raw, HELLO)
        await raw.until(DATA, FIN, number)
        if answers:
            await raw.answer(number, ECHO, b"HELLO")
            await raw.finish(number)
        else:
            await raw.until(WINDOW_UPDATE, RST, number)
        await until(lambda: connection.streams == 0)


async def test_several_protocols() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        opening = asyncio.ensure_future(connection.open_stream("/a", "/b", "/c"))
        number = await proposed(raw, protocol="/a")
        await raw.data(number, multistream.HEADER + multistream.NA, ACK)
        assert (await raw.until(DATA)).body == multistream.message("/b")
        await raw.data(number, multistream.message("/b") + b"surplus")
        stream = await opening
        assert stream.protocol == "/b"
        assert await stream.read() == b"surplus"
        stream.reset()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"\x13/multistream/2.0.0\n", NegotiationError),
        (multistream.HEADER + multistream.message("/c"), NegotiationError),
        (multistream.HEADER + multistream.NA + multistream.NA, UnsupportedProtocol),
        ("nothing", DeadlineExceeded),
        ("fin", NegotiationError),
        ("reset", UnsupportedProtocol),
        ("close", ConnectionClosed),
    ],
)
async def test_several_protocols_and_a_bad_answer(said: bytes | str, kind: type[P2PError]) -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        opening = asyncio.ensure_future(connection.open_stream("/a", "/b"))
        number = await proposed(raw, protocol="/a")
        if isinstance(said, bytes):
            await raw.data(number, said, ACK)
        elif said == "close":
            raw.close()
        elif said != "nothing":
            await (raw.finish(number) if said == "fin" else raw.reset(number, Reset.NEGOTIATION_FAILED))
        with pytest.raises(kind) as caught:
            await opening
        if isinstance(caught.value, UnsupportedProtocol):
            assert caught.value.protocols == ("/a", "/b")
        assert connection.streams == 0


async def test_what_identify_told_saves_the_round_trip() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        alice.peer_protocols[raw.id] = frozenset({"/b", "/c"})
        stream = await connection.open_stream("/a", "/b", "/c")
        assert stream.protocol == "/b"
        await proposed(raw, protocol="/b")
        stream.reset()


@pytest.mark.parametrize("names", [("",), ("a\nb",), ("x" * 1_024,), ("\ud800",), ("", "/a"), ("/a", "")])
async def test_a_name_that_is_none(names: tuple[str, ...]) -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        opening = asyncio.ensure_future(connection.open_stream(*names))
        if names == ("/a", ""):  # its turn comes when the first was refused
            await raw.data(await proposed(raw, protocol="/a"), multistream.HEADER + multistream.NA, ACK)
        with pytest.raises((UsageError, ConfigError)):
            await opening
        assert connection.streams == 0


BAD = {
    "another version": b"\x13/multistream/2.0.0\n",
    "empty line": b"\x00",
    "over-long length": multistream.HEADER + b"\x86\x00/echo\n",
    "65 proposals": multistream.HEADER + multistream.message("/x") * 65,
    "10,000 ls": multistream.HEADER + b"\x03ls\n" * 10_000,
    "rest of a record": bytes(3_000),
    "the end": multistream.HEADER,
}


@pytest.mark.parametrize("name", BAD)
async def test_nonsense_instead_of_a_proposal(name: str) -> None:
    """Hostile rows 15 to 17: that stream ends with RST 0x1001, the others go on."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        await raw.open(1, ECHO)
        await raw.data(3, BAD[name], SYN | (FIN if name == "the end" else 0))
        assert (await raw.until(WINDOW_UPDATE, RST, 3)).length == Reset.NEGOTIATION_FAILED
        await raw.data(1, HELLO)
        assert (await raw.until(DATA, stream=1)).length
        assert connection.streams == 1
        await raw.reset(1)


async def test_streams_that_say_nothing() -> None:
    """They end at the deadline, whether they began to propose or not."""
    loop = asyncio.get_running_loop()
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        began = loop.time()
        await raw.send(frame(WINDOW_UPDATE, SYN, 1, 0))
        await raw.data(3, b"\x13/multi", SYN)
        await asyncio.sleep(5)
        await raw.data(3, b"stream/1")
        await raw.send(frame(DATA, SYN, 5, 0))
        ends = {}
        for _ in range(3):
            got = await raw.until(WINDOW_UPDATE, RST)
            assert got.length == Reset.NEGOTIATION_FAILED
            ends[got.stream] = loop.time() - began
        assert ends == {1: pytest.approx(10, abs=0.1), 3: pytest.approx(10, abs=0.1), 5: pytest.approx(15, abs=0.1)}
        assert connection.streams == 0
        assert not connection.closed


async def test_the_129th_negotiation() -> None:
    """Hostile row 20."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        for number in range(1, 2 * 129, 2):
            await raw.data(number, b"\x13/multi", SYN)
        got = await raw.until(WINDOW_UPDATE, RST)
        assert (got.length, got.stream) == (Reset.RESOURCE_LIMIT, 257)
        assert connection.streams == 128
        await raw.reset(1)
        await raw.data(301, b"\x13/multi", SYN)  # a place is free again
        for _ in range(128):
            assert (await raw.until(WINDOW_UPDATE, RST)).length == Reset.NEGOTIATION_FAILED
        assert connection.streams == 0
        assert not connection.closed


async def test_a_peer_that_opens_many_streams_before_it_proposes() -> None:
    """go opens with a SYN and proposes with the first data: that is not a negotiation that has begun."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        numbers = range(1, 2 * 400, 2)
        await raw.send(*(frame(WINDOW_UPDATE, SYN, number, 0) for number in numbers))
        for number in numbers:
            await raw.data(number, multistream.propose(ECHO))
        answered: set[int] = set()
        while len(answered) < 400:
            got = await raw.until(DATA)
            assert got.body == multistream.propose(ECHO)
            answered.add(got.stream)
        assert connection.streams == 400


async def test_a_handler_that_is_gone_when_its_stream_begins() -> None:
    """Hostile row 25."""
    async with swarm(1) as alice, raw_in(alice) as (raw, _):
        alice.handle(ECHO, echo)

        def gone(protocol: str) -> None:
            del alice._services[protocol]

        alice.handler = gone  # type: ignore[method-assign]
        await raw.open(1, ECHO)
        assert (await raw.until(WINDOW_UPDATE, RST, 1)).length == Reset.NEGOTIATION_FAILED
        del alice.handler
        await raw.open(3, ECHO)
        assert (await raw.body(3, 24)).endswith(multistream.NA)
        await raw.reset(3)


async def test_rejected_is_as_if_it_were_not_served() -> None:
    async with swarm(1, rule=None) as alice, raw_in(alice) as (raw, _):
        alice.handle(ECHO, echo)
        seen = []
        for number, protocol in ((1, ECHO), (3, "/never/heard/of")):
            await raw.open(number, protocol, HELLO)
            seen.append(await raw.body(number, 24))
            await raw.reset(number)
        assert seen[0] == seen[1] == multistream.HEADER + multistream.NA


class Owner:
    """Answers questions when the test says so."""

    def __init__(self, swarm: Swarm) -> None:
        self.asked: list[Attempt] = []
        self.answer: asyncio.Future[bool | Rule] = asyncio.get_running_loop().create_future()
        self.cancelled = 0
        swarm.firewall.set(Rule.ASK)
        swarm.firewall.on_ask(self.judge)

    async def judge(self, attempt: Attempt) -> bool | Rule:
        self.asked.append(attempt)
        try:
            return await asyncio.shield(self.answer)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.mark.parametrize("answer", [True, Rule.ALLOW, False, Rule.REJECT, None])
@pytest.mark.parametrize("slow", [False, True])
async def test_asked_before_the_protocol_is_echoed(answer: bool | Rule | None, slow: bool) -> None:
    """None: no answer, which refuses after 8 seconds."""
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        owner = Owner(alice)
        if slow:
            await raw.open(1, "/other")
            assert await raw.body(1, 24) == multistream.HEADER + multistream.NA
            await raw.data(1, multistream.message(ECHO) + HELLO)
        else:
            await raw.open(1, ECHO, HELLO)
        await until(lambda: owner.asked)
        let_in = answer in (True, Rule.ALLOW)
        if let_in:
            await raw.data(1, b", and more")
            await raw.finish(1)
        await asyncio.sleep(5)
        assert [(attempt.protocol, attempt.peer) for attempt in owner.asked] == [(ECHO, raw.id)]
        if answer is not None:
            owner.answer.set_result(answer)
        echoed = multistream.message(ECHO) + b"hello, and more"
        expected = b"" if slow else multistream.HEADER
        expected += echoed if let_in else multistream.NA
        assert await raw.body(1, len(expected)) == expected
        await raw.until(DATA, FIN, 1)
        if not let_in:
            await raw.finish(1)
        await until(lambda: connection.streams == 0 and not connection.handlers.tasks)
        owner.answer.cancel()


@pytest.mark.parametrize("end", ["reset", "close", "abort"])
async def test_the_stream_ends_while_the_application_is_asked(end: str) -> None:
    async with swarm(1) as alice, raw_in(alice) as (raw, connection):
        alice.handle(ECHO, echo)
        owner = Owner(alice)
        await raw.open(1, ECHO, HELLO)
        await until(lambda: owner.asked)
        if end == "reset":
            await raw.reset(1)
        elif end == "close":
            await raw.bare.send(b"")
            raw.close()
        else:
            connection.abort()
        await until(lambda: owner.cancelled)
        await until(lambda: connection.streams == 0 and not connection.handlers.tasks)
        assert connection.closed == (end != "reset")
        owner.answer.cancel()


async def test_what_arrives_while_the_application_is_asked_is_joined() -> None:
    """Hostile row 141."""
    held = HeldUntilAnswered(b"")
    for _ in range(5_000):
        held.data(memoryview(b"ab"))
    assert len(held.pieces) <= 10_000 // JOIN_BELOW + 1
    held.data(bytes(2 * JOIN_BELOW))
    held.data(b"end")
    assert b"".join(held.pieces) == b"ab" * 5_000 + bytes(2 * JOIN_BELOW) + b"end"


async def test_what_arrives_while_the_application_is_asked_is_kept_until_the_stream_fails() -> None:
    held = HeldUntilAnswered(b"first, ")
    held.data(memoryview(b"second"))
    held.end()
    held.expired()
    assert (b"".join(held.pieces), held.due) == (b"first, second", inf)
    held.asking = asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[arg-type]
    held.failed(ConnectionClosed("lost"))
    with pytest.raises(asyncio.CancelledError):
        await held.asking
    assert held.pieces == []
    HeldUntilAnswered(b"nobody was asked yet").failed(ConnectionClosed("lost"))
