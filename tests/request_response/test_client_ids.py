"""A protocol with several ids: the usual first request costs no round trip more, and a refusal is not the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import DeadlineExceeded, NegotiationError, StreamReset, UnsupportedProtocol
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, frame
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.request_response.server import Server
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.yamux.header import ACK, DATA, RST, SYN, WINDOW_UPDATE
from tests.peers import connect, swarm, until
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


def asking(client: Client, raw: Raw, timeout: float | None = 5.0) -> asyncio.Task[Any]:
    return asyncio.ensure_future(client.request(raw.id, (), "Ping", STRONGHOLD, timeout=timeout))


async def test_the_first_request_goes_out_with_the_first_id() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, _):
        task = asking(Client(alice), raw)
        wanted = multistream.propose(FIRST) + PING
        number, body = await flight(raw, len(wanted))
        assert body == wanted  # in one flight, although nothing is known of the peer
        await raw.answer(number, FIRST, PONG)
        assert await task == "Pong"


async def test_what_identify_told_is_tried_first() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, _):
        alice.peer_protocols[raw.id] = frozenset({SECOND})
        task = asking(Client(alice), raw)
        wanted = multistream.propose(SECOND) + PING
        number, body = await flight(raw, len(wanted))
        assert body == wanted
        await raw.answer(number, SECOND, PONG)
        assert await task == "Pong"


@pytest.mark.parametrize("timeout", [5.0, None])
async def test_after_a_refusal_the_other_id_is_asked_for_before_anything_is_sent(timeout: float | None) -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        client = Client(alice)
        task = asking(client, raw, timeout)
        await refuse_first(raw)
        wanted = multistream.propose(SECOND)
        number, body = await flight(raw, len(wanted))
        assert body == wanted
        await raw.answer(number, SECOND)
        assert await raw.body(number, len(PING)) == PING
        await raw.data(number, PONG)
        await raw.finish(number)
        assert await task == "Pong"
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)


async def test_a_peer_that_has_told_to_serve_neither_is_asked_once() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        alice.peer_protocols[raw.id] = frozenset({"/ipfs/id/1.0.0"})
        task = asking(Client(alice), raw)
        await refuse_first(raw)
        with pytest.raises(UnsupportedProtocol, match=f"{FIRST}, {SECOND}"):
            await task
        assert connection.streams == 0


async def test_both_are_refused() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        client = Client(alice)
        task = asking(client, raw)
        await refuse_first(raw)
        number, _ = await flight(raw, len(multistream.propose(SECOND)))
        await raw.data(number, REFUSED, ACK)
        with pytest.raises(UnsupportedProtocol, match=f"{FIRST}, {SECOND}") as caught:
            await task
        assert (caught.value.protocols, caught.value.peer, caught.value.sent) == (STRONGHOLD.ids, raw.id, False)
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)


async def test_a_peer_that_hangs_up_behind_its_refusal() -> None:
    """As the Rust library does, which reads the request as a message of the negotiation (parity 3)."""
    async with swarm(1) as alice, raw_out(alice) as (raw, _):
        task = asking(Client(alice), raw)
        await refuse_first(raw)
        await flight(raw, len(multistream.propose(SECOND)))
        raw.close()
        with pytest.raises(UnsupportedProtocol) as caught:
            await task
        assert (caught.value.protocols, caught.value.sent) == (STRONGHOLD.ids, False)


async def test_nonsense_in_answer_to_the_other_id() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, _):
        task = asking(Client(alice), raw)
        await refuse_first(raw)
        number, _ = await flight(raw, len(multistream.propose(SECOND)))
        await raw.answer(number, "/other")
        with pytest.raises(NegotiationError) as caught:
            await task
        assert (caught.value.peer, caught.value.sent) == (raw.id, False)


async def test_silence_after_a_refusal_is_a_deadline() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        client = Client(alice)
        task = asking(client, raw, 0.2)
        await refuse_first(raw)
        with pytest.raises(DeadlineExceeded) as caught:
            await task
        assert (caught.value.phase, caught.value.timeout, caught.value.sent) == ("negotiate", 0.2, False)
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)


@pytest.mark.parametrize("after", range(12))
async def test_cancelled_at_any_moment_it_leaves_nothing(after: int) -> None:
    both: RequestProtocol[Any, Any] = RequestProtocol("/new/1", "/old/1", request=JSON, response=JSON)

    async def old(stream: LiveStream) -> None:
        await stream.write_message(await stream.read_message() or b"")

    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle("/old/1", old)
        client = Client(alice)
        connection = await connect(alice, bob)
        task = asyncio.ensure_future(client.request(bob.peer_id, (), 1, both, timeout=5))
        for _ in range(after):
            await asyncio.sleep(0.0003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)
        assert await client.request(bob.peer_id, (), 2, both, timeout=5) == 2


@pytest.mark.parametrize("ids", [("/new/1", "/old/1"), ("/newest/1", "/new/1", "/old/1")])
async def test_a_long_request_is_refused_and_sent_again(ids: tuple[str, ...]) -> None:
    """Longer than the peer's window, so the refusal meets us while we write."""
    both = RequestProtocol(*ids, request=BYTES, response=BYTES)

    async def old(stream: LiveStream) -> None:
        await stream.write_message(await stream.read_message() or b"")

    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle("/old/1", old)
        body = bytes(range(256)) * 3_000
        assert await Client(alice).request(bob.peer_id, bob.addresses, body, both, timeout=5) == body


