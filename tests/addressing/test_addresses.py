"""Addresses: strict on every way in, and what comes out prints and parses back."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.addressing.endpoint import endpoint_of
from stronghold_p2p.addressing.kinds import (
    from_socket,
    is_unspecified,
    reach_of,
    relays_of,
    tcp_address,
    through_relay,
)
from stronghold_p2p.addressing.parse import MAX_COMPONENTS, kind_of, parse, split_peer, walk, with_peer
from stronghold_p2p.addressing.parts import canonical
from stronghold_p2p.addressing.reach import Reach
from stronghold_p2p.addressing.values import MAX_NAME
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.identity import PeerId

PEER = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
OTHER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
OTHER_CID = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe"
CERTHASH = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g"
ONION = "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd"

# Binary forms from multiformats/multiaddr's table of codes; the first two are the libp2p addressing examples.
FORMS = {
    f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}": "047f000001060fa1a50326" + bytes(PeerId(PEER)).hex(),
    "/ip4/198.51.100.7/tcp/443/tls/sni/example.com/ws": "04c63364070601bbc003c1030b6578616d706c652e636f6ddd03",
    "/ip6/2001:db8::1/udp/65535/quic-v1": "2920010db8000000000000000000000001" + "9102ffff" + "cd03",
    "/ip6/::/tcp/0": "29" + "00" * 16 + "060000",
    "/ip6zone/eth0/ip6/fe80::1/tcp/1": "2a0465746830" + "29fe80" + "00" * 13 + "01" + "060001",
    "/ip4/10.0.0.0/ipcidr/8": "040a0000002b08",
    "/dns/example.com": "350b6578616d706c652e636f6d",
    "/dns4/localhost/tcp/80": "36096c6f63616c686f7374060050",
    "/dns6/a.b": "3703612e62",
    "/dnsaddr/bootstrap.libp2p.io": "3813626f6f7473747261702e6c69627032702e696f",
    f"/p2p/{OTHER}/p2p-circuit/p2p/{PEER}": f"a50322{bytes(PeerId(OTHER)).hex()}a202a50326{bytes(PeerId(PEER)).hex()}",
    "/unix/tmp/socket": "90030b2f746d702f736f636b6574",
    "/noise/quic/webtransport/wss/http/https/webrtc-direct/webrtc": "c603cc03d103de03e003bb0398029902",
    f"/certhash/{CERTHASH}": "d203221220c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2",
    "/http-path/a%2Fb": "e10303612f62",
    "/memory/18446744073709551615": "8906ffffffffffffffff",
    f"/onion3/{ONION}:80": "bd03adadec040be047f9658668b11a504f3155001f231a37f54c4476c07fb4cc139ed7e3030050",
}


@pytest.mark.parametrize(("text", "encoded"), FORMS.items(), ids=FORMS)
def test_text_and_bytes(text: str, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    walk(data)
    assert bytes(parse(text)) == data
    assert str(parse(data)) == text
    assert parse(parse(text)) == parse(data)


@pytest.mark.parametrize("encoded", FORMS.values(), ids=FORMS)
def test_every_prefix_is_shorter_or_refused_and_so_is_what_follows(encoded: str) -> None:
    """Byte by byte: a prefix is an address exactly when it ends between two components."""
    data = bytes.fromhex(encoded)
    ends = {part.start for part in walk(data)}
    for end in ends - {0}:
        walk(data[:end])
    bad = [data[:end] for end in range(1, len(data)) if end not in ends]
    for wrong in (*bad, *(data + extra for extra in (b"\0", b"\xff", b"\x05", b"\x04\x7f"))):
        with pytest.raises(DecodeError):
            parse(wrong)


def test_other_spellings() -> None:
    assert str(parse(f"/ipfs/{OTHER}")) == f"/p2p/{OTHER}"
    assert str(parse(f"/p2p/{OTHER_CID}")) == f"/p2p/{OTHER}"
    assert str(parse("/ip4/127.0.0.1/tcp/1/")) == "/ip4/127.0.0.1/tcp/1"
    assert str(parse("/ip6/2001:DB8:0:0::1/tcp/1")) == "/ip6/2001:db8::1/tcp/1"
    assert bytes(parse("/ip6/::ffff:1.2.3.4")) == b"\x29" + bytes(10) + bytes.fromhex("ffff01020304")
    assert str(parse("/dns4/http/tcp/1")) == "/dns4/http/tcp/1"
    assert str(parse("/dns4/bücher.example/tcp/1")) == "/dns4/bücher.example/tcp/1"


NO_TEXTS = """
/ // ip4/127.0.0.1 /ip4 /ip4/ /ip4//tcp/1 /ip4/127.0.0.1//tcp/1 /ip4/127.0.0.1/tcp/1// /ip4/127.0.0.1/tcp
/ip4/127.0.0.1/tcp/ /ip4/127.0.0.1/4001 /IP4/127.0.0.1 /ip5/127.0.0.1 /ip4/127.0.0 /ip4/127.0.0.256 /ip4/127.0.0.01
/ip4/::1 /ip4/example.com /ip6/127.0.0.1 /ip6/:::1 /ip6/fe80::1%eth0 /ip6/[::1] /ip4=127.0.0.1 /ip4/127.0.0.1/tcp=80
/ip4/127.0.0.1/tcp/65536 /ip4/127.0.0.1/tcp/-1 /ip4/127.0.0.1/tcp/+1 /ip4/127.0.0.1/tcp/01 /ip4/127.0.0.1/tcp/1_0
/ip4/127.0.0.1/tcp/１ /ip4/127.0.0.1/tcp/http /memory/18446744073709551616 /ip4/1.2.3.4/ipcidr/256 /tls/1 /p2p/
/p2p/127.0.0.1 /p2p/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy /dns4/ /dns4/-a /dns4/a..b
/ip6zone/ /unix /unix/ /http-path/%zz /certhash/abc /quic-v2 /garlic32/abc
"""
OTHER_TEXTS = [
    *("", " /ip4/127.0.0.1", "/ip4/127.0.0.1 ", "/ip4/127.0.0.1\0", "/ip4/127.0.0.1/tcp/" + "9" * 900),
    *("/dns4/a b", "/dns4/a\0b", "/dns4/a\nb", "/dns4/" + "a" * 64, "/dns4/" + "a." * 127, "/dns4/\ud800"),
    *("/sni/\udcff", "/ip6zone/ eth0", "/unix/a b", f"/p2p/{PEER[:-1]}", f"/p2p/{PEER}x", f"/certhash/{CERTHASH[:-1]}"),
    *(f"/onion3/{ONION}:0", f"/onion3/{ONION}:65536", f"/onion3/{ONION[:-1]}:80"),
    *("/tls" * 33, "/" + "a" * 2_000, "/" * 10_000, "/dns4/" + "a" * (1 << 20)),
]


@pytest.mark.parametrize("text", [*NO_TEXTS.split(), *OTHER_TEXTS])
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(DecodeError):
        parse(text)


PEER_BYTES = bytes(PeerId(PEER))


NO_ADDRESSES = """
00 05 ff ffffffffffffffffff01 047f0000 0600 3500 3580 358000 35ffffffffffffffff7f 3503612f62 3501ff 350100 350120
35026120 3502c3 3503612d2d 2a00 2a02fffe 2a03652f30 a50300 a5030100 900300 900303746d70 9003042f612062 d20300
d20304deadbeef e10300 e10301ff bb0300 890600000000000000 bc030000 06000106
"""


@pytest.mark.parametrize(
    "encoded",
    [
        *(
            "",
            *NO_ADDRESSES.split(),
            "29" + "00" * 15,
            "bd03" + "00" * 36,
            "bd03" + "00" * 37,
            "04" * 1_025,
            "c003" * 33,
        ),
        "84007f000001",  # the code of ip4, not minimal
        f"a50327{PEER_BYTES.hex()}00",
        f"a50325{PEER_BYTES.hex()[:-2]}",
        f"a503280172{PEER_BYTES.hex()}",  # a CID, where the multihash belongs
    ],
)
def test_bytes_that_are_none(encoded: str) -> None:
    with pytest.raises(DecodeError):
        parse(bytes.fromhex(encoded))


def test_borders() -> None:
    assert len(bytes(parse(bytes.fromhex("c003" * 32)))) == 64
    name = ("a" * 49 + ".") * 5 + "abc"
    assert len(name) == MAX_NAME
    assert str(parse(f"/dns4/{name}")) == f"/dns4/{name}"
    with pytest.raises(DecodeError):
        parse(f"/dns4/{name}d")
    with pytest.raises(DecodeError, match="1 to 1024 allowed"):
        walk(bytes(1_025))


@pytest.mark.parametrize("hostile", ["/dns4/" + "é" * 500, "/p2p/" + "1" * 1_000, "/tls" * 250, "/unix/" + "%" * 1_000])
def test_refused_soon(hostile: str) -> None:
    start = time.process_time()
    with pytest.raises(DecodeError):
        parse(hostile)
    assert time.process_time() - start < 0.1


ports = st.integers(0, 65_535)
ips = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@given(ips, ports)
def test_sockets_there_and_back(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    address = from_socket((str(ip), port, 0, 0) if ip.version == 6 else (str(ip), port))
    assert parse(str(address)) == address
    found = tcp_address(address)
    assert found is not None
    host, found_port, peer = found
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    assert (ipaddress.ip_address(host), found_port, peer) == (mapped or ip, port, None)


pieces = st.sampled_from([bytes.fromhex(encoded) for encoded in FORMS.values()])
values = st.builds(
    lambda code, value: varint.encode(code) + varint.encode(len(value)) + value,
    st.sampled_from([42, 53, 54, 56, 400, 421, 449, 466, 481]),
    st.binary(max_size=12) | st.text(max_size=8).map(lambda text: text.encode(errors="replace")),
)


@given(st.binary(max_size=60) | st.lists(pieces | values, min_size=1, max_size=4).map(b"".join))
def test_any_bytes_and_components(data: bytes) -> None:
    """What is accepted comes out again."""
    try:
        address = parse(data)
    except DecodeError:
        return
    assert bytes(address) == data
    assert bytes(parse(str(address))) == data


@given(st.lists(st.sampled_from([*(name for form in FORMS for name in form.split("/")), "%41", "é", "\0"]), max_size=6))
def test_any_text(words: list[str]) -> None:
    text = "/" + "/".join(words)
    try:
        address = parse(text)
    except DecodeError:
        return
    assert parse(str(address)) == address


LABELS = st.text(st.characters(codec="utf-8") | st.sampled_from("aB0-_.é"), max_size=70)


@given(LABELS | st.lists(LABELS, max_size=5).map(".".join))
def test_any_name(name: str) -> None:
    """What is taken as a name holds no white space and nothing that ends a line, an address or a part of a URL."""
    try:
        address = parse(f"/dns4/{name}/tcp/443/tls/sni/{name}/ws")
    except DecodeError:
        return
    assert parse(str(address)) == address
    assert name.isprintable()
    assert not set(name) & set(" /%?#@:[]\\\"'<>")
    assert all(label and len(label) <= 63 for label in name.removesuffix(".").split("."))
    assert reach_of(address) in Reach
    parsed = endpoint_of(address)
    assert parsed is not None
    assert (parsed.host, parsed.sni, parsed.spoken) == (name, name, "wss")
    assert canonical(address) == canonical(parse(f"/dns4/{name.upper()}/tcp/443/wss") if name.isascii() else address)


NO_TCP = f"""/ip6zone/eth0/ip4/1.2.3.4/tcp/1 /ip6zone/eth0/tcp/1 /ip4/127.0.0.1 /p2p/{PEER} /ip6zone/eth0
    /ip4/127.0.0.1/udp/4001 /ip4/127.0.0.1/tcp/4001/ws /dns4/localhost/tcp/4001 /tcp/1/ip4/127.0.0.1 /tls/tcp/1
    /ip4/127.0.0.1/tcp/4001/p2p/{OTHER}/p2p-circuit/p2p/{PEER}"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/ip4/127.0.0.1/tcp/4001", ("127.0.0.1", 4001, None)),
        (f"/ip6/::1/tcp/0/p2p/{PEER}", ("::1", 0, PeerId(PEER))),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", ("fe80::1%eth0", 1, None)),
        *((text, None) for text in NO_TCP.split()),
    ],
)
def test_tcp_address(text: str, expected: Any) -> None:
    assert tcp_address(parse(text)) == expected


