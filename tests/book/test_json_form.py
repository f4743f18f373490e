"""An address book as JSON: the Rust library's shape both ways, and what is wrong with it in the words of its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p import ConfigError, Identity, PeerId
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.book import json_form
from stronghold_p2p.book.json_form import Content, SavedPeer, dumps, loads, to_bytes, to_text
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import Edition

ALICE, BOB, CAROL, RELAY = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in range(1, 5))
ONE, TWO = (bytes(parse(f"/ip4/192.0.2.{number}/tcp/4001")) for number in (1, 2))
NAMED = bytes(parse("/dns4/example.org/tcp/4001"))
RELAYED = bytes(parse(f"/ip4/192.0.2.9/tcp/4001/p2p/{RELAY}/p2p-circuit"))

WHOLE = Content(
    peers=(
        SavedPeer(ALICE, (ONE, RELAYED, NAMED), pinned=True),
        SavedPeer(BOB, (TWO,), relays=(RELAY, CAROL), exclusive=True),
        SavedPeer(CAROL, (), relays=(), edition=Edition(0, bytes(16))),
        SavedPeer(RELAY, (ONE,), exclusive=True, edition=Edition(2**64 - 1, bytes(range(16)))),
    ),
    relays=(RELAY, CAROL),
)


def old(known: list[str], *, fallback: bool = True, relays: list[PeerId] | None = None) -> bytes:
    """What serde_json makes of the Rust library's ``AddressInfo``, with alice in it."""
    peers = {str(ALICE): {"known": known, "use_relay_fallback": fallback}}
    return json.dumps({"peers": peers, "relays": list(map(str, relays or []))}).encode()


def test_what_is_written_is_read_again() -> None:
    assert loads(dumps(WHOLE), "book") == WHOLE
    assert loads(dumps(Content()), "book") == Content()


def test_an_older_reader_finds_its_fields() -> None:
    """serde skips the fields that it does not know; those of the Rust library have these names and types."""
    written = json.loads(dumps(WHOLE))
    assert written["relays"] == [str(RELAY), str(CAROL)]
    assert list(written["peers"]) == [str(ALICE), str(BOB), str(CAROL), str(RELAY)]
    assert written["peers"][str(ALICE)] == {
        "known": [
            "/ip4/192.0.2.1/tcp/4001",
            f"/ip4/192.0.2.9/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{ALICE}",
            "/dns4/example.org/tcp/4001",
        ],
        "use_relay_fallback": True,
        "pinned": True,
    }
    assert [written["peers"][str(peer)]["use_relay_fallback"] for peer in (BOB, CAROL, RELAY)] == [False] * 3
    assert dumps(WHOLE).count(b"\n") == 6  # a line for each peer


def test_a_book_of_the_rust_library() -> None:
    body = old(
        [
            "/ip4/192.0.2.1/tcp/4001",
            f"/ip4/192.0.2.2/tcp/4001/p2p/{ALICE}",
            f"/ip4/192.0.2.1/tcp/4001/p2p/{ALICE}",  # the same as the first, with its name
            f"/p2p/{ALICE}",  # learned from a relayed connection
            f"/ip4/192.0.2.9/tcp/4001/p2p/{RELAY}/p2p/{RELAY}/p2p-circuit/p2p/{ALICE}",  # named twice
        ],
        relays=[RELAY, RELAY, CAROL],
    )
    assert loads(body, "book") == Content((SavedPeer(ALICE, (ONE, TWO, RELAYED)),), (RELAY, CAROL))
    assert loads(b'{"peers":{}}', "book") == Content()


def test_without_fallback_only_the_relays_that_were_given_are_left() -> None:
    assert loads(old(["/ip4/192.0.2.1/tcp/4001"], fallback=False), "book").peers[0].relays == ()
    relayed = f"/ip4/192.0.2.9/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{ALICE}"
    assert loads(old([relayed], fallback=False), "book").peers[0].relays == (RELAY,)


