"""The requester: each call ends in exactly one of its outcomes, whatever the other side does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stronghold_p2p import errors
from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.handlers import Handler
from stronghold_p2p.errors import LimitExceeded, Malformed, P2PError, Rejected, StreamReset
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.multistream import propose
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, frame
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.yamux.header import ACK, DATA, FIN, RST, WINDOW_UPDATE
from stronghold_p2p.yamux.header import frame as yamux_frame
from tests.peers import never, now, saying, swarm, turns, until
from tests.support.requests import ID, NOT_MINIMAL, json, requests
from tests.swarm.raw import raw_out
from tests.transport.ends import identity
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

STRANGER = identity(7).peer_id
LONG = "x" * 900_000  # more than the peer's window


async def outcome(stream: Handler | None, timeout: float = 5.0) -> Any:
    """The answer or the error of one request to a peer that behaves so."""
    async with requests(stream=stream) as on:
        try:
            return await on.ask(timeout=timeout)
        except P2PError as error:
            assert error.peer == on.bob.peer_id
            return error


def answering(*pieces: bytes) -> Handler:
    """Reads a request as the Rust library does: counted, with the other side still open."""

    async def handler(stream: LiveStream) -> None:
        assert await stream.read_message() == b'"Ping"'
        for piece in pieces:
            await stream.write(piece)
            await asyncio.sleep(0)

    return handler


async def without_an_end(stream: LiveStream) -> None:
    await stream.write(frame(b"1"))
    await stream.read_to_end()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (answering(frame(b'{"Pong":1}')), {"Pong": 1}),
        (answering(*(bytes([byte]) for byte in frame(b'{"Pong":"x"}'))), {"Pong": "x"}),
        (saying(frame(b"1")), 1),
        (without_an_end, 1),
    ],
    ids=["whole", "in pieces", "before the request", "without an end"],
)
async def test_an_answer(stream: Handler, expected: object) -> None:
    assert await outcome(stream) == expected


async def test_the_request_is_one_counted_message_and_the_write_side_stays_open() -> None:
    seen: list[bytes] = []

    async def handler(stream: LiveStream) -> None:
        seen.append(await stream.readexactly(7))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await stream.read()
        await stream.write(frame(b"null"))

    assert await outcome(handler) is None
    assert seen == [b'\x06"Ping"']


@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_before_the_request_was_taken(whole: bool) -> None:
    """Hostile row 68: a peer that refuses at the first byte of much needs not read the rest."""
    codes: list[int] = []

    async def handler(stream: LiveStream) -> None:
        await stream.readexactly(10)
        answer = frame(b'"too much for me"')
        await stream.write(answer if whole else answer[:5])
        try:
            await asyncio.sleep(0.02)
            await stream.write(b"" if whole else answer[5:])
            while True:
                await asyncio.sleep(0.005)
                await stream.write(b"")
        except StreamReset as error:
            codes.append(error.code)

    async with requests(stream=handler) as on:
        assert await on.ask(LONG) == "too much for me"
        await until(lambda: on.connection.streams == 0 and codes)
        assert codes == [0]  # the rest of the request does not come any more
        assert len(asyncio.all_tasks()) <= 2 + len(on.bob.connections()[0].handlers.tasks)


@pytest.mark.tcp
@pytest.mark.parametrize("answer", [b'"too much for me"', b""])
async def test_an_answer_of_a_peer_that_resets_what_it_does_not_read(answer: bytes) -> None:
    """rust-yamux does so when its stream is dropped while we have no credit left: FIN, then RST."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        client = Client(alice)
        task = asyncio.ensure_future(client.request(raw.id, [], LONG, STRONGHOLD, timeout=5.0))
        stream = (await raw.until(DATA)).stream
        body = propose(ID) + (frame(answer) if answer else b"")
        await asyncio.sleep(0.05)  # the window is used up
        ends = yamux_frame(DATA, FIN, stream, 0), yamux_frame(WINDOW_UPDATE, RST, stream, 0)
        await raw.send(yamux_frame(DATA, ACK, stream, len(body)), body, *ends)
        told: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        assert told == "too much for me" if answer else type(told) is Rejected
        assert connection.streams == client.places.total == 0


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("cancelled", asyncio.CancelledError),
        ("unsupported", errors.UnsupportedProtocol),
        ("reset", StreamReset),
        ("refused", Rejected),
        ("answered", int),
        ("late", errors.DeadlineExceeded),
    ],
)
async def test_a_long_request_ends_as_a_short_one(how: str, kind: type) -> None:
    async def handler(stream: LiveStream) -> None:
        if how == "reset":
            await stream.readexactly(300_000)
            stream.reset(7)
            return
        message = await stream.read_message()
        if how == "cancelled":
            await asyncio.Event().wait()
        if how == "late":
            await asyncio.sleep(1)
        await stream.write(frame(b"%d" % len(message or b"")) if how == "answered" else b"")

    async with requests(stream=None if how == "unsupported" else handler) as on:
        task = on.asking(LONG, 0.5 if how == "late" else 5.0)
        if how == "cancelled":
            await until(lambda: on.bob.connections()[0].handlers.tasks)
            await asyncio.sleep(0.02)
            task.cancel()
        told: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        assert how != "answered" or told == 900_002
        assert how != "late" or told.phase == "wait"
        assert type(told) is kind


