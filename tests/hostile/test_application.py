"""Hostile rows 71 and 76: what the application does, and what it sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from harness.process import Process, soon
from tests.hostile.arena import MIB, Arena
from tests.hostile.client import Peer, connect
from tests.hostile.codec import Identity, prefixed
from tests.hostile.facts import judged

REQUESTS = "/stronghold-p2p/1.0.0"
BUFFER = 256
BEHIND = r"a reader of events\(\) is \d+ behind: "  # what the log has to say about it


def asked(peer: Peer, text: str) -> int:
    """A request that is sent and not waited for; its stream."""
    return peer.open(REQUESTS, prefixed(json.dumps(text).encode()), fin=True)


def answered(peer: Peer, stream: int, within: float) -> bool:
    return peer.pump(lambda: stream in peer.finished, within)


class Application(Process):
    """``python -m tests.hostile.application``, with its address as the arena wants it."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("tests.hostile.application", *arguments, tolerated=BEHIND)
        parts = self.ready["addr"].split("/")
        self.address = (parts[2], int(parts[4]))

    def connect(self) -> Peer:
        return connect(self.address, Identity())

    def state(self, what: str) -> int:
        count: int = self.ask(do="state")[what]
        return count


@contextmanager
def application(arena: Arena, *, memory: int) -> Iterator[Application]:
    """The process under test; in the end it answers, and nothing is left in it."""
    with Application(*arena.weak) as program:
        with program.connect() as peer:
            for number in range(300):
                assert answered(peer, asked(peer, f"warm-up {number}"), 5.0)
        clean = soon(lambda: program.state("inbound") == 0)
        before, base = program.ask(do="state"), program.memory()
        assert clean
        program.forget_peak()
        with arena.probed(program):
            yield program
        arena.grown(max(0, program.peak() - base), memory)
        program.ask(do="forget")
        with program.connect() as peer:
            assert answered(peer, asked(peer, "still there?"), 5.0)
        left = ("tasks", "files", "inbound", "pending_in", "held", "streams", "requests_in")
        assert soon(lambda: all(program.state(name) <= before[name] for name in left))


def served(peer: Peer, count: int) -> None:
    """So many requests, not more at once than a peer may have, each with its answer."""
    for begin in range(0, count, 50):
        streams = {asked(peer, f"number {number}") for number in range(begin, min(begin + 50, count))}
        assert peer.pump(lambda streams=streams: streams <= peer.finished, 5.0)  # type: ignore[misc]


def test_row_71_events_that_nobody_takes(arena: Arena) -> None:
    """The application stops taking events"""
    with application(arena, memory=4 * MIB) as program, program.connect() as attacker, program.connect() as honest:
        program.ask(do="events", overflow="wait")
        streams = [asked(attacker, f"number {number}") for number in range(500)]
        attacker.rest(0.5)  # the honest probe has its share, too: after 1.6 s it would wait for the reader
        through = sum(stream in attacker.finished for stream in streams)
        with judged("through"):
            assert 0 < through <= BUFFER // 8 + 1  # back-pressure to that peer ...
        assert not attacker.resets
        assert program.state("held") == len(streams) - through
        assert program.state("waiting") <= BUFFER
        for number in range(10):  # ... and no other
            assert answered(honest, asked(honest, f"honest {number}"), 3.0), "an unaffected peer was not answered"
        assert program.ask(do="ask")["answer"] == "mine"  # nor the application's own
        with program.connect() as late:
            assert answered(late, asked(late, "hello"), 3.0)
        read = program.ask(do="read", seconds=arena.pick(1.0, 3.0))
        attacker.rest(0.2)
        assert set(streams) <= attacker.finished
        assert read["seen"].get("Dropped", 0) == 0
        assert read["seen"]["Judged"] >= len(streams) + 11
        assert program.state("most") <= BUFFER
        for overflow in ("drop_oldest", "drop_newest"):  # nobody waits; what is lost is counted, and told
            program.ask(do="forget")
            program.ask(do="events", overflow=overflow)
            served(attacker, arena.count(500, 20_000))
            assert program.state("waiting") <= BUFFER + 1
            read = program.ask(do="read", seconds=0.3)
            assert read["seen"]["Dropped"] > 0
            assert sum(read["seen"].values()) == read["emitted"]
    arena.note(f"{through} of {len(streams)} requests before its reader had to go on")


def test_row_76_each_option_alone(arena: Arena) -> None:
    """Each option set to a sentinel: exactly that one changes"""
    full = ("--full",) if arena.full else ()
    with Process("tests.hostile.options", *full, *arena.weak) as program:
        names, changes = program.ready["names"], program.ready["changes"]
        assert sum(map(len, names.values())) >= 45
        for kind, options in names.items():
            assert set(changes[kind]) == set(options), f"{kind}: an option without a sentinel"
            for option in options:
                with judged("options"):
                    assert changes[kind][option] == [option], f"{kind}.{option} changes {changes[kind][option]}"
        arena.note(f"{sum(map(len, names.values()))} options")
