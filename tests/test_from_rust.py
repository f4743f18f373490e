"""docs/from-rust.md: every method, option, event and error of the Rust library is in it, and leads to what exists."""

from __future__ import annotations

import re

import pytest

import stronghold_p2p
from stronghold_p2p import AddressBook, Connection, Firewall, Identity, Limits, Network, Rule, Timeouts
from stronghold_p2p.swarm.listeners import LiveListener
from tests.cores import ROOT

GUIDE = (ROOT / "docs" / "from-rust.md").read_text(encoding="utf-8")

# Their names, as a text: each list is split where it is used.
METHODS = """
    new peer_id send_request connect_peer is_connected established_connections start_listening
    start_relayed_listening listeners stop_listening stop_listening_addr stop_listening_relay get_addrs add_address
    export_address_info add_dialing_relay remove_dialing_relay set_relay_fallback use_specific_relay
    get_firewall_config set_firewall_default remove_firewall_default set_peer_rule ban_peer
"""
OPTIONS = """
    new with_keys with_connections_limit with_request_timeout with_connection_timeout with_firewall_timeout
    load_addresses with_mdns_support with_relay_support build build_with_transport
"""
LIMITS = """
    max_pending_incoming max_pending_outgoing max_established_incoming max_established_outgoing
    max_established_per_peer max_established
"""
EVENTS = """
    InboundFailure ConnectionEstablished ConnectionClosed IncomingConnectionError NewListenAddr ExpiredListenAddr
    ListenerClosed ListenerError
"""
FAILURES = """
    OutboundFailure::Timeout OutboundFailure::DialFailure OutboundFailure::ConnectionClosed
    OutboundFailure::UnsupportedProtocols OutboundFailure::Shutdown InboundFailure::Timeout
    InboundFailure::NotPermitted InboundFailure::ConnectionClosed DialErr ConnectionErr TransportErr ListenErr
    ListenRelayErr RelayNotSupported
"""
MODES = "Block DropLatest BufferLatest"

# What the names in the right columns are of, where they are no names of the package.
OF = {
    "network": Network(),
    "firewall": Firewall,
    "book": AddressBook(),
    "AddressBook": AddressBook,
    "listener": LiveListener(Network()._swarm.listeners).face,
    "connection": Connection,
    "Identity": Identity,
    "Limits": Limits(),
    "Timeouts": Timeouts(),
    "Rule": Rule,
    "RequestProtocol": stronghold_p2p.STRONGHOLD,
}
ANNOTATED = {"connection": {"peer", "direction", "remote_address", "local_address"}}
VALUES = {r"READ \| WRITE", "Ping in READ", "()"}
LATER = re.compile(r"not there yet: (relay|mDNS)")


def rows(heading: str) -> list[list[str]]:
    """The cells of all tables below a heading, without those that name the columns."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    assert section is not None
    tables = re.findall(r"(?:^\|.*\n)+", section[1], re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def exists(name: str) -> bool:
    """Whether this is a name of ours, an option, an attribute, or an assignment of one."""
    if option := re.fullmatch(r'(\w+)=("\w+")?', name):
        return option[1] in {"listen", "peer", "protocol", "subnet", "direction", "overflow", "exclusive"}
    owner, _, attribute = name.partition(".")
    if not attribute:
        parameters = {"identity", "limits", "book", "timeouts", "remote", "async with"}
        return hasattr(stronghold_p2p, name) or name in parameters
    if owner not in OF:
        return False
    return attribute in dir(OF[owner]) or attribute in ANNOTATED.get(owner, set())


def test_every_method_has_its_number_and_its_place() -> None:
    table = rows("Methods")
    assert [row[0] for row in table] == [f"N{number}" for number in range(1, 25)]
    assert [codes(row[1])[0] for row in table] == METHODS.split()
    assert {"remove_address", "remove_peer_rule", "unban_peer"} <= {name for row in table for name in codes(row[1])}
    for _, _, here in table:
        assert LATER.match(here) or any(exists(name) for name in codes(here)), here


@pytest.mark.parametrize(
    ("heading", "names"), [("Options", OPTIONS + LIMITS), ("Events", EVENTS + MODES), ("Errors", FAILURES)]
)
def test_every_name_of_the_other_library_is_there(heading: str, names: str) -> None:
    assert sorted(name for row in rows(heading) for name in codes(row[0])) == sorted(names.split())


@pytest.mark.parametrize("heading", ["Methods", "Options", "Events", "Errors", "Rules"])
def test_every_name_of_ours_exists(heading: str) -> None:
    place = 2 if heading == "Methods" else 1
    for row in rows(heading):
        assert row[place]
        assert [name for name in codes(row[place]) if not exists(name) and name not in VALUES] == []


def test_names_in_running_text_exist() -> None:
    text = re.sub(r"^(```.*?^```|\|.*?)$", "", GUIDE, flags=re.MULTILINE | re.DOTALL)
    dotted = [name for name in codes(text) if re.fullmatch(r"[A-Za-z]+\.\w+", name) and not name.endswith(".py")]
    assert len(dotted) >= 10
    assert [name for name in dotted if not exists(name)] == []


def test_the_two_that_are_no_matter_of_code_are_explained() -> None:
    assert re.findall(r"^- \*\*(D\d+)\*\*:", GUIDE, re.MULTILINE) == ["D19", "D29"]
