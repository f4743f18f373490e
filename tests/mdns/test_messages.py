"""Messages as go, js, rust and ours say them, and everything that is none."""

from __future__ import annotations

import contextlib
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.errors import DecodeError
from stronghold_p2p.mdns import messages
from stronghold_p2p.mdns.messages import META, SERVICE, Announcement, Heard, Instance, fitting, read
from tests.mdns.packets import IN, PTR, TXT, name, packet, record, strings

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
TEXTS = (f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}", f"/ip6/2001:db8::7/tcp/4001/p2p/{PEER}")
HOSTS = (ip_address("192.0.2.7"), ip_address("2001:db8::7"))
OURS = messages.announcement(Instance("a" * 32, TEXTS, HOSTS))
LABEL = "b" * 40


def pointer(target: str, ttl: int = 120) -> bytes:
    return record(SERVICE, PTR, name(target), ttl)


def texts(owner: str, *values: str, ttl: int = 120) -> bytes:
    return record(owner, TXT, strings(*(f"dnsaddr={value}" for value in values)), ttl)


def test_what_we_announce_is_one_packet_with_a_pointer_and_all_else_as_additional_records() -> None:
    """go wants SRV and an address beside TXT, js one PTR among the answers, rust no question and additional TXT."""
    assert len(OURS) <= messages.LARGEST
    assert struct.unpack_from(">HHHHHH", OURS) == (0, 0x8400, 0, 1, 0, 5 - 1)
    assert read(OURS) == Heard(announced=(Announcement("a" * 32 + "." + SERVICE, 120, TEXTS),))


def test_queries_goodbyes_and_the_list_of_services() -> None:
    assert messages.query() == packet(0, question=(SERVICE, PTR, IN))
    assert read(messages.query()) == Heard(asked=frozenset({SERVICE}))
    assert read(messages.goodbye(["x." + SERVICE])) == Heard(announced=(Announcement("x." + SERVICE, 0),))
    assert read(messages.services()) == Heard()


def test_an_announcement_without_addresses_is_well_formed() -> None:
    assert read(messages.announcement(Instance("a" * 32, (), HOSTS))).announced[0].texts == ()


@pytest.mark.parametrize("owner", [f"{LABEL}.{SERVICE}", f"{LABEL}."], ids=["go", "rust"])
def test_txt_is_found_by_its_owner_in_any_section(owner: str) -> None:
    """rust's name does not end in the service's, and it has a TXT record for each address."""
    expected = (Announcement(owner, 120, TEXTS),)
    together = packet(0x8400, answers=[pointer(owner), texts(owner, *TEXTS)])
    apart = packet(0x8400, answers=[pointer(owner)], additional=[texts(owner, one) for one in TEXTS])
    before = packet(0x8400, answers=[texts(owner, *TEXTS), pointer(owner)])
    assert {read(one).announced for one in (together, apart, before)} == {expected}


def test_names_and_keys_in_any_case_and_what_else_may_stand_there() -> None:
    owner = f"{LABEL}.{SERVICE}"
    shouted = packet(
        0x8400,
        question=(SERVICE, PTR, IN),  # to be ignored in a response (RFC 6762, 6)
        answers=[record(SERVICE.upper(), PTR, name(owner.upper()), 120)],
        additional=[
            record(owner, TXT, strings("other=1", f"DNSADDR={TEXTS[0]}", "", "dnsaddr", "dnsaddr=\u00e9"), 120),
            texts("another." + SERVICE, TEXTS[1]),
            texts(owner, TEXTS[1], ttl=0),
            record(owner, 99, b"?", 120),
        ],
    )
    assert read(shouted).announced == (Announcement(owner, 120, TEXTS[:1]),)


def test_other_services_and_classes_say_nothing() -> None:
    other = packet(0x8400, answers=[record("_http._tcp.local.", PTR, name("web._http._tcp.local."), 120)])
    chaos = packet(0x8400, answers=[record(SERVICE, PTR, name("x." + SERVICE), 120, 3)])
    assert read(other) == read(chaos) == Heard()


