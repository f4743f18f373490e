"""The error tree is the one that its docstring draws, and each error keeps what it is told."""

from __future__ import annotations

import builtins
import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from stronghold_p2p import errors
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.codes import GoAway
from stronghold_p2p.errors import P2PError
from stronghold_p2p.identity.keys.identity import Identity

PEER, OTHER = Identity.from_seed(b"b" * 32).peer_id, Identity.from_seed(b"m" * 32).peer_id

CLASSES = {
    name: thing for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, P2PError)
}

# Every class but those that take a message alone, with the arguments that it needs and keeps.
KEPT: list[tuple[type[P2PError], dict[str, Any]]] = [
    (errors.P2PError, {"peer": "bob", "sent": True}),
    (errors.ConfigError, {"where": "rules.toml:9"}),
    (errors.IdentityError, {"where": "bob.key"}),
    (errors.ListenError, {"address": "/ip4/127.0.0.1/tcp/80"}),
    (errors.DialError, {"peer": "bob", "attempts": {"/ip4/127.0.0.1/tcp/1": OSError("refused")}}),
    (errors.NameResolutionError, {"query": "a.example A", "address": "/dns4/a.example/tcp/80", "peer": "bob"}),
    (errors.RelayRefused, {"relay": "carol", "status": 204, "peer": "bob"}),
    (errors.HandshakeError, {"phase": "muxer", "peer": "bob"}),
    (errors.NegotiationError, {"refused": True, "phase": "multistream", "peer": "bob"}),
    (errors.CertificateError, {"name": "peer.example", "reason": "expired", "peer": "bob"}),
    (errors.ProxyError, {"proxy": "http://proxy:3128", "status": 407, "peer": "bob"}),
    (errors.ConnectionClosed, {"code": 2, "remote": True, "peer": "bob"}),
    (errors.CircuitLimit, {"limit": "data", "maximum": 131_072, "peer": "bob"}),
    (errors.DecryptError, {"code": 1, "remote": False}),
    (errors.MuxerError, {"code": 1}),
    (errors.DeadlineExceeded, {"timeout": 8.0, "phase": "ask", "peer": "bob", "sent": True, "setting": "timeout="}),
    (errors.DialError, {"temporary": False}),
    (errors.UnsupportedProtocol, {"protocols": ("/echo/1.0.0",), "peer": "bob"}),
    (errors.Rejected, {"peer": "bob", "local": True, "sent": True}),
    (errors.LimitExceeded, {"limit": "connections", "current": 3, "maximum": 3, "remote": True, "peer": "bob"}),
    (errors.Malformed, {"path": "request.text", "peer": "bob"}),
    (errors.StreamReset, {"code": 0x1001, "peer": "bob"}),
    (errors.StreamEnded, {"partial": b"abc", "peer": "bob"}),
]


def drawn() -> dict[str, tuple[str, str | None]]:
    """Class name to its parent here and the one of the standard library, from the drawing in the docstring."""
    tree: dict[str, tuple[str, str | None]] = {}
    above = ["P2PError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ]*)[├└]── (\w+)(?: \((\w+)\))?", line):
            depth = len(found[1]) // 4 + 1
            tree[found[2]] = (above[depth - 1], found[3])
            above[depth:] = [found[2]]
    return tree


def test_the_drawing_is_the_tree() -> None:
    tree = drawn()
    assert set(tree) | {"P2PError"} == set(CLASSES) == {type(error).__name__ for error in every_error()}
    for name, (parent, standard) in tree.items():
        assert issubclass(CLASSES[name], CLASSES[parent])
        assert standard is None or issubclass(CLASSES[name], getattr(builtins, standard))


@pytest.mark.parametrize(("kind", "given"), KEPT, ids=lambda one: getattr(one, "__name__", ""))
def test_an_error_keeps_what_it_is_told(kind: type[P2PError], given: dict[str, Any]) -> None:
    error = kind("what happened", **given)
    assert str(error) == "what happened"
    assert {name: getattr(error, name) for name in given} == given


def test_a_wrong_peer_names_both() -> None:
    error = errors.PeerIdMismatch(expected="bob", actual="mallory")
    assert (error.expected, error.actual, error.peer, error.phase) == ("bob", "mallory", "bob", "noise")
    assert "mallory" in str(error)
    assert "bob" in str(error)


