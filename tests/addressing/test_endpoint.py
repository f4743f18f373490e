"""addressing/endpoint.py: where a socket leads, and what is spoken there."""

from __future__ import annotations

import pytest

from stronghold_p2p.addressing.endpoint import Endpoint, endpoint_of
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.identity import PeerId
from tests.addressing.test_addresses import OTHER, PEER

FOUND = {
    "/ip4/192.0.2.7/tcp/4001": Endpoint("192.0.2.7", 4001, "tcp"),
    f"/ip6/::1/tcp/0/p2p/{PEER}": Endpoint("::1", 0, "tcp", peer=PeerId(PEER)),
    "/ip6zone/eth0/ip6/fe80::1/tcp/1/ws": Endpoint("fe80::1%eth0", 1, "ws"),
    "/dns4/Example.org/tcp/80/ws": Endpoint("Example.org", 80, "ws", "Example.org"),
    "/dns/example.org/tcp/443/wss": Endpoint("example.org", 443, "wss", "example.org", "example.org"),
    "/dns6/example.org/tcp/443/tls/ws": Endpoint("example.org", 443, "wss", "example.org", "example.org"),
    "/ip4/192.0.2.7/tcp/443/tls/sni/example.org/ws": Endpoint("192.0.2.7", 443, "wss", "", "example.org"),
    "/ip4/192.0.2.7/tcp/443/wss": Endpoint("192.0.2.7", 443, "wss"),
    "/dns4/a.b/tcp/443/tls/sni/c.d/ws": Endpoint("a.b", 443, "wss", "a.b", "c.d"),
    "/dns4/a.b/tcp/80/ws/http-path/x%2Fy": Endpoint("a.b", 80, "ws", "a.b", path="/x/y"),
    "/ip4/192.0.2.7/tcp/443/wss/http-path/%2Fx": Endpoint("192.0.2.7", 443, "wss", path="/x"),
}
NONE = f"""/ip4/192.0.2.7 /ip4/192.0.2.7/udp/1 /ip4/192.0.2.7/udp/1/quic-v1 /dnsaddr/a.b /dnsaddr/a.b/tcp/1 /tcp/1
/p2p/{PEER}
/ip4/192.0.2.7/tcp/1/tls /ip4/192.0.2.7/tcp/1/ws/tls /ip4/192.0.2.7/tcp/1/sni/a.b/ws /ip4/192.0.2.7/tcp/1/ws/ws
/ip4/192.0.2.7/tcp/1/http-path/%2F /ip4/192.0.2.7/tcp/1/tls/sni/a.b /ip6zone/eth0/ip4/192.0.2.7/tcp/1 /ip6zone/eth0
/ip4/192.0.2.7/tcp/1/p2p/{OTHER}/p2p-circuit /ip4/192.0.2.7/tcp/1/ws/p2p/{OTHER}/p2p-circuit/p2p/{PEER} /memory/1
/ip6zone/eth0/dns6/a.b/tcp/1 /ip4/192.0.2.7/tcp/1/tls/sni/a.b/wss"""


@pytest.mark.parametrize("text", FOUND)
def test_where_it_leads(text: str) -> None:
    assert endpoint_of(parse(text)) == FOUND[text]


@pytest.mark.parametrize("text", NONE.split())
def test_what_leads_to_no_such_place(text: str) -> None:
    assert endpoint_of(parse(text)) is None
