"""What a firewall is asked (``Attempt``) and what it can say (``Rule``), as plain values.

The words are those of the first library of this name: allow, reject, ask; a rule belongs to a scope made
of a peer, a protocol, a subnet and a direction, each of which may be left open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypedDict

from stronghold_p2p.errors import ConfigError

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from stronghold_p2p.identity import PeerId

Direction: TypeAlias = Literal["in", "out"]
Verdict: TypeAlias = Literal["allow", "reject", "ask"]

CONNECTION = "connection"
"""The name under which rules speak of a connection as such; no protocol id, as those begin with a slash."""

_VERDICTS = ("allow", "reject", "ask")


@dataclass(frozen=True, slots=True)
class Rule:
    """``Rule.ALLOW``, ``Rule.REJECT`` or ``Rule.ASK``; compare with ``==``.

    ``ASK`` puts each attempt before the application's ``on_ask`` hook. ``ConfigError``: no such verdict.
    """

    verdict: Verdict

    ALLOW: ClassVar[Rule]
    REJECT: ClassVar[Rule]
    ASK: ClassVar[Rule]

    def __post_init__(self) -> None:
        if self.verdict not in _VERDICTS:
            raise ConfigError(f"no rule {self.verdict!r}: take allow, reject or ask")

    def __str__(self) -> str:
        return self.verdict

    def __repr__(self) -> str:
        return f"Rule.{self.verdict.upper()}"


Rule.ALLOW = Rule("allow")
Rule.REJECT = Rule("reject")
Rule.ASK = Rule("ask")


class Scope(TypedDict, total=False):
    """What a rule is about; a selector that is absent leaves that side open.

    ``subnet`` is an address or a network in the usual text form (``10.0.0.0/8``, ``2001:db8::/32``);
    ``direction`` is ``"in"`` unless given.
    """

    peer: PeerId
    protocol: str
    subnet: str
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is judged: ``peer`` wants to use ``protocol``.

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
