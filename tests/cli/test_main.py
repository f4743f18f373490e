"""The command line, as processes: what is printed, and with which code each command ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from stronghold_p2p import Firewall, Identity, LimitExceeded, Network, PeerId, Rejected, Rule
from stronghold_p2p import errors as failures
from stronghold_p2p.cli.failures import report
from stronghold_p2p.cli.main import main, parser
from stronghold_p2p.cli.output import compact, printable
from stronghold_p2p.cli.terminal import shown
from tests.cli.commands import (
    COMMAND,
    NOBODY,
    QUESTION,
    asks,
    brief,
    kept_out,
    line_of,
    listening,
    run,
    serving,
    told_by,
    watched,
)
from tests.peers import LOOPBACK, until
from tests.terminals import at_terminal

# ---------------------------------------------------------------------- request, ping, identify


async def test_request() -> None:
    async with serving() as (_, address):
        assert await run("request", address, '{"Say":"h\\u00e9"}') == (0, '{"Got":{"Say":"h\u00e9"}}\n', "")
        assert await told_by("request", address, "1") == (0, {"answer": {"Got": 1}})
        assert await run("request", address, "1", "--protocol", "/own/1") == (0, '"own"\n', "")


async def test_request_as_a_known_peer(tmp_path: Path) -> None:
    async with serving(rule=None) as (network, address):
        code, _, err = await run("request", address, '"Ping"')
        assert (code, err.startswith("stronghold-p2p: refused: ")) == (3, True)
        key = tmp_path / "alice.key"
        network.firewall.set(Rule.ALLOW, peer=Identity.load(key, create=True).peer_id)
        assert await run("request", address, '"Ping"', "--key", str(key)) == (0, '{"Got":"Ping"}\n', "")


@pytest.mark.parametrize(
    ("message", "code", "about"),
    [
        ('"Refuse"', 3, "refused: .* refused the request"),
        ('"Hang"', 4, "too late: no answer within 1.5 s"),
        ('"Break"', 1, "reset"),
    ],
)
async def test_a_request_that_fails(message: str, code: int, about: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (_, address):
        got, out, err = await run("request", address, message, "--timeout", "1.5")
        assert (got, out) == (code, "")
        assert re.fullmatch(f"stronghold-p2p: .*{about}.*\n", err)
        got, told = await told_by("request", address, message, "--timeout", "1.5")
        assert got == told["code"] == code
    caplog.clear()


@pytest.mark.parametrize("command", [["request", NOBODY, "1"], ["ping", NOBODY], ["identify", NOBODY]])
async def test_nobody_there(command: list[str]) -> None:
    code, out, err = await run(*command)
    assert (code, out) == (5, "")
    assert re.fullmatch("stronghold-p2p: unreachable: .*(failed|refused).*\n", err)


async def test_defect_11_somebody_else_there() -> None:
    async with serving() as (network, address):
        other = address.replace(str(network.peer_id), NOBODY.rpartition("/")[2])
        code, _, err = await run("ping", other)
        assert (code, f"ANOTHER PEER ANSWERS: {network.peer_id} answers where 12D3" in err) == (6, True)
        code, told = await told_by("ping", other)
        assert (code, told["error"], told["code"]) == (6, "PeerIdMismatch", 6)


async def test_ping() -> None:
    async with serving() as (_, address):
        code, out, err = await run("ping", address, "-n", "4")
        assert (code, err) == (0, "")
        assert re.fullmatch(r"(\d+\.\d\d ){4}ms; 4 of 4\n", out)
        code, told = await told_by("ping", address)
        assert (code, len(told["ms"])) == (0, 3)
        assert all(0 < time < 1_000 for time in told["ms"])


async def test_identify() -> None:
    async with serving() as (network, address):
        code, out, err = await run("identify", address)
        assert (code, err) == (0, "")
        assert re.match(r"tester/1; you are /ip4/127\.0\.0\.1/tcp/\d+\n", out)
        assert "serves /ipfs/ping/1.0.0\n" in out
        place = address.partition("/p2p/")[0]
        assert f"listens on {place} (signed)\n" in out
        code, told = await told_by("identify", address)
        assert (code, told["peer"], told["agent"]) == (0, str(network.peer_id), "tester/1")
        assert (told["addresses"], told["signed"]) == ([place], True)


# ---------------------------------------------------------------------- key


async def test_key(tmp_path: Path) -> None:
    file = tmp_path / "bob.key"
    code, out, _ = await run("key", str(file))
    peer = str(Identity.load(file).peer_id)
    assert (code, out) == (0, f"{peer} (new key in {file})\n")
    assert await run("key", str(file)) == (0, f"{peer} (key in {file})\n", "")
    assert await told_by("key", str(file)) == (0, {"peer": peer, "file": str(file), "created": False})
    file.chmod(0o644)
    code, out, err = await run("key", str(file))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "chmod" in err


# ---------------------------------------------------------------------- listen


async def test_the_user_is_the_firewall() -> None:
    async with watched() as (terminal, address), Network() as alice:
        request = asyncio.ensure_future(alice.request(address, {"Say": "\x1b[31m\u009bhi"}))
        asked = await terminal.shows(r"(12D3\S+) \(/ip4/127\.0\.0\.1/tcp/\d+\) asks (.*)\r\n")
        assert (asked[1], asked[2]) == (str(alice.peer_id), r'{"Say":"\u001b[31m\u009bhi"}')
        assert 58 <= int((await terminal.shows(QUESTION))[1]) <= 60
        terminal.press("x?y")
        await terminal.shows("yes\r\n")
        assert await request == {"Say": "\x1b[31m\u009bhi"}
        await terminal.shows(rf"answered {re.escape(brief(alice.peer_id))}: ")

        request = asyncio.ensure_future(alice.request(address, "x" * 5_000))
        assert len((await terminal.shows(r"asks (\S+) \(4802 characters more\)\r\n"))[1]) == 201
        terminal.press("y")  # for the one before, as there is no prompt yet: hostile row 154
        await terminal.shows(QUESTION)
        terminal.press("n\n")
        with pytest.raises(Rejected):
            await request
        await terminal.shows("refused ")

        assert await asks(terminal, alice, address, "a") == "x"
        assert await alice.request(address, "not asked any more") == "not asked any more"
        assert not terminal.is_as_usual()
        terminal.press("\x03")
        assert await terminal.ends() == 0
        assert terminal.is_as_usual()


def scopes(file: Path) -> dict[PeerId | None, Any]:
    return {scope.get("peer"): rule for scope, rule in Firewall.load(file).rules()}


async def test_never_is_remembered_too() -> None:
    async with watched() as (terminal, address), Network() as alice:
        with pytest.raises(Rejected):
            await asks(terminal, alice, address, "v")
        await kept_out(alice, address)


async def test_what_is_decided_for_good_is_kept_in_a_file(tmp_path: Path) -> None:
    file, key = tmp_path / "bob.toml", tmp_path / "bob.key"
    options = ("--rules", str(file), "--key", str(key))
    async with Network() as alice, Network() as carol, Network() as dave:
        async with watched(*options, "--allow", str(dave.peer_id)) as (terminal, address):
            assert not file.exists()
            assert await asks(terminal, alice, address, "y") == "x"
            assert not file.exists()
            assert await asks(terminal, alice, address, "a") == "x"
            await terminal.shows(rf"kept in {re.escape(str(file))}\r\n")
            with pytest.raises(Rejected):
                await asks(terminal, carol, address, "v")
            await terminal.shows(rf"kept in {re.escape(str(file))}\r\n")
            assert await dave.request(address, "by --allow") == "by --allow"
            terminal.press("\x03")
            assert await terminal.ends() == 0
        assert scopes(file) == {None: Rule.ASK, alice.peer_id: Rule.ALLOW, carol.peer_id: Rule.REJECT}
        async with watched(*options) as (terminal, address):
            assert await alice.request(address, "known") == "known"
            await kept_out(carol, address)
            assert await asks(terminal, dave, address, "y") == "x"


async def test_a_rules_file_that_is_edited_while_listen_runs(tmp_path: Path) -> None:
    file = tmp_path / "bob.toml"
    file.write_text('version = 1\n[[rules]]\nrule = "ask"\n')
    async with watched("--rules", str(file)) as (terminal, address), Network() as alice, Network() as carol:
        assert await asks(terminal, alice, address, "a") == "x"
        await terminal.shows(r"kept in \S+\r\n")
        file.write_text(file.read_text() + "maybe\n")
        await terminal.shows(rf"the rules stay as they are: {re.escape(str(file))}:\d+: ")
        assert await asks(terminal, carol, address, "a") == "x"
        await terminal.shows(r"not kept: \S+bob.toml")
        file.write_text(f'version = 1\n[[rules]]\npeer = "{alice.peer_id}"\nrule = "reject"\n')
        await terminal.shows(rf"rules loaded from {re.escape(str(file))}\r\n")
        await kept_out(alice, address)


async def test_questions_queue_up_and_their_time_is_shown() -> None:
    async with watched("--timeout", "3") as (terminal, address), Network() as alice, Network() as carol:
        first = asyncio.ensure_future(alice.request(address, 1))
        await terminal.shows("asks 1")
        assert (await terminal.shows(QUESTION))[1] in {"2", "3"}
        second = asyncio.ensure_future(carol.request(address, 2))
        assert (await terminal.shows(QUESTION))[0].endswith(", 1 more) ")
        terminal.press("y")
        assert await first == 1
        await terminal.shows("asks 2")
        terminal.press("y")  # once more for the first one
        assert (await terminal.shows(QUESTION))[1] in {"1", "2"}
        with pytest.raises(Rejected):
            await second
        await terminal.shows("too late: refused")
        third = asyncio.ensure_future(alice.request(address, 3))
        await terminal.shows("asks 3")
        third.cancel()
        await terminal.shows("no answer is needed any more")
        assert terminal.process.returncode is None


async def test_stopped_while_a_question_stands_there() -> None:
    async with watched() as (terminal, address), Network() as alice:
        request = asyncio.ensure_future(alice.request(address, 1))
        await terminal.shows(QUESTION)
        terminal.press("\x03")
        assert await terminal.ends() == 0
        assert terminal.is_as_usual()
        with pytest.raises(LimitExceeded) as caught:  # nobody has begun to work on it
            await request
        assert not caught.value.sent


async def test_defect_6_perf_is_asked_about_once() -> None:
    async with (
        watched("--perf") as (terminal, address),
        at_terminal(*COMMAND, "perf", address, "--bytes", "3000000") as measuring,
    ):
        await terminal.shows("asks /perf/1.0.0")
        await terminal.shows(QUESTION)
        terminal.press("y")
        await measuring.shows(r"upload \d+ %, \d+ MB/s")
        await measuring.shows(r"download \d+ %, \d+ MB/s")
        await measuring.shows(r"upload \d+\.\d MB/s, download \d+\.\d MB/s; 3000000 bytes each\r\n")
        assert await measuring.ends() == 0


async def test_perf_says_what_is_wrong() -> None:
    async with serving() as (_, address):
        code, out, err = await run("perf", address)
        assert (code, out) == (3, "")
        assert err.startswith("stronghold-p2p: refused: ")
    async with listening("--perf") as (_, address):
        code, _, err = await run("perf", address, "--bytes", "1000000")
        assert (code, len(err.splitlines())) == (3, 1)


async def test_perf_in_json(tmp_path: Path) -> None:
    key = tmp_path / "alice.key"
    peer = Identity.load(key, create=True).peer_id
    async with listening("--perf", "--allow", str(peer)) as (_, address):
        code, told = await told_by("perf", address, "--bytes", "1000001", "--key", str(key))
        assert (code, told["bytes"], set(told)) == (0, 1_000_001, {"bytes", "upload_mb_s", "download_mb_s"})
        assert min(told["upload_mb_s"], told["download_mb_s"]) > 0


async def test_a_command_that_is_interrupted() -> None:
    async with serving() as (network, address):
        async with at_terminal(*COMMAND, "request", address, '"Hang"') as terminal:
            await until(lambda: network.stats()["requests_in"], 20)
            terminal.press("\x03")
            assert await terminal.ends() == 130
        await until(lambda: not network.stats()["requests_in"])
        process = await asyncio.create_subprocess_exec(*COMMAND, "request", address, '"Hang"', stderr=PIPE)
        await until(lambda: network.stats()["requests_in"], 20)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, err = await process.communicate()
        assert (process.returncode, err) == (143, b"")


async def test_defect_12_without_a_terminal_only_rules_count() -> None:
    async with listening() as (process, address), Network() as alice:
        assert process.stderr is not None
        assert b"nobody can be asked" in await process.stderr.readline()
        await kept_out(alice, address)
        # Its whole id, for --allow; and one line, although both ids of the protocol were tried.
        assert await line_of(process) == f"refused {alice.peer_id}: /stronghold-p2p/1.0.0"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        assert await line_of(process) == ""


async def test_rules_from_a_file_without_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "bob.toml"
    async with Network() as alice, Network() as carol:
        file.write_text(f'version = 1\n[[rules]]\npeer = "{alice.peer_id}"\nrule = {{ only = ["Ping"] }}\n')
        async with listening("--rules", str(file), "--reply", "7", "--json") as (process, address):
            assert await alice.request(address, "Ping") == 7
            assert json.loads(await line_of(process))["verdict"] == "answered"
            with pytest.raises(Rejected):
                await alice.request(address, "Delete")
            assert json.loads(await line_of(process))["verdict"] == "refused"
            await kept_out(carol, address)  # --reply is for those whom the file lets in
            assert json.loads(await line_of(process))["verdict"] == "refused"
            file.write_text('version = 1\n[[rules]]\nrule = "allow"\n')
            told = json.loads(await line_of(process))
            assert told == {"told": f"rules loaded from {file}"}
            assert await carol.request(address, "Ping") == 7


@pytest.mark.parametrize(
    ("text", "about"),
    [("version = 2\n", ":1: version 2"), (None, "directory|regular file"), ("x" * (1 << 21), "too large")],
)
async def test_rules_that_cannot_be_used(tmp_path: Path, text: str | None, about: str) -> None:
    file = tmp_path / "bob.toml"
    if text is None:
        file.mkdir()
    else:
        file.write_text(text)
    code, out, err = await run("listen", LOOPBACK, "--rules", str(file))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(f"^stronghold-p2p: {re.escape(str(file))}.*({about})", err)


async def test_a_fixed_reply_is_for_everybody() -> None:
    async with listening("--reply", "null") as (process, address), Network() as alice:
        assert await alice.request(address, [1]) is None
        assert await line_of(process) == f"answered {brief(alice.peer_id)}: [1]"


async def test_peers_that_are_allowed_are_not_asked_about(tmp_path: Path) -> None:
    key = tmp_path / "bob.key"
    async with Network() as alice, Network() as carol, Network() as mallory:
        options = ["--allow", str(alice.peer_id), "--allow", str(carol.peer_id), "--json", "--key", str(key)]
        async with listening(*options, "--reply", "7") as (process, address):
            assert address.endswith(f"/p2p/{Identity.load(key).peer_id}")
            assert await alice.request(address, [1]) == 7
            assert await carol.request(address, [2]) == 7
            told = json.loads(await line_of(process))
            assert (told["peer"], told["request"], told["verdict"]) == (str(alice.peer_id), [1], "answered")
            await kept_out(mallory, address)


async def test_an_address_that_is_taken() -> None:
    async with serving() as (_, address):
        code, out, err = await run("listen", address.partition("/p2p/")[0])
        assert (code, out) == (1, "")
        assert re.fullmatch("stronghold-p2p: cannot listen on .*\n", err)


async def test_stopped_by_the_keyboard() -> None:
    async with listening() as (process, _):
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


# ---------------------------------------------------------------------- usage, errors


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["request"],
        ["request", "nonsense", "1"],
        ["request", NOBODY, "{"],
        ["request", NOBODY, "[" * 5_000],
        ["request", NOBODY, "Ping"],
        ["perf", NOBODY, "--bytes", "1" * 20],
        ["ping", NOBODY, "-n", "0"],
        ["ping", NOBODY, "--timeout", "0"],
        ["ping", NOBODY, "--timeout", "x"],
        ["listen", "--allow", "nonsense"],
        ["demo", "--answer", "maybe"],
    ],
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert told.err.startswith("stronghold-p2p: ")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    commands = ("demo", "key", "listen", "request", "ping", "identify", "perf", "rules")
    for arguments in (*([name] for name in commands), []):
        with pytest.raises(SystemExit) as caught:
            parser().parse_args([*arguments, "--help"])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert "exit codes: 0 done" in out
    assert all(f"\n    {name} " in out for name in commands)


def test_defect_13_logs_go_to_standard_error_and_are_ours() -> None:
    done = subprocess.run([*COMMAND, "ping", NOBODY, "-v"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (5, "")
    *logged, error = done.stderr.splitlines()
    assert error.startswith("stronghold-p2p: unreachable: ")
    assert [line for line in logged if " stronghold_p2p." not in line] == []
    assert [line for line in logged if "dialing /ip4/127.0.0.1/tcp/1 for 12D3" in line]
    assert [line for line in logged if "no connection to 12D3" in line]


def test_a_reader_that_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        done = subprocess.run([*COMMAND, "demo"], stdout=pipe, stderr=PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (failures.Rejected(), 3),
        (failures.UnsupportedProtocol("x"), 3),
        (failures.DeadlineExceeded("x", timeout=1), 4),
        (failures.DialError("x"), 5),
        (failures.PeerIdMismatch(expected="a", actual="b"), 6),
        (failures.ConfigError("x"), 2),
        (failures.ConnectionClosed("x"), 1),
        (failures.StreamReset(), 1),
        (failures.ListenError("x"), 1),
        (OSError("x"), 1),
    ],
)
def test_each_error_has_its_code(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert report(error, as_json=True) == code
    told = capsys.readouterr()
    assert told.err == ""
    assert json.loads(told.out) == {"error": type(error).__name__, "message": str(error), "code": code}


def test_nothing_can_steer_the_terminal() -> None:
    assert printable("a\x1b[31m\nb\u202e") == "a\ufffd[31m\ufffdb\ufffd"
    assert compact({"a": "\u00e9"}) == '{"a":"\u00e9"}'
    assert compact({"a": "\u009b\u202e"}) == '{"a":"\\u009b\\u202e"}'


def test_what_is_shown_of_a_request() -> None:
    assert shown(None, "/x\x1b/1") == "/x\ufffd/1"
    assert shown({"a": 1}, "/x/1") == '{"a":1}'
    assert shown("x" * 500, "/x/1") == '"' + "x" * 199 + "\N{HORIZONTAL ELLIPSIS} (302 characters more)"
