from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.firewall.limits import gate as gates
from stronghold_p2p.firewall.limits.gate import Gate, Token
from stronghold_p2p.identity.keys.identity import Identity
from tests.firewall.attempts import ALICE, BOB, CAROL

PEERS = [Identity.from_seed(bytes((number,)) * 32).peer_id for number in range(20)]


def gate_of(**limits: Any) -> Gate:
    """A gate without the limit of the rate of arrivals."""
    return Gate(Limits(**{"accept_rate": None, **limits}))


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def change(**values: int) -> None:
        for name, value in values.items():
            monkeypatch.setattr(gates, name, value)

    return change


def full(gate: Gate, act: Callable[[], object], limit: str = "") -> LimitExceeded:
    """The refusal of ``act``, which leaves no trace in the counts."""
    before = gate.snapshot()
    with pytest.raises(LimitExceeded) as caught:
        act()
    assert gate.snapshot() == before
    assert limit in {"", caught.value.limit}
    return caught.value


def refused(gate: Gate, host: str | None, limit: str, now: float = 0.0) -> LimitExceeded:
    return full(gate, lambda: gate.admit(host, now), limit)


def inbound(gate: Gate, host: str | None = "192.0.2.1", now: float = 0.0) -> Token:
    token, gives_way = gate.admit(host, now)
    assert gives_way is None
    return token


def connect(gate: Gate, host: str | None = "192.0.2.1", number: int = 0) -> Token:
    token = inbound(gate, host)
    gate.establish(token, PEERS[number])
    return token


def test_a_token_is_counted_from_admission_to_release() -> None:
    gate = Gate(Limits())
    token = inbound(gate)
    assert gate.snapshot()["pending_in"] == 1
    gate.establish(token, ALICE)
    zero = dict.fromkeys(("pending_in", "pending_out", "pending_sources", "outbound"), 0)
    assert gate.snapshot() == {**zero, "inbound": 1, "peers": 1, "places": 1}
    token.release()
    assert not any(gate.snapshot().values())
    token.release()
    gate.release(token)
    assert not any(gate.snapshot().values())


def test_a_dial_is_counted_from_dial_to_release() -> None:
    gate = Gate(Limits(pending_out=1))
    token = gate.dial()
    full(gate, gate.dial, "pending_out")
    gate.establish(token, ALICE)
    assert gate.snapshot()["outbound"] == 1
    assert gate.snapshot()["places"] == 0
    gate.dial().release()
    token.release()
    assert not any(gate.snapshot().values())


@pytest.mark.parametrize("limit", ["connections", "inbound"])
def test_connections_in(limit: str) -> None:
    gate = gate_of(**{limit: 2})
    late = inbound(gate)
    tokens = [connect(gate, number=number) for number in range(2)]
    error = refused(gate, "192.0.2.9", limit)
    assert (error.current, error.maximum, error.remote) == (2, 2, False)
    full(gate, lambda: gate.establish(late, CAROL), limit)
    tokens[0].release()
    gate.establish(late, CAROL)


@pytest.mark.parametrize("limit", ["connections", "outbound"])
def test_connections_out(limit: str) -> None:
    gate = gate_of(**{limit: 1})
    first, second = gate.dial(), gate.dial()
    gate.establish(first, ALICE)
    full(gate, lambda: gate.establish(second, BOB), limit)
    full(gate, gate.dial, limit)
    first.release()
    gate.establish(second, BOB)


def test_a_quarter_is_not_for_strangers() -> None:
    """Hostile row 142."""
    gate = gate_of(connections=8, per_subnet=None)
    tokens = [connect(gate, number=number) for number in range(6)]
    late = inbound(gate)
    error = full(gate, lambda: gate.establish(late, CAROL), "connections")
    assert (error.current, error.maximum) == (6, 6)
    gate.establish(late, CAROL, protected=True)
    gate.establish(gate.dial(), PEERS[7])
    full(gate, gate.dial, "connections")
    refused(gate, "192.0.2.1", "connections")
    tokens[0].release()
    connect(gate, number=8)


def test_a_connection_that_is_missed_least_gives_way() -> None:
    gate = gate_of(connections=4, per_subnet=None)
    idle = [connect(gate, number=number) for number in range(3)]
    gate.gives_way = lambda: (lambda: idle.pop(0).release()) if idle else None
    connect(gate, number=4)  # among strangers
    assert len(idle) == 2
    gate.establish(gate.dial(), PEERS[5])
    assert gate.snapshot()["inbound"] == 3
    late, dial = inbound(gate), gate.dial()
    gate.establish(dial, PEERS[6])  # of all
    gate.establish(late, PEERS[7])
    assert (gate.snapshot()["inbound"], gate.snapshot()["outbound"]) == (2, 2)
    full(gate, gate.dial, "connections")
    refused(gate, "192.0.2.1", "connections")