def test_of_too_many_addresses_the_first_count() -> None:
    known = [f"/ip4/192.0.2.1/tcp/{port}" for port in range(1, 200)]
    entry = loads(old(known), "book").peers[0]
    assert list(map(to_text, entry.places)) == known[:64]


UNREAD = [
    "/ip4/192.0.2.1/udp/4001/quic-v2",
    "/ip4/192.0.2.1/tcp/80/x-parity-ws/%2F",
    f"/dns4/star.example/tcp/443/wss/libp2p-webrtc-star/p2p/{ALICE}",
]


def test_b18_addresses_of_kinds_that_we_do_not_know_are_kept_as_they_are() -> None:
    body = old([UNREAD[0], "/ip4/192.0.2.1/tcp/4001", *UNREAD[1:], UNREAD[0]])
    content = loads(body, "book")
    assert content == Content((SavedPeer(ALICE, (ONE,), unread=tuple(UNREAD)),))
    written = dumps(content)
    assert json.loads(written)["peers"][str(ALICE)]["known"] == ["/ip4/192.0.2.1/tcp/4001", *UNREAD]
    assert loads(written, "book") == content
    many = loads(old([*(f"/garlic32/{number}" for number in range(100)), "/ip4/192.0.2.1/tcp/4001"]), "book")
    assert (len(many.peers[0].unread), many.peers[0].places) == (64, ())


@pytest.mark.parametrize(
    "text", ["/ip4/192.0.2/quic-v2", "/quic-v2\n", "/UTP", "utp", "/garlic32/" + "x" * 1_024, "/tcp/0x1/quic-v2"]
)
def test_b18_what_is_wrong_with_them_is_told_all_the_same(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(old([text]), "book")
    assert caught.value.where == f"book: peers.{ALICE}.known.0"


ENTRY = {"known": [], "use_relay_fallback": True}
# What may stand in place of alice's entry, where it is wrong, and how.
ENTRIES: list[tuple[object, str, str]] = [
    ([], "", "not _Peer"),
    ({}, ".known", "missing"),
    ({"known": {}}, ".known", "not list"),
    ({"known": [7]}, ".known.0", "not str"),
    ({"known": ["/ip4/1.2.3.4/tcp/1", "x"]}, ".known.1", "address"),
    ({"known": [f"/ip4/1.2.3.4/tcp/1/p2p/{BOB}"]}, ".known.0", "names another peer"),
    (ENTRY | {"use_relay_fallback": 1}, ".use_relay_fallback", "not bool"),
    (ENTRY | {"pinned": None}, ".pinned", "not bool"),
    (ENTRY | {"via": []}, ".via", "not "),
    (ENTRY | {"via": {"relays": [1]}}, ".via.relays.0", "not str"),
    (ENTRY | {"record": {"seq": 1}}, ".record.digest", "missing"),
    (ENTRY | {"record": {"seq": -1, "digest": "00" * 16}}, ".record.seq", "64 bits"),
    (ENTRY | {"record": {"seq": 1 << 64, "digest": "00" * 16}}, ".record.seq", "64 bits"),
    *(
        (ENTRY | {"record": {"seq": 1, "digest": digest}}, ".record.digest", "16 bytes in hexadecimal")
        for digest in ("", "00" * 15, "0G" * 16, "00" * 16 + "\n")
    ),
]


@pytest.mark.parametrize(
    ("book", "where", "what"),
    [
        ([], "book", "not _Book"),
        ({}, "book: peers", "missing"),
        ({"peers": []}, "book: peers", "not dict"),
        ({"version": 2, "peers": {}}, "book: version", "2 is not known: this program reads 1"),
        ({"version": True, "peers": {}}, "book: version", "not int"),
        ({"peers": {"me": {}}}, "book: peers.me.known", "missing"),
        ({"peers": {"me": ENTRY}}, "book: peers.me", "peer id"),
        *(({"peers": {str(ALICE): one}}, f"book: peers.{ALICE}{where}", what) for one, where, what in ENTRIES),
        ({"peers": {str(ALICE): ENTRY, ALICE.to_cid(): ENTRY}}, "book: peers", "one peer twice"),
        ({"peers": {}, "relays": ["x"]}, "book: relays.0", "peer id"),
        ({"peers": {}, "relays": [str(ALICE)] * 65}, "book: relays", "65 relays, at most 64"),
    ],
)
def test_what_is_wrong_and_where(book: Any, where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(json.dumps(book).encode(), "book")
    assert caught.value.where == where
    assert str(caught.value).startswith(f"{where}: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "book:1:1"),
        (b'{"peers":{},\n"relays":[}', "book:2:11"),
        (b'{"peers":{},"peers":{}}', "book: peers"),
        (b"\xff", "book"),
        (b"[" * 200, "book"),
        (b'{"peers":{"\\ud800":1}}', "book"),
    ],
)
def test_what_is_no_json(body: bytes, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(body, "book")
    assert caught.value.where == where


def test_too_much_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_form, "PEERS", 4)
    assert loads(dumps(WHOLE), "book") == WHOLE
    monkeypatch.setattr(json_form, "PEERS", 3)
    with pytest.raises(ConfigError, match="4 peers, at most 3"):
        loads(dumps(WHOLE), "book")
    monkeypatch.undo()
    monkeypatch.setattr(json_form, "ADDRESSES", 4)
    with pytest.raises(ConfigError, match="5 addresses, at most 4"):
        loads(dumps(WHOLE), "book")
    monkeypatch.setattr(json_form, "MAX_FILE", 100)
    with pytest.raises(ConfigError, match="at most 100"):
        loads(bytes(101), "book")


places = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 65_535)).map(lambda one: f"/ip4/{one[0]}/tcp/{one[1]}"),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 65_535)).map(lambda one: f"/ip6/{one[0]}/tcp/{one[1]}"),
    st.sampled_from(
        ["/dns4/example.org/tcp/1", "/ip4/1.2.3.4/udp/1/quic-v1", f"/ip4/1.2.3.4/tcp/1/p2p/{ALICE}", "/ws"]
    ),
)


