"""We ask, the crate answers."""

from __future__ import annotations

import asyncio
from typing import Final

from stronghold_p2p import Timeouts
from tests.conformance.crate_peer import Line
from tests.conformance.messages import EVERY_SHAPE, FEW, OTHER_ID_FIRST, ROOMY, TYPED, Ping
from tests.conformance.scenario import (
    MIB,
    Crate,
    Ours,
    Scenario,
    Stage,
    after_idle,
    asks,
    mebibytes,
    three_at_once,
)

PING, PONG = 'request "Ping"', '"Pong"'
ASKED, QUERIED = "asked about Ping", "asked for a rule"
TWO_WAIT: Final = 'request {"Text": "wait"}, request {"Text": "meanwhile"}'
ONE_AFTER_ANOTHER: Final = "2 connections, 1 dropped by the crate"

YES: Final[Line] = {"cmd": "approve", "allow": True}
NO: Final[Line] = {"cmd": "approve", "allow": False}
NO_ANSWER: Final[Line] = {"cmd": "approve"}
PATIENT = Timeouts(request=15.0)
SLOW = 20  # seconds: above the ten of its firewall, which cannot be set (D5)


def asking(request_timeout: int = 10, **reactions: Line) -> Crate:
    return Crate("ask", reactions=reactions, request_timeout=request_timeout)


def querying(answer: str | None, **reactions: Line) -> Crate:
    return Crate(None, reactions={"rule_query": {"cmd": "decide", "rule": answer}, **reactions})


def answering(message: object = None) -> Crate:
    return Crate(manual=True, reactions={"request": {"cmd": "answer", "message": message}})


async def every_shape(stage: Stage) -> None:
    for message in EVERY_SHAPE:
        answer = await stage.ours.network.request(stage.crate.address, message, TYPED)
        assert answer == message or type(answer).__name__ == "Pong", answer
    await stage.crate.until("request", len(EVERY_SHAPE))
    stage.noted = f"{len(EVERY_SHAPE)} requests, each answered by itself", "the same back"


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


RULES: Final = (
    Scenario("allow", "ours", asks("Ping"), PING, PONG, recorded=True),
    Scenario("default reject, allow for us", "ours", asks("Ping"), PING, PONG, crate=Crate("reject", "allow")),
    Scenario(
        "reject",
        "ours",
        asks("Ping"),
        "nothing",
        "UnsupportedProtocol",
        why="RST",
        crate=Crate("reject"),
        recorded=True,
    ),
    Scenario(
        "default allow, reject for us",
        "ours",
        asks("Ping"),
        "nothing",
        "UnsupportedProtocol",
        why="RST",
        crate=Crate("allow", "reject"),
    ),
    Scenario(
        "rules that change",
        "ours",
        reject_while_open,
        f"{PING}, {PING}",
        f"{PONG}, UnsupportedProtocol, {PONG}",
        why="RST",
        recorded=True,
    ),
    Scenario("predicate true", "ours", asks("Ping"), PING, PONG, crate=Crate("only:Ping")),
    Scenario(
        "predicate false",
        "ours",
        asks({"Text": "hi"}),
        "NotPermitted",
        "Rejected",
        crate=Crate("only:Ping"),
        recorded=True,
    ),
    Scenario("ask: yes", "ours", asks("Ping"), f"{ASKED}, {PING}", PONG, crate=asking(approval=YES), recorded=True),
    Scenario(
        "ask: no",
        "ours",
        asks("Ping"),
        f"{ASKED}, NotPermitted",
        "Rejected",
        crate=asking(approval=NO),
        recorded=True,
    ),
    Scenario(
        "ask: dropped", "ours", asks("Ping"), f"{ASKED}, NotPermitted", "Rejected", crate=asking(approval=NO_ANSWER)
    ),
    Scenario(
        "ask: never",
        "ours",
        asks("Ping"),
        f"{ASKED}, NotPermitted",
        "Rejected",
        why="D5",
        crate=asking(request_timeout=SLOW),
        ours=Ours(timeouts=PATIENT),
    ),
    Scenario(
        "ask: never, with its defaults",
        "ours",
        asks("Ping"),
        (f"{ASKED}, NotPermitted", f"{ASKED}, Timeout, NotPermitted", f"{ASKED}, NotPermitted, Timeout"),
        ("Rejected", "DeadlineExceeded (wait)"),
        why="chance",
        crate=asking(),
        ours=Ours(timeouts=PATIENT),
    ),
    Scenario(
        "ask: never, our deadline first",
        "ours",
        asks("Ping"),
        ASKED,
        "DeadlineExceeded (wait)",
        crate=asking(),
        ours=Ours(timeouts=Timeouts(request=2)),
    ),
    Scenario("rule query: allow", "ours", asks("Ping"), f"{QUERIED}, {PING}", PONG, crate=querying("allow")),
    Scenario(
        "rule query: ask, then yes",
        "ours",
        asks("Ping"),
        f"{QUERIED}, {ASKED}, {PING}",
        PONG,
        crate=querying("ask", approval=YES),
    ),
    Scenario(
        "rule query: predicate, false",
        "ours",
        asks("Ping"),
        f"{QUERIED}, NotPermitted",
        "Rejected",
        crate=querying("only:Text"),
    ),
    Scenario(
        "rule query: reject",
        "ours",
        asks("Ping"),
        (QUERIED, f"{QUERIED}, NotPermitted"),
        ("UnsupportedProtocol", "Rejected"),
        why="chance",
        crate=querying("reject"),
    ),
    Scenario(
        "rule query: dropped",
        "ours",
        asks("Ping"),
        (f"{QUERIED}, NotPermitted", f"{QUERIED}, {QUERIED}, NotPermitted"),
        "Rejected",
        why="asks twice",
        crate=querying(None),
    ),
    Scenario(
        "rule query: never",
        "ours",
        asks("Ping"),
        f"{QUERIED}, NotPermitted",
        "Rejected",
        why="D5",
        crate=Crate(None, request_timeout=SLOW),
        ours=Ours(timeouts=PATIENT),
    ),
)

