"""What the log of a network tells: whom its limits, its rules and its handlers refuse, and who came and left."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stronghold_p2p import (
    BYTES,
    ConnectionClosed,
    DeadlineExceeded,
    LimitExceeded,
    Limits,
    Network,
    Rejected,
    Request,
    RequestProtocol,
    Rule,
    Stream,
    StreamReset,
    Timeouts,
    UnsupportedProtocol,
)
from stronghold_p2p.events import lines
from stronghold_p2p.events.events import AcceptFailed
from stronghold_p2p.logs import EVERY, Refusals
from tests.peers import LOOPBACK, until
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
RAW: RequestProtocol[bytes, bytes] = RequestProtocol("/raw/1", request=BYTES, response=BYTES)


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO, logger="stronghold_p2p")
    yield caplog
    caplog.clear()


def told(caplog: pytest.LogCaptureFixture, pattern: str, level: int = logging.INFO) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == level and re.search(pattern, one.getMessage())]


def serving(**limits: Any) -> Network:
    bob = Network(listen=[LOOPBACK], name="bob", limits=Limits(**limits))
    bob.firewall.set(Rule.ALLOW)

    @bob.on_request
    async def answer(request: Request[Any]) -> Any:
        if request.message == "Refuse":
            raise Rejected
        if request.message == "Break":
            raise ValueError("mine")
        if request.message == "Hang":
            await asyncio.Event().wait()
        return request.message

    @bob.on_stream("/silent/1")
    async def silent(stream: Stream) -> None:
        await stream.read_to_end()

    return bob


async def test_b15_many_peers_behind_one_address(logged: pytest.LogCaptureFixture) -> None:
    async with serving(per_subnet=1) as bob, Network() as alice, Network() as carol, Network() as dave:
        bob._swarm.gate._exempt_loopback = False
        await alice.connect(bob.addresses[0])
        for late in (carol, dave):
            with pytest.raises(ConnectionClosed, match="one of its limits refuses us, which its log tells"):
                await late.connect(bob.addresses[0])
        (line,) = told(logged, "limit", logging.WARNING)
        assert line == "a limit refuses 127.0.0.1: per_subnet 1/1: raise it in Limits net=bob"
    assert told(logged, "more", logging.WARNING) == ["per_subnet has refused 1 more net=bob"]


async def test_b15_too_many_requests_of_one_peer(logged: pytest.LogCaptureFixture) -> None:
    async with serving(requests_per_peer=1) as bob, Network() as alice:
        await alice.connect(bob.addresses[0])
        first = asyncio.ensure_future(alice.request(bob.peer_id, "Hang"))
        await until(lambda: bob.stats()["requests_in"])
        for _ in range(2):
            with pytest.raises(LimitExceeded):
                await alice.request(bob.peer_id, "x")
        first.cancel()
        (line,) = told(logged, "limit", logging.WARNING)
        assert line.startswith(f"a limit refuses {alice.peer_id}: requests_per_peer 1/1 ")


async def test_b15_too_many_streams_of_one_connection(logged: pytest.LogCaptureFixture) -> None:
    async with serving(streams_in=2) as bob, Network() as alice:
        opened = [await alice.open_stream(bob.addresses[0], "/silent/1", wait=True) for _ in range(2)]
        with pytest.raises((LimitExceeded, StreamReset)):
            await alice.open_stream(bob.peer_id, "/silent/1", wait=True)
        for stream in opened:
            await stream.close()
        (line,) = told(logged, "limit", logging.WARNING)
        assert line == f"a limit refuses {alice.peer_id}: streams_in 2/2 on its connection: raise it in Limits net=bob"


async def test_b15_a_limit_has_one_line_in_a_minute(logged: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(logging.getLogger("stronghold_p2p.network"), "bob")
    full = LimitExceeded("asks 1/1", limit="asks")
    for _ in range(3):
        refusals.tell("eve\n", full)
    await asyncio.sleep(1.5 * EVERY)
    refusals.tell("eve", full)
    await asyncio.sleep(3 * EVERY)
    refusals.tell("mallory", LimitExceeded("asks 2/2", limit="asks"))
    refusals.close()
    assert logged.messages == [
        "a limit refuses eve\\u000a: asks 1/1 net=bob",
        "asks has refused 2 more net=bob",
        "asks has refused 1 more net=bob",
        "a limit refuses mallory: asks 2/2 net=bob",
    ]


async def test_a_handler_that_refuses_is_told_as_one(logged: pytest.LogCaptureFixture) -> None:
    async with serving() as bob, Network() as alice:
        with pytest.raises(Rejected):
            await alice.request(bob.addresses[0], "Refuse")
        allowed, refused = told(logged, "^net=bob")
    assert "verdict=allow" in allowed
    assert "verdict=reject" in refused
    assert " variant=Refuse from=/ip4/127.0.0.1/" in refused
    assert refused.endswith(" rule=handler")


async def test_a_handler_that_fails_is_told_with_peer_and_network(logged: pytest.LogCaptureFixture) -> None:
    async with serving() as bob, Network() as alice:
        with pytest.raises(StreamReset):
            await alice.request(bob.addresses[0], "Break")
        (line,) = told(logged, "^handler", logging.ERROR)
        assert line == f"handler of /stronghold-p2p/1.0.0 failed for {alice.peer_id} net=bob"
        logged.clear()


async def test_an_answer_that_cannot_be_sent_is_told_with_its_function(logged: pytest.LogCaptureFixture) -> None:
    """In one traceback, whether or not an interceptor stands around the handler."""
    for intercepted in (False, True):
        bob = Network(listen=[LOOPBACK], name="bob")
        bob.firewall.set(Rule.ALLOW)

        @bob.on_request
        async def wrong(request: Request[Any]) -> Any:
            return {1, 2}

        if intercepted:
            bob.intercept(passed_on)
        async with bob, Network() as alice:
            with pytest.raises(StreamReset):
                await alice.request(bob.addresses[0], "x")
        (record,) = [one for one in logged.records if one.levelno == logging.ERROR]
        assert record.exc_text is not None
        assert record.exc_text.count("Traceback") == 1
        last = record.exc_text.splitlines()[-1]
        assert re.search(
            r"the answer of \S*wrong, the handler of /stronghold-p2p/1.0.0, cannot be sent: response", last
        )
        logged.clear()


async def passed_on(call: Any, go_on: Any) -> Any:
    return await go_on(call)


async def test_a_network_without_rules_is_told_once(logged: pytest.LogCaptureFixture) -> None:
    """Whoever forgets the rule is told; whoever has one, or gives them when asked, is not."""
    bob = Network(listen=[LOOPBACK], name="bob")
    bob.on_request(lambda request: request.message)
    async with bob, Network() as alice:
        logged.set_level(logging.WARNING, logger="stronghold_p2p")
        await alice.ping(bob.addresses[0])
        with pytest.raises(UnsupportedProtocol):
            await (await alice.connect(bob.peer_id))._live.open_stream("/none/1", wait=True)
        assert told(logged, "no rule", logging.WARNING) == []
        for _ in range(3):
            with pytest.raises(UnsupportedProtocol):
                await alice.request(bob.peer_id, "x")
        await until(lambda: told(logged, "no rule", logging.WARNING))
        (line,) = told(logged, "no rule", logging.WARNING)
        assert re.search(f"just now {alice.peer_id} for /stronghold-p2p/1.0.0: firewall.set.*net=bob$", line)
    logged.clear()
    for rule in (Rule.REJECT, None):
        bob = Network(listen=[LOOPBACK], name="bob")
        bob.on_request(lambda request: request.message)
        bob.firewall.set(rule) if rule is not None else bob.firewall.on_no_rule(lambda _: None)
        async with bob, Network() as alice:
            with pytest.raises((UnsupportedProtocol, Rejected)):
                await alice.request(bob.addresses[0], "x")
        assert told(logged, "no rule", logging.WARNING) == []


async def test_a_network_that_closes_is_no_limit(logged: pytest.LogCaptureFixture) -> None:
    async with serving() as bob, Network() as alice:
        asking = asyncio.ensure_future(alice.request(bob.addresses[0], "Hang"))
        await until(lambda: bob.stats()["requests_in"])
        closing = asyncio.ensure_future(bob.close())
        await asyncio.sleep(0.1)
        with pytest.raises(LimitExceeded) as caught:
            await alice.request(bob.peer_id, "x")
        assert (caught.value.remote, caught.value.sent, caught.value.temporary) == (True, False, True)
        await closing
        with pytest.raises((ConnectionClosed, StreamReset)):
            await asking
    (line,) = told(logged, "network closes")
    assert line == f"the network closes, so it refuses what has not begun, to {alice.peer_id} net=bob"
    assert told(logged, "limit", logging.WARNING) == []


async def test_who_is_no_peer_is_told(logged: pytest.LogCaptureFixture) -> None:
    async with serving() as bob:
        async with bob.events() as events:
            port = int(str(bob.addresses[0]).split("/")[4])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()
            async for event in events:
                if isinstance(event, AcceptFailed):
                    break
        (line,) = told(logged, "^no handshake came to /ip4/127.0.0.1/tcp/")
        assert line.endswith(" net=bob")


async def test_a_protocol_that_nobody_serves_is_told(logged: pytest.LogCaptureFixture) -> None:
    logging.getLogger("stronghold_p2p.audit").setLevel(logging.WARNING)
    try:
        async with serving() as bob, Network() as alice:
            connection = (await alice.connect(bob.addresses[0]))._live  # a program of ours could not ask for that
            with pytest.raises(UnsupportedProtocol):
                await connection.open_stream("/silnet/1\x1b", wait=True)
            line = f"a protocol is not served here: /silnet/1\\u001b for {alice.peer_id} net=bob"
            await until(lambda: told(logged, "not served") == [line])
    finally:
        logging.getLogger("stronghold_p2p.audit").setLevel(logging.NOTSET)


async def test_what_we_ask_ourselves_is_no_decision_until_a_rule_speaks_of_it(logged: pytest.LogCaptureFixture) -> None:
    async with serving() as bob, Network(name="alice") as alice:
        await alice.request(bob.addresses[0], "x")
        assert told(logged, "net=alice") == []
        alice.firewall.set(Rule.ALLOW, direction="out")
        await alice.request(bob.peer_id, "x")
        (line,) = told(logged, "net=alice")
        assert f" to={alice.connections()[0].remote_address} rule=allow@default" in line


async def test_connections_and_dials_are_told_at_level_debug(logged: pytest.LogCaptureFixture) -> None:
    logged.set_level(logging.DEBUG, logger="stronghold_p2p")
    async with serving() as bob, Network(name="alice") as alice:
        await alice.connect(bob.addresses[0])
        assert bob._swarm.hub._audit.readers == []  # requests cost no more for it
        with pytest.raises(ConnectionError):
            await alice.connect("/ip4/127.0.0.1/tcp/1")
        await alice.disconnect(bob.peer_id)
        await until(lambda: not bob.connections())
    lines_of = {net: told(logged, f"net={net}$", logging.DEBUG) for net in ("alice", "bob")}
    for net, patterns in {
        "alice": [
            "^dialing /ip4/127.0.0.1/tcp/1 ",
            f"^connected to {bob.peer_id} at ",
            "^no connection to the address: ",
        ],
        "bob": [
            "^listening on ",
            "^accepting ",
            f"^connected from {alice.peer_id} at",
            "^ended with .*: the peer closed",
        ],
    }.items():
        for pattern in patterns:
            assert [one for one in lines_of[net] if re.search(pattern, one)], (net, pattern, lines_of[net])


async def test_strangers_do_not_fill_the_log(logged: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logged.set_level(logging.DEBUG, logger="stronghold_p2p")
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told_lines = lines.Lines("bob")
    for _ in range(10 * lines.AT_ONCE):
        told_lines.tell(AcceptFailed("192.0.2.7", ConnectionClosed("gone")))
    assert len(logged.messages) == lines.AT_ONCE
    now[0] += 1.0
    told_lines.tell(AcceptFailed("192.0.2.7", ConnectionClosed("gone")))
    assert logged.messages[-1] == f"turned away 192.0.2.7: gone net=bob without={9 * lines.AT_ONCE}"


async def test_defect_6_a_stream_is_waited_for_as_long_as_its_timeout_says() -> None:
    bob = Network(listen=[LOOPBACK], timeouts=Timeouts(ask=30))
    bob.firewall.set(Rule.ASK)

    @bob.firewall.on_ask
    async def slowly(_: object) -> bool:
        await asyncio.sleep(20)
        return True

    @bob.on_stream("/hello/1")
    async def hello(stream: Stream) -> None:
        await stream.write(b"hello")

    async with bob, Network() as alice:
        await alice.connect(bob.addresses[0])
        for protocols in (("/hello/1",), ("/none/1", "/hello/1")):
            async with alice.open_stream(bob.peer_id, *protocols, timeout=60) as stream:
                assert await stream.readexactly(5) == b"hello"
        async with alice.open_stream(bob.peer_id, "/hello/1", timeout=None, wait=True) as stream:
            assert stream.protocol == "/hello/1"
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded, match=r"^no word from the peer .* within 15 s$"):
            async with alice.open_stream(bob.peer_id, "/hello/1", timeout=15) as stream:
                await stream.read()
        with pytest.raises(DeadlineExceeded, match=r"within 10 s: raise Timeouts\.negotiate$"):
            async with alice.open_stream(bob.peer_id, "/hello/1") as stream:
                await stream.read()
        with pytest.raises(DeadlineExceeded, match=r"^no word from the peer .* within 15 s$"):
            await alice.open_stream(bob.peer_id, "/hello/1", timeout=15, wait=True)
        assert asyncio.get_running_loop().time() - began < 45
