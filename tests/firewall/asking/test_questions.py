"""``on_no_rule``: one question for each peer that no rule covers, for all its attempts together."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stronghold_p2p.firewall.asking.approval import Approval
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.rules import Attempt, Rule
from tests.firewall.attempts import ALICE, BOB, ECHO, UPPER, attempt
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


class Asked:
    """A hook whose answers the test gives, in the order of the questions."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.answers: list[asyncio.Future[Any]] = []

    async def __call__(self, asked: Attempt) -> Any:
        self.attempts.append(asked)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


def asking(**options: Any) -> tuple[Firewall, Approval, Asked]:
    """No rules, and a hook for them."""
    firewall, asked = Firewall(), Asked()
    firewall.on_no_rule(asked)
    return firewall, Approval(firewall, Audit(), **options), asked


async def begin(approval: Approval, *attempts: Attempt) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.ensure_future(approval.ask(each)) for each in attempts]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def nothing_left(approval: Approval) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert approval.snapshot() == {"asks": 0, "asking_peers": 0, "ask_memory": 0}
    assert approval.hooks == frozenset()
    assert approval._open == {}


def requests(count: int) -> list[Attempt]:
    return [attempt(variant=str(number)) for number in range(count)]


@pytest.mark.parametrize(("rule", "allowed"), [(Rule.ALLOW, True), (Rule.REJECT, False)])
async def test_a_peer_is_asked_about_once_and_its_rule_is_kept(rule: Rule, allowed: bool) -> None:
    firewall, approval, asked = asking()
    assert approval.verdict(attempt()) is None
    tasks = await begin(approval, *requests(5), attempt(protocol=UPPER, variant=None))
    assert [each.variant for each in asked.attempts] == ["0"]
    asked.answers[0].set_result(rule)
    assert await asyncio.gather(*tasks) == [allowed] * 6
    assert firewall.rules() == (({"direction": "in", "peer": ALICE}, rule),)
    assert approval.verdict(attempt()) is allowed
    assert approval.verdict(attempt(BOB)) is None
    await nothing_left(approval)


async def test_the_rule_may_look_at_each_request() -> None:
    _, approval, asked = asking()
    tasks = await begin(approval, *requests(3))
    asked.answers[0].set_result(Rule.only(["0", "2"]))
    assert await asyncio.gather(*tasks) == [True, False, True]


async def test_the_rule_may_be_to_ask() -> None:
    """Every attempt that waited becomes a question of its own (docs/firewall.md, "Answers and changes")."""
    firewall, approval, asked = asking()
    approvals = Asked()
    firewall.on_ask(approvals)
    tasks = await begin(approval, *requests(16))
    asked.answers[0].set_result(Rule.ASK)
    while len(approvals.attempts) < 16:
        await asyncio.sleep(0)
    assert {round(each.deadline - asked.attempts[0].deadline) for each in approvals.attempts} == {0}  # one for all
    for number, answer in enumerate(approvals.answers):
        answer.set_result(number % 2 == 0)
    assert await asyncio.gather(*tasks) == [True, False] * 8
    assert len(asked.attempts) == 1
    await nothing_left(approval)


async def test_peers_are_asked_about_one_by_one() -> None:
    _, approval, asked = asking()
    tasks = await begin(approval, attempt(ALICE), attempt(BOB), attempt(ALICE))
    assert [each.peer for each in asked.attempts] == [ALICE, BOB]
    asked.answers[1].set_result(Rule.ALLOW)
    assert await tasks[1] is True
    assert not tasks[0].done()
    asked.answers[0].set_result(None)
    assert await asyncio.gather(*tasks) == [False, True, False]
    await nothing_left(approval)


async def test_none_rejects_those_who_wait_and_keeps_nothing() -> None:
    firewall, approval, asked = asking()
    for round_ in (1, 2):
        tasks = await begin(approval, *requests(3))
        asked.answers[-1].set_result(None)
        assert await asyncio.gather(*tasks) == [False] * 3
        assert len(asked.attempts) == round_
    assert firewall.rules() == ()
    await nothing_left(approval)


