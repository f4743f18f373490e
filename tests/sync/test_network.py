"""The network of programs without an event loop: the same calls, the same errors, from any thread."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import (
    ConnectionClosed,
    DeadlineExceeded,
    Judged,
    ListenerEnded,
    Opened,
    PartsProtocol,
    Rejected,
    Request,
    RequestProtocol,
    Rule,
    Timeouts,
    UsageError,
    messages,
    sync,
)
from stronghold_p2p.sync import Network, Stream
from stronghold_p2p.sync.loop_thread import LoopThread
from tests.cores import ROOT

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
WORD: RequestProtocol[str, int] = RequestProtocol("/word/1.0.0", request=messages(str), response=messages(int))


@contextmanager
def pair(**options: Any) -> Iterator[tuple[Network, Network]]:
    bob = Network(listen=[LOOPBACK], name="bob", **options)
    bob.firewall.set(Rule.ALLOW)
    bob.on_request(lambda request: request.message)
    with bob, Network() as alice:
        yield alice, bob


# What there is here under another name, or only for who has an event loop.
OTHERWISE = {"to_asyncio", "aclose"}


def test_the_calls_are_those_of_the_other_network() -> None:
    for name in sync.__all__:
        kind, other = getattr(sync, name), getattr(p2p, name)
        names = {one for one in dir(other) if not one.startswith("_")}
        names -= OTHERWISE
        assert names <= set(dir(kind)), name
        assert (kind.__doc__ or "").strip()
        for one in names:
            mine, theirs = getattr(kind, one), getattr(other, one)
            assert (mine.__doc__ or "").strip(), one
            if inspect.isfunction(mine):
                assert list(inspect.signature(mine).parameters) == list(inspect.signature(theirs).parameters), one
    options = inspect.signature(p2p.Network).parameters.keys()
    assert list(inspect.signature(Network).parameters) == [*options, "threads"]
    made, of = Network(), p2p.Network()
    assert {one for one in vars(of) if not one.startswith("_")} <= set(vars(made))


def test_everything_once() -> None:
    with pair() as (alice, bob):
        to = bob.addresses[0]
        assert alice.request(to, {"Say": "hi"}) == {"Say": "hi"}
        assert alice.request(bob.peer_id, 1, timeout=5, retry=True) == 1
        connection = alice.connect(to)
        assert (connection.peer, connection.closed, connection.error) == (bob.peer_id, False, None)
        assert connection == alice.connections(bob.peer_id)[0]
        assert len({connection, *alice.connections()}) == 1
        assert (connection.direction, connection.remote_address) == ("out", bob.listeners[0].addresses[0])
        assert connection.public_key == bob.identity.public_key
        assert connection.local_address
        assert connection.streams >= 0
        assert alice.ping(bob.peer_id) > 0
        assert connection.latency is None or connection.latency > 0
        assert alice.identify(bob.peer_id).peer == bob.peer_id
        assert alice.is_connected(bob.peer_id)
        assert str(bob.peer_id) in repr(connection)
        assert "bob" in repr(bob)
        alice.protected.add(bob.peer_id)
        listener = alice.listen(LOOPBACK)
        assert listener.addresses
        listener.close()
        assert alice.listeners == ()
        assert alice.stats()["outbound"] == 1
        connection.close()
        assert connection.closed
        assert isinstance(connection.error, ConnectionClosed)
        assert alice.disconnect(bob.peer_id) == 0
        with alice.keep(to) as kept:
            found = kept.connected()
            assert found.peer == bob.peer_id
            assert kept.connection == found
            assert kept.error is None
        kept.stop()


def test_handlers_run_in_threads_and_may_block_and_ask_themselves() -> None:
    together = threading.Barrier(3)
    with pair() as (alice, bob):

        @bob.on_request(WORD)
        def length(request: Request[str]) -> int:
            together.wait(5)  # all three are at work at once
            assert alice.request(bob.peer_id, "from a handler") == "from a handler"
            return len(request.message)

        with ThreadPoolExecutor(3) as threads:
            asked = [threads.submit(alice.request, bob.addresses[0], "x" * n, WORD) for n in range(3)]
            assert [one.result() for one in asked] == [0, 1, 2]


def test_coroutine_functions_run_in_the_network_s_thread() -> None:
    with pair() as (alice, bob):
        seen: list[threading.Thread] = []

        @bob.on_request(WORD)
        async def length(request: Request[str]) -> int:
            seen.append(threading.current_thread())
            with pytest.raises(UsageError, match="own thread"):
                bob.ping(request.peer)
            with pytest.raises(UsageError, match="own thread"):
                bob.close()
            return len(request.message)

        assert alice.request(bob.addresses[0], "four", WORD) == 4
        assert seen[0].name == "bob"


def test_the_errors_are_the_same() -> None:
    with pair() as (alice, bob):

        @bob.on_request(WORD)
        def refuse(request: Request[str]) -> int:
            raise Rejected

        with pytest.raises(Rejected) as caught:
            alice.request(bob.addresses[0], "x", WORD)
        assert caught.value.peer == bob.peer_id
        with pytest.raises(p2p.ConfigError):
            alice.request("nonsense", "x")
        bob.firewall.ban(alice.peer_id)  # from this thread
        with pytest.raises(ConnectionClosed):
            alice.request(bob.addresses[0], "x")


def test_streams() -> None:
    with pair() as (alice, bob):

        @bob.on_stream("/upper/1.0.0")
        def upper(stream: Stream) -> None:
            while (message := stream.read_message()) is not None:
                stream.write_message(message.upper())
            for chunk in stream:
                raise AssertionError(chunk)

        with alice.open_stream(bob.addresses[0], "/upper/1.0.0", timeout=5) as stream:
            assert (stream.peer, stream.connection.peer) == (bob.peer_id, bob.peer_id)
            stream.write_message(b"hello")
            assert stream.protocol in {"", "/upper/1.0.0"}
            assert stream.read_message() == b"HELLO"
            stream.write(b"\x02ab")
            assert stream.readexactly(3) == b"\x02AB"
            stream.close_write()
            assert stream.read() == b""
            assert stream.read_to_end() == b""
        stream.close()
        other = alice.open_stream(bob.peer_id, "/upper/1.0.0")
        other.reset(7)
        with pytest.raises(p2p.StreamReset):
            other.read()
        with pytest.raises(p2p.UnsupportedProtocol), alice.open_stream(bob.peer_id, "/none/1") as none:
            none.read()


def test_one_thread_reads_while_another_one_writes() -> None:
    size, pieces = 10_000, 100  # more than the windows of the stream hold
    with pair() as (alice, bob):

        @bob.on_stream("/echo/1.0.0")
        def echo(stream: Stream) -> None:
            for chunk in stream:
                stream.write(chunk)

        with alice.open_stream(bob.addresses[0], "/echo/1.0.0", timeout=5) as stream, ThreadPoolExecutor(1) as threads:
            reading = threads.submit(stream.read_to_end, 2 * size * pieces)
            for number in range(pieces):
                stream.write(bytes((number,)) * size)
            stream.close_write()
            assert reading.result() == b"".join(bytes((number,)) * size for number in range(pieces))


async def test_a_call_that_holds_up_an_event_loop_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with pair() as (alice, bob):
        for _ in range(2):
            assert alice.request(bob.addresses[0], "x") == "x"
        await asyncio.to_thread(alice.request, bob.addresses[0], "x")
    told = [record for record in caplog.records if "holds up the event loop" in record.getMessage()]
    assert [(record.levelname, record.name) for record in told] == [("WARNING", "stronghold_p2p.network")] * 2
    caplog.clear()


def test_answers_in_parts() -> None:
    count: PartsProtocol[int, int] = PartsProtocol("/count/1.0.0", request=messages(int), part=messages(int))
    with pair() as (alice, bob):

        @bob.on_request(count)
        def numbers(request: Request[int]) -> Iterator[int]:
            yield from range(request.message)

        with alice.request_parts(bob.addresses[0], 3, count) as parts:
            assert list(parts) == [0, 1, 2]
            assert (parts.count, parts.size > 0) == (3, True)
        with alice.request_parts(bob.addresses[0], 3, count, part_timeout=5) as some:
            assert next(some) == 0
        some.close()


def test_interceptors() -> None:
    with pair() as (alice, bob):

        @bob.intercept
        async def around(call: Any, go_on: Any) -> Any:
            return {"around": await go_on(call)}

        assert alice.request(bob.addresses[0], "x") == {"around": "x"}


def test_lines() -> None:
    with pair() as (alice, bob):

        @bob.on_stream("/lines/1")
        def lines(stream: Stream) -> None:
            stream.write(stream.readline() + stream.readuntil(b";"))

        with alice.open_stream(bob.addresses[0], "/lines/1") as stream:
            stream.write(b"a\nb;")
            assert stream.readexactly(4) == b"a\nb;"


def test_events_and_callbacks() -> None:
    told: list[p2p.Event] = []
    with pair() as (alice, bob):
        bob.on_event(told.append)
        with bob.events() as events:
            alice.request(bob.addresses[0], "x")
            assert any(isinstance(event, Opened) for event in events if not isinstance(event, Judged))
        assert list(events)  # what has happened until then
        rest = bob.events()
        late = bob.events()
        closing = threading.Thread(target=bob.close)
        closing.start()
        assert any(isinstance(event, ListenerEnded) for event in rest)  # and then it ends
        closing.join()
        assert any(isinstance(event, ListenerEnded) for event in [*late])  # when there is no loop any more
        assert next(late, None) is None
    assert any(isinstance(event, Judged) for event in told)


def test_before_and_after_it_is_open() -> None:
    alice = Network()
    with pytest.raises(UsageError, match="not open"):
        alice.ping(LOOPBACK)
    with pytest.raises(UsageError, match="not open"):
        alice.serve_forever()
    assert alice.open() is alice
    with pytest.raises(UsageError, match="once"):
        alice.open()
    alice.close()
    alice.close()
    with pytest.raises(UsageError, match="closed"):
        alice.ping(LOOPBACK)
    alice.serve_forever()  # returns at once
    Network().close()


def test_opening_that_fails_leaves_no_thread() -> None:
    with pytest.raises(p2p.ListenError):
        Network(listen=["/ip4/192.0.2.1/tcp/1"]).open()


def test_who_waits_as_it_closes_is_told() -> None:
    begun = threading.Event()
    with pair(timeouts=Timeouts(close=0.1)) as (alice, bob), ThreadPoolExecutor(1) as threads:

        @bob.on_request(WORD)
        async def never(request: Request[str]) -> int:
            begun.set()
            await _forever()
            return 0

        asked = threads.submit(alice.request, bob.addresses[0], "x", WORD, timeout=None)
        assert begun.wait(5)
        waiting = threads.submit(bob.serve_forever)
        alice.close()
        with pytest.raises(ConnectionClosed):
            asked.result(5)
        bob.close()
        waiting.result(5)


async def _forever() -> None:
    await asyncio.Event().wait()


def test_ctrl_c_cancels_what_the_main_thread_waits_for() -> None:
    begun, cancelled = threading.Event(), threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pair() as (alice, bob):

            @bob.on_event
            def left(event: p2p.Event) -> None:
                if isinstance(event, p2p.RequestFailed):
                    cancelled.set()

            @bob.on_request(WORD)
            async def never(request: Request[str]) -> int:
                begun.set()
                await _forever()
                return 0

            def press() -> None:
                begun.wait(5)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

            threading.Thread(target=press).start()
            with pytest.raises(KeyboardInterrupt):
                alice.request(bob.addresses[0], "x", WORD, timeout=None)
            assert cancelled.wait(5)
            assert alice.request(bob.peer_id, "works") == "works"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_deadline() -> None:
    with pair() as (alice, bob):
        stay = threading.Event()

        @bob.on_request(WORD)
        def wait(request: Request[str]) -> int:
            stay.wait(5)
            return 0

        with pytest.raises(DeadlineExceeded):
            alice.request(bob.addresses[0], "x", WORD, timeout=0.05)
        stay.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_process_that_was_forked_it_is_a_usage_error() -> None:
    loop = LoopThread("forked")
    loop._process = os.getppid()
    with pytest.raises(UsageError, match="after the fork"):
        loop.check()
    loop.stop()  # nothing that belongs to the other process
    assert loop._thread.is_alive()
    loop._process = os.getpid()
    loop.stop()
    assert not loop._thread.is_alive()


AT_EXIT = """
from stronghold_p2p import Rule
from stronghold_p2p.sync import Network
bob = Network(listen=["/ip4/127.0.0.1/tcp/0"]).open()
bob.on_event(lambda event: print(type(event).__name__, flush=True))
alice = Network().open()
alice.connect(bob.addresses[0])
{end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit", "raise KeyboardInterrupt", "bob.close()"])
def test_what_is_open_when_the_interpreter_ends_is_closed(end: str) -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", AT_EXIT.format(end=end)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert {"Ended", "ListenerEnded"} <= set(done.stdout.split())
    assert "Warning" not in done.stderr


def test_it_is_loaded_only_when_it_is_used() -> None:
    code = "import sys, stronghold_p2p; print([n for n in sys.modules if n.startswith('stronghold_p2p.sync')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_no_function_is_told_as_by_the_other_network() -> None:
    def raised(register: Callable[[Any], Any]) -> type[BaseException] | None:
        try:
            register(5)
        except Exception as error:
            return type(error)
        return None

    for name in ("on_request", "on_event"):
        assert raised(getattr(Network(), name)) == raised(getattr(p2p.Network(), name))
    assert raised(Network().on_stream("/x/1")) == raised(p2p.Network().on_stream("/x/1"))
