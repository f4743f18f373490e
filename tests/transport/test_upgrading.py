"""An upgrade on a real socket: one deadline, one outcome, no task, nothing left. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    HandshakeError,
    LimitExceeded,
    NegotiationError,
    P2PError,
)
from stronghold_p2p.exchange import Exchange
from stronghold_p2p.transport.socket_wire import SocketWire
from stronghold_p2p.transport.upgrade import Upgraded
from stronghold_p2p.transport.upgrading import CLOSE_GRACE, MAX_EARLY, Upgrading
from tests.peers import until
from tests.transport.ends import End, dialer, join, listener
from tests.transport.wire import Bare, linked
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
LIMIT = 10.0


class Case:
    """One upgrade of ours and what came of it."""

    link: SocketWire
    bare: Bare
    upgrading: Upgrading

    def __init__(self) -> None:
        self.upgraded: list[Upgraded] = []
        self.errors: list[Exception] = []
        self.received = bytearray()
        self.lost: list[Exception | None] = []
        self.refusal: Exception | None = None

    @classmethod
    async def of(
        cls,
        exchange: Exchange[Upgraded],
        timeout: float | None = LIMIT,
        hold: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
    ) -> Case:
        case = cls()

        def made(link: SocketWire) -> None:
            case.link = link
            case.upgrading = Upgrading(
                link,
                exchange,
                timeout=timeout,
                done=case.done,
                failed=case.errors.append,
                loop=asyncio.get_running_loop(),
            )
            if hold is None:
                case.upgrading.start()
            else:
                case.upgrading.start_later(hold)

        _, case.bare = await linked(made)
        return case

    def done(self, upgraded: Upgraded) -> None:
        if self.refusal is not None:
            self.link.write(b"sorry")
            raise self.refusal
        self.upgraded.append(upgraded)
        self.link.receiver = self.take
        self.link.on_lost = self.lost.append

    def take(self, view: memoryview) -> int:
        self.received += view
        return len(view)

    def over(self) -> bool:
        return bool(self.errors)

    def gone(self) -> bool:
        return self.link.lost

    async def end(self) -> None:
        self.link.abort()
        await until(lambda: self.link.lost)
        self.bare.close()


def script(role: str, *, early: bool = True) -> tuple[bytes, bytes]:
    """What the other end says to ours, and what ours says to it."""
    one, other = End(dialer(early=early)), End(listener(early=early))
    join(one, other)
    said, answered = bytes(one.sent), bytes(other.sent)
    return (said, answered) if role == "in" else (answered, said)


ROLES: dict[str, Callable[..., Exchange[Upgraded]]] = {"in": listener, "out": dialer}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("early", [True, False])
async def test_it_ends_in_done_and_hands_on_what_follows(role: str, early: bool) -> None:
    theirs, ours = script(role, early=early)
    case = await Case.of(ROLES[role](early=early))
    await case.bare.send(theirs + b"next layer")
    await until(lambda: case.upgraded)
    assert await case.bare.read(len(ours)) == ours
    assert bytes(case.received) == b"next layer"
    await case.bare.send(b" and more")
    await until(lambda: len(case.received) > 10)
    assert bytes(case.received) == b"next layer and more"
    await asyncio.sleep(LIMIT * 2)  # the deadline is over with the upgrade
    assert case.errors == []
    assert case.lost == []
    await case.end()


@pytest.mark.parametrize("role", ROLES)
async def test_silence(role: str) -> None:
    began = asyncio.get_running_loop().time()
    case = await Case.of(ROLES[role]())
    await case.bare.rest()
    (error,) = case.errors
    assert isinstance(error, DeadlineExceeded)
    assert (error.timeout, error.phase) == (LIMIT, "upgrade")
    assert LIMIT <= asyncio.get_running_loop().time() - began < LIMIT + 0.5
    case.bare.close()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("pause", [0.9, 4.0, 9.0])
async def test_a_byte_now_and_then_does_not_move_the_deadline(role: str, pause: float) -> None:
    """Hostile row 1: slowloris, at each stage."""
    theirs, _ = script(role)
    loop = asyncio.get_running_loop()
    for stage in (0, 20, 28, 60, len(theirs) - 12):
        began = loop.time()
        case = await Case.of(ROLES[role]())
        await case.bare.send(theirs[:stage])
        for byte in theirs[stage:]:
            await asyncio.sleep(pause)
            if case.errors:
                break
            await case.bare.send(bytes([byte]))
        assert [type(error) for error in case.errors] == [DeadlineExceeded]
        assert loop.time() - began < LIMIT + pause + 0.1
        assert case.upgraded == []
        case.bare.close()


async def test_no_deadline() -> None:
    case = await Case.of(listener(), timeout=None)
    await asyncio.sleep(3_600)
    assert case.errors == []
    theirs, _ = script("in")
    await case.bare.send(theirs)
    await until(lambda: case.upgraded)
    await case.end()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("reset", [False, True])
async def test_the_peer_leaves_after_any_byte(role: str, early: bool, reset: bool) -> None:
    """Hostile row 7."""
    theirs, _ = script(role, early=early)
    for size in range(0, len(theirs), 7 if reset else 3 if early else 1):
        case = await Case.of(ROLES[role](early=early))
        await case.bare.send(theirs[:size])
        if reset:
            await asyncio.sleep(0)
            case.bare.reset()
        else:
            case.bare.finish()
        await until(case.over)
        assert case.upgraded == []
        (error,) = case.errors
        assert isinstance(error, ConnectionClosed), size
        assert error.remote
        await until(case.gone)
        case.bare.close()


async def test_nonsense_closes_at_once_and_says_nothing() -> None:
    """Hostile row 8."""
    began = asyncio.get_running_loop().time()
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", bytes.fromhex("160301"), b"SSH-2.0-x\r\n", bytes(1 << 16)):
        case = await Case.of(listener())
        await case.bare.send(nonsense)
        assert await case.bare.rest() == b""
        assert [type(error) for error in case.errors] == [NegotiationError]
        case.bare.close()
    assert asyncio.get_running_loop().time() - began < LIMIT


async def test_cancel() -> None:
    case = await Case.of(listener())
    case.upgrading.cancel()
    case.upgrading.cancel()
    assert await case.bare.rest() == b""
    assert (case.errors, case.upgraded) == ([], [])
    case.bare.close()


async def test_cancel_does_nothing_to_a_finished_upgrade() -> None:
    case = await Case.of(listener())
    await case.bare.send(script("in")[0])
    await until(lambda: case.upgraded)
    case.upgrading.cancel()
    await asyncio.sleep(0.1)
    assert not case.link.lost
    await case.end()


@pytest.mark.parametrize("early", [True, False])
async def test_not_wanted(early: bool) -> None:
    """The last word arrives although the peer goes on talking, and then the socket goes."""
    theirs, ours = script("in", early=early)
    case = await Case.of(listener(early=early))
    case.refusal = LimitExceeded("full", limit="per_peer", current=8, maximum=8)
    await case.bare.send(theirs + b"frames of a stream that nobody is going to read")
    await asyncio.sleep(0.1)
    assert case.errors == []  # it counts until its socket is gone
    await case.bare.send(b"more of them")
    assert await case.bare.rest() == ours + b"sorry"
    case.bare.close()
    await until(lambda: case.errors)
    assert case.errors == [case.refusal]
    assert case.link.lost


async def test_not_wanted_and_it_does_not_leave() -> None:
    loop = asyncio.get_running_loop()
    case = await Case.of(listener())
    case.refusal = ConnectionClosed("kept out")
    await case.bare.send(script("in")[0])
    await asyncio.sleep(0)
    began = loop.time()
    await until(lambda: case.errors)
    assert case.errors == [case.refusal]
    assert loop.time() - began < CLOSE_GRACE + 0.1
    case.bare.close()


async def test_not_wanted_and_cancelled() -> None:
    case = await Case.of(listener())
    case.refusal = ConnectionClosed("kept out")
    await case.bare.send(script("in")[0])
    await case.bare.receive()
    case.upgrading.cancel()
    await until(lambda: case.link.lost)
    assert case.errors == []
    case.bare.close()


@pytest.mark.parametrize("where", ["exchange", "done"])
async def test_a_fault_of_ours_ends_this_connection_only(where: str) -> None:
    """Hostile row 113: nothing reaches the loop, and somebody is told."""
    case = await Case.of(listener() if where == "done" else _broken())
    case.refusal = ZeroDivisionError("ours")
    await case.bare.send(script("in")[0])
    await until(lambda: case.errors)
    (error,) = case.errors
    assert isinstance(error, HandshakeError)
    assert isinstance(error, P2PError)
    assert error.phase == "internal"
    assert isinstance(error.__cause__, ZeroDivisionError)
    await until(lambda: case.link.lost)
    case.bare.close()


def _broken() -> Exchange[Upgraded]:
    yield 1
    raise ZeroDivisionError("ours")


async def test_it_costs_no_task() -> None:
    before = len(asyncio.all_tasks())
    cases = [await Case.of(listener()) for _ in range(20)]
    await asyncio.sleep(0.1)
    assert len(asyncio.all_tasks()) == before
    for case in cases:
        await case.end()


# ---------------------------------------------------------------------- one that waits for its turn


class Turn:
    """Holds one upgrade."""

    def __init__(self) -> None:
        self.go: list[Callable[[], None]] = []
        self.taken_back = 0

    def hold(self, go: Callable[[], None]) -> Callable[[], None]:
        self.go.append(go)
        return self.take_back

    def take_back(self) -> None:
        self.taken_back += 1


async def held() -> tuple[Case, Turn]:
    turn = Turn()
    case = await Case.of(listener(), hold=turn.hold)
    return case, turn


async def test_nothing_is_read_before_its_turn() -> None:
    case, turn = await held()
    theirs, ours = script("in")
    await case.bare.send(theirs + b"next layer")
    await asyncio.sleep(LIMIT / 2)
    assert case.upgraded == []
    turn.go[0]()
    await until(lambda: case.upgraded)
    assert await case.bare.read(len(ours)) == ours
    assert bytes(case.received) == b"next layer"
    await asyncio.sleep(LIMIT)
    assert (case.errors, turn.taken_back) == ([], 0)
    await case.end()


async def test_the_deadline_is_that_of_all_upgrades() -> None:
    case, turn = await held()
    began = asyncio.get_running_loop().time()
    await case.bare.rest()
    assert LIMIT <= asyncio.get_running_loop().time() - began < LIMIT + 0.5
    assert [type(error) for error in case.errors] == [DeadlineExceeded]
    assert turn.taken_back == 1
    case.bare.close()


async def test_it_can_be_given_up_before_its_turn() -> None:
    case, turn = await held()
    case.upgrading.cancel()
    await until(case.gone)
    assert (case.errors, turn.taken_back) == ([], 1)
    case.bare.close()


async def test_what_is_read_all_the_same_is_kept() -> None:
    """As uvloop does; and no more of it than a dialer has to say."""
    case, turn = await held()
    theirs, _ = script("in")
    assert case.link.receiver(memoryview(theirs[:30])) == 30
    assert case.link.receiver(memoryview(theirs[30:])) == len(theirs) - 30
    turn.go[0]()
    await until(lambda: case.upgraded)
    await case.end()
    case, turn = await held()
    case.link.feed(bytes(MAX_EARLY))
    assert case.errors == []
    case.link.feed(b"x")
    assert [type(error) for error in case.errors] == [HandshakeError]
    assert turn.taken_back == 1
    await until(case.gone)
    case.bare.close()


async def test_nonsense_that_was_kept_and_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    case, turn = await held()
    case.link.feed(b"GET / HTTP/1.1\r\n\r\n" * 3)
    turn.go[0]()
    assert [type(error) for error in case.errors] == [NegotiationError]
    await until(case.gone)
    case.bare.close()
    case, turn = await held()

    def fail(_: Upgrading) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Upgrading, "start", fail)
    turn.go[0]()
    assert [type(error) for error in case.errors] == [HandshakeError]
    await until(case.gone)
    case.bare.close()
