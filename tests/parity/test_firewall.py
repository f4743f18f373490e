"""The firewall in the scenarios T4 and T5 of the Rust library."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import Any

import pytest

from stronghold_p2p import Attempt, Identity, PeerId, Rule
from tests.firewall.model import Model, Selectors, Tree, built, leaves, says, scope_of
from tests.parity.pair import PROTOCOL, Two, two

CONFIGURATIONS = 1_000
VERDICTS = (Rule.ALLOW, Rule.REJECT, Rule.ASK)
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


def drawn(dice: random.Random, depth: int = 2) -> Tree:
    kind = dice.choice((*VERDICTS, "only", "only", "short") if depth else VERDICTS)
    if isinstance(kind, Rule):
        return kind
    if kind == "short":
        return (is_short, drawn(dice, depth - 1), drawn(dice, depth - 1))
    variants = frozenset(name for name in ("Ping", "Other", "Say") if dice.random() < 0.4)
    if dice.random() < 0.5:
        return (variants, Rule.ALLOW, Rule.REJECT)
    return (variants, drawn(dice, depth - 1), drawn(dice, depth - 1))


def scopes(alice: PeerId) -> list[Selectors]:
    """Those that match a request of hers, and some that do not."""
    return [
        (peer, protocol, subnet, "in")
        for peer in (None, alice, STRANGER)
        for protocol in (None, PROTOCOL.ids[0], OTHER_PROTOCOL)
        for subnet in (None, "127.0.0.0/8", "127.0.0.1/32", "10.0.0.0/8")
    ]


def word(tree: Tree, variant: str, text: str) -> Rule:
    return says(tree, variant, lambda _: len(text) < 5)


def hopeless(tree: Tree | None) -> bool:
    return tree is None or leaves(tree) == {Rule.REJECT}


def outcome(tree: Tree | None, variant: str, text: str, *, yes: bool) -> tuple[str, bool]:
    """What the requester gets, and whether the application is asked; ``yes``: it says True, and not anything else."""
    if tree is None or hopeless(tree):
        return "UnsupportedProtocol", False
    said = word(tree, variant, text)
    return "answer" if said == Rule.ALLOW or (said == Rule.ASK and yes) else "Rejected", said == Rule.ASK


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
            model = Model()
            for scope in dice.sample(scopes(pair.alice.peer_id), dice.choice((0, 1, 2, 3, 6))):
                model.entries[scope] = drawn(dice)
                pair.bob.firewall.set(built(model.entries[scope]), **scope_of(scope))
            assert len(pair.bob.firewall.rules()) == len(model.entries)
            pair.follow(number % 2 == 0)
            rule = model.find(pair.alice.peer_id, PROTOCOL.ids[0], "127.0.0.1")
            for message, variant, text in dice.sample(MESSAGES, 2):
                expected, asks = outcome(rule, variant, text, yes=yes)
                assert await pair.ask(message) == expected, (model.entries, message)
                assert pair.handled == ([message] if expected == "answer" else [])
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

    given: Tree | str
    said: object

    @property
    def rule(self) -> Tree | None:
        """None: no rule."""
        return None if isinstance(self.given, str) else self.given


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
            return built(answers.rule) if answers.rule is not None else given_by(answers.given)

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
        said = Rule.REJECT if answers.rule is None else word(answers.rule, variant, text)
        asks += said == Rule.ASK
        let_in = said == Rule.ALLOW or (said == Rule.ASK and answers.said is True)
        expected.append("answer" if let_in else "Rejected")
    assert outcomes == expected, (answers, sent)
    assert pair.questions == ["rule", *["ask"] * asks]  # in this order, and never twice
    assert len(pair.handled) == expected.count("answer")
    await pair.told(len(sent))
    if pair.unfollow is not None:
        verdicts = sorted("allow" if one == "answer" else "reject" for one in expected)
        assert sorted(verdict for _, verdict in pair.judged) == verdicts
    kept = [rule for _, rule in pair.bob.firewall.rules()]
    assert kept == ([] if answers.rule is None else [built(answers.rule)])


async def afterwards(pair: Two, answers: Answers, sent: tuple[Any, str, str]) -> None:
    """The rule has stayed; where there is none, the application is asked once more."""
    pair.questions.clear()
    message, variant, text = sent
    if answers.rule is None:
        assert await pair.ask(message) == "Rejected"
        assert pair.questions == ["rule"]
        return
    expected, asks = outcome(answers.rule, variant, text, yes=answers.said is True)
    assert await pair.ask(message) == expected
    assert pair.questions == ["ask"] * asks
