"""identify's message as pure functions: what we make, and what is taken from anybody's bytes."""

from __future__ import annotations

import time
from dataclasses import replace
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import tcp_address
from stronghold_p2p.addressing.parse import CheckedAddress, parse, with_peer
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError, HandshakeError
from stronghold_p2p.identity import Envelope, PeerRecord, PublicKey
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.protocols import identify_messages as caps
from stronghold_p2p.protocols.identify_messages import (
    IdentifyMessage,
    PeerInfo,
    View,
    build,
    check_key,
    interpret,
    merge,
)

US = Identity.from_seed(b"u" * 32)
PEER = Identity.from_seed(b"p" * 32)
STRANGER = Identity.from_seed(b"s" * 32)
PUBLIC, PRIVATE, LOOPBACK = (parse(f"/ip4/{ip}/tcp/4001") for ip in ("8.8.8.8", "192.168.1.7", "127.0.0.1"))
KNOWN = PeerInfo(peer=PEER.peer_id)


def dialable(address: Multiaddr) -> bool:
    return tcp_address(address) is not None


def view(remote: Multiaddr) -> View:
    """How a network that dials TCP sees what the peer says from there."""
    return View(PEER.peer_id, remote, dialable, None, us=STRANGER.peer_id)


def addresses(count: int) -> list[bytes]:
    return [bytes(parse(f"/ip4/9.9.{number >> 8}.{number & 255}/tcp/4001")) for number in range(count)]


def named(size: int) -> Multiaddr:
    """An address of about ``size`` bytes: labels of 40 characters and a rest."""
    return parse(f"/dns4/{('y' * 40 + '.') * (size // 41)}{'x' * (size % 41 + 1)}/tcp/1")


def record(seq: int, *listed: bytes, identity: Identity = PEER) -> bytes:
    return PeerRecord(identity.peer_id, seq, tuple(listed)).seal(identity)


def decoded(data: bytes) -> IdentifyMessage:
    return protobuf.decode(IdentifyMessage, data, max_size=caps.MAX_PART, max_fields=caps.MAX_FIELDS)


# ---------------------------------------------------------------------- ours


def test_our_message_has_every_field() -> None:
    data = build(US, "agent/1", ["/a/1", "/b/1"], [PUBLIC, PRIVATE], 7).message(LOOPBACK)
    message = decoded(data)
    assert protobuf.encode(message) == data  # its parts are in canonical order
    assert message.public_key == US.public_key.encode()
    assert message.listen_addrs == (bytes(PUBLIC), bytes(PRIVATE))
    assert message.protocols == (b"/a/1", b"/b/1")
    assert message.observed_addr == bytes(LOOPBACK)
    assert (message.protocol_version, message.agent_version) == (b"ipfs/0.1.0", b"agent/1")
    signed = PeerRecord.open(message.signed_peer_record or b"")
    assert signed == PeerRecord(US.peer_id, 7, (bytes(PUBLIC), bytes(PRIVATE)))


@pytest.mark.parametrize("observed", [None, parse(f"/unix/{'x' * 300}")])
def test_an_observed_address_that_does_not_fit_is_left_out(observed: Multiaddr | None) -> None:
    message = decoded(build(US, "a", [], [], 1).message(observed))
    assert message.observed_addr is None
    assert message.agent_version == b"a"


@pytest.mark.parametrize("count", [0, 1, 60, 64, 100, 500])
def test_surplus_addresses_are_dropped_first(count: int) -> None:
    listed = [parse(data) for data in addresses(count)]
    data = build(US, "agent/1", [f"/protocol/{number:030}" for number in range(50)], listed, 1).message(PUBLIC)
    message = decoded(data)
    assert len(data) <= caps.MAX_SENT
    assert len(message.protocols) == 50
    kept = len(message.listen_addrs)
    assert message.listen_addrs == tuple(addresses(count)[:kept])
    assert PeerRecord.open(message.signed_peer_record or b"").addresses == message.listen_addrs
    assert kept == min(count, caps.MAX_ADDRESSES) or len(data) > caps.MAX_SENT - 300


def test_then_surplus_protocols_are_dropped() -> None:
    names = [f"/protocol/{number:03}/{'x' * 40}" for number in range(200)]
    data = build(US, "a" * 1_000, names, [PUBLIC], 1).message(LOOPBACK)
    message = decoded(data)
    assert len(data) <= caps.MAX_SENT
    assert message.protocols == tuple(name.encode() for name in names[: len(message.protocols)])
    assert len(message.protocols) > 40
    assert len(message.agent_version or b"") == caps.MAX_NAME
    assert PeerRecord.open(message.signed_peer_record or b"").peer_id == US.peer_id


