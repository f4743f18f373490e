"""The address book: what stays, what is forgotten and when, and in which order addresses are dialed."""

from __future__ import annotations

import pytest

from stronghold_p2p import AddressBook, ConfigError, Identity, LimitExceeded, PeerId
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.book import store
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.book.entry import LEARNED
from stronghold_p2p.identity import Edition

ALICE, BOB, CAROL = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in (1, 2, 3))
RELAY, OTHER = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in (4, 5))
ONE, TWO, THREE, FOUR = (parse(f"/ip4/192.0.2.{number}/tcp/4001") for number in range(1, 5))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_added_addresses_are_dialed_in_their_order() -> None:
    book = AddressBook()
    book.add(BOB, str(ONE))
    book.add(BOB, f"{TWO}/p2p/{BOB}")
    book.add(BOB, ONE)
    assert book.addresses(BOB) == (ONE, TWO)
    assert book.peers() == (BOB,)
    book.remove(BOB, str(ONE))
    book.remove(BOB, THREE)
    assert book.addresses(BOB) == (TWO,)
    book.remove(BOB)
    book.remove(BOB)
    assert (book.addresses(BOB), book.peers()) == ((), ())


@pytest.mark.parametrize("address", ["nonsense", "", f"{ONE}/p2p/{ALICE}", f"/p2p/{BOB}"])
def test_what_is_no_address_of_the_peer(address: str) -> None:
    book = AddressBook()
    with pytest.raises(ConfigError) as caught:
        book.add(BOB, address)
    assert caught.value.where == address
    assert book.peers() == ()


def test_the_last_success_comes_first_and_a_failure_last() -> None:
    book = AddressBook()
    for address in (ONE, TWO, THREE):
        book.add(BOB, address)
    store_of(book).worked(BOB, TWO)
    assert book.addresses(BOB) == (TWO, ONE, THREE)
    store_of(book).failed(BOB, TWO)
    assert book.addresses(BOB) == (ONE, THREE, TWO)
    store_of(book).failed(BOB, FOUR)
    store_of(book).failed(CAROL, FOUR)
    assert book.addresses(BOB) == (ONE, THREE, TWO)
    assert book.peers() == (BOB,)


def test_what_was_only_learned_is_forgotten_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(store, "monotonic", clock)
    book = AddressBook()
    book.add(BOB, ONE)
    store_of(book).learn(BOB, [ONE, TWO, THREE])
    store_of(book).learn(CAROL, [FOUR])
    clock.now += LEARNED - 1
    store_of(book).learn(BOB, [TWO])
    assert book.addresses(BOB) == (ONE, TWO, THREE)
    clock.now += 1
    assert book.addresses(BOB) == (ONE, TWO)
    assert book.peers() == (BOB,)
    store_of(book).worked(BOB, TWO)
    clock.now += 10 * LEARNED
    assert book.addresses(BOB) == (TWO, ONE)


def test_learned_addresses_take_free_places_only() -> None:
    book = AddressBook(per_peer=3)
    store_of(book).learn(BOB, [ONE, TWO, THREE, FOUR])
    assert book.addresses(BOB) == (ONE, TWO, THREE)
    book.add(BOB, FOUR)
    assert book.addresses(BOB) == (ONE, TWO, FOUR)
    store_of(book).worked(BOB, THREE)
    assert book.addresses(BOB) == (THREE, ONE, FOUR)
    book.add(BOB, ONE)  # now it stays, too
    store_of(book).learn(BOB, [TWO])
    assert book.addresses(BOB) == (THREE, FOUR, ONE)
    book.add(BOB, THREE)
    with pytest.raises(LimitExceeded, match=r"3 addresses of 12D3KooW.* are known: remove some") as caught:
        book.add(BOB, TWO)
    assert (caught.value.limit, caught.value.maximum, caught.value.peer) == ("per_peer", 3, BOB)
    assert book.addresses(BOB) == (THREE, FOUR, ONE)
    store_of(book).worked(BOB, TWO)  # nothing that was given gives way
    assert book.addresses(BOB) == (THREE, FOUR, ONE)


