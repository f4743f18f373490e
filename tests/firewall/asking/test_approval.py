"""Questions to the application: ``on_ask`` about single attempts, and what holds for ``on_no_rule`` as well."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.firewall.asking.approval import ASK_MEMORY, ASK_SHARE
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Attempt, Direction, Rule
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.swarm.swarm import Swarm
from tests.firewall.asking.asked import approving, asking, begin, hooked, nothing_left, requests
from tests.firewall.attempts import ALICE, BOB, CAROL, ECHO, UPPER, attempt
from tests.peers import turns
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

BOTH_HOOKS = pytest.mark.parametrize("rule", [Rule.ASK, None], ids=["on_ask", "on_no_rule"])


async def raises(asked: Attempt) -> bool:
    raise ValueError("in the hook")


def raises_at_once(asked: Attempt) -> bool:
    raise LookupError("in the call")


async def cancels(asked: Attempt) -> Rule:
    raise asyncio.CancelledError


@BOTH_HOOKS
@pytest.mark.parametrize(("hook", "told"), [(raises, 1), (raises_at_once, 1), (cancels, 0)])
async def test_a_broken_hook_rejects_and_is_reported_once(
    rule: Rule | None, hook: Any, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Hostile row 80."""
    firewall, approval, _ = asking(rule)
    hooked(firewall, hook)
    before = firewall.rules()
    waiting = 1 if rule else 3  # one question for each attempt, or for all
    assert await asyncio.gather(*(approval.ask(each) for each in requests(waiting))) == [False] * waiting
    assert len(caplog.records) == told
    assert all(record.exc_info for record in caplog.records)
    assert firewall.rules() == before
    caplog.clear()
    await nothing_left(approval)


@BOTH_HOOKS
@pytest.mark.parametrize(("answer", "allowed"), [(Rule.ALLOW, True), (Rule.REJECT, False)])
async def test_defect_4_hooks_may_be_plain_functions(
    rule: Rule | None, answer: Rule, caplog: pytest.LogCaptureFixture, *, allowed: bool
) -> None:
    firewall, approval, _ = asking(rule)
    hooked(firewall, lambda _asked: answer)
    assert await approval.ask(attempt()) is allowed
    if rule is not None:
        firewall.on_ask(lambda asked: asked.variant == "Ping")
        assert await approval.ask(attempt(BOB)) is True
        assert await approval.ask(attempt(BOB, variant="Put")) is False
    assert caplog.records == []
    await nothing_left(approval)


@pytest.mark.parametrize("hook", [None, "yes", lambda: True, lambda one, two: True])
def test_defect_4_what_is_no_function_of_an_attempt_is_refused_when_it_is_registered(hook: Any) -> None:
    for register in (Firewall().on_ask, Firewall().on_no_rule):
        with pytest.raises(ConfigError, match=r"^on_(ask|no_rule)(:| takes a function of an Attempt)"):
            register(hook)


async def test_defect_5_a_rule_that_asks_without_anybody_to_ask_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    firewall = Firewall()
    firewall.set(Rule.ASK)
    approval = approving(firewall)
    for _ in range(3):
        assert await approval.ask(attempt()) is False
    told = [(record.levelno, record.getMessage()) for record in caplog.records]
    about = "a rule says ASK, and nobody is registered with on_ask: what would be asked about is refused"
    assert told == [(logging.WARNING, about)]


