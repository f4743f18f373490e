"""What a reader must know about the machine to judge the figures."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks import build, interpreter


def describe() -> list[tuple[str, str]]:
    """Rows of name and value."""
    return [
        ("processor", f"{processor()}, {os.cpu_count()} cores"),
        ("system", f"{system()}, Linux {platform.release()}" if platform.system() == "Linux" else platform.platform()),
        ("Python", interpreter.describe()),
        ("cryptography", version("cryptography")),
        ("uvloop", optional_version("uvloop")),
        ("Go", tool("go", "version")),
        ("Node.js", tool("node", "--version")),
        ("Rust", tool("rustc", "--version")),
        ("this repository", commit()),
    ]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def optional_version(distribution: str) -> str:
    try:
        return version(distribution)
    except ImportError:
        return "not installed"


def tool(name: str, argument: str) -> str:
    return run(name, argument) or "not installed"


def commit() -> str:
    changed = run("git", "status", "--porcelain", "--untracked-files=no", "--", "stronghold_p2p", "harness")
    return f"commit {run('git', 'rev-parse', '--short', 'HEAD') or 'unknown'}{' and changes' if changed else ''}"


def run(name: str, *arguments: str) -> str:
    program = shutil.which(name)
    if program is None:
        return ""
    done = subprocess.run([program, *arguments], cwd=build.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
