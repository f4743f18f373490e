"""The question that a firewall is asked (``Attempt``) and its answer (``Rule``), as plain values.

A rule allows, rejects or asks, as in the Rust library of this name. It belongs to a scope made of a peer, a protocol, a
subnet and a direction, each of which may be left open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from types import CoroutineType
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypedDict, get_args

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.identity import PeerId

Direction: TypeAlias = Literal["in", "out"]
Verdict: TypeAlias = Literal["allow", "reject", "ask"]
Predicate: TypeAlias = "Callable[[Attempt], bool]"
Fault: TypeAlias = "Callable[[Rule, BaseException], object]"

CONNECTION = "connection"
"""The name under which rules speak of a connection as such; no protocol id, as those begin with a slash."""

_MAX_DEPTH: Final = 16  # rules inside rules: what is nested by mistake must not cost much


@dataclass(frozen=True, slots=True)
class Rule:
    """``Rule.ALLOW``, ``Rule.REJECT``, ``Rule.ASK``, or one that looks at the attempt: ``Rule.only``, ``Rule.when``.

    A value: compare it with ``==``. ``ASK`` puts each attempt before the application's ``on_ask`` hook. A rule that
    looks has no ``verdict`` of its own, but two rules, one of which speaks for it; they may look, too, up to 16 deep.
    ``ConfigError``: no such verdict, or what ``only`` and ``when`` refuse.
    """

    verdict: Verdict | None
    variants: frozenset[str] = frozenset()
    predicate: Predicate | None = None
    name: str = ""
    then: Rule | None = None
    otherwise: Rule | None = None
    may_allow: bool = field(init=False, repr=False, compare=False)
    """Some attempt is allowed, or asked about."""
    _depth: int = field(init=False, repr=False, compare=False)
    _by_variant: bool = field(init=False, repr=False, compare=False)  # no predicate: all it may look at is the variant

    ALLOW: ClassVar[Rule]
    REJECT: ClassVar[Rule]
    ASK: ClassVar[Rule]

    def __post_init__(self) -> None:
        branches = (self.then, self.otherwise) if self.verdict is None else ()
        for branch in branches:
            if not isinstance(branch, Rule):
                raise ConfigError(f"{branch!r} is no rule: take one for then= and one for otherwise=")
        if self.verdict not in (None, *get_args(Verdict)):
            raise ConfigError(f"no rule {self.verdict!r}: take allow, reject or ask")
        if not isinstance(self.name, str):
            raise ConfigError(f"name {self.name!r} of a predicate: take a str")
        rules = [branch for branch in branches if isinstance(branch, Rule)]
        depth = max((rule._depth + 1 for rule in rules), default=0)  # noqa: SLF001 - of the same class
        if depth > _MAX_DEPTH:
            raise ConfigError(f"rules inside each other {depth} deep: at most {_MAX_DEPTH}")
        may_allow = any(rule.may_allow for rule in rules) or self.verdict in ("allow", "ask")
        by_variant = self.predicate is None and all(rule._by_variant for rule in rules)  # noqa: SLF001
        for name, value in (("may_allow", may_allow), ("_depth", depth), ("_by_variant", by_variant)):
            object.__setattr__(self, name, value)  # frozen dataclasses are filled this way

    @staticmethod
    def only(variants: Collection[type | str], *, then: Rule | None = None, otherwise: Rule | None = None) -> Rule:
        """``then`` (``ALLOW``) for requests of these variants, ``otherwise`` (``REJECT``) for all other requests.

        A variant is a class, which stands for its name, or the text that ``Attempt.variant`` has. A request without
        one (a list, a number, an object of several keys) is never let through for that: ``otherwise`` of ``ALLOW``
        rejects it. Where there is no request to look at (a stream of another protocol, a connection: neither variant
        nor view) it rejects, too.
        ``ConfigError``: something else than classes and texts.
        """
        return Rule(None, _names(variants), then=_or(then, Rule.ALLOW), otherwise=_or(otherwise, Rule.REJECT))

    @staticmethod
    def when(predicate: Predicate, *, name: str = "", then: Rule | None = None, otherwise: Rule | None = None) -> Rule:
        """``then`` (``ALLOW``) if ``predicate(attempt)`` is true, ``otherwise`` (``REJECT``) if it is false.

        It is a plain function that answers at once and changes nothing, as it may be called more than once for
        an attempt. If it raises, or returns anything but a bool, the attempt is rejected. ``name`` is what files and
        the audit log call it. ``ConfigError``: it cannot be called, or not be compared.
        """
        try:
            hash(predicate)  # rules are values
        except TypeError:
            predicate = None  # type: ignore[assignment]
        if not callable(predicate):
            raise ConfigError(f"predicate {predicate!r}: take a function of an Attempt that returns a bool")
        then, otherwise = _or(then, Rule.ALLOW), _or(otherwise, Rule.REJECT)
        return Rule(None, predicate=predicate, name=name, then=then, otherwise=otherwise)

    def __str__(self) -> str:
        if self.verdict is not None:
            return self.verdict
        if self.predicate is None:
            return "only"
        return f"when:{self.name}" if self.name else "when"

    def __repr__(self) -> str:
        if self.verdict is not None:
            return f"Rule.{self.verdict.upper()}"
        if self.predicate is None:
            parts = [f"only({sorted(self.variants)}"]
        else:
            parts = [f"when({self.predicate!r}", *([f"name={self.name!r}"] if self.name else [])]
        parts += [] if self.then == Rule.ALLOW else [f"then={self.then!r}"]
        parts += [] if self.otherwise == Rule.REJECT else [f"otherwise={self.otherwise!r}"]
        return f"Rule.{', '.join(parts)})"


Rule.ALLOW = Rule("allow")
Rule.REJECT = Rule("reject")
Rule.ASK = Rule("ask")


def decide(rule: Rule, attempt: Attempt, fault: Fault) -> Rule:
    """``ALLOW``, ``REJECT`` or ``ASK``: what ``rule`` says of ``attempt``.

    A predicate that fails rejects, and ``fault(rule, error)`` is called.
    """
    while rule.verdict is None:
        applies = _applies(rule, attempt, fault)
        if applies is None:
            return Rule.REJECT
        untagged = rule.predicate is None and attempt.variant is None
        rule = (rule.then if applies else rule.otherwise) or Rule.REJECT
        if untagged and rule.verdict == "allow":  # a list of what is denied says nothing of what has no name
            return Rule.REJECT
    return rule


def allows(rule: Rule, message: Any) -> bool:
    """Whether a request that shows the firewall ``message`` passes without asking, as far as its variant can tell.

    False does not mean that it is refused: then ``decide`` has to say.
    """
    if not rule._by_variant or message is None:  # noqa: SLF001 - no part of what users see
        return rule.verdict == "allow"
    variant = variant_of(message)
    if variant is None and rule.verdict is None:
        return False
    while rule.verdict is None:
        rule = (rule.then if variant in rule.variants else rule.otherwise) or Rule.REJECT
    return rule.verdict == "allow"


def _or(rule: Rule | None, default: Rule) -> Rule:
    return default if rule is None else rule


def _names(variants: object) -> frozenset[str]:
    if isinstance(variants, (str, bytes)) or not isinstance(variants, Collection):  # a text is a collection, too
        raise ConfigError(f"variants {variants!r}: take a list or a set of classes and names")
    for variant in variants:
        if not isinstance(variant, (type, str)):
            raise ConfigError(f"variant {variant!r}: take a class or its name")
    return frozenset(variant if isinstance(variant, str) else variant.__name__ for variant in variants)


def _applies(rule: Rule, attempt: Attempt, fault: Fault) -> bool | None:
    """Whether ``rule.then`` decides, or else ``rule.otherwise``; None: neither can."""
    if rule.predicate is None:
        shown = attempt.variant is not None or attempt.view is not None
        return attempt.variant in rule.variants if shown else None
    try:
        answer: object = rule.predicate(attempt)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a CancelledError, too: it would end the task that asks
        fault(rule, error)
        return None
    if isinstance(answer, bool):
        return answer
    if isinstance(answer, CoroutineType):
        answer.close()
    fault(rule, TypeError(f"a predicate returned {type(answer).__name__}: take a plain function that returns a bool"))
    return None


class Scope(TypedDict, total=False):
    """The attempts that a rule speaks for; a selector that is absent leaves that side open.

    ``subnet`` is an address or a network in the usual text form (``10.0.0.0/8``, ``2001:db8::/32``);
    ``direction`` is ``"in"`` unless given.
    """

    peer: PeerId
    protocol: str
    subnet: str
    direction: Direction


class Selectors(TypedDict, total=False):
    """A scope as a caller writes it: ``peer`` is a ``PeerId``, its text, or an address that names it."""

    peer: PeerId | str
    protocol: str
    subnet: str
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The question that is judged: may ``peer`` use ``protocol``?

    ``peer`` is the authenticated one and ``address`` where its connection comes from (or goes to);
    ``deadline`` is when an answer is of no more use, in the event loop's seconds. ``variant`` is the kind of
    request (the class tag of a message), ``view`` as much of it as the protocol shows; both are None where
    nothing was read, as for raw streams and connections.
    """

    peer: PeerId
    protocol: str
    direction: Direction
    address: Multiaddr
    deadline: float
    variant: str | None = None
    view: Any = None
    held: Any = field(default=None, repr=False, compare=False)  # of the library: what the request takes of its memory

    @property
    def relayed(self) -> bool:
        """It comes, or goes, through a relay: then ``address`` tells where that is."""
        return bool(relays_of(self.address))


_PLAIN: Final = (dict, list, int, float, bytes, type(None))


def variant_of(value: Any) -> str | None:
    """The name of a message's kind: its tag in serde's externally tagged form; None if it has none.

    Of JSON a unit variant is the string itself, any other variant the only key of an object. An object of a class
    has the name of that class, a member of an ``Enum`` its own: as ``messages`` writes them.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        tag = next(iter(value))
        return tag if isinstance(tag, str) else None
    if isinstance(value, Enum):
        return value.name
    return None if isinstance(value, _PLAIN) or type(value) is tuple else type(value).__name__
