"""What the resolver does without a nameserver, or with a silent one; tests/interop/test_dns.py has a real one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stronghold_p2p import DialError, Dns, NameResolutionError
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.resolving.nameservers.asking import Nameservers
from stronghold_p2p.resolving.nameservers.resolver import Resolver
from stronghold_p2p.resolving.resolved import Resolved, has_name

BOB = Identity.from_seed(b"b" * 32).peer_id


@pytest.fixture
def silent() -> Iterator[Dns]:
    """A nameserver that reads nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield Dns(nameservers=[f"127.0.0.1:{sock.getsockname()[1]}"])


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text("10.0.0.5 relay.corp\n2a00::5 relay.corp\n8.8.8.8 public.example\n", encoding="utf-8")
    return path


async def found(resolver: Resolver, address: str, *, given: bool = True) -> list[str]:
    return [str(one.address) for one in await resolver.resolve(parse(address), peer=None, given=given)]


@pytest.mark.parametrize("address", ["/ip4/192.0.2.7/tcp/1", f"/ip6/::1/tcp/1/p2p/{BOB}", f"/p2p/{BOB}", "/unix/a"])
async def test_an_address_without_a_name_comes_back_as_it_is(address: str) -> None:
    told: list[Resolved] = []
    assert not has_name(parse(address))
    resolved = await Resolver().resolve(parse(address), peer=BOB, found=told.append)
    assert resolved == (Resolved(parse(address)),) == tuple(told)


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("/dns/localhost/tcp/1", ["/ip6/::1/tcp/1", "/ip4/127.0.0.1/tcp/1"]),
        ("/dns4/LOCALHOST./tcp/1", ["/ip4/127.0.0.1/tcp/1"]),
        ("/dns4/127.0.0.1/tcp/1", ["/ip4/127.0.0.1/tcp/1"]),
        ("/dns/relay.corp/tcp/1", ["/ip6/2a00::5/tcp/1", "/ip4/10.0.0.5/tcp/1"]),
        ("/dns4/Relay.Corp/tcp/1", ["/ip4/10.0.0.5/tcp/1"]),
    ],
)
async def test_what_needs_no_nameserver(hosts: Path, tmp_path: Path, address: str, leads_to: list[str]) -> None:
    resolver = Resolver(hosts=hosts, configuration=tmp_path / "missing")
    told: list[Resolved] = []
    resolved = await resolver.resolve(parse(address), peer=None, given=True, found=told.append)
    assert [str(one.address) for one in resolved] == leads_to
    assert told == list(resolved)


@pytest.mark.parametrize(
    ("address", "query", "why"),
    [
        ("/dns4/public.example/tcp/1", "", ""),
        ("/dns6/public.example/tcp/1", "public.example AAAA", "other family in the hosts file"),
        ("/dns4/relay.corp/tcp/1", "relay.corp A", "private network"),
        ("/dns4/localhost/tcp/1", "", ""),
        ("/dns4/127.0.0.1/tcp/1", "", ""),
    ],
)
async def test_a_peer_may_name_what_is_public_or_shows_what_it_is(
    hosts: Path, tmp_path: Path, address: str, query: str, why: str
) -> None:
    """By the hosts file, too: that is for who sits at this machine. ``localhost`` and addresses as text are judged when
    they are learned.
    """
    resolver = Resolver(hosts=hosts, configuration=tmp_path / "missing")
    if not why:
        assert await found(resolver, address, given=False)
        return
    with pytest.raises(NameResolutionError, match=why) as caught:
        await found(resolver, address, given=False)
    assert caught.value.query == query


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "there is nobody to ask: .*resolv.conf is missing, or names no nameserver; give Network"),
        ("search example\n", "is missing, or names no nameserver"),
        ("nameserver dns.example\n", "dns.example"),
    ],
)
async def test_without_a_nameserver_the_error_says_what_to_do(
    hosts: Path, tmp_path: Path, text: str | None, why: str
) -> None:
    configuration = tmp_path / "resolv.conf"
    if text is not None:
        configuration.write_text(text, encoding="utf-8")
    resolver = Resolver(hosts=hosts, configuration=configuration)
    with pytest.raises(NameResolutionError, match=why) as caught:
        await found(resolver, "/dns4/a.example/tcp/1")
    assert caught.value.query == "a.example A"
    assert caught.value.address == parse("/dns4/a.example/tcp/1")
    assert isinstance(caught.value, DialError)
    assert await found(resolver, "/dns4/relay.corp/tcp/1") == ["/ip4/10.0.0.5/tcp/1"]


