from __future__ import annotations

import asyncio
from dataclasses import replace

from stronghold_p2p.firewall.asking.audit import word
from stronghold_p2p.firewall.asking.firewall import Firewall
from stronghold_p2p.firewall.asking.questions import CHANGED, Hooks, Question
from stronghold_p2p.firewall.rules import Attempt, Rule
from tests.firewall.attempts import ALICE, BOB, attempt
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


async def yes(asked: Attempt) -> bool:
    return True


async def test_a_place_is_taken_until_the_hook_has_ended() -> None:
    hooks = Hooks(3, 2)
    task = hooks.start(yes, attempt(ALICE))
    seen: list[tuple[int, bool]] = []
    task.add_done_callback(lambda _: seen.append((hooks.total, hooks.full(ALICE))))
    hooks.take(ALICE)
    assert (hooks.full(ALICE), hooks.full(BOB), *hooks.running) == (True, False, task)
    hooks.take(BOB)
    assert (hooks.full(BOB), hooks.total, len(hooks)) == (True, 3, 2)
    assert await task is True
    hooks.give_back(ALICE)
    hooks.give_back(BOB)
    assert seen == [(2, False)]
    assert (hooks.total, len(hooks), hooks.running) == (0, 0, {})


async def test_what_comes_first_settles() -> None:
    firewall, hooks = Firewall(), Hooks(None, None)
    answers: list[asyncio.Future[bool]] = []

    async def hook(asked: Attempt) -> bool:
        answers.append(asyncio.get_running_loop().create_future())
        return await answers[-1]

    async def waiting(due: float) -> object:
        question = Question(firewall, hooks, hook, replace(attempt(), deadline=due))
        return await question.wait(lambda: firewall.decide(attempt()) is None, due)

    assert await waiting(asyncio.get_running_loop().time() + 0.01) is None
    task = asyncio.ensure_future(waiting(float("inf")))
    await asyncio.sleep(0)
    firewall.set(Rule.ALLOW, peer=BOB)
    assert not task.done()
    firewall.set(Rule.ALLOW)
    firewall.remove()
    assert await task is CHANGED
    task = asyncio.ensure_future(waiting(float("inf")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    answers[-1].set_result(True)
    assert await task is True
    assert firewall._observers == {}
    await asyncio.sleep(0)
    assert hooks.running == {}


def test_a_word_stays_one() -> None:
    assert word("a b\n\x1b") == "a\\u0020b\\u000a\\u001b"
    assert len(word("x" * 1_000)) == 129