def test_peers_of_whom_addresses_were_only_learned_go_first() -> None:
    book = AddressBook(peers=2)
    book.add(ALICE, ONE)
    store_of(book).learn(BOB, [TWO])
    store_of(book).learn(CAROL, [THREE])
    assert book.peers() == (ALICE, CAROL)
    store_of(book).worked(CAROL, THREE)
    store_of(book).learn(BOB, [TWO])
    assert book.peers() == (ALICE, CAROL)
    book.add(BOB, TWO)  # a dial has found the one, the caller has named the other
    assert set(book.peers()) == {ALICE, BOB}
    store_of(book).worked(CAROL, THREE)  # all were named
    assert set(book.peers()) == {ALICE, BOB}
    with pytest.raises(LimitExceeded, match=r"the book holds 2 peers, .*: remove some"):
        book.add(CAROL, THREE)
    assert book.addresses(CAROL) == ()
    assert set(book.peers()) == {ALICE, BOB}
    with pytest.raises(LimitExceeded):
        book.via(CAROL, ())
    book.remove(ALICE)
    book.add(CAROL, THREE)
    assert book.peers() == (BOB, CAROL)


@pytest.mark.parametrize(("name", "most"), [("peers", 10_000), ("per_peer", 64)])
def test_limits_can_only_be_lowered(name: str, most: int) -> None:
    AddressBook(**{name: most})
    with pytest.raises(ConfigError, match=f"a file has at most {most}") as caught:
        AddressBook(**{name: most + 1})
    assert caught.value.where == name


def strangers(count: int) -> list[PeerId]:
    return [PeerId(b"\x12\x20" + number.to_bytes(32, "big")) for number in range(count)]


def test_a_book_has_room_for_so_many_addresses_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ADDRESSES", 8)
    book = AddressBook()
    one, two, three, four, *_ = strangers(9)
    store_of(book).learn(one, [ONE, TWO, THREE])
    store_of(book).worked(two, ONE)
    store_of(book).learn(two, [ONE, TWO, THREE])
    store_of(book).learn(three, [ONE, TWO, THREE])  # the ninth: what was told longest ago gives way
    assert set(book.peers()) == {two, three}
    store_of(book).worked(four, ONE)
    store_of(book).learn(four, [ONE, TWO, THREE])
    assert set(book.peers()) == {two, four}
    store_of(book).learn(one, [ONE, TWO, THREE])  # nothing that was told by strangers is left to forget, but its own
    assert set(book.peers()) == {two, four}
    book.add(one, ONE)
    book.add(one, TWO)
    book.add(one, THREE)  # what was told by those who stay goes before what stays
    assert [len(book.addresses(peer)) for peer in (one, two, four)] == [3, 1, 3]
    book.add(three, ONE)
    for address in (ONE, TWO, THREE):
        book.add(three, address)
    book.add(BOB, ONE)  # found by dials: gone
    assert set(book.peers()) == {one, three, BOB, four}
    book.add(BOB, TWO)
    assert set(book.peers()) == {one, three, BOB}
    with pytest.raises(LimitExceeded, match="or 8 addresses, that may not be forgotten"):
        book.add(BOB, THREE)
    assert book.addresses(BOB) == (ONE, TWO)
    monkeypatch.setattr(store, "ADDRESSES", 100)
    monkeypatch.setattr(store, "SIZE", 8 * len(bytes(ONE)))
    with pytest.raises(LimitExceeded):
        book.add(BOB, THREE)