async def test_the_default_protocol_is_served_under_both_ids_and_the_rules_name_the_first() -> None:
    seen: list[tuple[str, str | None]] = []
    ids: list[str] = []

    def answer(request: Request[Any]) -> str:
        ids.append(request.protocol)
        return "Pong"

    async with swarm(1) as alice, swarm(2, rule=None, timeouts=Timeouts(ask=5)) as bob:
        Server(bob).serve(STRONGHOLD, answer)
        bob.firewall.set(Rule.ASK, protocol=FIRST)

        @bob.firewall.on_ask
        async def approve(attempt: Attempt) -> bool:
            seen.append((attempt.protocol, attempt.variant))
            return True

        client = Client(alice)
        for name in STRONGHOLD.ids:
            alone: RequestProtocol[Any, Any] = RequestProtocol(name, request=JSON, response=JSON)
            assert await client.request(bob.peer_id, bob.addresses, "Ping", alone, timeout=5) == "Pong"
        assert ids == [FIRST, SECOND]
        assert seen == [(FIRST, "Ping")] * 2


async def reset_first(raw: Raw, code: int = 0) -> None:
    """Reset without a word, as seen of the Rust library, whose Yamux sends the reset before the refusal."""
    wanted = multistream.propose(FIRST) + PING
    number, _ = await flight(raw, len(wanted))
    await raw.reset(number, code)
    await raw.data(number, REFUSED)


async def test_a_reset_without_a_word_is_asked_about_and_is_a_refusal() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        client = Client(alice)
        task = asking(client, raw)
        await reset_first(raw)
        number, body = await flight(raw, len(multistream.propose(FIRST)))
        assert body == multistream.propose(FIRST)  # without a request: the first may have been acted on
        await raw.data(number, REFUSED, ACK)
        assert await raw.body(number, len(multistream.message(SECOND))) == multistream.message(SECOND)
        await raw.data(number, multistream.NA)
        with pytest.raises(UnsupportedProtocol, match=f"{FIRST}, {SECOND}") as caught:
            await task
        assert (caught.value.protocols, caught.value.peer, caught.value.sent) == (STRONGHOLD.ids, raw.id, False)
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)


async def test_a_reset_without_a_word_by_a_peer_that_serves_the_other_id() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        task = asking(Client(alice), raw)
        await reset_first(raw)
        number, _ = await flight(raw, len(multistream.propose(FIRST)))
        await raw.data(number, REFUSED, ACK)
        await raw.body(number, len(multistream.message(SECOND)))
        await raw.data(number, multistream.message(SECOND))
        assert await raw.body(number, len(PING)) == PING
        await raw.data(number, PONG)
        await raw.finish(number)
        assert await task == "Pong"
        await until(lambda: connection.streams == 0)


async def test_a_reset_without_a_word_by_a_peer_that_does_serve_it() -> None:
    """It may have acted on the request, so it is not sent again."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        task = asking(Client(alice), raw)
        await reset_first(raw)
        number, _ = await flight(raw, len(multistream.propose(FIRST)))
        await raw.answer(number, FIRST)
        assert (await raw.until(WINDOW_UPDATE, RST)).stream == number
        with pytest.raises(StreamReset) as caught:
            await task
        assert (caught.value.peer, caught.value.sent) == (raw.id, True)
        await until(lambda: connection.streams == 0)


@pytest.mark.parametrize("answered", [False, True])
async def test_a_reset_that_says_something_is_not_asked_about(answered: bool) -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        task = asking(Client(alice), raw)
        number, _ = await flight(raw, len(multistream.propose(FIRST) + PING))
        if answered:
            await raw.answer(number, FIRST)
            await raw.reset(number)
        else:
            await raw.reset(number, 0x42)
        with pytest.raises(StreamReset) as caught:
            await task
        assert (caught.value.code, caught.value.sent) == (0 if answered else 0x42, True)
        assert connection.streams == 0  # nor is there a stream that asks


async def test_silence_after_a_reset_without_a_word_is_a_deadline() -> None:
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        client = Client(alice)
        task = asking(client, raw, 0.2)
        await reset_first(raw)
        with pytest.raises(DeadlineExceeded) as caught:
            await task
        assert (caught.value.timeout, caught.value.sent) == (0.2, True)
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)
