"""What may be called from another thread, or while no event loop runs; docs/api.md has the table of it.

In such tests threads take real time, and a loop that has nothing to do waits for them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import CONNECTION, Firewall, Identity, Network, Opened, Rule, UsageError
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.firewall.entries import Content
from tests.peers import LOOPBACK, connected, mirror, network, never, until
from tests.test_cancellation import awaitables

DOCS = Path(__file__).parent.parent / "docs"
T = TypeVar("T")
NOBODY = Identity().peer_id


async def in_a_thread(call: Callable[[], T]) -> T:
    """What ``call`` gives where no event loop runs, while ours goes on."""
    return await asyncio.to_thread(call)


async def in_another_loop(call: Callable[[], Awaitable[T]]) -> T:
    """What comes of awaiting it in a loop of another thread."""

    async def wait() -> T:
        return await call()

    return await asyncio.to_thread(lambda: asyncio.run(wait()))


async def shut_out(bob: Network, alice: Network, change: Callable[[], object]) -> None:
    """``change``, in a thread, ends alice's connection wholly, and her request with it."""
    asking = asyncio.ensure_future(alice.request(bob.peer_id, "Ping", timeout=None))
    await until(lambda: bob.stats()["requests_in"])
    await in_a_thread(change)
    with pytest.raises(p2p.ConnectionClosed):
        await asking
    await until(lambda: not alice.connections())
    assert (bob.connections(), bob.is_connected(alice.peer_id)) == ((), False)
    await until(lambda: not any(bob.stats()[name] for name in ("inbound", "streams", "requests_in", "peers", "places")))


@pytest.mark.parametrize(
    "change",
    [
        lambda bob, alice: bob.firewall.ban(alice),
        lambda bob, alice: bob.firewall.ban("127.0.0.0/8"),
        lambda bob, alice: bob.firewall.set(Rule.REJECT, protocol=CONNECTION),
        lambda bob, alice: bob.firewall.set(Rule.REJECT, peer=alice, protocol=CONNECTION),
    ],
    ids=["peer", "subnet", "rule", "rule of the peer"],
)
@pytest.mark.tcp
async def test_b05_a_ban_from_a_thread_ends_the_connection(change: Callable[[Network, Any], object]) -> None:
    async with connected(bob := network(never)) as alice:
        await shut_out(bob, alice, lambda: change(bob, alice.peer_id))


@pytest.mark.parametrize("whom", ["peer", "subnet"])
def test_b05_a_ban_while_no_loop_runs_ends_the_connection_when_one_does(whom: str) -> None:
    """The input of the field notes; it left a connection that was closed and never over."""
    bob, alice = network(mirror), Network()

    async def ask() -> Any:
        return await alice.request(bob.addresses[0], "Ping", timeout=5)

    async def is_over() -> None:
        await until(lambda: not alice.connections() and not bob.connections())
        assert bob.stats()["inbound"] == 0
        with pytest.raises(p2p.P2PError):
            await ask()

    with asyncio.Runner() as runner:
        runner.run(bob.open())
        runner.run(alice.open())
        assert runner.run(ask()) == "Ping"
        bob.firewall.ban(alice.peer_id if whom == "peer" else "127.0.0.0/8")
        runner.run(is_over())
        bob.firewall.unban(alice.peer_id if whom == "peer" else "127.0.0.0/8")
        assert runner.run(ask()) == "Ping"

        async def back() -> Any:
            alice.on_request(mirror)
            alice.firewall.set(Rule.ALLOW)
            return await bob.request(alice.peer_id, "Back", timeout=5)

        assert runner.run(back()) == "Back"
        runner.run(alice.close())
        runner.run(bob.close())


async def test_b05_rules_from_a_thread_hold_at_once_and_streams_go_at_once() -> None:
    bob = network()

    @bob.on_stream("/stay/1")
    async def stay(stream: p2p.Stream) -> None:
        await stream.write(b"x")
        await stream.read()

    async with connected(bob) as alice, alice.open_stream(bob.peer_id, "/stay/1") as stream:
        assert await stream.readexactly(1) == b"x"

        def change() -> None:
            bob.firewall.set(Rule.REJECT, protocol="/stay/1")
            assert ({"direction": "in", "protocol": "/stay/1"}, Rule.REJECT) in bob.firewall.rules()

        await in_a_thread(change)
        with pytest.raises(p2p.StreamReset):
            await stream.read()
        assert alice.is_connected(bob.peer_id)
        assert await in_a_thread(lambda: bob.firewall.remove(protocol="/stay/1"))
        async with alice.open_stream(bob.peer_id, "/stay/1") as other:
            assert await other.readexactly(1) == b"x"


