"""The requester: each call ends in exactly one of its outcomes, whatever the other side does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DialError,
    LimitExceeded,
    Malformed,
    P2PError,
    PeerIdMismatch,
    Rejected,
    StreamReset,
    UnsupportedProtocol,
    UsageError,
)
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.multistream import propose
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, frame
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.yamux.header import ACK, DATA, FIN, RST, WINDOW_UPDATE
from stronghold_p2p.yamux.header import frame as yamux_frame
from tests.peers import connect, saying, swarm, until
from tests.swarm.raw import raw_out
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

ID = STRONGHOLD.ids[0]
Peer = Callable[[LiveStream], Awaitable[None]]


async def ask(client: Client, bob: Swarm, message: Any = "Ping", timeout: float | None = 5.0) -> Any:
    return await client.request(bob.peer_id, bob.addresses, message, STRONGHOLD, timeout=timeout)


async def outcome(handler: Peer | None, timeout: float = 5.0) -> Any:
    """The answer or the error of one request to a peer that behaves so; afterwards nothing is left of it."""
    async with swarm(1) as alice, swarm(2) as bob:
        if handler is not None:
            bob.handle(ID, handler)
        client = Client(alice)
        connection = await connect(alice, bob)
        result: Any
        try:
            result = await ask(client, bob, timeout=timeout)
        except P2PError as error:
            assert error.peer == bob.peer_id
            result = error
        assert client.places.total == 0
        await until(lambda: connection.streams == 0)
        assert not connection.closed  # a failed stream never costs its connection
        return result


def answering(data: bytes) -> Peer:
    """Reads a request as the Rust library does: counted, with the other side still open."""

    async def handler(stream: LiveStream) -> None:
        assert await stream.read_message() == b'"Ping"'
        await stream.write(data)

    return handler


async def test_an_answer() -> None:
    assert await outcome(answering(frame(b'{"Pong":1}'))) == {"Pong": 1}


async def test_the_request_is_one_counted_message_and_the_write_side_stays_open() -> None:
    seen = b""
    ended = False

    async def handler(stream: LiveStream) -> None:
        nonlocal seen, ended
        seen = await stream.readexactly(7)
        try:
            async with asyncio.timeout(0.1):
                ended = await stream.read() == b""
        except TimeoutError:
            pass
        await stream.write(frame(b"null"))

    assert await outcome(handler) is None
    assert seen == b'\x06"Ping"'
    assert not ended


async def test_an_answer_in_pieces() -> None:
    async def handler(stream: LiveStream) -> None:
        for byte in frame(b'{"Pong":"x"}'):
            await stream.write(bytes([byte]))
            await asyncio.sleep(0)

    assert await outcome(handler) == {"Pong": "x"}


async def test_an_early_answer_is_taken() -> None:
    assert await outcome(saying(frame(b"1"))) == 1


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

    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, handler)
        connection = await connect(alice, bob)
        assert await ask(Client(alice), bob, "x" * 900_000) == "too much for me"
        await until(lambda: connection.streams == 0 and codes)
        assert codes == [0]  # the rest of the request does not come any more
        assert len(asyncio.all_tasks()) <= 2 + len(bob.connections()[0].handlers)


@pytest.mark.tcp
@pytest.mark.parametrize("answer", [b'"too much for me"', b""])
async def test_an_answer_of_a_peer_that_resets_what_it_does_not_read(answer: bytes) -> None:
    """rust-yamux does so when its stream is dropped while we have no credit left: FIN, then RST."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        client = Client(alice)
        task = asyncio.ensure_future(client.request(raw.id, [], "x" * 900_000, STRONGHOLD, timeout=5.0))
        stream = (await raw.until(DATA)).stream
        body = propose(ID) + (frame(answer) if answer else b"")
        await asyncio.sleep(0.05)  # the window is used up
        ends = yamux_frame(DATA, FIN, stream, 0), yamux_frame(WINDOW_UPDATE, RST, stream, 0)
        await raw.send(yamux_frame(DATA, ACK, stream, len(body)), body, *ends)
        if answer:
            assert await task == "too much for me"
        else:
            with pytest.raises(Rejected):
                await task
        assert connection.streams == client.places.total == 0