@BOTH_HOOKS
@pytest.mark.parametrize("answer", [1, "yes", object()])
async def test_an_answer_that_is_none_rejects(
    rule: Rule | None, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    _, approval, asked = asking(rule)
    (task,) = await begin(approval, attempt())
    asked.answers[0].set_result(answer)
    assert await task is False
    assert [record.name for record in caplog.records] == ["stronghold_p2p.request"]
    assert f"{'on_ask' if rule else 'on_no_rule'} returned {type(answer).__name__}" in caplog.text
    await nothing_left(approval)


@BOTH_HOOKS
@pytest.mark.parametrize(("ask", "own"), [(0.02, 60.0), (60.0, 0.02), (None, 0.02)])
async def test_silence_rejects_at_the_nearer_deadline(
    rule: Rule | None, ask: float | None, own: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.request")
    firewall, approval, asked = asking(rule, ask=ask)
    loop, before = asyncio.get_running_loop(), firewall.rules()
    start = loop.time()
    tasks = await begin(approval, *[attempt(deadline=start + own)] * (1 if rule else 3))
    assert 0 < asked.attempts[0].deadline - start < 0.1
    assert not any(await asyncio.gather(*tasks))
    assert loop.time() - start < 5
    assert asked.answers[0].cancelled()
    assert sum("in time" in record.message for record in caplog.records) <= 1
    assert "in time" in caplog.text or rule is None
    assert firewall.rules() == before
    await nothing_left(approval)


@BOTH_HOOKS
async def test_without_any_deadline_the_answer_is_waited_for(rule: Rule | None) -> None:
    _, approval, asked = asking(rule, ask=None)
    (task,) = await begin(approval, attempt(deadline=float("inf")))
    await asyncio.sleep(0.02)
    assert not task.done()
    asked.answers[0].set_result(Rule.ALLOW)
    assert await task is True
    await nothing_left(approval)


@BOTH_HOOKS
@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        (lambda firewall: firewall.set(Rule.ALLOW), True),
        (lambda firewall: firewall.set(Rule.REJECT, peer=ALICE), False),
        (lambda firewall: firewall.set(Rule.ALLOW, protocol=ECHO), True),
        (lambda firewall: firewall.set(Rule.only(["Ping"]), protocol=ECHO), True),
        (lambda firewall: firewall.set(Rule.only(["Say"]), protocol=ECHO), False),
        (lambda firewall: firewall.ban(ALICE), False),
    ],
)
async def test_a_change_of_the_rules_judges_waiting_attempts_at_once(
    rule: Rule | None, change: Callable[[Firewall], object], allowed: bool
) -> None:
    """Hostile row 77."""
    firewall, approval, asked = asking(rule)
    tasks = await begin(approval, attempt(), attempt())
    change(firewall)
    rules = firewall.rules()
    assert await asyncio.wait_for(asyncio.gather(*tasks), 1) == [allowed] * 2
    assert asked.answers[0].cancelled()
    assert firewall.rules() == rules
    await nothing_left(approval)


@BOTH_HOOKS
@pytest.mark.parametrize("answer", [True, Rule.ALLOW])
@pytest.mark.parametrize("turns", range(5))
async def test_a_late_answer_never_replaces_a_rule_set_meanwhile(
    rule: Rule | None, answer: bool | Rule, turns: int
) -> None:
    """The answer and the rule race; however many turns lie between them, the rule that was set holds (D23)."""
    firewall, approval, asked = asking(rule)
    (task,) = await begin(approval, attempt())
    asked.answers[0].set_result(answer)
    for _ in range(turns):
        await asyncio.sleep(0)
    settled = task.result() if task.done() else False
    firewall.set(Rule.REJECT, peer=ALICE, protocol=attempt().protocol)
    assert await task is settled
    assert firewall.decide(attempt()) == Rule.REJECT
    await nothing_left(approval)


@BOTH_HOOKS
async def test_a_hook_that_fails_when_it_is_too_late_is_not_reported(
    rule: Rule | None, caplog: pytest.LogCaptureFixture
) -> None:
    firewall, approval, _ = asking(rule)

    async def fails_late(asked: Attempt) -> bool:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("on the way out")

    hooked(firewall, fails_late)
    (task,) = await begin(approval, attempt())
    firewall.set(Rule.ALLOW)
    assert await task is True
    await nothing_left(approval)
    assert caplog.records == []