@pytest.mark.parametrize(
    "data",
    [
        frame(b"nonsense"),
        frame(b""),
        frame(b"1") + b"x",
        frame(b"1") * 2,
        frame(b"1000")[:-1],
        *NOT_MINIMAL,
        b"\xff" * 9,
    ],
)
async def test_an_answer_that_is_none_is_malformed(data: bytes) -> None:
    error = await outcome(answering(data))
    assert isinstance(error, Malformed)
    assert error.sent


async def test_an_answer_that_is_too_long_is_refused_at_its_length() -> None:
    codes: list[int] = []

    async def handler(stream: LiveStream) -> None:
        await stream.write(frame(bytes(10))[:1] + b"123")
        try:
            await stream.read_to_end()
        except StreamReset as reset:
            codes.append(reset.code)
            raise

    async with requests(stream=handler) as on:
        with pytest.raises(Malformed, match="length"):
            await on.ask(protocol=json(ID, max_response=9))
        await until(lambda: codes)
    assert codes == [Reset.PROTOCOL_VIOLATION]


async def test_an_end_without_a_byte_is_a_refusal_and_no_stream_is_another() -> None:
    error = await outcome(answering(b""))
    assert isinstance(error, Rejected)
    assert (error.local, error.sent) == (False, False)
    error = await outcome(None)
    assert isinstance(error, errors.UnsupportedProtocol)
    assert (error.protocols, error.sent) == (STRONGHOLD.ids, False)


async def test_several_ids_are_offered_in_order() -> None:
    both = json("/new/1", "/old/1")
    async with requests() as on:
        with pytest.raises(errors.UnsupportedProtocol) as caught:
            await on.ask(1, protocol=both)
        assert caught.value.protocols == both.ids
        for name in reversed(both.ids):
            on.bob.handle(name, saying(frame(b'"%s"' % name.encode())))
            assert await on.ask(1, protocol=both) == name


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, StreamReset),
        (Reset.PROTOCOL_VIOLATION, Malformed),
        (Reset.SHUTDOWN, StreamReset),
        (Reset.RESOURCE_LIMIT, LimitExceeded),
        (Reset.NEGOTIATION_FAILED, errors.UnsupportedProtocol),
    ],
)
@pytest.mark.parametrize("behind", [None, b"", b"\x06123"], ids=["at once", "later", "in the middle of the answer"])
async def test_a_reset_is_told_by_its_code(code: int, kind: type[Exception], behind: bytes | None) -> None:
    async def handler(stream: LiveStream) -> None:
        if behind is not None:
            await stream.write(behind)
            await asyncio.sleep(0.02)  # the echo of the protocol has left
        stream.reset(code)

    error = await outcome(handler)
    assert type(error) is kind
    if isinstance(error, StreamReset):
        assert (error.code, error.sent) == (code, True)
    if isinstance(error, LimitExceeded):
        assert (error.remote, error.sent) == (True, False)


