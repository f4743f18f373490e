from __future__ import annotations

from stronghold_p2p.firewall.asking.hooks import Hooks, word
from stronghold_p2p.firewall.rules import Attempt
from tests.firewall.attempts import ALICE, BOB, attempt
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL


async def yes(asked: Attempt) -> bool:
    return True


async def test_a_place_is_taken_until_the_hook_has_ended() -> None:
    hooks = Hooks(3, 2)
    task = hooks.start(yes, attempt(ALICE))
    seen: list[tuple[int, bool]] = []
    task.add_done_callback(lambda _: seen.append((hooks.snapshot()["asks"], hooks.full(ALICE))))
    hooks.take(ALICE)
    assert (hooks.full(ALICE), hooks.full(BOB), *hooks.tasks) == (True, False, task)
    hooks.take(BOB)
    assert (hooks.full(BOB), hooks.snapshot()) == (True, {"asks": 3, "asking_peers": 2})
    assert await task is True
    hooks.give_back(ALICE)
    hooks.give_back(BOB)
    assert seen == [(2, False)]
    assert (hooks.snapshot(), hooks.tasks) == ({"asks": 0, "asking_peers": 0}, frozenset())


def test_a_word_stays_one() -> None:
    assert word("a b\n\x1b") == "a\\u0020b\\u000a\\u001b"
    assert len(word("x" * 1_000)) == 129
