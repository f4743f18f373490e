"""An upgrade on a socket, accepted and dialed: one deadline, one outcome, no task, nothing left. Time is virtual."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from itertools import product
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    HandshakeError,
    LimitExceeded,
    NegotiationError,
    P2PError,
)
from stronghold_p2p.exchange import Exchange
from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import MuxerUser, Secured, Upgraded, Wire
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.upgrade import Negotiated, UpgradeSettings
from stronghold_p2p.transport.upgrading import (
    CLOSE_GRACE,
    MAX_EARLY,
    PHASES,
    Dialed,
    Event,
    Phase,
    Upgrader,
    UpgradeRunner,
)
from tests.peers import until
from tests.transport.ends import End, NoMuxer, dialer, identity, join, listener, upgrade
from tests.transport.wire import Bare, Taker, linked
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
LIMIT = 10.0
PLACE = Multiaddr("/ip4/127.0.0.1/tcp/4001")
NOBODY = cast(MuxerUser, None)


class Started(NoMuxer):
    """A muxer that is started, or refused with a word and the code."""

    def start(self, wire: Wire, secured: Secured, early: bytes, user: MuxerUser, *, dialer: bool) -> Any:
        taker = Taker(cast(SocketWire, wire))
        taker.got += early
        return taker

    def refuse(self, wire: Wire, secured: Secured, code: int) -> Any:
        wire.write(b"sorry %d" % code)


class Broken:
    """A security with a fault."""

    id = "/noise"

    def handshake(self, *, initiator: bool, expected: PeerId | None, muxers: tuple[str, ...]) -> Exchange[Secured]:
        yield 1
        raise ZeroDivisionError("ours")


class BrokenSettings(UpgradeSettings):
    """Fails before the first byte."""

    def inbound(self) -> Exchange[Negotiated]:
        yield from ()
        raise ZeroDivisionError("ours")


def settings(role: str, *, early: bool = True) -> UpgradeSettings:
    return dataclasses.replace(upgrade(2 if role == "in" else 1, early_muxer=early), muxers=(Started(),))


class Case:
    """One upgrade of ours, and what came of it. It is what arrives at a listener, and its place there; or a dial."""

    wire: SocketWire
    bare: Bare

    def __init__(self, role: str, upgrader: Upgrader, held: bool) -> None:
        self.role, self.upgrader, self.held = role, upgrader, held
        self.admitted, self.taken_back = True, 0
        self.go: list[Callable[[], None]] = []
        self.give_up: Callable[[], None] = lambda: None
        self.upgrades: list[Upgraded] = []
        self.muxers: list[Taker] = []
        self.errors: list[Exception] = []
        self.refusal: Exception | None = None
        self.dialing: asyncio.Task[None] | None = None

    @classmethod
    async def of(
        cls,
        role: str = "in",
        *,
        early: bool = True,
        timeout: float | None = LIMIT,
        held: bool = False,
        prepare: Callable[[Case], object] = id,
    ) -> Case:
        case = cls(role, Upgrader(settings(role, early=early), timeout), held)
        prepare(case)
        _, case.bare = await linked(case._made)
        return case

    def _made(self, wire: SocketWire) -> None:
        self.wire = wire
        wire.local = wire.remote = PLACE
        wire.host = "127.0.0.1"
        if self.role == "in":
            self.upgrader.accept(wire, self)
        else:
            dialed = Dialed()
            self.upgrader.dial(wire, None, dialed)
            self.give_up = dialed.cancel
            self.dialing = asyncio.ensure_future(self._dial(dialed))

    async def _dial(self, dialed: Dialed) -> None:
        try:
            self.proven(await dialed.upgraded())
        except P2PError as error:
            self.errors.append(error)

    def admit(self, host: str | None, local: Multiaddr) -> Case | None:
        assert (host, local) == ("127.0.0.1", PLACE)
        return self if self.admitted else None

    def begin(self, go: Callable[[], None]) -> Callable[[], None] | None:
        self.go.append(go)
        if self.held:
            return self._take_back
        go()
        return None

    def _take_back(self) -> None:
        self.taken_back += 1

    def proven(self, upgraded: Upgraded) -> None:
        if isinstance(self.refusal, ZeroDivisionError):
            raise self.refusal
        if self.refusal is not None:
            upgraded.refuse(7, self.refusal)
            return
        self.muxers.append(cast(Taker, upgraded.start(NOBODY)))
        self.upgrades.append(upgraded)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def look(self) -> None: ...

    def missed(self, error: OSError) -> None:
        raise AssertionError(error)

    closed = missed

    @property
    def received(self) -> bytes:
        return bytes(self.muxers[0].got) if self.muxers else b""

    async def over(self, kind: type[Exception]) -> Any:
        """The one error with which it ends."""
        await until(lambda: self.errors)
        (error,) = self.errors
        assert isinstance(error, kind)
        assert self.upgrades == []
        return error

    def gone(self) -> bool:
        return self.wire.lost

    async def end(self) -> None:
        self.wire.abort()
        await until(self.gone)
        self.bare.close()
        if self.dialing is not None:
            self.dialing.cancel()
            await asyncio.wait({self.dialing})
        assert self.upgrader.running == set()


def script(role: str, *, early: bool = True) -> tuple[bytes, bytes]:
    """What the other end says to ours, and what ours says to it."""
    one, other = End(dialer(early=early)), End(listener(early=early))
    join(one, other)
    said, answered = bytes(one.sent), bytes(other.sent)
    return (said, answered) if role == "in" else (answered, said)


roles = pytest.mark.parametrize("role", ["in", "out"])
earlies = pytest.mark.parametrize("early", [True, False])


@roles
@earlies
async def test_it_ends_in_a_muxer_and_hands_on_what_follows(role: str, early: bool) -> None:
    theirs, ours = script(role, early=early)
    case = await Case.of(role, early=early)
    await case.bare.send(theirs + b"next layer")
    await until(lambda: len(case.received) == 10)
    assert await case.bare.read(len(ours)) == ours
    (upgraded,) = case.upgrades
    other = identity(1 if role == "in" else 2)
    assert (upgraded.peer, upgraded.public_key.encode()) == (other.peer_id, other.public_key.encode())
    assert (upgraded.local, upgraded.remote) == (PLACE, PLACE)
    await case.bare.send(b" and more")
    await until(lambda: len(case.received) > 10)
    assert case.received == b"next layer and more"
    case.give_up()  # it is over: nothing happens
    await asyncio.sleep(LIMIT * 2)  # the deadline is over with the upgrade
    assert (case.errors, case.muxers[0].lost) == ([], [])
    await case.end()


@roles
@pytest.mark.parametrize("held", [False, True])
async def test_silence(role: str, held: bool) -> None:
    """The deadline is that of all upgrades, also of one that waits for its turn."""
    began = asyncio.get_running_loop().time()
    case = await Case.of(role, held=held)
    await case.bare.rest()
    error = await case.over(DeadlineExceeded)
    assert (error.timeout, error.phase) == (LIMIT, "upgrade")
    assert LIMIT <= asyncio.get_running_loop().time() - began < LIMIT + 0.5
    assert case.taken_back == (1 if held and role == "in" else 0)
    await case.end()


@roles
@pytest.mark.parametrize("pause", [0.9, 4.0, 9.0])
@pytest.mark.parametrize("stage", [0, 20, 28, 60, -12])
async def test_a_byte_now_and_then_does_not_move_the_deadline(role: str, stage: int, pause: float) -> None:
    """Hostile row 1: slowloris, at each stage."""
    theirs, _ = script(role)
    began = asyncio.get_running_loop().time()
    case = await Case.of(role)
    await case.bare.send(theirs[:stage])
    for byte in theirs[stage:]:
        await asyncio.sleep(pause)
        if case.errors:
            break
        await case.bare.send(bytes([byte]))
    await case.over(DeadlineExceeded)
    assert asyncio.get_running_loop().time() - began < LIMIT + pause + 0.1
    await case.end()


@roles
@earlies
@pytest.mark.parametrize("reset", [False, True])
async def test_the_peer_leaves_after_any_byte(role: str, early: bool, reset: bool) -> None:
    """Hostile row 7."""
    theirs, _ = script(role, early=early)
    for size in range(0, len(theirs), 7 if reset else 3 if early else 1):
        case = await Case.of(role, early=early)
        await case.bare.send(theirs[:size])
        if reset:
            await asyncio.sleep(0)
            case.bare.reset()
        else:
            case.bare.finish()
        assert (await case.over(ConnectionClosed)).remote, size
        await case.end()


async def test_who_is_not_admitted_is_aborted() -> None:
    case = await Case.of(prepare=lambda case: setattr(case, "admitted", False))
    assert await case.bare.rest() == b""
    assert (case.errors, case.upgrades) == ([], [])
    await case.end()


@pytest.mark.parametrize(
    ("role", "stage"), [("in", "waiting"), ("in", "running"), ("out", "running"), ("in", "refused"), ("out", "refused")]
)
@pytest.mark.parametrize("all_of_them", [False, True])
async def test_given_up(role: str, stage: str, all_of_them: bool) -> None:
    """By its limits, or with the network."""
    case = await Case.of(role, held=stage == "waiting")
    if stage == "refused":
        case.refusal = ConnectionClosed("kept out")
        await case.bare.send(script(role)[0])
        await until(lambda: case.wire._finishing)
    for _ in range(2):
        (case.upgrader.close if all_of_them else case.give_up)()
    await case.bare.rest()
    await until(case.gone)
    assert (case.errors, case.upgrades, case.taken_back) == ([], [], stage == "waiting")
    await case.end()


async def test_a_dial_that_is_cancelled() -> None:
    case = await Case.of("out")
    assert case.dialing is not None
    case.dialing.cancel()
    await until(case.gone)
    assert case.dialing.cancelled()
    await case.end()


@roles
@earlies
async def test_not_wanted(role: str, early: bool) -> None:
    """The last word arrives although the peer goes on talking, and then the socket goes."""
    theirs, ours = script(role, early=early)
    case = await Case.of(role, early=early)
    case.refusal = LimitExceeded("full", limit="per_peer", current=8, maximum=8)
    await case.bare.send(theirs + b"frames of a stream that nobody is going to read")
    await asyncio.sleep(0.1)
    assert case.errors == []  # it counts until its socket is gone
    await case.bare.send(b"more of them")
    assert await case.bare.rest() == ours + b"sorry 7"
    case.bare.close()
    await until(case.gone)
    assert case.errors == ([case.refusal] if role == "in" else [])  # whoever dialed has raised it already
    await case.end()


async def test_not_wanted_and_it_does_not_leave() -> None:
    loop = asyncio.get_running_loop()
    case = await Case.of()
    case.refusal = ConnectionClosed("kept out")
    await case.bare.send(script("in")[0])
    await asyncio.sleep(0)
    began = loop.time()
    assert await case.over(ConnectionClosed) is case.refusal
    assert loop.time() - began < CLOSE_GRACE + 0.1
    await case.end()


def begun() -> tuple[Any, Dialed, UpgradeRunner]:
    """A dial without a socket, which was begun: its wire, its outcome and what runs it."""
    wire, outcome, upgrader = MagicMock(), Dialed(), Upgrader(settings("out"), LIMIT)
    upgrader.dial(wire, None, outcome)
    (runner,) = upgrader.running
    return wire, outcome, runner


def hear(runner: UpgradeRunner, more: bytes = b"") -> None:
    theirs = script("out")[0]
    assert runner.received(memoryview(theirs + more)) == len(theirs)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_dial_whose_wire_is_lost_between_proof_and_start(lost: bool) -> None:
    """Whoever takes it, or refuses it, comes too late."""
    wire, outcome, runner = begun()
    hear(runner, b"what is left for the muxer")
    assert runner.received(memoryview(b"nothing is taken before it starts")) == 0
    wire.pause.assert_called_once_with()
    upgraded = await outcome.upgraded()
    if lost:
        runner.ended(None)
        upgraded.refuse(7, ConnectionClosed("not wanted"))
        with pytest.raises(ConnectionClosed) as caught:
            upgraded.start(NOBODY)
        assert caught.value.remote
        assert not wire.resume.called
    else:
        upgraded.start(NOBODY)
        wire.resume.assert_called_once_with()


async def test_a_dial_that_is_proven_while_it_is_given_up() -> None:
    wire, outcome, runner = begun()
    waiting = asyncio.ensure_future(outcome.upgraded())
    await asyncio.sleep(0)
    waiting.cancel()
    hear(runner)
    wire.abort.assert_called_once_with()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert runner not in runner._running


def breaks(case: Case, where: str) -> None:
    if where == "proven":
        case.refusal = ZeroDivisionError("ours")
    else:
        case.upgrader.settings = BrokenSettings((), ()) if where == "begin" else UpgradeSettings((Broken(),), ())


@pytest.mark.parametrize("where", ["begin", "exchange", "proven"])
@pytest.mark.parametrize("held", [False, True])
async def test_a_fault_of_ours_ends_this_connection_only(where: str, held: bool) -> None:
    """Hostile row 113: nothing reaches the loop, and somebody is told."""
    case = await Case.of(held=held, prepare=lambda case: breaks(case, where))
    if held:
        case.go[0]()
    if where != "begin":
        await case.bare.send(script("in")[0])
    error = await case.over(HandshakeError)
    assert error.phase == "internal"
    assert isinstance(error.__cause__, ZeroDivisionError)
    await case.end()


async def test_it_costs_no_task() -> None:
    before = len(asyncio.all_tasks())
    cases = [await Case.of() for _ in range(20)]
    await asyncio.sleep(0.1)
    assert len(asyncio.all_tasks()) == before
    for case in cases:
        await case.end()


@pytest.mark.parametrize("timeout", [LIMIT, None])
async def test_nothing_is_read_before_its_turn(timeout: float | None) -> None:
    case = await Case.of(held=True, timeout=timeout)
    theirs, ours = script("in")
    await case.bare.send(theirs + b"next layer")
    await asyncio.sleep(LIMIT / 2 if timeout else 3_600)
    assert (case.upgrades, case.errors) == ([], [])
    case.go[0]()
    await until(lambda: case.upgrades)
    assert await case.bare.read(len(ours)) == ours
    assert case.received == b"next layer"
    await asyncio.sleep(LIMIT)
    assert (case.errors, case.taken_back) == ([], 0)
    await case.end()


def arrive(case: Case, data: bytes) -> None:
    """As uvloop does, although reading is paused."""
    case.wire.get_buffer(-1)[: len(data)] = data
    case.wire.buffer_updated(len(data))


@pytest.mark.parametrize(("good", "outcome"), [(True, []), (False, [NegotiationError])])
async def test_what_is_read_all_the_same_is_kept(good: bool, outcome: list[type[Exception]]) -> None:
    case = await Case.of(held=True)
    said = script("in")[0] if good else b"GET / HTTP/1.1\r\n\r\n" * 3
    arrive(case, said[:30])
    arrive(case, said[30:])
    case.go[0]()
    await until(lambda: case.upgrades or case.errors)
    assert [type(error) for error in case.errors] == outcome
    await case.end()


async def test_no_more_is_kept_than_a_dialer_has_to_say() -> None:
    case = await Case.of(held=True)
    arrive(case, bytes(MAX_EARLY))
    assert case.errors == []
    arrive(case, b"x")
    assert [type(error) for error in case.errors] == [HandshakeError]
    assert case.taken_back == 1
    await case.end()


class Table:
    """An upgrade without a socket, brought to a phase."""

    def __init__(self) -> None:
        self.wire, self.outcome = MagicMock(), MagicMock()
        upgrader = Upgrader(settings("in"), LIMIT)
        self.runner = UpgradeRunner(upgrader, self.wire, upgrader.settings.inbound(), self.outcome, dialer=False)

    def prove(self) -> None:
        if self.runner._phase is Phase.RUNNING:
            self.runner.received(memoryview(script("in")[0]))
        else:
            self.runner._prove()

    def play(self, event: Event) -> None:
        {
            Event.BEGIN: self.runner.begin,
            Event.PROVE: self.prove,
            Event.START: lambda: self.runner.start(NOBODY),
            Event.REFUSE: lambda: self.runner.refuse(7, ConnectionClosed("kept out")),
            Event.END: self.runner.cancel,
        }[event]()

    @classmethod
    def at(cls, phase: Phase) -> Table:
        table = cls()
        for event in {
            Phase.WAITING: (),
            Phase.RUNNING: (Event.BEGIN,),
            Phase.PROVEN: (Event.BEGIN, Event.PROVE),
            Phase.REFUSED: (Event.BEGIN, Event.PROVE, Event.REFUSE),
            Phase.OVER: (Event.END,),
        }[phase]:
            table.play(event)
        assert table.runner._phase is phase
        return table


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
async def test_each_event_in_each_phase(phase: Phase, event: Event) -> None:
    table = Table.at(phase)
    if (phase, event) in PHASES:
        table.play(event)
        assert table.runner._phase is PHASES[phase, event]
        assert table.wire.abort.called == (event is Event.END)
        table.runner.cancel()
    elif phase is Phase.OVER and event in {Event.REFUSE, Event.END}:  # it comes too late, which is nobody's fault
        table.play(event)
    else:
        expected = ConnectionClosed if (phase, event) == (Phase.OVER, Event.START) else KeyError
        with pytest.raises(expected):
            table.play(event)
        assert table.runner._phase is phase
        table.runner.cancel()
    assert table.runner._phase is Phase.OVER
    assert not table.outcome.failed.called
