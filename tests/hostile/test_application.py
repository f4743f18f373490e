"""Hostile rows 71 and 76: what the application does, and what it sets."""

from __future__ import annotations

from harness.process import Process
from tests.hostile.arena import MIB, Arena
from tests.hostile.client import Peer

REQUESTS = "/stronghold-p2p/1.0.0"
BUFFER = 256
BEHIND = r"a reader of events\(\) is \d+ behind: "  # what the log has to say about it


def served(peer: Peer, count: int) -> None:
    """So many requests, not more at once than a peer may have, each with its answer."""
    for begin in range(0, count, 50):
        streams = {peer.ask(REQUESTS, f"number {number}") for number in range(begin, min(begin + 50, count))}
        assert peer.pump(lambda streams=streams: streams <= peer.finished, 5.0)  # type: ignore[misc]


def test_row_71_events_that_nobody_takes(arena: Arena) -> None:
    """The application stops taking events"""
    with (
        arena.guard(memory=4 * MIB, tolerated=BEHIND) as program,
        program.connect() as attacker,
        program.connect() as honest,
    ):
        program.rules(("allow", {}))
        program.ask(do="keep", overflow="wait")
        streams = [attacker.ask(REQUESTS, f"number {number}") for number in range(500)]
        attacker.rest(0.5)  # the honest probe has its share, too: after 1.6 s it would wait for the reader
        through = sum(stream in attacker.finished for stream in streams)
        assert 0 < through <= BUFFER // 8 + 1  # back-pressure to that peer ...
        assert not attacker.resets
        assert program.state()["held"] == len(streams) - through
        assert program.state()["waiting"] <= BUFFER
        for number in range(10):  # ... and no other
            assert honest.over(honest.ask(REQUESTS, f"honest {number}"), 3.0), "an unaffected peer was not answered"
        assert program.ask(do="out_to_a_friend")["answer"] == "mine"  # nor the application's own
        with program.connect() as late:
            assert late.over(late.ask(REQUESTS, "hello"), 3.0)
        read = program.ask(do="read", seconds=arena.pick(1.0, 3.0))
        attacker.rest(0.2)
        assert set(streams) <= attacker.finished
        assert read["seen"].get("Dropped", 0) == 0
        assert read["seen"]["Judged"] >= len(streams) + 11
        assert program.state()["most"] <= BUFFER
        for overflow in ("drop_oldest", "drop_newest"):  # nobody waits; what is lost is counted, and told
            program.ask(do="forget")
            program.ask(do="keep", overflow=overflow)
            served(attacker, arena.pick(500, 20_000))
            assert program.state()["waiting"] <= BUFFER + 1
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
                assert changes[kind][option] == [option], f"{kind}.{option} changes {changes[kind][option]}"
        arena.note(f"{sum(map(len, names.values()))} options")
