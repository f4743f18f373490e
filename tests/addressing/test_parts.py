"""addressing/parts.py: what an address says, for programs; and which spellings are the same place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.addressing.parts import AddressParts, canonical, parts_of
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import PeerId
from tests.addressing.test_addresses import CERTHASH, FORMS, ONION, OTHER, PEER

US, RELAY = PeerId(PEER), PeerId(OTHER)
SAID = {
    "/ip4/192.0.2.7/tcp/4001": AddressParts("192.0.2.7", False, 4001, "tcp"),
    f"/ip6/2001:db8::1/tcp/0/ws/p2p/{PEER}": AddressParts("2001:db8::1", False, 0, "ws", peer=US),
    "/ip6zone/eth0/ip6/fe80::1/tcp/1": AddressParts("fe80::1%eth0", False, 1, "tcp"),
    "/dns4/my_relay/tcp/443/wss": AddressParts("my_relay", True, 443, "wss"),
    "/dns/a.b/tcp/443/tls/sni/c.d/ws": AddressParts("a.b", True, 443, "wss", "c.d"),
    "/dns/a.b/tcp/443/tls/ws/http-path/x%2Fy": AddressParts("a.b", True, 443, "wss", path="x/y"),
    f"/dnsaddr/a.b/p2p/{PEER}": AddressParts("a.b", True, peer=US),
    "/ip4/192.0.2.7/udp/1/quic-v1": AddressParts("192.0.2.7", False, 1, "quic-v1"),
    f"/ip4/192.0.2.7/udp/1/quic-v1/webtransport/certhash/{CERTHASH}/certhash/{CERTHASH}": AddressParts(
        "192.0.2.7", False, 1, "webtransport"
    ),
    f"/ip4/192.0.2.7/udp/1/webrtc-direct/certhash/{CERTHASH}": AddressParts("192.0.2.7", False, 1, "webrtc-direct"),
    "/ip4/192.0.2.7/tcp/443/tls/http": AddressParts("192.0.2.7", False, 443, "tcp/tls/http"),
    "/ip4/192.0.2.7": AddressParts("192.0.2.7"),
    "/unix/tmp/socket": AddressParts(transport="unix", path="/tmp/socket"),
    "/memory/7": AddressParts(transport="memory"),
    f"/onion3/{ONION}:80": AddressParts(transport="onion3"),
    "/ip6zone/eth0/tcp/1": AddressParts(port=1, transport="tcp"),
    f"/p2p/{PEER}": AddressParts(peer=US),
    f"/ip4/192.0.2.7/tcp/1/ws/p2p/{OTHER}/p2p-circuit/p2p/{PEER}": AddressParts(
        "192.0.2.7", False, 1, "ws", peer=US, relays=(RELAY,)
    ),
    f"/p2p/{OTHER}/p2p-circuit": AddressParts(relays=(RELAY,)),
    "/ip4/192.0.2.7/tcp/1/p2p-circuit": AddressParts("192.0.2.7", False, 1, "tcp", relays=(None,)),
}


@pytest.mark.parametrize("text", SAID)
def test_what_an_address_says(text: str) -> None:
    said = AddressParts.of(text)
    assert said == SAID[text]
    assert str(said.place) == text.removesuffix(f"/p2p/{PEER}")
    with pytest.raises(DecodeError, match="take /ip4/"):
        AddressParts.of("192.0.2.7:4001")


ONE_PLACE = [
    ("/dns4/Example.COM/tcp/1", "/dns4/example.com./tcp/1"),
    ("/dns/BÜCHER.example/tcp/1", "/dns/bücher.example/tcp/1"),
    ("/dns4/a.b/tcp/443/wss", "/dns4/A.b/tcp/443/tls/ws"),
    ("/dns4/a.b/tcp/443/wss", "/dns4/a.b/tcp/443/tls/sni/A.B/ws"),
    ("/ip6/::ffff:192.0.2.7/tcp/1", "/ip4/192.0.2.7/tcp/1"),
]
TWO_PLACES = [
    ("/dns4/a.b/tcp/1", "/dns6/a.b/tcp/1"),
    ("/dns4/a.b/tcp/443/wss", "/dns4/a.b/tcp/443/tls/sni/c.d/ws"),
    ("/ip4/192.0.2.7/tcp/443/tls/sni/a.b/ws", "/ip4/192.0.2.7/tcp/443/tls/ws"),
    ("/dns4/a.b/tcp/80/ws", "/dns4/a.b/tcp/80/wss"),
    ("/dns4/a.b/tcp/80/ws", "/dns4/a.b/tcp/80/ws/http-path/A"),
    ("/ip6/::1/tcp/1", "/ip4/127.0.0.1/tcp/1"),
]


@pytest.mark.parametrize(("one", "other"), ONE_PLACE)
def test_spellings_of_one_place(one: str, other: str) -> None:
    assert canonical(parse(one)) == canonical(parse(other))


@pytest.mark.parametrize(("one", "other"), TWO_PLACES)
def test_different_places(one: str, other: str) -> None:
    assert canonical(parse(one)) != canonical(parse(other))


@given(
    st.lists(
        st.sampled_from([bytes.fromhex(form) for text, form in FORMS.items() if "unix" not in text]),
        min_size=1,
        max_size=3,
    )
)
def test_every_address_has_parts_and_one_canonical_form(pieces: list[bytes]) -> None:
    address = parse(b"".join(pieces))
    parts_of(address)
    one = canonical(address)
    assert canonical(parse(one)) == one
