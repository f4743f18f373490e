"""``stronghold-p2p relay``: what it lets in, what it tells, and ``listen --via``."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stronghold_p2p import HOP, Identity, ListenError, Network, RelayRefused
from stronghold_p2p.cli import reading
from stronghold_p2p.cli import relay as cli_relay
from stronghold_p2p.cli.main import parser
from tests.peers import until

FRIEND = Identity.from_seed(b"f" * 32)


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, *words: str) -> AsyncIterator[tuple[str, list[Any]]]:
    """The command; its address, and the lines that it tells."""
    told: list[Any] = []
    monkeypatch.setattr(cli_relay, "EVERY", 0.01)
    monkeypatch.setattr(cli_relay, "tell", told.append)
    monkeypatch.setattr(cli_relay, "tell_json", lambda value: told.append(json.loads(json.dumps(value, default=str))))
    options = parser().parse_args(["relay", "/ip4/127.0.0.1/tcp/0", *words])
    task = asyncio.ensure_future(options.command(options))
    try:
        await until(lambda: told)
        first = told.pop(0)
        yield first["listening"] if isinstance(first, dict) else first.removeprefix("relaying at "), told
    finally:
        task.cancel()
        assert await task == 0


async def test_everybody_may_reserve_and_each_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (at, told), Network() as bob, Network() as alice:
        await bob.listen(f"{at}/p2p-circuit")
        connection = await alice.connect(bob.addresses[0])
        assert connection.limited is not None
        await connection.close()
        await until(lambda: len(told) == 3)
        assert [line.split()[0] for line in told] == ["reserved", "circuit", "circuit"]
        assert "over, " in told[2]


async def test_json_and_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, "--json", "--reservations", "1") as (at, told), Network() as bob, Network() as eve:
        await bob.listen(f"{at}/p2p-circuit")
        with pytest.raises(ListenError):
            await eve.listen(f"{at}/p2p-circuit")
        await until(lambda: any("refused" in one for one in told))
        await until(lambda: {"status": {**last(told), "reservations": 1, "refused": 1}} in told)
    assert {"reserved", "status", "refused"} <= {name for one in told for name in one}


def last(told: list[Any]) -> dict[str, int]:
    states: list[dict[str, int]] = [one["status"] for one in told if "status" in one]
    return states[-1]


async def test_only_those_who_are_named_may_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--trust", str(FRIEND.peer_id))
    async with running(monkeypatch, *words) as (at, _), Network(identity=FRIEND) as bob, Network() as eve:
        with pytest.raises(ListenError):
            await eve.listen(f"{at}/p2p-circuit")
        await bob.listen(f"{at}/p2p-circuit")
        assert (await eve.connect(bob.addresses[0])).limited is None


async def test_rules_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    rules = f'version = 1\n\n[[rules]]\nprotocol = "{HOP}"\nrule = {{ only = ["reserve"] }}\n'
    (tmp_path / "rules.toml").write_text(rules, encoding="utf-8")
    words = ("--rules", str(tmp_path / "rules.toml"))
    async with running(monkeypatch, *words) as (at, _), Network() as bob, Network() as eve:
        await bob.listen(f"{at}/p2p-circuit")
        with pytest.raises(RelayRefused):  # to connect is not among what the rule allows
            await eve.connect(bob.addresses[0])


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (999, "999 B"), (131_072, "131.1 kB"), (5e15, "5000.0 TB")])
def test_amounts(size: float, shown: str) -> None:
    assert cli_relay.amount(size) == shown


@pytest.mark.parametrize(
    "text", ["nonsense", "/ip4/127.0.0.1/tcp/1", f"/ip4/127.0.0.1/tcp/1/p2p/{FRIEND.peer_id}/p2p-circuit"]
)
def test_what_is_no_relay(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        reading.relay(text)


def test_where_to_listen_through_one() -> None:
    at = f"/ip4/127.0.0.1/tcp/1/p2p/{FRIEND.peer_id}"
    assert str(reading.relay(at)) == f"{at}/p2p-circuit"
    assert parser().parse_args(["listen", "--via", at]).via == [reading.relay(at)]