def test_nothing_said_is_nothing_printed_and_what_is_not_known_is_none() -> None:
    assert str(errors.P2PError()) == ""
    assert str(errors.ConnectionClosed()) == errors.ConnectionClosed().reason == "connection closed"
    assert errors.DialError("no address").attempts == {}
    full = errors.LimitExceeded("full", limit="streams", remote=True)
    assert (full.current, full.maximum, errors.DeadlineExceeded("late").timeout) == (None, None, None)


def every_error() -> list[P2PError]:
    mismatch = errors.PeerIdMismatch(expected=PEER, actual=OTHER)
    alone = [errors.UsageError("not open"), errors.DecodeError("truncated"), errors.P2PError()]
    return [mismatch, *alone, *(kind("what happened", **given) for kind, given in KEPT)]


def same(one: P2PError, other: object) -> bool:
    """Exceptions within ``attempts`` are compared by their text: they have no equality."""
    return type(one) is type(other) and (str(one), str(vars(one))) == (str(other), str(vars(other)))


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_b01_an_error_is_copied_and_pickled_whole(error: P2PError, copied: Callable[[P2PError], object]) -> None:
    assert same(error, copied(error))


def test_b01_an_error_with_peers_and_addresses_is_pickled() -> None:
    """As one that a worker process hands to its parent."""
    address = parse(f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}")
    refused = ConnectionRefusedError(111, "Connection refused")
    error = errors.DialError("no address worked", peer=PEER, attempts={address: refused})
    again = pickle.loads(pickle.dumps(error))
    assert (again.peer, list(again.attempts)) == (PEER, [address])
    assert again.attempts[address].errno == 111


@pytest.mark.parametrize("cause", every_error(), ids=lambda error: type(error).__name__)
def test_what_is_raised_again_is_a_copy_that_names_the_peer(cause: P2PError) -> None:
    cause.__cause__ = OSError("gone")
    with pytest.raises(type(cause)):
        raise cause
    fresh = errors.again(cause, "carol")
    assert fresh is not cause
    assert (type(fresh), str(fresh), fresh.__cause__, fresh.__traceback__) == (
        type(cause),
        str(cause),
        cause.__cause__,
        None,
    )
    assert vars(fresh) == {**vars(cause), "peer": "carol" if cause.peer is None else cause.peer}


def test_any_other_exception_ended_the_connection() -> None:
    cause = OSError("gone")
    fresh = errors.again(cause, "carol")
    assert isinstance(fresh, errors.ConnectionClosed)
    assert (str(fresh), fresh.peer, fresh.__cause__) == ("gone", "carol", cause)


MISMATCH = errors.PeerIdMismatch(expected=PEER, actual=OTHER)
REFUSED: dict[Any, Exception] = {"/ip4/192.0.2.7/tcp/1": ConnectionRefusedError()}


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (errors.DialError("nobody"), True),
        (errors.DialError("nobody", attempts=REFUSED), True),
        (errors.DialError("somebody else", attempts={1: MISMATCH}), False),
        (errors.DialError("both", attempts={**REFUSED, 1: MISMATCH}), True),
        (errors.DialError("ourselves", temporary=False), False),
        (errors.ConnectionClosed("it shuts down", code=GoAway.SHUTDOWN, remote=True), True),
        (errors.ConnectionClosed("it has crashed", code=None, remote=True), True),
        (errors.ConnectionClosed("its firewall", code=GoAway.GATED, remote=True), False),
        (errors.DeadlineExceeded("late"), True),
        (errors.LimitExceeded("it closes, or is busy", limit="streams", remote=True), True),
        (errors.LimitExceeded("too long", limit="max_request"), False),
        (errors.StreamReset("before anybody has looked"), True),
        (MISMATCH, False),
        (errors.NegotiationError("a web server"), False),
        (errors.Rejected("no"), False),
        (errors.UnsupportedProtocol("unknown"), False),
        (errors.ListenError("taken"), False),
    ],
    ids=str,
)
def test_an_error_tells_whether_it_may_pass(error: P2PError, temporary: bool) -> None:
    assert error.temporary is temporary
    assert pickle.loads(pickle.dumps(error)).temporary is temporary
    assert errors.again(error).temporary is temporary


def test_a_handler_that_failed_fails_again() -> None:
    error = errors.StreamReset("its handler failed")
    error.sent = True
    assert not error.temporary


def test_the_error_of_a_single_address_may_be_its_own_attempt() -> None:
    error = errors.DialError("our own firewall keeps us from there", temporary=False)
    error.attempts = {"/ip4/192.0.2.7/tcp/1": error}
    assert not error.temporary
