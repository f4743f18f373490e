"""The defects of the Rust library's address book, each by its number in docs/catalogue/parity.md: ours has none."""

from __future__ import annotations

import asyncio

import pytest

from stronghold_p2p import AddressBook, DialError, Identity, Network, P2PError, Timeouts
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.events.events import Opened
from stronghold_p2p.protocols.identify import Identify
from tests.peers import LOOPBACK, swarm, until

ALICE, BOB, FIRST, SECOND, THIRD = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in range(1, 6))
ONE, TWO, THREE = (parse(f"/ip4/192.0.2.{number}/tcp/4001") for number in (1, 2, 3))


def relaying() -> AddressBook:
    """Two relays, of which addresses are known."""
    book = AddressBook()
    book.add(FIRST, ONE)
    book.add(SECOND, TWO)
    book.relays = [FIRST, SECOND]
    return book


def relays_of(book: AddressBook) -> list[str]:
    """The relays through which bob is dialed."""
    return [str(address).split("/")[6] for address in book.addresses(BOB) if "p2p-circuit" in str(address)]


def test_d3_removing_a_relay_removes_that_one_and_no_other() -> None:
    book = relaying()
    book.add(THIRD, THREE)
    book.relays.append(THIRD)
    book.relays.remove(SECOND)
    assert book.relays == [FIRST, THIRD]
    assert relays_of(book) == [str(FIRST), str(THIRD)]
    book.import_(book.export())
    assert book.relays == [FIRST, THIRD]


@pytest.mark.parametrize("given", [str(ONE), f"{ONE}/p2p/{FIRST}"])
def test_d6_a_relay_is_named_once_also_after_it_was_dialed(given: str) -> None:
    book = AddressBook()
    book.relays = [FIRST]
    book.add(FIRST, given)
    expected = parse(f"{ONE}/p2p/{FIRST}/p2p-circuit/p2p/{BOB}")
    assert book.addresses(BOB) == (expected,)
    store_of(book).worked(FIRST, parse(f"{ONE}/p2p/{FIRST}"))  # as the Rust library learns it from a dial
    store_of(book).worked(FIRST, ONE)
    assert book.addresses(FIRST) == (ONE,)
    assert book.addresses(BOB) == (expected,)
    book.via(BOB, [FIRST])
    assert book.addresses(BOB) == (expected,)
    book.import_(f'{{"peers":{{"{BOB}":{{"known":["{ONE}/p2p/{FIRST}/p2p/{FIRST}/p2p-circuit/p2p/{BOB}"]}}}}}}')
    assert book.addresses(BOB) == (expected,)


async def test_d9_where_a_connection_came_from_is_not_learned() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        Identify(alice, "a")
        Identify(bob, "b")
        opened: list[str] = []
        bob.hub.follow(
            lambda event: opened.append(str(event.connection.remote_address)) if isinstance(event, Opened) else None
        )
        await alice.dial(bob.peer_id, bob.addresses)
        await until(lambda: bob.book.addresses(alice.peer_id))
        assert len(opened) == 1
        assert opened[0] not in map(str, alice.addresses)  # an ephemeral port
        assert bob.book.addresses(alice.peer_id) == alice.addresses  # where it listens, as it says
        assert str(alice.peer_id) not in bob.book.export()
        for connection in bob.connections():
            await connection.close()
        again = await bob.dial(alice.peer_id)
        assert again.remote_address == alice.addresses[0]


async def test_d9_who_listens_nowhere_has_no_address() -> None:
    async with Network(listen=[LOOPBACK]) as bob, Network() as alice:
        await alice.connect(bob.addresses[0])
        await alice.identify(bob.peer_id)
        await bob.identify(alice.peer_id)
        assert bob.book.addresses(alice.peer_id) == ()
        assert bob.book.peers() == ()
        await alice.disconnect(bob.peer_id)
        await until(lambda: not bob.connections())
        with pytest.raises(DialError, match="no address of 12D3KooW"):
            await bob.connect(alice.peer_id)


