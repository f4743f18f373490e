"""What a network may be made with: the kind of each option, and what to give instead of another."""

from typing import Final

from stronghold_p2p.arguments import check_kind
from stronghold_p2p.book.addresses import AddressBook
from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.identity.keys.identity import Identity

_OPTIONS: Final[dict[str, tuple[type, str]]] = {
    "identity": (Identity, "take an Identity; Identity.load(path) reads one from a file"),
    "firewall": (Firewall, "take a Firewall; Firewall.load(path) reads one from a file"),
    "book": (AddressBook, "take an AddressBook; AddressBook.load(path) reads one from a file"),
    "timeouts": (Timeouts, "take Timeouts(request=5), for example"),
    "limits": (Limits, "take Limits(connections=100), for example"),
    "mdns": (bool, "take True or False"),
    "agent": (str, "take a text"),
    "name": (str, "take a text"),
}


def check_options(**given: object) -> None:
    """``ConfigError``: one of them is of another kind. None stands for the default."""
    for option, value in given.items():
        if value is not None:
            check_kind(option, value, *_OPTIONS[option])
