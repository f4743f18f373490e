"""The fenced blocks of a Markdown document, and how they are run. The conventions stand in tests/README.md."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Self

from tests.cores import ROOT

_OF_TESTS = (ROOT / "tests" / "README.md", ROOT / "tests" / "hostile" / "README.md")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *_OF_TESTS])
FOREIGN = ("MAKE", "MFLAGS", "VIRTUAL_ENV")
PATIENCE = 180.0  # seconds for one command; `make demo` installs a whole environment

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_PEER = re.compile(r"12D3KooW\w+")


@dataclass(frozen=True)
class Block:
    """One fenced block: what stands behind its fence, its text, and the first line of it in the document."""

    document: Path
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Script:
    """Python to be run as one file, and the output that the document shows; None if it shows none."""

    block: Block
    code: str
    shown: str | None


@dataclass(frozen=True)
class Command:
    """One command line of a console block, and the output shown below it."""

    line: str
    shown: str

    @property
    def stays(self) -> bool:
        return self.line.endswith(" &")


def blocks(document: Path) -> list[Block]:
    """Every fenced block, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, text.count("\n", 0, match.start()) + 2, match[1].strip(), match[2])
        for match in _FENCE.finditer(text)
    ]


def scripts(document: Path) -> list[Script]:
    """The Python of a document; a block marked ``continued`` runs behind the one before it."""
    found: list[Script] = []
    whole = blocks(document)
    for block, after in zip_longest(whole, whole[1:]):
        if block.language == "python":
            before = found[-1].code + "\n" if block.info.endswith(" continued") else ""
            shown = after.text if after is not None and after.info == "text output" else None
            found.append(Script(block, before + block.text, shown))
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a console block: ``$`` begins one, the lines below it are its output."""
    pieces = re.split(r"^\$ ", block.text.replace("\\\n", ""), flags=re.MULTILINE)
    if pieces[0].strip():
        raise ValueError(f"{block}: output before the first command")
    return [Command(*piece.partition("\n")[::2]) for piece in pieces[1:]]


def matches(shown: str, printed: str) -> bool:
    """Whether the output is what the document shows: an ellipsis is anything, a peer id is any peer id.

    A line that is nothing but an ellipsis stands for any number of lines.
    """
    lines = []
    for line in shown.strip().splitlines():
        escaped = re.escape(_PEER.sub("\0", line.rstrip())).replace(re.escape("\0"), r"12D3KooW\w+")
        lines.append(r"(?:.*\n)*?" if line.strip() == "…" else escaped.replace("…", ".*") + r"[ \t]*\n")
    return re.fullmatch("".join(lines), printed.strip() + "\n") is not None


def environment() -> dict[str, str]:
    """That of the tests, with the commands of their Python first, and without what a make around them has set."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return plain | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def copy_of_the_tree(folder: Path) -> Path:
    """A checkout to run commands in: everything that is not ignored by git."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()]
    return Path(shutil.copytree(ROOT, folder / "tree", ignore=shutil.ignore_patterns(".git", *ignored)))


class Shell:
    """One shell for the commands of a block, so that variables and jobs live from one to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._bash = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, cwd=folder, env=environment(), text=True, start_new_session=True
        )

    def run(self, command: Command) -> tuple[int, str]:
        """Exit code and output; of one that stays, once it has printed what is shown or time is up."""
        self._count += 1
        output, code = self._folder / f".output{self._count}", self._folder / f".code{self._count}"
        body = command.line.removesuffix(" &")
        ending = " &" if command.stays else f"\necho $? > {code}.new; mv {code}.new {code}"
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{{ {body}\n}} > {output} 2>&1 < /dev/null{ending}\n")
        self._bash.stdin.flush()
        end = time.monotonic() + (PATIENCE if not command.stays else 20)
        while time.monotonic() < end:
            printed = output.read_text(encoding="utf-8") if output.exists() else ""
            if command.stays and matches(command.shown, printed):
                return 0, printed
            if code.exists():
                return int(code.read_text(encoding="utf-8")), output.read_text(encoding="utf-8")
            time.sleep(0.02)
        return -1, f"no end after {PATIENCE} s: {output.read_text(encoding='utf-8')}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the shell and everything that it started."""
        os.killpg(self._bash.pid, signal.SIGTERM)
        self._bash.__exit__(None, None, None)
