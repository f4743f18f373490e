"""What this machine says of names, from files that come, change and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from stronghold_p2p.resolving.nameservers.configuration import read_configuration
from stronghold_p2p.resolving.nameservers.system import HostsFile, state_of

HERE = bytes((127, 0, 0, 1))


def test_a_hosts_file_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = HostsFile(path)
    assert hosts.addresses("relay") == ()
    path.write_text("127.0.0.1 Relay\n", encoding="utf-8")
    assert hosts.addresses("relay") == (HERE,)
    path.write_text("127.0.0.1 relay\n127.0.0.2 relay\n", encoding="utf-8")
    assert len(hosts.addresses("relay")) == 2
    path.unlink()
    assert hosts.addresses("relay") == ()


def test_a_hosts_file_that_cannot_be_read_has_no_names(tmp_path: Path) -> None:
    assert HostsFile(tmp_path).addresses("relay") == ()


def test_every_change_of_a_file_is_another_state(tmp_path: Path) -> None:
    path = tmp_path / "file"
    states = [state_of(path)]
    for text in ("a", "ab", "a"):
        path.write_text(text, encoding="utf-8")
        states.append(state_of(path))
        path.unlink()
    assert states[0] is None
    assert states[1] != states[2]


@pytest.mark.parametrize(
    ("text", "servers", "search", "ndots"),
    [
        ("nameserver 192.0.2.53\n", [("192.0.2.53", 53)], [], 1),
        ("# x\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n", [("192.0.2.53", 53), ("2001:db8::53", 53)], [], 1),
        ("search a.example b.example\nnameserver ::1\noptions ndots:5\n", [("::1", 53)], ["a.example", "b.example"], 5),
        ("domain a.example\nnameserver ::1\n", [("::1", 53)], ["a.example"], 1),
        ("nameserver fe80::1%lo\n", [("fe80::1%lo", 53)], [], 1),
    ],
)
def test_a_configuration_is_what_the_system_says(
    tmp_path: Path, text: str, servers: list[tuple[str, int]], search: list[str], ndots: int
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text, encoding="utf-8")
    read = read_configuration(path)
    assert (list(read.servers), read.ndots, read.problem) == (servers, ndots, "")
    assert [one for one in read.search if one in search] == search


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is missing, or names no nameserver"),
        ("", "is missing, or names no nameserver"),
        ("search a.example\n", "is missing, or names no nameserver"),
        ("nameserver dns.example\n", "dns.example"),
    ],
)
def test_a_configuration_that_is_none_is_a_problem_and_no_crash(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    read = read_configuration(path)
    assert read.servers == ()
    assert problem in read.problem
    assert str(path) in read.problem