@given(places)
def test_the_short_way_is_the_long_way(text: str) -> None:
    assert to_bytes(text) == bytes(parse(text))
    assert bytes(parse(to_text(to_bytes(text)))) == to_bytes(text)


NO_PLACES = """
/ip4/1.2.3.256/tcp/1 /ip4/1.2.3.04/tcp/1 /ip4/1.2.3.4/tcp/65536 /ip4/1.2.3.4/tcp/01 /ip4/1.2.3.4/tcp/
/ip4/1.2.3.\N{ARABIC-INDIC DIGIT FOUR}/tcp/1 /ip6/1::2::3/tcp/1 /ip6/::1/tcp/65536 /ip6/::1/tcp/01 /ip6/::1%e/tcp/1
"""


@pytest.mark.parametrize("text", [*NO_PLACES.split(), ""])
def test_the_short_way_refuses_what_the_long_way_does(text: str) -> None:
    with pytest.raises(DecodeError):
        to_bytes(text)


def test_what_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(ConfigError, match="65 relays, at most 64"):
        dumps(Content(relays=(ALICE,) * 65))


def test_no_more_relays_are_taken_from_an_old_book_than_are_read_again() -> None:
    through = [Identity.from_seed(bytes([seed]) * 32).peer_id for seed in range(10, 76)]
    pairs = zip(through[::2], through[1::2], strict=True)
    known = [f"/ip4/192.0.2.1/tcp/1/p2p/{one}/p2p-circuit/p2p/{other}/p2p-circuit" for one, other in pairs]
    book = loads(old(known, fallback=False), "book")
    assert book.peers[0].relays == tuple(through[:64])
    assert loads(dumps(book), "book") == book
