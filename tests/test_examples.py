"""examples/: each program between real processes, what works and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest

from stronghold_p2p import JSON, Identity, Network, Rejected, RequestProtocol, UnsupportedProtocol
from tests.cores import ROOT
from tests.terminals import at_terminal

PATIENCE = 30.0


def program(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-u", str(ROOT / "examples" / name), *map(str, arguments)]


def run(name: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = program(name, *arguments)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


@contextmanager
def serving(name: str, *arguments: object, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A server; whatever happens it is gone afterwards."""
    command = program(name, *arguments)
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            yield process
            process.terminate()
            process.wait(PATIENCE)
        finally:
            process.kill()
    assert "Traceback" not in (folder / "errors").read_text()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def address_in(text: str) -> str:
    return next(word for word in text.split() if word.startswith("/ip4/127.0.0.1/"))


def test_echo(tmp_path: Path) -> None:
    friend = run("echo.py", "id", "--key", "me.key", folder=tmp_path).stdout.strip()
    stranger = run("echo.py", "id", "--key", "other.key", folder=tmp_path).stdout.strip()
    options = ("serve", "--key", "server.key", "--allow", friend, "--port", "0")
    with serving("echo.py", *options, folder=tmp_path) as server:
        address = address_in(line(server))
        echoed = run("echo.py", "ask", address, "hello", "--key", "me.key", folder=tmp_path)
        assert echoed.stdout.startswith("hello ("), echoed.stderr
        assert line(server) == f"answered {friend}: 'hello'"
        refused = run("echo.py", "ask", address, "hello", "--key", "other.key", folder=tmp_path)
        assert refused.returncode == 1
        assert f"refused; give {stranger}" in refused.stderr
        assert line(server) == f"refused  {stranger}"
        rules = tmp_path / "rules.toml"
        rules.write_text(f'version = 1\n[[rules]]\npeer = "{stranger}"\nrule = "allow"\n')
        told = line(server)
        while told == f"refused  {stranger}":  # once more, if identify had not told yet what is served
            told = line(server)
        assert told == "rules.toml: the new rules hold"
        assert run("echo.py", "ask", address, "now", "--key", "other.key", folder=tmp_path).stdout.startswith("now (")
        nobody = address.replace(address.rpartition("/")[2], str(Identity().peer_id))
        assert "answers where 12D3" in run("echo.py", "ask", nobody, "x", "--key", "me.key", folder=tmp_path).stderr


async def test_counter(tmp_path: Path) -> None:
    owner = Identity.load(tmp_path / "owner.key", create=True).peer_id
    Identity.load(tmp_path / "friend.key", create=True)

    async def call(*arguments: object, key: str = "friend.key") -> Process:
        command = program("counter.py", *arguments, "--key", tmp_path / key)
        return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)

    async def said(process: Process) -> tuple[int | None, str]:
        out, errors = await process.communicate()
        return process.returncode, (out or errors).decode().strip()

    command = program("counter.py", "serve", "--listen", "/ip4/127.0.0.1/tcp/0", "--owner", owner, "--limit", "20")
    async with at_terminal(*command) as terminal:
        address = address_in((await terminal.shows(r"/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+\s"))[0])
        assert await said(await call("read", address)) == (0, "0")
        adding = await call("add", address, 5)
        await terminal.shows(r"asks Add\(amount=5\)\s+\[y\]es \[a\]lways \[n\]o")
        terminal.press("a\n")
        assert await said(adding) == (0, "5")
        assert await said(await call("add", address, 2)) == (0, "7")  # always
        refused = "refused, or nobody there decided in time: the total is as it was"
        assert await said(await call("reset", address)) == (3, refused)
        assert await said(await call("reset", address, key="owner.key")) == (0, "0")
        adding = await call("add", address, 1, key="owner.key")
        await terminal.shows(r"asks Add\(amount=1\)\s+\[y\]es \[a\]lways \[n\]o")
        terminal.press("n\n")
        assert (await said(adding))[0] == 3
    assert (await said(await call("read", address)))[0] == 5  # it has gone


def test_transfer(tmp_path: Path) -> None:
    inbox, big, small = tmp_path / "inbox", tmp_path / "big.bin", tmp_path / "small.txt"
    inbox.mkdir()
    big.write_bytes(os.urandom(5_000_000))
    small.write_text("hello")
    sender = Identity.load(tmp_path / "sender.key", create=True).peer_id
    options = ("receive", inbox, "--from", sender, "--listen", "/ip4/127.0.0.1/tcp/0", "--limit", "6")
    with serving("transfer.py", *options, folder=tmp_path) as receiver:
        line(receiver)
        address = address_in(line(receiver))
        sent = run("transfer.py", "send", address, big, small, folder=tmp_path)
        assert sent.returncode == 0, sent.stderr
        assert hashlib.sha256((inbox / "big.bin").read_bytes()).digest() == hashlib.sha256(big.read_bytes()).digest()
        assert (inbox / "small.txt").read_text() == "hello"
        again = run("transfer.py", "send", address, small, folder=tmp_path)
        assert (again.returncode, "is there already" in again.stdout) == (1, True)
        stranger = run("transfer.py", "send", address, small, "--key", tmp_path / "stranger.key", folder=tmp_path)
        assert (stranger.returncode, "not let in" in stranger.stderr) == (1, True)
        big.write_bytes(bytes(6_000_001))
        assert "has more than" in run("transfer.py", "send", address, big, folder=tmp_path).stdout
    assert {path.name for path in inbox.iterdir()} == {"big.bin", "small.txt"}


