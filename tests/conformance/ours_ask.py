"""We ask, the crate answers."""

from __future__ import annotations

import asyncio

from stronghold_p2p import Timeouts
from tests.conformance.messages import EVERY_SHAPE, FEW, ROOMY, TYPED
from tests.conformance.scenario import Crate, Ours, Play, Scenario, Stage, asks

PONG = '"Pong"'
LONG = Timeouts(request=15.0)
YES, NO, DROPPED = {"cmd": "approve", "allow": True}, {"cmd": "approve", "allow": False}, {"cmd": "approve"}
MIB = 1 << 20


def decide(rule: str | None) -> dict[str, str | None]:
    return {"cmd": "decide", "rule": rule}


def asked(rule: str | None, **reactions: dict[str, object]) -> Crate:
    return Crate(rule, reactions=reactions)


async def every_shape(stage: Stage) -> None:
    for message in EVERY_SHAPE:
        answer = await stage.ours.network.request(stage.crate.address, message, TYPED)
        same = answer == message or type(answer).__name__ == "Pong"
        stage.answers.append("the same" if same else repr(answer))
    stage.answers = sorted(set(stage.answers))
    stage.crate.events = [line for line in stage.crate.events if line["event"] != "request"]


async def a_mebibyte(stage: Stage) -> None:
    await stage.ask({"Text": "x" * MIB})
    await stage.ask({"Bytes": list(bytes(range(256))) * (MIB // 256)})


async def refused_in_flight(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.ask({"Text": "wait"}))
    held = await stage.crate.until("request")
    await stage.ask("Ping")
    await stage.crate.call("answer", number=held["number"], message={"Text": "here"})
    await waiting


def late(*, meanwhile: bool) -> Play:
    async def play(stage: Stage) -> None:
        await stage.ask({"Text": "wait"}, timeout=1.0)
        held = await stage.crate.until("request")
        if meanwhile:
            asking = asyncio.create_task(stage.ask({"Text": "meanwhile"}))
            await stage.crate.until("request", 2)
            await stage.crate.call("answer", number=held["number"], message="Pong")
            await asyncio.sleep(0.5)
            second = await stage.crate.until("request", 2)
            await stage.crate.call("answer", number=second["number"], message="Pong")
            await asking
        else:
            await stage.crate.call("answer", number=held["number"], message="Pong")
        await asyncio.sleep(0.5)
        await stage.crate.call("manual", on=False)
        await stage.ask("Ping")

    return play


async def after_idle(stage: Stage) -> None:
    await stage.ask("Ping")
    await stage.crate.until("closed")
    await asyncio.sleep(0.2)
    await stage.ask("Ping")


async def three_at_once(stage: Stage) -> None:
    await stage.together(*({"Text": str(number)} for number in range(3)))
    stage.crate.events.sort(key=lambda line: str(line.get("message", "")))


async def after_nonsense(stage: Stage) -> None:
    await stage.ask("Nonsense")
    await stage.ask("Ping")


SCENARIOS = [
    Scenario("allow", "ours", asks("Ping"), 'request "Ping"', PONG, recorded=True),
    Scenario("default reject, allow for us", "ours", asks("Ping"), 'request "Ping"', PONG, crate=Crate("reject", "allow")),
    Scenario("reject", "ours", asks("Ping"), "nothing", "UnsupportedProtocol", crate=Crate("reject"), recorded=True),
    Scenario("default allow, reject for us", "ours", asks("Ping"), "nothing", "UnsupportedProtocol", crate=Crate("allow", "reject")),
    Scenario("predicate true", "ours", asks("Ping"), 'request "Ping"', PONG, crate=Crate("only:Ping")),
    Scenario("predicate false", "ours", asks({"Text": "hi"}), "NotPermitted", "Rejected", crate=Crate("only:Ping"), recorded=True),
    Scenario("ask: yes", "ours", asks("Ping"), 'asked about Ping, request "Ping"', PONG, crate=asked("ask", approval=YES), recorded=True),
    Scenario("ask: no", "ours", asks("Ping"), "asked about Ping, NotPermitted", "Rejected", crate=asked("ask", approval=NO), recorded=True),
    Scenario("ask: dropped", "ours", asks("Ping"), "asked about Ping, NotPermitted", "Rejected", crate=asked("ask", approval=DROPPED)),
    Scenario("ask: never", "ours", asks("Ping"), "?", "?", crate=asked("ask"), ours=Ours(timeouts=LONG), recorded=True),
    Scenario("ask: never, our deadline first", "ours", asks("Ping"), "?", "?", crate=asked("ask"), ours=Ours(timeouts=Timeouts(request=2))),
    Scenario("rule query: allow", "ours", asks("Ping"), 'asked for a rule, request "Ping"', PONG, crate=asked(None, rule_query=decide("allow"))),
    Scenario("rule query: ask, then yes", "ours", asks("Ping"), 'asked for a rule, asked about Ping, request "Ping"', PONG, crate=asked(None, rule_query=decide("ask"), approval=YES)),
    Scenario("rule query: reject", "ours", asks("Ping"), "asked for a rule", "UnsupportedProtocol", crate=asked(None, rule_query=decide("reject"))),
    Scenario("rule query: dropped", "ours", asks("Ping"), "?", "Rejected", crate=asked(None, rule_query=decide(None))),
    Scenario("rule query: never", "ours", asks("Ping"), "?", "?", crate=asked(None), ours=Ours(timeouts=LONG)),
    Scenario("the application drops the request", "ours", asks("Ping"), 'request "Ping"', "Rejected", crate=Crate(manual=True, reactions={"request": {"cmd": "answer"}}), recorded=True),
    Scenario("refused while another is in flight", "ours", refused_in_flight, "?", "?", crate=Crate("only:Text", manual=True), recorded=True),
    Scenario("late answer, quiet meanwhile", "ours", late(meanwhile=False), "?", "?", crate=Crate(manual=True)),
    Scenario("late answer, not quiet meanwhile", "ours", late(meanwhile=True), "?", "?", crate=Crate(manual=True)),
    Scenario("1 MiB each way", "ours", a_mebibyte, "?", "?", ours=Ours(protocol=ROOMY)),
    Scenario("1 MiB of bytes, our default limit", "ours", asks({"Bytes": [200] * MIB}), "nothing", "?"),
    Scenario("every shape of message", "ours", every_shape, "nothing", "the same", ours=Ours(protocol=TYPED), recorded=True),
    Scenario("answer of a variant that we do not know", "ours", asks("Ping"), "?", "?", crate=Crate(manual=True, reactions={"request": {"cmd": "answer", "message": {"Text": "hi"}}}), ours=Ours(protocol=FEW), recorded=True),
    Scenario("request of a variant that it does not know", "ours", after_nonsense, "?", "?", recorded=True),
    Scenario("again after it dropped the connection", "ours", after_idle, "?", "?", crate=Crate(request_timeout=1, connection_timeout=1)),
    Scenario("three at once while not connected", "ours", three_at_once, "?", "?"),
    Scenario("as shipped, with Nagle's algorithm", "ours", asks("Ping", "Ping"), "?", "?", crate=Crate(nodelay=False)),
]