@BOTH_HOOKS
async def test_a_stubborn_hook_is_not_heard_any_more_and_keeps_its_place(rule: Rule | None) -> None:
    firewall, approval, _ = asking(rule, ask=0.01, asks_per_peer=1)
    release = asyncio.Event()

    async def stubborn(asked: Attempt) -> Rule:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Rule.ALLOW

    hooked(firewall, stubborn)
    before = firewall.rules()
    assert await approval.ask(attempt()) is False
    assert approval.snapshot() == {"asks": 1, "asking_peers": 1, "ask_memory": 0}
    assert await approval.ask(attempt()) is False  # no place
    assert len(approval.hooks) == 1
    release.set()
    await asyncio.gather(*approval.hooks)
    assert firewall.rules() == before
    await nothing_left(approval)


@pytest.mark.parametrize(
    ("rule", "answer"), [(Rule.ALLOW, True), (Rule.REJECT, False), (None, False), (Rule.ASK, None)]
)
def test_a_settled_verdict_needs_no_event_loop(rule: Rule | None, answer: bool | None) -> None:
    firewall = Firewall()
    if rule is not None:
        firewall.set(rule)
    approval = approving(firewall)
    assert approval.verdict(attempt()) is answer
    assert asyncio.run(approval.ask(attempt())) is bool(answer)  # without a hook, asking rejects


@pytest.mark.parametrize(("rule", "allowed"), [(Rule.ALLOW, True), (Rule.REJECT, False), (Rule.ASK, False)])
async def test_a_rule_becomes_the_peers(rule: Rule, allowed: bool) -> None:
    firewall, approval, asked = asking()
    (task,) = await begin(approval, attempt())
    asked.answers[0].set_result(rule)
    assert await task is allowed
    assert firewall.rules()[0] == ({"direction": "in", "peer": ALICE, "protocol": attempt().protocol}, rule)
    assert firewall.decide(attempt(BOB)) == Rule.ASK
    await nothing_left(approval)


async def test_a_rule_for_the_peer_settles_its_other_attempts_at_once() -> None:
    _, approval, asked = asking()
    tasks = await begin(approval, *requests(5), attempt(BOB))
    asked.answers[3].set_result(Rule.ALLOW)
    assert await asyncio.gather(*tasks[:5]) == [True] * 5
    assert not tasks[5].done()
    asked.answers[5].set_result(False)
    assert await tasks[5] is False
    await nothing_left(approval)


async def test_a_hook_that_is_cancelled_rejects() -> None:
    firewall, approval, asked = asking()
    tasks = await begin(approval, attempt(), attempt(BOB))
    asked.answers[0].cancel()
    assert await tasks[0] is False
    (task,) = approval.hooks
    task.cancel()
    assert await tasks[1] is False
    assert firewall.decide(attempt()) == Rule.ASK
    await nothing_left(approval)


async def test_a_change_that_still_asks_keeps_the_question() -> None:
    firewall, approval, asked = asking()
    (task,) = await begin(approval, attempt())
    firewall.set(Rule.ASK, peer=ALICE)
    firewall.set(Rule.REJECT, peer=BOB)
    await asyncio.sleep(0.01)
    assert not task.done()
    asked.answers[0].set_result(True)
    assert await task is True
    assert len(asked.attempts) == 1


async def test_cancelling_the_caller_cancels_the_hook_and_leaves_nothing() -> None:
    firewall, approval, asked = asking()
    (task,) = await begin(approval, attempt())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await nothing_left(approval)
    assert asked.answers[0].cancelled()
    firewall.set(Rule.ALLOW)  # nobody listens any more
    assert await approval.ask(attempt()) is True


