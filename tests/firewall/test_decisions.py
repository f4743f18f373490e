from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall import entries
from stronghold_p2p.firewall.decisions import (
    OPEN_PROTOCOLS,
    AppHooks,
    Decisions,
    hold,
    hooks_of,
    learn,
    watch_changes,
)
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Direction, Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.identity.keys.identity import Identity
from tests.firewall.attempts import ALICE, BOB, CAROL, ECHO, UPPER, attempt
from tests.firewall.model import Model, Selectors, Tree, built, rank, scope_of

PING = "/ipfs/ping/1.0.0"
RULES = (Rule.ALLOW, Rule.REJECT, Rule.ASK)
DIRECTIONS: tuple[Direction, ...] = ("in", "out")
HOSTS = ("10.0.0.1", "10.9.9.9", "192.0.2.1", "2001:db8::1")
SUBNETS = ("10.0.0.0/8", "10.0.0.0/16", "10.0.0.1", "0.0.0.0/0", "2001:db8::/32", "::/0")


def is_near(asked: Attempt) -> bool:
    return str(asked.address).startswith("/ip4/10.")


def is_broken(asked: Attempt) -> bool:
    raise ValueError("in the predicate")


def is_vague(asked: Attempt) -> Any:
    return 1


PREDICATES = (is_near, is_broken, is_vague)
LEAVES: st.SearchStrategy[Tree] = st.sampled_from(RULES)
LOOKS = st.one_of(st.frozensets(st.sampled_from(("Ping", "Say", "")), max_size=2), st.sampled_from(PREDICATES))
TREES: st.SearchStrategy[Tree] = st.recursive(LEAVES, lambda inner: st.tuples(LOOKS, inner, inner), max_leaves=6)


def agree(firewall: Decisions, model: Model, *cases: tuple[PeerId, str, str, Direction, str | None]) -> None:
    for case in cases:
        peer, protocol, host, direction, variant = case
        address = f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/4001"
        asked = attempt(peer, protocol, direction=direction, address=address, variant=variant)
        holds: Any = {is_near: host.startswith("10.")}.get
        assert firewall.decide(asked) == model.decide(*case, holds), case


def test_every_rule_for_peer_and_default_in_both_directions_set_and_removed() -> None:
    """Hostile row 75: {default, peer} x 2 directions x {never set, 3 rules, removed}, all combinations."""
    states: tuple[Rule | Literal["removed"] | None, ...] = (None, *RULES, "removed")
    places: tuple[Selectors, ...] = tuple(
        (peer, None, None, direction) for peer in (None, ALICE) for direction in DIRECTIONS
    )
    for combination in itertools.product(states, repeat=len(places)):
        firewall, model = Decisions(), Model()
        for place, state in zip(places, combination, strict=True):
            if state is None:
                assert firewall.remove(**scope_of(place)) is False
            elif state == "removed":
                firewall.set(Rule.ALLOW, **scope_of(place))
                assert firewall.remove(**scope_of(place)) is True
            elif isinstance(state, Rule):
                firewall.set(state, **scope_of(place))
                model.entries[place] = state
        agree(firewall, model, *itertools.product((ALICE, BOB), (ECHO,), HOSTS[:1], DIRECTIONS, ("Ping",)))


def test_every_pair_of_scopes() -> None:
    scopes: list[Selectors] = list(
        itertools.product((None, ALICE), (None, ECHO, PING), (None, "10.0.0.0/8", "10.0.0.0/16"), DIRECTIONS[:1])
    )
    for first, second in itertools.permutations(scopes, 2):
        firewall, model = Decisions(), Model()
        for place, rule in ((first, Rule.ALLOW), (second, Rule.REJECT)):
            firewall.set(rule, **scope_of(place))
            model.entries[place] = rule
        agree(firewall, model, *itertools.product((ALICE, BOB), (ECHO, PING), HOSTS[:2], DIRECTIONS[:1], ("Ping",)))


SELECTORS = st.tuples(
    st.sampled_from((None, ALICE, BOB)),
    st.sampled_from((None, ECHO, PING)),
    st.sampled_from((None, *SUBNETS)),
    st.sampled_from(DIRECTIONS),
)
STEPS = st.one_of(
    st.tuples(st.just("set"), SELECTORS, TREES),
    st.tuples(st.just("remove"), SELECTORS, st.none()),
    st.tuples(st.sampled_from(("ban", "unban")), st.sampled_from((ALICE, "10.0.0.0/16", "2001:db8::/32")), st.none()),
)


