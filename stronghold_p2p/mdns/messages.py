"""mDNS messages about libp2p peers, read and built (discovery/mdns.md; RFC 6762 for their form).

Parsing and building of DNS itself is zeroconf's. Its message classes stand outside of what that package promises, so
its minor version is pinned. Each object is given a time, or zeroconf would look at the clock; what we use needs none.

Peers differ in what they put where: rust has a name in its PTR that does not end in the service's, and looks for TXT
among the additional records only; go wants SRV and an address in the same packet, and one TXT record with all
addresses; js wants the PTR among the answers. So we take a record from any place, find TXT by its owner alone, and
build what all of them read.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from zeroconf import DNSAddress, DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSRecord, DNSService, DNSText

from stronghold_p2p.errors import DecodeError

SERVICE: Final = "_p2p._udp.local."
META: Final = "_services._dns-sd._udp.local."  # RFC 6763, 9: which services there are
KEY: Final = "dnsaddr="
TTL: Final = 120  # seconds; RFC 6762, 10, for records that name a host; js takes the same
LONGEST_TEXT: Final = 255  # bytes of a string in TXT (RFC 1035, 3.3)
LARGEST: Final = 1_400  # bytes of what we send: it fits into one frame, in a tunnel, too
DUMMY_PORT: Final = 4_001  # of SRV, which nobody reads; go takes the same

MAX_PACKET: Final = 9_000  # bytes of what we read (RFC 6762, 17)
MAX_RECORDS: Final = 64  # questions and records that a packet may announce
MAX_INSTANCES: Final = 8  # that are looked at
MAX_TEXTS: Final = 16  # of all of them together: an address costs forty microseconds, far more than a record

_A, _PTR, _TXT, _AAAA, _SRV, _ANY = 1, 12, 16, 28, 33, 255
_IN, _UNIQUE = 1, 0x8000
_RESPONSE, _AUTHORITATIVE, _OPCODE_AND_CODE = 0x8000, 0x0400, 0x780F
_HEADER: Final = struct.Struct(">HHHHHH")
_MADE: Final = 1.0  # when an object was made, for zeroconf: it only has to be something


@dataclass(frozen=True, slots=True)
class Announcement:
    """One instance of the service: its name in small letters, seconds that it holds (0: goodbye), its addresses."""

    name: str
    ttl: int
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """What one packet says, as far as it is about this service.

    ``asked``: names that are asked for, in small letters. ``known``: instances that whoever asks knows well.
    """

    asked: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    announced: tuple[Announcement, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """What we announce under one name: addresses as text, and where the host of that name is."""

    label: str
    texts: tuple[str, ...]
    hosts: tuple[IPv4Address | IPv6Address, ...]
    port: int = DUMMY_PORT

    @property
    def name(self) -> str:
        return f"{self.label}.{SERVICE}"

    @property
    def host(self) -> str:
        return f"{self.label}.local."


def read(data: bytes) -> Heard:
    """``DecodeError``: it is no message, or one that is larger than any of ours has to be."""
    if not _HEADER.size <= len(data) <= MAX_PACKET:
        raise DecodeError(f"an mDNS packet of {len(data)} bytes, {_HEADER.size} to {MAX_PACKET} allowed")
    _, flags, *counts = _HEADER.unpack_from(data)
    if sum(counts) > MAX_RECORDS:
        raise DecodeError(f"an mDNS packet that announces {sum(counts)} records, {MAX_RECORDS} allowed")
    if flags & _OPCODE_AND_CODE:  # RFC 6762, 18.3 and 18.11: to be ignored
        raise DecodeError("an mDNS packet with an opcode or a response code")
    message = DNSIncoming(data, now=_MADE)
    records = [record for record in message.answers() if record.class_ == _IN] if message.valid else []
    if not message.valid:
        raise DecodeError("an mDNS packet that cannot be read")
    if flags & _RESPONSE:  # a question in a response is to be ignored (RFC 6762, 6)
        return Heard(announced=tuple(_announced(records)))
    return Heard(frozenset(_asked(message.questions)), frozenset(_known(records)))


def _asked(questions: Iterable[DNSQuestion]) -> Iterator[str]:
    for question in questions:
        if question.class_ in (_IN, _ANY):
            services = question.key in (SERVICE, META)
            if not services or question.type in (_PTR, _ANY):
                yield question.key


def _known(records: Iterable[DNSRecord]) -> Iterator[str]:
    """Answers that need not come again: those that hold for half of their time at least (RFC 6762, 7.1)."""
    for record in records:
        if isinstance(record, DNSPointer) and record.key == SERVICE and record.ttl >= TTL // 2:
            yield record.alias.lower()


def _announced(records: Sequence[DNSRecord]) -> Iterator[Announcement]:
    pointers = {one.alias.lower(): one.ttl for one in records if isinstance(one, DNSPointer) and one.key == SERVICE}
    left = MAX_TEXTS
    for name, ttl in list(pointers.items())[:MAX_INSTANCES]:
        texts: list[str] = []
        for record in records if ttl else ():
            if isinstance(record, DNSText) and record.key == name and record.ttl:
                texts += _addresses(record.text)
        yield Announcement(name, ttl, tuple(texts[:left]))
        left -= min(left, len(texts))


def _addresses(text: bytes) -> Iterator[str]:
    """The values of each string with our key, whose case does not matter (RFC 6763, 6.4); others are passed over."""
    at = 0
    while at < len(text):
        start, at = at + 1, at + 1 + text[at]
        string = text[start:at]
        if at <= len(text) and string[: len(KEY)].lower() == KEY.encode() and string.isascii():
            yield string[len(KEY) :].decode()


def query() -> bytes:
    """Who is there? Answers come by multicast: those by unicast go to whoever has bound the port last."""
    out = DNSOutgoing(0)
    out.add_question(DNSQuestion(SERVICE, _PTR, _IN))
    return _packet(out)


def services() -> bytes:
    """The answer to ``META``."""
    out = _response()
    out.add_answer_at_time(DNSPointer(META, _PTR, _IN, TTL, SERVICE, _MADE), 0)
    return _packet(out)


def goodbye(names: Iterable[str]) -> bytes:
    """These instances are gone (RFC 6762, 10.1). Without their addresses: js would take them for news."""
    out = _response()
    for name in names:
        out.add_answer_at_time(DNSPointer(SERVICE, _PTR, _IN, 0, name, _MADE), 0)
    return _packet(out)


def announcement(instance: Instance) -> bytes:
    """All that anybody wants to know of ``instance``: one PTR, and the rest as additional records."""
    text = b"".join(bytes((len(one),)) + one for one in (f"{KEY}{text}".encode() for text in instance.texts))
    out = _response()
    out.add_answer_at_time(DNSPointer(SERVICE, _PTR, _IN, TTL, instance.name, _MADE), 0)
    for record in (
        DNSText(instance.name, _TXT, _IN | _UNIQUE, TTL, text or bytes(1), _MADE),
        DNSService(instance.name, _SRV, _IN | _UNIQUE, TTL, 0, 0, instance.port, instance.host, _MADE),
        *(_host(instance.host, ip) for ip in instance.hosts),
    ):
        out.add_additional_answer(record)
    return _packet(out)


def fitting(texts: Sequence[str], room: int) -> int:
    """How many of ``texts``, from the first on, fit into so many bytes of a packet."""
    count = 0
    while count < len(texts) and (room := room - 1 - len(KEY) - len(texts[count])) >= 0:
        count += 1
    return count


def _host(name: str, ip: IPv4Address | IPv6Address) -> DNSAddress:
    return DNSAddress(name, _A if ip.version == 4 else _AAAA, _IN | _UNIQUE, TTL, ip.packed, created=_MADE)


def _response() -> DNSOutgoing:
    return DNSOutgoing(_RESPONSE | _AUTHORITATIVE)


def _packet(out: DNSOutgoing) -> bytes:
    (packet,) = out.packets()
    return packet
