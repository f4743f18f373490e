"""The transcripts as they are kept: ``tests/vectors/stronghold_p2p.json``, one for each scenario that says so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.play import Played
from tests.conformance.recorder import Step
from tests.conformance.scenario import Asker

PATH = Path(__file__).resolve().parents[1] / "vectors" / "stronghold_p2p.json"


@dataclass(frozen=True)
class Taped:
    """One connection; ``ended``: the crate has dropped it behind the last step."""

    steps: tuple[Step, ...]
    ended: bool


@dataclass(frozen=True)
class Transcript:
    """A scenario as it was played with the crate."""

    name: str
    asker: Asker
    connections: tuple[Taped, ...]


def save(version: str, results: Iterable[Played]) -> None:
    """One step a line, so that a difference can be read."""
    kept = [_plain(played) for played in results if played.scenario.recorded]
    text = json.dumps({"crate": version, "transcripts": kept}, indent=1, ensure_ascii=True)
    PATH.write_text(_joined(text) + "\n", encoding="utf-8")


def load() -> tuple[Transcript, ...]:
    """All of them."""
    told = json.loads(PATH.read_text(encoding="utf-8"))
    return tuple(
        Transcript(
            entry["scenario"],
            entry["asker"],
            tuple(
                Taped(
                    tuple((number, side, text, *(quiet or [0.0])) for number, side, text, *quiet in one["steps"]),
                    one["ended"],
                )
                for one in entry["connections"]
            ),
        )
        for entry in told["transcripts"]
    )


def _plain(played: Played) -> dict[str, Any]:
    connections = [
        {"ended": ended, "steps": [step if step[-1] else step[:-1] for step in steps]} for steps, ended in played.tapes
    ]
    return {"scenario": played.scenario.name, "asker": played.scenario.asker, "connections": connections}


def _joined(text: str) -> str:
    """The three lines of a step as one."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        bare = line.strip()
        if inside:
            lines[-1] += bare if bare.startswith("]") else f"{bare} " if bare.endswith(",") else bare
        else:
            lines.append(line)
        inside = (inside and not bare.startswith("]")) or (bare == "[" and not inside)
    return "\n".join(lines)