def test_what_is_asked() -> None:
    assert read(packet(0, question=(META, PTR, IN))).asked == {META}
    assert read(packet(0, question=(SERVICE, 255, IN | 0x8000))).asked == {SERVICE}  # any type; by unicast, if we like
    assert read(packet(0, question=(SERVICE, TXT, IN))).asked == set()
    assert read(packet(0, question=("X." + SERVICE, TXT, 255))).asked == {"x." + SERVICE}
    known = packet(0, question=(SERVICE, PTR, IN), answers=[pointer("x." + SERVICE, 60), pointer("y." + SERVICE, 59)])
    assert read(known).known == {"x." + SERVICE}


BAD = {
    "too short": OURS[:11],
    "too long": OURS + bytes(9_001 - len(OURS)),
    "an opcode": packet(0x0800, question=(SERVICE, PTR, IN)),
    "a response code": packet(0x8403, answers=[pointer("x." + SERVICE)]),
    "more records than there are": OURS[:6] + b"\xff\xff" + OURS[8:],
    "65 records": packet(0x8400, answers=[pointer("x." + SERVICE)] * 65),
    "a label of 64": packet(0x8400, answers=[b"\x40" + b"x" * 64 + b"\x00" + OURS[-4:] * 4]),
    "a name of 256": packet(0, raw=b"".join(b"\x3f" + b"x" * 63 for _ in range(4)) + b"\x00\x00\x0c\x00\x01"),
    "a pointer to itself": packet(0, raw=b"\xc0\x0c\x00\x0c\x00\x01"),
    "two pointers to each other": packet(0, raw=b"\xc0\x0e\xc0\x0c\x00\x0c\x00\x01"),
    "a pointer beyond the end": packet(0, raw=b"\xff\xff\x00\x0c\x00\x01"),
    "half a pointer": packet(0, raw=b"\xc0"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data)


def test_1_500_chained_pointers() -> None:
    chain = b"".join(struct.pack(">H", 0xC000 | 12 + 2 * (number + 1)) for number in range(1_500))
    with pytest.raises(DecodeError):
        read(packet(0, raw=chain + b"\x00\x00\x0c\x00\x01"))


def test_truncated_anywhere() -> None:
    """Within the data of the last record, an address that nobody reads, it loses that record; before, it is dropped."""
    for size in range(len(OURS) - 16):
        with pytest.raises(DecodeError):
            read(OURS[:size])
    assert {read(OURS[:size]) for size in range(len(OURS) - 16, len(OURS))} == {read(OURS)}
    whole = messages.query()
    for size in range(len(whole)):
        with pytest.raises(DecodeError):
            read(whole[:size])


def test_a_length_that_lies_loses_its_record_only() -> None:
    owner = f"{LABEL}.{SERVICE}"
    long = record(owner, TXT, b"\xff" + f"dnsaddr={TEXTS[0]}".encode(), 120)
    assert read(packet(0x8400, answers=[pointer(owner), long, texts(owner, TEXTS[1])])).announced[0].texts == TEXTS[1:]
    odd = record(SERVICE, PTR, name("y." + SERVICE) + b"more", 120)
    assert [one.name for one in read(packet(0x8400, answers=[odd, pointer(owner)])).announced] == [owner]


def test_how_much_is_looked_at() -> None:
    owners = [f"{number}.{SERVICE}" for number in range(messages.MAX_INSTANCES + 1)]
    many = packet(0x8400, answers=[*map(pointer, owners), *(texts(one, *["/a"] * 5) for one in owners)])
    found = read(many).announced
    assert [one.name for one in found] == owners[:-1]
    assert sum(len(one.texts) for one in found) == messages.MAX_TEXTS


def test_fitting() -> None:
    one = len("dnsaddr=") + 1 + 10
    assert [fitting(["x" * 10] * 3, room) for room in (one - 1, one, 2 * one, 99)] == [0, 1, 2, 3]


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        read(data)


@given(st.integers(0, len(OURS) - 1), st.binary(min_size=1, max_size=6))
def test_ours_with_some_bytes_changed(place: int, instead: bytes) -> None:
    try:
        found = read(OURS[:place] + instead + OURS[place + len(instead) :])
    except DecodeError:
        return
    assert len(found.announced) <= messages.MAX_INSTANCES
