"""What a network may be made with: the kind of each option, and what to give instead of another."""

from collections.abc import Iterable
from typing import Final

from stronghold_p2p.announcing.announcer import Announcer
from stronghold_p2p.announcing.hidden import Hidden
from stronghold_p2p.arguments import check_kind
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.resolving.dns import Dns
from stronghold_p2p.targets import Address, own, parsed_all
from stronghold_p2p.transport.certificates import WebTLS

_OPTIONS: Final[dict[str, tuple[type, str]]] = {
    "identity": (Identity, "take an Identity; Identity.load(path) reads one from a file"),
    "firewall": (Firewall, "take a Firewall; Firewall.load(path) reads one from a file"),
    "book": (AddressBook, "take an AddressBook; AddressBook.load(path) reads one from a file"),
    "timeouts": (Timeouts, "take Timeouts(request=5), for example"),
    "limits": (Limits, "take Limits(connections=100), for example"),
    "dns": (Dns, 'take Dns(nameservers=["192.0.2.53"]), for example'),
    "tls": (WebTLS, "take WebTLS(certificate='fullchain.pem', key='privkey.pem'), for example"),
    "mdns": (bool, "take True or False"),
    "relay": (RelayLimits, "take RelayLimits(), which has the usual limits"),
    "agent": (str, "take a text"),
    "name": (str, "take a text"),
}


def check_options(**given: object) -> None:
    """``ConfigError``: one of them is of another kind. None stands for the default."""
    for option, value in given.items():
        if value is not None:
            check_kind(option, value, *_OPTIONS[option])


def announcer_of(announce: Iterable[Address] | None, no_announce: Iterable[Address], peer: PeerId) -> Announcer:
    """``ConfigError``: one of them is no address, or names another peer than us."""
    told = None if announce is None else [own(address, peer) for address in parsed_all("announce", announce)]
    return Announcer(told, Hidden(no_announce))
