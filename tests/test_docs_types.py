"""The snippets for users type-check under ``mypy --strict``, from outside the package, against the installed one."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests import snippets
from tests.cores import ROOT

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


# What ``messages`` gives for each way to name a type, and that it is no other type.
FORMS = """
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeAlias, TypeVar, assert_type

from stronghold_p2p import Codec, Network, RequestProtocol, messages

X = TypeVar("X")

@dataclass
class Ping: ...

@dataclass
class Say:
    text: str

class Pair(NamedTuple):
    left: int
    right: int

@dataclass
class Box(Generic[X]):
    content: X

Message = Ping | Say
Explicit: TypeAlias = Ping | Pair

assert_type(messages(Say), Codec[Say])
assert_type(messages(Say, tagged=False), Codec[Say])
assert_type(messages(Message), Codec[Ping | Say])
assert_type(messages(Ping | Say), Codec[Ping | Say])
assert_type(messages(Box[int]), Codec[Box[int]])
assert_type(messages(list[Say] | None), Codec[list[Say] | None])
explicit: Codec[Explicit] = messages(Explicit)
echo = RequestProtocol("/echo/1", request=messages(Message), response=messages(Say))
say = RequestProtocol("/say/1", request=messages(Say), response=messages(Say))
assert_type(echo, RequestProtocol[Ping | Say, Say])

async def ask(network: Network) -> None:
    print(await network.request("/ip4/127.0.0.1/tcp/1", Say("hi"), say))
    assert_type(await network.request("/ip4/127.0.0.1/tcp/1", Ping(), echo), Say)
    await network.request("/ip4/127.0.0.1/tcp/1", Ping(), say)  # type: ignore[misc]
    network.on_request(echo)(lambda request: Say(str(request.message)))
    network.on_request(say)(lambda request: request.message)
    network.on_request(say)(lambda request: Ping())  # type: ignore[arg-type, return-value]

messages(Say).encode(Ping())  # type: ignore[arg-type]
messages(Message).decode(b"").text  # type: ignore[union-attr]
messages(3)  # type: ignore[arg-type]
"""

STAR = """
from typing import Any

from stronghold_p2p import *

network: Network = Network(identity=Identity())
rule: Rule = Rule.ALLOW
echo: RequestProtocol[Any, Any] = RequestProtocol("/echo/1", request=JSON, response=messages(str))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that has to succeed."""
    environment = snippets.environment()
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def installed(folder: Path) -> Path:
    """The Python of a fresh environment with our package in it, and what it needs behind that."""
    venv.create(folder / "env")
    python = folder / "env" / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder))
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    tree = snippets.copy_of_the_tree(folder)
    run(*pip, "--no-build-isolation", f"--target={packages}", tree, cwd=folder)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python


@pytest.mark.long(4)
def test_snippets_type_check_as_programs_of_a_user(tmp_path: Path) -> None:
    scripts = [script for document in DOCUMENTS for script in snippets.scripts(document)]
    assert len(scripts) >= 10
    programs = tmp_path / "programs"
    programs.mkdir()
    for script in scripts:
        name = f"{script.block.document.stem.lower()}_{script.block.line}.py"
        (programs / name).write_text(script.code, encoding="utf-8")
    (programs / "star.py").write_text(STAR, encoding="utf-8")
    (programs / "forms.py").write_text(FORMS, encoding="utf-8")
    options = (f"--cache-dir={tmp_path / 'cache'}", f"--python-executable={installed(tmp_path)}")
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", *options)
    run(*mypy, ".", cwd=programs)
    (programs / "wrong.py").write_text("import stronghold_p2p\n\nstronghold_p2p.Network(listen=5)\n", encoding="utf-8")
    wrong = subprocess.run([*mypy, "wrong.py"], cwd=programs, capture_output=True, text=True, check=False)
    assert "arg-type" in wrong.stdout