@pytest.mark.parametrize(
    ("sockaddr", "expected"),
    [
        (("127.0.0.1", 80), "/ip4/127.0.0.1/tcp/80"),
        (("::1", 80, 0, 0), "/ip6/::1/tcp/80"),
        (("::ffff:10.0.0.1", 80, 0, 0), "/ip4/10.0.0.1/tcp/80"),
        (("fe80::1%eth0", 80, 0, 2), "/ip6zone/eth0/ip6/fe80::1/tcp/80"),
    ],
)
def test_from_socket(sockaddr: tuple[Any, ...], expected: str) -> None:
    assert str(from_socket(sockaddr)) == expected


NO_SOCKETS: list[tuple[Any, ...]] = [
    *((), ("",), ("127.0.0.1",), ("localhost", 1), ("127.0.0.1", 65_536), ("127.0.0.1", -1), ("::1", "x")),
    ("fe80::1%", ""),
]


@pytest.mark.parametrize("sockaddr", NO_SOCKETS)
def test_sockets_of_other_families(sockaddr: tuple[Any, ...]) -> None:
    with pytest.raises(DecodeError, match="no IP socket address"):
        from_socket(sockaddr)


def test_split_peer() -> None:
    plain = parse("/ip4/127.0.0.1/tcp/1")
    assert split_peer(plain) == (plain, None)
    assert split_peer(parse(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}")) == (plain, PeerId(PEER))
    circuit = parse(f"/p2p/{OTHER}/p2p-circuit")
    assert split_peer(circuit) == (circuit, None)
    assert split_peer(parse(f"/p2p/{OTHER}/p2p-circuit/p2p/{PEER}")) == (circuit, PeerId(PEER))
    rest, peer = split_peer(parse(f"/p2p/{PEER}"))
    assert (bytes(rest), peer) == (b"", PeerId(PEER))


def test_with_peer() -> None:
    plain, full = parse("/ip4/127.0.0.1/tcp/1"), parse(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}")
    assert with_peer(plain, PeerId(PEER)) == full
    assert with_peer(full, PeerId(PEER)) == full
    with pytest.raises(ConfigError, match="names another peer"):
        with_peer(full, PeerId(OTHER))
    relayed = with_peer(parse(f"/p2p/{OTHER}/p2p-circuit"), PeerId(PEER))
    assert str(relayed) == f"/p2p/{OTHER}/p2p-circuit/p2p/{PEER}"


def test_relays() -> None:
    assert relays_of(parse(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}")) == ()
    assert relays_of(parse(f"/ip4/127.0.0.1/tcp/1/p2p/{OTHER}/p2p-circuit/p2p/{PEER}")) == (PeerId(OTHER),)
    assert relays_of(parse("/ip4/127.0.0.1/tcp/1/p2p-circuit")) == (None,)
    twice = f"/p2p/{OTHER}/p2p-circuit/p2p/{PEER}/p2p-circuit/p2p/{OTHER}"
    assert relays_of(parse(twice)) == (PeerId(OTHER), PeerId(PEER))


def test_through() -> None:
    plain, named = parse("/ip4/127.0.0.1/tcp/1"), parse(f"/ip4/127.0.0.1/tcp/1/p2p/{OTHER}")
    for address in (plain, named):
        assert str(through_relay(address, PeerId(OTHER))) == f"{named}/p2p-circuit"
    with pytest.raises(ConfigError, match="names another peer"):
        through_relay(named, PeerId(PEER))


SCOPES = {
    Reach.MACHINE: """/ip4/127.0.0.1/tcp/1 /ip4/127.255.0.1/tcp/1 /ip6/::1/tcp/1 /ip6/::ffff:127.0.0.1/tcp/1
        /dns4/localhost/tcp/1 /dns/LocalHost./tcp/1""",
    Reach.NOWHERE: "/ip4/0.0.0.0/tcp/1 /ip6/::/tcp/1 /ip4/224.0.0.1/udp/1 /ip6/ff02::1/tcp/1",
    Reach.LINK: "/ip4/169.254.169.254/tcp/80 /ip6/fe80::1/tcp/1 /ip6zone/eth0/ip6/fe80::1/tcp/1",
    Reach.WORLD: f"""/ip4/8.8.8.8/tcp/1 /ip6/2606:4700::1111/tcp/1 /ip6/::ffff:8.8.8.8/tcp/1 /dns4/example.com/tcp/1
        /dns/example.com/tcp/1 /ip4/8.8.8.8/tcp/1/p2p/{OTHER}/p2p-circuit/p2p/{PEER}""",
    Reach.SITE: f"""/ip4/10.1.2.3/tcp/1 /ip4/172.16.0.1/tcp/1 /ip4/192.168.0.1/tcp/1 /ip4/100.64.0.1/tcp/1
        /ip4/255.255.255.255/udp/1 /ip6/fd00::1/tcp/1 /ip6/::ffff:10.0.0.1/tcp/1 /p2p/{PEER} /tcp/1 /ip6zone/eth0
        /memory/1""",
}


@pytest.mark.parametrize(("scope", "text"), [(scope, text) for scope in SCOPES for text in SCOPES[scope].split()])
def test_scopes(scope: Reach, text: str) -> None:
    assert reach_of(parse(text)) is scope
    assert is_unspecified(parse(text)) == ("0.0.0.0" in text or "/::/" in text)


def test_the_kind_of_an_address_is_told_without_its_values() -> None:
    relayed = parse(f"/ip4/8.8.8.8/tcp/1/p2p/{OTHER}/p2p-circuit")
    assert kind_of(bytes(relayed), MAX_COMPONENTS) == (4, 6, 421, 290)
    assert kind_of(b"\xa5\x03\x02no" + b"\x35\x02\xff\xfe", 2) == (421, 53)  # neither a peer id, nor a name
    for data in (b"", b"\x04\x7f", b"\xff\xff\x7f", b"\x06\x00\x01" * 3, bytes(1_025), b"\x35", b"\x35\xff\x01"):
        assert kind_of(data, 2) is None


ADDRESSES = [bytes(parse(text)) for texts in SCOPES.values() for text in texts.split()]


@given(st.binary(max_size=40) | st.sampled_from(ADDRESSES))
def test_the_kind_is_that_of_the_walk(data: bytes) -> None:
    kind = kind_of(data, MAX_COMPONENTS)
    try:
        parts = walk(data)
    except DecodeError:
        return
    assert kind == tuple(part.protocol.code for part in parts)
