"""Hostile row 113: a fault of ours in whatever the loop calls. At most its own connection ends; the loop hears nothing.

Every place where the package hands something to the event loop is found in its syntax trees. Each has a scenario that
breaks it once, or a reason why nothing in it can fail. The leak check sees that nothing reaches the loop's exception
handler, and that no exception is "never retrieved".
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stronghold_p2p import Attempt, Connection, DialError, Firewall, Network, P2PError, Rule, Stream, Timeouts
from stronghold_p2p.announcing.observations import Observations
from stronghold_p2p.connection.handlers import Handlers
from stronghold_p2p.discovery import mdns
from stronghold_p2p.events.hub import Hub
from stronghold_p2p.firewall.asking.firewall import file_of
from stronghold_p2p.firewall.asking.rules_file import RulesFile
from stronghold_p2p.firewall.limits.gate import Gate
from stronghold_p2p.mdns.core import Mdns
from stronghold_p2p.muxing.yamux_muxer import YamuxMuxer
from stronghold_p2p.protocols import identify_messages, observing
from stronghold_p2p.resolving.nameservers.resolver import Resolver
from stronghold_p2p.streams import waiter
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm import swarm as swarms
from stronghold_p2p.swarm.dialer import Dialer
from stronghold_p2p.swarm.gatekeeper import Gatekeeper
from stronghold_p2p.swarm.listeners import LiveListener
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.proxy import ProxyWire
from stronghold_p2p.transport.shared_port import SharedWire
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.tls_wire import TlsWire
from stronghold_p2p.transport.upgrade import UpgradeSettings
from stronghold_p2p.transport.upgrading import UpgradeRunner
from stronghold_p2p.transport.websocket_opening import ClientOpening, ServerOpening
from stronghold_p2p.transport.websocket_wire import WebSocketWire
from stronghold_p2p.websocket.frames import FrameReader
from stronghold_p2p.yamux.session import LAST_STREAM_ID, WORN, Session
from tests.inside import muxer, session
from tests.peers import ECHO, LOOPBACK, echo, mirror, network, until
from tests.support.certificates import certified
from tools import house

HANDS_OVER = re.compile(r"create_task|ensure_future|call_(soon(_threadsafe)?|later|at)|add_done_callback")
# Those that lead further.
CALLED_BY_ASYNCIO = {"connection_made", "buffer_updated", "connection_lost", "resume_writing", "datagram_received"}
PROTOCOLS = {"transport.socket_wire", "discovery.mdns"}


def places() -> Iterator[str]:
    """``module.function`` of each place where something is given to the loop, or where a wire calls its user, which
    must not raise (seams.py). The command line has a loop of its own.
    """
    for path in house.modules():
        if path.parent.name == "cli":
            continue
        module = house.name(path).removeprefix("stronghold_p2p.")
        for function in house.functions(path):
            named = [node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)]
            made = [ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)]
            if (
                any(map(HANDS_OVER.fullmatch, named))
                or "asyncio.Task" in made
                or (module in PROTOCOLS and function.name in CALLED_BY_ASYNCIO)
                or (module.startswith(("transport.", "muxing.")) and function.name == "received")
            ):
                yield f"{module}.{function.name}"


HARMLESS = {
    "relay.client.place.begin": "the task catches what fails in a try, and the next one comes",
    "relay.service.relay._look_at": "each circuit is ended by a step of its own, whatever fails before it",
    "keeping.__init__": "a task that logs its faults, and tries again (tests/test_keeping.py breaks it)",
    "keeping.keep": "forgets what has ended",
    "sync.loop_thread.stop": "sets an event",
    "swarm.swarm.leave_behind": "forgets a task that has ended",
    "muxing.yamux_muxer._send": "goes on as ``received`` does",
    "muxing.yamux_muxer._take_turns": "goes on as ``received`` does",
    "streams.waiter.arriving": "forgets a time",
    "streams.waiter.add": "a step of a task, whose faults are the task's",
    "streams.waiter.set": "a step of a task, whose faults are the task's",
    "streams.asyncio_pair._read_on": "what fails is told to asyncio's reader and writer",
    "streams.asyncio_pair._write_on": "what fails is told to asyncio's reader and writer",
    "streams.asyncio_pair._lose": "asyncio's own protocol hears of the end",
    "request_response.parts._forget": "resets a stream, as the end of each handler does",
    "streams.aside._next": "sets a future, and gives the thread its next work",
    "connection.handlers.cancel": "cancels tasks",
    "connection.handlers.left": "looks again, and tells an intake of the end",
    "request_response.client._send_much": "a read and a write, whose faults are the request's",
    "protocols.ping._measure": "closes one stream, as the end of each handler does",
    "firewall.asking.questions.start": "the hook's own faults are answers; what follows counts",
    "firewall.asking.questions.__init__": "settles the attempts that wait, which sets futures",
    "firewall.asking.questions.wait": "sets a future",
    "transport.busy_poll.write": "looks at the socket, and delivers as ``buffer_updated`` does",
    "transport.socket_wire.connection_lost": "what was open is counted no more",
    "discovery.mdns.connection_made": "keeps a socket",
    "discovery.mdns.connection_lost": "forgets a socket",
    "discovery.mdns.resume_writing": "keeps that there is room",
    "transport.tls_wire.resume": "delivers as ``received`` does",
    "transport.tls_wire._close": "the wire below is aborted, nothing else",
    "transport.websocket_wire._end": "the wire below is aborted, nothing else",
    "transport.websocket_wire._rest": "the wire below reads on, and delivers as ``received`` does",
    "transport.socket_wire.resume": "delivers as ``buffer_updated`` does",
    "transport.tcp.stop": "closes asyncio's own server",
    "transport.upgrading.refuse": "the transport is aborted, nothing else",
    "logs.tell": "a line of the log, a minute later",
    "logs._count": "a line of the log, a minute later",
    "swarm.dial.news": "wakes the dial",
    "resolving.nameservers.resolver._join": "the faults of a look-up are those of who waits for it",
    "transport.upgrading.__init__": "gives the place back and tells of it",
}


@dataclass
class Fault:
    """How often what is broken has been called."""

    times: int = 0


@dataclass
class Scene:
    """Alice and carol are connected to bob; ``alice`` is who meets the fault."""

    bob: Network
    alice: Network
    carol: Network
    patch: pytest.MonkeyPatch

    @property
    def connection(self) -> Connection:
        """Alice's to bob: the one that may end."""
        return self.alice.connections(self.bob.peer_id)[0]

    def breaks(self, where: Any, name: str, only: object = None) -> Fault:
        """It raises the first time that it is called (by ``only`` this one), and is what it was afterwards."""
        fault, original = Fault(), getattr(where, name)

        def broken(*arguments: Any, **options: Any) -> Any:
            if only is None or arguments[0] is only:
                fault.times += 1
                if fault.times == 1:
                    raise ZeroDivisionError("ours")
            return original(*arguments, **options)

        self.patch.setattr(where, name, broken)
        return fault

    async def meets(self, fault: Fault, call: Awaitable[Any]) -> None:
        """The call fails, or does not notice; it does not wait for ever."""
        with contextlib.suppress(P2PError, ZeroDivisionError):
            async with asyncio.timeout(5):
                await call
        await until(lambda: fault.times)


