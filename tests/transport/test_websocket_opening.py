"""How a WebSocket begins, byte by byte and against the package's own other side; what is refused, and with which words.

Hostile rows 8 and 12 stand in tests/hostile, over sockets.
"""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from stronghold_p2p.transport.websocket_opening import MAX_HEAD, SENTENCE, ClientOpening, Opening, ServerOpening

REQUEST = (  # of RFC 6455, 1.3
    b"GET /chat HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Origin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
BEHIND = b"\x82\x03abc"


def fed(opening: Opening, data: bytes, size: int = 0) -> bytes:
    """Give it ``data`` in pieces of ``size``; returns what it did not want."""
    while data and not opening.done and opening.error is None:
        piece = data[: size or len(data)]
        used = opening.feed(memoryview(piece))
        data = piece[used:] + data[len(piece) :]
        if used < len(piece):
            break
    return data


def answered(opening: Opening) -> tuple[int, dict[str, str], str]:
    """Status, headers and words of what a server of ours says."""
    head, _, words = opening.out.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), words.decode()


# ------------------------------------------------------------------------------ the listener's side


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7])
def test_the_example_of_the_rfc_is_answered_as_there(size: int) -> None:
    """No extension and no subprotocol is agreed upon, and nothing behind the blank line is touched."""
    opening = ServerOpening()
    rest = fed(opening, REQUEST + (BEHIND if not size else b""), size)
    status, headers, words = answered(opening)
    assert (status, words, opening.done, opening.error) == (101, "", True, None)
    assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert not {"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"} & headers.keys()
    assert rest == (BEHIND if not size else b"")


def test_every_split() -> None:
    for at in range(1, len(REQUEST)):
        opening = ServerOpening()
        assert opening.feed(memoryview(REQUEST[:at])) == at
        assert not opening.done
        assert opening.feed(memoryview(REQUEST[at:] + BEHIND)) == len(REQUEST) - at
        assert opening.done


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_health_check_and_a_browser_are_told_in_plain_words(method: str, version: str) -> None:
    opening = ServerOpening()
    fed(opening, f"{method} /healthz HTTP/{version}\r\nHost: x\r\nUser-Agent: probe\r\n\r\n".encode())
    status, headers, words = answered(opening)
    assert status == 200
    assert headers["Connection"] == "close"
    assert headers["Content-Type"].startswith("text/plain")
    assert int(headers["Content-Length"]) == len(SENTENCE)
    assert words == (SENTENCE if method == "GET" else "")
    assert not opening.done
    assert "health check" in str(opening.error)


@pytest.mark.parametrize(
    ("changed", "to", "status"),
    [
        (b"GET", b"POST", 405),
        (b"HTTP/1.1", b"HTTP/1.0", 505),
        (b"Upgrade: websocket", b"Upgrade: h2c", 426),
        (b"Connection: Upgrade", b"Connection: keep-alive", 426),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", 400),
        (b"Version: 13", b"Version: 12", 400),
        (b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n", 400),
        (b"/chat", b"/" + b"x" * MAX_HEAD, 431),
        (b"Origin: ", b"Cookie: " + b"x" * MAX_HEAD, 431),
        (b"Origin: ", b"A: b\r\n" * 140 + b"Origin: ", 431),
    ],
)
def test_a_request_that_is_wrong_is_told_so(changed: bytes, to: bytes, status: int) -> None:
    opening = ServerOpening()
    fed(opening, REQUEST.replace(changed, to), 500)
    told, headers, words = answered(opening)
    assert told == status
    assert headers["Connection"] == "close"
    assert words.endswith("\n")
    assert not opening.done
    assert opening.error is not None
    assert opening.error.phase == "websocket"


@pytest.mark.parametrize(
    "data",
    [
        b"\x13/multistream/1.0.0\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(10),
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"GET / HTTP/1.1\n\n",
        REQUEST.replace(b"Host: ", b"Host : "),
        REQUEST.replace(b"Origin: http", b"Origin: a\r\n http"),  # obs-fold (RFC 9112, 5.2)
        REQUEST.replace(b"Origin: ", b"Content-Length: 5\r\nOrigin: "),
        REQUEST.replace(b"Origin: ", b"Content-Length: 0\r\nContent-Length: 7\r\nOrigin: "),
        REQUEST.replace(b"Origin: ", b"Transfer-Encoding: chunked\r\nOrigin: "),
        REQUEST.replace(b"HTTP/1.1", b"HTTP/2.0"),
    ],
)
def test_what_is_no_request_ends_without_a_word(data: bytes) -> None:
    opening = ServerOpening()
    fed(opening, data)
    assert (opening.done, opening.out) == (False, b"")
    assert opening.error is not None


# ------------------------------------------------------------------------------ the dialer's side


def server_says(response: Response) -> bytes:
    return response.serialize()


def answer_to(request: bytes) -> bytes:
    """The package's own answer."""
    protocol = ServerProtocol()
    protocol.receive_data(request)
    (event,) = protocol.events_received()
    assert isinstance(event, Request)
    protocol.send_response(protocol.accept(event))
    return b"".join(protocol.data_to_send())


@pytest.mark.parametrize("size", [0, 1, 3])
def test_the_package_answers_and_we_are_open(size: int) -> None:
    opening = ClientOpening("example.org", 8080, "/path%20here")
    head = opening.out.decode()
    assert head.startswith("GET /path%20here HTTP/1.1\r\n")
    assert "\r\nHost: example.org:8080\r\n" in head
    assert head.count("\r\n") < 32  # rust refuses more headers than that
    assert fed(opening, answer_to(opening.out) + (BEHIND if not size else b""), size) == (BEHIND if not size else b"")
    assert opening.done
    assert opening.error is None


@pytest.mark.parametrize(
    ("host", "port", "secure", "told"),
    [
        ("example.org", 80, False, "example.org"),
        ("example.org", 443, True, "example.org"),
        ("example.org", 443, False, "example.org:443"),
        ("::1", 80, False, "[::1]"),
        ("2001:db8::1", 4001, True, "[2001:db8::1]:4001"),
        ("192.0.2.1", 4001, False, "192.0.2.1:4001"),
    ],
)
def test_the_host_is_named_with_its_port_where_that_is_not_the_usual_one(
    host: str, port: int, secure: bool, told: str
) -> None:
    assert f"\r\nHost: {told}\r\n".encode() in ClientOpening(host, port, secure=secure).out


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 99999999\r\n\r\n", "404 Not Found"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "302 Found"),
        (b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n", "502 Bad Gateway"),
        (b"HTTP/1.1 200 \x1b[31mred\r\n\r\n", "no WebSocket"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "Accept"),
        (b"\x13/multistream/1.0.0\n", "no WebSocket"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD, "more than 8192 bytes"),
    ],
)
def test_an_answer_that_is_no_websocket(answer: bytes, told: str) -> None:
    opening = ClientOpening("example.org", 80)
    fed(opening, answer, 1_000)
    assert not opening.done
    assert told in str(opening.error)
    assert str(opening.error).isprintable()


def test_an_extension_that_nobody_asked_for_is_refused() -> None:
    opening = ClientOpening("example.org", 80)
    assert b"Extensions" not in opening.out
    answer = answer_to(opening.out)
    fed(opening, answer.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
    assert not opening.done
    assert "extension" in str(opening.error)


def test_the_package_takes_our_request() -> None:
    opening, theirs = ServerOpening(), ClientProtocol(parse_uri("ws://example.org/"))
    theirs.send_request(theirs.connect())
    fed(opening, b"".join(theirs.data_to_send()))
    theirs.receive_data(opening.out)
    assert theirs.state is State.OPEN
