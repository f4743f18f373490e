"""We ask, the crate answers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from stronghold_p2p import Timeouts
from tests.conformance.messages import EVERY_SHAPE, FEW, OTHER_ID_FIRST, ROOMY, TYPED, Ping
from tests.conformance.scenario import MIB, Crate, Ours, Scenario, Stage, after_idle, asks, mebibytes, three_at_once
from tests.support.driven import Line

PING, PONG = 'request "Ping"', '"Pong"'
TWO_PINGS, PONGS, TWICE = f"{PING}, {PING}", f"{PONG}, {PONG}", asks("Ping", "Ping")
ASKED, QUERIED = "asked about Ping", "asked for a rule"
DENIED, UNRULED = f"{ASKED}, NotPermitted", f"{QUERIED}, NotPermitted"
LOST = f"ConnectionClosed, {PONG}"
WAIT, TIMED_OUT, UNSUPPORTED = 'request {"Text": "wait"}', "DeadlineExceeded (wait)", "UnsupportedProtocol"
SENT_MIB, GOT_MIB = "request Text of 1,048,576, request Bytes of 1,048,576", "Text of 1,048,576, Bytes of 1,048,576"
LATE = (DENIED, f"{ASKED}, Timeout, NotPermitted", f"{ASKED}, NotPermitted, Timeout")
EACH = f"{len(EVERY_SHAPE)} requests, each answered by itself"
THREE = '{"Text": "0"}, {"Text": "1"}, {"Text": "2"}'
THREE_ASKED = 'request {"Text": "0"}, request {"Text": "1"}, request {"Text": "2"}'
TWO_WAIT: Final = f'{WAIT}, request {{"Text": "meanwhile"}}'
ONE_AFTER_ANOTHER: Final = "2 connections, 1 dropped by the crate"

YES: Final[Line] = {"cmd": "approve", "allow": True}
NO: Final[Line] = {"cmd": "approve", "allow": False}
NO_ANSWER: Final[Line] = {"cmd": "approve"}
MANUAL, AS_SHIPPED = Crate(manual=True), Crate(nodelay=False)
IMPATIENT = Crate(request_timeout=1, connection_timeout=1)
SLOW = 20  # seconds: above the ten of its firewall, which cannot be set (D5)


def asking(request_timeout: int = 10, **reactions: Line) -> Crate:
    return Crate("ask", reactions=reactions, request_timeout=request_timeout)


def querying(answer: str | None, **reactions: Line) -> Crate:
    return Crate(None, reactions={"rule_query": {"cmd": "decide", "rule": answer}, **reactions})


def answering(message: object = None) -> Crate:
    return Crate(manual=True, reactions={"request": {"cmd": "answer", "message": message}})


def within(seconds: float) -> Ours:
    return Ours(timeouts=Timeouts(request=seconds))


async def every_shape(stage: Stage) -> None:
    for message in EVERY_SHAPE:
        answer = await stage.ours.network.request(stage.crate.address, message, TYPED)
        assert answer == message or type(answer).__name__ == "Pong", answer
    await stage.crate.until("request", len(EVERY_SHAPE))
    stage.noted = EACH, "the same back"


async def refused_in_flight(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.ask({"Text": "wait"}))
    held = await stage.crate.until("request")
    await stage.ask("Ping")
    await stage.crate.call("answer", number=held["number"], message={"Text": "here"})
    await waiting


async def late_answer(stage: Stage) -> None:
    await stage.ask({"Text": "wait"}, timeout=1.0)
    held = await stage.crate.until("request")
    await stage.crate.call("answer", number=held["number"], message="Pong")
    await stage.crate.until("closed")
    await stage.crate.call("manual", on=False)
    await stage.ask("Ping")


async def late_answer_meanwhile(stage: Stage) -> None:
    await stage.ask({"Text": "wait"}, timeout=1.0)
    held = await stage.crate.until("request")
    asking_on = asyncio.create_task(stage.ask({"Text": "meanwhile"}))
    await stage.crate.until("request", 2)
    await stage.crate.call("answer", number=held["number"], message="Pong")
    await asking_on
    await stage.crate.call("manual", on=False)
    await stage.ask("Ping")


async def reject_while_open(stage: Stage) -> None:
    await stage.ask("Ping")
    await stage.crate.call("rule", peer=str(stage.ours.network.peer_id), rule="reject")
    await stage.ask("Ping")
    await stage.crate.call("rule", peer=str(stage.ours.network.peer_id), rule="allow")
    await stage.ask("Ping")


async def banned(stage: Stage) -> None:
    await stage.ask("Ping")
    await stage.crate.call("ban", peer=str(stage.ours.network.peer_id))
    await stage.crate.until("closed")
    await stage.ask("Ping")


PATIENT = within(15)
TOO_LONG = asks({"Bytes": [200] * MIB})
played, recorded = partial(Scenario, "ours"), partial(Scenario, "ours", recorded=True)

RULES: Final = (
    recorded("allow", PING, PONG),
    played("default reject, allow for us", PING, PONG, crate=Crate("reject", "allow")),
    recorded("reject", "nothing", UNSUPPORTED, why="RST", crate=Crate("reject")),
    played("default allow, reject for us", "nothing", UNSUPPORTED, why="RST", crate=Crate("allow", "reject")),
    recorded("rules that change", TWO_PINGS, f"{PONG}, UnsupportedProtocol, {PONG}", play=reject_while_open, why="RST"),
    played("predicate true", PING, PONG, crate=Crate("only:Ping")),
    recorded("predicate false", "NotPermitted", "Rejected", play=asks({"Text": "hi"}), crate=Crate("only:Ping")),
    recorded("ask: yes", f"{ASKED}, {PING}", PONG, crate=asking(approval=YES)),
    recorded("ask: no", DENIED, "Rejected", crate=asking(approval=NO)),
    played("ask: dropped", DENIED, "Rejected", crate=asking(approval=NO_ANSWER)),
    played("ask: never", DENIED, "Rejected", why="D5", crate=asking(request_timeout=SLOW), ours=PATIENT),
    played("ask: never, with its defaults", LATE, ("Rejected", TIMED_OUT), why="chance", crate=asking(), ours=PATIENT),
    played("ask: never, our deadline first", ASKED, TIMED_OUT, crate=asking(), ours=within(2)),
    played("rule query: allow", f"{QUERIED}, {PING}", PONG, crate=querying("allow")),
    played("rule query: ask, then yes", f"{QUERIED}, {ASKED}, {PING}", PONG, crate=querying("ask", approval=YES)),
    played("rule query: predicate, false", UNRULED, "Rejected", crate=querying("only:Text")),
    played("rule query: reject", (QUERIED, UNRULED), (UNSUPPORTED, "Rejected"), why="chance", crate=querying("reject")),
    played(
        "rule query: dropped", (UNRULED, f"{QUERIED}, {UNRULED}"), "Rejected", why="asks twice", crate=querying(None)
    ),
    played("rule query: never", UNRULED, "Rejected", why="D5", crate=Crate(None, request_timeout=SLOW), ours=PATIENT),
)

OTHERS: Final = (
    recorded("the application drops the request", PING, "Rejected", crate=answering()),
    recorded(
        "refused while another is in flight",
        f"{WAIT}, NotPermitted",
        'Rejected, {"Text": "here"}',
        play=refused_in_flight,
        crate=Crate("only:Text", manual=True),
    ),
    recorded(
        "late answer",
        (f"{WAIT}, ConnectionClosed, {PING}", f"{WAIT}, {PING}"),
        f"{TIMED_OUT}, {PONG}",
        ONE_AFTER_ANOTHER,
        "D14, chance",
        play=late_answer,
        crate=MANUAL,
    ),
    played(
        "late answer while another is in flight",
        (f"{TWO_WAIT}, ConnectionClosed, ConnectionClosed, {PING}", f"{TWO_WAIT}, ConnectionClosed, {PING}"),
        f"{TIMED_OUT}, ConnectionClosed, {PONG}",
        ONE_AFTER_ANOTHER,
        "D14, chance",
        play=late_answer_meanwhile,
        crate=MANUAL,
    ),
    played("1 MiB each way, as text and as bytes", SENT_MIB, GOT_MIB, play=mebibytes, ours=Ours(protocol=ROOMY)),
    played(
        "1 MiB of bytes, our default limit",
        "nothing",
        "LimitExceeded (max_request)",
        "none was made",
        "D15",
        play=TOO_LONG,
    ),
    recorded("every shape of message", EACH, "the same back", play=every_shape, ours=Ours(protocol=TYPED)),
    recorded(
        "answer of a variant that we do not know",
        PING,
        "Malformed (response)",
        play=asks(Ping()),
        crate=answering({"Text": "hi"}),
        ours=Ours(protocol=FEW),
    ),
    recorded(
        "request of a variant that it does not know",
        PING,
        LOST,
        ONE_AFTER_ANOTHER,
        "D14",
        play=asks("Nonsense", "Ping"),
    ),
    recorded("the id of its successor first", PING, PONG, why="RST", ours=Ours(protocol=OTHER_ID_FIRST)),
    played(
        "again after it dropped an idle connection",
        TWO_PINGS,
        PONGS,
        ONE_AFTER_ANOTHER,
        play=after_idle,
        crate=IMPATIENT,
    ),
    played("three at once while not connected", THREE_ASKED, THREE, play=three_at_once),
    played("a ban", PING, f"{PONG}, ConnectionClosed", "2 connections, 2 dropped by the crate", play=banned),
    played("as shipped, with Nagle's algorithm", TWO_PINGS, PONGS, play=TWICE, crate=AS_SHIPPED),
)

SCENARIOS: Final = (*RULES, *OTHERS)
