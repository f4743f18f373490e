"""WebSocket: addresses of the form ``/ip4|ip6/../tcp/../ws``, or ``/tls/ws`` and ``/tls/sni/../ws``, over TCP.

Where the environment names an HTTP proxy, dials lead through it; that looks names up itself, so it is given these.

The ``websockets`` package is loaded when the first such address is used: most programs have none.
"""

import os
from dataclasses import replace

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import SNI, TLS, WS
from stronghold_p2p.addressing.endpoint import Endpoint, endpoint_of
from stronghold_p2p.addressing.undialed import UNKNOWN, why_not
from stronghold_p2p.errors import ConfigError, DialError, ProxyError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import Arrivals, TransportListener, Upgraded, Wire
from stronghold_p2p.transport.certificates import ServerCertificate, TrustedAuthorities, WebTLS, server_name
from stronghold_p2p.transport.proxy import Place, Proxy, ProxyWire, has_proxy, proxy_for
from stronghold_p2p.transport.shared_port import Around
from stronghold_p2p.transport.tcp import TcpTransport
from stronghold_p2p.transport.tls_wire import TlsWire


class WebSocketTransport:
    """Dials and listens for one network, over the sockets of ``tcp``, with the certificates of ``tls``.

    ``ConfigError``: the authorities of ``tls`` cannot be used. Its certificate is read when it is needed.
    """

    def __init__(self, tcp: TcpTransport, tls: WebTLS | None = None) -> None:
        self._tcp = tcp
        self._tls = tls or WebTLS()
        self._authorities = TrustedAuthorities(self._tls.ca)
        self._certificate: ServerCertificate | None = None

    def handles(self, address: Multiaddr) -> bool:
        endpoint = _endpoint(address)
        return endpoint is not None and (not endpoint.named or has_proxy(_place(endpoint), os.environ))

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        endpoint = _endpoint(address)
        if endpoint is None:
            raise DialError(f"{address} cannot be dialed: {why_not(address) or UNKNOWN}")

        place = _place(endpoint, name)
        proxy = proxy_for(place, os.environ)
        around = self._around(endpoint, place, proxy, name)
        if proxy is None:
            return await self._tcp.connect(address, (endpoint.host, endpoint.port), expected, around)
        try:
            return await self._tcp.connect(address, (proxy.host, proxy.port), expected, around)
        except DialError as error:
            raise ProxyError(f"{proxy.text} cannot be reached: {error}", proxy=proxy.text) from error

    def _around(self, endpoint: Endpoint, place: Place, proxy: Proxy | None, name: str) -> Around:
        """What is spoken over the socket of a dial: with the proxy, then TLS, then HTTP."""
        verified = server_name(endpoint.sni or place.host)
        secure = place.secure or (proxy is not None and proxy.secure)
        # The system's authorities are read with the first one, which takes a while: before there is a socket.
        trusted = self._authorities.context() if secure else None

        def around(wire: Wire) -> Wire:
            if proxy is not None:
                if trusted is not None and proxy.secure:
                    wire = TlsWire(wire, trusted, server_name(proxy.host))
                wire = ProxyWire(wire, proxy, replace(place, host=server_name(place.host)))
            if trusted is not None and place.secure:
                wire = TlsWire(wire, trusted, verified)
            return dialed(wire, verified, endpoint.port, endpoint.path, secure=place.secure)

        return around

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> TransportListener:
        endpoint = _endpoint(address)
        if endpoint is None or endpoint.named:
            raise ConfigError(f"cannot listen on {address}: {why_not(address) or UNKNOWN}", where="listen")
        around = accepted if endpoint.spoken == "ws" else self._secured()
        target = (endpoint.host, endpoint.port)
        listening = await self._tcp.bind(address, target, arrivals, around, spoken=endpoint.spoken)
        return WebSocketListener(listening, _suffix(endpoint))

    def _secured(self) -> Around:
        """``ConfigError``: there is no certificate that can be used."""
        certificate = self._certificate = self._certificate or ServerCertificate(self._tls)
        return lambda wire: accepted(TlsWire(wire, certificate.context()))

    def close(self) -> None:
        """The sockets are those of TCP, which aborts their upgrades."""


class WebSocketListener:
    """One listening socket, at whose addresses a WebSocket is spoken: ``suffix`` stands behind each."""

    def __init__(self, listening: TransportListener, suffix: bytes) -> None:
        self._listening = listening
        self._suffix = suffix

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        return tuple(Multiaddr(bytes(address) + self._suffix) for address in self._listening.addresses)

    def stop(self) -> None:
        self._listening.stop()


def with_ws(address: Multiaddr) -> Multiaddr:
    """``address`` with ``/ws`` behind it."""
    return Multiaddr(bytes(address) + WS.prefixed(b""))


def dialed(wire: Wire, host: str, port: int, path: str = "/", *, secure: bool = False) -> Wire:
    """A WebSocket to the server behind ``wire``; ``host`` is what it is called. ``secure``: over TLS."""
    from stronghold_p2p.transport.websocket_opening import ClientOpening  # noqa: PLC0415 - see above
    from stronghold_p2p.transport.websocket_wire import WebSocketWire  # noqa: PLC0415

    around = WebSocketWire(wire, ClientOpening(host, port, path, secure=secure))
    around.local = with_ws(wire.local)
    return around


def accepted(wire: Wire) -> Wire:
    """A WebSocket of the client behind ``wire``: a socket, TLS, or whatever else has bytes in which HTTP is spoken.

    What the client has sent already comes to it as to any new user of a wire.
    """
    from stronghold_p2p.transport.websocket_opening import ServerOpening  # noqa: PLC0415 - see above
    from stronghold_p2p.transport.websocket_wire import WebSocketWire  # noqa: PLC0415

    around = WebSocketWire(wire, ServerOpening())
    around.local, around.remote = with_ws(wire.local), with_ws(wire.remote)
    return around


def _endpoint(address: Multiaddr) -> Endpoint | None:
    endpoint = endpoint_of(address)
    return endpoint if endpoint is not None and endpoint.spoken != "tcp" else None


def _place(endpoint: Endpoint, name: str = "") -> Place:
    """What a proxy is asked for: the name from which the address comes, if there is one."""
    host = endpoint.named or name or endpoint.host.partition("%")[0]
    return Place(host, endpoint.port, endpoint.spoken == "wss")


def _suffix(endpoint: Endpoint) -> bytes:
    """What tells others to speak as ``endpoint`` says; ``/wss`` is told as ``/tls/ws``, which is the newer form."""
    if endpoint.spoken == "ws":
        return WS.prefixed(b"")
    sni = SNI.prefixed(endpoint.sni.encode()) if endpoint.sni else b""
    return TLS.prefixed(b"") + sni + WS.prefixed(b"")