def test_a_signed_record_counts_alone_while_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(store, "monotonic", clock)
    book = AddressBook()
    store_of(book).learn(BOB, [ONE, TWO])
    book.add(BOB, FOUR)
    store_of(book).learn(BOB, [TWO, THREE], edition=Edition(7, b""))
    assert set(book.addresses(BOB)) == {TWO, THREE, FOUR}
    store_of(book).learn(BOB, [ONE])
    store_of(book).learn(BOB, [ONE], edition=Edition(6, b""))
    assert set(book.addresses(BOB)) == {TWO, THREE, FOUR}
    clock.now += LEARNED / 2
    store_of(book).learn(BOB, [ONE], edition=Edition(7, b"other"))  # hostile row 95
    store_of(book).learn(BOB, [TWO], edition=Edition(7, b""))  # the same again: what it tells holds longer
    clock.now += LEARNED / 2
    assert set(book.addresses(BOB)) == {TWO, FOUR}
    store_of(book).learn(BOB, [THREE], edition=Edition(8, b""))
    assert set(book.addresses(BOB)) == {THREE, FOUR}
    store_of(book).learn(BOB, [], edition=Edition(9, b""))
    assert book.addresses(BOB) == (FOUR,)
    store_of(book).learn(BOB, [ONE])
    assert book.addresses(BOB) == (FOUR,)
    clock.now += LEARNED
    for edition in (Edition(8, b""), Edition(9, b"other")):
        store_of(book).learn(BOB, [THREE], edition=edition)  # no older one is taken after that, either
    assert book.addresses(BOB) == (FOUR,)
    store_of(book).learn(BOB, [ONE])
    assert set(book.addresses(BOB)) == {ONE, FOUR}
    store_of(book).learn(BOB, [TWO], edition=Edition(9, b""))
    assert set(book.addresses(BOB)) == {TWO, FOUR}
    store_of(book).learn(CAROL, [], edition=Edition(1, b""))
    assert CAROL not in book.peers()
    assert store_of(book).edition(CAROL) is None  # of whom nothing is known, nothing can be taken back