def test_connections_of_one_peer_count_both_ways() -> None:
    gate = gate_of(per_peer=2)
    connect(gate, number=0)
    gate.establish(gate.dial(), PEERS[0])
    third = inbound(gate)
    error = full(gate, lambda: gate.establish(third, PEERS[0]), "per_peer")
    assert (error.current, error.maximum) == (2, 2)
    gate.establish(third, PEERS[1])


@pytest.mark.parametrize(
    ("hosts", "allowed"),
    [
        (["192.0.2.1"] * 9, 8),
        (["192.0.2.1", "::ffff:192.0.2.1"] * 5, 8),
        ([f"192.0.2.{number}" for number in range(20)], 20),
        ([f"2001:db8:0:{number}::1" for number in range(20)], 8),  # one /56
        (["2001:db8::1%eth0", "2001:db8::1"] * 5, 8),
        (["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"] * 5, 20),
        ([None] * 20, 20),
        (["socket"] * 20, 8),
        # a /48 holds eight times as much as a /56
        ([f"2001:db8:7:{number // 8:x}00::{number + 1:x}" for number in range(72)], 64),
    ],
)
def test_connections_from_one_place(hosts: list[str | None], allowed: int) -> None:
    """Hostile row 3: 8 per IPv4 address and per IPv6 /56, mapped v4 counts with v4."""
    gate = gate_of(connections=None)
    for number, host in enumerate(hosts[:allowed]):
        connect(gate, host, number % 20)
    if allowed < len(hosts):
        error = refused(gate, hosts[allowed], "per_subnet")
        assert error.current == error.maximum == max(8, allowed)
        connect(gate, "2001:db8:8::1")
        allowed += 1
    assert gate.snapshot()["inbound"] == allowed


def test_the_exemption_of_loopback_is_an_option(constants: Callable[..., None]) -> None:
    constants(PENDING_PER_IP=1, ACCEPT_BURST=2)
    gate = Gate(Limits(per_subnet=1, pending_in=8, accept_rate=1.0), exempt_loopback=False)
    inbound(gate, "127.0.0.1")
    refused(gate, "127.0.0.1", "pending_per_ip")
    refused(gate, "127.0.0.1", "accept_rate")
    spared = Gate(Limits(per_subnet=1, accept_rate=1.0))
    assert len([inbound(spared, host) for host in ("127.0.0.1", "::1") * 20]) == 40
    assert len(spared._arrivals) == 0


def test_pending_sockets_from_one_address() -> None:
    gate = gate_of()
    tokens = [inbound(gate) for _ in range(16)]
    error = refused(gate, "192.0.2.1", "pending_per_ip")
    assert (error.current, error.maximum) == (16, 16)
    inbound(gate, "192.0.2.2")
    tokens[3].release()
    inbound(gate)


def test_when_pending_is_full_the_oldest_of_the_greatest_crowd_gives_way() -> None:
    """Hostile row 1."""
    gate = gate_of(pending_in=5)
    inbound(gate, "192.0.2.1")
    crowd = [inbound(gate, "192.0.2.2") for _ in range(3)]
    inbound(gate, "192.0.2.3")
    token, gives_way = gate.admit("192.0.2.4", 0)
    assert gives_way is crowd[0]
    assert gate.snapshot()["pending_in"] == 5
    full(gate, lambda: gate.establish(crowd[0], ALICE), "pending_in")
    crowd[0].release()
    assert gate.snapshot()["pending_in"] == 5
    assert gate.admit("192.0.2.5", 0)[1] is crowd[1]
    gate.establish(token, ALICE)


def test_of_equal_crowds_the_first_gives_way() -> None:
    gate = gate_of(pending_in=3)
    first = inbound(gate, "192.0.2.1")
    inbound(gate, "192.0.2.2")
    inbound(gate, None)
    assert gate.admit("192.0.2.1", 0)[1] is first


def test_a_place_is_taken_only_from_the_pending_and_makes_one_connection() -> None:
    refused(gate_of(pending_in=0), "192.0.2.1", "pending_in")
    gate = Gate(Limits(pending_in=None))
    token = connect(gate)
    full(gate, lambda: gate.establish(token, BOB), "pending_in")


def test_limits_of_none_never_refuse() -> None:
    names = ("connections", "per_peer", "per_subnet", "pending_in", "pending_out")
    gate = gate_of(**dict.fromkeys(names))
    tokens = [inbound(gate) for _ in range(500)] + [gate.dial() for _ in range(500)]
    for token in tokens:
        gate.establish(token, ALICE)
    assert gate.snapshot()["inbound"] == gate.snapshot()["outbound"] == 500
    for token in tokens:
        token.release()
    assert not any(gate.snapshot().values())


def test_accept_rate_is_a_bucket_of_sixteen_that_fills_by_five_a_second() -> None:
    gate = Gate(Limits(pending_in=None))
    admitted = 0
    for step in range(1_000):  # ten seconds, 100 arrivals each
        try:
            gate.admit("192.0.2.1", 100 + step / 100)[0].release()
            admitted += 1
        except LimitExceeded as error:
            assert error.limit == "accept_rate"
    assert admitted == 16 + 49
    gate.admit("192.0.2.2", 110)
    gate.admit("192.0.2.1", 1_000)