def test_d9_a_name_alone_is_no_address() -> None:
    book = AddressBook()
    store_of(book).learn(BOB, [parse(f"/p2p/{BOB}"), parse(f"{ONE}/p2p/{ALICE}"), parse(f"{TWO}/p2p/{BOB}")])
    assert book.addresses(BOB) == (TWO,)
    store_of(book).failed(BOB, parse(f"/p2p/{BOB}"))
    assert book.addresses(BOB) == (TWO,)
    book.import_(f'{{"peers":{{"{ALICE}":{{"known":["/p2p/{ALICE}","{ONE}"]}}}}}}')
    assert book.addresses(ALICE) == (ONE,)


def test_d27_exclusive_is_exclusive() -> None:
    book = relaying()
    book.add(BOB, THREE)
    store_of(book).worked(BOB, parse(f"{TWO}/p2p/{SECOND}/p2p-circuit/p2p/{BOB}"))
    book.via(BOB, [FIRST], exclusive=True)
    assert book.addresses(BOB) == (parse(f"{ONE}/p2p/{FIRST}/p2p-circuit/p2p/{BOB}"),)
    again = AddressBook()
    again.import_(book.export())
    assert again.addresses(BOB) == book.addresses(BOB)


def test_d27_no_relays_means_none_also_of_those_that_have_worked() -> None:
    book = relaying()
    book.add(BOB, THREE)
    store_of(book).worked(BOB, parse(f"{ONE}/p2p/{FIRST}/p2p-circuit/p2p/{BOB}"))
    store_of(book).failed(BOB, parse(f"{TWO}/p2p/{SECOND}/p2p-circuit/p2p/{BOB}"))  # a fall-back: not learned
    assert relays_of(book) == [str(FIRST), str(SECOND)]
    book.via(BOB, ())
    assert book.addresses(BOB) == (THREE,)
    book.via(BOB, None)
    assert relays_of(book) == [str(FIRST), str(SECOND)]


def test_d27_a_relay_gets_a_new_address_at_any_time() -> None:
    book = relaying()
    book.relays = [FIRST]
    book.remove(FIRST)
    assert book.addresses(BOB) == ()
    book.add(FIRST, THREE)
    assert book.addresses(BOB) == (parse(f"{THREE}/p2p/{FIRST}/p2p-circuit/p2p/{BOB}"),)
    store_of(book).worked(FIRST, TWO)
    assert book.addresses(BOB) == (parse(f"{TWO}/p2p/{FIRST}/p2p-circuit/p2p/{BOB}"),)


def test_d31_nobody_is_reached_through_itself() -> None:
    book = relaying()
    through = parse(f"{TWO}/p2p/{SECOND}/p2p-circuit/p2p/{FIRST}")
    assert book.addresses(FIRST) == (ONE, through)
    book.via(FIRST, [FIRST, SECOND])
    assert book.addresses(FIRST) == (through, ONE)
    store_of(book).worked(FIRST, parse(f"{TWO}/p2p/{FIRST}/p2p-circuit/p2p/{FIRST}"))
    assert book.addresses(FIRST) == (through, ONE)


async def test_d31_a_relay_that_cannot_be_reached_is_an_error_in_time() -> None:
    book = relaying()
    book.remove(FIRST)
    async with Network(book=book, timeouts=Timeouts(dial=0.5)) as network, asyncio.timeout(5):
        with pytest.raises(P2PError):
            await network.connect(FIRST)


async def test_relayed_addresses_take_no_time_and_no_place() -> None:
    book = relaying()
    async with Network(listen=[LOOPBACK]) as bob, Network(book=book) as alice:
        place = split_peer(bob.addresses[0])[0]
        book.add(bob.peer_id, place)
        book.add(bob.peer_id, f"{THREE}/p2p/{THIRD}/p2p-circuit")
        book.via(bob.peer_id, [FIRST, SECOND, THIRD])
        before = book.addresses(bob.peer_id)
        assert before[-1] == place
        assert len(before) == 4
        await alice.connect(bob.peer_id)
        assert set(book.addresses(bob.peer_id)) == set(before)