async def test_b05_a_file_is_read_and_written_in_threads(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('version = 1\n[[rules]]\nrule = "allow"\n', encoding="utf-8")
    bob = Network(listen=[LOOPBACK], firewall=await in_a_thread(lambda: Firewall.load(path, watch=False)))
    bob.on_request(mirror)
    async with connected(bob) as alice:
        assert await alice.request(bob.peer_id, "Ping") == "Ping"
        path.write_text(f'version = 1\nbanned = ["{alice.peer_id}"]\n', encoding="utf-8")
        await in_a_thread(bob.firewall.reload)
        await until(lambda: not alice.connections())
        assert not bob.firewall.rules()
        assert bob.firewall.banned == frozenset([alice.peer_id])
        bob.firewall.unban(alice.peer_id)
        bob.firewall.set(Rule.ALLOW)
        await in_a_thread(bob.firewall.save)
        assert await alice.request(bob.addresses[0], "Ping") == "Ping"
    again = Firewall.load(path)
    assert again.rules() == bob.firewall.rules()
    assert not again.banned
    again._follow(Content())  # what was read before somebody else has read it again comes too late
    assert again.rules() == bob.firewall.rules()


async def test_b05_a_question_is_answered_by_a_rule_from_a_thread() -> None:
    bob, asked = network(mirror, rule=Rule.ASK), asyncio.Event()

    @bob.firewall.on_ask
    async def approve(attempt: p2p.Attempt) -> bool:
        asked.set()
        await asyncio.Event().wait()
        return False

    async with connected(bob) as alice:
        asking = asyncio.ensure_future(alice.request(bob.peer_id, "Ping", timeout=5))
        await asked.wait()
        await in_a_thread(lambda: bob.firewall.set(Rule.ALLOW, peer=alice.peer_id))
        assert await asking == "Ping"


async def test_b05_a_dial_is_given_up_for_a_ban_from_a_thread() -> None:
    async with Network() as alice:
        silent = socket.create_server(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        dial = asyncio.ensure_future(alice.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}", timeout=5))
        await until(lambda: alice.stats()["pending_out"])
        await in_a_thread(lambda: alice.firewall.ban(NOBODY))
        with pytest.raises(p2p.DialError, match="our own firewall"):
            await dial
        silent.close()


async def test_b05_one_firewall_of_networks_in_two_loops() -> None:
    """The change comes in one loop, and ends what belongs to the other."""
    firewall = Firewall()
    firewall.set(Rule.ALLOW)
    there, gone, where = threading.Event(), threading.Event(), list[str]()
    async with Network() as alice:

        async def other() -> None:
            bob = Network(listen=[LOOPBACK], firewall=firewall)
            bob.on_request(mirror)
            async with bob:
                where.append(str(bob.addresses[0]))
                there.set()
                await until(lambda: bob.connections())
                await until(lambda: not bob.connections())
                gone.set()

        thread = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(other())))
        await asyncio.to_thread(there.wait, 5)
        async with Network(listen=[LOOPBACK], firewall=firewall):
            assert await alice.request(where[0], "Ping") == "Ping"
            firewall.ban(alice.peer_id)
            await thread
        assert gone.is_set()


