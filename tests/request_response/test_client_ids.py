"""A protocol with several ids: the usual first request costs no round trip more, and a refusal is not the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import DeadlineExceeded, NegotiationError, P2PError, StreamReset, UnsupportedProtocol
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import BYTES, frame
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.yamux.header import ACK, DATA, RST, SYN, WINDOW_UPDATE
from tests.peers import swarm, until
from tests.support.requests import requests
from tests.swarm.raw import Raw, raw_out
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

FIRST, SECOND = STRONGHOLD.ids
PING = frame(b'"Ping"')
PONG = frame(b'"Pong"')
REFUSED = multistream.HEADER + multistream.NA


async def flight(raw: Raw, size: int) -> tuple[int, bytes]:
    """The next stream of the other side: its id, and its first bytes."""
    opened = await raw.until(DATA, SYN)
    body = opened.body
    while len(body) < size:
        body += (await raw.until(DATA, stream=opened.stream)).body
    return opened.stream, body


async def refuse_first(raw: Raw) -> None:
    """Answer the lazy proposal of the first id, which has the request behind it, as if it were not served."""
    wanted = multistream.propose(FIRST) + PING
    number, body = await flight(raw, len(wanted))
    assert body == wanted
    await raw.data(number, REFUSED, ACK)
    await raw.until(WINDOW_UPDATE, RST, number)


async def reset_first(raw: Raw, code: int = 0) -> None:
    """Reset without a word, as seen of the Rust library, whose Yamux sends the reset before the refusal."""
    number, _ = await flight(raw, len(multistream.propose(FIRST) + PING))
    await raw.reset(number, code)
    await raw.data(number, REFUSED)


async def answered(raw: Raw, number: int) -> None:
    """The second id is agreed on: the request comes now, and is answered."""
    assert await raw.body(number, len(PING)) == PING
    await raw.data(number, PONG)
    await raw.finish(number)


@asynccontextmanager
async def asking(
    timeout: float | None = 5.0, *, knows: str | None = None
) -> AsyncIterator[tuple[asyncio.Task[Any], Raw, LiveConnection]]:
    """A request to a peer made by hand, of which identify has told the id that it ``knows``; nothing of it stays."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        if knows is not None:
            alice.peer_protocols[raw.id] = frozenset({knows})
        client = Client(alice)
        task = asyncio.ensure_future(client.request(raw.id, (), "Ping", STRONGHOLD, timeout=timeout))
        yield task, raw, connection
        assert task.done()
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)


async def failed(task: asyncio.Task[Any], kind: type[P2PError], *, sent: bool) -> Any:
    with pytest.raises(kind) as caught:
        await task
    assert caught.value.sent is sent
    assert caught.value.peer is not None
    return caught.value


@pytest.mark.parametrize(("knows", "name"), [(None, FIRST), (SECOND, SECOND)])
async def test_the_first_request_goes_out_with_the_first_id_or_with_what_identify_told(
    knows: str | None, name: str
) -> None:
    async with asking(knows=knows) as (task, raw, _):
        wanted = multistream.propose(name) + PING
        number, body = await flight(raw, len(wanted))
        assert body == wanted  # in one flight, although nothing is known of the peer
        await raw.answer(number, name, PONG)
        await raw.finish(number)
        assert await task == "Pong"


@pytest.mark.parametrize("timeout", [5.0, None])
async def test_after_a_refusal_the_other_id_is_asked_for_before_anything_is_sent(timeout: float | None) -> None:
    async with asking(timeout) as (task, raw, _):
        await refuse_first(raw)
        wanted = multistream.propose(SECOND)
        number, body = await flight(raw, len(wanted))
        assert body == wanted
        await raw.answer(number, SECOND)
        await answered(raw, number)
        assert await task == "Pong"


async def test_a_peer_that_has_told_to_serve_neither_is_asked_once() -> None:
    async with asking(knows="/ipfs/id/1.0.0") as (task, raw, connection):
        await refuse_first(raw)
        error = await failed(task, UnsupportedProtocol, sent=False)
        assert f"{FIRST}, {SECOND}" in str(error)
        assert connection.streams == 0


