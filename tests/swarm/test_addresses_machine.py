"""The address book under any sequence of calls: what it counts is what it holds, and no limit is passed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from multiaddr import Multiaddr

from stronghold_p2p import AddressBook, ConfigError, LimitExceeded, PeerId
from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.book import store
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.identity import Edition

PEERS = [PeerId(b"\x12\x20" + number.to_bytes(32, "big")) for number in range(6)]
PLACES = [parse(f"/ip4/192.0.2.{number}/tcp/1") for number in range(4)] + [
    parse(f"/ip4/192.0.2.9/tcp/1/p2p/{relay}/p2p-circuit") for relay in PEERS[:2]
]
peers, places = st.sampled_from(PEERS), st.sampled_from(PLACES)


class Book(RuleBasedStateMachine):
    """At most 4 peers of 3 addresses, and 8 in all. Beside the book stands what the caller has given."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(store, "ADDRESSES", 8)
        self.patch.setattr(store, "monotonic", lambda: self.now)
        self.book = AddressBook(peers=4, per_peer=3)
        self.connected: set[PeerId] = set()
        self.given: dict[PeerId, set[Multiaddr]] = {}

    def teardown(self) -> None:
        self.patch.undo()

    @initialize()
    def hold(self) -> None:
        store_of(self.book).hold(self.connected)

    @rule(peer=peers, place=places)
    def add(self, peer: PeerId, place: Multiaddr) -> None:
        before = self.book.addresses(peer)
        try:
            self.book.add(peer, place)
        except LimitExceeded:
            assert set(self.book.addresses(peer)) <= set(before)
        else:
            self.given.setdefault(peer, set()).add(place)

    @rule(peer=peers, place=st.none() | places)
    def remove(self, peer: PeerId, place: Multiaddr | None) -> None:
        self.book.remove(peer, place)
        if place is None:
            self.given.pop(peer, None)
        else:
            self.given.get(peer, set()).discard(place)

    @rule(peer=peers, told=st.lists(places, max_size=5), seq=st.none() | st.integers(0, 3))
    def learn(self, peer: PeerId, told: list[Multiaddr], seq: int | None) -> None:
        store_of(self.book).learn(peer, told, edition=None if seq is None else Edition(seq, bytes(16)))

    @rule(peer=peers, place=places)
    def worked(self, peer: PeerId, place: Multiaddr) -> None:
        store_of(self.book).worked(peer, place)

    @rule(peer=peers, place=places)
    def failed(self, peer: PeerId, place: Multiaddr) -> None:
        before = set(self.book.addresses(peer))
        store_of(self.book).failed(peer, place)
        assert set(self.book.addresses(peer)) == before

    @rule(peer=peers, named=st.none() | st.lists(peers, max_size=2), exclusive=st.booleans())
    def via(self, peer: PeerId, named: list[PeerId] | None, exclusive: bool) -> None:
        try:
            self.book.via(peer, named, exclusive=exclusive)
        except ConfigError:
            assert (named, exclusive) == ([], True)
        except LimitExceeded:
            assert peer not in store_of(self.book)._lasting

    @rule(named=st.lists(peers, max_size=2))
    def set_relays(self, named: list[PeerId]) -> None:
        self.book.relays = named

    @rule(peer=peers)
    def connect(self, peer: PeerId) -> None:
        self.connected ^= {peer}

    @rule(seconds=st.sampled_from([1.0, 1_800.0, 3_600.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def export(self) -> None:
        again = AddressBook()
        again.import_(self.book.export())
        for peer in store_of(self.book)._lasting:
            lasting = list(store_of(self.book).entry(peer).lasting)
            assert list(store_of(again).entry(peer).places) == lasting
            if lasting:
                assert store_of(again).edition(peer) == store_of(self.book).edition(peer)
        assert again.relays == list(dict.fromkeys(self.book.relays))

    @invariant()
    def counts(self) -> None:
        book = self.book
        entries = [*store_of(book)._lasting.values(), *store_of(book)._hearsay.values()]
        assert store_of(book)._count == sum(len(known.places) for known in entries)
        assert store_of(book)._size == sum(len(place) for known in entries for place in known.places)
        assert len(entries) <= 4
        assert store_of(book)._count <= 8
        assert not store_of(book)._lasting.keys() & store_of(book)._hearsay.keys()
        assert all(known.stays for known in store_of(book)._lasting.values())
        assert not any(known.stays for known in store_of(book)._hearsay.values())
        assert all(len(known.places) <= 3 for known in entries)

    @invariant()
    def what_the_caller_gave_is_there(self) -> None:
        for peer, given in self.given.items():
            assert given <= {Multiaddr(place) for place in store_of(self.book).entry(peer).places}

    @invariant()
    def dial_order(self) -> None:
        for peer in PEERS:
            listed = self.book.addresses(peer)
            known = store_of(self.book).entry(peer)
            assert len(set(listed)) == len(listed)
            for address in listed:
                through = relays_of(address)
                assert split_peer(address)[1] == (peer if through else None)
                assert peer not in through
                assert through or not known.exclusive
                assert known.relays is None or set(through) <= set(known.relays)


TestBook = Book.TestCase
TestBook.settings = settings(max_examples=30, stateful_step_count=50, deadline=None)
