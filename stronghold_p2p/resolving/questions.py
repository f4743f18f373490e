"""What is asked of the DNS, what comes back, and which names are never asked for."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["A", "AAAA", "TXT"]

DNSADDR_AT: Final = (
    "_dnsaddr."  # multiaddr, protocols/DNSADDR.md: the TXT records of /dnsaddr/<name> stand at _dnsaddr.<name>
)
SEARCHED: Final = 6  # domains of a search list (resolv.conf(5))

_LOOPBACK: Final = {"A": (bytes((127, 0, 0, 1)),), "AAAA": (bytes(15) + b"\x01",), "TXT": ()}
# Top-level domains of which every resolver knows that the DNS has none (RFC 6761, 6.4; RFC 7686, 2).
_NOWHERE: Final = ("invalid", "onion")


@dataclass(frozen=True, slots=True)
class Question:
    """``name`` is in lower case, without the dot at its end. ``search``: it may be short for a name in our domains."""

    name: str
    kind: Kind
    search: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


@dataclass(frozen=True, slots=True)
class Answer:
    """``records``: IP addresses in their 4 or 16 bytes, or texts; without any, ``missing`` says how that was told.

    ttl: seconds for which it holds. lookups: how many questions have brought it.
    """

    records: tuple[bytes, ...] = ()
    ttl: float = 0.0
    missing: str = "has no such record"
    lookups: int = 1


def normal(name: str) -> str:
    """Names are compared without case, and with or without the root's dot (RFC 4343; RFC 1034, 3.1)."""
    return name.lower().removesuffix(".")


def by_itself(question: Question) -> Answer | None:
    """The answer that the name holds itself, or a rule for all resolvers; None: somebody has to be asked.

    Addresses as text and ``localhost`` are never sent out (RFC 6761, 6.3).
    """
    records = _address(question) if question.kind != "TXT" else None
    if records is not None:
        return Answer(records, missing="is an address of the other family")
    last = question.name.rpartition(".")[2]
    if last == "localhost":
        return Answer(_LOOPBACK[question.kind])
    return Answer(missing=f"cannot exist: .{last} is nobody's domain") if last in _NOWHERE else None


def _address(question: Question) -> tuple[bytes, ...] | None:
    try:
        packed = ipaddress.ip_address(question.name).packed
    except ValueError:
        return None
    return (packed,) if len(packed) == (4 if question.kind == "A" else 16) else ()


def full_names(question: Question, domains: Sequence[str], ndots: int) -> tuple[str, ...]:
    """The names to ask for, one after the other until one has the record (resolv.conf(5), "search", "ndots")."""
    if not question.search:
        return (question.name,)
    longer = tuple(f"{question.name}.{domain}" for domain in map(normal, domains[:SEARCHED]) if domain)
    dots = question.name.removeprefix(DNSADDR_AT if question.kind == "TXT" else "").count(".")
    return (question.name, *longer) if dots >= ndots else (*longer, question.name)


MOST_RECORDS: Final = 100
MOST_TEXT: Final = 1_024 + len("dnsaddr=")


def worth_keeping(kind: Kind, records: Sequence[bytes]) -> tuple[bytes, ...]:
    """Those of an answer that can be of use: texts that may be addresses, and of all no more than 100."""
    if kind == "TXT":
        records = [text for text in records if text.startswith(b"dnsaddr=") and len(text) <= MOST_TEXT]
    return tuple(dict.fromkeys(records))[:MOST_RECORDS]
