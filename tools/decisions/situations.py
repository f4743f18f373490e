"""What happens when answers come, fail or are late, and when rules change meanwhile: each situation is played.

What the Rust library does in each was read in its source; a defect has its number from docs/catalogue/parity.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from stronghold_p2p import Rule, Timeouts
from tools.decisions.rules import SOON
from tools.decisions.stage import Question, Stage, stage

IMPATIENT: Final = Timeouts(request=0.05, ask=None)
Play = Callable[[Stage], Awaitable[str]]


@dataclass(frozen=True)
class Situation:
    """``play`` returns what the requester gets; ``defect`` is the number of what the Rust library does wrong."""

    told: str
    theirs: str
    ours: str
    play: Play
    defect: str = "-"
    timeouts: Timeouts | None = None


async def _no_rule(one: Stage) -> tuple[asyncio.Task[str], Question]:
    """A request that waits for a rule."""
    one.with_on_no_rule()
    task = one.asking()
    return task, await one.introduced.get()


async def _asked(one: Stage) -> tuple[asyncio.Task[str], Question]:
    """A request that is asked about."""
    one.with_on_ask()
    one.firewall.set(Rule.ASK)
    task = one.asking()
    return task, await one.asked.get()


async def rule_arrives(one: Stage) -> str:
    first, question = await _no_rule(one)
    second = one.asking()
    question.set_result(Rule.ALLOW)
    return await _same(first, second)


async def rule_is_ask(one: Stage) -> str:
    one.with_on_ask()
    first, question = await _no_rule(one)
    second = one.asking()
    while one.bob.stats()["asks"] < 2:  # until it waits, too
        await asyncio.sleep(0.001)
    question.set_result(Rule.ASK)
    for _ in range(2):
        (await one.asked.get()).set_result(True)
    return await _same(first, second)


async def rule_is_missing(one: Stage) -> str:
    first, _ = await _no_rule(one)
    refused = await first
    second = one.asking()
    (await one.introduced.get()).set_result(None)
    return refused if await second == refused else "something else"


async def answer_is_missing(one: Stage) -> str:
    task, _ = await _asked(one)
    return await task


async def peer_rule_meanwhile(one: Stage) -> str:
    task, question = await _no_rule(one)
    one.firewall.set(Rule.ALLOW, peer=one.alice.peer_id)
    got = await task
    if not question.done():  # as late as can be
        question.set_result(Rule.REJECT)
    await asyncio.sleep(0)
    return got


async def default_meanwhile(one: Stage) -> str:
    task, _ = await _no_rule(one)
    one.firewall.set(Rule.ALLOW)
    return await task


async def default_goes(one: Stage) -> str:
    """The question had been about a rule, and there is still none."""
    one.firewall.set(Rule.REJECT, protocol="/another/1.0.0")
    task, question = await _no_rule(one)
    one.firewall.remove(protocol="/another/1.0.0")
    question.set_result(Rule.ALLOW)
    return await task


async def peer_rule_goes(one: Stage) -> str:
    one.firewall.set(Rule.ASK, peer=one.alice.peer_id)
    one.with_on_ask()
    task = one.asking()
    await one.asked.get()
    one.firewall.set(Rule.ALLOW)
    one.firewall.remove(peer=one.alice.peer_id)
    return await task


async def change_while_asked(one: Stage) -> str:
    task, question = await _asked(one)
    one.firewall.set(Rule.REJECT, peer=one.alice.peer_id)
    got = await task
    if not question.done():
        question.set_result(True)
    return got


async def change_while_answered(one: Stage) -> str:
    one.firewall.set(Rule.ALLOW)
    one.hold = asyncio.Event()
    task = one.asking()
    await one.working.wait()
    one.firewall.set(Rule.REJECT)
    one.hold.set()
    return await task


async def default_before_connecting(one: Stage) -> str:
    await one.alice.disconnect(one.bob.peer_id)
    one.firewall.set(Rule.ALLOW)
    return await one.request()


async def gone_while_no_rule(one: Stage) -> str:
    task, question = await _no_rule(one)
    return await _gone(one, task, question)


async def gone_while_asked(one: Stage) -> str:
    task, question = await _asked(one)
    return await _gone(one, task, question)


async def _gone(one: Stage, task: asyncio.Task[str], question: Question) -> str:
    await one.alice.disconnect(one.bob.peer_id)
    got = await task
    while one.bob.stats()["asks"]:  # the question is taken back
        await asyncio.sleep(0.001)
    return got if question.cancelled() else "something else"


async def late_while_asked(one: Stage) -> str:
    task, question = await _asked(one)
    return await _late(task, question)


async def late_while_no_rule(one: Stage) -> str:
    task, question = await _no_rule(one)
    return await _late(task, question)


async def _late(task: asyncio.Task[str], question: Question) -> str:
    got = await task
    while not question.done():
        await asyncio.sleep(0.001)
    return got if question.cancelled() else "something else"


async def first_stream(one: Stage) -> str:
    await one.alice.disconnect(one.bob.peer_id)
    one.firewall.set(Rule.REJECT)
    one.alice.book.add(one.bob.peer_id, one.bob.addresses[0])
    return await one.request()  # its stream is sent together with the end of the handshake


async def banned_while_asked(one: Stage) -> str:
    task, _ = await _asked(one)
    one.firewall.ban(one.alice.peer_id)
    return await task


async def _same(*tasks: asyncio.Task[str]) -> str:
    outcomes = {await task for task in tasks}
    return outcomes.pop() if len(outcomes) == 1 else "something else"


SITUATIONS: Final = (
    Situation(
        "`on_no_rule` gives a rule; several requests wait",
        "kept as the peer's rule; decides about all that wait",
        "the same",
        rule_arrives,
    ),
    Situation(
        "`on_no_rule` gives `ASK`",
        "each waiting request becomes a question of its own",
        "the same",
        rule_is_ask,
    ),
    Situation(
        "`on_no_rule` gives nothing, or not in time",
        "those that wait are refused, nothing is kept, the next request asks again",
        "the same; the time is `Timeouts.ask`",
        rule_is_missing,
        "D5",
        SOON,
    ),
    Situation(
        "`on_ask` gives nothing, or not in time",
        "that request is refused, the rule stays",
        "the same; at most `Limits.asks` questions at once, beyond that refused at once",
        answer_is_missing,
        "D5, D24",
        SOON,
    ),
    Situation(
        "a rule for the peer is set while its requests wait for one",
        "they are decided by it; the late answer to the question replaces it",
        "they are decided by it; the question is cancelled, and an answer changes nothing any more",
        peer_rule_meanwhile,
        "D23",
    ),
    Situation(
        "a default is set while requests wait for a rule",
        "they are decided by it",
        "the same, whether the peer is connected or not",
        default_meanwhile,
    ),
    Situation(
        "a rule is removed while requests wait for one, and there is still none",
        "removing the default refuses them (where it does remove it)",
        "they go on waiting for the answer: nothing has been said about them",
        default_goes,
        "D4",
    ),
    Situation(
        "the peer's rule `ASK` is removed while a request is asked about",
        "nothing: the question goes on",
        "decided by what holds now, here a default of `ALLOW`",
        peer_rule_goes,
    ),
    Situation(
        "any rule changes while a request is asked about",
        "nothing: a yes still lets it in",
        "judged anew: if it is not asked about any more, it is decided at once, and the question cancelled",
        change_while_asked,
    ),
    Situation(
        "a rule changes while our handler answers",
        "not known",
        "judged once more before the answer leaves: a peer that is shut out is told nothing",
        change_while_answered,
    ),
    Situation(
        "the default changes for peers that are not connected",
        "takes effect when they connect",
        "the same",
        default_before_connecting,
    ),
    Situation(
        "the peer's last connection ends while it waits for a rule",
        "the question is cancelled; the requests are reported",
        "the question is cancelled, and nothing is kept; a request that nobody let in is no event",
        gone_while_no_rule,
        "D8",
    ),
    Situation(
        "the request's connection ends while it is asked about",
        "reported, and then delivered all the same, or reported twice",
        "the question is cancelled, and the request is over",
        gone_while_asked,
        "D8",
    ),
    Situation(
        "`Timeouts.request` ends while a request is asked about",
        "reported twice, as late and as refused",
        "the question is cancelled; the requester is told once",
        late_while_asked,
        "D8",
        IMPATIENT,
    ),
    Situation(
        "`Timeouts.request` ends while a request waits for a rule",
        "reported; later delivered with nobody to answer to, or reported again",
        "the question is cancelled; the requester is told once",
        late_while_no_rule,
        "D8",
        IMPATIENT,
    ),
    Situation(
        "the first stream arrives together with the end of the handshake",
        "for a moment, protocols count as served until the rule has reached the connection",
        "judged like any other: there is no such moment",
        first_stream,
        "race",
    ),
    Situation(
        "the peer is banned while a request is asked about",
        "the connection is closed; the ban is kept nowhere",
        "the connection is closed, the question is cancelled; `firewall.save` writes the ban with the rules",
        banned_while_asked,
    ),
)


async def table() -> str:
    """Markdown."""
    heads = ("situation", "the Rust library", "here", "the requester gets", "our handler is", "our events")
    lines = [f"| {' | '.join(heads)} | rules then | defect |", "|---" * (len(heads) + 2) + "|"]
    for one in SITUATIONS:
        async with stage(one.timeouts) as played:
            got = await one.play(played)
            handler = "called" if played.handled else "not called"
            cells = (one.told, one.theirs, one.ours, got, handler, await played.seen(), played.kept(), one.defect)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
