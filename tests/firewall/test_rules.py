from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.rules import Attempt, Rule, allows, decide, variant_of
from tests.firewall.attempts import ALICE, attempt


@pytest.mark.parametrize(("rule", "word"), [(Rule.ALLOW, "allow"), (Rule.REJECT, "reject"), (Rule.ASK, "ask")])
def test_a_rule_prints_as_it_is_written(rule: Rule, word: str) -> None:
    assert str(rule) == word
    assert repr(rule) == f"Rule.{word.upper()}"
    assert rule == Rule(rule.verdict)


def test_an_attempt_cannot_be_changed() -> None:
    asked = attempt(ALICE)
    with pytest.raises(FrozenInstanceError):
        asked.peer = ALICE  # type: ignore[misc]


@dataclass(frozen=True)
class Ping:
    """A message; rules name its class."""


@dataclass
class Longer:
    """A predicate that can be compared but not be kept in a set."""

    than: int

    def __call__(self, asked: Attempt) -> bool:
        return len(asked.view) > self.than


def is_short(asked: Attempt) -> bool:
    return len(asked.view) < 5


def never(rule: Rule, error: BaseException) -> None:
    raise AssertionError(error)


def says(rule: Rule, variant: str | None = "Ping", view: Any = "x") -> Rule:
    return decide(rule, attempt(variant=variant, view=view), never)


def test_t13_only_these_variants() -> None:
    """T13: a set of variants, of any number, instead of the bits of a number."""
    rule = Rule.only([Ping, "Say"])
    assert {says(rule, variant) for variant in ("Ping", "Say")} == {Rule.ALLOW}
    assert {says(rule, variant) for variant in ("ping", "", "Delete")} == {Rule.REJECT}
    asking = Rule.only({"Ping"}, then=Rule.REJECT, otherwise=Rule.ASK)
    assert (says(asking, "Ping"), says(asking, "Say")) == (Rule.REJECT, Rule.ASK)
    assert says(Rule.only([]), "Ping") == Rule.REJECT
    assert says(Rule.only([], otherwise=Rule.ALLOW), "Ping") == Rule.ALLOW
    assert says(Rule.only([""], otherwise=Rule.REJECT), "") == Rule.ALLOW
    assert says(Rule.only([f"Variant{number}" for number in range(100)]), "Variant99") == Rule.ALLOW


def test_a_request_without_a_tag_is_another_request() -> None:
    rule = Rule.only(["Ping"], then=Rule.REJECT, otherwise=Rule.ASK)
    assert says(rule, None, [1, 2]) == Rule.ASK
    assert says(rule, None, 0) == Rule.ASK


def test_a_list_of_what_is_denied_lets_nothing_pass_that_has_no_tag() -> None:
    """Hostile row 133."""
    for rule in (
        Rule.only(["Delete"], then=Rule.REJECT, otherwise=Rule.ALLOW),
        Rule.only(["Delete"], then=Rule.REJECT, otherwise=Rule.only(["Clear"], then=Rule.REJECT, otherwise=Rule.ALLOW)),
    ):
        assert says(rule, "Ping") == Rule.ALLOW
        assert says(rule, None, [1, 2]) == Rule.REJECT
        assert not allows(rule, [1, 2])
    looked_at = Rule.only(["Delete"], then=Rule.REJECT, otherwise=Rule.when(is_short))
    assert (says(looked_at, None, [1]), says(looked_at, None, [1] * 9)) == (Rule.ALLOW, Rule.REJECT)


def test_where_no_request_is_shown_only_rejects() -> None:
    """A stream or a connection cannot pass a rule about requests, whatever the rule says of other requests."""
    for then in (Rule.ALLOW, Rule.ASK):
        assert says(Rule.only(["Ping"], then=then, otherwise=Rule.ALLOW), None, None) == Rule.REJECT


def test_when_a_predicate_holds() -> None:
    rule = Rule.when(is_short, name="short", otherwise=Rule.ASK)
    assert (says(rule, view="hi"), says(rule, view="long enough")) == (Rule.ALLOW, Rule.ASK)
    assert says(Rule.when(is_short), view="long enough") == Rule.REJECT
    assert says(Rule.when(lambda asked: asked.view is None), None, None) == Rule.ALLOW


def test_rules_nest() -> None:
    rule = Rule.only(["Ping"], otherwise=Rule.when(is_short, then=Rule.ASK, otherwise=Rule.only([Ping, "Say"])))
    assert says(rule, "Ping") == Rule.ALLOW
    assert says(rule, "Say", "hi") == Rule.ASK
    assert says(rule, "Say", "long enough") == Rule.ALLOW
    assert says(rule, "Tell", "long enough") == Rule.REJECT