@pytest.mark.speed
@pytest.mark.usefixtures("in_the_midst")
async def test_b05_rules_change_in_threads_while_requests_are_judged() -> None:
    """Threads change what does not concern alice; none of her requests is judged wrongly, and no table breaks."""
    bob = network(mirror)
    bob.firewall.set(Rule.REJECT, subnet="198.51.100.0/24")
    stop = threading.Event()

    def change(number: int) -> int:
        count = 0
        while not stop.is_set():
            count += 1
            peer, subnet = (
                Identity.from_seed(bytes([number, count % 200]) * 16).peer_id,
                f"10.{number}.{count % 200}.0/{24 + count % 8}",
            )
            bob.firewall.set(Rule.REJECT, subnet=re.sub(r"\.0/.*", ".0/24", subnet))
            bob.firewall.set(Rule.ALLOW, peer=peer)
            bob.firewall.ban(f"10.{number}.{count % 200}.128/{25 + count % 8}")
            bob.book.add(peer, f"/ip4/10.0.0.{number}/tcp/{count % 200 + 1}")
            bob.firewall.unban(f"10.{number}.{count % 200}.128/{25 + count % 8}")
            bob.firewall.remove(peer=peer)
            bob.book.remove(peer)
            assert bob.firewall.rules()
            assert bob.stats()
            assert bob.connections()
            assert bob.book.peers() is not None
        return count

    async with connected(bob) as alice:
        async with asyncio.TaskGroup() as group:
            changing = [group.create_task(asyncio.to_thread(change, number)) for number in range(3)]
            try:
                for number in range(60):
                    answers = await asyncio.gather(*(alice.request(bob.peer_id, [number, one]) for one in range(5)))
                    assert answers == [[number, one] for one in range(5)]
                    bob.firewall.set(Rule.ALLOW, protocol=f"/x/{number}")
            finally:
                stop.set()
        assert all(task.result() for task in changing)
        assert len(bob.firewall.banned) <= 3