@BOTH_HOOKS
@pytest.mark.speed
async def test_surplus_questions_of_one_peer_are_rejected_at_once(rule: Rule | None) -> None:
    """Hostile row 79: 16 for each peer."""
    _, approval, asked = asking(rule)
    tasks = await begin(approval, *requests(10_000))
    assert len(asked.attempts) == (16 if rule else 1)
    assert [task.result() for task in tasks if task.done()] == [False] * 9_984
    assert approval.snapshot() == {"asks": 16, "asking_peers": 1, "ask_memory": 0}
    (other,) = await begin(approval, attempt(BOB))
    for answer in asked.answers:
        answer.set_result(Rule.ALLOW)
    assert (await asyncio.gather(*tasks)).count(True) == 16
    assert await other is True
    await nothing_left(approval)


@BOTH_HOOKS
async def test_surplus_questions_of_all_peers_are_rejected_at_once(rule: Rule | None) -> None:
    _, approval, asked = asking(rule, asks=6, asks_per_peer=2)  # one is for a peer that a rule names
    peers = (ALICE, BOB, CAROL)
    tasks = await begin(approval, *(attempt(peer) for peer, _ in itertools.product(peers, range(3))))
    assert [each.peer for each in asked.attempts] == ([ALICE, ALICE, BOB, BOB, CAROL] if rule else [ALICE, BOB, CAROL])
    assert [task.done() for task in tasks] == [False, False, True, False, False, True, False, True, True]
    asked.answers[0].set_result(Rule.ALLOW)
    assert await tasks[0] is True
    await asyncio.sleep(0)
    (more,) = await begin(approval, attempt(CAROL))
    for answer in asked.answers[-3 if rule else 1 :]:
        answer.set_result(False if rule else None)
    assert await more is False
    assert len(asked.attempts) == (6 if rule else 3)
    await asyncio.gather(*tasks)
    await nothing_left(approval)


async def test_what_waits_is_bounded_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """Hostile rows 79 and 132: 32 MiB of bodies, and 8 of one peer; the application is shown them, so they are read
    before it is asked."""
    firewall, approval, asked = asking()
    firewall.set(Rule.ASK, peer=CAROL)
    others = [Identity.from_seed(bytes([number]) * 32).peer_id for number in (11, 12, 13)]
    tasks = [asyncio.ensure_future(approval.ask(attempt(peer), ASK_SHARE)) for peer in others]
    await asyncio.sleep(0)
    assert approval.snapshot()["ask_memory"] == ASK_MEMORY - ASK_SHARE
    assert await approval.ask(attempt(others[0]), 1) is False  # its share; nobody else is concerned
    assert caplog.records == []
    assert await approval.ask(attempt(BOB), 1) is False
    assert await approval.ask(attempt(BOB), 1) is False
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"questions to hooks have {ASK_MEMORY - ASK_SHARE} of {ASK_MEMORY} of their memory: ")
    named = asyncio.ensure_future(approval.ask(attempt(CAROL), ASK_SHARE))
    (unread,) = await begin(approval, attempt(BOB))  # a stream, of which nothing is kept
    assert approval.snapshot()["ask_memory"] == ASK_MEMORY
    assert len(asked.answers) == 5
    asked.answers[0].set_result(True)
    assert await tasks[0] is True
    assert approval.snapshot()["ask_memory"] == ASK_MEMORY - ASK_SHARE
    for task in (*tasks, named, unread):
        task.cancel()
    await asyncio.gather(*tasks, named, unread, return_exceptions=True)
    caplog.clear()
    await nothing_left(approval)


