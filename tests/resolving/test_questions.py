"""What is asked, and what never is."""

from __future__ import annotations

import pytest

from stronghold_p2p.resolving.questions import (
    MOST_RECORDS,
    MOST_TEXT,
    Kind,
    Question,
    by_itself,
    full_names,
    normal,
    worth_keeping,
)

V4, V6 = bytes((127, 0, 0, 1)), bytes(15) + b"\x01"


@pytest.mark.parametrize(
    ("name", "same"),
    [("Relay.Example", "relay.example"), ("relay.example.", "relay.example"), ("a_b", "a_b"), (".", ""), ("", "")],
)
def test_names_have_one_form(name: str, same: str) -> None:
    assert normal(name) == same


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("localhost", "A", (V4,)),
        ("localhost", "AAAA", (V6,)),
        ("db.localhost", "A", (V4,)),
        ("_dnsaddr.localhost", "TXT", ()),
        ("192.0.2.7", "A", (bytes((192, 0, 2, 7)),)),
        ("192.0.2.7", "AAAA", ()),
        ("::1", "AAAA", (V6,)),
        ("::1", "A", ()),
        ("nobody.invalid", "A", ()),
        ("vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd.onion", "AAAA", ()),
    ],
)
def test_what_nobody_has_to_be_asked(name: str, kind: Kind, records: tuple[bytes, ...]) -> None:
    answer = by_itself(Question(name, kind))
    assert answer is not None
    assert answer.records == records


@pytest.mark.parametrize("name", ["relay.example", "localhost.example", "1.2.3", "127.1", "0x7f.1"])
def test_all_other_names_are_asked_for(name: str) -> None:
    assert by_itself(Question(name, "A")) is None


@pytest.mark.parametrize(
    ("name", "ndots", "asked"),
    [
        ("relay", 1, ["relay.ns.cluster", "relay.cluster", "relay"]),
        ("relay.ns", 1, ["relay.ns", "relay.ns.ns.cluster", "relay.ns.cluster"]),
        ("a.b.c", 5, ["a.b.c.ns.cluster", "a.b.c.cluster", "a.b.c"]),
    ],
)
def test_short_names_are_made_longer(name: str, ndots: int, asked: list[str]) -> None:
    """As resolv.conf(5) has it, and as pods in a cluster need it."""
    domains = ("ns.cluster.", "Cluster")
    assert list(full_names(Question(name, "A", search=True), domains, ndots)) == asked
    assert full_names(Question(name, "A"), domains, ndots) == (name,)


def test_the_label_of_a_dnsaddr_is_no_dot_of_the_name() -> None:
    assert (
        full_names(Question("_dnsaddr.relay", "TXT", search=True), ("a.example",), 1)[0] == "_dnsaddr.relay.a.example"
    )


def test_a_search_list_is_bounded() -> None:
    assert len(full_names(Question("relay", "A", search=True), [f"d{i}.example" for i in range(50)], 1)) == 7


def test_of_an_answer_only_what_is_of_use_is_kept() -> None:
    texts = [b"dnsaddr=/ip4/192.0.2.7", b"v=spf1 -all", b"dnsaddr=" + b"x" * MOST_TEXT, b"dnsaddr=/ip4/192.0.2.7"]
    assert worth_keeping("TXT", texts) == (texts[0],)
    assert worth_keeping("A", [V4, V4]) == (V4,)
    assert len(worth_keeping("A", [number.to_bytes(4, "big") for number in range(4_000)])) == MOST_RECORDS


def test_a_question_is_told_as_tools_write_it() -> None:
    assert str(Question("relay.example", "AAAA")) == "relay.example AAAA"