@pytest.fixture
def in_the_midst() -> Iterator[None]:
    """Threads take turns in the midst of everything."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("in_the_midst")
def test_b05_what_threads_change_at_once_is_whole_afterwards() -> None:
    """A count that two threads change at once would lose one of the changes: then a ban would not be found any more."""
    firewall, book = Firewall(), p2p.AddressBook()
    peers = [Identity.from_seed(bytes([number]) * 32).peer_id for number in range(4)]

    def change(number: int) -> None:
        for turn in range(150):
            for length in (24, 25, 26):
                firewall.ban(f"10.{number}.{turn}.0/{length}")
                firewall.unban(f"10.{number}.{turn}.0/{length}")
            firewall.ban(f"10.{number}.{turn}.64/26")
            firewall.set(Rule.ALLOW, peer=peers[number], subnet=f"10.{number}.{turn}.0/25")
            book.add(peers[0], f"/ip4/10.0.0.{number}/tcp/{turn % 15 + 1}")
            book.remove(peers[0], f"/ip4/10.0.0.{number}/tcp/{(turn + 7) % 15 + 1}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, range(4)))
    for number in range(4):
        for turn in range(150):
            told = [firewall.decide(_from(peers[number], f"10.{number}.{turn}.{host}")) for host in (1, 65, 129)]
            assert told == [Rule.ALLOW, Rule.REJECT, None]
    for number in range(4):
        for turn in range(150):
            firewall.unban(f"10.{number}.{turn}.64/26")
            firewall.remove(peer=peers[number], subnet=f"10.{number}.{turn}.0/25")
    assert firewall._entries._lengths == {4: {}, 6: {}}
    assert book._store._count == len(book.addresses(peers[0])) == 4 * 8
    book.remove(peers[0])
    assert (book._store._count, book._store._size) == (0, 0)


def _from(peer: p2p.PeerId, host: str) -> p2p.Attempt:
    address = parse(f"/ip4/{host}/tcp/1")
    return p2p.Attempt(peer=peer, protocol="/x/1", direction="in", address=address, deadline=0.0)


async def test_b05_protected_the_book_and_handlers_from_a_thread() -> None:
    async with connected(bob := network()) as alice:

        def change() -> None:
            alice.protected.add(bob.peer_id)
            alice.book.add(NOBODY, "/ip4/192.0.2.1/tcp/1")
            assert alice.book.addresses(NOBODY) == (parse("/ip4/192.0.2.1/tcp/1"),)
            bob.on_request(mirror)
            bob.on_stream("/late/1")(never)
            alice.firewall.on_ask(never)
            alice.firewall.on_no_rule(never)
            assert alice.is_connected(bob.peer_id)
            assert alice.connections(bob.peer_id)
            assert bob.addresses

        await in_a_thread(change)
        assert await alice.request(bob.peer_id, "Ping") == "Ping"
        assert "/late/1" in (await alice.identify(bob.peer_id)).protocols


async def test_b05_events_are_followed_and_left_from_a_thread() -> None:
    bob, told = network(), list[p2p.Event]()
    async with bob, Network() as alice:
        await in_a_thread(lambda: bob.on_event(told.append))
        events = await in_a_thread(lambda: bob.events(overflow="wait", buffer=2))
        await alice.connect(bob.addresses[0])
        await until(lambda: any(isinstance(event, Opened) for event in told))
        reading = asyncio.ensure_future(_all(events))
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="another event loop"):
            await in_another_loop(lambda: anext(events))
        await in_a_thread(events.close)
        assert any(isinstance(event, Opened) for event in await reading)
        assert bob.stats()["held"] == 0


async def _all(events: p2p.Events) -> list[p2p.Event]:
    return [event async for event in events]


async def test_what_belongs_to_a_loop_is_a_usage_error_elsewhere_and_changes_nothing() -> None:
    async with connected(bob := network(mirror)) as alice:
        kept, connection, (listener,) = alice.keep(bob.peer_id), alice.connections()[0], bob.listeners
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: alice.request(bob.peer_id, "x"),
            lambda: alice.request(bob.peer_id, "x", retry=True),
            lambda: alice.connect(bob.peer_id),
            lambda: alice.disconnect(bob.peer_id),
            lambda: alice.ping(bob.peer_id),
            lambda: alice.identify(bob.peer_id),
            lambda: alice.listen(LOOPBACK),
            lambda: alice.serve_forever(),
            lambda: alice.open_stream(bob.peer_id, "/x/1").__aenter__(),
            lambda: alice.close(),
            lambda: alice.__aexit__(None, None, None),
            lambda: kept.connected(),
            lambda: kept.__aexit__(None, None, None),
            lambda: connection.close(),
            lambda: listener.close(),
        ]
        for call in calls:
            with pytest.raises(UsageError, match="another event loop"):
                await in_another_loop(call)
        with pytest.raises(UsageError, match="another event loop"):
            await in_a_thread(lambda: alice.keep(bob.peer_id))
        assert await alice.request(bob.peer_id, "x") == "x"
        assert alice.connections() == (connection,)
        assert bob.listeners == (listener,)
        await in_a_thread(kept.stop)


async def test_a_coroutine_may_be_made_in_a_thread_and_run_here() -> None:
    async with connected(bob := network(mirror)) as alice:
        loop = asyncio.get_running_loop()

        def call() -> Any:
            return asyncio.run_coroutine_threadsafe(alice.request(bob.peer_id, "Ping", timeout=5), loop).result(5)

        assert await in_a_thread(call) == "Ping"


# ---------------------------------------------------------------------- open and close


async def test_open_and_close() -> None:
    bob = network(mirror)
    assert await bob.open() is bob
    assert len(bob.addresses) == 1
    with pytest.raises(UsageError, match="opened once"):
        await bob.open()
    async with Network() as alice:
        assert await alice.request(bob.addresses[0], "Ping") == "Ping"
    await bob.close()
    await bob.close()
    assert not bob.addresses
    with pytest.raises(UsageError, match="opened once"):
        await bob.open()
    never_open = Network()
    await never_open.close()
    with pytest.raises(UsageError, match="opened once"):
        await never_open.open()


async def test_open_that_fails_leaves_nothing() -> None:
    bob = Network(listen=[LOOPBACK, "/ip4/192.0.2.1/tcp/1"])  # an address that is not ours
    with pytest.raises(p2p.ListenError):
        await bob.open()
    assert bob.listeners == ()


# ---------------------------------------------------------------------- the table


def test_each_public_call_has_its_row() -> None:
    """docs/api.md, "Threads and event loops": everything that can be awaited, and every method, is in one row."""
    text = (
        (DOCS / "api.md").read_text(encoding="utf-8").partition("## Threads and event loops")[2].partition("\n## ")[0]
    )
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", text))))
    calls = {name.rpartition(".")[2] for name in awaitables()}
    for kind in (Network, Firewall, p2p.AddressBook, Identity, p2p.Keeping, p2p.Events):
        calls |= {name for name, thing in vars(kind).items() if callable(thing) or isinstance(thing, staticmethod)}
    calls |= {name for base in Firewall.__mro__[1:-1] for name in vars(base)}
    assert {name for name in calls if not name.startswith("_")} - named == set()