async def test_a_request_that_is_too_large_to_be_asked_about_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is asked about it, at any time, so nobody would know why it is refused."""
    _, approval, asked = asking()
    for _ in range(100):
        assert await approval.ask(attempt(ALICE), ASK_SHARE + 1) is False
    assert asked.attempts == []
    assert 0 < len(caplog.messages) < 10
    assert caplog.messages[0] == (
        f"a request is too large to be asked about: it takes {ASK_SHARE + 1} bytes, {ASK_SHARE} allowed; {ALICE}"
    )
    caplog.clear()
    await nothing_left(approval)


@pytest.mark.parametrize("direction", ["in", "out"])
async def test_whom_a_rule_names_has_a_quarter_of_the_questions(
    direction: Direction, caplog: pytest.LogCaptureFixture
) -> None:
    """Hostile row 132. What we do ourselves has it, too; it is told once that there is no more for the others."""
    firewall, approval, asked = asking(asks=8, asks_per_peer=6)
    firewall.set(Rule.ASK, direction="out")
    if direction == "in":
        firewall.set(Rule.ASK, peer=ALICE)
    strangers = await begin(approval, *(attempt(BOB) for _ in range(8)))
    assert [task.done() for task in strangers] == [False] * 6 + [True] * 2
    assert len(caplog.records) == 1
    friends = await begin(approval, *(attempt(ALICE, direction=direction) for _ in range(3)))
    assert [task.done() for task in friends] == [False, False, True]
    for answer in asked.answers:
        answer.set_result(True)
    await asyncio.gather(*strangers, *friends)
    await nothing_left(approval)
    again = await begin(approval, *(attempt(BOB) for _ in range(7)), attempt(CAROL))
    assert len(caplog.records) == 2  # once more, as nobody waited any more
    for task in again:
        task.cancel()
    await asyncio.gather(*again, return_exceptions=True)
    caplog.clear()
    await nothing_left(approval)


async def test_rules_that_change_and_change_back_let_nobody_in() -> None:
    firewall, approval, asked = asking()
    (task,) = await begin(approval, attempt())
    firewall.set(Rule.REJECT)
    firewall.set(Rule.ASK)
    await turns(4)
    assert (task.done(), len(asked.answers)) == (False, 2)  # it is asked about once more
    asked.answers[1].set_result(False)
    assert await task is False
    await nothing_left(approval)


async def test_limits_come_from_the_configuration_and_may_be_none() -> None:
    one = Swarm(Identity(), limits=Limits(asks=1, asks_per_peer=2), timeouts=Timeouts(ask=4)).approval
    assert (one._hooks.asks, one._hooks.maximum, one._ask) == (1, 2, 4)
    _, approval, asked = asking(asks=None, asks_per_peer=None)
    tasks = await begin(approval, *(attempt() for _ in range(300)))
    assert len(asked.attempts) == 300
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await nothing_left(approval)


async def test_a_settled_verdict_makes_no_task_and_no_future(monkeypatch: pytest.MonkeyPatch) -> None:
    firewall, approval, _ = asking()
    firewall.set(Rule.ALLOW, peer=ALICE)
    firewall.set(Rule.REJECT, peer=BOB)
    for name in ("create_task", "create_future", "call_at"):
        monkeypatch.setattr(asyncio.get_running_loop(), name, None)
    assert approval.verdict(attempt(ALICE)) is True
    assert await approval.ask(attempt(ALICE)) is True
    assert await approval.ask(attempt(BOB)) is False
    monkeypatch.undo()


async def test_the_audit_log_has_a_line_for_each_verdict(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.audit")
    firewall, approval, asked = asking()
    firewall.set(Rule.REJECT, protocol=UPPER)
    (task,) = await begin(approval, attempt())
    assert caplog.messages == []
    asked.answers[0].set_result(True)
    await task
    approving(firewall, Audit("bob verdict=allow")).verdict(attempt(BOB, UPPER, variant=None))
    assert approval.verdict(attempt(BOB)) is None
    net, place = "net=bob\\u0020verdict=allow", "from=/ip4/10.0.0.1/tcp/4001"
    assert caplog.messages == [
        f"net=- verdict=allow peer={ALICE} protocol=/echo/1.0.0 variant=Ping {place} rule=ask@default",
        f"{net} verdict=reject peer={BOB} protocol=/upper/1.0.0 variant=- {place} rule=reject@protocol",
    ]
