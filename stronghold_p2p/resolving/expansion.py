"""From one address to what it leads to, as a function of the answers of the DNS: who asks it, and waits, is the shell.

``/dns4/<name>/<rest>`` becomes ``/ip4/<ip>/<rest>`` for each A record, ``/dns6`` does so for AAAA, ``/dns`` for both.
``/dnsaddr/<name>/<end>`` becomes those addresses in the TXT records of ``_dnsaddr.<name>`` that end in ``<end>``, which
may be names again (multiaddr, protocols/DNSADDR.md). Of an address through a relay, only the relay's own is resolved.
Whoever owns a name may let it lead to others without end, so everything is counted (hostile row 11).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import CIRCUIT, IP4, IP6, NAMES, P2P
from stronghold_p2p.addressing.parse import MAX_SIZE, Part, parse, walk
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.resolving.permitted import Source, why_refused
from stronghold_p2p.resolving.questions import DNSADDR_AT, Answer, Kind, Question, normal
from stronghold_p2p.resolving.resolved import Resolved

LOOKUPS: Final = 32  # of one address (rust)
DEPTH: Final = 4  # of /dnsaddr inside /dnsaddr (go)
TEXTS: Final = 16  # addresses in the TXT records of one name that count (rust)
READ: Final = 100  # of which so many are looked at, as most may end in other peers than the wanted one
RESULTS: Final = 100  # (go)
BRANCHES: Final = 200  # addresses in which the answer to a question is put
CAUSES: Final = 3  # that an error tells

_PREFIX: Final = b"dnsaddr="
_DNS, _DNS4, _DNS6, _DNSADDR = NAMES
_KINDS: Final[dict[int, tuple[Kind, ...]]] = {
    _DNS.code: ("AAAA", "A"),
    _DNS4.code: ("A",),
    _DNS6.code: ("AAAA",),
    _DNSADDR.code: ("TXT",),
}


@dataclass(frozen=True, slots=True)
class _Branch:
    """What becomes of the answers to one question.

    rest: for IP addresses, what is put behind each. end: for texts, what each has to end in; ``tail`` is put behind.
    """

    source: Source
    depth: int
    rest: bytes = b""
    end: bytes = b""
    tail: bytes = b""


class Expansion:
    """One address on its way. ``questions`` are those that have yet to be asked; ``found`` only grows. ``causes`` tell
    what has led nowhere, and ``failed`` which questions.

    peer: of a ``/dnsaddr`` only what ends in this peer counts. source: who has named the address. own: domains whose
    names may lead into private networks whoever tells them.
    """

    def __init__(self, address: Multiaddr, peer: PeerId | None, source: Source, own: tuple[str, ...] = ()) -> None:
        self.found: list[Resolved] = []
        self.questions: list[Question] = []
        self.failed: list[Question] = []
        self.causes: list[str] = []
        self._lookups = 0
        self._own = own
        self._seen: set[bytes] = set()
        self._entered: set[tuple[Question, _Branch]] = set()
        self._open: dict[Question, list[_Branch]] = {}
        self._answered: dict[Question, Answer] = {}
        self._begin(bytes(address), peer, source)

    def answer(self, question: Question, answer: Answer) -> None:
        """What ``question`` has brought. It may lead to further questions."""
        self._lookups += answer.lookups - 1
        self._answered[question] = answer
        for branch in self._open.pop(question, ()):
            self._take(question, branch, answer)

    def fail(self, question: Question, why: str) -> None:
        """Nobody has answered ``question``."""
        if self._open.pop(question, None) is not None:
            self.failed.append(question)
            self._blame(why)

    @property
    def done(self) -> bool:
        """No answer is waited for."""
        return not self._open

    def why_nothing(self) -> str:
        """Why nothing was found: the first causes."""
        more = len(self.causes) - CAUSES
        told = "; ".join(self.causes[:CAUSES]) or "no answer has come in time"
        return f"{told}; and {more} more" if more > 0 else told

    def _begin(self, data: bytes, peer: PeerId | None, source: Source) -> None:
        parts = walk(data)
        end = b"" if peer is None else P2P.prefixed(bytes(peer))
        if parts[-1].protocol is P2P:
            if end and not data.endswith(end):
                self._blame(f"the address names another peer than {peer}")
                return
            end = b""
        elif any(part.protocol is CIRCUIT for part in parts):
            end = b""
        self._enter(data, _Branch(source, 0, end=end))

    def _enter(self, data: bytes, branch: _Branch) -> None:
        """``data`` is an address that came by ``branch``: what it leads to has to end as that says."""
        parts = walk(data)
        first = parts[0]
        if first.protocol is _DNSADDR:
            self._enter_dnsaddr(data, parts, branch)
        elif branch.depth and not _ends(data, parts, branch.end):
            return
        elif first.protocol in NAMES:
            rest = data[parts[1].start :] if len(parts) > 1 else b""
            self._ask(first, replace(branch, rest=rest + branch.tail, end=b"", tail=b""))
        elif first.protocol in (IP4, IP6):
            why = why_refused(first.value, branch.source)
            if why is None:
                self._find(data + branch.tail, "")
            else:
                self._blame(f"its TXT records lead to {why}")

    def _enter_dnsaddr(self, data: bytes, parts: list[Part], branch: _Branch) -> None:
        if branch.depth == DEPTH:
            self._blame(f"/dnsaddr leads to others more than {DEPTH} times")
            return
        relay = next((part.start for part in parts if part.protocol is CIRCUIT), None)
        behind = data[parts[1].start : relay] if len(parts) > 1 else b""
        end, tail = branch.end, branch.tail
        if relay is not None:
            if not _ends(data, parts, end):
                return
            end, tail = b"", data[relay:] + tail
        joined = _joined(behind, end) if branch.depth else behind + end
        if joined is not None:
            self._ask(parts[0], replace(branch, end=joined, tail=tail))

    def _ask(self, first: Part, branch: _Branch) -> None:
        name = normal(first.value.decode())
        if branch.source is Source.TOLD and _below(name, self._own):
            branch = replace(branch, source=Source.OF_SITE)
        searched = branch.source is Source.GIVEN and not first.value.endswith(b".")
        for kind in _KINDS[first.protocol.code]:
            question = Question((DNSADDR_AT if kind == "TXT" else "") + name, kind, searched)
            if (question, branch) in self._entered:  # a circle
                continue
            if len(self._entered) >= BRANCHES:
                self._blame(f"more than {BRANCHES} names in the TXT records")
                return
            self._entered.add((question, branch))
            if question in self._answered and kind == "TXT":  # reading it once more costs as much as asking
                self._lookups += 1
            if question in self._answered and self._lookups <= LOOKUPS:
                self._take(question, branch, self._answered[question])
            elif question in self._open:
                self._open[question].append(branch)
            elif self._lookups >= LOOKUPS:
                self._blame(f"more than {LOOKUPS} look-ups")
            else:
                self._lookups += 1
                self._open[question] = [branch]
                self.questions.append(question)

    def _take(self, question: Question, branch: _Branch, answer: Answer) -> None:
        if not answer.records:
            self.failed.append(question)
            self._blame(f"{question.name} {answer.missing}")
        elif question.kind == "TXT":
            self._take_texts(question, branch, answer.records)
        else:
            for packed in answer.records[:RESULTS]:
                why = why_refused(packed, branch.source)
                if why is None:
                    protocol = IP4 if question.kind == "A" else IP6
                    self._find(protocol.prefixed(packed) + branch.rest, question.name)
                else:
                    self.failed.append(question)
                    self._blame(f"{question.name} leads to {why}")

    def _take_texts(self, question: Question, branch: _Branch, texts: tuple[bytes, ...]) -> None:
        source = Source.OF_SITE if branch.source is Source.GIVEN else branch.source
        count = 0
        for data in _addresses(texts):
            if not branch.end or _may_end(data, branch.end):
                count += 1
                self._enter(data, replace(branch, source=source, depth=branch.depth + 1))
            if count == TEXTS:
                break
        if not count:
            ending = f" that ends in {Multiaddr(branch.end)}" if branch.end else ""
            self.failed.append(question)
            self._blame(f"the TXT records of {question.name} hold no address{ending}")

    def _find(self, data: bytes, name: str) -> None:
        if len(data) <= MAX_SIZE and data not in self._seen and len(self.found) < RESULTS:
            self._seen.add(data)
            self.found.append(Resolved(parse(data), name))

    def _blame(self, why: str) -> None:
        if why not in self.causes and len(self.causes) < RESULTS:
            self.causes.append(why)


def _addresses(texts: tuple[bytes, ...]) -> Iterator[bytes]:
    """Those in the records that are addresses for us; others are passed over."""
    for text in texts[:READ]:
        try:
            yield bytes(parse(text.removeprefix(_PREFIX).decode()))
        except (DecodeError, UnicodeDecodeError):
            continue


def _may_end(data: bytes, end: bytes) -> bool:
    """``data`` ends in ``end``, or is a /dnsaddr which may still lead to what does."""
    parts = walk(data)
    if _ends(data, parts, end):
        return True
    return parts[0].protocol is _DNSADDR and _joined(data[parts[1].start :] if len(parts) > 1 else b"", end) is not None


def _ends(data: bytes, parts: list[Part], end: bytes) -> bool:
    """``data`` ends in the components of ``end``."""
    cut = len(data) - len(end)
    return not end or (data.endswith(end) and any(part.start == cut for part in parts))


def _joined(behind: bytes, end: bytes) -> bytes | None:
    """What ends in both: the longer one, if it ends in the other; None: nothing can."""
    longer, shorter = (behind, end) if len(behind) >= len(end) else (end, behind)
    return longer if not longer or _ends(longer, walk(longer), shorter) else None


def _below(name: str, domains: tuple[str, ...]) -> bool:
    return any(name == domain or name.endswith("." + domain) for domain in domains)
