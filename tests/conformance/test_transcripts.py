"""The recorded streams of the Rust crate against our code: ours hears what it heard then, and has to say what it said.

The whole conformance, with the crate itself, is ``make conformance``; here is what it says where there is no Rust.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from harness import build
from tests.conformance import __main__ as command
from tests.conformance import report
from tests.conformance.play import SCENARIOS
from tests.conformance.replay import Replay
from tests.conformance.scenario import Stage, our_side
from tests.conformance.transcripts import Transcript, load
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL
TRANSCRIPTS = load()
PLAYS = {(scenario.asker, scenario.name): scenario for scenario in SCENARIOS}


def title(transcript: Transcript) -> str:
    return f"{transcript.asker} asks: {transcript.name}"


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=title)
async def test_ours_says_to_the_transcript_what_it_said_to_the_crate(transcript: Transcript) -> None:
    scenario = PLAYS[transcript.asker, transcript.name]
    replay = Replay(transcript)
    ours = our_side(scenario.ours, replay.peer)
    async with ours.network as network, replay.playing(network.addresses[0]):
        stage = Stage(ours, replay, scenario.asker)
        await scenario.play(stage)
        await replay.finished()
        _, ours_saw, connection = stage.saw()
        _, expected, expected_connection = scenario.expected()
        assert ours_saw in expected
        assert connection in expected_connection


def test_every_recorded_scenario_has_its_transcript() -> None:
    recorded = [(scenario.asker, scenario.name) for scenario in SCENARIOS if scenario.recorded]
    assert [(transcript.asker, transcript.name) for transcript in TRANSCRIPTS] == recorded
    assert len(recorded) >= 20


async def test_a_byte_that_ours_does_not_say_is_noticed() -> None:
    transcript = next(transcript for transcript in TRANSCRIPTS if title(transcript) == "crate asks: allow")
    (taped,) = transcript.connections
    wrong = tuple((number, side, text.replace("Pong", "Pang"), quiet) for number, side, text, quiet in taped.steps)
    replay = Replay(replace(transcript, connections=(replace(taped, steps=wrong),)))
    ours = our_side(PLAYS["crate", "allow"].ours, replay.peer)
    with pytest.raises(ExceptionGroup) as caught:
        async with ours.network as network, replay.playing(network.addresses[0]):
            await replay.call("request")
    assert caught.group_contains(AssertionError, match="Pang")


def test_the_document_tells_of_every_scenario_as_expected() -> None:
    rows = [
        line.split(" | ") for line in report.PATH.read_text(encoding="utf-8").splitlines() if line.count(" | ") == 5
    ]
    told = [(row[0].removeprefix("| "), row[4]) for row in rows if row[0] != "| scenario"]
    assert told == [(scenario.name, "yes") for scenario in SCENARIOS]


def test_without_cargo_it_says_so_in_one_line_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert command.main() == 1
    out, told = capsys.readouterr()
    assert (out, told) == ("", "make conformance needs Rust: there is no cargo on the PATH\n")


def test_a_build_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise build.BuildError("cargo build failed: no such crate")

    monkeypatch.setattr(build, "crate_peer", broken)
    assert command.main() == 1
    assert capsys.readouterr().err == "cargo build failed: no such crate\n"
