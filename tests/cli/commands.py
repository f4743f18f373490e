"""Commands as processes of ours, with and without a terminal."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stronghold_p2p import Identity, Network, Rejected, Request, RequestProtocol, Rule
from stronghold_p2p import errors as failures
from stronghold_p2p.request_response.codecs.codec import JSON
from tests.peers import LOOPBACK
from tests.terminals import Terminal, at_terminal

COMMAND = (sys.executable, "-m", "stronghold_p2p")
NOBODY = f"/ip4/127.0.0.1/tcp/1/p2p/{Identity.from_seed(b'n' * 32).peer_id}"


async def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error; never a traceback."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert "Traceback" not in err.decode()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def told_by(*arguments: str) -> tuple[int, Any]:
    """Exit code, and the JSON on standard output; nothing else is said."""
    code, out, err = await run(*arguments, "--json")
    assert err == ""
    return code, json.loads(out)


@asynccontextmanager
async def serving(rule: Rule | None = Rule.ALLOW) -> AsyncIterator[tuple[Network, str]]:
    network = Network(listen=[LOOPBACK], agent="tester/1")
    if rule is not None:
        network.firewall.set(rule)

    @network.on_request
    async def answer(request: Request[Any]) -> Any:
        if request.message == "Refuse":
            raise Rejected
        if request.message == "Hang":
            await asyncio.Event().wait()
        if request.message == "Break":
            return object()
        return {"Got": request.message}

    own: RequestProtocol[Any, Any] = RequestProtocol("/own/1", request=JSON, response=JSON)
    network.on_request(own)(lambda request: "own")
    async with network:
        yield network, str(network.addresses[0])


@asynccontextmanager
async def listening(*arguments: str) -> AsyncIterator[tuple[Process, str]]:
    """A process that listens, and its address."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "listen", LOOPBACK, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process, (await line_of(process)).split()[-1].strip('"}')
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, err = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in err
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(10):
        return (await process.stdout.readline()).decode().rstrip("\n")


@asynccontextmanager
async def watched(*arguments: str) -> AsyncIterator[tuple[Terminal, str]]:
    """``listen`` at a terminal, and its address."""
    async with at_terminal(*COMMAND, "listen", LOOPBACK, *arguments) as terminal:
        yield terminal, (await terminal.shows(r"listening on (\S+)\r\n"))[1]


QUESTION = r"\[y\]es \[a\]lways \[n\]o ne\[v\]er \((\d+) s(, \d+ more)?\) "


def brief(peer: object) -> str:
    return f"12D3..{str(peer)[-8:]}"


async def asks(terminal: Terminal, who: Network, address: str, key: str) -> Any:
    request = asyncio.ensure_future(who.request(address, "x"))
    await terminal.shows(QUESTION)
    terminal.press(key)
    return await request


async def kept_out(who: Network, address: str) -> None:
    with pytest.raises(failures.UnsupportedProtocol):
        await who.request(address, "x")
