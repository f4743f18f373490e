"""The address book: what stays, what is forgotten and when, and in which order addresses are dialed."""

from __future__ import annotations

import pytest

from stronghold_p2p import AddressBook, ConfigError, Identity
from stronghold_p2p.multiaddrs import parse
from stronghold_p2p.swarm.addresses import LEARNED

ALICE, BOB, CAROL = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in (1, 2, 3))
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
    book.worked(BOB, TWO)
    assert book.addresses(BOB) == (TWO, ONE, THREE)
    book.failed(BOB, TWO)
    assert book.addresses(BOB) == (ONE, THREE, TWO)
    book.failed(BOB, FOUR)
    book.failed(CAROL, FOUR)
    assert book.addresses(BOB) == (ONE, THREE, TWO)
    assert book.peers() == (BOB,)


def test_what_was_only_learned_is_forgotten_after_an_hour() -> None:
    clock = Clock()
    book = AddressBook(clock=clock)
    book.add(BOB, ONE)
    book.learn(BOB, [ONE, TWO, THREE])
    book.learn(CAROL, [FOUR])
    clock.now += LEARNED - 1
    book.learn(BOB, [TWO])
    assert book.addresses(BOB) == (ONE, TWO, THREE)
    clock.now += 1
    assert book.addresses(BOB) == (ONE, TWO)
    assert book.peers() == (BOB,)
    book.worked(BOB, TWO)
    clock.now += 10 * LEARNED
    assert book.addresses(BOB) == (TWO, ONE)


def test_learned_addresses_take_free_places_only() -> None:
    book = AddressBook(per_peer=3)
    book.learn(BOB, [ONE, TWO, THREE, FOUR])
    assert book.addresses(BOB) == (ONE, TWO, THREE)
    book.add(BOB, FOUR)
    assert book.addresses(BOB) == (ONE, TWO, FOUR)
    book.worked(BOB, THREE)
    assert book.addresses(BOB) == (THREE, ONE, FOUR)
    book.add(BOB, ONE)  # now it stays, too
    book.learn(BOB, [TWO])
    assert book.addresses(BOB) == (THREE, FOUR, ONE)
    book.add(BOB, TWO)  # one more than there are places: the last one goes
    assert book.addresses(BOB) == (THREE, FOUR, ONE)


def test_peers_of_whom_addresses_were_only_learned_go_first() -> None:
    book = AddressBook(peers=2)
    book.add(ALICE, ONE)
    book.learn(BOB, [TWO])
    book.learn(CAROL, [THREE])
    assert book.peers() == (ALICE, CAROL)
    book.worked(CAROL, THREE)
    book.learn(BOB, [TWO])
    assert book.peers() == (ALICE, CAROL)
    book.add(BOB, TWO)  # all are kept: the one that was used longest ago
    assert book.peers() == (CAROL, BOB)
