"""Whom to ask for names, and what to believe: the option of a network."""

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.resolving.questions import normal

PORT: Final = 53

Server: TypeAlias = tuple[str, int]
"""IP address and port."""


@dataclass(frozen=True, kw_only=True)
class Dns:
    """How a network resolves the names in addresses: ``/dns``, ``/dns4``, ``/dns6``, ``/dnsaddr``.

    nameservers: IP addresses, each with a port if that is not 53: ``"192.0.2.53"``, ``"[2001:db8::53]:5353"``. They are
        asked instead of the system's, and names are taken as they are, without the system's search list. Empty: the
        system's, from /etc/resolv.conf, or the registry of Windows. The hosts file counts in any case.
    private_domains: domains whose names may lead into private networks also when a peer has told them, such as
        ``"corp.example"``. Without it only addresses that the application gives may: see docs/names.md.

    ``ConfigError``: what is no IP address, or no domain.
    """

    nameservers: Sequence[str] = ()
    private_domains: Collection[str] = ()

    def __post_init__(self) -> None:
        _check_texts("nameservers", self.nameservers)
        _check_texts("private_domains", self.private_domains)
        object.__setattr__(self, "nameservers", tuple(self.nameservers))
        object.__setattr__(self, "private_domains", tuple(map(_domain, self.private_domains)))
        tuple(map(server_of, self.nameservers))


def server_of(text: str) -> Server:
    """Address and port of a nameserver; ``ConfigError`` if it has no IP address: who should resolve its name?"""
    host, port = text, str(PORT)
    if text.startswith("["):
        host, _, behind = text[1:].partition("]")
        port = behind.removeprefix(":") if behind else port
    elif text.count(":") == 1:
        host, port = text.split(":")
    try:
        ipaddress.ip_address(host)
        if port.isascii() and port.isdigit() and 0 < int(port) < 65_536:
            return host, int(port)
    except ValueError:
        pass
    told = "a nameserver is an IP address, as in 192.0.2.53 or [2001:db8::53]:5353"
    raise ConfigError(f"{text[:64]!r}: {told}", where="nameservers")


def _domain(text: str) -> str:
    domain = normal(text).removeprefix(".")
    if not domain or "/" in domain or " " in domain:
        raise ConfigError(f"{text[:64]!r} is no domain: take one like 'corp.example'", where="private_domains")
    return domain


def _check_texts(option: str, texts: Collection[str]) -> None:
    given: object = texts
    if isinstance(given, str) or not isinstance(given, Collection) or not all(isinstance(one, str) for one in given):
        raise ConfigError(f"Dns({option}={given!r}): take a list of texts", where=option)
