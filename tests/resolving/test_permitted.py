"""Which addresses a name may lead to, by who has given the name."""

from __future__ import annotations

import ipaddress

import pytest

from stronghold_p2p.addressing.reach import Reach
from stronghold_p2p.resolving.permitted import Source, source_of, why_refused

EVERYBODY = frozenset(Source)
SITE = frozenset({Source.GIVEN, Source.OF_SITE})
MACHINE = frozenset({Source.GIVEN, Source.OF_MACHINE})
NOBODY = frozenset[Source]()


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("8.8.8.8", EVERYBODY),
        ("2a00:1450::5", EVERYBODY),
        ("64:ff9b::808:808", EVERYBODY),  # NAT64 of 8.8.8.8: what DNS64 answers
        ("2002:808:808::1", EVERYBODY),  # 6to4 of it
        ("::ffff:8.8.8.8", EVERYBODY),
        ("10.0.0.5", SITE),
        ("172.16.0.1", SITE),
        ("172.31.255.255", SITE),
        ("192.168.1.1", SITE),
        ("100.64.0.1", SITE),
        ("198.18.0.1", SITE),
        ("fd00::5", SITE),
        ("127.0.0.1", MACHINE),
        ("127.255.255.254", MACHINE),
        ("::1", MACHINE),
        ("0.0.0.0", NOBODY),
        ("0.1.2.3", NOBODY),
        ("::", NOBODY),
        ("224.0.0.251", NOBODY),
        ("ff02::fb", NOBODY),
        ("255.255.255.255", NOBODY),
        ("240.0.0.1", NOBODY),
        ("192.0.2.7", NOBODY),
        ("198.51.100.7", NOBODY),
        ("203.0.113.7", NOBODY),
        ("2001:db8::7", NOBODY),
        ("169.254.169.254", NOBODY),
        ("fe80::1", NOBODY),
        ("::ffff:127.0.0.1", NOBODY),
        ("::ffff:10.0.0.5", NOBODY),
        ("64:ff9b::7f00:1", NOBODY),
        ("64:ff9b::a00:5", NOBODY),
        ("64:ff9b:1::a00:5", SITE),
        ("2002:a00:5::1", NOBODY),
        ("2002:7f00:1::1", NOBODY),
    ],
)
def test_who_may_name_it(text: str, who: frozenset[Source]) -> None:
    ip = ipaddress.ip_address(text)
    told = {source: why_refused(ip.packed, source) for source in Source}
    assert {source for source, why in told.items() if why is None} == who
    assert all(str(ip) in why for why in told.values() if why is not None)


def test_what_a_peer_tells_leads_no_further_inside_than_it_shows() -> None:
    assert {shown: source_of(shown, given=False) for shown in Reach} == {
        Reach.NOWHERE: Source.TOLD,
        Reach.LINK: Source.TOLD,
        Reach.WORLD: Source.TOLD,
        Reach.SITE: Source.OF_SITE,
        Reach.MACHINE: Source.OF_MACHINE,
    }
    assert {source_of(shown, given=True) for shown in Reach} == {Source.GIVEN}
