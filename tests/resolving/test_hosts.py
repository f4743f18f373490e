"""The hosts file, byte by byte."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.resolving.hosts import MOST, addresses_in

FILE = b"""
# 192.0.2.1 commented
127.0.0.1\tlocalhost
::1 localhost ip6-localhost
10.0.0.5   relay.corp relay   # relay.old is gone
10.0.0.6 other.corp relay.corp.
fe80::1%lo0 relay.corp
300.1.1.1 relay.corp
relay.corp
nonsense relay.corp
10.0.0.5 relay.corp
2001:db8::5 my_relay
10.0.0.7 xrelay.corp relay.corpx relay.corp.x
10.0.0.8 last"""


def found(name: str, text: bytes = FILE) -> list[str]:
    return [str(ipaddress.ip_address(packed)) for packed in addresses_in(text, name)]


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("Relay.Corp.", ["10.0.0.5", "10.0.0.6"]),
        ("relay", ["10.0.0.5"]),
        ("my_relay", ["2001:db8::5"]),
        ("last", ["10.0.0.8"]),
        ("relay.old", []),
        ("commented", []),
        ("corp", []),
        ("10.0.0.5", []),
        (".*", []),
        ("", []),
    ],
)
def test_a_name_has_the_addresses_of_its_lines(name: str, addresses: list[str]) -> None:
    assert found(name) == addresses


def test_other_ends_of_lines_are_understood() -> None:
    text = b"10.0.0.5 relay.corp\r\n10.0.0.6\trelay.corp other\r\n10.0.0.7 relay.corp#x\r\n"
    assert found("relay.corp", text) == ["10.0.0.5", "10.0.0.6", "10.0.0.7"]


def test_one_name_has_so_many_addresses_at_most() -> None:
    text = b"".join(b"10.0.%d.%d relay\n" % divmod(number, 256) for number in range(1_000))
    assert len(found("relay", text)) == MOST


@given(st.binary(max_size=300), st.text(max_size=20))
def test_no_file_and_no_name_is_too_strange(text: bytes, name: str) -> None:
    for packed in addresses_in(text, name):
        assert len(packed) in {4, 16}


@pytest.mark.serial
def test_a_file_that_blocks_names_is_searched_quickly() -> None:
    text = b"".join(b"0.0.0.0 ads%d.tracker.example\n" % number for number in range(150_000))
    begin = time.perf_counter()
    assert found("ads149999.tracker.example", text) == ["0.0.0.0"]
    assert found("nowhere.example", text) == []
    assert found("e", text) == []
    assert time.perf_counter() - begin < 0.5
