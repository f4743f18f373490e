"""What each rule does with a request, a raw stream and a connection: every row is played for every kind of scope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Final

from stronghold_p2p import CONNECTION, Attempt, PeerId, Rule, Scope, Timeouts
from tools.decisions.stage import ASKING, RAW, Answer, Question, Stage, stage

SILENCE: Final = object()
SOON: Final = Timeouts(ask=0.02)  # seconds until silence is late
HEADS: Final = (
    "rule",
    "situation",
    "scope",
    "a request: the requester gets",
    "our handler is",
    "our events",
    "a stream: its opener gets",
    "connecting",
    "kept",
)
SELECTORS: Final = ("peer", "protocol", "subnet")
SCOPES: Final = ("everybody", "protocol", "subnet", "peer")


def yes(attempt: Attempt) -> bool:
    return True


def no(attempt: Attempt) -> bool:
    return False


def broken(attempt: Attempt) -> bool:
    raise RuntimeError("broken")


@dataclass(frozen=True)
class Row:
    """``rule`` None: none is set. ``answers``: what the application says to the question for a rule, and to ``ASK``."""

    rule: Rule | None
    shown: str
    situation: str
    introduce: Answer = None
    approve: Answer = None
    with_on_no_rule: bool = False
    with_on_ask: bool = True


def _none(situation: str, answer: Answer, approve: Answer = True) -> Row:
    return Row(None, "none", situation, introduce=answer, approve=approve, with_on_no_rule=True)


def _ask(situation: str, answer: Answer, *, hook: bool = True) -> Row:
    return Row(Rule.ASK, "`ASK`", situation, approve=answer, with_on_ask=hook)


ROWS: Final = (
    Row(None, "none", "no `on_no_rule`"),
    _none("`on_no_rule`: `ALLOW`", Rule.ALLOW),
    _none("`on_no_rule`: `REJECT`", Rule.REJECT),
    _none("`on_no_rule`: `ASK`, `on_ask`: True", Rule.ASK),
    _none("`on_no_rule`: None", None),
    _none("`on_no_rule` is late", SILENCE),
    _none("`on_no_rule` raises", RuntimeError("broken")),
    Row(Rule.ALLOW, "`ALLOW`", ""),
    Row(Rule.REJECT, "`REJECT`", ""),
    _ask("no `on_ask`", None, hook=False),
    _ask("`on_ask`: True", True),
    _ask("`on_ask`: False", False),
    _ask("`on_ask`: `ALLOW`", Rule.ALLOW),
    _ask("`on_ask`: `REJECT`", Rule.REJECT),
    _ask("`on_ask` is late", SILENCE),
    _ask("`on_ask` raises", RuntimeError("broken")),
    _ask("`on_ask` returns something else", "yes"),
    Row(Rule.only(["Ping"]), '`only(["Ping"])`', 'the request is `"Ping"`'),
    Row(Rule.only(["Get"]), '`only(["Get"])`', 'the request is `"Ping"`'),
    Row(Rule.only(["Ping"], then=Rule.REJECT), '`only(["Ping"], then=REJECT)`', "it could allow nothing"),
    Row(Rule.only(["Get"], otherwise=Rule.ASK), '`only(["Get"], otherwise=ASK)`', "`on_ask`: True", approve=True),
    Row(Rule.when(yes), "`when(...)`", "true"),
    Row(Rule.when(no), "`when(...)`", "false"),
    Row(Rule.when(broken), "`when(...)`", "it raises"),
)


@dataclass(frozen=True)
class Outcome:
    request: str
    handler: str
    events: str
    stream: str
    connection: str
    kept: str


def scope_of(kind: str, one: Stage, protocol: str) -> Scope:
    """Scopes of all kinds, each of which matches alice."""
    scope = Scope()
    if "peer" in kind:
        scope["peer"] = one.alice.peer_id
    if "protocol" in kind:
        scope["protocol"] = protocol
    if kind == "subnet":
        scope["subnet"] = "127.0.0.0/8"
    return scope


async def play(one: Stage, row: Row, kind: str) -> Outcome:
    """One after the other, each with the rule of the row and no other."""
    with _rule(one, row, kind, ASKING.ids[0]):
        before = one.kept()
        request = await one.request()
        handler, events = ("called" if one.handled else "not called"), await one.seen()
        kept = "-" if one.kept() == before else one.kept().partition(", ")[0]  # what names the peer stands first
    with _rule(one, row, kind, RAW):
        stream = await one.stream()
    await one.alice.disconnect(one.bob.peer_id)
    # A rule for everybody does not close what is open to everybody: it has to name the connection.
    with _rule(one, row, kind if "protocol" in kind else f"{kind} and protocol", CONNECTION):
        connection = await one.connect()
        if connection == "connected" and not await _stays(one):
            connection = "closed at once"
    await one.connect()
    return Outcome(request, handler, events, stream, connection, kept)


@contextmanager
def _rule(one: Stage, row: Row, kind: str, protocol: str) -> Iterator[None]:
    if row.rule is not None:
        one.firewall.set(row.rule, **scope_of(kind, one, protocol))
    one.forget()
    yield
    for scope, _ in one.firewall.rules():
        one.firewall.remove(**scope)


@asynccontextmanager
async def prepared(row: Row) -> AsyncIterator[Stage]:
    """A stage on which whatever is asked is answered."""
    async with stage(SOON if SILENCE in (row.introduce, row.approve) else None) as one:
        if row.with_on_ask:
            one.with_on_ask()
        if row.with_on_no_rule:
            one.with_on_no_rule()
        answers = ((one.introduced, row.introduce), (one.asked, row.approve))
        tasks = [asyncio.create_task(_say(questions, answer)) for questions, answer in answers]
        try:
            yield one
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _stays(one: Stage) -> bool:
    """The dialer is through before the listener has judged."""
    for _ in range(20):
        if not one.alice.connections():
            return False
        await asyncio.sleep(0.002)
    return True


async def _say(questions: asyncio.Queue[Question], answer: Answer) -> None:
    while True:
        question = await questions.get()
        if answer is not SILENCE and not question.done():
            question.set_result(answer)


async def table() -> str:
    """Markdown. Where scopes of different kinds gave different outcomes each would have its own row."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for row in ROWS:
        kinds = SCOPES if row.rule is not None else ("-",)
        outcomes: dict[Outcome, list[str]] = {}
        async with prepared(row) as one:
            for kind in kinds:
                outcomes.setdefault(await play(one, row, kind), []).append(kind)
        for outcome, where in outcomes.items():
            scope = "any" if len(where) == len(SCOPES) else ", ".join(where)
            cells = (row.shown, row.situation or "-", scope, *vars(outcome).values())
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def every_scope(peer: PeerId) -> Iterator[Scope]:
    """One of each kind, those about subnets for two of them."""
    for parts in product((peer, None), (RAW, None), ("127.0.0.1", "127.0.0.0/8", None)):
        named = {name: part for name, part in zip(SELECTORS, parts, strict=True) if part is not None}
        yield Scope(**named)  # type: ignore[typeddict-item]


async def precedence() -> str:
    """Every kind of scope, the strongest first, as ``Firewall.rules`` gives them."""
    lines = ["| | names the peer | names the protocol | subnet |", "|---|---|---|---|"]
    async with stage(connected=False) as one:
        for scope in every_scope(one.alice.peer_id):
            one.firewall.set(Rule.ALLOW, **scope)
        for number, (scope, _) in enumerate(one.firewall.rules(), 1):
            marks = ["yes" if name in scope else "-" for name in SELECTORS[:2]]
            lines.append(f"| {number} | {marks[0]} | {marks[1]} | {scope.get('subnet', '-')} |")
    return "\n".join(lines) + "\n"
