"""Our programs of the peer contract in small: through ``Network``, below it, and raw asyncio; every mode."""

from __future__ import annotations

import asyncio
import json

import pytest

from benchmarks import raw
from benchmarks.runner.plan import METRICS, MODES
from harness import below, facade, peer

SMALL = ("--n", "3", "--bytes", "200000")
ANYWHERE = "/ip4/127.0.0.1/tcp/0"


def told(capsys: pytest.CaptureFixture[str], mode: str) -> None:
    """The one line has each figure that the runner reads from this mode."""
    line = json.loads(capsys.readouterr().out)
    assert all(line[metric.field] > 0 for metric in METRICS if metric.mode == mode)


@pytest.mark.speed
@pytest.mark.parametrize("flags", [(), ("--below",), ("--busy-poll",)], ids=["network", "below", "busy polling"])
@pytest.mark.parametrize("mode", MODES)
async def test_ours(flags: tuple[str, ...], mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    serving = below.serving if flags == ("--below",) else facade.serving
    async with serving(peer.parse([*flags, "serve"]), ANYWHERE) as address:
        await peer.measure(peer.parse([*flags, "client", "--addr", address, "--mode", mode, *SMALL]))
    told(capsys, mode)


@pytest.mark.parametrize("flag", ["--json", "--by-hand"])
@pytest.mark.parametrize("mode", ["seq", "conc"])
async def test_other_requests_of_ours(flag: str, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with facade.serving(peer.parse(["serve"]), ANYWHERE) as address:
        await peer.measure(peer.parse([flag, "client", "--addr", address, "--mode", mode, *SMALL]))
    told(capsys, mode)


@pytest.mark.speed
@pytest.mark.parametrize("mode", MODES)
async def test_raw_asyncio(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = await asyncio.get_running_loop().create_server(raw.Serving, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        await raw.client(raw.parse(["client", "--addr", f"/ip4/127.0.0.1/tcp/{port}", "--mode", mode, *SMALL]))
    told(capsys, mode)


def test_a_message_of_the_crate_is_as_long_as_the_bytes() -> None:
    assert facade.as_text(b"\x00\xff" * 4) == {"Text": "00ff00ff"}
