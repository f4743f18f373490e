"""The transcripts as they are kept: ``tests/vectors/stronghold_p2p.json``, one for each scenario that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.play import Played
from tests.conformance.recorder import Step
from tests.conformance.scenario import Asker

_STEP = re.compile(r'\[\n\s+\d+,\n\s+"\w+",\n.*(?:\n\s+[\d.]+)?\n\s+\]')

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
    PATH.write_text(_STEP.sub(_joined, text) + "\n", encoding="utf-8")


def load() -> tuple[Transcript, ...]:
    """All of them."""
    told = json.loads(PATH.read_text(encoding="utf-8"))["transcripts"]
    return tuple(Transcript(one["scenario"], one["asker"], tuple(map(_taped, one["connections"]))) for one in told)


def _taped(told: dict[str, Any]) -> Taped:
    steps = ((number, side, text, *(quiet or [0.0])) for number, side, text, *quiet in told["steps"])
    return Taped(tuple(steps), told["ended"])


def _plain(played: Played) -> dict[str, Any]:
    connections = [{"ended": ended, "steps": _sorted(steps)} for steps, ended in played.tapes]
    return {"scenario": played.scenario.name, "asker": played.scenario.asker, "connections": connections}


def _sorted(steps: list[Step]) -> list[tuple[Any, ...]]:
    """identify's stream first: when it runs beside the others is a matter of chance, and nothing depends on it."""
    asked = {number for number, _, text, _ in steps if text.endswith("/ipfs/id/1.0.0\n")}
    return [step if step[-1] else step[:-1] for step in sorted(steps, key=lambda step: step[0] not in asked)]


def _joined(step: re.Match[str]) -> str:
    """The lines of a step as one."""
    return re.sub(r"\n\s+", " ", step[0]).replace("[ ", "[").replace(" ]", "]")
