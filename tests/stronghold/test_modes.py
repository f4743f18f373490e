"""Server mode and synchronising, between real networks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.stronghold import protocol
from examples.stronghold import vault as vaults
from examples.stronghold.permissions import Grant
from examples.stronghold.protocol import PROTOCOL
from examples.stronghold.reconcile import answer, begin
from examples.stronghold.store import Entry, Store
from examples.stronghold.stronghold import Stronghold
from examples.stronghold.vault import Vault
from stronghold_p2p import HOP, Network, P2PError, Rejected, RelayLimits, Rule
from tests.cores import ROOT

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "COST", 2)


def grants(*texts: str) -> list[Grant]:
    return [Grant.parse(text) for text in texts]


@asynccontextmanager
async def two(
    folder: Path, *, server: tuple[str, ...], client: tuple[str, ...] = ()
) -> AsyncIterator[list[Stronghold]]:
    """Two strongholds, and what each has granted the other."""
    both = []
    for name in ("server", "client"):
        vault = Vault.open(folder / f"{name}.json", b"secret", create=True)
        both.append(Stronghold(Network(listen=[LOOPBACK]), vault, Store()))
    async with both[0].network as one, both[1].network as other:
        both[0].permit(other.peer_id, grants(*server))
        both[1].permit(one.peer_id, grants(*client))
        yield both


async def test_a_remote_key_signs_and_stays_where_it_is(tmp_path: Path) -> None:
    async with two(tmp_path, server=("use:wallet", "write:wallet", "list")) as (server, client):
        at, ask = server.network.addresses[0], client.network.request
        key = await ask(at, protocol.Generate("wallet/main"), PROTOCOL)
        signed = await ask(at, protocol.Sign("wallet/main", "a message"), PROTOCOL)
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public)).verify(
            bytes.fromhex(signed.signature), b"a message"
        )
        assert (await ask(at, protocol.PublicKey("wallet/main"), PROTOCOL)) == key
        child = await ask(at, protocol.Derive("wallet/main", "wallet/child", "0"), PROTOCOL)
        assert child != key
        assert (await ask(at, protocol.Paths(""), PROTOCOL)).paths == ["wallet/child", "wallet/main"]
        await ask(at, protocol.Revoke("wallet/main"), PROTOCOL)
        with pytest.raises(Rejected):
            await ask(at, protocol.Sign("wallet/main", "a message"), PROTOCOL)
        assert server.vault.paths() == ["wallet/child"]


async def test_what_needs_more_than_was_granted_is_refused(tmp_path: Path) -> None:
    async with two(tmp_path, server=("use:wallet",)) as (server, client):
        server.vault.generate("wallet/main")
        at, ask = server.network.addresses[0], client.network.request
        assert (await ask(at, protocol.Sign("wallet/main", "m"), PROTOCOL)).signature
        for asked in (
            protocol.Generate("wallet/other"),
            protocol.Derive("wallet/main", "wallet/child", ""),
            protocol.Revoke("wallet/main"),
            protocol.Paths("wallet"),
            protocol.Sign("other", "m"),
            protocol.Read("notes/a"),
            protocol.Write("notes/a", "x"),
        ):
            with pytest.raises(P2PError):
                await ask(at, asked, PROTOCOL)
        assert server.vault.paths() == ["wallet/main"]
        server.permit(client.network.peer_id, [])
        with pytest.raises(P2PError):
            await ask(at, protocol.Sign("wallet/main", "m"), PROTOCOL)


async def test_a_request_that_fails_leaves_the_server_at_work(tmp_path: Path) -> None:
    async with two(tmp_path, server=("use", "write", "list", "read", "store")) as (server, client):
        at, ask = server.network.addresses[0], client.network.request
        for asked in (
            protocol.Sign("nothing there", ""),
            protocol.Compare("z?", {}, []),
            protocol.Compare("AQ==", {}, []),
            protocol.Compare("", {"a": (1 << 62, "of tomorrow")}, []),
            protocol.Write("k" * 2_000, ""),
        ):
            with pytest.raises(Rejected):
                await ask(at, asked, PROTOCOL)
        assert (await ask(at, protocol.Paths(""), PROTOCOL)).paths == []


async def test_two_stores_become_equal_as_far_as_each_lets_the_other(tmp_path: Path) -> None:
    rights = ("read:shared", "store:shared")
    async with two(tmp_path, server=rights, client=rights) as (server, client):
        for at in range(300):
            for one in (server, client):
                one.store.take({f"shared/{at}": Entry(1, "old")})
        server.store.write("shared/7", "newer")
        client.store.write("shared/new", "here")
        client.store.write("shared/9", None)
        server.store.write("own/secret", "stays")
        client.store.write("own/secret", "mine")
        came, sent = await client.synchronise(server.network.addresses[0])
        assert (came, sent) == (1, 3)  # of one that differs, both tell theirs: a digest does not say which is later
        for one in (server, client):
            assert (one.store.read("shared/7"), one.store.read("shared/new")) == ("newer", "here")
            assert one.store.read("shared/9") is None
        assert (server.store.read("own/secret"), client.store.read("own/secret")) == ("stays", "mine")
        assert await client.synchronise(server.network.addresses[0]) == (0, 0)


async def test_ten_differences_in_a_hundred_thousand_records_pass_through_a_relay(tmp_path: Path) -> None:
    """With the limits that a public relay has; its own count of bytes is of both ways, handshakes included."""
    drawn = random.Random(1)
    records = {f"shared/{drawn.randrange(1 << 64):016x}": Entry(1, "value") for _ in range(100_000)}
    rights = ("read:shared", "store:shared")
    relay = Network(listen=[LOOPBACK], relay=RelayLimits())
    relay.firewall.set(Rule.ALLOW, protocol=HOP)
    async with relay, two(tmp_path, server=rights, client=rights) as (server, client):
        await server.network.listen(f"{relay.addresses[0]}/p2p-circuit")
        at = next(one for one in server.network.addresses if "p2p-circuit" in str(one))
        for one in (server, client):
            one.store.take(records)
        for number, key in enumerate(drawn.sample(sorted(records), 10)):
            (server if number % 2 else client).store.write(key, f"new {number}")
        before = relay.stats()["circuit_bytes_total"]
        await client.synchronise(at)
        spent = relay.stats()["circuit_bytes_total"] - before
        assert server.store.give(list(records)) == client.store.give(list(records))
    assert spent <= 40 * 1024  # 28,200 seen


Stores = st.dictionaries(
    st.sampled_from([f"{path}/{name}" for path in ("shared", "one", "other") for name in "abcdefgh"]),
    st.builds(Entry, st.integers(0, 3), st.none() | st.sampled_from("xyz")),
    max_size=24,
)


@given(Stores, Stores)
@settings(max_examples=1_000, deadline=None)
def test_nothing_is_said_that_the_other_may_not_see(first: dict[str, Entry], second: dict[str, Entry]) -> None:
    """Both begin: what each tells of is what is shared, and afterwards that is equal."""
    stores = [Store(clock=lambda: 10), Store(clock=lambda: 10)]
    for store, entries in zip(stores, (first, second), strict=True):
        store.take(entries)

    def shared(path: str) -> bool:
        return path.startswith("shared/")

    message, turn = begin(stores[0].records(shared)), 1
    while message:
        assert b"one/" not in message
        assert b"other/" not in message
        found = answer(stores[turn].records(shared), message)
        keys = [key.decode() for key in (*found.surplus, *found.missing)]
        assert all(map(shared, keys))
        mine, theirs = stores[turn], stores[1 - turn]
        theirs.take(mine.give([key.decode() for key in found.surplus]))
        mine.take(theirs.give([key.decode() for key in found.missing]))
        message, turn = found.reply, 1 - turn
    views = [{key: entry for key, entry in store.give(list(store._entries)).items() if shared(key)} for store in stores]
    assert views[0] == views[1]
    for store, entries in zip(stores, (first, second), strict=True):
        assert all(store.give([key]) == {key: entry} for key, entry in entries.items() if not shared(key))


def test_the_command_line(tmp_path: Path) -> None:
    """Server mode between processes: what was granted is done, all else is refused."""

    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "examples.stronghold", *arguments]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    env = {**os.environ, "STRONGHOLD_PASSPHRASE": "secret"}
    server, client = str(tmp_path / "server"), str(tmp_path / "client")
    peer = run("id", client).stdout.strip()
    serve = command("serve", server, "--permit", f"{peer}=use:wallet,write:wallet")
    with subprocess.Popen(serve, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        at = process.stdout.readline().removeprefix("ready at ").strip()
        assert run("ask", client, at, "generate", "wallet/main").stdout.startswith("Key(public=")
        assert run("ask", client, at, "sign", "wallet/main", "hello").stdout.startswith("Signature(")
        refused = run("ask", client, at, "paths", "")
        assert (refused.returncode, refused.stderr[:8]) == (3, "refused:")
        assert run("ask", client, at, "sign", "wallet/main").returncode == 2
        process.terminate()
        process.wait(10)
    assert "wallet" not in (tmp_path / "server" / "vault.json").read_text()
