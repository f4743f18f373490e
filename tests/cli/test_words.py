"""What the command line says, to whom, and what it leaves alone: faults that users met, each by its number."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
from asyncio import create_subprocess_exec, sleep, timeout
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import stronghold_p2p
from stronghold_p2p import DeadlineExceeded, Firewall, Identity, LimitExceeded, Network, Rule
from stronghold_p2p.cli import listen, reading
from stronghold_p2p.cli.failures import report
from stronghold_p2p.cli.main import main
from tests.cli.commands import COMMAND, NOBODY, asks, line_of, run, serving
from tests.firewall.attempts import attempt
from tests.peers import LOOPBACK
from tests.support.certificates import Authority
from tests.terminals import at_terminal

PEER = Identity.from_seed(b"p" * 32).peer_id
PLACE = "/ip4/127.0.0.1/tcp/1"
UNREACHABLE = 5


# ---------------------------------------------------------------------- terminals and readers that are not there


async def test_b04_in_the_background_the_terminal_is_left_alone() -> None:
    async with at_terminal(*COMMAND, "listen", LOOPBACK, background=True) as shell, Network() as alice:
        address = (await shell.shows(r"listening on (\S+)\r\n"))[1]
        await shell.shows("in the background nobody can be asked: .* fg brings it back")
        assert shell.is_as_usual()
        with pytest.raises(stronghold_p2p.Rejected):
            await alice.request(address, "x")
        await shell.shows("refused 12D3")
        shell.process.send_signal(signal.SIGUSR1)  # fg
        await becomes_unusual(shell)
        assert await asks(shell, alice, address, "y") == "x"
        shell.process.send_signal(signal.SIGUSR2)  # Ctrl-Z, bg
        with pytest.raises(stronghold_p2p.Rejected):
            while True:  # until it has noticed
                with suppress(DeadlineExceeded):
                    await alice.request(address, "x", timeout=0.5)
        shell.press("y")  # to the shell
        await shell.shows("refused 12D3")
        shell.process.send_signal(signal.SIGTERM)
        assert await shell.ends() == 0


async def becomes_unusual(shell: Any) -> None:
    async with timeout(20):
        while shell.is_as_usual():
            await sleep(0.02)


async def test_b04_who_asks_nobody_needs_no_terminal() -> None:
    async with at_terminal(*COMMAND, "listen", LOOPBACK, "--reply", '"Pong"', background=True) as shell:
        address = (await shell.shows(r"listening on (\S+)\r\n"))[1]
        async with Network() as alice:
            assert await alice.request(address, "Ping") == "Pong"
        assert shell.is_as_usual()
        shell.process.send_signal(signal.SIGTERM)
        assert await shell.ends() == 0


@pytest.mark.parametrize("full", [False, True], ids=["gone", "full"])
async def test_b11_a_peer_is_answered_whoever_reads_of_it(full: bool) -> None:
    out = os.open("/dev/full", os.O_WRONLY) if full else -1
    reading_end = -1
    if not full:
        reading_end, out = os.pipe()
    process = await create_subprocess_exec(
        *COMMAND, "listen", LOOPBACK, "--reply", '"Pong"', "-v", stdin=PIPE, stdout=out, stderr=PIPE
    )
    os.close(out)
    assert process.stderr is not None
    async with timeout(20), Network() as alice:
        while not (found := re.search(r"listening on (\S+) net=(\S+)", (await process.stderr.readline()).decode())):
            pass
        if not full:
            os.close(reading_end)
        for _ in range(3):
            assert await alice.request(f"{found[1]}/p2p/{found[2]}", "Ping") == "Pong"
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
    assert process.returncode == 0
    assert err.decode().count("standard output takes no more") == 1
    assert "Traceback" not in err.decode()


def test_b11_a_full_disk_is_an_error_in_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [*COMMAND, "key", str(tmp_path / "bob.key")]
        done = subprocess.run(command, stdout=full, stderr=PIPE, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, "stronghold-p2p: [Errno 28] No space left on device\n")


async def test_b11b_without_a_standard_error_notes_are_lost() -> None:
    line = f"exec {' '.join(COMMAND)} listen {LOOPBACK} 2>&-"
    process = await create_subprocess_exec("sh", "-c", line, stdin=PIPE, stdout=PIPE)
    assert re.match("listening on ", await line_of(process))
    process.send_signal(signal.SIGTERM)
    async with timeout(20):
        out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"")


# ---------------------------------------------------------------------- ping


async def test_defect_7_what_was_measured_is_told_however_it_ends() -> None:
    async with serving() as (_, address), at_terminal(*COMMAND, "ping", address, "-n", "100000000") as terminal:
        await terminal.shows(r"ping 0 %, \d+ sent")
        terminal.press("\x03")
        await terminal.shows(r"min \d+\.\d\d, median \d+\.\d\d, max \d+\.\d\d ms; \d+ of 100000000\r\n")
        assert await terminal.ends() == 130


# ---------------------------------------------------------------------- errors, in the words of the command line


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["listen", "foo"], "'foo': no address: one to listen on looks like /ip4/"),
        (["listen", "--allow", "bob"], "'bob': no peer id: a peer id looks like 12D3KooW"),
        (["ping", str(PEER)], "'12D3.*no address: an address looks like /ip4/"),
        (["ping", f"/p2p/{PEER}"], "only a peer id: say where the peer is"),
        (["ping", f"{PLACE}/p2p/xyz"], "'/ip4/127.0.0.1/tcp/1/p2p/xyz': .*a peer id looks like"),
        (["ping", PLACE, "--timeout", "x"], "--timeout: 'x': take more than 0 seconds"),
        (["perf", PLACE, "--bytes", "1MB"], "--bytes: '1MB': take a whole number"),
        (["ping", PLACE, "--time", "1"], "unrecognized arguments: --time"),
        (["request", PLACE, "@/nowhere/x.json"], "'@/nowhere/x.json': No such file"),
        (["request", PLACE, PLACE, "--timeout", "1", "1"], "options stand before the addresses, or behind the JSON"),
        (["ping", PLACE, "--key", "missing.key"], "missing.key does not exist: stronghold-p2p key missing.key"),
        (["key", "missing.key", "--public"], "missing.key does not exist: stronghold-p2p key missing.key"),
    ],
    ids=" ".join,
)
def test_defect_10_errors_are_about_the_command(
    arguments: list[str], about: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert re.search(about, told.err)
    for words in (["--json", *arguments], [*arguments, "--json"]):
        assert main(words) == 2
        told = capsys.readouterr()
        assert told.err == ""
        answer = json.loads(told.out)
        assert (answer["error"], answer["code"]) in {("UsageError", 2), ("ConfigError", 2)}
        assert re.search(about, answer["message"])


def test_defect_10_what_only_programs_can_raise_is_not_advised(capsys: pytest.CaptureFixture[str]) -> None:
    told = "max_request 10/9: send less, or raise it in the RequestProtocol"
    assert report(LimitExceeded(told, limit="max_request")) == 1
    assert capsys.readouterr().err == "stronghold-p2p: max_request 10/9: send less\n"


def test_defect_10_what_to_raise_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    for phase in ("dial", "connecting", "negotiate", "wait", "ping", "upload"):
        late = DeadlineExceeded("no answer within 10 s: raise Timeouts.negotiate", timeout=10, phase=phase)
        assert report(late, timeout=3) == 4
        assert re.fullmatch("stronghold-p2p: too late: [a-z ]+ within 3 s: raise --timeout\n", capsys.readouterr().err)


def test_defect_10_json_has_the_class_of_the_exception(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "ping", NOBODY]) == 5
    told = capsys.readouterr()
    assert (json.loads(told.out)["error"], told.err) == ("DialError", "")


INTERRUPTED = """
import os, signal, sys, stronghold_p2p_command
class Finder:
    def find_spec(self, name, *_):
        if name == "stronghold_p2p":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
