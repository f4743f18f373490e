"""The rules file of ``listen --rules``, without a terminal; tests/cli/test_main.py has it whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from stronghold_p2p.cli.listen import SavedRules, news
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.events.events import RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Rule
from tests.firewall.attempts import ALICE, BOB, CAROL, ECHO, attempt


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    yield
    logging.getLogger("stronghold_p2p.network.rules").setLevel(logging.NOTSET)


def test_only_what_is_kept_gets_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bob.toml"
    kept = SavedRules(path)
    assert kept.new
    kept.firewall.set(Rule.ALLOW, peer=CAROL)  # as --allow does
    assert not path.exists()
    kept.save(ALICE, ECHO, Rule.ALLOW)
    path.write_text(path.read_text() + f'[[rules]]\npeer = "{BOB}"\nrule = "ask"\n')  # an edit that is not loaded yet
    kept.save(ALICE, ECHO, Rule.REJECT)
    assert {scope.get("peer"): rule for scope, rule in Firewall.load(path).rules()} == {
        None: Rule.ASK,
        ALICE: Rule.REJECT,
        BOB: Rule.ASK,
    }
    decisions = [kept.firewall.decide(attempt(peer)) for peer in (ALICE, BOB, CAROL)]
    assert decisions == [Rule.REJECT, Rule.ASK, Rule.ALLOW]
    assert not SavedRules(path).new


def test_a_file_that_has_become_unreadable_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bob.toml"
    kept = SavedRules(path)
    path.write_text("version = 3\n")
    with pytest.raises(ConfigError, match="version 3"):
        kept.save(ALICE, ECHO, Rule.ALLOW)
    assert (path.read_text(), kept.firewall.rules()) == ("version = 3\n", ())


def test_what_is_told_of_a_change() -> None:
    path = Path("a\x1bb.toml")
    assert news(RulesLoaded(path, None)) == "rules loaded from a\N{REPLACEMENT CHARACTER}b.toml"
    failed = RulesLoaded(path, ConfigError("x:1: wrong", where="x:1"))
    assert news(failed) == "the rules stay as they are: x:1: wrong"
