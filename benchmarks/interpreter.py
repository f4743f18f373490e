"""The Python on which ours and py-libp2p are measured: the quickest CPython >= 3.11 of the machine.

Builds of one version differ by a fifth, depending on whether the compiler was told to optimize by a profile, and a
version manager's usually are not. The others are measured with optimized toolchains too; the report names the build.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MINORS = range(11, 16)
PATIENCE = 30.0

# Calls, attributes, dictionaries and slices of bytes, as a protocol makes them; the best of seven.
PROBE = """
import json, sys, sysconfig, time
class State:
    __slots__ = ("count", "table")
    def step(self, data):
        self.count += data[1] << 8 | data[0]
        self.table[self.count & 255] = data[2:6]
def work():
    state = State(); state.count = 0; state.table = {}
    for number in range(60000):
        state.step(b"abcdefgh")
best = 9e9
for _ in range(7):
    start = time.perf_counter(); work(); best = min(best, time.perf_counter() - start)
cpython = sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
told = {"version": sys.version.split()[0], "seconds": best, "fits": cpython and gil, "base": sys._base_executable}
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Interpreter:
    """``seconds``: what it took for the probe."""

    path: str
    version: str
    seconds: float


@cache
def quickest() -> tuple[Interpreter, ...]:
    """Every interpreter that can be used, the quickest first."""
    found: dict[str, Interpreter] = {}
    for candidate in _candidates():
        interpreter = _probe(candidate)
        if interpreter is not None:
            found.setdefault(os.path.realpath(interpreter.path), interpreter)
    return tuple(sorted(found.values(), key=lambda interpreter: interpreter.seconds))


def describe() -> str:
    """The choice in words, without a path of this machine."""
    first, *others = quickest()
    rest = "; ".join(f"{other.version}: {other.seconds / first.seconds:.2f} of its time" for other in others)
    return f"CPython {first.version}, the quickest build found" + (f" ({rest})" if rest else "")


def _candidates() -> list[str]:
    names = [f"python3.{minor}" for minor in MINORS] + ["python3"]
    folders = os.environ.get("PATH", "").split(os.pathsep)
    on_path = [shutil.which(name, path=folder) for folder in folders for name in names]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    managed = [str(path) for path in sorted(root.glob("3.*/bin/python3"))]
    return list(dict.fromkeys([sys.executable, *filter(None, on_path), *managed]))


def _probe(candidate: str) -> Interpreter | None:
    try:
        done = subprocess.run([candidate, "-c", PROBE], capture_output=True, text=True, timeout=PATIENCE, check=False)
        told = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return Interpreter(told["base"], told["version"], told["seconds"]) if told["fits"] else None
