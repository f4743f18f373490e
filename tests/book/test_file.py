"""An address book and its file: nothing that is there is lost, and a network keeps what dials have found."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from stronghold_p2p import AddressBook, ConfigError, Identity, LimitExceeded, Network, PeerId
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.book import json_form
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.identity import Edition
from tests.peers import LOOPBACK

ALICE, BOB, CAROL, RELAY = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in range(1, 5))
ONE, TWO, THREE = (parse(f"/ip4/192.0.2.{number}/tcp/4001") for number in (1, 2, 3))


def filled() -> AddressBook:
    book = AddressBook()
    book.add(ALICE, TWO)
    store_of(book).worked(ALICE, ONE)
    store_of(book).worked(BOB, THREE)
    store_of(book).learn(BOB, [ONE])
    store_of(book).learn(CAROL, [ONE])
    book.add(RELAY, THREE)
    book.relays = [RELAY]
    book.via(CAROL, [RELAY], exclusive=True)
    return book


def test_what_stays_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    assert AddressBook.load(path).peers() == ()
    assert not path.exists()
    book = filled()
    book.save(path)
    again = AddressBook.load(str(path))
    assert again.peers() == (ALICE, BOB, RELAY)
    assert again.relays == [RELAY]
    for peer in (ALICE, RELAY, CAROL):
        assert again.addresses(peer) == book.addresses(peer)
    assert again.addresses(BOB)[:1] == (THREE,)  # what was only told is not kept
    assert again.export() == book.export()
    again.remove(ALICE)
    again.save()
    assert AddressBook.load(path).peers() == (BOB, RELAY)
    with pytest.raises(ConfigError, match="loaded from no file"):
        AddressBook().save()


def test_which_record_a_peer_signed_last_is_in_the_file(tmp_path: Path) -> None:
    """Hostile row 95: after a restart, too, an older one is not taken, nor another with the same sequence."""
    path, edition = tmp_path / "book.json", Edition(2**64 - 2, bytes(range(16)))
    book = filled()
    store_of(book).learn(BOB, [ONE], edition=edition)
    store_of(book).learn(CAROL, [ONE], edition=edition)
    book.save(path)
    again = store_of(AddressBook.load(path))
    assert again.edition(BOB) == again.edition(CAROL) == edition
    assert again.edition(ALICE) is None
    for other in (Edition(edition.seq - 1, edition.digest), Edition(edition.seq, bytes(16))):
        again.learn(BOB, [TWO], edition=other)
    assert list(again.entry(BOB).places) == [bytes(THREE)]
    again.learn(BOB, [TWO], edition=Edition(2**64 - 1, bytes(16)))
    assert list(again.entry(BOB).places) == [bytes(THREE), bytes(TWO)]
    again.take(store_of(book).content())  # an import brings no older one back
    assert again.edition(BOB) == Edition(2**64 - 1, bytes(16))


def test_export_and_import() -> None:
    book = filled()
    other = AddressBook()
    other.import_(book.export())
    assert other.export() == book.export()
    other = AddressBook()
    other.add(ALICE, THREE)
    other.relays = [BOB]
    other.import_(book.export())
    other.import_(book.export())
    assert other.addresses(ALICE)[:3] == (THREE, ONE, TWO)
    assert other.relays == [BOB, RELAY]
    before = other.export()
    for text in ("", "{}", "\ud800", book.export()[:-5]):
        with pytest.raises(ConfigError) as caught:
            other.import_(text)
        assert caught.value.where.startswith("the text")
        assert other.export() == before


def test_an_import_that_does_not_fit_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    small = AddressBook(peers=3)
    store_of(small).worked(CAROL, ONE)
    small.add(RELAY, TWO)
    before, text = small.export(), filled().export()
    with pytest.raises(LimitExceeded, match="holds 3 peers"):
        small.import_(text)
    assert small.export() == before
    monkeypatch.setattr("stronghold_p2p.book.store.ADDRESSES", 3)
    with pytest.raises(LimitExceeded, match="more than 3 addresses"):
        AddressBook().import_(text)


DAMAGED = (b"", b"\0" * 100, b"{", b'{"peers":{"x":{}}}', b"[]", filled().export().encode()[:-3], b"[rules]\n")


@pytest.mark.parametrize("body", DAMAGED)
def test_what_is_no_book_is_never_written_over(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "book.json"
    path.write_bytes(body)
    with pytest.raises(ConfigError) as caught:
        AddressBook.load(path)
    assert caught.value.where.startswith(str(path))
    with pytest.raises(ConfigError, match="it is not overwritten: move it away"):
        filled().save(path)
    assert path.read_bytes() == body
    assert list(tmp_path.iterdir()) == [path]


def test_damage_that_comes_later_is_not_written_over_either(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    filled().save(path)
    book = AddressBook.load(path)
    path.write_bytes(b"{")
    book.add(BOB, ONE)
    with pytest.raises(ConfigError, match="not overwritten"):
        book.save()
    assert path.read_bytes() == b"{"
    path.unlink()
    book.save()
    assert AddressBook.load(path).export() == book.export()


def test_a_book_that_is_too_long_to_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "book.json"
    monkeypatch.setattr(json_form, "MAX_FILE", 100)
    with pytest.raises(ConfigError, match="at most 100: remove some"):
        filled().save(path)
    assert not path.exists()


async def test_a_network_saves_what_its_dials_have_found(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    async with Network(listen=[LOOPBACK]) as bob:
        place = split_peer(bob.addresses[0])[0]
        async with Network(book=AddressBook.load(path)) as alice:
            await alice.connect(bob.addresses[0])
            assert not path.exists()
        assert AddressBook.load(path).addresses(bob.peer_id) == (place,)
        async with Network(book=AddressBook.load(path)) as alice:
            assert (await alice.connect(bob.peer_id)).peer == bob.peer_id
    assert json.loads(path.read_text())["peers"][str(bob.peer_id)]["known"] == [str(place)]


async def test_nothing_is_written_where_nothing_has_changed_or_nobody_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    filled().save(path)
    stamp = path.stat().st_mtime_ns
    async with Network(book=AddressBook.load(path)):
        pass
    book = AddressBook.load(path, autosave=False)
    async with Network(book=book):
        book.add(BOB, TWO)
    assert path.stat().st_mtime_ns == stamp
    book.save()
    assert TWO in AddressBook.load(path).addresses(BOB)


async def test_a_network_closes_although_its_book_cannot_be_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "book.json"
    book = AddressBook.load(path)
    with caplog.at_level(logging.WARNING):
        async with Network(book=book):
            book.add(BOB, ONE)
            path.write_bytes(b"{")
    assert [record.name for record in caplog.records] == ["stronghold_p2p.network"]
    assert f"the address book is not saved: {path}:1:2: " in caplog.text
    assert path.read_bytes() == b"{"


async def test_a_network_holds_its_peers_in_the_book_while_it_is_open() -> None:
    book = AddressBook(peers=3)

    def crowd() -> set[PeerId]:
        """Who is left when ten others were dialed."""
        for seed in range(10, 20):
            store_of(book).worked(Identity.from_seed(bytes([seed]) * 32).peer_id, TWO)
        return set(book.peers())

    async with Network(listen=[LOOPBACK]) as bob, Network(book=book) as alice, Network(book=book):
        alice.protected.add(CAROL)
        store_of(book).learn(CAROL, [ONE])
        await alice.connect(bob.addresses[0])
        assert {bob.peer_id, CAROL} <= crowd()
        await alice.disconnect(bob.peer_id)
        left = crowd()
        assert bob.peer_id not in left
        assert CAROL in left
    assert CAROL not in crowd()


def test_b18_addresses_of_kinds_that_we_do_not_know_are_never_dialed_and_written_back(tmp_path: Path) -> None:
    path, unread = tmp_path / "book.json", ["/ip4/192.0.2.1/udp/4001/quic-v2", "/libp2p-webrtc-star"]
    path.write_text(json.dumps({"peers": {str(ALICE): {"known": [*unread, str(ONE)]}, str(BOB): {"known": unread}}}))
    book = AddressBook.load(path)
    assert (book.peers(), book.addresses(ALICE), book.addresses(BOB)) == ((ALICE,), (ONE,), ())
    store_of(book).worked(BOB, TWO)
    book.save()

    def known() -> dict[str, list[str]]:
        return {peer: entry["known"] for peer, entry in json.loads(path.read_text())["peers"].items()}

    assert known() == {str(ALICE): [str(ONE), *unread], str(BOB): [str(TWO), *unread]}
    book.remove(ALICE, unread[0])
    book.remove(BOB)
    book.save()
    assert known() == {str(ALICE): [str(ONE), unread[1]]}
    other = AddressBook()
    other.import_(path.read_text())
    other.import_(path.read_text())
    assert json.loads(other.export())["peers"] == json.loads(path.read_text())["peers"]
    other.remove(ALICE)
    assert json.loads(other.export())["peers"] == {}


def test_b18_a_text_that_is_no_address_stands_in_one_line_of_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        AddressBook().add(ALICE, "/ip4/192.0.2.1/tcp/4001\n")
    assert str(caught.value).startswith(r"'/ip4/192.0.2.1/tcp/4001\n': ")
    assert "\n" not in str(caught.value) + caught.value.where
