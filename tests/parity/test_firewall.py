"""The firewall in the scenarios T4, T5 and T13 of the Rust library."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from stronghold_p2p import (
    Attempt,
    Firewall,
    Identity,
    Network,
    PeerId,
    Request,
    RequestProtocol,
    Rule,
    messages,
)
from stronghold_p2p.firewall.rules import decide
from tests.firewall.attempts import attempt
from tests.parity import decisions
from tests.parity.pair import PROTOCOL, Two, two
from tests.peers import LOOPBACK
from tests.transport.ends import End, dialer, identity, listener

CONFIGURATIONS = 1_000
OTHER_PROTOCOL = "/parity/2"
STRANGER = Identity.from_seed(bytes(31) + b"s").peer_id

MESSAGES: tuple[tuple[Any, str, str], ...] = (  # with their variants and texts
    ("Ping", "Ping", ""),
    ("Other", "Other", ""),
    ({"Say": "hi"}, "Say", "hi"),
    ({"Say": "at length"}, "Say", "at length"),
)


def is_short(judged: Attempt) -> bool:
    return len(judged.view["Say"] if isinstance(judged.view, dict) else "") < 5


def made(rule: decisions.Rule) -> Rule:
    """A rule of the reference as one of ours."""
    if isinstance(rule, str):
        return Rule(rule)  # type: ignore[arg-type]
    test, then, otherwise = rule
    if test == "short":
        return Rule.when(is_short, name="short", then=made(then), otherwise=made(otherwise))
    return Rule.only(test, then=made(then), otherwise=made(otherwise))


def drawn(dice: random.Random, depth: int = 2) -> decisions.Rule:
    kind = dice.choice(("allow", "reject", "ask", "only", "only", "short") if depth else ("allow", "reject", "ask"))
    if kind == "short":
        return (kind, drawn(dice, depth - 1), drawn(dice, depth - 1))
    if kind == "only":
        variants = tuple(name for name in ("Ping", "Other", "Say") if dice.random() < 0.4)
        if dice.random() < 0.5:
            return (variants, "allow", "reject")
        return (variants, drawn(dice, depth - 1), drawn(dice, depth - 1))
    return kind


def scopes(alice: PeerId) -> list[decisions.Scope]:
    """Those that match a request of hers, and some that do not."""
    return [
        (peer, protocol, subnet)
        for peer in (None, alice, STRANGER)
        for protocol in (None, PROTOCOL.ids[0], OTHER_PROTOCOL)
        for subnet in (None, "127.0.0.0/8", "127.0.0.1/32", "10.0.0.0/8")
    ]


def put(firewall: Firewall, scope: decisions.Scope, rule: decisions.Rule) -> None:
    names: tuple[Literal["peer", "protocol", "subnet"], ...] = ("peer", "protocol", "subnet")
    given = {name: part for name, part in zip(names, scope, strict=True) if part is not None}
    firewall.set(made(rule), **given)


@pytest.mark.speed
async def test_t4_firewall_permissions() -> None:
    """Any rules for any scopes: the strongest that matches decides, at both ends."""
    dice = random.Random(4)
    async with two() as pair:
        yes = False

        @pair.bob.firewall.on_ask
        async def hook(asked: Attempt) -> bool:
            pair.questions.append(str(asked.variant))
            return yes

        seen = set()
        for number in range(CONFIGURATIONS):
            yes = dice.random() < 0.5
            chosen = dice.sample(scopes(pair.alice.peer_id), dice.choice((0, 1, 2, 3, 6)))
            entries = {scope: drawn(dice) for scope in chosen}
            for scope, rule in entries.items():
                put(pair.bob.firewall, scope, rule)
            assert len(pair.bob.firewall.rules()) == len(entries)
            pair.follow(number % 2 == 0)
            rule = decisions.speaks(entries, pair.alice.peer_id, PROTOCOL.ids[0], "127.0.0.1")
            for message, variant, text in dice.sample(MESSAGES, 2):
                expected = decisions.outcome(rule, variant, text, yes=yes)
                assert await pair.ask(message) == expected, (entries, message)
                assert pair.handled == ([message] if expected == "answer" else [])
                asks = expected != "UnsupportedProtocol" and decisions.asked(rule, variant, text)
                assert pair.questions == ([variant] if asks else [])
                verdict = "allow" if expected == "answer" else "reject"
                told = None if expected == "UnsupportedProtocol" else variant
                await pair.told(1)
                assert pair.judged == ([(told, verdict)] if number % 2 == 0 else [])
                seen.add((expected, asks))
                for noted in (pair.handled, pair.questions, pair.judged):
                    noted.clear()
            pair.forget()
        assert len(seen) == 5


@dataclass(frozen=True)
class Answers:
    """What the application says: ``given`` when it is asked for a rule, ``said`` when it is asked about a request."""

    given: decisions.Rule
    said: object

    @property
    def rule(self) -> decisions.Rule:
        """None: no rule."""
        return None if self.given in ("drop", "raise", "nonsense") else self.given


def given_by(word: object) -> Any:
    if word == "raise":
        raise RuntimeError("the application is broken")
    return {"drop": None, "nonsense": "yes"}.get(word, word)  # type: ignore[call-overload]


@pytest.mark.speed
async def test_t5_firewall_ask(caplog: pytest.LogCaptureFixture) -> None:
    """No rule: any answer to the question for one, and to those about the requests; several requests wait."""
    caplog.set_level(logging.CRITICAL, "stronghold_p2p.request")
    dice = random.Random(5)
    async with two() as pair:
        answers, waiting = Answers("drop", False), 1

        @pair.bob.firewall.on_no_rule
        async def introduce(asked: Attempt) -> Rule | None:
            pair.questions.append("rule")
            while pair.bob.stats()["asks"] < waiting:  # until all of them wait
                await asyncio.sleep(0)
            return made(answers.given) if answers.rule is not None else given_by(answers.given)

        @pair.bob.firewall.on_ask
        async def approve(asked: Attempt) -> bool | Rule:
            pair.questions.append("ask")
            return given_by(answers.said)  # type: ignore[no-any-return]

        for number in range(CONFIGURATIONS):
            given = drawn(dice) if dice.random() < 0.8 else dice.choice(("drop", "raise", "nonsense"))
            answers = Answers(given, dice.choice((True, True, False, "drop", "raise", "nonsense")))
            pair.follow(number % 2 == 0)
            await first_contact(pair, answers, dice.choices(MESSAGES, k=(waiting := dice.choice((1, 1, 2, 3)))))
            waiting = 1
            await afterwards(pair, answers, dice.choice(MESSAGES))
            pair.forget()


async def first_contact(pair: Two, answers: Answers, sent: list[tuple[Any, str, str]]) -> None:
    """All wait for one rule and are judged by it; nothing of the rule is told to those who waited."""
    outcomes = await asyncio.gather(*(pair.ask(message) for message, _, _ in sent))
    expected, asks = [], 0
    for _, variant, text in sent:
        word = "reject" if answers.rule is None else decisions.word(answers.rule, variant, text)
        asks += word == "ask"
        expected.append("answer" if word == "allow" or (word == "ask" and answers.said is True) else "Rejected")
    assert outcomes == expected, (answers, sent)
    assert pair.questions == ["rule", *["ask"] * asks]  # in this order, and never twice
    assert len(pair.handled) == expected.count("answer")
    await pair.told(len(sent))
    if pair.unfollow is not None:
        verdicts = sorted("allow" if one == "answer" else "reject" for one in expected)
        assert sorted(verdict for _, verdict in pair.judged) == verdicts
    kept = [rule for _, rule in pair.bob.firewall.rules()]
    assert kept == ([] if answers.rule is None else [made(answers.rule)])


async def afterwards(pair: Two, answers: Answers, sent: tuple[Any, str, str]) -> None:
    """The rule has stayed; where there is none, the application is asked once more."""
    pair.questions.clear()
    message, variant, text = sent
    if answers.rule is None:
        assert await pair.ask(message) == "Rejected"
        assert pair.questions == ["rule"]
        return
    expected = decisions.outcome(answers.rule, variant, text, yes=answers.said is True)
    assert await pair.ask(message) == expected
    asks = expected != "UnsupportedProtocol" and decisions.asked(answers.rule, variant, text)
    assert pair.questions == ["ask"] * asks


# ---------------------------------------------------------------------- T13


@dataclass(frozen=True)
class Ping: ...


@dataclass(frozen=True)
class Get:
    key: str


@dataclass(frozen=True)
class Put:
    key: str
    value: str


VARIANTS: tuple[type, ...] = (Ping, Get, Put)
READ, WRITE = frozenset({Ping, Get}), frozenset({Put})


def test_t13_permissions_are_sets() -> None:
    """Instead of the values 1, 2, 4: a set of variants, with the operations of sets, and of any number of them."""
    assert (Ping in READ, Put in READ, READ | WRITE == frozenset(VARIANTS)) == (True, False, True)
    assert (READ | WRITE) - WRITE == READ
    for bits in range(8):
        allowed = [variant for number, variant in enumerate(VARIANTS) if bits & 1 << number]
        rule = Rule.only(allowed)
        assert rule.may_allow  # as far as a rule can tell without its request
        for variant in VARIANTS:
            said = decide(rule, attempt(variant=variant.__name__), fault=lambda *_: None)
            assert (said == Rule.ALLOW) is (variant in allowed)
    many = [f"Variant{number}" for number in range(100)]  # the Rust library stops at 32
    assert decide(Rule.only(many), attempt(variant="Variant99"), fault=lambda *_: None) == Rule.ALLOW


async def test_t13_rules_see_a_trimmed_view() -> None:
    """The application is shown what ``view`` leaves, the handler gets the request."""
    store: RequestProtocol[Ping | Get | Put, bool] = RequestProtocol(
        "/store/1",
        request=messages(Ping | Get | Put),
        response=messages(bool),
        view=lambda message: Put(message.key, "") if isinstance(message, Put) else message,
    )
    shown, stored = [], []
    bob = Network(listen=[LOOPBACK])
    bob.firewall.set(Rule.only(READ, otherwise=Rule.only(WRITE, then=Rule.ASK)))

    @bob.firewall.on_ask
    async def approve(judged: Attempt) -> bool:
        shown.append((judged.variant, judged.view))
        return True

    @bob.on_request(store)
    async def keep(request: Request[Ping | Get | Put]) -> bool:
        stored.append(request.message)
        return True

    async with bob, Network() as alice:
        await alice.connect(bob.addresses[0])
        assert await alice.request(bob.peer_id, Put("color", "secret"), store)
        assert await alice.request(bob.peer_id, Get("color"), store)
    assert shown == [("Put", Put("color", ""))]
    assert stored == [Put("color", "secret"), Get("color")]


def test_t13_connections_need_no_transport_of_ours() -> None:
    """Instead of a transport that is passed in: the upgrade is bytes in and bytes out, over whatever carries them."""
    here, there = End(dialer(expected=identity(2).peer_id)), End(listener())
    while not (here.runner.done and there.runner.done):
        there.feed([here.take()])
        here.feed([there.take()])
    assert here.runner.result.secured.peer == identity(2).peer_id
    assert there.runner.result.secured.peer == identity(1).peer_id