async def dripping(stream: LiveStream) -> None:
    for byte in frame(b" " * 100):
        await stream.write(bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "stream",
    [*(saying(sent, close=False) for sent in (b"", b"\x05", b"\x05123")), dripping],
    ids=["nothing", "a length", "a part", "drop by drop"],
)
async def test_no_answer_is_a_deadline(stream: Handler) -> None:
    """One for all bytes."""
    start = now()
    error = await outcome(stream, timeout=0.1)
    assert isinstance(error, errors.DeadlineExceeded)
    assert (error.phase, error.timeout, error.sent) == ("wait", 0.1, True)
    assert now() - start < 0.5


async def test_a_request_that_is_not_read_is_a_deadline_too() -> None:
    async with requests(stream=never) as on:
        with pytest.raises(errors.DeadlineExceeded) as caught:
            await on.ask(LONG, timeout=0.2)
        assert (caught.value.phase, caught.value.sent) == ("send", True)


async def test_a_network_that_is_closed() -> None:
    async with requests() as on:
        await on.alice.close()
        with pytest.raises(errors.UsageError):
            await on.ask()
        on.ends = True


@pytest.mark.parametrize("after", range(20))
@pytest.mark.parametrize("ids", [STRONGHOLD.ids, ("/refused/1", *STRONGHOLD.ids)])
async def test_cancelled_at_any_moment_it_leaves_nothing(ids: tuple[str, ...], after: int) -> None:
    async with requests(lambda request: 1) as on:
        await on.connection.close()
        task = asyncio.ensure_future(on.ask(protocol=json(*ids)))  # begins with a dial
        await turns(after)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert on.client.places.total == 0
        assert await on.ask(protocol=json(*ids)) == 1
        on.ends = True


async def test_more_requests_than_we_may_have_with_one_peer() -> None:
    limits = {"limits": Limits(requests_per_peer=3, requests_waiting=0)}
    async with requests(stream=saying(close=False), alice=limits) as on, swarm(3) as carol:
        carol.handle(ID, saying(frame(b"1")))
        tasks = [on.asking() for _ in range(3)]
        await until(lambda: on.client.places.total == 3)
        with pytest.raises(LimitExceeded) as caught:
            await on.ask()
        assert (caught.value.limit, caught.value.remote, caught.value.maximum) == ("requests_per_peer", False, 3)
        assert await on.client.request(carol.peer_id, carol.addresses, "Ping", STRONGHOLD, timeout=5) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        on.bob.handle(ID, saying(frame(b"2")))
        assert await on.ask() == 2


async def test_what_cannot_be_sent_is_told_before_anything_else() -> None:
    async with swarm(1) as alice:
        client = Client(alice)
        with pytest.raises(Malformed):
            await client.request(STRANGER, (), float("nan"), STRONGHOLD, timeout=5)
        small = RequestProtocol(ID, request=BYTES, response=JSON, max_request=9)
        with pytest.raises(LimitExceeded) as caught:
            await client.request(STRANGER, (), bytes(10), small, timeout=5)
        assert (caught.value.limit, caught.value.current, caught.value.maximum) == ("max_request", 10, 9)


async def test_our_own_firewall_may_keep_a_request_back() -> None:
    asked: list[str | None] = []
    async with requests(lambda request: 1, alice={"timeouts": Timeouts(ask=0.1)}) as on:
        on.alice.firewall.set(Rule.REJECT, protocol=ID, direction="out")
        with pytest.raises(Rejected) as caught:
            await on.ask()
        assert (caught.value.local, caught.value.sent, caught.value.peer) == (True, False, on.bob.peer_id)
        on.alice.firewall.set(Rule.ASK, protocol=ID, direction="out")
        with pytest.raises(Rejected):
            await on.ask()

        @on.alice.firewall.on_ask
        async def decide(attempt: Any) -> bool:
            asked.append(attempt.variant)
            return True

        assert await on.ask("Ping") == 1
        assert asked == ["Ping"]


@pytest.mark.parametrize("answer", [True, False])
async def test_a_connection_that_ends_while_our_own_firewall_asks(answer: bool) -> None:
    async with requests(lambda request: 1) as on:
        on.alice.firewall.set(Rule.ASK, protocol=ID, direction="out")

        @on.alice.firewall.on_ask
        async def decide(attempt: Any) -> bool:
            on.connection.abort()
            return answer

        with pytest.raises(errors.ConnectionClosed) as caught:
            await on.ask()
        assert (caught.value.sent, caught.value.peer) == (False, on.bob.peer_id)
        on.ends = True
