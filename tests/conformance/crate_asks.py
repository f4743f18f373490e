"""The crate asks, we answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from stronghold_p2p import Attempt, Rejected, Rule, Timeouts
from tests.conformance.messages import FEW, ROOMY, SHAPES_IN_JSON, TYPED
from tests.conformance.ours_ask import MIB, PONG
from tests.conformance.scenario import Crate, Ours, Scenario, Stage, asks, echo

PING = 'request "Ping"'
PATIENT = Crate(request_timeout=20)


def says(answer: bool | Rule) -> Callable[[Attempt], Awaitable[bool | Rule]]:
    async def ask(attempt: Attempt) -> bool | Rule:
        return answer

    return ask


async def breaks(attempt: Attempt) -> bool | Rule:
    raise RuntimeError("the hook is broken")


async def never(attempt: Attempt) -> bool | Rule:
    await asyncio.Event().wait()
    return True


async def refuses(message: Any) -> Any:
    raise Rejected


async def fails(message: Any) -> Any:
    raise RuntimeError("the handler is broken")


async def waits(message: Any) -> Any:
    if message != "Ping":
        await asyncio.sleep(2.0)
    return await echo(message)


async def hangs(message: Any) -> Any:
    if message != "Ping":
        await asyncio.Event().wait()
    return await echo(message)


def asking(hook: Callable[[Attempt], Awaitable[bool | Rule]], **timeouts: float) -> Ours:
    return Ours(Rule.ASK, ask=hook, timeouts=Timeouts(**timeouts))


async def every_shape(stage: Stage) -> None:
    for message in SHAPES_IN_JSON:
        answer = await stage.crate.call("request", peer=str(stage.ours.network.peer_id), message=message)
        stage.answers.append("the same" if answer == message or answer == "Pong" else repr(answer))
    stage.answers = sorted(set(stage.answers))
    stage.ours.saw = [", ".join(text.removeprefix("request ") for text in stage.ours.saw)]


async def a_mebibyte(stage: Stage) -> None:
    await stage.ask({"Text": "x" * MIB})
    await stage.ask({"Bytes": list(bytes(range(256))) * (MIB // 256)})


async def too_long(stage: Stage) -> None:
    await stage.ask({"Bytes": [200] * MIB})
    await stage.ask("Ping")


async def refused_in_flight(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.crate_asks({"Text": "wait"}))
    while not stage.ours.saw:
        await asyncio.sleep(0.01)
    await stage.ask("Ping")
    stage.answers.append(await waiting)


async def after_refusal(stage: Stage) -> None:
    await stage.ask("Ping")
    stage.ours.network.firewall.set(Rule.ALLOW)
    await stage.crate.until("closed")
    await stage.ask("Ping")


async def after_idle(stage: Stage) -> None:
    await stage.ask("Ping")
    await stage.crate.until("closed")
    await asyncio.sleep(0.2)
    await stage.ask("Ping")


async def three_at_once(stage: Stage) -> None:
    await stage.together(*({"Text": str(number)} for number in range(3)))
    stage.ours.saw.sort()


async def banned(stage: Stage) -> None:
    stage.ours.network.firewall.ban(stage.crate.peer)
    await stage.ask("Ping")


async def both_ways(stage: Stage) -> None:
    await stage.ask({"Text": "first"})
    stage.answers.append(await stage.ours.request(stage.crate.address, {"Text": "back"}))
    stage.ours.saw.append(f"answer {stage.answers.pop()}")


SCENARIOS = [
    Scenario("allow", "crate", asks("Ping"), PONG, PING, ours=Ours(Rule.ALLOW), recorded=True),
    Scenario("default reject, allow for it", "crate", asks("Ping"), PONG, PING, ours=Ours(Rule.REJECT, Rule.ALLOW)),
    Scenario("reject", "crate", asks("Ping"), "UnsupportedProtocols", "nothing", ours=Ours(Rule.REJECT), recorded=True),
    Scenario("default allow, reject for it", "crate", asks("Ping"), "UnsupportedProtocols", "nothing", ours=Ours(Rule.ALLOW, Rule.REJECT)),
    Scenario("no rule", "crate", asks("Ping"), "UnsupportedProtocols", "nothing", ours=Ours()),
    Scenario("predicate true", "crate", asks("Ping"), PONG, PING, ours=Ours(Rule.only(["Ping"]))),
    Scenario("predicate false", "crate", asks({"Text": "hi"}), "ConnectionClosed", "nothing", "?", ours=Ours(Rule.only(["Ping"])), recorded=True),
    Scenario("ask: yes", "crate", asks("Ping"), PONG, f"asked about Ping, {PING}", ours=asking(says(True)), recorded=True),
    Scenario("ask: no", "crate", asks("Ping"), "ConnectionClosed", "asked about Ping", "?", ours=asking(says(False)), recorded=True),
    Scenario("ask: the hook breaks", "crate", asks("Ping"), "ConnectionClosed", "asked about Ping", "?", ours=asking(breaks)),
    Scenario("ask: never", "crate", asks("Ping"), "ConnectionClosed", "asked about Ping", "?", ours=asking(never)),
    Scenario("ask: a rule, allow", "crate", asks("Ping", "Ping"), f"{PONG}, {PONG}", f"asked about Ping, {PING}, {PING}", ours=asking(says(Rule.ALLOW))),
    Scenario("ask: a rule, reject", "crate", asks("Ping", "Ping"), "?", "asked about Ping", "?", ours=asking(says(Rule.REJECT))),
    Scenario("the handler refuses", "crate", asks("Ping"), "ConnectionClosed", PING, "?", ours=Ours(Rule.ALLOW, handle=refuses)),
    Scenario("the handler breaks", "crate", asks("Ping"), "ConnectionClosed", f"{PING}, RequestFailed (RuntimeError)", "?", ours=Ours(Rule.ALLOW, handle=fails), recorded=True),
    Scenario("the handler is late for us", "crate", asks({"Text": "wait"}), "?", "?", "?", ours=Ours(Rule.ALLOW, handle=hangs, timeouts=Timeouts(request=1.0))),
    Scenario("the handler is late for it", "crate", asks({"Text": "wait"}, "Ping"), "?", "?", "?", crate=Crate(request_timeout=1), ours=Ours(Rule.ALLOW, handle=waits)),
    Scenario("refused while another is in flight", "crate", refused_in_flight, "?", "?", "?", ours=Ours(Rule.only(["Text"]), handle=waits), recorded=True),
    Scenario("again after a refusal", "crate", after_refusal, "?", "?", "?", ours=Ours(Rule.only(["Text"]))),
    Scenario("1 MiB each way", "crate", a_mebibyte, "?", "?", ours=Ours(Rule.ALLOW, protocol=ROOMY)),
    Scenario("1 MiB of bytes, our default limit", "crate", too_long, "?", "?", "?", ours=Ours(Rule.ALLOW)),
    Scenario("every shape of message", "crate", every_shape, "the same", "?", ours=Ours(Rule.ALLOW, protocol=TYPED), recorded=True),
    Scenario("request of a variant that we do not know", "crate", asks({"Text": "hi"}, "Ping"), "?", "?", "?", ours=Ours(Rule.ALLOW, protocol=FEW), recorded=True),
    Scenario("again after it dropped the connection", "crate", after_idle, "?", "?", "?", crate=Crate(request_timeout=1, connection_timeout=1), ours=Ours(Rule.ALLOW)),
    Scenario("three at once while not connected", "crate", three_at_once, "?", "?", "?", ours=Ours(Rule.ALLOW)),
    Scenario("we ask back on its connection", "crate", both_ways, "?", "?", ours=Ours(Rule.ALLOW)),
    Scenario("a ban", "crate", banned, "?", "nothing", "?", ours=Ours(Rule.ALLOW)),
    Scenario("as shipped, with Nagle's algorithm", "crate", asks("Ping", "Ping"), f"{PONG}, {PONG}", f"{PING}, {PING}", crate=Crate(nodelay=False), ours=Ours(Rule.ALLOW)),
]