@pytest.mark.parametrize("how", ["cancelled", "unsupported", "reset", "refused", "answered", "late"])
async def test_a_long_request_ends_as_a_short_one(how: str) -> None:
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

    kinds = {"unsupported": UnsupportedProtocol, "reset": StreamReset, "refused": Rejected, "late": DeadlineExceeded}
    async with swarm(1) as alice, swarm(2) as bob:
        if how != "unsupported":
            bob.handle(ID, handler)
        client, connection = Client(alice), await connect(alice, bob)
        task = asyncio.ensure_future(ask(client, bob, "x" * 900_000, timeout=0.5 if how == "late" else 5.0))
        if how == "cancelled":
            await until(lambda: bob.connections()[0].handlers)
            await asyncio.sleep(0.02)
            task.cancel()
        outcome: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        if how == "answered":
            assert outcome == 900_002
        else:
            assert type(outcome) is kinds.get(how, asyncio.CancelledError)
        if how == "late":
            assert outcome.phase == "wait"
        await until(lambda: connection.streams == 0)
        assert client.places.total == 0
        assert not connection.closed


async def test_an_answer_without_an_end_is_an_answer() -> None:
    async def handler(stream: LiveStream) -> None:
        await stream.write(frame(b"1"))
        await stream.read_to_end()

    assert await outcome(handler) == 1


@pytest.mark.parametrize(
    "data",
    [
        frame(b"nonsense"),
        frame(b""),
        frame(b"1") + b"x",
        frame(b"1") * 2,
        frame(b"1000")[:-1],
        b"\x81\x00",
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

    small = RequestProtocol(ID, request=JSON, response=JSON, max_response=9)
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, handler)
        with pytest.raises(Malformed, match="length"):
            await Client(alice).request(bob.peer_id, bob.addresses, "Ping", small, timeout=5)
        await until(lambda: codes)
    assert codes == [Reset.PROTOCOL_VIOLATION]


async def test_an_end_without_a_byte_is_a_refusal() -> None:
    error = await outcome(answering(b""))
    assert isinstance(error, Rejected)
    assert (error.local, error.sent) == (False, False)


async def test_a_peer_that_does_not_serve_it() -> None:
    error = await outcome(None)
    assert isinstance(error, UnsupportedProtocol)
    assert (error.protocols, error.sent) == (STRONGHOLD.ids, False)


async def test_several_ids_are_offered_in_order() -> None:
    both: RequestProtocol[Any, Any] = RequestProtocol("/new/1", "/old/1", request=JSON, response=JSON)
    async with swarm(1) as alice, swarm(2) as bob:
        client = Client(alice)
        with pytest.raises(UnsupportedProtocol) as caught:
            await client.request(bob.peer_id, bob.addresses, 1, both, timeout=5)
        assert caught.value.protocols == both.ids
        bob.handle("/old/1", saying(frame(b'"old"')))
        assert await client.request(bob.peer_id, (), 1, both, timeout=5) == "old"
        bob.handle("/new/1", saying(frame(b'"new"')))
        assert await client.request(bob.peer_id, (), 1, both, timeout=5) == "new"
        assert client.places.total == 0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, StreamReset),
        (Reset.PROTOCOL_VIOLATION, Malformed),
        (Reset.SHUTDOWN, StreamReset),
        (Reset.RESOURCE_LIMIT, LimitExceeded),
        (Reset.NEGOTIATION_FAILED, UnsupportedProtocol),
    ],
)
@pytest.mark.parametrize("wait", [False, True])
async def test_a_reset_is_told_by_its_code(code: int, kind: type[Exception], wait: bool) -> None:
    async def handler(stream: LiveStream) -> None:
        if wait:
            await asyncio.sleep(0.02)  # the echo of the protocol has left
        stream.reset(code)

    error = await outcome(handler)
    assert type(error) is kind
    if isinstance(error, StreamReset):
        assert (error.code, error.sent) == (code, True)
    if isinstance(error, LimitExceeded):
        assert (error.remote, error.sent) == (True, False)