@pytest.mark.long(4)
@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_any_history_agrees_with_the_model(steps: list[tuple[str, Any, Tree]]) -> None:
    """Hostile row 75, with rules that look at the request and bans."""
    firewall, model = Decisions(), Model()
    for verb, what, tree in steps:
        if verb == "set":
            firewall.set(built(tree), **scope_of(what))
            model.entries[what] = tree
        elif verb == "remove":
            assert firewall.remove(**scope_of(what)) == (model.entries.pop(what, None) is not None)
        elif verb == "ban":
            firewall.ban(what)
            model.banned.add(what)
        else:
            firewall.unban(what)
            model.banned.discard(what)
    cases = itertools.product((ALICE, BOB), (ECHO, UPPER, PING), HOSTS, DIRECTIONS, ("Ping", "Say", None))
    agree(firewall, model, *cases)
    assert firewall.banned == model.banned
    rules = firewall.rules()
    assert len(rules) == len(model.entries)
    copy = Decisions()
    for scope, entry in reversed(rules):
        copy.set(entry, **scope)
    assert copy.rules() == rules
    ranks = [rank((one.get("peer"), one.get("protocol"), one.get("subnet"), "in")) for one, _ in rules]
    assert ranks == sorted(ranks, reverse=True)


def test_nothing_set_refuses_inbound_and_says_no_rule() -> None:
    firewall = Decisions()
    assert firewall.decide(attempt()) is None
    assert firewall.match(attempt()).source == "none"
    assert firewall.decide(attempt(direction="out")) == Rule.ALLOW
    assert firewall.rules() == ()
    assert hooks_of(firewall) == AppHooks(None, None)
    hooks: list[Any] = [lambda _asked: True, lambda _asked: False]
    assert [firewall.on_ask(hook) for hook in hooks] == hooks
    assert hooks_of(firewall).ask is hooks[1]  # the last one counts


@pytest.mark.parametrize("protocol", sorted(OPEN_PROTOCOLS))
def test_open_protocols_pass_unless_an_entry_names_them(protocol: str) -> None:
    firewall = Decisions()
    firewall.set(Rule.REJECT)
    firewall.set(Rule.REJECT, peer=ALICE)
    assert firewall.decide(attempt(ALICE, protocol)) == Rule.ALLOW
    firewall.set(Rule.REJECT, peer=ALICE, protocol=protocol)
    assert firewall.decide(attempt(ALICE, protocol)) == Rule.REJECT
    assert firewall.decide(attempt(BOB, protocol)) == Rule.ALLOW
    firewall.set(Rule.ASK, protocol=protocol)
    assert firewall.decide(attempt(BOB, protocol)) == Rule.ASK
    assert CONNECTION in OPEN_PROTOCOLS


def test_which_protocols_are_open_is_an_argument() -> None:
    firewall = Decisions(open_protocols=frozenset({"/perf/1.0.0"}))
    assert firewall.decide(attempt(protocol="/perf/1.0.0")) == Rule.ALLOW
    assert firewall.decide(attempt(protocol=PING)) is None


def test_a_relayed_peer_is_not_where_its_relay_is() -> None:
    firewall = Decisions()
    firewall.set(Rule.ALLOW, subnet="10.0.0.0/8")
    direct, relayed = "/ip4/10.0.0.1/tcp/1", f"/ip4/10.0.0.1/tcp/1/p2p/{BOB}/p2p-circuit"
    assert firewall.decide(attempt(address=direct)) == Rule.ALLOW
    assert firewall.decide(attempt(address=relayed)) is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"rule": "allow"}, "no rule"),
        ({"rule": None}, "no rule"),
        ({"peer": "alice"}, "peer"),
        ({"peer": bytes(ALICE)}, "peer"),
        ({"protocol": ""}, "protocol"),
        ({"protocol": b"/echo/1.0.0"}, "protocol"),
        ({"direction": "both"}, "direction"),
        ({"subnet": "10.0.0.1/8"}, "subnet"),
    ],
)
def test_what_could_never_match_is_refused(arguments: dict[str, Any], named: str) -> None:
    firewall = Decisions()
    with pytest.raises(ConfigError, match=named):
        firewall.set(**{"rule": Rule.REJECT, **arguments})
    assert firewall.rules() == ()


