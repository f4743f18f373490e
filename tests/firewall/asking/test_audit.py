"""Who is told of decisions, and in which form."""

from __future__ import annotations

import logging
import time

import pytest

from stronghold_p2p.firewall.asking.audit import REFUSALS, Audit
from stronghold_p2p.firewall.entries import Judgement
from stronghold_p2p.firewall.rules import CONNECTION, Attempt, Rule
from stronghold_p2p.identity import PeerId
from tests.firewall.attempts import ALICE, attempt

AUDIT = "stronghold_p2p.audit"
FOUND = Judgement(Rule.ALLOW, "allow@peer")
OPEN = Judgement(Rule.ALLOW, "open", implicit=True)


def test_readers_and_the_log_are_told(caplog: pytest.LogCaptureFixture) -> None:
    audit, told = Audit("alice"), list[tuple[Attempt, Rule]]()

    def reader(asked: Attempt, rule: Rule) -> None:
        told.append((asked, rule))

    assert not audit.wanted
    audit.readers.append(reader)
    assert audit.wanted
    assert audit.tell(attempt(), FOUND, True) is True
    assert audit.tell(attempt(), FOUND, False) is False
    assert audit.tell(attempt(), OPEN, True) is True  # of that nobody is told
    assert audit.record(attempt(), FOUND, True) is True  # the log alone
    audit.readers.remove(reader)
    assert told == [(attempt(), Rule.ALLOW), (attempt(), Rule.REJECT)]
    assert (audit.wanted, caplog.messages) == (False, [])
    caplog.set_level(logging.INFO, AUDIT)
    assert audit.wanted
    audit.tell(attempt(), FOUND, False)
    audit.record(attempt(), FOUND, True)
    audit.record(attempt(), FOUND, True)  # it has a line
    audit.record(attempt(), OPEN, True)
    place = "from=/ip4/10.0.0.1/tcp/4001 rule=allow@peer"
    assert caplog.messages == [
        f"net=alice verdict={verdict} peer={ALICE} protocol=/echo/1.0.0 variant=Ping {place}"
        for verdict in ("reject", "allow")
    ]


def counts(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [message.partition(" rule=allow@peer")[2] for message in caplog.messages]
    caplog.clear()
    return said


def test_a_connection_has_one_line_for_each_protocol_and_verdict_and_then_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    audit, asked = Audit(), attempt()
    for number in range(1_234):
        audit.record(attempt(variant=str(number)), FOUND, False)
    assert counts(caplog) == ["", " count=10", " count=100", " count=1000"]
    audit.record(asked, FOUND, True)
    audit.record(attempt(protocol="/other/1"), FOUND, False)
    audit.record(attempt(address="/ip4/10.0.0.1/tcp/4002"), FOUND, False)
    audit.record(attempt(direction="out"), FOUND, False)
    assert counts(caplog) == [""] * 4
    audit.over(asked.peer, asked.address)
    audit.over(asked.peer, asked.address)
    assert counts(caplog) == [" count=1234"]
    for _ in range(2):
        audit.record(attempt(protocol=CONNECTION), FOUND, False)  # each is a connection of its own
    assert counts(caplog) == ["", ""]


def test_refusals_of_all_do_not_fill_the_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    audit = Audit()
    for port in range(2 * REFUSALS):
        audit.record(attempt(address=f"/ip4/10.0.0.1/tcp/{port + 1}"), FOUND, False)
        audit.record(attempt(address=f"/ip4/10.0.0.2/tcp/{port + 1}"), FOUND, True)
    assert counts(caplog) == [""] * 3 * REFUSALS  # what is allowed is told
    now[0] += 1.0
    for port in range(REFUSALS):
        audit.record(attempt(address=f"/ip4/10.0.0.3/tcp/{port + 1}"), FOUND, False)
    assert counts(caplog) == [f" without={REFUSALS}", *[""] * 9]


def test_only_so_many_connections_are_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    monkeypatch.setattr("stronghold_p2p.firewall.asking.audit.PLACES", 2)
    audit = Audit()
    for port in (1, 2, 3, 1):
        audit.record(attempt(address=f"/ip4/10.0.0.1/tcp/{port}"), FOUND, True)
    assert (counts(caplog), len(audit._counts)) == ([""] * 4, 2)


def test_a_reader_may_leave_while_it_is_told() -> None:
    audit, told = Audit(), list[str]()

    def once(asked: Attempt, rule: Rule) -> None:
        told.append("once")
        audit.readers.remove(once)

    audit.readers.append(once)
    audit.readers.append(lambda asked, rule: told.append("always"))
    audit.tell(attempt(), FOUND, True)
    audit.tell(attempt(), FOUND, True)
    assert told == ["once", "always", "always"]


def test_what_a_peer_sends_stays_one_word_of_an_audit_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    Audit().tell(attempt(variant="a verdict=allow\r\n\x1b[2J\u202e" + "x" * 10_000), FOUND, False)
    (line,) = caplog.messages
    assert "variant=a\\u0020verdict=allow\\u000d\\u000a\\u001b[2J\\u202exxx" in line
    assert len(line.split(" ")) == 7
    assert len(line) < 400


def test_no_audit_line_is_built_when_nobody_reads_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    printed: list[PeerId] = []

    def printing(peer: PeerId) -> str:
        printed.append(peer)
        return "peer"

    monkeypatch.setattr(PeerId, "__str__", printing)
    caplog.set_level(logging.WARNING, AUDIT)
    assert Audit().tell(attempt(), FOUND, False) is False
    assert printed == []
