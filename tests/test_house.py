"""House rules that no linter knows: sizes, nesting, what catches everything."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.house import FILE_LINES, FUNCTION_LINES, ROOT, Function, code_lines, functions, inside, modules, tree

NESTING = 4

# Proxies are named there, for all programs of a machine.
ENVIRONMENT: dict[str, set[str]] = {"transport/websocket.py": {"environ"}}

# Where a handler may catch everything: the border to code of the application, and the one of a connection.
BROAD: dict[tuple[str, str], str] = {
    ("loops.py", "at_home"): "nobody waits for what another thread has begun: it is logged",
    ("loops.py", "handed_over"): "the same",
    (
        "keeping.py",
        "_run",
    ): "a fault of ours must not end what keeps a connection: it is logged, and the next try comes",
    ("relay/client/place.py", "_again"): "a fault of ours must not end what keeps a reservation: as for keeping.py",
    ("logs.py", "each"): "what has to reach its end: the steps behind it are taken",
    ("swarm/swarm.py", "_replace"): "a task that nobody awaits: the worn connection goes on",
    ("swarm/swarm.py", "establish"): "a service is told of a connection: the others are told, too",
    ("swarm/swarm.py", "_close_services"): "a service ends: the others end, too",
    (
        "swarm/gatekeeper.py",
        "recheck",
    ): "rules have changed: only that connection pays for it, and the others are looked at",
    ("swarm/dialer.py", "recheck"): "rules have changed: only that dial pays for it",
    ("swarm/dialer.py", "_join_held"): "a callback of the loop: only that name pays for it, and its dial is told",
    ("yamux/session.py", "fail"): "a stream is told of the end: the others are told, too, and it is raised then",
    ("muxing/yamux_muxer.py", "close"): "a goodbye: the connection ends without it",
    ("firewall/decisions.py", "_tell"): "an observer of the application: the others hear of the change",
    ("transport/tcp.py", "_accepted"): "a callback of the loop: only that wire pays for it",
    ("muxing/yamux_muxer.py", "begin"): "what came with the end of the handshake: only this connection pays for it",
    ("muxing/yamux_muxer.py", "received"): "the one catch of a connection",
    ("muxing/yamux_muxer.py", "_flush"): "tasks that go on in the flush: only this connection pays for it",
    ("muxing/yamux_muxer.py", "_send"): "the turn that sends: no receive is above it",
    ("connection/deadlines.py", "_look"): "a look at the deadlines: no receive is above it",
    ("connection/handlers.py", "_ask"): "before a handler of the application: only its stream pays for it",
    ("connection/handlers.py", "_handle"): "a handler of the application: only its stream pays for it",
    ("transport/tcp.py", "_made"): "a callback of the loop: only that dial pays for it",
    ("transport/tls_wire.py", "received"): "the one catch of TLS: only that wire pays for it",
    ("transport/undecided_wire.py", "received"): "before it is known who has the wire: only that one pays for it",
    ("transport/websocket_wire.py", "received"): "the one catch of a WebSocket: only that wire pays for it",
    ("transport/websocket_wire.py", "_deliver_kept"): "what was kept is delivered: no receive is above it",
    ("transport/upgrading.py", "begin"): "the first step of an upgrade: only that wire pays for it",
    ("transport/upgrading.py", "received"): "the one catch of an upgrade",
    ("swarm/gatekeeper.py", "_tell"): "readers are told of a refusal: only its connection pays for it",
    ("swarm/watches.py", "_look"): "a look at a file or the system: nothing but the loop is above it",
    ("swarm/listeners.py", "admit"): "a callback of the loop: only that wire pays for it",
    ("firewall/rules.py", "_applies"): "a predicate of the application: a broken one rejects",
    ("streams/waiter.py", "_run"): "what goes on later than its callback: only that connection pays for it",
    ("streams/aside.py", "_outcome"): "a codec of the application, in a thread: raised again where it is waited for",
    ("streams/asyncio_pair.py", "_read"): "a task that nobody awaits: asyncio's reader and writer are told",
    ("streams/asyncio_pair.py", "_write"): "a task that nobody awaits: asyncio's reader and writer are told",
    ("discovery/mdns.py", "_tick"): "a callback of the loop: it is logged, and the next one comes",
    ("discovery/mdns.py", "_open"): "a task that nobody awaits: it is logged, and the next look comes",
    ("protocols/observing.py", "_tick"): "a callback of the loop: it is logged, and the next one comes",
    ("events/hub.py", "emit"): "a callback of the application: nothing of ours depends on it",
}

FILES = modules() + [
    path for folder in ("harness", "benchmarks", "tools") for path in sorted((ROOT / folder).rglob("*.py"))
]
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def depth(node: ast.AST, level: int = 0) -> int:
    """How deep blocks lie in each other; an elif counts as deep as its if."""
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child, level + (isinstance(child, BLOCKS) and not chained)))
    return deepest


@pytest.mark.parametrize("path", FILES, ids=place)
def test_files_are_small_and_functions_small_and_flat(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= FILE_LINES
    for function in functions(path):
        assert code_lines(function, lines) <= FUNCTION_LINES, f"{function.name} at line {function.lineno}"
        assert depth(function) <= NESTING, f"{function.name} at line {function.lineno}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_log_calls_format_lazily(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            logs = node.func.attr in {"debug", "info", "warning", "error", "exception", "critical", "log"}
            if logs and "log" in ast.unparse(node.func.value).lower():
                assert not any(isinstance(arg, ast.JoinedStr | ast.BinOp) for arg in node.args), f"line {node.lineno}"


@pytest.mark.parametrize("path", modules(), ids=place)
def test_no_environment_and_no_abstract_bases(path: Path) -> None:
    names = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    names -= ENVIRONMENT.get(inside(path), set())
    assert names & {"environ", "getenv", "ABC", "ABCMeta", "abstractmethod"} == set()


@pytest.mark.parametrize("path", modules(), ids=place)
def test_only_the_borders_catch_everything(path: Path) -> None:
    for function in functions(path):
        for node in ast.walk(function):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            raises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
            if broad and not raises:
                assert (inside(path), function.name) in BROAD, f"{function.name} at line {node.lineno}"


def test_no_exception_is_left_over() -> None:
    named = {(inside(path), function.name) for path in modules() for function in functions(path)}
    assert set(BROAD) <= named
    assert len(FILES) >= 30
