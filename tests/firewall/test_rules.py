from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.rules import Rule
from tests.firewall.attempts import ALICE, attempt


@pytest.mark.parametrize(("rule", "word"), [(Rule.ALLOW, "allow"), (Rule.REJECT, "reject"), (Rule.ASK, "ask")])
def test_a_rule_prints_as_it_is_written(rule: Rule, word: str) -> None:
    assert str(rule) == word
    assert repr(rule) == f"Rule.{word.upper()}"
    assert rule == Rule(rule.verdict)
    assert copy.deepcopy(rule) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule


def test_rules_are_three() -> None:
    assert len({Rule.ALLOW, Rule.REJECT, Rule.ASK}) == 3
    with pytest.raises(ConfigError, match="maybe"):
        Rule("maybe")  # type: ignore[arg-type]


def test_values_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Rule.ASK.verdict = "allow"  # type: ignore[misc]
    asked = attempt(ALICE)
    with pytest.raises(FrozenInstanceError):
        asked.peer = ALICE  # type: ignore[misc]
