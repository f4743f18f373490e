"""Names in addresses, answered by a real DNS server: one on miekg/dns (harness/dns), over UDP and TCP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from harness import build
from stronghold_p2p import Dns, NameResolutionError, PeerId
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.resolving.expansion import LOOKUPS
from stronghold_p2p.resolving.nameservers.asking import LONGEST
from stronghold_p2p.resolving.nameservers.resolver import Resolver
from stronghold_p2p.resolving.resolved import Resolved
from tests import netns
from tests.support.dns_server import DnsServer, dns_server

BOB, EVE = (Identity.from_seed(seed * 32).peer_id for seed in (b"b", b"e"))
RELAY = ("relay.example. 60 A 8.8.8.8", "relay.example. 60 AAAA 2a00::5")


@pytest.fixture(scope="session")
def program() -> Path:
    """The server; without a Go toolchain the test is skipped, and with ``CI=true`` it fails."""
    program = build.dns_server()
    if program is None:
        pytest.skip("go toolchain missing")
    return program


@pytest_asyncio.fixture
async def server(program: Path) -> AsyncIterator[DnsServer]:
    async with dns_server(program) as server:
        await server.zone(*RELAY)
        yield server


@pytest_asyncio.fixture
async def resolver(server: DnsServer) -> AsyncIterator[Resolver]:
    resolver = Resolver(server.dns)
    yield resolver
    await resolver.close()


async def found(resolver: Resolver, address: str, *, peer: PeerId | None = None, given: bool = False) -> list[str]:
    return [str(one.address) for one in await resolver.resolve(parse(address), peer=peer, given=given)]


async def fails(resolver: Resolver, address: str, *, given: bool = False) -> NameResolutionError:
    with pytest.raises(NameResolutionError) as caught:
        await found(resolver, address, given=given)
    return caught.value


async def test_a_and_aaaa_are_asked_for_side_by_side(server: DnsServer, resolver: Resolver) -> None:
    await server.delay(0.4)
    begin = time.monotonic()
    both = await found(resolver, "/dns/Relay.Example/tcp/1")
    assert sorted(both) == ["/ip4/8.8.8.8/tcp/1", "/ip6/2a00::5/tcp/1"]
    assert time.monotonic() - begin < 0.75
    asked = await server.asked()
    assert {(one.name, one.type, one.net, one.edns) for one in asked} == {
        ("relay.example.", "A", "udp", 1_232),
        ("relay.example.", "AAAA", "udp", 1_232),
    }


async def test_what_answers_first_is_told_first(server: DnsServer, resolver: Resolver) -> None:
    await server.delay(0.5, "AAAA")
    told: list[tuple[float, Resolved]] = []
    begin = time.monotonic()
    resolved = await resolver.resolve(
        parse("/dns/relay.example/tcp/1"), peer=None, found=lambda one: told.append((time.monotonic() - begin, one))
    )
    assert [one for _, one in told] == list(resolved)
    assert [str(one.address) for one in resolved] == ["/ip4/8.8.8.8/tcp/1", "/ip6/2a00::5/tcp/1"]
    assert {one.name for one in resolved} == {"relay.example"}
    assert told[0][0] < 0.45 < 0.5 <= told[1][0]


@pytest.mark.parametrize("mode", ["servfail", "refused", "silent"])
async def test_one_family_that_fails_does_not_take_the_other_along(server: DnsServer, mode: str) -> None:
    resolver = Resolver(server.dns, timeout=0.5)
    await server.mode(mode, "AAAA")
    assert await found(resolver, "/dns/relay.example/tcp/1") == ["/ip4/8.8.8.8/tcp/1"]
    await resolver.close()


async def test_several_names_are_resolved_at_once_and_the_same_one_once(server: DnsServer, resolver: Resolver) -> None:
    await server.delay(0.3)
    begin = time.monotonic()
    names = ["/dns4/relay.example/tcp/1"] * 50 + ["/dns6/relay.example/tcp/1", "/dns4/nobody.example/tcp/1"]
    outcomes = await asyncio.gather(*(found(resolver, name) for name in names), return_exceptions=True)
    assert time.monotonic() - begin < 1.0
    assert outcomes[:50] == [["/ip4/8.8.8.8/tcp/1"]] * 50
    assert isinstance(outcomes[51], NameResolutionError)
    assert len(await server.asked()) == 3


async def test_answers_hold_for_their_ttl(server: DnsServer, resolver: Resolver) -> None:
    await server.zone("a.example. 1 A 8.8.8.8", "b.example. 0 A 8.8.8.8", "c.example. 60 A 8.8.8.8")
    for _ in range(3):
        for name in "abcd":
            await resolver.resolve(parse(f"/dns4/{name}.example/tcp/1"), peer=None) if name != "d" else await fails(
                resolver, "/dns4/d.example/tcp/1"
            )
    asked = [one.name[0] for one in await server.asked()]
    assert {name: asked.count(name) for name in "abcd"} == {"a": 1, "b": 3, "c": 1, "d": 1}
    await asyncio.sleep(1.05)
    await found(resolver, "/dns4/a.example/tcp/1")
    await found(resolver, "/dns4/c.example/tcp/1")
    assert [one.name[0] for one in await server.asked()] == ["a"]


@pytest.mark.serial
async def test_a_dead_first_nameserver_costs_the_first_name_two_seconds_and_the_next_ones_nothing(
    program: Path, server: DnsServer
) -> None:
    async with dns_server(program) as dead:
        await dead.mode("silent")
        await server.zone(*RELAY, "b.example. A 8.8.4.4")
        resolver = Resolver(Dns(nameservers=[dead.at, server.at]))
        times = []
        for name in ("relay", "b", "nobody"):
            begin = time.monotonic()
            await resolver.resolve(parse(f"/dns/{name}.example/tcp/1"), peer=None) if name != "nobody" else await fails(
                resolver, "/dns/nobody.example/tcp/1"
            )
            times.append(time.monotonic() - begin)
        assert 2.0 <= times[0] < 2.3
        assert max(times[1:]) < 0.1
        await resolver.close()


@pytest.mark.parametrize("mode", ["servfail", "refused", "gone"])
async def test_a_first_nameserver_that_fails_costs_nothing(program: Path, server: DnsServer, mode: str) -> None:
    async with dns_server(program) as first:
        await first.mode(mode)
        at = "127.0.0.1:1" if mode == "gone" else first.at
        resolver, begin = Resolver(Dns(nameservers=[at, server.at])), time.monotonic()
        assert await found(resolver, "/dns4/relay.example/tcp/1") == ["/ip4/8.8.8.8/tcp/1"]
        assert time.monotonic() - begin < 1.5
        error = await fails(Resolver(Dns(nameservers=[at])), "/dns4/relay.example/tcp/1")
        told = {"servfail": "answers SERVFAIL", "refused": "answers REFUSED", "gone": "refused"}
        assert f"127.0.0.1 {told[mode]}" in str(error).replace("[Errno 111] Connection ", "")
        assert error.query == "relay.example A"


async def test_a_server_without_edns_is_understood(server: DnsServer, resolver: Resolver) -> None:
    await server.mode("old")
    assert await found(resolver, "/dns4/relay.example/tcp/1") == ["/ip4/8.8.8.8/tcp/1"]
    assert await found(resolver, "/dns6/relay.example/tcp/1") == ["/ip6/2a00::5/tcp/1"]
    assert [one.edns for one in await server.asked()] == [1_232, 0, 0]


async def test_what_does_not_fit_into_a_datagram_comes_by_tcp(server: DnsServer, resolver: Resolver) -> None:
    texts = [
        f'_dnsaddr.big.example. TXT "dnsaddr=/ip4/8.8.{at}.8/tcp/4001/p2p/{BOB if at == 39 else EVE}"'
        for at in range(40)
    ]
    await server.zone(*texts)
    assert await found(resolver, "/dnsaddr/big.example", peer=BOB) == [f"/ip4/8.8.39.8/tcp/4001/p2p/{BOB}"]
    assert [one.net for one in await server.asked()] == ["udp", "tcp"]


async def test_an_answer_that_is_too_long_is_not_read(server: DnsServer, resolver: Resolver) -> None:
    """It would stop the event loop for as long as it takes to read it."""
    await server.zone(*(f"many.example. A 8.{at >> 8}.{at & 255}.8" for at in range(1_000)))
    error = await fails(resolver, "/dns4/many.example/tcp/1")
    assert f"of which at most {LONGEST} are read" in str(error)
    await server.zone(*(f"some.example. A 8.{at >> 8}.{at & 255}.8" for at in range(250)))
    assert len(await found(resolver, "/dns4/some.example/tcp/1")) == 100


async def test_long_texts_in_pieces_aliases_and_nested_names(server: DnsServer, resolver: Resolver) -> None:
    """Character-strings of one record are joined, as go does; each answer of the DNS may be an alias."""
    whole = f"dnsaddr=/dns4/alias.example/tcp/443/tls/ws/p2p/{BOB}"
    await server.zone(
        *RELAY,
        "alias.example. CNAME other.example.",
        "other.example. CNAME relay.example.",
        "_dnsaddr.boot.example. CNAME _dnsaddr.real.example.",
        f'_dnsaddr.real.example. TXT "{whole[:20]}" "{whole[20:]}"',
        f'_dnsaddr.real.example. TXT "dnsaddr=/dnsaddr/more.example/p2p/{BOB}"',
        '_dnsaddr.real.example. TXT "nothing of ours" "at all"',
        f'_dnsaddr.more.example. TXT "dnsaddr=/ip6/2a00::6/udp/4001/quic-v1/p2p/{BOB}"',
    )
    both = await resolver.resolve(parse(f"/dnsaddr/boot.example/p2p/{BOB}"), peer=BOB)
    assert {(str(one.address), one.name) for one in both} == {
        (f"/ip4/8.8.8.8/tcp/443/tls/ws/p2p/{BOB}", "alias.example"),
        (f"/ip6/2a00::6/udp/4001/quic-v1/p2p/{BOB}", ""),
    }


@pytest.mark.parametrize(
    ("address", "query", "why"),
    [
        ("/dns4/nobody.example/tcp/1", "nobody.example A", r"nobody.example does not exist \(NXDOMAIN\)"),
        ("/dns4/only6.example/tcp/1", "only6.example A", "only6.example has no A record"),
        ("/dnsaddr/relay.example", "_dnsaddr.relay.example TXT", "does not exist"),
        ("/dnsaddr/text.example", "_dnsaddr.text.example TXT", "has no TXT record|hold no address"),
        (f"/dnsaddr/boot.example/p2p/{EVE}", "_dnsaddr.boot.example TXT", f"no address that ends in /p2p/{EVE}"),
    ],
)
async def test_errors_name_the_query_and_the_reason(
    server: DnsServer, resolver: Resolver, address: str, query: str, why: str
) -> None:
    await server.zone(
        *RELAY,
        "only6.example. AAAA 2a00::5",
        '_dnsaddr.text.example. TXT "v=spf1 -all"',
        f'_dnsaddr.boot.example. TXT "dnsaddr=/ip4/8.8.8.8/tcp/1/p2p/{BOB}"',
    )
    with pytest.raises(NameResolutionError, match=why) as caught:
        await found(resolver, address)
    assert (caught.value.query, caught.value.address) == (query, parse(address))


async def test_names_of_other_alphabets_and_with_underscores(server: DnsServer, resolver: Resolver) -> None:
    await server.zone("xn--mnchen-3ya.example. A 8.8.8.8")
    assert await found(resolver, "/dns4/xn--mnchen-3ya.example/tcp/1") == ["/ip4/8.8.8.8/tcp/1"]
    assert await found(resolver, "/dns4/münchen.example/tcp/1") == ["/ip4/8.8.8.8/tcp/1"]


async def test_a_name_of_the_company_is_for_who_gives_it(server: DnsServer) -> None:
    await server.zone("relay.corp.example. A 10.0.0.5")
    plain, own = Resolver(server.dns), Resolver(Dns(nameservers=[server.at], private_domains=["corp.example"]))
    address = "/dns4/relay.corp.example/tcp/1"
    assert await found(plain, address, given=True) == ["/ip4/10.0.0.5/tcp/1"]
    assert "which is in a private network" in str(await fails(plain, address))
    assert await found(own, address) == ["/ip4/10.0.0.5/tcp/1"]


async def test_ports_and_ids_of_questions_are_drawn_anew(server: DnsServer, resolver: Resolver) -> None:
    """Whoever wants to answer in the server's place has to guess both (RFC 5452)."""
    for number in range(20):
        await fails(resolver, f"/dns4/n{number}.example/tcp/1")
    asked = await server.asked()
    assert len({one.id for one in asked}) >= 19
    assert len({one.port for one in asked}) >= 15


