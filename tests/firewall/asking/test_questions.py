"""``on_no_rule``: one question for each peer that no rule covers, for all its attempts together."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

from stronghold_p2p.firewall.rules import Rule
from tests.firewall.asking import asked as asked_by
from tests.firewall.asking.asked import Asked, begin, nothing_left, requests
from tests.firewall.attempts import ALICE, BOB, UPPER, attempt
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

asking = partial(asked_by.asking, None)  # no rules


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


async def test_nothing_of_a_question_is_left_for_the_collector() -> None:
    firewall, approval, asked = asking()
    (task,) = await begin(approval, attempt())
    asked.answers[0].set_result(Rule.ALLOW)
    assert await task is True
    await nothing_left(approval)
    assert firewall._observers == {None: {}}
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "Question"]
