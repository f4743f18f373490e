"""The crate asks, we answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from stronghold_p2p import Attempt, Rejected, Rule, Timeouts
from tests.conformance.messages import FEW, ROOMY, SHAPES_IN_JSON, TYPED, Pong
from tests.conformance.ours_ask import ASKED, ONE_AFTER_ANOTHER, PING, PONG, QUERIED
from tests.conformance.scenario import (
    DROPPED,
    MIB,
    Ask,
    Crate,
    Ours,
    Query,
    Scenario,
    Stage,
    after_idle,
    asks,
    echo,
    mebibytes,
    three_at_once,
)

CLOSED, UNSUPPORTED = "ConnectionClosed", "UnsupportedProtocols"
WAIT = 'request {"Text": "wait"}'


def says(answer: bool | Rule) -> Ask:
    async def ask(_attempt: Attempt) -> bool | Rule:
        return answer

    return ask


def gives(rule: Rule | None) -> Query:
    async def query(_attempt: Attempt) -> Rule | None:
        return rule

    return query


async def breaks(_attempt: Attempt) -> bool | Rule:
    raise RuntimeError("the hook is broken, as it should be here")


async def never(_attempt: Attempt) -> bool | Rule:
    await asyncio.Event().wait()
    return True


async def refuses(_message: Any) -> Any:
    raise Rejected


async def fails(_message: Any) -> Any:
    raise RuntimeError("the handler is broken, as it should be here")


async def pong(_message: Any) -> Any:
    return Pong()


async def waits(message: Any) -> Any:
    if message != "Ping":
        await asyncio.sleep(6.0)
    return await echo(message)


async def hangs(_message: Any) -> Any:
    await asyncio.Event().wait()


def asking(hook: Ask) -> Ours:
    return Ours(Rule.ASK, ask=hook)


def allowing(handle: Callable[[Any], Awaitable[Any]], **timeouts: float) -> Ours:
    return Ours(Rule.ALLOW, handle=handle, timeouts=Timeouts(**timeouts))


async def every_shape(stage: Stage) -> None:
    for message in SHAPES_IN_JSON:
        answer = await stage.crate.call("request", peer=str(stage.ours.network.peer_id), message=message)
        assert answer in (message, "Pong"), answer
    kinds = [text.removeprefix("request ") for text in stage.ours.saw]
    stage.noted = "the same back", ", ".join(dict.fromkeys(kinds))


async def refused_in_flight(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.crate_asks({"Text": "wait"}))
    while not stage.ours.saw:
        await asyncio.sleep(0.01)
    await stage.ask("Ping")
    stage.answers.append(await waiting)


async def allowed_after_a_refusal(stage: Stage) -> None:
    await stage.ask("Ping")
    stage.ours.network.firewall.set(Rule.ALLOW)
    await stage.crate.until("closed")
    await stage.ask("Ping")


async def reject_while_open(stage: Stage) -> None:
    await stage.ask("Ping")
    stage.ours.network.firewall.set(Rule.REJECT)
    await stage.ask("Ping")
    stage.ours.network.firewall.set(Rule.ALLOW)
    await stage.ask("Ping")


async def banned(stage: Stage) -> None:
    stage.ours.network.firewall.ban(stage.crate.peer)
    await stage.ask("Ping")


async def connects_first(stage: Stage) -> None:
    await stage.crate.call("connect", peer=str(stage.ours.network.peer_id))
    await stage.ask("Ping")


async def disconnected_in_flight(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.ask({"Text": "wait"}))
    while not stage.ours.saw:
        await asyncio.sleep(0.01)
    await stage.ours.network.disconnect(stage.crate.peer)
    await waiting
    await stage.ask("Ping")


async def nonsense(message: Any) -> Any:
    return {"Nonsense": 1} if message != "Ping" else await echo(message)


async def both_ways(stage: Stage) -> None:
    await stage.ask({"Text": "there"})
    stage.ours.saw.append(f"answer {await stage.ours.request(stage.crate.address, {'Text': 'back'})}")


RULES: Final = (
    Scenario("allow", "crate", asks("Ping"), PONG, PING, ours=Ours(Rule.ALLOW), recorded=True),
    Scenario("default reject, allow for it", "crate", asks("Ping"), PONG, PING, ours=Ours(Rule.REJECT, Rule.ALLOW)),
    Scenario("reject", "crate", asks("Ping"), UNSUPPORTED, "nothing", ours=Ours(Rule.REJECT), recorded=True),
    Scenario(
        "default allow, reject for it",
        "crate",
        asks("Ping"),
        UNSUPPORTED,
        "nothing",
        ours=Ours(Rule.ALLOW, Rule.REJECT),
    ),
    Scenario("no rule", "crate", asks("Ping"), UNSUPPORTED, "nothing"),
    Scenario(
        "rules that change",
        "crate",
        reject_while_open,
        f"{PONG}, {UNSUPPORTED}, {PONG}",
        f"{PING}, {PING}",
        ours=Ours(Rule.ALLOW),
        recorded=True,
    ),
    Scenario("predicate true", "crate", asks("Ping"), PONG, PING, ours=Ours(Rule.only(["Ping"])), recorded=True),
    Scenario(
        "predicate false",
        "crate",
        asks({"Text": "hi"}),
        CLOSED,
        "nothing",
        DROPPED,
        "D14",
        ours=Ours(Rule.only(["Ping"])),
        recorded=True,
    ),
    Scenario("ask: yes", "crate", asks("Ping"), PONG, f"{ASKED}, {PING}", ours=asking(says(True)), recorded=True),
    Scenario("ask: no", "crate", asks("Ping"), CLOSED, ASKED, DROPPED, "D14", ours=asking(says(False)), recorded=True),
    Scenario("ask: the hook breaks", "crate", asks("Ping"), CLOSED, ASKED, DROPPED, "D14", ours=asking(breaks)),
    Scenario(
        "ask: never",
        "crate",
        asks("Ping"),
        CLOSED,
        ASKED,
        DROPPED,
        "D14",
        crate=Crate(request_timeout=20),
        ours=asking(never),
        recorded=True,
    ),
    Scenario(
        "ask: a rule, allow",
        "crate",
        asks("Ping", "Ping"),
        f"{PONG}, {PONG}",
        f"{ASKED}, {PING}, {PING}",
        ours=asking(says(Rule.ALLOW)),
    ),
    Scenario(
        "rule query: allow",
        "crate",
        asks("Ping", "Ping"),
        f"{PONG}, {PONG}",
        f"{QUERIED}, {PING}, {PING}",
        ours=Ours(no_rule=gives(Rule.ALLOW)),
        recorded=True,
    ),
    Scenario(
        "rule query: reject",
        "crate",
        asks("Ping", "Ping"),
        f"{CLOSED}, {UNSUPPORTED}",
        QUERIED,
        ONE_AFTER_ANOTHER,
        "D14",
        ours=Ours(no_rule=gives(Rule.REJECT)),
    ),
    Scenario(
        "rule query: no answer",
        "crate",
        asks("Ping"),
        CLOSED,
        QUERIED,
        DROPPED,
        "D14",
        ours=Ours(no_rule=gives(None)),
    ),
    Scenario(
        "ask: a rule, reject",
        "crate",
        asks("Ping", "Ping"),
        f"{CLOSED}, {UNSUPPORTED}",
        ASKED,
        ONE_AFTER_ANOTHER,
        "D14",
        ours=asking(says(Rule.REJECT)),
    ),
)

OTHERS: Final = (
    Scenario("the handler refuses", "crate", asks("Ping"), CLOSED, PING, DROPPED, "D14", ours=allowing(refuses)),
    Scenario(
        "the handler breaks",
        "crate",
        asks("Ping"),
        CLOSED,
        f"{PING}, RequestFailed (RuntimeError)",
        DROPPED,
        "D14",
        ours=allowing(fails),
    ),
    Scenario(
        "the handler is late for us",
        "crate",
        asks({"Text": "wait"}),
        CLOSED,
        f"{WAIT}, RequestFailed (DeadlineExceeded)",
        DROPPED,
        "D14",
        ours=allowing(hangs, request=1.0),
        recorded=True,
    ),
    Scenario(
        "the handler is late for it",
        "crate",
        asks({"Text": "wait"}, "Ping"),
        f"Timeout, {PONG}",
        f"{WAIT}, RequestFailed (StreamReset), {PING}",
        crate=Crate(request_timeout=1),
        ours=allowing(waits),
        recorded=True,
    ),
    Scenario(
        "refused while another is in flight",
        "crate",
        refused_in_flight,
        f"{CLOSED}, {CLOSED}",
        f"{WAIT}, RequestFailed (ConnectionClosed)",
        DROPPED,
        "D14",
        ours=Ours(Rule.only(["Text"]), handle=waits),
        recorded=True,
    ),
    Scenario(
        "again after a refusal",
        "crate",
        allowed_after_a_refusal,
        f"{CLOSED}, {PONG}",
        PING,
        ONE_AFTER_ANOTHER,
        "D14",
        ours=Ours(Rule.only(["Text"])),
    ),
    Scenario(
        "1 MiB each way, as text and as bytes",
        "crate",
        mebibytes,
        "Text of 1,048,576, Bytes of 1,048,576",
        "request Text of 1,048,576, request Bytes of 1,048,576",
        ours=Ours(Rule.ALLOW, protocol=ROOMY),
    ),
    Scenario(
        "1 MiB of bytes, our default limit",
        "crate",
        asks({"Bytes": [200] * MIB}, "Ping"),
        f"{CLOSED}, {PONG}",
        PING,
        ONE_AFTER_ANOTHER,
        "D14, D15",
        ours=Ours(Rule.ALLOW),
    ),
    Scenario(
        "every shape of message",
        "crate",
        every_shape,
        "the same back",
        "Ping, Text, Bytes, Pair, Named, Maybe, Nested, Outcome",
        ours=Ours(Rule.ALLOW, protocol=TYPED),
        recorded=True,
    ),
    Scenario(
        "request of a variant that we do not know",
        "crate",
        asks({"Text": "hi"}, "Ping"),
        f"{CLOSED}, {PONG}",
        "request Ping",
        ONE_AFTER_ANOTHER,
        "D14",
        ours=Ours(Rule.ALLOW, handle=pong, protocol=FEW),
        recorded=True,
    ),
    Scenario(
        "answer of a variant that it does not know",
        "crate",
        asks({"Text": "hi"}, "Ping"),
        f"{CLOSED}, {PONG}",
        f'request {{"Text": "hi"}}, {PING}',
        ONE_AFTER_ANOTHER,
        "D14",
        ours=allowing(nonsense),
        recorded=True,
    ),
    Scenario("it connects first", "crate", connects_first, PONG, PING, ours=Ours(Rule.ALLOW)),
    Scenario(
        "we disconnect while one is in flight",
        "crate",
        disconnected_in_flight,
        f"{CLOSED}, {PONG}",
        f"{WAIT}, RequestFailed (ConnectionClosed), {PING}",
        "2 connections, 1 ended by us",
        ours=allowing(waits),
    ),
    Scenario(
        "again after it dropped an idle connection",
        "crate",
        after_idle,
        f"{PONG}, {PONG}",
        f"{PING}, {PING}",
        ONE_AFTER_ANOTHER,
        crate=Crate(request_timeout=1, connection_timeout=1),
        ours=Ours(Rule.ALLOW),
    ),
    Scenario(
        "three at once while not connected",
        "crate",
        three_at_once,
        '{"Text": "0"}, {"Text": "1"}, {"Text": "2"}',
        'request {"Text": "0"}, request {"Text": "1"}, request {"Text": "2"}',
        ("3 connections, which stay", "2 connections, which stay"),
        "chance",
        ours=Ours(Rule.ALLOW),
    ),
    Scenario(
        "we ask back on its connection",
        "crate",
        both_ways,
        '{"Text": "there"}',
        'request {"Text": "there"}, answer {"Text": "back"}',
        ours=Ours(Rule.ALLOW),
    ),
    Scenario("a ban", "crate", banned, (CLOSED, "DialFailure"), "nothing", "none was made", ours=Ours(Rule.ALLOW)),
    Scenario(
        "as shipped, with Nagle's algorithm",
        "crate",
        asks("Ping", "Ping"),
        f"{PONG}, {PONG}",
        f"{PING}, {PING}",
        crate=Crate(nodelay=False),
        ours=Ours(Rule.ALLOW),
    ),
)

SCENARIOS: Final = (*RULES, *OTHERS)