async def test_look_ups_are_counted_over_the_network_too(server: DnsServer, resolver: Resolver) -> None:
    texts = [f'_dnsaddr.a.example. TXT "dnsaddr=/dnsaddr/b{at}.example"' for at in range(16)]
    for at in range(16):
        texts += [f'_dnsaddr.b{at}.example. TXT "dnsaddr=/dns/c{at}-{other}.example/tcp/1"' for other in range(4)]
    await server.zone(*texts)
    await fails(resolver, "/dnsaddr/a.example")
    assert len([one for one in await server.asked() if one.net == "udp"]) == LOOKUPS


PROGRAM = """
import asyncio, sys
from pathlib import Path
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.resolving.nameservers.resolver import Resolver
async def main():
    resolver = Resolver(configuration=Path(sys.argv[1]), hosts=Path(sys.argv[2]))
    for address in sys.argv[3:]:
        print(*(one.address for one in await resolver.resolve(parse(address), peer=None, given=True)))
asyncio.run(main())
"""


def test_the_system_s_configuration_with_its_search_list(program: Path, tmp_path: Path) -> None:
    """In a namespace, where port 53 is free: short names are looked for in the domains of the search list."""
    configuration, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    configuration.write_text(
        "search nowhere.example corp.example\nnameserver ::1\nnameserver 127.0.0.1\noptions ndots:2\n", encoding="utf-8"
    )
    hosts.write_text("10.0.0.9 filed\n", encoding="utf-8")
    with ExitStack() as stack:
        try:
            space = stack.enter_context(netns.prefix("2001:db8:53::/48"))
        except netns.Unavailable as reason:
            pytest.skip(str(reason))
        command = netns.run_in(space, str(program), "--port", "53")
        server = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        )
        assert server.stdin is not None
        assert server.stdout is not None
        assert '"port":53' in server.stdout.readline()
        zone = "relay.corp.example. A 10.0.0.5\nfull.example. A 10.0.0.6\n"
        server.stdin.write(json.dumps({"id": 1, "cmd": "zone", "text": zone}) + "\n")
        assert '"ok":true' in server.stdout.readline()
        asked = ["/dns4/relay/tcp/1", "/dns4/full.example/tcp/1", "/dns4/filed/tcp/1"]
        ours = netns.run_in(space, sys.executable, "-c", PROGRAM, str(configuration), str(hosts), *asked)
        done = subprocess.run(ours, capture_output=True, text=True, timeout=60, check=False)
        server.stdin.close()
        server.wait(10)
    assert (done.stdout, done.stderr) == ("/ip4/10.0.0.5/tcp/1\n/ip4/10.0.0.6/tcp/1\n/ip4/10.0.0.9/tcp/1\n", "")