async def test_a_reset_in_the_middle_of_the_answer() -> None:
    async def handler(stream: LiveStream) -> None:
        await stream.write(frame(b"123456")[:3])
        await asyncio.sleep(0.02)
        stream.reset(7)

    error = await outcome(handler)
    assert isinstance(error, StreamReset)
    assert error.code == 7


@pytest.mark.parametrize("sent", [b"", b"\x05", b"\x05123"])
async def test_no_answer_is_a_deadline(sent: bytes) -> None:
    error = await outcome(saying(sent, close=False), timeout=0.1)
    assert isinstance(error, DeadlineExceeded)
    assert (error.phase, error.timeout, error.sent) == ("wait", 0.1, True)


async def test_the_deadline_is_one_for_all_bytes() -> None:
    async def handler(stream: LiveStream) -> None:
        for byte in frame(b" " * 100):
            await stream.write(bytes([byte]))
            await asyncio.sleep(0.02)

    start = asyncio.get_running_loop().time()
    error = await outcome(handler, timeout=0.2)
    assert isinstance(error, DeadlineExceeded)
    assert asyncio.get_running_loop().time() - start < 1


async def test_a_request_that_is_not_read_is_a_deadline_too() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, saying(close=False))

        async def deaf(stream: LiveStream) -> None:
            await asyncio.Event().wait()

        bob.handle(ID, deaf)
        client = Client(alice)
        with pytest.raises(DeadlineExceeded) as caught:
            await ask(client, bob, "x" * 500_000, timeout=0.2)
        assert (caught.value.phase, caught.value.sent) == ("send", True)


async def test_no_deadline_waits() -> None:
    async def handler(stream: LiveStream) -> None:
        await asyncio.sleep(0.1)
        await stream.write(frame(b"1"))

    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, handler)
        assert await ask(Client(alice), bob, timeout=None) == 1


async def test_an_address_without_its_peer_is_enough() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, answering(frame(b"1")))
        client = Client(alice)
        assert await client.request(None, bob.addresses, "Ping", STRONGHOLD, timeout=5) == 1


async def test_a_dial_that_fails_is_told() -> None:
    stranger = Identity.from_seed(b"s" * 32).peer_id
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        closed = from_socket(bound.getsockname())
        async with swarm(1) as alice, swarm(2) as bob:
            client = Client(alice)
            for peer, addresses, kind in (
                (stranger, (), DialError),
                (stranger, (closed,), DialError),
                (stranger, bob.addresses, PeerIdMismatch),
                (alice.peer_id, alice.addresses, DialError),
            ):
                with pytest.raises(P2PError) as caught:
                    await client.request(peer, addresses, "Ping", STRONGHOLD, timeout=5)
                assert type(caught.value) is kind
                assert not caught.value.sent
            assert client.places.total == 0


@pytest.mark.tcp
async def test_a_dial_that_takes_too_long_is_a_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with swarm(1) as alice:
            client = Client(alice)
            stranger = Identity.from_seed(b"s" * 32).peer_id
            with pytest.raises(DeadlineExceeded) as caught:
                await client.request(stranger, (from_socket(silent.getsockname()),), 1, STRONGHOLD, timeout=0.2)
            assert (caught.value.phase, caught.value.peer, caught.value.sent) == ("dial", stranger, False)


async def test_a_network_that_is_closed() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        client = Client(alice)
        await alice.close()
        with pytest.raises(UsageError):
            await ask(client, bob)


