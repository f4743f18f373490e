"""Which proxy the environment names, and the way through it."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p import ProxyError
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.transport.proxy import LONGEST, Place, Proxy, connect, has_proxy, proxy_for

WSS = Place("peer.example", 443, secure=True)
WS = Place("peer.example", 80, secure=False)
SQUID = {"http_proxy": "http://plain:3128", "https_proxy": "http://secure:3128"}


def test_each_kind_has_its_variable() -> None:
    assert proxy_for(WS, SQUID) == Proxy("plain", 3_128, "http://plain:3128")
    assert proxy_for(WSS, SQUID) == Proxy("secure", 3_128, "http://secure:3128")
    assert proxy_for(WSS, {"http_proxy": "http://plain:3128"}) is None
    assert proxy_for(WS, {"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:1"}) == Proxy(
        "lower", 1, "http://lower:1"
    )
    assert proxy_for(WSS, {"HTTPS_PROXY": "  "}) is None


def test_a_header_of_cgi_is_no_variable() -> None:
    assert proxy_for(WS, {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}) is None


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("proxy", Proxy("proxy", 80, "http://proxy:80")),
        ("proxy:8080/", Proxy("proxy", 8_080, "http://proxy:8080")),
        ("https://proxy", Proxy("proxy", 443, "https://proxy:443", secure=True)),
        ("http://[2001:db8::1]:1", Proxy("2001:db8::1", 1, "http://[2001:db8::1]:1")),
        (
            "http://al%40ice:s%3Aecret@proxy:1",
            Proxy("proxy", 1, "http://proxy:1", authorization=b64encode(b"al@ice:s:ecret").decode()),
        ),
    ],
)
def test_how_it_is_named(text: str, proxy: Proxy) -> None:
    assert proxy_for(WSS, {"https_proxy": text}) == proxy


@pytest.mark.parametrize("text", ["socks5://proxy:1080", "http://", "http://proxy:port", "http://proxy:99999"])
def test_one_that_cannot_be_used_is_no_way_past_it(text: str) -> None:
    environment = {"HTTPS_PROXY": text.replace("//", "//user:secret@")}
    assert has_proxy(WSS, environment)
    with pytest.raises(ProxyError, match="HTTPS_PROXY names") as caught:
        proxy_for(WSS, environment)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "excepted", "direct"),
    [
        ("localhost", "", True),
        ("127.3.2.1", "", True),
        ("::1", "", True),
        ("peer.example", "*", True),
        ("peer.example", "example", True),
        ("Peer.Example.", "PEER.EXAMPLE", True),
        ("a.peer.example", "peer.example", True),
        ("notpeer.example", "peer.example", False),
        ("peer.example", ".peer.example", False),
        ("a.peer.example", ".peer.example", True),
        ("a.peer.example", "*.peer.example", True),
        ("peer.example", "other, peer.example:443", True),
        ("peer.example", "peer.example:80", False),
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.7:443", True),
        ("192.0.2.7", "192.0.2.7:444", False),
        ("192.0.2.7", "2", False),
        ("2001:db8::7", "2001:db8::/32", True),
        ("2001:db8::7", "[2001:db8::7]:443", True),
        ("2001:db8::7", "2001:DB8::7", True),
        ("2001:db8::7", "192.0.2.0/24, 300.0.0.0/8, /, :", False),
        ("peer.example", "192.0.2.0/24", False),
    ],
)
def test_what_is_excepted(host: str, excepted: str, direct: bool) -> None:
    place = Place(host, 443, secure=True)
    assert has_proxy(place, {**SQUID, "NO_PROXY": excepted}) is not direct


@given(st.text(), st.text())
def test_any_environment_is_read(proxy: str, excepted: str) -> None:
    environment = {"https_proxy": proxy, "no_proxy": excepted}
    try:
        found = proxy_for(WSS, environment)
    except ProxyError:
        assert has_proxy(WSS, environment)
    else:
        assert (found is not None) is has_proxy(WSS, environment)


def asked(answer: bytes, *, size: int = 1 << 20, proxy: Proxy | None = None) -> tuple[bytes, bytes]:
    """What is asked, and what is left behind the answer."""
    runner = ExchangeRunner(connect(proxy or Proxy("proxy", 1, "http://proxy:1"), WSS))
    request = runner.start()
    for start in range(0, len(answer), size):
        assert not runner.done
        runner.feed(answer[start : start + size])
    assert runner.done
    return request, runner.leftover


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_the_way_is_asked_for_and_nothing_behind_it_is_read(size: int) -> None:
    request, _ = asked(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", size=size)
    assert request == b"CONNECT peer.example:443 HTTP/1.1\r\nHost: peer.example:443\r\n\r\n"
    _, left = asked(b"HTTP/1.0 200 OK\r\n\r\n\x16\x03\x03")
    assert left == b"\x16\x03\x03"


def test_the_password_is_told() -> None:
    request, _ = asked(b"HTTP/1.1 200 OK\r\n\r\n", proxy=Proxy("proxy", 1, "http://proxy:1", authorization="YTpi"))
    assert b"\r\nProxy-Authorization: Basic YTpi\r\n" in request


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407, "wants a name and a password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 403, "does not allow"),
        (b"HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", 302, "does not lead there"),
        (b"SSH-2.0-x\r\n\r\n", None, "is no HTTP proxy"),
        (b"HTTP/1.1 2\r\n\r\n", None, "is no HTTP proxy"),
        (bytes(LONGEST + 1), None, f"more than {LONGEST} bytes"),
    ],
)
def test_refusals(answer: bytes, status: int | None, words: str) -> None:
    with pytest.raises(ProxyError, match=words) as caught:
        asked(answer)
    assert (caught.value.status, caught.value.proxy, caught.value.phase) == (status, "http://proxy:1", "proxy")
