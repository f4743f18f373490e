"""Who is told of decisions, and in which form."""

from __future__ import annotations

import logging

import pytest

from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.entries import Judgement
from stronghold_p2p.firewall.rules import Attempt, Rule
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
    audit.record(attempt(), OPEN, True)
    place = "from=/ip4/10.0.0.1/tcp/4001 rule=allow@peer"
    assert caplog.messages == [
        f"net=alice verdict={verdict} peer={ALICE} protocol=/echo/1.0.0 variant=Ping {place}"
        for verdict in ("reject", "allow")
    ]


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
