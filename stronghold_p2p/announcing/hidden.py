"""Addresses that nobody is told: the option ``no_announce`` of a network."""

from collections.abc import Iterable
from ipaddress import ip_network

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import BY_NAME, IP4, IP6
from stronghold_p2p.addressing.parse import parse, shown, split_peer, walk
from stronghold_p2p.addressing.parts import canonical
from stronghold_p2p.arguments import check_kind
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.firewall.subnets import Network, host_of, parse_subnet

_ADVICE = "take a network like '10.0.0.0/8', or an address or the beginning of one, like '/ip4/192.0.2.7'"
_CIDR = BY_NAME["ipcidr"]


class Hidden:
    """Tells which addresses are hidden. ``ConfigError``: ``given`` names something that is no address and no network.

    A network is ``10.0.0.0/8``, ``fd00::/8`` or one IP address, or a multiaddr that ends in ``/ipcidr/<bits>``. Any
    other address hides itself and all that begin with it.
    """

    def __init__(self, given: Iterable[Multiaddr | str] = ()) -> None:
        if isinstance(given, str | bytes | Multiaddr):
            raise ConfigError(f"no_announce is one: take [{str(given)!r}]", where="no_announce")
        check_kind("no_announce", given, Iterable, f"a list: {_ADVICE}")
        self._networks: list[Network] = []
        self._beginnings: list[bytes] = []
        for one in given:
            check_kind("no_announce", one, (str, Multiaddr), _ADVICE)
            try:
                self._take(one)
            except (ConfigError, DecodeError, ValueError) as error:
                raise ConfigError(f"no_announce: {shown(one)}: {error}: {_ADVICE}", where="no_announce") from None

    def __call__(self, address: Multiaddr) -> bool:
        if any(canonical(address).startswith(beginning) for beginning in self._beginnings):
            return True
        host = host_of(address) if self._networks else None
        return host is not None and any(host in network for network in self._networks)

    def _take(self, one: Multiaddr | str) -> None:
        if isinstance(one, str) and not one.startswith("/"):
            self._networks.append(parse_subnet(one))
            return
        address = parse(one)
        parts = walk(bytes(address))
        if parts[-1].protocol is not _CIDR:
            place, _ = split_peer(address)
            if not bytes(place):
                raise ConfigError("it names a peer, and no place")
            self._beginnings.append(canonical(place))
        elif len(parts) == 2 and parts[0].protocol in (IP4, IP6):
            self._networks.append(ip_network((parts[0].value, parts[1].value[0])))
        else:
            raise ConfigError("/ipcidr/ stands behind an IP address")
