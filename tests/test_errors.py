"""The error tree is the one that its docstring draws, and each error keeps what it is told."""

from __future__ import annotations

import builtins
import re
from typing import Any

import pytest

from stronghold_p2p import errors
from stronghold_p2p.errors import P2PError

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
    (errors.HandshakeError, {"phase": "muxer", "peer": "bob"}),
    (errors.NegotiationError, {"refused": True, "phase": "multistream", "peer": "bob"}),
    (errors.ConnectionClosed, {"code": 2, "remote": True, "peer": "bob"}),
    (errors.DecryptError, {"code": 1, "remote": False}),
    (errors.MuxerError, {"code": 1}),
    (errors.DeadlineExceeded, {"timeout": 8.0, "phase": "ask", "peer": "bob", "sent": True}),
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
    assert set(tree) | {"P2PError"} == set(CLASSES)
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


def test_nothing_said_is_nothing_printed() -> None:
    assert str(errors.P2PError()) == ""
    assert str(errors.ConnectionClosed()) == errors.ConnectionClosed().reason == "connection closed"
    assert errors.DialError("no address").attempts == {}


def test_every_class_is_covered() -> None:
    assert {kind.__name__ for kind, _ in KEPT} | {"PeerIdMismatch", "UsageError", "DecodeError"} == set(CLASSES)
    assert str(errors.UsageError("not open")) == "not open"
    assert str(errors.DecodeError("truncated")) == "truncated"


@pytest.mark.parametrize(
    "cause",
    [
        errors.StreamReset("reset", code=5),
        errors.ConnectionClosed("over", code=2, remote=True),
        errors.LimitExceeded("full", limit="streams", current=3, maximum=3, remote=True),
        errors.NegotiationError("nonsense"),
        OSError("gone"),
    ],
)
def test_what_is_raised_again_names_the_peer(cause: Exception) -> None:
    fresh = errors.again(cause, "bob")
    assert isinstance(fresh, P2PError)
    assert (fresh.peer, str(fresh)) == ("bob", str(cause))
    kept = vars(cause).items() - {("peer", None)}
    assert kept <= vars(fresh).items()