@pytest.mark.parametrize("side", ["ours", "theirs"])
async def test_every_request_on_a_connection_that_ends_is_told_once(side: str) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, saying(close=False))
        client = Client(alice)
        connection = await connect(alice, bob)
        tasks = [asyncio.ensure_future(ask(client, bob)) for _ in range(50)]
        await until(lambda: connection.streams == 50)
        (other,) = bob.connections()
        (connection if side == "ours" else other).abort()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(type(error) is ConnectionClosed and error.sent for error in errors)
        assert client.places.total == 0


async def test_a_cancelled_request_resets_its_stream_only() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        ended: list[BaseException] = []

        async def handler(stream: LiveStream) -> None:
            try:
                await stream.read_message()
                await stream.read()
            except StreamReset as error:
                ended.append(error)
                raise

        bob.handle(ID, handler)
        client = Client(alice)
        connection = await connect(alice, bob)
        task = asyncio.ensure_future(ask(client, bob))
        await until(lambda: connection.streams == 1)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: ended)
        assert client.places.total == 0
        bob.handle(ID, answering(frame(b"1")))
        assert await ask(client, bob) == 1
        assert alice.connections() == (connection,)


@pytest.mark.parametrize("after", range(12))
async def test_cancelled_at_any_moment_it_leaves_nothing(after: int) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, answering(frame(b"1")))
        client = Client(alice)
        task = asyncio.ensure_future(ask(client, bob))
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert client.places.total == 0
        assert await ask(client, bob) == 1


async def test_more_requests_than_we_may_have_with_one_peer() -> None:
    async with swarm(1, limits=Limits(requests_per_peer=3)) as alice, swarm(2) as bob, swarm(3) as carol:
        bob.handle(ID, saying(close=False))
        carol.handle(ID, saying(frame(b"1")))
        client = Client(alice)
        tasks = [asyncio.ensure_future(ask(client, bob)) for _ in range(3)]
        await until(lambda: client.places.total == 3)
        with pytest.raises(LimitExceeded) as caught:
            await ask(client, bob)
        assert (caught.value.limit, caught.value.remote, caught.value.maximum) == ("requests_per_peer", False, 3)
        assert await ask(client, carol) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bob.handle(ID, saying(frame(b"2")))
        assert await ask(client, bob) == 2


async def test_what_cannot_be_sent_is_told_before_anything_else() -> None:
    async with swarm(1) as alice:
        client = Client(alice)
        stranger = Identity.from_seed(b"s" * 32).peer_id
        with pytest.raises(Malformed):
            await client.request(stranger, (), float("nan"), STRONGHOLD, timeout=5)
        small = RequestProtocol(ID, request=BYTES, response=JSON, max_request=9)
        with pytest.raises(LimitExceeded) as caught:
            await client.request(stranger, (), bytes(10), small, timeout=5)
        assert (caught.value.limit, caught.value.current, caught.value.maximum) == ("max_request", 10, 9)


async def test_our_own_firewall_may_keep_a_request_back() -> None:
    asked: list[str | None] = []
    async with swarm(1, timeouts=Timeouts(ask=0.1)) as alice, swarm(2) as bob:
        bob.handle(ID, saying(frame(b"1")))
        client = Client(alice)
        alice.firewall.set(Rule.REJECT, protocol=ID, direction="out")
        with pytest.raises(Rejected) as caught:
            await ask(client, bob)
        assert (caught.value.local, caught.value.sent, caught.value.peer) == (True, False, bob.peer_id)
        alice.firewall.set(Rule.ASK, protocol=ID, direction="out")
        with pytest.raises(Rejected):
            await ask(client, bob)

        @alice.firewall.on_ask
        async def decide(attempt: Any) -> bool:
            asked.append(attempt.variant)
            return True

        assert await ask(client, bob, "Ping") == 1
        assert asked == ["Ping"]
        assert client.places.total == 0


async def test_many_at_once() -> None:
    async def echo(stream: LiveStream) -> None:
        body = await stream.read_message()
        await stream.write_message(body or b"")

    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(ID, echo)
        client = Client(alice)
        for _ in range(5):
            answers = await asyncio.gather(*(ask(client, bob, number) for number in range(100)))
            assert answers == list(range(100))