def test_a_ban_beats_every_rule_both_ways() -> None:
    firewall = Decisions()
    firewall.set(Rule.ALLOW, peer=ALICE, protocol=CONNECTION)
    firewall.ban(ALICE)
    firewall.ban("192.0.2.0/24")
    for direction in DIRECTIONS:
        assert firewall.decide(attempt(ALICE, CONNECTION, direction=direction)) == Rule.REJECT
        far = attempt(BOB, PING, direction=direction, address="/ip6/::ffff:192.0.2.9/tcp/1")
        assert firewall.match(far).source == "ban"
    assert firewall.banned == {ALICE, "192.0.2.0/24"}
    firewall.ban("192.0.2.0/24")
    firewall.unban("192.0.2.0/24")
    firewall.unban("192.0.2.0/24")
    firewall.unban(ALICE)
    firewall.unban(CAROL)
    assert firewall.banned == frozenset()
    assert firewall.decide(attempt(ALICE, CONNECTION)) == Rule.ALLOW
    with pytest.raises(ConfigError):
        firewall.ban("no subnet")


def test_observers_hear_each_change_until_they_leave() -> None:
    firewall = Decisions()
    heard: list[Rule | None] = []
    unwatch = firewall.watch(lambda: heard.append(firewall.decide(attempt())))
    firewall.set(Rule.ASK)
    firewall.set(Rule.ALLOW, peer=ALICE)
    firewall.remove(peer=ALICE)
    assert firewall.remove(peer=ALICE) is False
    firewall.ban(ALICE)
    firewall.unban(ALICE)
    assert heard == [Rule.ASK, Rule.ALLOW, Rule.ASK, Rule.REJECT, Rule.ASK]
    assert firewall.version == 5
    unwatch()
    unwatch()
    firewall.remove()
    assert len(heard) == 5


def test_a_change_for_one_peer_is_told_to_those_whom_it_concerns() -> None:
    firewall = Decisions()
    heard: list[tuple[str, PeerId | None]] = []
    watch_changes(firewall, lambda whom: heard.append(("all", whom)))
    leave = watch_changes(firewall, lambda whom: heard.append(("alice", whom)), ALICE)
    firewall.set(Rule.ASK, peer=BOB)
    firewall.ban(BOB)
    learn(firewall, Rule.ALLOW, peer=CAROL)
    assert heard == [("all", BOB), ("all", BOB), ("all", CAROL)]
    heard.clear()
    firewall.unban(ALICE)
    firewall.remove(peer=BOB)
    firewall.set(Rule.ASK)
    firewall.ban("10.0.0.0/8")
    assert heard == [
        *(("all", ALICE), ("alice", ALICE), ("all", BOB)),
        *(("all", None), ("alice", None), ("all", None), ("alice", None)),
    ]
    leave()
    leave()
    assert list(firewall._observers) == [None]


def test_what_hooks_have_returned_is_marked_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "LEARNED", 2)
    firewall, staying = Decisions(), {ALICE}
    let_go = hold(firewall, staying)
    heard: list[PeerId | None] = []
    learn(firewall, Rule.ALLOW, peer=ALICE, protocol=ECHO)
    learn(firewall, Rule.REJECT, peer=BOB)
    assert firewall.match(attempt(ALICE)).source == "allow@peer+protocol+learned"
    assert firewall.match(attempt(BOB)).source == "reject@peer+learned"
    assert [scope["peer"] for scope in firewall.learned] == [ALICE, BOB]
    version = firewall.version
    learn(firewall, Rule.REJECT, peer=BOB)  # it says so already
    assert firewall.version == version
    watch_changes(firewall, heard.append)
    learn(firewall, Rule.ALLOW, peer=CAROL)  # one too many: whoever is connected keeps his
    assert [scope["peer"] for scope in firewall.learned] == [CAROL, ALICE]
    assert (firewall.match(attempt(BOB)).rule, heard) == (None, [CAROL, BOB])
    let_go()
    firewall.set(Rule.ASK, peer=CAROL)  # the program's own from now on
    for seed in (b"4", b"5", b"6"):
        learn(firewall, Rule.ALLOW, peer=Identity.from_seed(seed * 32).peer_id)
    assert (len(firewall.learned), len(firewall.rules())) == (2, 3)
    assert firewall.match(attempt(ALICE)).rule is None
    assert firewall.match(attempt(CAROL)).source == "ask@peer"


