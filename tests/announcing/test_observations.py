"""announcing/observations.py: what peers say of where we are, and what enough of them agree on."""

from __future__ import annotations

from collections import defaultdict
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stronghold_p2p.announcing.observations import (
    AGREED,
    KEPT,
    NETWORKS,
    PER_LOCAL,
    PER_NETWORK,
    Observation,
    Observations,
    network_of,
)
from stronghold_p2p.identity import PeerId

PEERS = [PeerId(b"\x12\x20" + bytes([number]) * 32) for number in range(200)]
HERE, THERE = b"here", b"there"


def net(number: int) -> bytes:
    return network_of(bytes((10, number, 1, 1)))


def said_by(table: Observations, count: int, seen: bytes = THERE, local: bytes = HERE) -> list[Observation]:
    return [table.observe(PEERS[number], net(number), local, seen) for number in range(count)]


def test_four_peers_in_four_networks_are_enough() -> None:
    table = Observations()
    said_by(table, AGREED - 1)
    assert (table.agreed(HERE), table.counts()) == ((), {THERE: 3})
    said_by(table, AGREED)
    assert (table.agreed(HERE), table.agreed(THERE), table.counts()) == ((THERE,), (), {THERE: 4})


def test_neither_one_network_nor_one_peer_is_enough() -> None:
    table = Observations()
    for number in range(8):
        table.observe(PEERS[number], net(1), HERE, THERE)
        table.observe(PEERS[0], net(number), HERE, THERE)
    assert (table.agreed(HERE), table.counts()) == ((), {THERE: 2})


def test_networks_are_those_of_providers() -> None:
    assert network_of(bytes((192, 0, 2, 7))) == bytes((192, 0))
    assert network_of(bytes.fromhex("20010db8000100020003000400050006")) == bytes.fromhex("20010db8")


def test_what_was_said_counts_for_a_while_after_the_connection_has_ended() -> None:
    table = Observations()
    said = said_by(table, AGREED)
    assert table.due == inf
    table.expire(1e9)
    table.ended(said[0], 100.0)
    assert table.due == 100.0 + KEPT
    table.expire(99.0 + KEPT)
    assert table.agreed(HERE) == (THERE,)
    table.expire(100.0 + KEPT)
    assert (table.agreed(HERE), table.due, len(table)) == ((), inf, AGREED - 1)
    table.ended(said[0], 200.0)  # it is not there any more
    table.expire(200.0)
    assert len(table) == AGREED - 1


def test_who_says_something_else_takes_back_what_it_has_said() -> None:
    table = Observations()
    said_by(table, AGREED)
    table.observe(PEERS[0], net(0), HERE, b"elsewhere")
    assert (table.agreed(HERE), table.counts()) == ((), {THERE: 3, b"elsewhere": 1})


def test_at_most_three_addresses_belong_to_one_end_of_ours() -> None:
    table = Observations()
    for number in range(5):
        for peer in range(AGREED + (number == 4)):
            table.observe(PEERS[peer + 10 * number], net(peer + 10 * number), HERE, b"%d" % number)
            table.observe(PEERS[peer], net(peer), b"port %d" % number, b"%d" % number)
    assert table.agreed(HERE) == (b"4", b"0", b"1")
    assert len(table.agreed(HERE)) == PER_LOCAL


def test_a_network_has_few_places_and_those_whose_connection_has_ended_go_first() -> None:
    table = Observations()
    said = [table.observe(PEERS[number], net(1), HERE, b"%d" % number) for number in range(PER_NETWORK)]
    table.ended(said[3], 0.0)
    table.observe(PEERS[8], net(1), HERE, b"8")
    table.observe(PEERS[9], net(1), HERE, b"9")
    assert set(table.counts()) == {b"1", b"2", b"4", b"5", b"6", b"7", b"8", b"9"}


def test_of_many_networks_those_go_first_that_are_not_connected() -> None:
    table = Observations()
    said = {
        number: table.observe(PEERS[number], bytes((number, 0)), HERE, b"%d" % number) for number in range(NETWORKS)
    }
    table.ended(said[5], 0.0)
    table.observe(PEERS[198], b"new", HERE, b"new")
    table.observe(PEERS[199], b"newer", HERE, b"newer")
    gone = {b"%d" % number for number in range(NETWORKS)} - set(table.counts())
    assert gone == {b"5", b"0"}
    assert len(table) == NETWORKS


class Machine(RuleBasedStateMachine):
    """Against a plain list of who says what."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Observations()
        self.now = 0.0
        self.said: dict[tuple[PeerId, bytes], tuple[bytes, Observation]] = {}

    @rule(
        peer=st.sampled_from(PEERS[:12]),
        network=st.integers(0, 6),
        local=st.sampled_from([HERE, b""]),
        seen=st.sampled_from([b"a", b"b", b"c"]),
    )
    def observe(self, peer: PeerId, network: int, local: bytes, seen: bytes) -> None:
        self.said.pop((peer, local), None)
        of_network = [key for key, (where, _) in self.said.items() if where == net(network)]
        if len(of_network) >= PER_NETWORK:
            ended = [key for key in of_network if self.said[key][1].until < inf]
            del self.said[(ended or of_network)[0]]
        self.said[peer, local] = net(network), self.table.observe(peer, net(network), local, seen)

    @precondition(lambda self: self.said)
    @rule(data=st.data(), after=st.floats(0, KEPT))
    def end(self, data: st.DataObject, after: float) -> None:
        self.now += after
        self.table.ended(self.said[data.draw(st.sampled_from(list(self.said)))][1], self.now)

    @rule(after=st.floats(0, 2 * KEPT))
    def expire(self, after: float) -> None:
        self.now += after
        self.table.expire(self.now)
        self.said = {key: one for key, one in self.said.items() if one[1].until > self.now}

    @invariant()
    def counts_are_those_of_the_list(self) -> None:
        voters: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
        for (_, local), (network, one) in self.said.items():
            voters[local, one.seen].add(network)
        counts = {key: len(networks) for key, networks in voters.items()}
        for local in (HERE, b""):
            agreed = {seen for (end, seen), count in counts.items() if end == local and count >= AGREED}
            assert set(self.table.agreed(local)) == agreed
        whole = {seen: max(count for (_, other), count in counts.items() if other == seen) for _, seen in counts}
        assert self.table.counts() == whole
        assert len(self.table) == len(self.said) <= NETWORKS * PER_NETWORK
        assert self.table.due <= min((one.until for _, one in self.said.values()), default=inf)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 199), st.binary(max_size=2)), max_size=300))
@settings(max_examples=20, deadline=None)
def test_it_never_grows_beyond_its_places(said: list[tuple[int, int, bytes]]) -> None:
    table = Observations()
    for network, peer, seen in said * 4:
        table.observe(PEERS[peer], network.to_bytes(2, "big"), HERE, seen)
    assert len(table) <= NETWORKS * PER_NETWORK
    table.expire(inf)