def test_b16_what_is_said_beside_a_record_is_tried_last(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(store, "monotonic", clock)
    book = AddressBook()
    store_of(book).learn(BOB, [ONE], edition=Edition(7, b""))
    store_of(book).learn(BOB, [TWO, ONE], besides=True)
    assert book.addresses(BOB) == (ONE, TWO)
    assert store_of(book).edition(BOB) == Edition(7, b"")
    clock.now += LEARNED / 2
    store_of(book).learn(BOB, [ONE], edition=Edition(7, b""))  # the same record again takes nothing away
    assert book.addresses(BOB) == (ONE, TWO)
    clock.now += LEARNED / 2
    assert book.addresses(BOB) == (ONE,)
    store_of(book).learn(BOB, [TWO], besides=True)
    store_of(book).learn(BOB, [THREE], edition=Edition(8, b""))
    assert book.addresses(BOB) == (THREE,)


def test_relays_give_the_dial_order() -> None:
    book = AddressBook()
    book.add(RELAY, f"{THREE}/p2p/{RELAY}")
    book.add(OTHER, FOUR)
    book.add(BOB, ONE)
    book.add(BOB, TWO)
    through = {
        relay: parse(f"{place}/p2p/{relay}/p2p-circuit/p2p/{BOB}") for relay, place in ((RELAY, THREE), (OTHER, FOUR))
    }
    assert book.addresses(BOB) == (ONE, TWO)
    book.relays = [OTHER, RELAY, ALICE]  # no address of alice is known
    assert book.addresses(BOB) == (ONE, TWO, through[OTHER], through[RELAY])
    assert book.addresses(CAROL) == tuple(
        parse(f"{place}/p2p/{relay}/p2p-circuit/p2p/{CAROL}") for relay, place in ((OTHER, FOUR), (RELAY, THREE))
    )
    book.via(BOB, [RELAY])
    assert book.addresses(BOB) == (through[RELAY], ONE, TWO)
    book.via(BOB, None, exclusive=True)
    assert book.addresses(BOB) == (through[OTHER], through[RELAY])
    book.via(BOB, ())
    assert book.addresses(BOB) == (ONE, TWO)
    book.via(BOB, None)
    assert book.addresses(BOB) == (ONE, TWO, through[OTHER], through[RELAY])
    book.via(CAROL, [ALICE], exclusive=True)  # may come to be known later
    assert book.addresses(CAROL) == ()
    book.add(ALICE, ONE)
    assert book.addresses(CAROL) == (parse(f"{ONE}/p2p/{ALICE}/p2p-circuit/p2p/{CAROL}"),)
    with pytest.raises(ConfigError, match="nothing is left to dial"):
        book.via(BOB, (), exclusive=True)
    with pytest.raises(ConfigError, match="65 relays, at most 64"):
        book.via(BOB, strangers(65))


def test_relayed_addresses_are_known_like_others() -> None:
    book = AddressBook()
    relayed = parse(f"{THREE}/p2p/{RELAY}/p2p-circuit/p2p/{BOB}")
    book.add(BOB, ONE)
    book.add(BOB, relayed)
    book.add(BOB, str(relayed).rpartition("/p2p/")[0])  # the same
    assert book.addresses(BOB) == (ONE, relayed)
    store_of(book).worked(BOB, relayed)
    assert book.addresses(BOB) == (relayed, ONE)
    store_of(book).failed(BOB, relayed)
    assert book.addresses(BOB) == (ONE, relayed)
    book.via(BOB, [OTHER])
    assert book.addresses(BOB) == (ONE,)
    book.remove(BOB, relayed)
    book.via(BOB, None)
    assert book.addresses(BOB) == (ONE,)


def test_an_import_brings_no_more_relays_than_can_be_saved() -> None:
    relays = [Identity.from_seed(bytes([seed]) * 32).peer_id for seed in range(100)]
    book, other = AddressBook(), AddressBook()
    book.relays, other.relays = relays[:40], relays[30:64]
    book.import_(other.export())
    assert book.relays == relays[:64]
    other.relays = relays[64:65]
    other.add(relays[0], "/ip4/192.0.2.1/tcp/1")
    with pytest.raises(LimitExceeded, match="more than 64 relays: remove some"):
        book.import_(other.export())
    assert book.relays == relays[:64]
    assert book.peers() == ()
    book.export()


def test_an_import_of_what_is_known_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ADDRESSES", 3)
    book = AddressBook()
    book.add(BOB, ONE)
    book.add(BOB, TWO)
    book.import_(book.export())
    assert book.addresses(BOB) == (ONE, TWO)
    other = AddressBook()
    other.add(BOB, THREE)
    other.add(ALICE, ONE)
    with pytest.raises(LimitExceeded):
        book.import_(other.export())
    other.remove(ALICE)
    book.import_(other.export())
    assert book.addresses(BOB) == (ONE, TWO, THREE)


def test_what_was_told_gives_way_before_what_was_found() -> None:
    book = AddressBook(per_peer=2)
    store_of(book).worked(ALICE, ONE)
    store_of(book).learn(ALICE, [TWO])
    store_of(book).failed(ALICE, ONE)
    assert book.addresses(ALICE) == (TWO, ONE)
    book.add(ALICE, THREE)
    assert book.addresses(ALICE) == (ONE, THREE)


def test_what_is_learned_for_a_while_is_forgotten_then_or_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """As mDNS tells it: what the peer has told for an hour, what was given and what a dial has found stay."""
    clock = Clock()
    monkeypatch.setattr(store, "monotonic", clock)
    book = AddressBook()
    book.add(BOB, ONE)
    store_of(book).learn(BOB, [TWO])
    store_of(book).learn(BOB, [ONE, TWO, THREE, FOUR], besides=True, seconds=120)
    assert book.addresses(BOB) == (ONE, TWO, THREE, FOUR)
    store_of(book).worked(BOB, FOUR)
    store_of(book).unlearn(BOB, [ONE, TWO, THREE, FOUR], seconds=600)
    assert book.addresses(BOB) == (FOUR, ONE, TWO)
    store_of(book).learn(BOB, [THREE], seconds=120)
    assert book.addresses(BOB) == (FOUR, ONE, TWO, THREE)
    clock.now += 121
    assert book.addresses(BOB) == (FOUR, ONE, TWO)
    store_of(book).unlearn(CAROL, [ONE], seconds=600)
    assert book.peers() == (BOB,)