def test_an_answer_in_the_place_of_a_rule_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else many strangers could take back a refusal, and leave what is open to everybody."""
    monkeypatch.setattr(entries, "LEARNED", 1)
    firewall = Decisions()
    firewall.set(Rule.ALLOW)
    firewall.set(Rule.ASK, peer=ALICE, protocol=ECHO)
    learn(firewall, Rule.REJECT, peer=ALICE, protocol=ECHO)
    for peer in (BOB, CAROL):
        learn(firewall, Rule.ALLOW, peer=peer)
    assert [scope["peer"] for scope in firewall.learned] == [CAROL]
    assert firewall.match(attempt(ALICE)).source == "reject@peer+protocol"


def test_where_all_are_connected_nothing_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "LEARNED", 1)
    firewall = Decisions()
    hold(firewall, {ALICE, BOB})
    for peer in (ALICE, BOB):
        learn(firewall, Rule.ALLOW, peer=peer)
    assert len(firewall.learned) == 2


def test_an_observer_may_leave_while_it_is_told() -> None:
    firewall = Decisions()
    heard: list[int] = []

    def once() -> None:
        heard.append(1)
        leave()

    leave = firewall.watch(once)
    firewall.watch(lambda: heard.append(2))
    firewall.set(Rule.ASK)
    firewall.set(Rule.ALLOW)
    assert heard == [1, 2, 2]


@pytest.mark.parametrize("predicate", [is_broken, is_vague])
def test_a_predicate_that_fails_rejects_and_is_reported_once(predicate: Callable[[Attempt], bool]) -> None:
    """Hostile row 80."""
    told: list[tuple[Rule, str]] = []
    firewall = Decisions(lambda rule, error: told.append((rule, str(error))))
    rule = Rule.when(predicate, then=Rule.ALLOW, otherwise=Rule.ALLOW)
    firewall.set(Rule.only(["Say"], otherwise=rule))
    for _ in range(3):
        assert firewall.decide(attempt()) == Rule.REJECT
        assert firewall.decide(attempt(variant="Say")) == Rule.ALLOW
    assert [one for one, _ in told] == [rule]
    assert told[0][1] in {"in the predicate", "a predicate returned int: take a plain function that returns a bool"}
    firewall.ban(CAROL)
    assert firewall.decide(attempt()) == Rule.REJECT
    assert [one for one, _ in told] == [rule, rule]


def test_a_predicate_may_be_cancelled_or_be_no_plain_function() -> None:
    """Hostile row 80: a CancelledError of its own ends nobody, and no coroutine is left behind."""

    async def coroutine(asked: Attempt) -> bool:
        return True

    def cancelled(asked: Attempt) -> bool:
        raise asyncio.CancelledError

    def stopped(asked: Attempt) -> bool:
        raise KeyboardInterrupt

    told: list[str] = []
    firewall = Decisions(lambda rule, error: told.append(type(error).__name__))
    for predicate in (coroutine, cancelled):
        firewall.set(Rule.when(predicate))  # type: ignore[arg-type]
        assert firewall.decide(attempt()) == Rule.REJECT
    assert told == ["TypeError", "CancelledError"]
    firewall.set(Rule.when(stopped))
    with pytest.raises(KeyboardInterrupt):
        firewall.decide(attempt())


def test_a_predicate_may_change_the_rules() -> None:
    """Hostile row 80: it uses the firewall that calls it; what it set counts from the next attempt on."""
    firewall = Decisions()

    def once(asked: Attempt) -> bool:
        firewall.set(Rule.REJECT, peer=asked.peer)
        return True

    firewall.set(Rule.when(once))
    assert firewall.decide(attempt(ALICE)) == Rule.ALLOW
    assert firewall.decide(attempt(ALICE)) == Rule.REJECT
    answers: list[Rule | None] = []
    firewall.watch(lambda: answers.append(firewall.decide(attempt(BOB))))  # it is asked at each change, and changes
    assert firewall.decide(attempt(CAROL)) == Rule.ALLOW
    assert firewall.decide(attempt(BOB)) == Rule.REJECT


def test_b05_an_observer_that_raises_keeps_a_change_from_nobody() -> None:
    failed: list[BaseException] = []
    heard: list[str] = []
    firewall = Decisions(unheard=failed.append)

    def fails() -> None:
        heard.append("fails")
        raise ZeroDivisionError("theirs")

    firewall.watch(fails)
    firewall.watch(lambda: heard.append("all"))
    watch_changes(firewall, lambda whom: heard.append("bob's"), BOB)
    firewall.ban(BOB)
    assert heard == ["fails", "all", "bob's"]
    assert [type(error) for error in failed] == [ZeroDivisionError]
    quiet = Decisions()
    quiet.watch(fails)
    quiet.ban(BOB)
    assert quiet.banned == {BOB}
