"""Hostile rows 150 to 152: rules of hooks, rules and other files that may not be believed, what strangers may log."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hostile.arena import KIB, MIB, Arena, Program
from tests.hostile.client import Peer
from tests.hostile.codec import Identity, prefixed
from tests.hostile.names import GUARDED, IDENTIFY
from tests.hostile.test_firewall import HERE, asked, over, until

LOGGED = 0.1  # bytes for a byte of the peer


def test_row_150_a_rule_for_one_peer(arena: Arena) -> None:
    """Newcomers to whom a hook gives a rule, beside others that are connected and have been told what we serve"""
    others, newcomers = arena.pick(20, 250), arena.pick(3, 50)
    judged, spent = [], []
    options = ("--protocols", "60", "--limit", "connections=400")  # strangers have three quarters of them
    with arena.guard(*options) as guard, ExitStack() as stack:
        guard.ask(do="hooks", no_rule="allow")
        for _ in range(others):
            peer = stack.enter_context(guard.connect())
            assert peer.over(peer.open(IDENTIFY))
        for _ in range(newcomers):
            with guard.connect() as peer:
                assert peer.over(peer.open(IDENTIFY))
                before, start = guard.state()["judged"], guard.cpu()
                assert asked(peer) == "answer"
                spent.append(guard.cpu() - start)
                judged.append(guard.state()["judged"] - before)
        assert max(judged) <= 4 * 64, "others were judged"
        assert guard.state()["learned"] == newcomers
        arena.bound("ms for each", sum(spent) / newcomers * 1e3, 20)


def test_row_150_rules_that_hooks_have_learned(arena: Arena) -> None:
    """Identities without end, to each of which a hook gives a rule"""
    limit, given = (40, ("--constant", "firewall.entries.LEARNED=40")) if not arena.full else (1_024, ())
    friend = Identity()
    with arena.guard(*given, memory=8 * MIB) as guard, guard.connect(friend) as staying, TemporaryDirectory() as folder:
        guard.ask(do="hooks", no_rule="allow")
        assert asked(staying) == "answer"
        for _ in range(arena.pick(60, 5_000)):
            with guard.connect() as peer:
                assert asked(peer) == "answer"
        found = guard.state()
        assert found["learned"] <= limit, found["learned"]
        assert found["rules"] == found["learned"]
        guard.ask(do="hooks", no_rule="none")
        assert asked(staying) == "answer", "the rule of who is connected stays"
        saved = guard.ask(do="save", path=f"{folder}/rules.toml")
        assert (saved["error"], saved.get("read")) == ("", found["rules"])
        arena.note(f"{found['learned']} rules")
        guard.rules()


SHAPES = (  # harmless ones: what is worse is only longer
    ("x = " + "[" * 41, "nested too deep"),
    ("x = " + "[{a = " * 21, "nested too deep"),
    (".".join(["a"] * 21) + " = 1", "20 parts"),
    ("[[" + ".".join(["'a'"] * 21) + "]]", "20 parts"),
    ('x = ["""a"""", { ' + ".".join(["a"] * 21) + " = 1 }]", "20 parts"),
    ("a" * 257 + " = 1", "256 characters"),
    ("# " + "a" * 65_535, "65536 characters"),
)


def test_row_151_rules_of_a_costly_shape(arena: Arena) -> None:
    """Long lines, deep nesting and long keys in a rules file; a long file that is followed"""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rules.toml"
        with arena.start("reader") as reader:
            for shape, about in SHAPES:
                path.write_text(f"version = 1\n{shape}\n", encoding="utf-8")
                got = reader.ask(do="load_rules", path=str(path))
                assert got["error"] == "ConfigError", got
                assert about in got["text"], got
                assert got["where"] == f"{path}:2"
        if arena.full:
            arena.bound("stall in s, while a long file is followed:", follows(arena, path), 0.05)


def follows(arena: Arena, path: Path) -> float:
    """How long the loop stood still while a network followed a change of a file with 3,000 rules."""
    path.write_text("version = 1\n", encoding="utf-8")
    with arena.start("node", *HERE, "--closed", "--rules", str(path)) as guard:
        until(guard, lambda now: now["rules"] == 0)
        rules = "".join(f'[[rules]]\nprotocol = "/{number}"\nrule = "ask"\n' for number in range(3_000))
        path.write_text(f"version = 1\n{rules}", encoding="utf-8")
        stall, end = 0.0, time.monotonic() + 10
        while (now := guard.state())["rules"] == 0:
            stall = max(stall, now["stall"])
            assert time.monotonic() < end, "not followed"
            time.sleep(0.05)
        return max(stall, float(guard.state()["stall"]))


def test_row_151_files_that_others_may_write(arena: Arena) -> None:
    """Rules, books and keys that others may write or own, or whose folder they may"""
    with TemporaryDirectory() as folder, arena.start("reader") as reader:
        home = Path(folder) / "home"
        home.mkdir()
        for write, read, options in (
            ("save_rules", "load_rules", {"count": 3}),
            ("save", "load", {"peers": 3}),
            ("save_key", "key", {}),
        ):
            path = home / read
            assert reader.ask(do=write, path=str(path), **options)["error"] == ""
            assert reader.ask(do=read, path=str(path))["error"] == ""
            for mode in (0o602, 0o622, 0o666, 0o646):
                path.chmod(mode)
                refused(reader, read, path, "chmod")
            path.chmod(0o600)
            home.chmod(0o777)
            refused(reader, read, path, "the folder of")
            home.chmod(0o1777)
            assert reader.ask(do=read, path=str(path))["error"] == "", "a sticky folder is as good as /tmp"
            home.chmod(0o700)
            if os.geteuid() == 0:
                os.chown(path, 65_534, -1)
                refused(reader, read, path, "belongs to another user")


def refused(reader: Program, command: str, path: Path, about: str) -> None:
    got = reader.ask(do=command, path=str(path))
    assert got["error"] in {"ConfigError", "IdentityError"}, (oct(path.stat().st_mode), got)
    assert about in got["text"], got


def ended(peer: Peer, streams: list[int]) -> bool:
    return all(over(peer, stream) for stream in streams)


def flood(peer: Peer, count: int, message: object = None) -> None:
    """So many streams, or requests, and their answers; in parts, as negotiations that wait have a limit."""
    for first in range(0, count, 100):
        each = range(first, min(count, first + 100))
        streams = [
            peer.open(GUARDED, prefixed(b'"Ping"'), fin=True) if message is None else peer.ask(GUARDED, message)
            for _ in each
        ]
        assert peer.pump(partial(ended, peer, streams)), "no answer"


def test_row_152_a_log_that_strangers_write(arena: Arena) -> None:
    """A peer that all rules reject, with the audit log on; names and keys with newlines, at level DEBUG"""
    with arena.guard() as guard:
        guard.rules(("reject", {}))
        guard.ask(do="log", level="INFO")
        sent = 0
        for _ in range(arena.pick(1, 20)):
            with guard.connect() as peer:
                flood(peer, 900)
                sent += peer.wire.sent
        until(guard, lambda now: now["connections"] == guard.idle)
        found = guard.state()
        assert 0 < found["written"] <= LOGGED * sent, (found["written"], sent)
        arena.note(f"{found['written'] / sent:.3f} bytes of log for a byte")
        guard.ask(do="log", level="DEBUG")
        guard.rules(("allow", {}))
        with guard.connect() as peer:
            for body in (b'{"a\\nERROR b":1,"a\\nERROR b":2}', b'"\\ud800\\n"', b"[\n\x1b[2J"):
                assert peer.over(peer.open(GUARDED, prefixed(body), fin=True))
            assert peer.over(peer.open("/a\x1b[2J\x85b", b"", fin=True))
            assert peer.over(peer.ask(GUARDED, {"Fail": "\nERROR c\x1b[2J"}))
        found = guard.state()
        assert found["written"] > 0
        assert found["raw"] == 0
        guard.ask(do="log", level="WARNING")


def test_row_152_handlers_that_fail(arena: Arena) -> None:
    """Requests whose handler fails, each with a traceback"""
    with arena.guard() as guard:
        guard.rules(("allow", {}))
        guard.ask(do="log", level="WARNING")
        with guard.connect() as peer:
            flood(peer, arena.pick(500, 900), {"Fail": "x" * 1_000})
            sent = peer.wire.sent
        found = guard.state()
        assert found["errors"] > 0
        assert found["written"] <= LOGGED * sent, (found["written"], sent)
        arena.note(f"{found['written'] / KIB:.1f} KiB of log for {sent / KIB:.0f} KiB")
