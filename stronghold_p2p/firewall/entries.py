"""The rules and bans: each rule stands under its key, and is found by peer, protocol and address."""

from collections import OrderedDict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias, cast

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import inner_ip4
from stronghold_p2p.addressing.parse import shown
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule, Scope
from stronghold_p2p.firewall.subnets import (
    ANYWHERE,
    Address,
    Network,
    Place,
    host_of,
    parse_host,
    parse_subnet,
    place_of,
)
from stronghold_p2p.identity import PeerId
from stronghold_p2p.targets import named_by

LEARNED: Final = 1_024  # rules that hooks have returned: a fourth of what fits into a file, so it can be saved

Banned: TypeAlias = PeerId | Network
_Index: TypeAlias = tuple[Direction, PeerId | None, str | None, Place]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The rule that speaks for an attempt (None: no rule does), and its ``source``, one word for the audit log.

    ``implicit``: the protocol is open to everybody, and no entry speaks of it. ``named``: the entry names the peer.
    """

    rule: Rule | None
    source: str
    implicit: bool = False
    named: bool = False


class Key(NamedTuple):
    """The scope of an entry, in one form for each scope."""

    direction: Direction
    peer: PeerId | None
    protocol: str | None
    network: Network | None

    @property
    def place(self) -> tuple[bool, bool, int, list[str]]:
        """Sorts the strongest first; the texts only make the order of equals the same each time."""
        prefix = -1 if self.network is None else self.network.prefixlen
        return self.peer is None, self.protocol is None, -prefix, [str(part) for part in self]

    @property
    def scope(self) -> Scope:
        subnet = None if self.network is None else str(self.network)
        named = {"direction": self.direction, "peer": self.peer, "protocol": self.protocol, "subnet": subnet}
        return cast("Scope", {name: value for name, value in named.items() if value is not None})

    def source(self, rule: Rule) -> str:
        """As the audit log tells it."""
        parts = ["peer"] if self.peer is not None else []
        parts += ["protocol"] if self.protocol is not None else []
        parts += [f"subnet:{self.network}"] if self.network is not None else []
        return f"{rule}@{'+'.join(parts) or 'default'}"


def key_of(
    peer: PeerId | str | None = None,
    protocol: str | None = None,
    subnet: str | None = None,
    direction: Direction = "in",
    **unknown: object,
) -> Key:
    """The key of a scope; ``ConfigError`` for a selector that could never match, or that there is not."""
    for name in unknown:
        raise ConfigError(f"{name!r} unknown: take peer, protocol, subnet, direction", where=name)
    # A selector of the wrong type would match nothing: a rejecting rule would silently let everything through.
    whom = None if peer is None else named_by(peer)
    given: object = protocol
    if given is not None and not (isinstance(given, str) and given):
        raise ConfigError(f"protocol {protocol!r}: take a str")
    if protocol is not None and (wrong := never_matches(protocol)) is not None:
        raise ConfigError(f"protocol {protocol!r}: {wrong}")
    if direction not in ("in", "out"):
        raise ConfigError(f"direction {direction!r}: take 'in' or 'out'")
    return Key(direction, whom, protocol, None if subnet is None else parse_subnet(subnet))


def never_matches(protocol: str) -> str | None:
    """Why nobody can serve ``protocol``, so that a rule about it would pass everything by; None: somebody may."""
    if protocol.startswith("/") or protocol == CONNECTION:
        return None
    return f"ids begin with '/', and there is {CONNECTION!r}"


@dataclass(frozen=True)
class Content:
    """Rules and bans, as a file says them."""

    banned: frozenset[Banned] = frozenset()
    rules: Mapping[Key, Rule] = field(default_factory=dict)
    learned: frozenset[Key] = frozenset()


class Entries:
    """Rules by key, and bans. ``find`` looks once for each length of a prefix in use, however many entries there are.

    A part of them may come from a file, which replaces what it said before. It never touches a rule or a ban of the
    program's own, also where both say the same; what the program changes by itself is its own from then on.

    ``learned`` are the keys of rules that hooks have returned, in the order of their coming: whoever comes may leave
    one behind, so ``make_room`` forgets those beyond ``LEARNED``, but none of a peer that one of ``held`` contains.
    """

    __slots__ = ("_banned", "_content", "_filed", "_found", "_lengths", "banned", "held", "learned", "rules", "same")

    def __init__(self) -> None:
        self.rules: dict[Key, Rule] = {}
        self.same: dict[str, tuple[str, ...]] = {}  # further ids of the protocol that has this one first
        self.banned: set[Banned] = set()
        self._found: dict[_Index, Judgement] = {}
        self._banned: set[PeerId | Place] = set()
        # By IP version: the lengths of the prefixes, the longest first, and how many have each.
        self._lengths: dict[int, dict[int, int]] = {4: {}, 6: {}}
        self._content = Content()
        self._filed: set[Key | Banned] = set()  # what the file has put there
        self.learned: OrderedDict[Key, None] = OrderedDict()
        self.held: list[Container[PeerId | None]] = []

    def copy(self) -> "Entries":
        """Another table that says the same, to be changed in many steps of which nobody is to see the first ones."""
        twin = Entries()
        twin.rules, twin.same, twin.banned = dict(self.rules), self.same, set(self.banned)
        twin._found, twin._banned = dict(self._found), set(self._banned)
        twin._lengths = dict(self._lengths)
        twin._content, twin._filed = self._content, set(self._filed)
        twin.learned, twin.held = OrderedDict(self.learned), self.held
        return twin

    def put(self, key: Key, rule: Rule, *, learned: bool = False) -> None:
        """In one step for who looks at the same time, also where there was another rule."""
        self._filed.discard(key)
        self.learned.pop(key, None)
        source = key.source(rule)
        if learned:
            self.learned[key] = None
            source += "+learned"
        place = self._place(key.network, 0 if key in self.rules else 1)
        self.rules[key] = rule
        self._found[*key[:3], place] = Judgement(rule, source, named=key.peer is not None)

    def make_room(self) -> list[Key]:
        """Forget what was learned longest ago, and return it."""
        forgotten: list[Key] = []
        for _ in range(len(self.learned)):
            if len(self.learned) <= LEARNED:
                break
            key = next(iter(self.learned))
            if any(key.peer in peers for peers in self.held):
                self.learned.move_to_end(key)
            else:
                self.drop(key)
                forgotten.append(key)
        return forgotten

    def drop(self, key: Key) -> bool:
        self._filed.discard(key)
        self.learned.pop(key, None)
        if self.rules.pop(key, None) is None:
            return False
        del self._found[*key[:3], self._place(key.network, -1)]
        return True

    def ban(self, whom: Banned) -> None:
        self._filed.discard(whom)
        if whom not in self.banned:
            self.banned.add(whom)
            self._banned.add(whom if isinstance(whom, PeerId) else self._place(whom, 1))

    def unban(self, whom: Banned) -> None:
        self._filed.discard(whom)
        if whom in self.banned:
            self.banned.remove(whom)
            self._banned.remove(whom if isinstance(whom, PeerId) else self._place(whom, -1))

    def _place(self, network: Network | None, change: int) -> Place:
        """The place of ``network``, now that one more entry names it, or one less."""
        if network is None:
            return ANYWHERE
        version, length, _ = place = place_of(network)
        counts = dict(self._lengths[version])  # somebody may be going through the other one
        counts[length] = counts.get(length, 0) + change
        self._lengths[version] = {each: counts[each] for each in sorted(counts, reverse=True) if counts[each]}
        return place

    def around(self, address: Multiaddr | str) -> list[Place]:
        """Where an entry may stand that speaks of ``address``: the smallest network first, and last what names none.

        Text is a host as a socket tells it. Behind the networks of an IPv6 address that leads to an IPv4 one
        (``inner_ip4``) stand those of that: no ban is passed by writing the address in another way.
        """
        if not (self._lengths[4] or self._lengths[6]):
            return [ANYWHERE]
        host = parse_host(address) if isinstance(address, str) else host_of(address)
        if host is None:
            return [ANYWHERE]
        hosts = [host] if (inner := inner_ip4(host)) is None else [host, inner]
        return [*(place for one in hosts for place in self._places(one)), ANYWHERE]

    def _places(self, host: Address) -> Iterator[Place]:
        number, width, version = int(host), host.max_prefixlen, host.version
        return ((version, length, number >> width - length) for length in self._lengths[version])

    def holds_back(self, peer: PeerId | None, places: Collection[Place]) -> bool:
        """Whether this peer (None: not known), or one of the networks around it, is banned."""
        return peer in self._banned or not self._banned.isdisjoint(places)

    def find(self, attempt: Attempt, places: Collection[Place], *, named_only: bool) -> Judgement | None:
        """The strongest entry that matches; ``named_only``: of those that name the protocol.

        Of entries that differ only in which of a protocol's ids they name one that rejects speaks, else the first.
        """
        found, direction, name = self._found, attempt.direction, attempt.protocol
        ids = self.same.get(name)
        for peer in (attempt.peer, None):
            for protocol in (name,) if named_only else (name, None):
                for place in places:
                    entry = found.get((direction, peer, protocol, place))
                    if ids is not None and protocol is not None:
                        others = (found.get((direction, peer, other, place)) for other in ids)
                        entry = _strictest(entry, others)
                    if entry is not None:
                        return entry
        return None

    @property
    def everything(self) -> Content:
        """All rules and bans as a file would say them, the program's own included."""
        return Content(frozenset(self.banned), dict(self.rules), frozenset(self.learned))

    def written(self, content: Content) -> None:
        """The file has been made to say ``content``, which is everything: nothing is the program's own any more."""
        self._content, self._filed = content, {*content.rules, *content.banned}

    def replace(self, content: Content) -> None:
        """The file says ``content`` now: follow what has changed in it, except where the program has its own."""
        before, self._content = self._content, content
        for key in before.rules.keys() | content.rules.keys():
            rule, learned = content.rules.get(key), key in content.learned
            same = rule == before.rules.get(key) and learned == (key in before.learned)
            if same or (key in self.rules and key not in self._filed):
                continue
            if rule is None:
                self.drop(key)
            else:
                self.put(key, rule, learned=learned)
                self._filed.add(key)
        for whom in content.banned - before.banned - self.banned:
            self.ban(whom)
            self._filed.add(whom)
        for whom in (before.banned - content.banned) & self._filed:
            self.unban(whom)
        self.make_room()


def _strictest(entry: Judgement | None, others: Iterable[Judgement | None]) -> Judgement | None:
    """The first that rejects, else the first."""
    entries = [one for one in (entry, *others) if one is not None]
    return next((one for one in entries if one.rule == Rule.REJECT), entries[0] if entries else None)


def banned_of(whom: PeerId | str) -> Banned:
    """A ban in one form; ``ConfigError``: neither a peer nor the text of a subnet."""
    if isinstance(whom, PeerId):
        return whom
    text = str(whom)
    if text.startswith("/"):
        told = "an address is a peer at a place: take the peer id behind its /p2p/, or its IP address"
        raise ConfigError(f"ban of {shown(whom)}: {told}")
    if text and not {".", ":", "/"} & {*text}:  # as there are in every subnet
        return named_by(whom)
    return parse_subnet(whom)
