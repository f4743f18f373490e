"""The table of outcomes, row by row: what came in which phase, what the caller is told, whether the peer has acted."""

from __future__ import annotations

import pytest

from stronghold_p2p import errors
from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import DeadlineExceeded, LimitExceeded, P2PError, Rejected, StreamReset, UnsupportedProtocol
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.request_response.outcome import TABLE, Failure, Phase, fail, outcome

PEER = Identity.from_seed(bytes(32)).peer_id
IDS = ("/new/1", "/old/1")
NEGOTIATE, SEND, WAIT = Phase.NEGOTIATE, Phase.SEND, Phase.WAIT

# What came -> the class that the caller is told, and whether the peer may have acted, by phase.
Row = tuple[type[P2PError], dict[Phase, bool]]
NEVER = {NEGOTIATE: False, SEND: False, WAIT: False}
ONCE_SENT = {NEGOTIATE: False, SEND: True, WAIT: True}

ROWS: dict[tuple[type[P2PError], int | None], Row] = {
    (StreamReset, Reset.NEGOTIATION_FAILED): (UnsupportedProtocol, NEVER),
    (StreamReset, Reset.RESOURCE_LIMIT): (LimitExceeded, NEVER),
    (StreamReset, Reset.PROTOCOL_VIOLATION): (errors.Malformed, NEVER),
    (StreamReset, None): (StreamReset, ONCE_SENT),
    (UnsupportedProtocol, None): (UnsupportedProtocol, NEVER),
    (Rejected, None): (Rejected, NEVER),
    (LimitExceeded, None): (LimitExceeded, NEVER),
    (DeadlineExceeded, None): (DeadlineExceeded, ONCE_SENT),
    (P2PError, None): (P2PError, ONCE_SENT),
}


def came(kind: type[P2PError], code: int | None = None) -> P2PError:
    """An error of this class as streams raise it."""
    if kind is StreamReset:
        return StreamReset("reset", code=0x42 if code is None else code)
    if kind is DeadlineExceeded:
        return DeadlineExceeded("late", timeout=0.0)
    if kind is LimitExceeded:
        return LimitExceeded("full", limit="streams", current=1, maximum=1)
    return kind("it")


def told(error: P2PError, phase: Phase, late: float | None = None) -> P2PError:
    with pytest.raises(P2PError) as caught:
        fail(error, Failure(phase, IDS, PEER, late))
    return caught.value


@pytest.mark.parametrize("key", TABLE, ids=str)
def test_each_row(key: tuple[Phase, type[P2PError], int | None]) -> None:
    phase, kind, code = key
    expected, sent = ROWS[kind, code]
    error = came(kind, code)
    result = told(error, phase)
    assert type(result) is expected
    assert (result.sent, result.peer) == (sent[phase], PEER)
    assert result is error or result.__cause__ is error


def test_there_is_a_row_for_each_phase_and_no_other() -> None:
    assert set(TABLE) == {(phase, kind, code) for kind, code in ROWS for phase in (NEGOTIATE, SEND, WAIT)}


@pytest.mark.parametrize("phase", [Phase.DIAL, Phase.FIREWALL])
@pytest.mark.parametrize("kind", [StreamReset, errors.ConnectionClosed, Rejected])
def test_before_the_negotiation_errors_tell_by_themselves(phase: Phase, kind: type[P2PError]) -> None:
    with pytest.raises(KeyError):
        outcome(came(kind), phase)


@pytest.mark.parametrize("kind", [errors.ConnectionClosed, errors.MuxerError, errors.Malformed, errors.DecodeError])
def test_what_has_no_row_of_its_own_stays_as_it_is(kind: type[P2PError]) -> None:
    error = kind("it")
    assert told(error, WAIT) is error
    assert error.sent


@pytest.mark.parametrize("phase", [NEGOTIATE, SEND, WAIT])
def test_the_ids_that_are_not_served_are_all_of_the_protocol(phase: Phase) -> None:
    one = UnsupportedProtocol("not this one", protocols=IDS[:1])
    for error in (one, came(StreamReset, Reset.NEGOTIATION_FAILED)):
        result = told(error, phase)
        assert isinstance(result, UnsupportedProtocol)
        assert result.protocols == IDS
    known = UnsupportedProtocol("none of them", protocols=IDS)
    assert told(known, phase) is known


@pytest.mark.parametrize("phase", [NEGOTIATE, SEND, WAIT])
def test_the_requests_own_time_is_told_with_its_phase(phase: Phase) -> None:
    result = told(came(DeadlineExceeded), phase, late=0.5)
    assert isinstance(result, DeadlineExceeded)
    assert (result.phase, result.timeout, result.__cause__) == (phase.value, 0.5, None)


def test_a_deadline_of_the_streams_own_stays_as_it_is() -> None:
    error = came(DeadlineExceeded)
    assert told(error, WAIT) is error


def test_a_reset_without_a_known_code_comes_with_advice_once_the_request_was_sent() -> None:
    before, after = came(StreamReset), came(StreamReset)
    assert told(before, NEGOTIATE) is before
    result = told(after, WAIT)
    assert isinstance(result, StreamReset)
    assert (result.code, "its own log" in str(result)) == (0x42, True)
