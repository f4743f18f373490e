"""addressing/reach.py: the table says what ``ipaddress`` says, of each address."""

from __future__ import annotations

import ipaddress
import itertools
import random

import pytest

from stronghold_p2p.addressing.kinds import unmapped
from stronghold_p2p.addressing.reach import Reach, _judged, _table, reach_of_ip


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("0.0.0.0", Reach.NOWHERE),
        ("224.0.0.1", Reach.NOWHERE),
        ("::", Reach.NOWHERE),
        ("ff02::1", Reach.NOWHERE),
        ("127.0.0.1", Reach.MACHINE),
        ("::1", Reach.MACHINE),
        ("169.254.169.254", Reach.LINK),
        ("fe80::1", Reach.LINK),
        ("10.1.2.3", Reach.SITE),
        ("100.64.0.1", Reach.SITE),
        ("192.168.1.1", Reach.SITE),
        ("fd00::1", Reach.SITE),
        ("2001:db8::1", Reach.SITE),
        ("8.8.8.8", Reach.WORLD),
        ("2606:4700::1111", Reach.WORLD),
    ],
)
def test_well_known_ones(address: str, reach: Reach) -> None:
    assert reach_of_ip(ipaddress.ip_address(address).packed) is reach


@pytest.mark.parametrize("size", [4, 16])
def test_no_piece_has_a_border_inside(size: int) -> None:
    """At each border, beside it, and at places between two that are drawn anew each time the network list changes."""
    drawn = random.Random(size)
    borders = [int.from_bytes(border, "big") for border in _table(size)[0]] + [1 << 8 * size]
    numbers = {number for border in borders for number in (border - 1, border, border + 1)}
    for first, behind in itertools.pairwise(borders):
        numbers |= {drawn.randrange(first, behind) for _ in range(20)}
        numbers |= {min(first + (1 << bit), behind - 1) for bit in range(8 * size)}
    for number in {one for one in numbers if 0 <= one < 1 << 8 * size}:
        ip = ipaddress.ip_address(number.to_bytes(size, "big"))
        if unmapped(ip) is ip:  # nobody asks for the others
            assert reach_of_ip(ip.packed) is _judged(ip), ip
