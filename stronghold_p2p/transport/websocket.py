"""WebSocket: addresses of the form ``/ip4|ip6/../tcp/../ws``, dialed and listened on over TCP.

The ``websockets`` package is loaded when the first such address is used: most programs have none.
"""

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import WS
from stronghold_p2p.addressing.endpoint import Endpoint, endpoint_of
from stronghold_p2p.addressing.undialed import UNKNOWN, why_not
from stronghold_p2p.errors import ConfigError, DialError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import Arrivals, TransportListener, Upgraded, Wire
from stronghold_p2p.transport.tcp import TcpTransport


class WebSocketTransport:
    """Dials and listens for one network, over the sockets of ``tcp``."""

    def __init__(self, tcp: TcpTransport) -> None:
        self._tcp = tcp

    def handles(self, address: Multiaddr) -> bool:
        return _endpoint(address) is not None

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        endpoint = _endpoint(address)
        if endpoint is None:
            raise DialError(f"{address} cannot be dialed: {why_not(address) or UNKNOWN}")

        def around(wire: Wire) -> Wire:
            return dialed(wire, name or endpoint.host.partition("%")[0], endpoint.port, endpoint.path)

        return await self._tcp.connect(address, (endpoint.host, endpoint.port), expected, around)

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> TransportListener:
        endpoint = _endpoint(address)
        if endpoint is None:
            raise ConfigError(f"cannot listen on {address}: {why_not(address) or UNKNOWN}", where="listen")
        listening = await self._tcp.bind(address, (endpoint.host, endpoint.port), arrivals, accepted)
        return WebSocketListener(listening)

    def close(self) -> None:
        """The sockets are those of TCP, which aborts their upgrades."""


class WebSocketListener:
    """One listening socket, at whose addresses a WebSocket is spoken."""

    def __init__(self, listening: TransportListener) -> None:
        self._listening = listening

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        return tuple(map(with_ws, self._listening.addresses))

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
    return endpoint if endpoint is not None and endpoint.spoken == "ws" and not endpoint.named else None