async def test_nobody_answers_within_the_timeout(silent: Dns) -> None:
    resolver, begin = Resolver(silent, timeout=0.3), time.monotonic()
    with pytest.raises(
        NameResolutionError, match=r"a.example AAAA: no answer within 0.3 s from 127.0.0.1; a.ex"
    ) as caught:
        await found(resolver, "/dns/a.example/tcp/1")
    assert 0.3 <= time.monotonic() - begin < 2
    assert caught.value.query == "a.example AAAA"
    await resolver.close()


async def test_one_name_that_fails_does_not_fail_the_others(silent: Dns, hosts: Path) -> None:
    resolver = Resolver(silent, timeout=0.3, hosts=hosts)
    addresses = ("/dns4/a.example/tcp/1", "/dns4/relay.corp/tcp/1", "/ip4/192.0.2.7/tcp/1")
    outcomes = await asyncio.gather(*(found(resolver, one) for one in addresses), return_exceptions=True)
    assert isinstance(outcomes[0], NameResolutionError)
    assert outcomes[1:] == [["/ip4/10.0.0.5/tcp/1"], ["/ip4/192.0.2.7/tcp/1"]]
    await resolver.close()


async def test_who_leaves_leaves_nothing_and_takes_nothing_from_others(silent: Dns) -> None:
    """The leak check of the tests sees what is left."""
    resolver = Resolver(silent, timeout=0.6)
    tasks = [asyncio.create_task(found(resolver, "/dns4/a.example/tcp/1")) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert len(resolver._tasks) == 1
    tasks[0].cancel()
    await asyncio.sleep(0.05)
    assert len(resolver._tasks) == 1
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert (resolver._tasks, resolver._lookups) == (set(), {})
    assert [task.cancelled() for task in tasks] == [True] * 3


async def test_the_end_wakes_who_waits_and_nothing_begins_after_it(silent: Dns) -> None:
    resolver = Resolver(silent)
    task = asyncio.create_task(found(resolver, "/dnsaddr/a.example"))
    await asyncio.sleep(0.05)
    await resolver.close()
    with pytest.raises(NameResolutionError, match="the network is closing"):
        await task
    with pytest.raises(NameResolutionError, match="the network is closing") as caught:
        await found(resolver, "/dns4/a.example/tcp/1")
    assert caught.value.query == "a.example A"
    assert await found(resolver, "/dns4/localhost/tcp/1")
    await resolver.close()


@pytest.mark.parametrize("name", ["a..example", "a" * 64, "xn--a-ä.example", ".".join(["a" * 60] * 5)])
async def test_what_is_no_name_for_the_dns_is_asked_of_nobody(name: str) -> None:
    answer = await Nameservers([]).ask(name, "A", 0.0)
    assert (answer.records, answer.lookups) == ((), 0)
    assert answer.missing.startswith("is no name for the DNS")


async def test_the_servers_are_asked_in_turn_until_the_time_is_over(silent: Dns) -> None:
    other = ("127.0.0.1", 1)  # nobody listens there, and the system says so at once
    servers = Nameservers([other, ("127.0.0.1", int(silent.nameservers[0].partition(":")[2]))])
    until = asyncio.get_running_loop().time() + 0.3
    with pytest.raises(NameResolutionError, match=r"refused; 127\.0\.0\.1 says nothing"):
        await servers.ask("a.example", "A", until)


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """Neither by the import nor for a name that needs no nameserver."""
    program = """
import asyncio, sys
from pathlib import Path
from stronghold_p2p import Network
from stronghold_p2p.addressing.parse import parse
async def main():
    async with Network() as network:
        resolver = network._swarm.resolver
        assert len(await resolver.resolve(parse("/dns/localhost/tcp/1"), peer=None)) == 2
asyncio.run(main())
print([name for name in sys.modules if name.split(".")[0] == "dns"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_a_configuration_that_changes_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file names a server that is not there; the error tells which one was asked."""
    path = tmp_path / "resolv.conf"
    resolver = Resolver(configuration=path, hosts=tmp_path / "hosts")
    for text, told in (("nameserver 127.1.1.1\n", "127.1.1.1"), ("nameserver 127.1.1.20\n", "127.1.1.20")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(NameResolutionError, match=f"{told} .*refused"):
            await found(resolver, "/dns4/a.example/tcp/1")
    path.unlink()
    with pytest.raises(NameResolutionError, match="there is nobody to ask"):
        await found(resolver, "/dns4/a.example/tcp/1")
    before = resolver._configuration
    resolver._look_at_configuration()
    assert resolver._configuration is before
    monkeypatch.setattr("stronghold_p2p.resolving.nameservers.resolver.READ_AGAIN", 0.0)
    resolver._look_at_configuration()
    assert resolver._configuration is None
