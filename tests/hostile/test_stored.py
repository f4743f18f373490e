"""Hostile rows 76 and 93 to 96: options, names of peers and addresses, the address book, key files.

The rules file of hostile row 96 is played in test_firewall.py.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.process import Process, soon
from stronghold_p2p.encoding.base58 import encode as base58
from stronghold_p2p.encoding.varint import encode as varint
from tests.hostile.arena import MIB, Arena, Program
from tests.hostile.client import Host
from tests.hostile.codec import Identity, prefixed
from tests.hostile.points import UNSOUND
from tests.hostile.test_identify import introduced
from tests.hostile.told import envelope, identify, ip4_tcp, peer_record

SHA256 = b"\x12\x20" + bytes(range(32))
PARSED_WITHIN = 10.0  # milliseconds

Value = str | bytes | tuple[str, str, int] | tuple[bytes, bytes, int]


def given(reader: Program, kind: str, values: Iterable[Value]) -> list[dict[str, Any]]:
    """What becomes of each; a second and a third part of a value stand for what is repeated, as a line is short."""
    lines = []
    for value in values:
        head, unit, count = value if isinstance(value, tuple) else (value, value[:0], 0)
        if isinstance(head, str):
            lines.append(["text", head, unit, count])
        else:
            lines.append(["hex", head.hex(), bytes(unit).hex(), count])  # type: ignore[arg-type]
    each: list[dict[str, Any]] = reader.ask(do="parse", kind=kind, values=lines)["each"]
    return each


def parsed(arena: Arena, kind: str, good: Sequence[str | bytes], bad: Sequence[Value]) -> None:
    """What is good is the same when it is written and read again; what is bad, or was spoilt, is an error."""
    with arena.start("reader") as reader:
        base = reader.memory()
        each = given(reader, kind, good)
        assert [one["error"] or one["same"] for one in each] == [True] * len(good), each
        for value, one in zip(bad, refusals := given(reader, kind, bad), strict=True):
            assert one["error"] == "DecodeError", (value, one)
            assert len(one["text"]) <= 200
        arena.bound("ms for the slowest", max(one["ms"] for one in refusals), PARSED_WITHIN)
        spoilt, accepted = mutated([bytes.fromhex(one["form"]) for one in each], arena.pick(2_000, 50_000)), 0
        for at in range(0, len(spoilt), 200):  # whatever is accepted can be printed, and its text is the same again
            some = spoilt[at : at + 200]
            for data, one in zip(some, given(reader, kind, some), strict=True):
                assert one["error"] == "DecodeError" or (one.get("same") and one["form"] == data.hex()), (data, one)
                accepted += not one["error"]
        arena.note(f"{accepted} of {len(spoilt)} mutated ones accepted")
        assert reader.memory() - base <= 8 * MIB  # the values themselves have as much


def mutated(values: list[bytes], count: int) -> list[bytes]:
    """A byte changed, cut out, put in, or the rest cut off."""
    drawn, found = random.Random(93), []
    for _ in range(count):
        data = drawn.choice(values)
        at, byte = drawn.randrange(len(data)), drawn.randbytes(1)
        before, behind = data[:at], data[at + 1 :]
        found.append(before + drawn.choice((byte + behind, behind, byte + data[at:], b"")))
    return found


def test_row_93_peer_ids(arena: Arena) -> None:
    """Peer ids: lengths, codes, alphabets, 1 MiB, no key"""
    own = Identity()
    key = own.public
    bad: list[Value] = [
        *(b"", b"\0", b"\0\0", own.peer[:-1], own.peer + b"\0", SHA256[:-1], SHA256 + b"\0"),
        *(b"\x12\x1f" + bytes(31), b"\x12\x21" + bytes(33), b"\x13\x40" + bytes(64), b"\x80\x24\x20" + bytes(32)),
        b"\0" + prefixed(bytes(43)),
        b"\0" + prefixed(b"x" * 36),
        b"\0" + prefixed(key + b"\x18\x01"),
        b"\0" + prefixed(b"\x12\x20" + key[4:] + b"\x08\x01"),
        b"\0" + prefixed(b"\x08\x63" + key[2:]),
        *(b"\0" + prefixed(key[:4] + point) for point in UNSOUND.values()),
        *((b"", unit, 1 << 20) for unit in (b"\xff", b"\0")),
        *("", "\0", own.name[:-1], own.name + "1", own.name[:-1] + "0", own.name + "\0", own.name.upper()),
        base58(b"\0" + prefixed(b"no key at all")),
        "Qm" + "z" * 44,
        *(
            (head, unit, 1 << 20)
            for head, unit in (("", "1"), ("Qm", "z"), ("b", "a"), ("k", "z"), ("", "\N{SNOWMAN}"))
        ),
    ]
    parsed(arena, "peer_ids", [own.name, own.peer, SHA256, b"\0\x25\x08\x02\x12\x21\x02" + bytes(32)], bad)


def test_row_93_addresses(arena: Arena) -> None:
    """Multiaddrs: lengths, codes, ports, zones, 10,000 parts"""
    own = Identity()
    place = ip4_tcp("192.0.2.7", 4_001)
    good = [
        "/ip4/192.0.2.7/tcp/4001",
        "/ip6/2001:db8::7/tcp/65535",
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
        "/dns4/example.org/tcp/443/wss",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{own.name}",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{own.name}/p2p-circuit/p2p/{Identity().name}",
        "/ip4/192.0.2.7/udp/4001/quic-v1/webtransport",
    ]
    bad: list[Value] = [
        *(b"", b"\x04", place[:-1], place + b"\x06", place + b"\0", place + b"\xa5\x03\x00"),
        *(b"\xff\xff\x7f" + bytes(4), b"\x84\x00" + place[1:]),
        place + b"\xa5\x03" + prefixed(SHA256[:-1]),
        place + b"\xa5\x03" + prefixed(b"\0" + prefixed(b"x" * 36)),
        (b"\x36" + varint(1 << 20), b"a", 1 << 20),
        b"\x36\x03a\0b" + b"\x06\0\x01",
        b"\x36\xff\xff\xff\xff\x0f",
        b"\xa2\x02" * 33,
        (b"", b"\xa2\x02", 10_000),
        (b"", b"\0", 1 << 20),
        *("", "/", "192.0.2.7:4001", "/dns4/a\0b/tcp/1", "/none/1", "/p2p-circuit" * 33),
        *(f"/ip4/192.0.2.7/tcp{end}" for end in ("", "/65536", "/-1", "/0x1", "/\N{ARABIC-INDIC DIGIT FOUR}", "/1\0")),
        *("/ip4/192.0.2.256/tcp/1", "/ip4/0192.0.2.7/tcp/1", "/ip4/192.0.2.7/tcp/1/p2p/x"),
        *("/ip6/fe80::1%eth0/tcp/1", "/ip6zone/e/th0/ip6/fe80::1"),
        ("", "/p2p-circuit", 10_000),
        *((head, unit, 1 << 20) for head, unit in (("", "/"), ("/dns/", "a"), ("/ip4/192.0.2.7/tcp/", "9"))),
    ]
    parsed(arena, "addresses", good, bad)


def test_row_94_invented_peers(arena: Arena) -> None:
    """100,000 invented peers tell 1,000 addresses each"""
    full = arena.full
    for peers, addresses, long in (
        (100_000 if full else 2_000, 1_000, False),
        (100_000 if full else 1_000, 1_000, True),  # of 260 bytes each
        (100_000, 10, False) if full else (10_500, 2, False),
    ):
        with arena.start("reader") as reader:
            base = reader.memory()
            reader.ask(do="find", first=0, peers=100)
            for first in range(1_000, 1_000 + peers, 500):
                state = reader.ask(do="tell", first=first, peers=500, addresses=addresses, long=long)
                assert state["peers"] <= 10_000
                assert state["addresses"] <= 100_000
            assert reader.ask(do="knows", first=0, peers=200)["knows"] == 200  # connected, and given by the caller
            assert reader.ask(do="knows", first=peers + 900, peers=100)["knows"] == 100  # who was there last
            assert reader.ask(do="knows", first=1_000, peers=100)["knows"] == 0
            counted = reader.ask(do="counted")
            assert (counted["peers"], counted["addresses"]) == (state["peers"], state["addresses"])
            assert long or addresses == 2 or counted["addresses"] >= 98_000
            arena.note(f"{counted['peers']} peers, {counted['addresses']} addresses")
            arena.grown(reader.memory() - base, 30 * MIB)


def test_row_94_connected_and_protected(arena: Arena) -> None:
    """Who is connected or protected is never forgotten"""
    protected = Identity()
    parts = [ip4_tcp("127.0.0.1", 1_000 + number) for number in range(1_000)]
    told = b"".join(prefixed(identify(None, addresses=parts[at : at + 250])) for at in range(0, 1_000, 250))
    options = ("--constant", "book.store.PEERS=20", "--protect", protected.name)
    with arena.serve(*options, memory=2 * MIB) as target:
        with target.connect(protected) as peer:
            assert peer.over(peer.push(told))
        connected = [Identity() for _ in range(5)]
        peers = [target.connect(identity) for identity in connected]
        for peer in peers:
            assert peer.over(peer.push(told))
        staying = {protected.name, *(identity.name for identity in connected)}
        for _ in range(arena.pick(40, 1_000)):
            with target.connect() as stranger:
                assert stranger.over(stranger.push(told))
        known = set(target.state()["known"])
        assert staying <= known
        assert len(known) == 20
        for peer in peers:
            assert peer.alive()
            peer.wire.close()
        assert soon(lambda: target.state()["known_peers"] == 20)


def test_row_95_records_that_roll_back(arena: Arena) -> None:
    """Records of a lower sequence, or the same with other content"""
    first, other, most = ip4_tcp("127.0.0.1", 1_001), ip4_tcp("127.0.0.1", 1_002), 2**64 - 1
    rolled = ((7, first, True), (7, other, False), (6, first, False), (0, other, False), (7, first, True))
    highest = ((most, other, True), (most - 1, first, False), (most, first, False))
    restarted = ((most, first, False), (7, first, False), (most, other, True))
    with TemporaryDirectory() as folder, Host() as host:
        own = host.identity
        for told in ((*rolled, *highest), restarted):
            with arena.dialer("--book", str(Path(folder) / "book.json")) as dialer:
                for seq, address, taken in told:  # each on a connection of its own
                    record = envelope(own, peer_record(own.peer, seq, [address]))
                    with introduced(dialer, host, prefixed(identify(own, record=record))) as (_, info):
                        assert info["record"] is taken, (seq, address)
                        assert set(info["book"]) == {own.name}


def stays(reader: Program, path: Path, read: str, **writing: Any) -> dict[str, Any]:
    """What ``read`` gives; the file and its folder are as before, also when somebody wants to write there."""
    folder, data = sorted(path.parent.iterdir()), path.read_bytes() if path.stat().st_size < MIB else b""
    got = reader.ask(do=read, path=str(path))
    reader.ask(path=str(path), **writing)
    assert sorted(path.parent.iterdir()) == folder
    assert got["error"] == "" or not data or path.read_bytes() == data
    return got


def test_row_96_damaged_books(arena: Arena) -> None:
    """Address books cut at every byte, garbage, huge, old"""
    worst = 0.0
    with TemporaryDirectory() as folder, arena.start("reader") as reader:
        path = Path(folder) / "book.json"
        assert reader.ask(do="save", path=str(path), peers=2)["error"] == ""
        whole = path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
        base = reader.memory()
        damaged = [
            *(whole[:at] for at in range(len(whole) - 1)),
            *(os.urandom(5_000), bytes(4_096), b"[" * (1 << 20), whole + b" " * (8 << 20)),
            *(b"version = 1\n", whole.replace(b'"version":1', b'"version":2'), b'{"peers":{"x":[]}}'),
            *([b'{"peers":{' + b'"a":[],' * 1_198_000] if arena.full else []),
        ]
        for data in damaged:
            path.write_bytes(data)
            got = stays(reader, path, "load", do="save", peers=1)
            assert got["error"] == "ConfigError", (data[:99], got)
            assert got["where"].startswith(str(path)), (data[:99], got)
            worst = max(worst, got["ms"] / 1e3)
        os.truncate(path, 1 << 40)
        assert "too large" in stays(reader, path, "load", do="save", peers=1)["text"]
        path.unlink()
        os.mkfifo(path)
        assert "not a regular file" in reader.ask(do="load", path=str(path))["text"]
        path.unlink()
        arena.bound("s for the slowest", worst, 1.0)
        for link in (path, Path(folder) / "link"):  # a dangling one, and one to the file
            link.symlink_to(Path(folder) / "book")
            assert reader.ask(do="save", path=str(link), peers=5)["error"] == ""
            assert reader.ask(do="load", path=str(link))["read"] == 5
            assert link.is_symlink()
        full, old = path.read_bytes(), b'{"peers":{"' + Identity().name.encode() + b'":{"known":["/ip4/10.0.0.1/tcp/1"]'
        reader.ask(do="limit_files", size=200)
        got = reader.ask(do="save", path=str(path), peers=5)
        assert (got["error"], path.read_bytes()) == ("ConfigError", full), got
        reader.ask(do="limit_files", size=-1)
        path.write_bytes(old + b',"use_relay_fallback":true}},"relays":[]}')  # as the Rust library writes it
        assert reader.ask(do="load", path=str(path))["read"] == 1
        assert sorted(os.listdir(folder)) == ["book", "book.json", "link"]
        assert reader.memory() - base <= 160 * MIB  # JSON of 8 MiB that is made of empty lists
        arena.note(f"{len(damaged)} damaged books")


def test_row_96_two_writers(arena: Arena) -> None:
    """Two writers of one address book, and a reader"""
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "book.json")
        written_by_two(arena, path, ("save", "load"), "peers", (200, 300), arena.pick(8, 300))
        assert os.listdir(folder) == ["book.json"]


def written_by_two(
    arena: Arena, path: str, commands: tuple[str, str], name: str, sizes: tuple[int, int], times: int
) -> None:
    """Two write a file, each with its size, and a third reads the one or the other; nothing goes wrong for any."""
    write, read = commands
    with arena.start("reader") as one, arena.start("reader") as two, arena.start("reader") as third:
        assert one.ask(do=write, path=path, **{name: sizes[0]})["error"] == ""
        for writer, size in zip((one, two), sizes, strict=True):
            writer.tell(do="often", command=write, times=times, path=path, **{name: size})
        seen = third.ask(do="often", command=read, times=times, path=path)
        assert [answer["errors"] for answer in (seen, one.read(), two.read())] == [{}, {}, {}]
        assert set(seen["seen"]) <= set(sizes)


def test_row_96_key_files(arena: Arena) -> None:
    """Key files that others can read, cut, huge, links"""
    worst = 0.0
    with TemporaryDirectory() as folder, arena.start("reader") as reader:
        path = Path(folder) / "key"
        peer = reader.ask(do="key", path=str(path), create=True)["peer"]
        whole = path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
        for mode in (0o660, 0o604, 0o666, 0o601):
            path.chmod(mode)
            got = stays(reader, path, "key", do="save_key")
            assert got["error"] == "IdentityError", (mode, got)
            assert "chmod 600" in got["text"], got
        path.chmod(0o600)
        empty = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        for data in (*(whole[:at] for at in range(len(whole))), os.urandom(500), whole + b"\n" * 16_384, empty):
            path.write_bytes(data)
            got = stays(reader, path, "key", do="save_key")
            assert got["error"] == "IdentityError" or got.get("peer") == peer, (data[:99], got)
            worst = max(worst, got["ms"] / 1e3)
        os.truncate(path, 1 << 40)
        assert "too large" in stays(reader, path, "key", do="save_key")["text"]
        path.write_bytes(whole)
        link, dangling = Path(folder) / "link", Path(folder) / "dangling"
        link.symlink_to(path)
        dangling.symlink_to(Path(folder) / "elsewhere")
        assert reader.ask(do="key", path=str(link))["peer"] == peer
        assert "never overwritten" in reader.ask(do="key", path=str(dangling), create=True)["text"]
        reader.ask(do="limit_files", size=20)
        assert reader.ask(do="save_key", path=str(Path(folder) / "new"))["error"] == "IdentityError"
        reader.ask(do="limit_files", size=-1)
        assert sorted(os.listdir(folder)) == ["dangling", "key", "link"]
        arena.bound("s for the slowest", worst, 1.0)


def test_row_76_each_option_alone(arena: Arena) -> None:
    """Each option set to a sentinel: exactly that one changes"""
    full = ("--full",) if arena.full else ()
    with Process("tests.hostile.options", *full, *arena.weak) as program:
        names, changes = program.ready["names"], program.ready["changes"]
        assert sum(map(len, names.values())) >= 45
        for kind, options in names.items():
            assert set(changes[kind]) == set(options), f"{kind}: an option without a sentinel"
            for option in options:
                assert changes[kind][option] == [option], f"{kind}.{option} changes {changes[kind][option]}"
        arena.note(f"{sum(map(len, names.values()))} options")
