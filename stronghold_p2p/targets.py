"""What calls are given: whom to reach, at which addresses, and for how long."""

from collections.abc import Iterable
from types import EllipsisType
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import parse, shown, split_peer
from stronghold_p2p.arguments import check_kind, check_seconds, kind_of
from stronghold_p2p.errors import ConfigError, DecodeError
from stronghold_p2p.identity import PeerId

Address: TypeAlias = Multiaddr | str
Target: TypeAlias = PeerId | Address
"""The peer to reach, by its id (or the text of it) or at an address; where that ends in ``/p2p/<id>`` nobody else can
answer.
"""

Timeout: TypeAlias = float | EllipsisType | None

_PEER: Final = "take a PeerId, its text, or an address that ends in /p2p/ and it"
_ADDRESS: Final = "take a text like '/ip4/192.0.2.7/tcp/4001', or a Multiaddr"


def parsed(address: Address) -> Multiaddr:
    """``ConfigError``: it is no address."""
    try:
        return parse(address)
    except (DecodeError, TypeError, OverflowError) as error:
        check_kind("address", address, (str, bytes, Multiaddr), _ADDRESS)
        raise ConfigError(f"{shown(address)}: {error}", where=shown(address)) from None


def parsed_all(option: str, given: Iterable[Address]) -> tuple[Multiaddr, ...]:
    """The addresses of an option, which is a list of them."""
    if isinstance(given, str | bytes | Multiaddr):
        raise ConfigError(f"{option} is one address: take [{str(given)!r}]", where=option)
    check_kind(option, given, Iterable, f"a list of addresses: {_ADDRESS}")
    return tuple(parsed(address) for address in given)


def own(address: Address, peer: PeerId) -> Multiaddr:
    """An address of ``peer``'s own, without its name; ``ConfigError``: it names another one."""
    place, named = split_peer(parsed(address))
    if named not in (None, peer):
        raise ConfigError(f"{address} names another peer than us", where=str(address))
    return place


def resolved(to: Target) -> tuple[PeerId | None, tuple[Multiaddr, ...]]:
    """The peer, and the addresses to try besides those that are known."""
    if isinstance(to, PeerId):
        return to, ()
    if isinstance(to, str) and not to.startswith("/"):  # perhaps a peer id; what it is not, is told of addresses
        try:
            return PeerId(to), ()
        except DecodeError:
            pass
    address, peer = split_peer(parsed(to))
    return peer, (address,) if bytes(address) else ()


def named_by(whom: PeerId | str | Multiaddr, name: str = "peer") -> PeerId:
    """The peer that is meant: a ``PeerId``, its text, or an address that ends in ``/p2p/`` and it.

    ``ConfigError``: none, or more than one.
    """
    if isinstance(whom, PeerId):
        return whom
    if isinstance(whom, list | tuple | set | frozenset):
        raise ConfigError(f"{name} is {kind_of(whom)}: take one peer, and make the call for each", where=name)
    check_kind(name, whom, (str, Multiaddr), _PEER)
    try:
        if isinstance(whom, str) and not whom.startswith("/"):
            return PeerId(whom)
        found = split_peer(parse(whom))[1]
    except DecodeError as error:
        raise ConfigError(f"{name} {shown(whom)!r}: {error}: {_PEER}", where=name) from None
    if found is None:
        raise ConfigError(f"{name} {shown(whom)!r} names nobody: it has to end in /p2p/ and a peer id", where=name)
    return found


def check_peer(peer: object) -> None:
    """``ConfigError``: it is no ``PeerId``."""
    check_kind("peer", peer, PeerId, "take a PeerId, as PeerId(text) is")


def seconds(timeout: float | None) -> float | None:
    """A deadline that the caller gave, looked at before anything is sent."""
    try:
        if timeout is None or timeout >= 0:
            return timeout
    except TypeError:
        pass
    check_seconds(timeout)
    return timeout
