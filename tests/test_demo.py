"""The demo: both endings, and that its answer really came from the other process."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

import pytest

from stronghold_p2p.cli.demo import CAST
from tests.cores import ROOT

WHO: Final = r"12D3\.\.(?P<{0}>\w{{6}}) \(process (?P<{0}_process>\d+)\)"
BEGINNING: Final = (
    rf"relay  {WHO.format('relay')} relays at /ip4/127\.0\.0\.1/tcp/\d+\n"
    rf"bob    {WHO.format('bob')} listens nowhere: who wants to reach him goes through the relay\n"
    r"       his firewall lets nobody in; about alice he wants to be asked\n"
    rf'carol  {WHO.format("carol")} asks "Ping": bob\'s firewall refuses, and he is not even asked\n'
    r"       carol got UnsupportedProtocol: for her, bob serves nothing\n"
    rf'alice  {WHO.format("alice")} asks "Ping": bob\'s firewall asks bob, and he says '
)
CIPHERTEXT: Final = r"relay  has carried (?P<carried>\d+) bytes, and has found in them neither "
END: Final = r"done in (?P<seconds>\d+\.\d) s: four processes, each with its own key, every connection encrypted\n"
YES: Final = (
    r"yes\n       bob makes up a number for his answer: (?P<made>[0-9a-f]{16})\n"
    r'       alice got {"Pong":"(?P<got>[0-9a-f]{16})"} in (?P<ms>\d+) ms, connecting included\n'
    rf"{CIPHERTEXT}Ping nor Pong nor (?P=made)\n"
)
NO: Final = rf"no\n       alice got Rejected, and no answer\n{CIPHERTEXT}Ping\n"


def demo(*arguments: str) -> str:
    command = [sys.executable, "-m", "stronghold_p2p", "demo", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def story(ending: str, text: str) -> dict[str, str]:
    told = re.fullmatch(BEGINNING + ending + END, text)
    assert told is not None, text
    found = told.groupdict()
    assert int(found["carried"]) > 1_000
    assert len({found[name] for name in CAST}) == len({found[f"{name}_process"] for name in CAST}) == 4
    assert float(found["seconds"]) < 60
    return found


@pytest.mark.parametrize("arguments", [(), ("--answer", "yes")])
def test_yes_is_an_answer_with_the_number_of_the_other_process(arguments: tuple[str, ...]) -> None:
    first, second = story(YES, demo(*arguments)), story(YES, demo(*arguments))
    for told in (first, second):
        assert told["made"] == told["got"]
    assert first["made"] != second["made"]
    assert first["alice"] != second["alice"]


def test_no_is_a_refusal_and_still_a_success() -> None:
    story(NO, demo("--answer", "no"))