def test_of_more_than_128_protocols_go_would_remember_none() -> None:
    names = [f"/{number}" for number in range(200)]
    message = decoded(build(US, "a", names, [PUBLIC], 1).message(LOOPBACK))
    assert message.protocols == tuple(name.encode() for name in names[: caps.MAX_PROTOCOLS_SENT])


def test_loopback_is_told_last_and_dropped_first() -> None:
    places = [parse(f"/ip4/127.0.0.1/tcp/{port}") for port in range(1, 40)]
    listed = [parse(f"/ip4/10.0.0.1/tcp/{port}") for port in range(1, 40)]
    message = decoded(build(US, "a", ["/x"], [*places, *listed], 1).message(LOOPBACK))
    assert message.listen_addrs == tuple(map(bytes, [*listed, *places]))[: caps.MAX_ADDRESSES]


@given(st.lists(st.integers(1, 200), max_size=80), st.integers(0, 60))
def test_our_message_never_exceeds_what_rust_reads(sizes: list[int], protocols: int) -> None:
    listed = [named(size) for size in sizes]
    template = build(US, "agent", [f"/{'y' * 30}/{n}" for n in range(protocols)], listed, 2**63)
    data = template.message(named(230))
    assert len(data) <= caps.MAX_SENT
    assert decoded(data).public_key == US.public_key.encode()


# ---------------------------------------------------------------------- a peer's


def test_parts_are_merged_as_protobuf_would() -> None:
    one = IdentifyMessage(public_key=b"1", listen_addrs=(b"a",), protocols=(b"x",), agent_version=b"old")
    two = IdentifyMessage(listen_addrs=(b"b",), protocols=(b"y",), agent_version=b"new", observed_addr=b"o")
    assert merge([one, two]) == IdentifyMessage(
        public_key=b"1", listen_addrs=(b"a", b"b"), protocols=(b"x", b"y"), agent_version=b"new", observed_addr=b"o"
    )
    assert merge([]) == IdentifyMessage()
    parts = [build(US, "a", ["/x"], [PUBLIC], 1).message(None), build(PEER, "b", ["/y"], [], 2).message(LOOPBACK)]
    assert merge(map(decoded, parts)) == decoded(b"".join(parts))


def test_everything_is_taken() -> None:
    message = decoded(build(PEER, "agent/2", ["/a", "/b"], [PUBLIC], 5).message(PRIVATE))
    check_key(message, PEER.peer_id)
    info = interpret(message, KNOWN, view(LOOPBACK))
    assert info == PeerInfo(
        peer=PEER.peer_id,
        agent="agent/2",
        protocols=("/a", "/b"),
        addresses=(PUBLIC,),
        observed=PRIVATE,
        version="ipfs/0.1.0",
        record=PeerRecord(PEER.peer_id, 5, (bytes(PUBLIC),)),
    )


@pytest.mark.parametrize(
    "key", [b"", b"nonsense", STRANGER.public_key.encode(), PEER.public_key.encode()[:-1], b"\x08\x63\x12\x00"]
)
def test_another_key_is_refused(key: bytes) -> None:
    with pytest.raises(HandshakeError, match="public key") as caught:
        check_key(IdentifyMessage(public_key=key), PEER.peer_id)
    assert (caught.value.phase, caught.value.peer) == ("identify", PEER.peer_id)


def test_an_absent_key_is_tolerated() -> None:
    check_key(IdentifyMessage(), PEER.peer_id)
    # Not canonical, but the same key.
    check_key(IdentifyMessage(public_key=PEER.public_key.encode() + b"\x18\x00"), PEER.peer_id)


def test_what_is_absent_stays_and_lists_replace() -> None:
    told = replace(decoded(build(PEER, "old", ["/a", "/b"], [PUBLIC], 5).message(PRIVATE)), signed_peer_record=None)
    before = interpret(told, KNOWN, view(LOOPBACK))
    assert interpret(IdentifyMessage(), before, view(LOOPBACK)) == before
    after = interpret(IdentifyMessage(protocols=(b"/c",), listen_addrs=(bytes(PRIVATE),)), before, view(LOOPBACK))
    assert after == replace(before, protocols=("/c",), addresses=(PRIVATE,))