stronghold_p2p_command.main()
"""


def test_defect_10_an_early_interruption_is_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_defect_10_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"stronghold-p2p {stronghold_p2p.__version__}\n"


async def test_defect_12_a_request_under_two_ids_is_refused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = listen.Refusals()
    unread, read = attempt(PEER, view=None), attempt(PEER, view="Ping")
    assert [refusals.new(one) for one in (unread, unread, unread, read, read)] == [True, False, True, True, True]
    monkeypatch.setattr(listen, "TOGETHER", 0.0)  # later
    assert [refusals.new(unread), refusals.new(unread)] == [True, True]


# ---------------------------------------------------------------------- what was missed


def test_rules_check_says_what_a_file_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bob.toml"
    firewall = Firewall()
    firewall.set(Rule.only(["Ping"], otherwise=Rule.ASK))
    firewall.set(Rule.ALLOW, peer=PEER, protocol="/stronghold-p2p/1.0")
    firewall.ban(PEER)
    firewall.save(file)
    assert main(["rules", "check", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"peer {PEER}, protocol /stronghold-p2p/1.0: allow\n" in out
    assert "everybody: only Ping, else ask\n" in out
    assert f"{PEER}: banned\n" in out
    assert "but: the rule for peer" in out
    assert "is /stronghold-p2p/1.0.0 meant?" in out
    assert main(["rules", "check", str(file), "--variant", "Pign"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "ask: somebody whom no rule names is asked about with Pign of /stronghold-p2p/1.0.0 (by only@default)"
    )
    assert "no rule names the variant Pign: is Ping meant?" in out
    assert main(["rules", "check", str(file), "--peer", str(PEER), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (told["verdict"], told["rule"], told["peer"]) == ("reject", "ban", str(PEER))
    assert main(["rules", "check", str(file), "--protocol", "conection"]) == 2
    file.write_text("version = 2\n")
    capsys.readouterr()
    assert main(["rules", "check", str(file)]) == 2
    assert f"{file}:1: version 2" in capsys.readouterr().err


def test_a_public_key_is_shown_and_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bob.key"
    assert main(["key", str(file), "--public"]) == 2
    assert not file.exists()
    identity = Identity.load(file, create=True)
    assert main(["key", str(file), "--public"]) == 0
    assert capsys.readouterr().out.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert main(["key", str(file), "--public", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["peer"] == str(identity.peer_id)


def test_a_message_comes_from_a_file_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ask.json"
    file.write_text('{"Say": "hi"}\n')
    assert reading.message(f"@{file}") == {"Say": "hi"}
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"[1]\n")))
    assert reading.message("-") == [1]
    monkeypatch.setattr(reading, "LONGEST", 8)
    with pytest.raises(argparse.ArgumentTypeError, match="more than 8 bytes"):
        reading.message(f"@{file}")


async def test_several_peers_are_asked_at_once() -> None:
    async with serving() as (_, first), serving(Rule.REJECT) as (_, second):
        code, out, err = await run("request", second, first, "1", "--json")
        told = {one["addr"]: one for one in map(json.loads, out.splitlines())}
        assert (code, err, told[first]["answer"], told[second]["code"]) == (3, "", {"Got": 1}, 3)


# ---------------------------------------------------------------------- certificates


async def test_secure_websocket_with_files(tmp_path: Path) -> None:
    """The listener shows a certificate, and who dials trusts its authority by ``--ca``."""
    authority = Authority(tmp_path)
    tls = authority.issue("127.0.0.1")
    shown = ["--tls-cert", str(tls.certificate), "--tls-key", str(tls.key), "--reply", '"Pong"']
    process = await create_subprocess_exec(*COMMAND, "listen", f"{LOOPBACK}/tls/ws", *shown, stdout=PIPE, stderr=PIPE)
    try:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().split()[-1]
        assert await run("request", "--ca", str(authority.ca), address, '"Ping"') == (0, '"Pong"\n', "")
        code, _, said = await run("request", address, '"Ping"')
        assert code == UNREACHABLE
        assert "does not trust its authority" in said
    finally:
        process.terminate()
        await process.communicate()