def test_t14_ping_pong(tmp_path: Path) -> None:
    with serving("ping_pong.py", folder=tmp_path) as server:
        address = address_in(line(server))
        pinged = run("ping_pong.py", address, "-n", "2", folder=tmp_path)
        assert (pinged.returncode, pinged.stdout.count("Pong after ")) == (0, 2), pinged.stderr
        assert line(server).startswith("Ping from 12D3")
    gone = run("ping_pong.py", address, folder=tmp_path)
    assert (gone.returncode, gone.stderr.startswith("ping_pong.py: ")) == (1, True)


async def test_t14_dynamic_firewall(tmp_path: Path) -> None:
    """It really asks: about a peer without a rule, and then, if that was the answer, about each request."""
    protocol = RequestProtocol("/dynamic/1.0.0", request=JSON, response=JSON)
    new, each = r"12D3\w+ is new\s+\[y\]es \[n\]o \[a\]sk each time \[p\]ings only", r"asks Say\(text='hi'\)"
    async with AsyncExitStack() as stack:
        terminal = await stack.enter_async_context(at_terminal(*program("dynamic_firewall.py", "serve")))
        address = address_in((await terminal.shows(r"/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+\s"))[0])
        friend, foe, other, pinger, odd = [await stack.enter_async_context(Network()) for _ in range(5)]

        async def said(client: Network, message: Any, *questions: tuple[str, str]) -> Any:
            """What the client is told, when these questions were answered."""
            asking = asyncio.ensure_future(client.request(address, message, protocol, timeout=20))
            for question, answer in questions:
                await terminal.shows(question)
                terminal.press(f"{answer}\n")
            try:
                return await asking
            except (Rejected, UnsupportedProtocol):
                return None

        say = {"Say": "hi"}
        assert await said(friend, "Ping", (new, "y")) == "Pong"
        assert await said(friend, say) == "heard 'hi'"  # not asked again
        assert await said(foe, "Ping", (new, "n")) is None
        assert await said(foe, "Ping") is None
        assert await said(other, say, (new, "a"), (each, "y")) == "heard 'hi'"
        assert await said(other, say, (each, "n")) is None
        assert await said(pinger, "Ping", (new, "p")) == "Pong"
        assert await said(pinger, say) is None
        assert await said(odd, say, (new, "?")) is None  # no answer: and so asked again
        assert await said(odd, say, (new, "y")) == "heard 'hi'"
        told = program("dynamic_firewall.py", "say", address, "hi")
        client = await asyncio.create_subprocess_exec(*told, stdout=PIPE, stderr=PIPE)
        await terminal.shows(new)
        terminal.press("n\n")
        assert (await client.communicate())[1].startswith(b"refused: ")
        assert client.returncode == 3


@pytest.mark.long(4)
def test_chat_survives_the_restart_of_its_room(tmp_path: Path) -> None:
    """What alice types while the room is away is said when it is back."""

    def member(name: str, errors: TextIO) -> subprocess.Popen[str]:
        command = program("chat.py", "join", address, "--name", name)
        return subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True, bufsize=1)

    def until(who: subprocess.Popen[str], wanted: str) -> None:
        """The members join in any order, so the room greets one or two of them."""
        while wanted not in (told := line(who)):
            assert told

    options = ("serve", "--key", "room.key", "--listen")
    with ExitStack() as stack:
        room = stack.enter_context(serving("chat.py", *options, "/ip4/127.0.0.1/tcp/0", folder=tmp_path))
        address = address_in(line(room))
        errors = stack.enter_context((tmp_path / "members").open("w"))
        alice, bob = [stack.enter_context(member(name, errors)) for name in ("alice", "bob")]
        stack.callback(alice.kill)
        stack.callback(bob.kill)
        assert alice.stdin is not None
        assert bob.stdin is not None
        until(alice, "room: 2 are here")
        until(bob, "room: 2 are here")
        alice.stdin.write("hello\n")
        assert line(alice) == line(bob) == "alice: hello"
        room.kill()
        until(alice, "-- out of the room: ")
        until(bob, "-- out of the room: ")
        alice.stdin.write("is anybody there?\n")
        room.wait(PATIENCE)
        stack.enter_context(serving("chat.py", *options, address.partition("/p2p/")[0], folder=tmp_path))
        until(alice, "alice: is anybody there?")
        until(bob, "room: 2 are here")
        bob.stdin.write("I am\n")
        until(alice, "bob: I am")
        until(bob, "bob: I am")
        for one in (alice, bob):
            assert one.stdin is not None
            one.stdin.close()  # Ctrl-D
            assert one.wait(PATIENCE) == 0
    assert not (tmp_path / "members").read_text()


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "examples").glob("*.py"))])
def test_each_tells_how_it_is_used(name: str, tmp_path: Path) -> None:
    shown = run(name, "--help", folder=tmp_path)
    assert shown.returncode == 0
    assert "usage" in shown.stdout