@pytest.mark.parametrize("answer", [True, False, "allow", 1])
async def test_what_is_no_rule_rejects(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    _, approval, asked = asking()
    (task,) = await begin(approval, attempt())
    asked.answers[0].set_result(answer)
    assert await task is False
    assert "on_no_rule returned" in caplog.text
    await nothing_left(approval)


async def raises(asked: Attempt) -> Rule:
    raise ValueError("in the hook")


def is_no_coroutine(asked: Attempt) -> Any:
    return Rule.ALLOW


async def cancels(asked: Attempt) -> Rule:
    raise asyncio.CancelledError


@pytest.mark.parametrize(("hook", "told"), [(raises, 1), (is_no_coroutine, 1), (cancels, 0)])
async def test_a_broken_hook_rejects_and_is_reported_once(
    hook: Any, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Hostile row 80."""
    firewall, approval, _ = asking()
    firewall.on_no_rule(hook)
    assert await asyncio.gather(*(approval.ask(each) for each in requests(3))) == [False] * 3
    assert len(caplog.records) == told
    assert firewall.rules() == ()
    caplog.clear()
    await nothing_left(approval)


@pytest.mark.parametrize(("ask", "own"), [(0.03, 60.0), (60.0, 0.03), (None, 0.03)])
async def test_silence_rejects_at_the_nearer_deadline(
    ask: float | None, own: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.request")
    firewall, approval, asked = asking(ask=ask)
    loop = asyncio.get_running_loop()
    start = loop.time()
    tasks = await begin(approval, *(attempt(deadline=start + own) for _ in range(3)))
    assert 0 < asked.attempts[0].deadline - start < 0.1
    assert await asyncio.gather(*tasks) == [False] * 3
    assert loop.time() - start < 5
    assert asked.answers[0].cancelled()
    assert sum("in time" in record.message for record in caplog.records) <= 1
    assert firewall.rules() == ()
    await nothing_left(approval)


async def test_who_comes_later_waits_for_the_same_answer_and_not_longer() -> None:
    _, approval, asked = asking(ask=0.1)
    loop = asyncio.get_running_loop()
    start = loop.time()
    (first,) = await begin(approval, attempt())
    await asyncio.sleep(0.06)
    (second, impatient) = await begin(approval, attempt(), attempt(deadline=loop.time() + 0.01))
    assert await impatient is False
    assert not second.done()
    assert list(await asyncio.gather(first, second)) == [False, False]
    assert loop.time() - start < 0.15
    assert len(asked.attempts) == 1
    await nothing_left(approval)


async def test_without_any_deadline_the_answer_is_waited_for() -> None:
    _, approval, asked = asking(ask=None)
    (task,) = await begin(approval, attempt(deadline=float("inf")))
    await asyncio.sleep(0.02)
    assert not task.done()
    asked.answers[0].set_result(Rule.ALLOW)
    assert await task is True
    await nothing_left(approval)


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        (lambda firewall: firewall.set(Rule.ALLOW), True),
        (lambda firewall: firewall.set(Rule.REJECT, peer=ALICE), False),
        (lambda firewall: firewall.set(Rule.only(["Ping"]), protocol=ECHO), True),
        (lambda firewall: firewall.set(Rule.only(["Say"]), protocol=ECHO), False),
        (lambda firewall: firewall.ban(ALICE), False),
    ],
)
async def test_a_rule_that_is_set_meanwhile_decides_at_once(
    change: Callable[[Firewall], object], allowed: bool
) -> None:
    """Hostile row 77."""
    firewall, approval, asked = asking()
    tasks = await begin(approval, attempt(), attempt())
    change(firewall)
    rules = firewall.rules()
    assert await asyncio.wait_for(asyncio.gather(*tasks), 1) == [allowed] * 2
    assert asked.answers[0].cancelled()
    assert firewall.rules() == rules
    await nothing_left(approval)


async def test_a_change_that_does_not_concern_the_peer_keeps_the_question() -> None:
    firewall, approval, asked = asking()
    echo, upper = await begin(approval, attempt(), attempt(protocol=UPPER))
    firewall.set(Rule.REJECT, peer=BOB)
    firewall.set(Rule.REJECT, protocol=UPPER)
    assert await upper is False
    assert not echo.done()
    asked.answers[0].set_result(Rule.ALLOW)
    assert await echo is True
    assert len(asked.attempts) == 1


@pytest.mark.parametrize("turns", range(5))
async def test_a_late_answer_never_replaces_a_rule_set_meanwhile(turns: int) -> None:
    """However many turns lie between them, the rule that was set holds (D23)."""
    firewall, approval, asked = asking()
    tasks = await begin(approval, attempt(), attempt())
    asked.answers[0].set_result(Rule.ALLOW)
    for _ in range(turns):
        await asyncio.sleep(0)
    settled_before = tasks[0].done()
    firewall.set(Rule.REJECT, peer=ALICE)
    assert await asyncio.gather(*tasks) == [settled_before] * 2
    assert firewall.decide(attempt()) == Rule.REJECT
    await nothing_left(approval)


async def test_a_stubborn_hook_is_not_heard_any_more_and_keeps_its_place() -> None:
    firewall, approval, _ = asking(asks_per_peer=2)
    release = asyncio.Event()

    @firewall.on_no_rule
    async def stubborn(asked: Attempt) -> Rule:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Rule.ALLOW

    (task,) = await begin(approval, attempt())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert approval.snapshot() == {"asks": 1, "asking_peers": 1, "ask_memory": 0}
    (second,) = await begin(approval, attempt())
    assert await approval.ask(attempt()) is False  # no place
    second.cancel()
    release.set()
    await asyncio.gather(*approval.hooks, second, return_exceptions=True)
    assert firewall.rules() == ()
    await nothing_left(approval)


async def test_a_hook_that_fails_when_it_is_too_late_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    firewall, approval, _ = asking()

    @firewall.on_no_rule
    async def fails_late(asked: Attempt) -> Rule:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("on the way out")

    (task,) = await begin(approval, attempt())
    firewall.set(Rule.ALLOW)
    assert await task is True
    await nothing_left(approval)
    assert caplog.records == []


async def test_the_question_ends_with_the_last_who_waits() -> None:
    firewall, approval, asked = asking()
    tasks = await begin(approval, *requests(3))
    for task in tasks[:2]:
        task.cancel()
    await asyncio.sleep(0.01)
    assert not asked.answers[0].done()
    assert approval.snapshot() == {"asks": 2, "asking_peers": 1, "ask_memory": 0}
    (fourth,) = await begin(approval, attempt())
    assert len(asked.attempts) == 1
    tasks[2].cancel()
    fourth.cancel()
    assert [type(one) for one in await asyncio.gather(*tasks, fourth, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 4
    await nothing_left(approval)
    assert asked.answers[0].cancelled()
    (again,) = await begin(approval, attempt())
    assert len(asked.attempts) == 2
    firewall.set(Rule.ALLOW)
    assert await again is True
    await nothing_left(approval)


@pytest.mark.speed
async def test_surplus_attempts_of_one_peer_are_rejected_at_once() -> None:
    """Hostile row 79: 16 for each peer."""
    _, approval, asked = asking()
    tasks = await begin(approval, *requests(10_000))
    assert len(asked.attempts) == 1
    assert [task.result() for task in tasks if task.done()] == [False] * 9_984
    assert approval.snapshot() == {"asks": 16, "asking_peers": 1, "ask_memory": 0}
    asked.answers[0].set_result(Rule.ALLOW)
    assert (await asyncio.gather(*tasks)).count(True) == 16
    await nothing_left(approval)


async def test_surplus_attempts_of_all_peers_are_rejected_at_once() -> None:
    _, approval, asked = asking(asks=3, asks_per_peer=2)
    tasks = await begin(approval, *[attempt(ALICE)] * 3, *[attempt(BOB)] * 2)
    assert [task.done() for task in tasks] == [False, False, True, False, True]
    for answer in asked.answers:
        answer.set_result(Rule.ALLOW)
    assert await asyncio.gather(*tasks) == [True, True, False, True, False]
    await nothing_left(approval)


async def test_open_protocols_and_outbound_are_not_asked_about() -> None:
    _, approval, asked = asking()
    assert approval.verdict(attempt(protocol="/ipfs/ping/1.0.0")) is True
    assert approval.verdict(attempt(direction="out")) is True
    assert asked.attempts == []


async def test_a_rule_that_goes_while_it_asks_is_asked_for() -> None:
    firewall, approval, asked = asking()
    approvals = Asked()
    firewall.on_ask(approvals)
    firewall.set(Rule.ASK)
    (task,) = await begin(approval, attempt())
    firewall.remove()
    await asyncio.sleep(0.01)
    assert (len(approvals.attempts), len(asked.attempts)) == (1, 1)
    firewall.set(Rule.ASK)
    await asyncio.sleep(0.01)
    assert (len(approvals.attempts), len(asked.attempts)) == (2, 1)
    approvals.answers[1].set_result(True)
    assert await task is True
    await nothing_left(approval)


async def test_each_attempt_has_its_line_in_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stronghold_p2p.audit")
    _, approval, asked = asking()
    tasks = await begin(approval, *requests(2))
    asked.answers[0].set_result(None)
    await asyncio.gather(*tasks)
    tasks = await begin(approval, *requests(1))
    asked.answers[1].set_result(Rule.ALLOW)
    await asyncio.gather(*tasks)
    words = [line.split() for line in caplog.messages]
    assert [(line[1], line[-1]) for line in words] == [
        ("verdict=reject", "rule=none"),
        ("verdict=reject", "rule=none"),
        ("verdict=allow", "rule=allow@peer"),
    ]


async def test_nothing_of_a_question_is_left_for_the_collector() -> None:
    firewall, approval, asked = asking()
    (task,) = await begin(approval, attempt())
    asked.answers[0].set_result(Rule.ALLOW)
    assert await task is True
    await nothing_left(approval)
    assert firewall._observers == {}
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "Question"]
