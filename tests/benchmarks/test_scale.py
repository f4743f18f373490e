"""``make scale`` in small: what it does to the server, in this process and between processes. No bar on time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import pytest_asyncio

from benchmarks.scale import __main__ as command
from benchmarks.scale import parts
from benchmarks.scale.figures import Figure
from benchmarks.scale.loads import Crowd, Cutter, ask, requests, visits
from benchmarks.scale.server import Server
from harness.commands import Line
from stronghold_p2p import ConnectionClosed, Network, Rule, UnsupportedProtocol
from tests.peers import until


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(200)
    async with server.network:
        yield server
        await until(lambda: quiet(server, 0))


def address(server: Server) -> str:
    return str(server.network.addresses[0])


def quiet(server: Server, connections: int) -> bool:
    counts = server.counts()
    return (counts["connections"], counts["identified"], counts["busy"]) == (connections, connections, 0)


def of_connections(state: Line) -> dict[str, int]:
    """Counts of what connections have; the leak check itself holds the gates, pools and firewalls of the clients."""
    rooms = ("connection.", "muxing.", "streams.", "transport.", "yamux.", "noise.")
    shared = (
        "Aside",
        "Factory",
        "Noise",
        "Pool",
        "StaticKeys",
        "TcpTransport",
        "TrustedAuthorities",
        "Watched",
        "WebSocketTransport",
        "WebTLS",
        "Slices",
        "Upgrader",
        "UpgradeSettings",
    )
    counted = tuple(f"stronghold_p2p.{room}" for room in rooms)
    of_networks = (*shared, "KeyPair", "Workspace")
    ours = state["ours"].items()
    return {name: count for name, count in ours if name.startswith(counted) and not name.endswith(of_networks)}


@pytest.mark.speed
async def test_idle_connections_own_no_task_and_leave_nothing(server: Server) -> None:
    crowd = Crowd()
    await crowd.come(address(server), 10, at_once=10)  # what happens for the first time
    await crowd.leave()
    await until(lambda: quiet(server, 0))
    before = server.state()
    await crowd.come(address(server), 150, at_once=32)
    await until(lambda: quiet(server, 150) and server.counts()["tasks"] == before["tasks"])
    full = server.state()
    assert full["files"] == before["files"] + 2 * 150  # both ends are in this process
    assert full["ours"]["stronghold_p2p.connection.live.LiveConnection"] == 2 * 150
    await crowd.leave()
    await until(lambda: quiet(server, 0) and server.counts()["files"] == before["files"])
    after = server.state()
    assert (of_connections(after), after["tasks"]) == (of_connections(before), before["tasks"])
    assert after["memory"] > 0


@pytest.mark.speed
async def test_connects_with_one_request_each(server: Server) -> None:
    server.expect(300)
    ended = await visits(address(server), 300, at_once=32)
    assert (ended.right, ended.wrong, ended.failed) == (300, 0, {})
    assert server.came() == {"never": 0, "once": 300, "again": 0}


@pytest.mark.speed
async def test_requests_are_answered_or_cancelled(server: Server) -> None:
    server.expect(5_000)
    ended = await requests(address(server), 5_000, parallel=64, connections=8, share=0.01)
    assert (ended.wrong, ended.failed) == (0, {})
    assert ended.right + ended.cancelled == 5_000
    assert ended.cancelled + ended.late == 50
    assert ended.cancelled > 0
    came = server.came()
    assert came["again"] == 0
    assert came["never"] <= ended.cancelled


async def test_what_is_wrong_is_counted(server: Server) -> None:
    server.expect(2)
    async with Network() as client:
        assert await ask(client, address(server), 1)
        assert await ask(client, address(server), 1)
    assert server.came() == {"never": 1, "once": 0, "again": 1}
    server.network.firewall.set(Rule.REJECT, protocol="/scale/hash/1")
    refused = await visits(address(server), 2, at_once=2)
    assert (refused.right, sum(refused.failed.values())) == (0, 2)
    assert all(told.startswith(UnsupportedProtocol.__name__) for told in refused.failed)
    ended = await requests(address(server), 2, parallel=1, connections=1, share=0.0)
    assert (ended.right, sum(ended.failed.values())) == (0, 2)


async def test_what_no_cut_explains_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cutter, "_note", lambda _cutter, _event: None)
    server.expect(300)
    ended = await requests(address(server), 300, parallel=10, connections=1, share=0.0, cuts=5)
    assert (ended.cut, ended.ends) == (0, 0)
    assert ended.right + sum(ended.failed.values()) == 300
    assert all(told.startswith(ConnectionClosed.__name__) for told in ended.failed)
    assert ended.failed


async def test_giving_up_all_of_them_leaves_nothing(server: Server) -> None:
    server.expect(200)
    ended = await requests(address(server), 200, parallel=20, connections=2, share=1.0)
    assert (ended.wrong, ended.failed) == (0, {})
    assert (ended.right, ended.cancelled) == (ended.late, 200 - ended.late)
    await until(lambda: len(asyncio.all_tasks()) == 1)


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the processes are measured through /proc")


@needs_proc
@pytest.mark.parametrize(
    ("part", "size"),
    [
        (parts.idle, 30),
        (parts.visits, 40),
        (parts.requests, 300),
        (parts.bulk, 2),
        (partial(parts.soak, cuts=5), 3_000),  # `make soak` in small, cut in each of the ways
    ],
)
def test_the_parts(part: Callable[[int], list[Figure]], size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the rate and the memory has to be met in small, too."""
    monkeypatch.setattr(parts, "WARM_UP", 20)
    monkeypatch.setattr(parts, "BULK", 1 << 20)
    figures = part(size)
    missed = [figure.line() for figure in figures if not figure.met and figure.unit not in {"/s", "KiB", "MiB"}]
    assert missed == []
    assert any(figure.value == size for figure in figures)
    assert {"tasks left behind", "descriptors left behind", "objects left behind"} < {one.what for one in figures}


@pytest.mark.parametrize(("value", "code"), [(1.0, 0), (2.0, 1)])
def test_the_exit_code(
    value: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def part(size: int) -> list[Figure]:
        asked.append(size)
        return [Figure("idle", "value", value, most=1.0)]

    monkeypatch.setattr(command, "PARTS", dict.fromkeys(command.PARTS, part))
    monkeypatch.setattr("sys.argv", ["scale", "--idle", "5", "--visits", "0", "--requests", "7", "--bulk", "0"])
    assert command.main() == code
    assert asked == [5, 7]
    printed = capsys.readouterr().out
    assert printed.count("value") == 2
    assert ("MISSED" in printed) == bool(code)


def test_only_the_whole_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scale", "--idle", "5", "--write"])
    with pytest.raises(SystemExit, match="full measurement"):
        command.main()
