"""The HTTP proxy that the environment names, for outbound WebSocket: which one, and the way through it.

``HTTP_PROXY`` is for ws and ``HTTPS_PROXY`` for wss, as go-libp2p takes them; ``NO_PROXY`` excepts hosts. In small
letters they count first, as for curl. To ``localhost`` and loopback addresses no proxy leads, as in go's httpproxy.

The way through is ``CONNECT`` (RFC 9110, 9.3.6), an exchange, which ``ProxyWire`` runs.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from stronghold_p2p.errors import ProxyError
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.seams import Wire
from stronghold_p2p.transport.undecided_wire import UndecidedWire

LONGEST: Final = 8_192  # bytes of an answer's head
END: Final = b"\r\n\r\n"
PORTS: Final = {"http": 80, "https": 443}
ADVICE: Final = {
    403: "it does not allow that host or that port: ask who runs it, or put the host into NO_PROXY",
    407: "it wants a name and a password: http://NAME:PASSWORD@HOST:PORT",
    502: "it cannot reach that host",
    503: "it cannot reach that host",
    504: "it cannot reach that host",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dial has to come: to ``host``, a name or an IP address without a zone. ``secure``: by wss."""

    host: str
    port: int
    secure: bool

    def __str__(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it is, and what it wants to be told. ``text`` names it without the password; ``secure``: it speaks TLS."""

    host: str
    port: int
    text: str
    secure: bool = False
    authorization: str = ""


def has_proxy(place: Place, environment: Mapping[str, str]) -> bool:
    """Whether a proxy is on the way to ``place``, be it one that cannot be used."""
    return bool(_given(place, environment))


def proxy_for(place: Place, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy on the way to ``place``; None: there is none.

    ``ProxyError``: what the environment names cannot be used. Nothing goes past a proxy because of that.
    """
    given = _given(place, environment)
    return _proxy(given, _name(place).upper()) if given else None


def _name(place: Place) -> str:
    return "https_proxy" if place.secure else "http_proxy"


def _given(place: Place, environment: Mapping[str, str]) -> str:
    given = _variable(environment, _name(place))
    return "" if not given or _direct(place.host, place.port, _variable(environment, "no_proxy")) else given


def _variable(environment: Mapping[str, str], name: str) -> str:
    """In a CGI program HTTP_PROXY is what a client has sent as its header Proxy (CVE-2016-5385)."""
    upper = "" if name == "http_proxy" and "REQUEST_METHOD" in environment else environment.get(name.upper(), "")
    return (environment.get(name, "") or upper).strip()


def _direct(host: str, port: int, excepted: str) -> bool:
    """Whether no proxy leads to ``host``, as ``excepted`` says."""
    name = host.lower().rstrip(".")
    ip = _ip(name)
    if name == "localhost" or (ip is not None and ip.is_loopback):
        return True
    return any(_matches(entry, name, ip, port) for entry in excepted.lower().replace(",", " ").split())


def _matches(entry: str, name: str, ip: IPv4Address | IPv6Address | None, port: int) -> bool:
    """An entry is a name, with all below it; ``.name`` or ``*.name``, only those below; an IP address; a network; or
    ``*``. Names and addresses may have a port.
    """
    if entry == "*":
        return True
    if "/" in entry:
        return ip is not None and _inside(ip, entry)
    place, wanted = _split(entry)
    if wanted not in ("", str(port)):
        return False
    if ip is not None:
        return _ip(place) == ip
    domain = place.removeprefix("*").removeprefix(".")
    return bool(domain) and (name.endswith("." + domain) or (name == domain and place == domain))


def _split(entry: str) -> tuple[str, str]:
    """Host and port of an entry; an IPv6 address has brackets where there is a port."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    if _ip(entry) is not None:
        return entry, ""
    host, _, port = entry.partition(":")
    return host.rstrip("."), port


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _inside(ip: IPv4Address | IPv6Address, network: str) -> bool:
    try:
        return ip in ip_network(network, strict=False)
    except ValueError:
        return False


def _proxy(given: str, variable: str) -> Proxy:
    """Of an URL; without a scheme it is http, as for curl and go."""
    scheme, _, rest = given.rpartition("://")
    shown = f"{scheme or 'http'}://{rest.rpartition('@')[2]}"  # without the password
    if scheme.lower() not in {"", *PORTS}:
        raise ProxyError(f"{variable} names {shown}: only http and https proxies can be used", proxy=shown)
    try:
        url = urlsplit(f"{scheme or 'http'}://{rest}")
        host, port = url.hostname or "", url.port or PORTS[url.scheme]
        pair = None if url.username is None else f"{unquote(url.username)}:{unquote(url.password or '')}"
        authorization = "" if pair is None else b64encode(pair.encode()).decode()
    except ValueError:
        host = ""
    if not host:
        raise ProxyError(f"{variable} names {shown}: take http://HOST:PORT", proxy=shown)
    return Proxy(host, port, f"{url.scheme}://{authority(host, port)}", url.scheme == "https", authorization)


def authority(host: str, port: int) -> str:
    """Both in one text, as HTTP has it (RFC 3986, 3.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect(proxy: Proxy, place: Place) -> Exchange[None]:
    """Ask ``proxy`` for a way to ``place``: read up to the blank line, as what follows is the other end's already."""
    request = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
    if proxy.authorization:
        request += f"Proxy-Authorization: Basic {proxy.authorization}\r\n"
    yield f"{request}\r\n".encode()
    head = bytearray()
    while not head.endswith(END):
        head += yield 1
        if len(head) > LONGEST:
            raise ProxyError(f"{proxy.text} answers with more than {LONGEST} bytes of head", proxy=proxy.text)
    status = _status(bytes(head))
    if status is None:
        raise ProxyError(f"{proxy.text} is no HTTP proxy", proxy=proxy.text)
    if not 200 <= status < 300:
        why = ADVICE.get(status, "it does not lead there")
        raise ProxyError(f"{proxy.text} answers {status} for {place}: {why}", proxy=proxy.text, status=status)


def _status(head: bytes) -> int | None:
    version, _, rest = head.partition(b" ")
    number = rest[:3]
    return int(number) if version.startswith(b"HTTP/1.") and len(number) == 3 and number.isdigit() else None


class ProxyWire(UndecidedWire):
    """The wire to ``proxy`` is the one to ``place`` when that has led on."""

    def __init__(self, outer: Wire, proxy: Proxy, place: Place) -> None:
        super().__init__(outer)
        self._text = proxy.text
        self._exchange = ExchangeRunner(connect(proxy, place))
        outer.write(self._exchange.start())

    def _advance(self, view: memoryview) -> int:
        self._exchange.feed(view)
        if not self._exchange.done:
            return len(view)
        self._decide(self._outer)
        return len(view) - len(self._exchange.leftover)

    def ended(self, error: Exception | None) -> None:
        self._exchange.close()
        told = ProxyError(f"{self._text} has closed the connection without an answer", proxy=self._text)
        told.__cause__ = error
        super().ended(told)