def test_a_fault_is_told_with_the_rule_that_has_it() -> None:
    told: list[tuple[Rule, BaseException]] = []
    inner = Rule.when(is_short, otherwise=Rule.ALLOW)
    rule = Rule.only(["Ping"], then=inner)
    assert decide(rule, attempt(view=5), lambda *fault: told.append(fault)) == Rule.REJECT
    assert [(one, type(error)) for one, error in told] == [(inner, TypeError)]
    told.clear()


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        (Rule.ALLOW, True),
        (Rule.ASK, True),
        (Rule.REJECT, False),
        (Rule.only(["Ping"]), True),
        (Rule.only(["Ping"], then=Rule.REJECT), False),
        (Rule.only(["Ping"], then=Rule.REJECT, otherwise=Rule.when(is_short, then=Rule.REJECT)), False),
        (Rule.only(["Ping"], then=Rule.REJECT, otherwise=Rule.when(is_short, then=Rule.ASK)), True),
    ],
)
def test_whether_it_could_ever_let_somebody_in(rule: Rule, may: bool) -> None:
    assert rule.may_allow is may


RULES = st.recursive(
    st.sampled_from([Rule.ALLOW, Rule.REJECT, Rule.ASK]),
    lambda inner: st.builds(
        lambda variants, then, otherwise: Rule.only(variants, then=then, otherwise=otherwise),
        st.sets(st.sampled_from(["Ping", "Say", "Tell"])),
        inner,
        inner,
    ),
    max_leaves=6,
)


@given(RULES, st.sampled_from(["Ping", "Say", "Other", None]), st.sampled_from(["x", None]))
def test_what_can_be_told_by_the_variant_is_what_it_resolves_to(rule: Rule, variant: str | None, view: Any) -> None:
    message = view if variant is None else variant
    assert allows(rule, message) is (says(rule, variant_of(message), message) == Rule.ALLOW)


def test_a_predicate_is_not_asked_for_the_variant() -> None:
    for rule in (Rule.when(is_short), Rule.only(["Ping"], otherwise=Rule.when(is_short))):
        assert not allows(rule, "Ping")


def test_rules_are_values() -> None:
    rule = Rule.only([Ping, "Say"], otherwise=Rule.ASK)
    assert rule == Rule.only({"Say", "Ping"}, then=Rule.ALLOW, otherwise=Rule("ask"))
    assert hash(rule) == hash(Rule.only(("Ping", "Say", "Say"), otherwise=Rule.ASK))
    different = [
        *(rule, Rule.ALLOW, Rule.REJECT, Rule.ASK),
        Rule.only(["Ping"], otherwise=Rule.ASK),
        Rule.only([Ping, "Say"]),
        Rule.when(is_short),
        Rule.when(is_short, name="short"),
        Rule.when(never),  # type: ignore[arg-type]
        Rule.when(is_short, then=Rule.ASK),
    ]
    assert len(set(different)) == len(different)
    assert Rule.when(is_short, name="short") == Rule.when(is_short, name="short")
    for one in different:
        assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
        assert pickle.loads(pickle.dumps(one)).may_allow is one.may_allow
    with pytest.raises(FrozenInstanceError):
        rule.then = Rule.REJECT  # type: ignore[misc]


def test_a_rule_that_looks_prints_in_one_word_and_in_full() -> None:
    only = Rule.only(["Say", Ping], otherwise=Rule.ASK)
    assert (str(only), repr(only)) == ("only", "Rule.only(['Ping', 'Say'], otherwise=Rule.ASK)")
    when = Rule.when(is_short, name="short", then=only)
    assert str(when) == "when:short"
    assert str(Rule.when(is_short)) == "when"
    assert repr(when) == f"Rule.when({is_short!r}, name='short', then={only!r})"
    assert eval(repr(only), {"Rule": Rule}) == only


@pytest.mark.parametrize(
    ("make", "about"),
    [
        (lambda: Rule.only("Ping"), "variants 'Ping'"),
        (lambda: Rule.only(Ping), "variants"),  # type: ignore[arg-type]
        (lambda: Rule.only([5]), "variant 5"),  # type: ignore[list-item]
        (lambda: Rule.only(["Ping"], then="ask"), "'ask' is no rule"),  # type: ignore[arg-type]
        (lambda: Rule.when("short"), "predicate 'short'"),  # type: ignore[arg-type]
        (lambda: Rule.when(is_short, name=5), "name 5"),  # type: ignore[arg-type]
        (lambda: Rule.when(Longer(5)), "predicate"),
        (lambda: Rule(None), "None is no rule"),
        (lambda: Rule("maybe"), "maybe"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_rule(make: Callable[[], Rule], about: str) -> None:
    with pytest.raises(ConfigError, match=about):
        make()


def test_how_deep_rules_nest_is_limited() -> None:
    rule = Rule.ASK
    for _ in range(16):
        rule = Rule.only(["Ping"], otherwise=rule)
    assert says(rule, "Say") == Rule.ASK
    with pytest.raises(ConfigError, match="17 deep: at most 16"):
        Rule.only(["Ping"], otherwise=rule)
