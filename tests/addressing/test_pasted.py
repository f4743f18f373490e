"""What people paste and what peers send: understood, or refused with a sentence of its own."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import CheckedAddress, parse
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.targets import parsed
from tests.addressing.test_addresses import OTHER, OTHER_CID, PEER

UNDERSTOOD = {
    "/dns4/Example.COM/tcp/443/wss": "/dns4/Example.COM/tcp/443/wss",
    "/dns4/my_relay/tcp/4001": "/dns4/my_relay/tcp/4001",
    "/dns/_p2p._tcp.example.org/tcp/1": "/dns/_p2p._tcp.example.org/tcp/1",
    "/dns4/r3---sn-4g5e.example.org/tcp/1": "/dns4/r3---sn-4g5e.example.org/tcp/1",
    "/dns4/example.org./tcp/1": "/dns4/example.org./tcp/1",
    "/dns4/xn--bcher-kva.example/tcp/1": "/dns4/xn--bcher-kva.example/tcp/1",
    "/dns4/straße.example/tcp/1": "/dns4/straße.example/tcp/1",
    "/dns4/192.0.2.7/tcp/1": "/dns4/192.0.2.7/tcp/1",
    "/dns4/tcp/tcp/1": "/dns4/tcp/tcp/1",
    f"/ip4/192.0.2.7/tcp/1/ipfs/{OTHER}": f"/ip4/192.0.2.7/tcp/1/p2p/{OTHER}",
    f"/ip4/192.0.2.7/tcp/1/p2p/{OTHER_CID}": f"/ip4/192.0.2.7/tcp/1/p2p/{OTHER}",
    "/ip4/192.0.2.7/tcp/1/": "/ip4/192.0.2.7/tcp/1",
    "/ip6/2001:DB8::0:1/tcp/1": "/ip6/2001:db8::1/tcp/1",
    "/ip6zone/eth0/ip6/fe80::1/tcp/1": "/ip6zone/eth0/ip6/fe80::1/tcp/1",
    "/ip4/192.0.2.7/tcp/443/tls/sni/Example.org/ws": "/ip4/192.0.2.7/tcp/443/tls/sni/Example.org/ws",
    "/dns4/a.b/tcp/443/wss/http-path/ws": "/dns4/a.b/tcp/443/wss/http-path/ws",
    "/dns4/a.b/tcp/443/wss/http-path/a%2Fb": "/dns4/a.b/tcp/443/wss/http-path/a%2Fb",
    "/dns4/a.b/tcp/443/wss/http-path/a%2fb": "/dns4/a.b/tcp/443/wss/http-path/a%2Fb",
    "/ip4/192.0.2.7/udp/4001/quic-v1/webtransport": "/ip4/192.0.2.7/udp/4001/quic-v1/webtransport",
    "/ip4/192.0.2.7/udp/4001/utp": "/ip4/192.0.2.7/udp/4001/utp",
    "/dns4/star.example/tcp/443/wss/p2p-webrtc-star": "/dns4/star.example/tcp/443/wss/p2p-webrtc-star",
}
LIKE = "an address looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3...: "
REFUSED = {
    "": LIKE[:-2],
    PEER: LIKE + "a peer id alone is PeerId(text)",
    OTHER_CID: LIKE + "a peer id alone is PeerId(text)",
    " /ip4/192.0.2.7/tcp/1": LIKE + "there is white space around it",
    "/ip4/192.0.2.7/tcp/1\n": "'1\\n' is no number of 16 bits: there is white space around it",
    "'/ip4/192.0.2.7/tcp/1'": LIKE + "there are quotation marks around it",
    "ip4/192.0.2.7/tcp/1": LIKE + "it begins with a slash, /ip4/192.0.2.7/tcp/1",
    "192.0.2.7:4001": LIKE + "take /ip4/192.0.2.7/tcp/4001",
    "192.0.2.7": LIKE + "take /ip4/192.0.2.7/tcp/<port>",
    "[2001:db8::1]:4001": LIKE + "take /ip6/2001:db8::1/tcp/4001",
    "example.org:4001": LIKE + "take /dns/example.org/tcp/4001",
    "example.org": LIKE + "take /dns/example.org/tcp/<port>",
    "localhost:4001": LIKE + "take /dns/localhost/tcp/4001",
    "tcp://192.0.2.7:4001": LIKE + "take /ip4/192.0.2.7/tcp/4001",
    "ws://example.org": LIKE + "take /dns/example.org/tcp/80/ws",
    "wss://example.org/p2p": LIKE + "take /dns/example.org/tcp/443/wss",
    "HTTPS://example.org:8443": LIKE + "take /dns/example.org/tcp/8443/wss",
    "ftp://example.org": LIKE[:-2],
    "hello": LIKE[:-2],
    "/IP4/192.0.2.7/tcp/1": "unknown protocol 'IP4' in an address: names of protocols are written small, /ip4",
    "/ip4/192.0.2.7:4001": "'192.0.2.7:4001' is no IPv4 address: the port stands behind it, /ip4/192.0.2.7/tcp/4001",
    "/ip4/192.0.2.7/4001": "unknown protocol '4001' in an address: a port stands behind /tcp/ or /udp/",
    "/ip4/example.org/tcp/1": "'example.org' is no IPv4 address: a name stands behind /dns/, /dns/example.org",
    "/ip4/::1/tcp/1": "'::1' is no IPv4 address: take /ip6/::1",
    "/ip6/127.0.0.1/tcp/1": "'127.0.0.1' is no IPv6 address: take /ip4/127.0.0.1",
    "/ip6/[::1]/tcp/1": "'[::1]' is no IPv6 address: take /ip6/::1",
    "/ip6/fe80::1%eth0/tcp/1": "is no IPv6 address: the zone stands before it, /ip6zone/eth0/ip6/fe80::1",
    "/ip4/300.0.2.7/tcp/1": "'300.0.2.7' is no IPv4 address",
    f"/ip4/192.0.2.7/tcp/1/{PEER}": f"unknown protocol '{PEER}' in an address: a peer id stands behind /p2p/",
    "/ip4/192.0.2.7//tcp/1": "unknown protocol '' in an address: nothing stands between two of its slashes",
    "/ip4/192.0.2.7/tcp": "tcp without a value in an address",
    "/ip4/192.0.2.7/tcp/65536": "'65536' is no number of 16 bits",
    "/dns4/-a.example/tcp/1": "'-a.example' is no name of a host",
    "/dns4/a..b/tcp/1": "'a..b' is no name of a host",
    "/dns4/a:b/tcp/1": "'a:b' is no name of a host",
    "/dns4/bu\u0308cher.example/tcp/1": "is no name of a host",
    "/dns4/" + "a" * 64 + "/tcp/1": "is no name of a host",
    "/dns4/bü-.example/tcp/1": "'bü-.example' is no name of a host",
    "/dns4/bü..example/tcp/1": "'bü..example' is no name of a host",
    "/ip6zone/a%b/ip6/fe80::1/tcp/1": "'a%b' is no zone",
    "/dns4/a.b/tcp/443/wss/http-path/%zz": "'%zz' is no escaped path",
    "/dns4/a.b/tcp/443/wss/http-path/a%0D%0Ab": "'a\\r\\nb' is no path",
    "/ip4/192.0.2.7/garlic32/abc": "unknown protocol 'garlic32' in an address",
    "/unix/a b": "'/a b' is no path that an address can hold",
}


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_understood(text: str) -> None:
    assert str(parse(text)) == UNDERSTOOD[text]
    assert bytes(parse(bytes(parse(text)))) == bytes(parse(text))


@pytest.mark.parametrize("text", REFUSED)
def test_refused_with_a_sentence_of_its_own(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert str(caught.value).endswith(REFUSED[text])


@pytest.mark.parametrize("text", ["/dns/a.b/tcp/1", "/ip4/192.0.2.7/tcp/1/ws", "/unix/tmp/socket", f"/p2p/{OTHER_CID}"])
def test_objects_of_the_package(text: str) -> None:
    """Its bytes are not always right: a CID stands behind ``/p2p/``, and a path has lost its first slash."""
    address = parse(Multiaddr(text))
    assert address == parse(text)
    assert str(address) == str(parse(text))


@pytest.mark.parametrize("data", [b"\xff", b"\x04\x7f", b"\x05\x01", b"", bytes(2_000), b"\xa5\x03\x02\x01\x72"])
def test_objects_of_the_package_that_hold_no_address(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(Multiaddr(data))


def test_what_the_package_makes_of_ours_is_looked_at_again() -> None:
    joined = parse("/ip4/192.0.2.7/tcp/1").encapsulate(f"/p2p/{OTHER_CID}")
    assert isinstance(joined, CheckedAddress)
    assert str(joined) == str(parse(joined)) == f"/ip4/192.0.2.7/tcp/1/p2p/{OTHER}"
    assert joined != parse(joined)


def test_ours_are_those_of_the_package() -> None:
    ours, theirs = parse("/ip4/192.0.2.7/tcp/1"), Multiaddr("/ip4/192.0.2.7/tcp/1")
    assert ours == theirs
    assert {ours, theirs} == {theirs}
    assert (str(ours), repr(ours)) == (str(theirs), repr(theirs))
