"""Every snippet and every command in the documents is run, and every link leads somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import snippets
from tests.cores import ROOT
from tests.snippets import DOCUMENTS, Block, Command, Script

# The commands that are not run here, each with its reason.
NOT_RUN = {
    "make test": "runs this very test",
    "make test-all": "the same on every Python",
    "make bench": "takes many minutes and all cores; tests/benchmarks has its own tests",
    "make cost": "measures the processor for two minutes; tests/hostile/test_cost.py plays it in small",
    "make scale": "measures time and memory for a minute; tests/benchmarks plays it in small",
}
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# What asyncio's debug mode says when the machine is busy.
SLOW = re.compile(r"^Executing <.* took \d+\.\d+ seconds\n", re.MULTILINE)
LANGUAGES = {"python", "console", "text", "toml", "json", "stubs", "mermaid"}

BLOCKS = [block for document in DOCUMENTS for block in snippets.blocks(document)]
SCRIPTS = [script for document in DOCUMENTS for script in snippets.scripts(document)]
CONSOLES = [
    pytest.param(block, id=str(block), marks=[pytest.mark.long(15)] if "make demo" in block.text else [])
    for block in BLOCKS
    if block.language == "console"
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def inline(document: Path) -> list[str]:
    """Every piece of code in running text."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", document.read_text(encoding="utf-8")))


def anchors(document: Path) -> set[str]:
    """What a link into a document can name: its headings, as the usual viewers spell them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def plain(command: Command) -> str:
    """Without the comment behind it."""
    return command.line.partition(" #")[0].strip()


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES
    if block.language == "toml":
        assert tomllib.loads(block.text)
    if block.language == "json":
        assert json.loads(block.text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.block))
def test_python_runs(script: Script, tmp_path: Path) -> None:
    named = re.match(r"# (\w+\.py)\b", script.code)
    file = tmp_path / (named[1] if named else "snippet.py")
    file.write_text(script.code, encoding="utf-8")
    command = [sys.executable, "-W", "error", "-X", "dev", file.name]
    run = subprocess.run(
        command, cwd=tmp_path, env=snippets.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, SLOW.sub("", run.stderr)) == (0, "")
    assert script.shown is None or snippets.matches(script.shown, SLOW.sub("", run.stdout)), run.stdout


@pytest.mark.parametrize("block", CONSOLES)
def test_commands_run(block: Block, tmp_path: Path) -> None:
    with snippets.Shell(snippets.copy_of_the_tree(tmp_path)) as shell:
        for command in snippets.commands(block):
            if plain(command) in NOT_RUN:
                continue
            code, printed = shell.run(command)
            assert code == 0, f"$ {command.line}\n{printed}"
            assert not command.shown.strip() or snippets.matches(command.shown, printed), f"$ {command.line}\n{printed}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_in_running_text_exist(document: Path) -> None:
    for code in inline(document):
        if target := re.match(r"make ([a-z-]+)", code):
            assert target[1] in TARGETS, code
        if module := re.match(r"python -m ([\w.]+)", code):
            assert find_spec(module[1]) is not None, code


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_shows_the_first_example_and_the_two_commands() -> None:
    readme = ROOT / "README.md"
    consoles = [block for block in snippets.blocks(readme) if block.language == "console"]
    told = {plain(command) for block in consoles for command in snippets.commands(block)}
    assert {"make demo", "make test"} <= told | set(inline(readme))
    assert snippets.scripts(readme)[0].block.line <= 30
    assert set(NOT_RUN) <= {f"make {target}" for target in TARGETS}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("alice got 5\n", "alice got 5\n", True),
        ("alice got 5\n", "alice got 6\n", False),
        ("took … ms\n", "took 2.1 ms\n", True),
        ("12D3KooWabc asks\n", "12D3KooWxyz asks\n", True),
        ("12D3KooWabc asks\n", "QmXyz asks\n", False),
        ("a\n…\nz\n", "a\nb\nc\nz\n", True),
        ("a\n…\nz\n", "a\nz\n", True),
        ("a\n…\nz\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_output_is_compared(shown: str, printed: str, same: bool) -> None:
    assert snippets.matches(shown, printed) is same


def test_a_shell_keeps_variables_and_ends_its_jobs(tmp_path: Path) -> None:
    with snippets.Shell(tmp_path) as shell:
        assert shell.run(Command("X=5", "")) == (0, "")
        assert shell.run(Command("echo $X; false", "")) == (1, "5\n")
        assert shell.run(Command("echo ready; sleep 60 &", "ready\n")) == (0, "ready\n")


SAMPLE = """# Title

```python
x = 1
```

Text.

```python continued
print(x)
```

```text output
1
```

```console
$ echo one \\
    two
one two
$ true
```
"""


def test_blocks_are_found(tmp_path: Path) -> None:
    document = tmp_path / "sample.md"
    document.write_text(SAMPLE, encoding="utf-8")
    first, second = snippets.scripts(document)
    assert (first.code, first.shown, first.block.line) == ("x = 1\n", None, 4)
    assert (second.code, second.shown) == ("x = 1\n\nprint(x)\n", "1\n")
    console = snippets.blocks(document)[-1]
    assert snippets.commands(console) == [Command("echo one     two", "one two\n"), Command("true", "")]