def serving() -> Network:
    one = network(mirror, timeouts=Timeouts(keepalive=0.2))
    one.on_stream(ECHO)(echo)
    return one


Play = Callable[[Scene], Awaitable[None]]
PLAYS: list[Play] = []
FAULTS: set[str] = set()


def breaks(*where: str) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        PLAYS.append(play)
        FAULTS.update(where)
        return play

    return register


@breaks("loops.at_home", "loops.call")
async def a_change_of_the_rules_from_a_thread(one: Scene) -> None:
    fault = one.breaks(Gatekeeper, "recheck")
    await asyncio.to_thread(one.bob.firewall.ban, "203.0.113.0/24")
    await until(lambda: fault.times)


def test_every_place_is_broken_or_harmless() -> None:
    assert set(places()) == FAULTS | set(HARMLESS)
    assert not FAULTS & set(HARMLESS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "play" in metafunc.fixturenames:
        metafunc.parametrize("play", PLAYS, ids=lambda play: play.__name__)


async def test_a_fault_of_ours(play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with serving() as bob, serving() as alice, serving() as carol:
        kept = await carol.connect(bob.addresses[0])
        await alice.request(bob.addresses[0], "before")
        await until(lambda: not bob.stats()["streams"] and not alice.stats()["streams"])
        await play(Scene(bob, alice, carol, monkeypatch))
        assert not kept.closed  # somebody else's connection lives
        assert await carol.request(bob.peer_id, "others") == "others"
        assert await alice.request(bob.addresses[0], "afterwards") == "afterwards"
        async with Network() as dave:
            assert await dave.request(bob.addresses[0], "new ones") == "new ones"
        await until(lambda: not bob.stats()["pending_in"] and not alice.stats()["pending_out"])
    assert len(caplog.records) <= 2
    assert all(record.exc_info is not None for record in caplog.records)
    caplog.clear()


@breaks("swarm.swarm.worn")
async def _a_fresh_connection(scene: Scene) -> None:
    fault = scene.breaks(scene.alice._swarm.dialer, "dial")
    session(scene.connection)._next_id = LAST_STREAM_ID - WORN + 2
    await scene.meets(fault, scene.alice.request(scene.bob.peer_id, "on the worn one"))
    assert not scene.connection.closed


@breaks("swarm.dialer._start")
async def dial(one: Scene) -> None:
    """The task of a dial."""
    await one.meets(one.breaks(Dialer, "_race"), one.alice.connect(one.carol.addresses[0]))


@breaks("swarm.dialer._start")
async def end_of_a_dial(one: Scene) -> None:
    """What follows from it: who waits hears of the dial all the same."""
    closing = one.breaks(Dialer, "_close_unwanted")
    assert (await one.alice.connect(one.carol.addresses[0])).peer == one.carol.peer_id
    assert closing.times
    telling = one.breaks(Hub, "failed", one.alice._swarm.hub)
    with pytest.raises(DialError):
        await one.alice.connect("/ip4/127.0.0.1/tcp/1")
    assert telling.times


@breaks("swarm.dialer._begin")
async def attempt(one: Scene) -> None:
    """The task of one address."""
    await one.meets(one.breaks(TcpTransport, "dial"), one.alice.connect(one.carol.addresses[0]))


@breaks("swarm.dialer._look_up_names", "swarm.dialer._look_up", "swarm.dialer.found")
async def look_up(one: Scene) -> None:
    """The task of one name, and where it leads."""
    port = str(one.carol.addresses[0]).split("/")[4]
    await one.meets(one.breaks(Resolver, "resolve"), one.alice.connect(f"/dns4/localhost/tcp/{port}"))
    await one.meets(one.breaks(Dialer, "_join"), one.alice.connect(f"/dns4/localhost/tcp/{port}"))


@breaks("transport.socket_wire.connection_made")
async def socket_is_there(one: Scene) -> None:
    """The socket that we dialed, and the one that we accepted."""
    await one.meets(one.breaks(UpgradeSettings, "outbound"), one.alice.connect(one.carol.addresses[0]))
    await one.meets(one.breaks(Gate, "admit"), one.alice.connect(one.carol.addresses[0]))


@breaks("transport.socket_wire.buffer_updated", "transport.upgrading.received")
async def bytes_arrive(one: Scene) -> None:
    """In the upgrade, and in the session."""
    await one.meets(one.breaks(Swarm, "establish"), one.alice.connect(one.carol.addresses[0]))
    await one.meets(
        one.breaks(Session, "acknowledged", session(one.connection)), one.alice.request(one.bob.peer_id, "x")
    )


@breaks("muxing.yamux_muxer.notify", "muxing.yamux_muxer.received", "transport.socket_wire.resume_writing")
async def turn_that_sends(one: Scene) -> None:
    fault = one.breaks(Session, "data_to_send", session(one.connection))
    await one.meets(fault, one.alice.request(one.bob.peer_id, "x"))


@breaks("muxing.yamux_muxer.received")
async def who_goes_on(one: Scene) -> None:
    """A handler that is to start at the end of the callback which received."""
    await one.meets(one.breaks(Handlers, "_start"), one.alice.request(one.bob.peer_id, "x"))


@breaks("streams.waiter._run_soon")
async def who_goes_on_later(one: Scene) -> None:
    """The second of three handlers that are to start then, and has to wait for its slice."""
    fault, start = Fault(), Handlers._start

    def second(self: Handlers, stream: LiveStream) -> None:
        fault.times += 1
        if fault.times == 2:
            raise ZeroDivisionError("ours")
        start(self, stream)

    one.patch.setattr(waiter, "SLICE", 0.0)
    one.patch.setattr(Handlers, "_start", second)
    asked = [one.alice.request(one.bob.peer_id, "x", timeout=3) for _ in range(3)]
    await one.meets(fault, asyncio.gather(*asked, return_exceptions=True))
    assert fault.times >= 2


@breaks("swarm.watches.start", "swarm.watches._tick")
async def what_is_watched(one: Scene) -> None:
    """A rules file, and the addresses of the host: the next look comes all the same."""
    one.patch.setattr(swarms, "RULES_EVERY", 0.01)
    one.patch.setattr(swarms, "ADDRESSES_EVERY", 0.01)
    fault = one.breaks(LiveListener, "look")
    async with Network(listen=["/ip4/0.0.0.0/tcp/0"]):
        await until(lambda: fault.times >= 2)
    with tempfile.TemporaryDirectory() as folder:
        firewall = Firewall.load(Path(folder) / "rules.toml", create=True)
        fault = one.breaks(RulesFile, "refresh", file_of(firewall))
        async with Network(firewall=firewall):
            await until(lambda: fault.times >= 2)


@breaks("events.backlog.relieve")
async def who_waited(one: Scene) -> None:
    """A socket that was not read from while a reader of events was behind."""
    events = one.bob.events(buffer=1, overflow="wait")
    await one.alice.disconnect(one.bob.peer_id)
    await until(lambda: events._waiting)
    connecting = asyncio.ensure_future(one.alice.connect(one.bob.addresses[0], timeout=5))
    await until(lambda: one.bob.stats()["held"])
    fault = one.breaks(UpgradeRunner, "_resume")
    events.close()
    await one.meets(fault, connecting)


@breaks("connection.deadlines.look_at")
async def deadlines(one: Scene) -> None:
    fault = one.breaks(YamuxMuxer, "_silent", muxer(one.connection))
    await until(lambda: fault.times)


@breaks("connection.handlers._start", "connection.eager.begun")
async def handler(one: Scene) -> None:
    """Around the application's own, and in it."""
    fault = one.breaks(LiveStream, "close")
    stream = await one.alice.open_stream(one.bob.peer_id, ECHO)
    await stream.close_write()  # so that the handler ends
    await one.meets(fault, stream.read())
    await stream.close()

    @one.bob.on_stream("/broken/1")
    async def broken(_: Stream) -> None:
        raise ZeroDivisionError("theirs")

    with pytest.raises(P2PError):
        await (await one.alice.open_stream(one.bob.peer_id, "/broken/1")).read()


@breaks("connection.handlers.ask_first")
async def asking(one: Scene) -> None:
    """Before a stream is let in."""

    @one.bob.firewall.on_ask
    async def yes(_: Attempt) -> bool:
        return True

    one.bob.firewall.set(Rule.ASK, protocol=ECHO)
    fault = one.breaks(one.bob._swarm.approval, "ask")
    stream = await one.alice.open_stream(one.bob.peer_id, ECHO)
    await one.meets(fault, stream.read())
    async with one.alice.open_stream(one.bob.peer_id, ECHO) as again:
        await again.write(b"x")
        assert await again.read() == b"x"


@breaks("swarm.gatekeeper.admits", "swarm.gatekeeper._tell_soon")
async def refusals(one: Scene) -> None:
    """When they are told, behind the answer."""
    one.bob.on_event(lambda _: None)
    one.bob.firewall.set(Rule.REJECT, protocol=ECHO)
    fault = one.breaks(one.bob._swarm.approval, "verdict")
    stream = await one.alice.open_stream(one.bob.peer_id, ECHO)
    await one.meets(fault, stream.read())


@breaks("protocols.identify._start")
async def identify(one: Scene) -> None:
    """What a peer told of itself."""
    fault = one.breaks(identify_messages, "interpret")
    await one.alice.connect(one.carol.addresses[0])
    await until(lambda: fault.times >= 2)  # theirs, too
    assert (await one.alice.identify(one.carol.peer_id)).agent


# ---------------------------------------------------------------------- wires around wires


@breaks("transport.websocket_wire.received")
async def frames(one: Scene) -> None:
    """Of a WebSocket, in the upgrade and in the session."""
    (place,) = (await one.bob.listen(f"{LOOPBACK}/ws")).addresses
    async with Network() as erin:
        await one.meets(one.breaks(FrameReader, "receive"), erin.connect(place))
        await erin.connect(place)
        await one.meets(one.breaks(FrameReader, "receive"), erin.request(one.bob.peer_id, "x"))
        assert await erin.request(place, "again") == "again"


@breaks("transport.websocket_wire.received")
async def handshakes_of_http(one: Scene) -> None:
    """The listener's, and the dialer's."""
    (place,) = (await one.bob.listen(f"{LOOPBACK}/ws")).addresses
    async with Network() as erin:
        for opening in (ServerOpening, ClientOpening):
            await one.meets(one.breaks(opening, "feed"), erin.connect(place))
            await until(lambda: not one.bob.stats()["pending_in"])
        assert await erin.request(place, "again") == "again"


@breaks("transport.websocket_wire.resume")
async def what_a_web_socket_kept(one: Scene) -> None:
    """A record that is not complete, when reading goes on."""
    (place,) = (await one.bob.listen(f"{LOOPBACK}/ws")).addresses
    async with Network() as erin:
        connection = await erin.connect(place)
        await erin.request(place, "x")
        wire = muxer(connection)._wire
        assert isinstance(wire, WebSocketWire)
        wire.pause()
        wire._tail = b"r"
        fault = one.breaks(WebSocketWire, "_deliver", wire)
        wire.resume()
        await until(lambda: fault.times and connection.closed)
        assert await erin.request(place, "again") == "again"


@breaks("transport.tls_wire.received")
async def records_of_tls(one: Scene) -> None:
    """In the handshake, and behind it."""
    async with network(mirror, tls=certified()) as frank, Network(tls=certified()) as erin:
        (place,) = (await frank.listen(f"{LOOPBACK}/tls/ws")).addresses
        await one.meets(one.breaks(TlsWire, "_open"), erin.connect(place))
        await erin.connect(place)
        await one.meets(one.breaks(TlsWire, "_read_into"), erin.request(frank.peer_id, "x"))
        assert await erin.request(place, "again") == "again"


@breaks("transport.undecided_wire.received")
async def who_speaks_first_at_a_shared_port(one: Scene) -> None:
    """Before the wire for what is spoken is made, and when it is half made."""
    async with network(mirror, tls=certified()) as frank, Network(tls=certified()) as erin:
        port = str(frank.addresses[0]).split("/")[4]
        (place,) = (await frank.listen(f"/ip4/127.0.0.1/tcp/{port}/tls/ws")).addresses
        for where, name in ((SharedWire, "_advance"), (ServerOpening, "__init__")):
            await one.meets(one.breaks(where, name), erin.connect(place))
            await until(lambda: not frank.stats()["pending_in"])
        assert await erin.request(place, "again") == "again"


@breaks("transport.undecided_wire.received")
async def answer_of_a_proxy(one: Scene) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, Network() as erin:
        port = server.sockets[0].getsockname()[1]
        one.patch.delenv("no_proxy", raising=False)
        one.patch.delenv("NO_PROXY", raising=False)
        one.patch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        fault = one.breaks(ProxyWire, "_advance")
        await one.meets(fault, erin.connect(f"/ip4/192.0.2.7/tcp/80/ws/p2p/{one.bob.peer_id}"))


# ---------------------------------------------------------------------- what a network learns of its surroundings


@breaks("protocols.observing._set_timer")
async def where_peers_see_us(one: Scene) -> None:
    """A look at it: the next one comes all the same."""
    one.patch.setattr(observing, "FAULTY", 0.01)
    one.alice._swarm.announcer.observations.observe(one.bob.peer_id, b"", b"", b"")
    fault = one.breaks(Observations, "expire")
    await one.alice.listen(LOOPBACK)
    await until(lambda: fault.times >= 2)


@breaks("discovery.mdns._set_timer", "discovery.mdns.datagram_received")
async def words_on_the_link(one: Scene) -> None:
    """Ours, and those that are heard."""
    one.patch.setattr(mdns, "FAULTY", 0.01)
    async with Network(mdns=True, listen=[LOOPBACK]) as erin:
        service = erin._mdns
        assert isinstance(service, mdns.MdnsService)
        for fault in (one.breaks(Mdns, name, service._mdns) for name in ("tick", "hear")):
            await until(partial(lambda broken: broken.times >= 2, fault))


@breaks("discovery.mdns._look")
async def links_of_this_host(one: Scene) -> None:
    """Their sockets, and what is said at the end."""
    one.patch.setattr(mdns, "LOOK_EVERY", 0.01)
    fault = one.breaks(mdns.MdnsService, "_open_each")
    async with Network(mdns=True) as erin:
        service = erin._mdns
        assert isinstance(service, mdns.MdnsService)
        await until(lambda: service._ears)
        assert fault.times >= 2
        one.breaks(Mdns, "close", service._mdns)
    assert all(ear.transport is None or ear.transport.is_closing() for ear in service._ears.values())