BAD_RECORDS = {
    "stranger": record(9, bytes(PUBLIC), identity=STRANGER),
    "domain": Envelope.seal(PEER, "libp2p-routing-state", b"\x03\x01", b""),
    "type": Envelope.seal(PEER, "libp2p-peer-record", b"\x03\x02", b""),
    "nonsense": b"nonsense",
    "zeros": bytes(caps.MAX_PART),
    "cut": record(9, bytes(PUBLIC))[:-1],
    "equal": record(5),
    "older": record(4),
    "129 addresses": record(9, *addresses(129)),
}


@pytest.mark.parametrize("sealed", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_record_that_is_not_good_is_dropped_and_the_rest_kept(sealed: bytes) -> None:
    first = interpret(IdentifyMessage(signed_peer_record=record(5, bytes(PUBLIC))), KNOWN, view(LOOPBACK))
    message = IdentifyMessage(signed_peer_record=sealed, listen_addrs=(bytes(PRIVATE),), agent_version=b"x")
    info = interpret(message, first, view(LOOPBACK))
    assert info.record == first.record
    assert (info.addresses, info.agent) == ((PUBLIC,), "x")  # what is not signed does not count any more
    fresh = interpret(message, replace(KNOWN, record=None), view(LOOPBACK))
    assert fresh.addresses == ((PRIVATE,) if fresh.record is None else view(LOOPBACK).usable(fresh.record.addresses))


def test_a_newer_record_speaks_for_the_addresses() -> None:
    first = interpret(IdentifyMessage(signed_peer_record=record(5, bytes(PUBLIC))), KNOWN, view(LOOPBACK))
    assert first.addresses == (PUBLIC,)
    message = IdentifyMessage(signed_peer_record=record(6), listen_addrs=(bytes(PRIVATE),))
    second = interpret(message, first, view(LOOPBACK))
    assert (second.addresses, second.record) == ((), PeerRecord(PEER.peer_id, 6, ()))


def test_bad_addresses_are_skipped_one_by_one() -> None:
    bad = [b"", b"\x04\x7f", b"\xff\xff\x7f", bytes(1 << 16), bytes(PUBLIC) + b"\x04", b"\x35\x02\xff\xfe"]
    listed = [item for one in bad for item in (one, bytes(PUBLIC), bytes(PRIVATE))]
    assert view(LOOPBACK).usable(listed) == (PUBLIC, PRIVATE)
    assert interpret(IdentifyMessage(observed_addr=b"\x04\x7f"), KNOWN, view(LOOPBACK)).observed is None


def test_an_address_belongs_to_its_peer() -> None:
    own, foreign = (bytes(with_peer(PUBLIC, one.peer_id)) for one in (PEER, STRANGER))
    bare = bytes(with_peer(PUBLIC, PEER.peer_id))[len(bytes(PUBLIC)) :]
    assert view(LOOPBACK).usable([foreign, own, bare]) == (PUBLIC,)


@pytest.mark.parametrize(
    ("remote", "kept"),
    [(LOOPBACK, {PUBLIC, PRIVATE, LOOPBACK}), (PRIVATE, {PUBLIC, PRIVATE}), (PUBLIC, {PUBLIC})],
    ids=["loopback", "private", "public"],
)
def test_only_addresses_that_mean_something_here_are_kept(remote: Multiaddr, kept: set[Multiaddr]) -> None:
    listed = map(bytes, (PUBLIC, PRIVATE, LOOPBACK, parse("/ip4/0.0.0.0/tcp/1"), parse("/ip6/::/tcp/1")))
    assert set(view(remote).usable(listed)) == kept


def test_addresses_that_lead_elsewhere_than_they_say() -> None:
    """Hostile row 10: multicast, a cloud's metadata service, loopback behind NAT64."""
    texts = (
        "/ip4/224.0.0.1/tcp/1",
        "/ip4/169.254.169.254/tcp/80",
        "/ip6/64:ff9b::127.0.0.1/tcp/1",
        "/ip6/fe80::1/tcp/1",
    )
    listed = [bytes(parse(text)) for text in texts]
    assert view(PRIVATE).usable(listed) == ()
    neighbour = parse("/ip4/169.254.7.7/tcp/1")
    assert view(neighbour).usable(listed) == (parse(texts[1]), parse(texts[3]))


INSIDE = """/ip4/127.0.0.1/tcp/22 /ip4/169.254.169.254/tcp/80 /ip4/10.0.0.1/tcp/80 /ip4/192.168.0.1/tcp/80/ws
    /ip4/172.16.0.1/tcp/80 /ip4/100.64.0.1/tcp/80 /ip4/0.0.0.0/tcp/80 /ip4/224.0.0.1/tcp/80 /ip6/::ffff:127.0.0.1/tcp/1
    /ip6/64:ff9b::7f00:1/tcp/1 /ip6/2002:7f00:1::1/tcp/1 /ip6/::1/tcp/1 /ip6/fd00::1/tcp/1 /ip6/fe80::1/tcp/1
    /ip6zone/eth0/ip6/2606:4700::1/tcp/1 /ip4/8.8.8.8/tcp/0 /ip6/2606:4700::1/tcp/0 /ip4/8.8.8.8/tcp/0/ws
    /dns4/localhost/tcp/1 /dns4/Localhost./tcp/1 /dns4/a.localhost/tcp/1 /dns4/127.0.0.1/tcp/1 /dns4/2130706433/tcp/1
    /dns4/0x7f.1/tcp/1 /dns4/10.1/tcp/1 /dns4/my_relay/tcp/1 /dns4/router.local/tcp/1 /dns4/a.internal/tcp/80
    /dns4/a.home.arpa/tcp/443/wss"""


@pytest.mark.parametrize("text", INSIDE.split())
def test_hostile_row_10_somebody_in_the_internet_names_nothing_inside(text: str) -> None:
    """Whatever is dialed; names are looked at before they are looked up, and what they lead to afterwards."""
    seen = View(PEER.peer_id, PUBLIC, lambda _: True, None, us=US.peer_id)
    assert seen.usable([bytes(parse(text)), bytes(parse("/dns4/example.org/tcp/443/wss"))]) == (
        parse("/dns4/example.org/tcp/443/wss"),
    )


def test_numbers_are_capped() -> None:
    many = tuple(f"/{number}".encode() for number in range(caps.MAX_PROTOCOLS + 1))
    names = (b"", b"\xff\xfe", b"x" * (caps.MAX_NAME + 1), b"x" * caps.MAX_NAME, b"x" * caps.MAX_NAME, *many)
    message = IdentifyMessage(protocols=names, listen_addrs=tuple(addresses(10_000)))
    info = interpret(message, KNOWN, view(LOOPBACK))
    assert len(info.protocols) == caps.MAX_PROTOCOLS
    assert info.protocols[:2] == ("x" * caps.MAX_NAME, "/0")
    assert len(info.addresses) == caps.MAX_ADDRESSES
    again = interpret(IdentifyMessage(protocols=many[:1]), info, view(LOOPBACK))
    assert again.protocols == ("/0",)


def test_versions_are_short_and_printable() -> None:
    message = IdentifyMessage(agent_version=b"\x1b[31mred\xff\n" + b"x" * 1_000, protocol_version=b"\x00")
    info = interpret(message, KNOWN, view(LOOPBACK))
    assert info.agent.startswith("\ufffd[31mred\ufffd\ufffdxxx")
    assert len(info.agent.encode()) <= 3 * caps.MAX_NAME
    assert info.agent.isprintable()
    assert info.version == "\ufffd"


@given(st.binary(max_size=2_048))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        message = decoded(data)
    except DecodeError:
        return
    info = interpret(message, KNOWN, view(PUBLIC))
    assert info.peer == PEER.peer_id


@pytest.mark.parametrize(
    "piece", [b"\x1a\x06/%05d", b"\x12\x06\x35\x04%04d", b"\x12\x01\x04", b"\x78\x00", b"\x1a\x01\xff"]
)
def test_the_worst_of_64_kib_is_read_quickly(piece: bytes) -> None:
    pieces = b"".join(piece % number if b"%" in piece else piece for number in range(caps.MAX_FIELDS))
    parts = [pieces[: caps.MAX_PART]] * (caps.MAX_TOTAL // caps.MAX_PART)
    start = time.process_time()
    info = interpret(merge(map(decoded, parts)), KNOWN, view(PUBLIC))
    assert time.process_time() - start < 0.25  # about 0.01 s on a quiet machine
    assert len(info.protocols) <= caps.MAX_FIELDS
    assert info.addresses == ()


def test_a_part_has_so_many_fields() -> None:
    assert decoded(b"\x78\x00" * caps.MAX_FIELDS) == IdentifyMessage()
    with pytest.raises(DecodeError, match="more than 1024 fields"):
        decoded(b"\x78\x00" * (caps.MAX_FIELDS + 1))


def test_not_every_address_is_looked_at() -> None:
    bad = [b"\x04" + bytes([number]) for number in range(caps.MAX_EXAMINED - 1)]
    repeated = [bytes(PRIVATE)] * 5_000  # counts once
    assert view(LOOPBACK).usable([*repeated, *bad[1:], bytes(PUBLIC)]) == (PRIVATE, PUBLIC)
    assert view(LOOPBACK).usable([*repeated, *bad, bytes(PUBLIC)]) == (PRIVATE,)


def test_what_nobody_dials_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Multiaddr] = []

    def ask(address: Multiaddr) -> bool:
        asked.append(address)
        return dialable(address)

    def no_text(address: Multiaddr) -> str:
        raise AssertionError

    texts = [f"/ip4/8.8.8.8/udp/{port}/quic-v1" for port in range(1, 4)]
    texts += [
        "/dns4/example.org/tcp/1",
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
        f"/ip4/8.8.8.8/tcp/1/p2p/{STRANGER.peer_id}",
    ]
    listed = [bytes(parse(text)) for text in texts]
    kinds = [kind * count for kind in ("/tls", "/ws", "/noise") for count in range(1, caps.MAX_COMPONENTS - 1)]
    listed += [bytes(parse(f"/ip4/8.8.8.8/tcp/1{kind}")) for kind in kinds]
    monkeypatch.setattr(CheckedAddress, "__str__", no_text)
    seen = View(PEER.peer_id, LOOPBACK, ask, None, us=STRANGER.peer_id)
    assert seen.usable([*listed, bytes(PUBLIC)]) == ()  # that is one kind more than anybody is asked about
    assert len(asked) == caps.MAX_KINDS - 2  # nobody is asked about a zone, or about a peer's name at the end
    asked.clear()
    seen = View(PEER.peer_id, LOOPBACK, ask, None, us=STRANGER.peer_id)
    assert seen.usable([bytes(parse(text)) for text in ("/tls", "/ws/ws", "/http-path/a", "/tcp/1", "/noise")]) == ()
    assert asked == []  # what does not begin with an IP address or a name is no place
    seen = View(PEER.peer_id, LOOPBACK, ask, None, us=STRANGER.peer_id)
    assert seen.usable([bytes(PUBLIC), *listed, bytes(PRIVATE)]) == (PUBLIC, PRIVATE)
    assert [bytes(address) for address in asked[:2]] == [bytes(PUBLIC), listed[0]]  # of each kind the first
    assert seen.address(listed[0]) is None


def test_row_120_no_more_components_are_looked_at_than_so_many() -> None:
    long = [bytes(parse(f"/udp/{port}" + "/tls" * (caps.MAX_COMPONENTS - 1))) for port in range(1, 25)]
    assert len(long) * caps.MAX_COMPONENTS == caps.MAX_WALKED
    other = bytes(parse("/ip4/8.8.8.8/udp/1/quic-v1"))
    for listed, found in ((long[1:], 2), (long, 1)):
        seen = View(PEER.peer_id, LOOPBACK, lambda address: bytes(address)[0] != long[0][0], None, us=STRANGER.peer_id)
        assert len(seen.usable([*listed, bytes(PUBLIC), other])) == found  # who needs no walk is always looked at


def test_a_record_that_was_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile row 95: what the book remembers counts as much as what was told on this connection."""
    sealed = record(5, bytes(PUBLIC))
    known = PeerRecord.open(sealed).edition
    seen = View(PEER.peer_id, LOOPBACK, dialable, known, us=STRANGER.peer_id)
    for data, expected in ((sealed, 5), (record(6), 6), (record(5), None), (record(4, bytes(PUBLIC)), None)):
        info = interpret(IdentifyMessage(signed_peer_record=data), KNOWN, seen)
        assert (None if info.record is None else info.record.seq) == expected
    monkeypatch.setattr(PublicKey, "verify", Mock(side_effect=AssertionError))  # it is compared before that
    for data in (record(4), record(5), record(9, identity=STRANGER)):
        assert interpret(IdentifyMessage(signed_peer_record=data), KNOWN, seen).record is None