@pytest.mark.parametrize("how", ["refused", "hangs up"])
async def test_both_are_refused(how: str) -> None:
    """The Rust library hangs up: it reads the request as a message of the negotiation (parity 3)."""
    async with asking() as (task, raw, _):
        await refuse_first(raw)
        number, _ = await flight(raw, len(multistream.propose(SECOND)))
        if how == "refused":
            await raw.data(number, REFUSED, ACK)
        else:
            raw.close()
        error = await failed(task, UnsupportedProtocol, sent=False)
        assert (error.protocols, error.peer) == (STRONGHOLD.ids, raw.id)
        assert f"{FIRST}, {SECOND}" in str(error)


async def test_nonsense_in_answer_to_the_other_id() -> None:
    async with asking() as (task, raw, _):
        await refuse_first(raw)
        number, _ = await flight(raw, len(multistream.propose(SECOND)))
        await raw.answer(number, "/other")
        await failed(task, NegotiationError, sent=False)


@pytest.mark.parametrize(
    ("begins", "phase", "sent"), [(refuse_first, "negotiate", False), (reset_first, None, True)], ids=["no", "reset"]
)
async def test_silence_after_a_refusal_is_a_deadline(begins: Any, phase: str | None, sent: bool) -> None:
    async with asking(0.2) as (task, raw, _):
        await begins(raw)
        error = await failed(task, DeadlineExceeded, sent=sent)
        assert (error.timeout, phase in {None, error.phase}) == (0.2, True)


async def old(stream: LiveStream) -> None:
    await stream.write_message(await stream.read_message() or b"")


@pytest.mark.parametrize("ids", [("/new/1", "/old/1"), ("/newest/1", "/new/1", "/old/1")])
async def test_a_long_request_is_refused_and_sent_again(ids: tuple[str, ...]) -> None:
    """Longer than the peer's window, so the refusal meets us while we write."""
    async with requests() as on:
        on.bob.handle("/old/1", old)
        body = bytes(range(256)) * 3_000
        assert await on.ask(body, protocol=RequestProtocol(*ids, request=BYTES, response=BYTES)) == body


@pytest.mark.parametrize("serves_other", [False, True])
async def test_a_reset_without_a_word_is_asked_about_and_is_a_refusal(serves_other: bool) -> None:
    async with asking() as (task, raw, _):
        await reset_first(raw)
        number, body = await flight(raw, len(multistream.propose(FIRST)))
        assert body == multistream.propose(FIRST)  # without a request: the first may have been acted on
        await raw.data(number, REFUSED, ACK)
        assert await raw.body(number, len(multistream.message(SECOND))) == multistream.message(SECOND)
        if serves_other:
            await raw.data(number, multistream.message(SECOND))
            await answered(raw, number)
            assert await task == "Pong"
        else:
            await raw.data(number, multistream.NA)
            error = await failed(task, UnsupportedProtocol, sent=False)
            assert (error.protocols, error.peer) == (STRONGHOLD.ids, raw.id)
            assert f"{FIRST}, {SECOND}" in str(error)


async def test_a_reset_without_a_word_by_a_peer_that_does_serve_it() -> None:
    """It may have acted on the request, so it is not sent again."""
    async with asking() as (task, raw, _):
        await reset_first(raw)
        number, _ = await flight(raw, len(multistream.propose(FIRST)))
        await raw.answer(number, FIRST)
        assert (await raw.until(WINDOW_UPDATE, RST)).stream == number
        await failed(task, StreamReset, sent=True)


@pytest.mark.parametrize("code", [0, 0x42])
async def test_a_reset_that_says_something_is_not_asked_about(code: int) -> None:
    async with asking() as (task, raw, connection):
        number, _ = await flight(raw, len(multistream.propose(FIRST) + PING))
        if code == 0:
            await raw.answer(number, FIRST)
        await raw.reset(number, code)
        error = await failed(task, StreamReset, sent=True)
        assert error.code == code
        assert connection.streams == 0  # nor is there a stream that asks
