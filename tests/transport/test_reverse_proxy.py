"""Behind a web server that ends TLS, as the guide says (docs/websocket.md): a real Caddy, built from its Go module."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness import build
from stronghold_p2p import Network, RequestProtocol, Rule, WebTLS
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.request_response.codecs.codec import BYTES
from tests import snippets
from tests.cores import ROOT
from tests.support.certificates import Authority

GUIDE = ROOT / "docs" / "websocket.md"
HOST = "peer.example.org"
RAW: RequestProtocol[bytes, bytes] = RequestProtocol("/raw/1", request=BYTES, response=BYTES)


def free_port() -> int:
    """Nobody listens there now; Caddy does not tell where it does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def caddy() -> Path:
    """Without a Go toolchain the test is skipped, and with ``CI=true`` it fails."""
    program = build.caddy()
    if program is None:
        pytest.skip("no go toolchain")
    return program


@asynccontextmanager
async def web_server(caddy: Path, authority: Authority, behind: int) -> AsyncIterator[int]:
    """Caddy with the guide's Caddyfile, but for its ports, and with a certificate of ours; where it listens."""
    (block,) = [block for block in snippets.blocks(GUIDE) if block.info == "text caddyfile"]
    port, tls = free_port(), authority.issue(HOST)
    site = block.text.replace("127.0.0.1:4002", f"127.0.0.1:{behind}").replace(f"{HOST} {{", f"{HOST}:{port} {{")
    assert site.count(str(behind)) == site.count(str(port)) == 1
    site = site.replace("{\n", f"{{\n    bind 127.0.0.1\n    tls {tls.certificate} {tls.key}\n", 1)
    options = "{\n    admin off\n    auto_https off\n    persist_config off\n}\n"
    file = authority.folder / "Caddyfile"
    file.write_text(options + site, encoding="utf-8")
    home = {"HOME": str(authority.folder), "XDG_DATA_HOME": str(authority.folder)}
    process = await asyncio.create_subprocess_exec(
        str(caddy),
        "run",
        "--config",
        str(file),
        env=home,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    told = b""
    try:
        async with asyncio.timeout(20):
            while b"serving initial configuration" not in told:
                told += (line := await process.stderr.readline())
                assert line, told.decode()
        quiet = asyncio.create_task(process.stderr.read())
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await process.wait()
    await quiet


async def test_the_guide_behind_caddy(caddy: Path, tmp_path: Path) -> None:
    """By its name, which is verified; requests of all sizes; and it stays while a body comes in pieces."""
    authority = Authority(tmp_path)
    async with Network(listen=["/ip4/127.0.0.1/tcp/0/ws"]) as bob:
        bob.firewall.set(Rule.ALLOW)
        bob.on_request(RAW)(lambda request: request.message)
        behind = int(str(bob.addresses[0]).split("/")[4])
        async with web_server(caddy, authority, behind) as port, Network(tls=WebTLS(ca=authority.ca)) as alice:
            address = parse(f"/ip4/127.0.0.1/tcp/{port}/tls/sni/{HOST}/ws/p2p/{bob.peer_id}")
            connection = await alice.connect(address)
            assert "/tls/sni/" in str(connection.remote_address)
            for size in (0, 1, 65_536, 1 << 20):
                body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
                assert await alice.request(bob.peer_id, body, RAW) == body
            await alice.disconnect(bob.peer_id)