@pytest.mark.long(5)
@pytest.mark.speed
def test_memory_stays_constant_however_many_addresses_call() -> None:
    gate = Gate(Limits())

    def flood(first: int, count: int) -> None:
        for number in range(first, first + count):
            host = str(IPv6Address(number << 72)) if number % 2 else str(IPv4Address(number + (11 << 24)))
            gate.admit(host, number / 1e5)

    flood(1, 10_000)
    tracemalloc.start()
    try:
        flood(10_001, 15_000)
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    flood(25_001, 25_000)
    assert len(gate._arrivals) == 4_096
    assert gate.snapshot()["pending_in"] == 128
    assert gate.snapshot()["pending_sources"] <= 128
    assert grown < 4 << 20


def test_a_source_that_is_forgotten_starts_anew(constants: Callable[..., None]) -> None:
    constants(TRACKED_SOURCES=2, ACCEPT_BURST=1)
    gate = Gate(Limits(pending_in=None))
    inbound(gate, "192.0.2.1")
    refused(gate, "192.0.2.1", "accept_rate")
    inbound(gate, "192.0.2.2")
    inbound(gate, "192.0.2.3")
    assert len(gate._arrivals) == 2
    inbound(gate, "192.0.2.1")


class Counts(RuleBasedStateMachine):
    """Whatever happens: the counters are those of the living tokens, below their limits, and zero at the end."""

    tokens: Bundle[Token] = Bundle("tokens")

    @initialize(exempt=st.booleans())
    def begin(self, exempt: bool) -> None:
        self.limits = Limits(
            connections=7, inbound=5, outbound=4, per_peer=3, per_subnet=2, pending_in=6, pending_out=3
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stronghold_p2p.firewall.limits.gate.PENDING_PER_IP", 3)
            self.gate = Gate(self.limits, exempt_loopback=exempt)
        self.living: list[Token] = []
        self.now = 0.0

    @rule(
        target=tokens,
        host=st.sampled_from(("127.0.0.1", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8:0:1::1", None)),
        later=st.floats(0, 1),
    )
    def admit(self, host: str | None, later: float) -> Token:
        self.now += later
        try:
            token, gives_way = self.gate.admit(host, self.now)
        except LimitExceeded as error:
            assert error.limit in {"connections", "inbound", "per_subnet", "pending_per_ip", "accept_rate"}
            return Token(self.gate, "in", live=False)
        if gives_way is not None:
            self.living.remove(gives_way)
        self.living.append(token)
        return token

    @rule(target=tokens)
    def dial(self) -> Token:
        try:
            token = self.gate.dial()
        except LimitExceeded as error:
            assert error.limit in {"connections", "outbound", "pending_out"}
            return Token(self.gate, "out", live=False)
        self.living.append(token)
        return token

    @rule(token=tokens, peer=st.sampled_from((ALICE, BOB, CAROL)))
    def establish(self, token: Token, peer: object) -> None:
        before = token.live, token.peer
        try:
            self.gate.establish(token, peer)  # type: ignore[arg-type]
        except LimitExceeded:
            assert (token.live, token.peer) == before
        else:
            assert before == (True, None)

    @rule(token=tokens)
    def release(self, token: Token) -> None:
        token.release()
        if token in self.living:
            self.living.remove(token)

    @rule(token=consumes(tokens))
    def release_and_forget(self, token: Token) -> None:
        self.release(token)

    @invariant()
    def counts_are_those_of_the_living(self) -> None:
        pending = Counter(token.direction for token in self.living if token.peer is None)
        connected = [token for token in self.living if token.peer is not None]
        ways = Counter(token.direction for token in connected)
        places: set[object] = set()
        for token in connected:
            places |= set(token.source)
        waiting = {token.source for token in self.living if token.peer is None and token.direction == "in"}
        assert self.gate.snapshot() == {
            "pending_in": pending["in"],
            "pending_out": pending["out"],
            "pending_sources": len(waiting),
            "inbound": ways["in"],
            "outbound": ways["out"],
            "peers": len({token.peer for token in connected}),
            "places": len(places),
        }
        assert pending["in"] <= 6
        assert pending["out"] <= 3
        assert ways["in"] <= 5
        assert ways["out"] <= 4
        assert ways.total() <= 7
        assert max(Counter(token.peer for token in connected).values(), default=0) <= 3
        assert max(Counter(token.source for token in connected if token.source).values(), default=0) <= 2
        assert len(self.gate._arrivals) <= 8  # the sources that this test knows

    def teardown(self) -> None:
        for token in list(getattr(self, "living", ())):
            token.release()
        if hasattr(self, "gate"):
            assert not any(self.gate.snapshot().values())


TestCounts = Counts.TestCase
TestCounts.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