OTHERS: Final = (
    Scenario(
        "the application drops the request", "ours", asks("Ping"), PING, "Rejected", crate=answering(), recorded=True
    ),
    Scenario(
        "refused while another is in flight",
        "ours",
        refused_in_flight,
        'request {"Text": "wait"}, NotPermitted',
        'Rejected, {"Text": "here"}',
        crate=Crate("only:Text", manual=True),
        recorded=True,
    ),
    Scenario(
        "late answer",
        "ours",
        late_answer,
        (f'request {{"Text": "wait"}}, ConnectionClosed, {PING}', f'request {{"Text": "wait"}}, {PING}'),
        f"DeadlineExceeded (wait), {PONG}",
        ONE_AFTER_ANOTHER,
        "D14, chance",
        crate=Crate(manual=True),
        recorded=True,
    ),
    Scenario(
        "late answer while another is in flight",
        "ours",
        late_answer_meanwhile,
        (f"{TWO_WAIT}, ConnectionClosed, ConnectionClosed, {PING}", f"{TWO_WAIT}, ConnectionClosed, {PING}"),
        f"DeadlineExceeded (wait), ConnectionClosed, {PONG}",
        ONE_AFTER_ANOTHER,
        "D14, chance",
        crate=Crate(manual=True),
    ),
    Scenario(
        "1 MiB each way, as text and as bytes",
        "ours",
        mebibytes,
        "request Text of 1,048,576, request Bytes of 1,048,576",
        "Text of 1,048,576, Bytes of 1,048,576",
        ours=Ours(protocol=ROOMY),
    ),
    Scenario(
        "1 MiB of bytes, our default limit",
        "ours",
        asks({"Bytes": [200] * MIB}),
        "nothing",
        "LimitExceeded (max_request)",
        "none was made",
        "D15",
    ),
    Scenario(
        "every shape of message",
        "ours",
        every_shape,
        f"{len(EVERY_SHAPE)} requests, each answered by itself",
        "the same back",
        ours=Ours(protocol=TYPED),
        recorded=True,
    ),
    Scenario(
        "answer of a variant that we do not know",
        "ours",
        asks(Ping()),
        PING,
        "Malformed (response)",
        crate=answering({"Text": "hi"}),
        ours=Ours(protocol=FEW),
        recorded=True,
    ),
    Scenario(
        "request of a variant that it does not know",
        "ours",
        asks("Nonsense", "Ping"),
        PING,
        f"ConnectionClosed, {PONG}",
        ONE_AFTER_ANOTHER,
        "D14",
        recorded=True,
    ),
    Scenario(
        "the id of its successor first",
        "ours",
        asks("Ping"),
        PING,
        PONG,
        why="RST",
        ours=Ours(protocol=OTHER_ID_FIRST),
        recorded=True,
    ),
    Scenario(
        "again after it dropped an idle connection",
        "ours",
        after_idle,
        f"{PING}, {PING}",
        f"{PONG}, {PONG}",
        ONE_AFTER_ANOTHER,
        crate=Crate(request_timeout=1, connection_timeout=1),
    ),
    Scenario(
        "three at once while not connected",
        "ours",
        three_at_once,
        'request {"Text": "0"}, request {"Text": "1"}, request {"Text": "2"}',
        '{"Text": "0"}, {"Text": "1"}, {"Text": "2"}',
    ),
    Scenario(
        "a ban",
        "ours",
        banned,
        PING,
        f"{PONG}, ConnectionClosed",
        "2 connections, 2 dropped by the crate",
    ),
    Scenario(
        "as shipped, with Nagle's algorithm",
        "ours",
        asks("Ping", "Ping"),
        f"{PING}, {PING}",
        f"{PONG}, {PONG}",
        crate=Crate(nodelay=False),
    ),
)

SCENARIOS: Final = (*RULES, *OTHERS)
