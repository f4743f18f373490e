"""The crate asks, we answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from stronghold_p2p import Attempt, Rejected, Rule, Timeouts
from tests.conformance.messages import EVERY_SHAPE, FEW, ROOMY, TYPED, Pong
from tests.conformance.ours_ask import (
    AS_SHIPPED,
    ASKED,
    GOT_MIB,
    IMPATIENT,
    LOST,
    ONE_AFTER_ANOTHER,
    PING,
    PONG,
    PONGS,
    QUERIED,
    SENT_MIB,
    THREE,
    THREE_ASKED,
    TWICE,
    TWO_PINGS,
    WAIT,
)
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
    for message in (json.loads(TYPED.request.encode(shape)) for shape in EVERY_SHAPE):  # as serde writes them
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


FORGOTTEN: Final = f"{CLOSED}, {UNSUPPORTED}"
LATE: Final = f"{WAIT}, RequestFailed (DeadlineExceeded)"
OFTEN: Final = ("3 connections, which stay", "2 connections, which stay")
DROPS: Final = (DROPPED, "D14")
AGAIN: Final = (ONE_AFTER_ANOTHER, "D14")
ALLOWING: Final = Ours(Rule.ALLOW)

played, recorded = partial(Scenario, "crate"), partial(Scenario, "crate", recorded=True)

RULES: Final = (
    recorded("allow", PONG, PING, ours=ALLOWING),
    played("default reject, allow for it", PONG, PING, ours=Ours(Rule.REJECT, Rule.ALLOW)),
    recorded("reject", UNSUPPORTED, "nothing", ours=Ours(Rule.REJECT)),
    played("default allow, reject for it", UNSUPPORTED, "nothing", ours=Ours(Rule.ALLOW, Rule.REJECT)),
    played("no rule", UNSUPPORTED, "nothing"),
    recorded("rules that change", f"{PONG}, {UNSUPPORTED}, {PONG}", TWO_PINGS, play=reject_while_open, ours=ALLOWING),
    recorded("predicate true", PONG, PING, ours=Ours(Rule.only(["Ping"]))),
    recorded("predicate false", CLOSED, "nothing", *DROPS, play=asks({"Text": "hi"}), ours=Ours(Rule.only(["Ping"]))),
    recorded("ask: yes", PONG, f"{ASKED}, {PING}", ours=asking(says(True))),
    recorded("ask: no", CLOSED, ASKED, *DROPS, ours=asking(says(False))),
    played("ask: the hook breaks", CLOSED, ASKED, *DROPS, ours=asking(breaks)),
    recorded("ask: never", CLOSED, ASKED, *DROPS, crate=Crate(request_timeout=20), ours=asking(never)),
    played("ask: a rule, allow", PONGS, f"{ASKED}, {TWO_PINGS}", play=TWICE, ours=asking(says(Rule.ALLOW))),
    recorded("rule query: allow", PONGS, f"{QUERIED}, {TWO_PINGS}", play=TWICE, ours=Ours(no_rule=gives(Rule.ALLOW))),
    played("rule query: reject", FORGOTTEN, QUERIED, *AGAIN, play=TWICE, ours=Ours(no_rule=gives(Rule.REJECT))),
    played("rule query: no answer", CLOSED, QUERIED, *DROPS, ours=Ours(no_rule=gives(None))),
    played("ask: a rule, reject", FORGOTTEN, ASKED, *AGAIN, play=TWICE, ours=asking(says(Rule.REJECT))),
)

OTHERS: Final = (
    played("the handler refuses", CLOSED, PING, *DROPS, ours=allowing(refuses)),
    played("the handler breaks", CLOSED, f"{PING}, RequestFailed (RuntimeError)", *DROPS, ours=allowing(fails)),
    recorded(
        "the handler is late for us",
        CLOSED,
        LATE,
        *DROPS,
        play=asks({"Text": "wait"}),
        ours=allowing(hangs, request=1.0),
    ),
    recorded(
        "the handler is late for it",
        f"Timeout, {PONG}",
        f"{WAIT}, RequestFailed (StreamReset), {PING}",
        play=asks({"Text": "wait"}, "Ping"),
        crate=Crate(request_timeout=1),
        ours=allowing(waits),
    ),
    recorded(
        "refused while another is in flight",
        f"{CLOSED}, {CLOSED}",
        f"{WAIT}, RequestFailed (ConnectionClosed)",
        *DROPS,
        play=refused_in_flight,
        ours=Ours(Rule.only(["Text"]), handle=waits),
    ),
    played("again after a refusal", LOST, PING, *AGAIN, play=allowed_after_a_refusal, ours=Ours(Rule.only(["Text"]))),
    played(
        "1 MiB each way, as text and as bytes", GOT_MIB, SENT_MIB, play=mebibytes, ours=Ours(Rule.ALLOW, protocol=ROOMY)
    ),
    played(
        "1 MiB of bytes, our default limit",
        LOST,
        PING,
        ONE_AFTER_ANOTHER,
        "D14, D15",
        play=asks({"Bytes": [200] * MIB}, "Ping"),
        ours=ALLOWING,
    ),
    recorded(
        "every shape of message",
        "the same back",
        "Ping, Text, Bytes, Pair, Named, Maybe, Nested, Outcome",
        play=every_shape,
        ours=Ours(Rule.ALLOW, protocol=TYPED),
    ),
    recorded(
        "request of a variant that we do not know",
        LOST,
        "request Ping",
        *AGAIN,
        play=asks({"Text": "hi"}, "Ping"),
        ours=Ours(Rule.ALLOW, handle=pong, protocol=FEW),
    ),
    recorded(
        "answer of a variant that it does not know",
        LOST,
        f'request {{"Text": "hi"}}, {PING}',
        *AGAIN,
        play=asks({"Text": "hi"}, "Ping"),
        ours=allowing(nonsense),
    ),
    played("it connects first", PONG, PING, play=connects_first, ours=ALLOWING),
    played(
        "we disconnect while one is in flight",
        LOST,
        f"{WAIT}, RequestFailed (ConnectionClosed), {PING}",
        "2 connections, 1 ended by us",
        play=disconnected_in_flight,
        ours=allowing(waits),
    ),
    played(
        "again after it dropped an idle connection",
        PONGS,
        TWO_PINGS,
        ONE_AFTER_ANOTHER,
        play=after_idle,
        crate=IMPATIENT,
        ours=ALLOWING,
    ),
    played("three at once while not connected", THREE, THREE_ASKED, OFTEN, "chance", play=three_at_once, ours=ALLOWING),
    played(
        "we ask back on its connection",
        '{"Text": "there"}',
        'request {"Text": "there"}, answer {"Text": "back"}',
        play=both_ways,
        ours=ALLOWING,
    ),
    played("a ban", (CLOSED, "DialFailure"), "nothing", "none was made", play=banned, ours=ALLOWING),
    played("as shipped, with Nagle's algorithm", PONGS, TWO_PINGS, play=TWICE, crate=AS_SHIPPED, ours=ALLOWING),
)

SCENARIOS: Final = (*RULES, *OTHERS)
