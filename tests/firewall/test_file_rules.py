"""What comes from a file and what the program has set, side by side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.firewall import entries
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.decisions import learn
from stronghold_p2p.firewall.entries import Banned, Content, Entries, Key, banned_of, key_of
from stronghold_p2p.firewall.rules import Rule
from tests.firewall.attempts import ALICE, BOB, ECHO

DEFAULT, PEER, PROTOCOL = key_of(), key_of(ALICE), key_of(protocol=ECHO)


def filed(**rules: Rule) -> Firewall:
    """A firewall with these rules from its file."""
    firewall = Firewall()
    firewall._entries.replace(says(**rules))
    return firewall


def says(*banned: Banned, **rules: Rule) -> Content:
    names = {"default": DEFAULT, "peer": PEER, "protocol": PROTOCOL}
    return Content(frozenset(banned), {names[name]: rule for name, rule in rules.items()})


def rules(firewall: Firewall) -> dict[Key, Rule]:
    return dict(firewall._entries.rules)


def test_what_the_program_has_set_stays() -> None:
    firewall = filed(default=Rule.ASK, peer=Rule.ALLOW)
    firewall.set(Rule.REJECT, peer=ALICE)
    firewall.set(Rule.ALLOW, protocol=ECHO)
    firewall._entries.replace(says(default=Rule.ASK, peer=Rule.ASK, protocol=Rule.REJECT))
    assert rules(firewall) == {DEFAULT: Rule.ASK, PEER: Rule.REJECT, PROTOCOL: Rule.ALLOW}
    firewall._entries.replace(Content())
    assert rules(firewall) == {PEER: Rule.REJECT, PROTOCOL: Rule.ALLOW}


def test_what_the_program_has_removed_comes_back_only_with_a_change() -> None:
    firewall = filed(default=Rule.ASK, peer=Rule.ALLOW)
    assert firewall.remove(peer=ALICE)
    firewall._entries.replace(says(default=Rule.REJECT, peer=Rule.ALLOW))
    assert rules(firewall) == {DEFAULT: Rule.REJECT}
    firewall._entries.replace(says(default=Rule.REJECT, peer=Rule.ASK))
    assert rules(firewall) == {DEFAULT: Rule.REJECT, PEER: Rule.ASK}
    firewall.remove(peer=ALICE)
    firewall._entries.replace(says(default=Rule.REJECT))
    assert rules(firewall) == {DEFAULT: Rule.REJECT}


def test_what_both_say_stays_the_programs() -> None:
    """A rule of the program's own does not go because a file has repeated it, and dropped it again."""
    firewall = filed(default=Rule.ASK)
    firewall.set(Rule.ALLOW, peer=ALICE)
    firewall._entries.replace(says(default=Rule.ASK, peer=Rule.ALLOW))
    firewall._entries.replace(says(default=Rule.ASK, peer=Rule.REJECT))
    assert rules(firewall) == {DEFAULT: Rule.ASK, PEER: Rule.ALLOW}
    firewall._entries.replace(says(default=Rule.ASK))
    assert rules(firewall) == {DEFAULT: Rule.ASK, PEER: Rule.ALLOW}


def test_what_is_saved_is_the_files() -> None:
    firewall = filed(default=Rule.ASK)
    firewall.set(Rule.ALLOW, peer=ALICE)
    firewall.ban(BOB)
    content = firewall._entries.everything
    assert content == says(BOB, default=Rule.ASK, peer=Rule.ALLOW)
    firewall._entries.written(content)
    firewall._entries.replace(Content())
    assert (rules(firewall), firewall.banned) == ({}, frozenset())


def test_what_hooks_have_said_stays_so_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    firewall = Firewall()
    learn(firewall, Rule.ALLOW, peer=ALICE)
    content = firewall._entries.everything
    assert content == Content(frozenset(), {PEER: Rule.ALLOW}, frozenset([PEER]))
    again = filed()
    again._entries.replace(content)
    assert again.learned == ({"direction": "in", "peer": ALICE},)
    again._entries.replace(says(peer=Rule.ALLOW))  # somebody has taken the mark out
    assert not again.learned
    assert rules(again) == {PEER: Rule.ALLOW}
    monkeypatch.setattr(entries, "LEARNED", 0)
    again._entries.replace(content)
    assert rules(again) == {}


@pytest.mark.parametrize("whom", [ALICE, "10.0.0.0/8"])
def test_bans(whom: object) -> None:
    banned = banned_of(whom)  # type: ignore[arg-type]
    firewall = Firewall()
    firewall._entries.replace(says(banned, BOB))
    firewall._entries.replace(says(BOB))
    assert firewall.banned == {BOB}
    firewall._entries.replace(says(banned))
    assert firewall.banned == {whom}
    firewall.ban(whom)  # type: ignore[arg-type]  # by the program now, too
    firewall._entries.replace(Content())
    assert firewall.banned == {whom}
    firewall._entries.replace(says(banned))
    firewall._entries.replace(Content())
    assert firewall.banned == {whom}
    firewall.unban(whom)  # type: ignore[arg-type]
    firewall._entries.replace(says(banned))
    firewall.unban(whom)  # type: ignore[arg-type]
    firewall._entries.replace(says(banned, BOB))
    assert firewall.banned == {BOB}


CONTENTS = st.builds(
    Content,
    st.frozensets(st.sampled_from((ALICE, BOB, banned_of("10.0.0.0/8")))),
    st.dictionaries(st.sampled_from((DEFAULT, PEER, PROTOCOL)), st.sampled_from((Rule.ALLOW, Rule.ASK)), max_size=3),
)


@given(st.lists(CONTENTS, max_size=6))
def test_a_program_that_sets_nothing_has_what_the_last_file_says(contents: list[Content]) -> None:
    entries = Entries()
    for content in contents:
        entries.replace(content)
        assert entries.everything == content
        assert entries._filed == {*content.rules, *content.banned}


@given(CONTENTS, CONTENTS, CONTENTS)
def test_nothing_that_the_program_has_set_is_touched(own: Content, first: Content, second: Content) -> None:
    entries = Entries()
    entries.replace(first)
    for key in own.rules:
        entries.put(key, Rule.REJECT)
    for whom in own.banned:
        entries.ban(whom)
    entries.replace(second)
    assert all(entries.rules[key] == Rule.REJECT for key in own.rules)
    assert entries.banned == own.banned | second.banned
    assert {key: rule for key, rule in entries.rules.items() if key not in own.rules} == {
        key: rule for key, rule in second.rules.items() if key not in own.rules
    }
