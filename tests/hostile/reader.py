"""The program under test as a reader: of names of peers, of addresses, and of the files that a user keeps.

    python -m tests.hostile.reader [settings]

It does what JSON lines on its standard input say. The settings are those of tests/hostile/settings.py.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p import AddressBook, Attempt, ConfigError, Firewall, Identity, PeerId, Rule
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.book.addresses import store_of
from tests.hostile import settings
from tests.hostile.names import GUARDED

Result = dict[str, Any]
Value = tuple[str, str, str, int]  # text or hex, the beginning, and what follows it so many times


def made(value: Value) -> str | bytes:
    kind, head, unit, count = value
    return head + unit * count if kind == "text" else bytes.fromhex(head) + bytes.fromhex(unit) * count


def invented(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + number.to_bytes(32, "big"))


def peer_id(value: str | bytes) -> Result:
    peer = PeerId(value)
    again = PeerId(str(peer)) if str(peer)[0] in "1Q" else PeerId(peer.to_cid())
    return {"form": bytes(peer).hex(), "same": again == peer == PeerId(bytes(peer))}


def address(value: str | bytes) -> Result:
    address = parse(value)
    return {"form": bytes(address).hex(), "same": parse(str(address)) == address == parse(bytes(address))}


def tried(path: Path) -> str:
    """``refused``, or ``allows`` or ``denies``: what these rules say of whoever has no rule of its own."""
    try:
        firewall = Firewall.load(path)
    except ConfigError:
        return "refused"
    address = Multiaddr("/ip4/198.51.100.1/tcp/1")
    stranger = Identity.from_seed(bytes(31) + b"x").peer_id
    attempt = Attempt(peer=stranger, protocol=GUARDED, direction="in", address=address, deadline=0.0)
    return "allows" if firewall.decide(attempt) == Rule.ALLOW else "denies"


class Reader:
    """One address book, and a method for each command."""

    def __init__(self) -> None:
        self.book = AddressBook()
        self.connected: dict[PeerId, None] = {}
        store_of(self.book).hold(self.connected)

    # ------------------------------------------------------------------ names and addresses

    async def parse(self, kind: str, values: list[Value]) -> Result:
        """What becomes of each peer id or address, and whether its two forms are the same."""
        read = peer_id if kind == "peer_ids" else address
        return {"each": [await settings.outcome(partial(read, made(value))) for value in values]}

    # ------------------------------------------------------------------ the book

    def tell(self, first: int, peers: int, addresses: int, *, long: bool = False) -> Result:
        """Invented peers tell their addresses, ``long`` ones of 260 bytes."""

        def told(peer: int) -> Iterator[Multiaddr]:
            for number in range(addresses):
                place = b"\x04\x0a" + peer.to_bytes(3, "big") + b"\x06" + number.to_bytes(2, "big")
                yield Multiaddr(b"\x36\xfd\x01" + b"%0253d" % (peer * 1_000 + number) + place if long else place)

        for number in range(first, first + peers):
            store_of(self.book).learn(invented(number), told(number))
        return self.state()

    def find(self, first: int, peers: int) -> Result:
        """Dials find invented peers, which stay connected, and the caller adds as many others."""
        for number in range(first, first + peers):
            store_of(self.book).worked(invented(number), Multiaddr(b"\x04\x7f\x00\x00\x01\x06\x00\x01"))
            self.connected[invented(number)] = None
            self.book.add(invented(number + peers), "/ip4/127.0.0.1/tcp/1")
        return self.state()

    def knows(self, first: int, peers: int) -> Result:
        return {"knows": sum(bool(self.book.addresses(invented(number))) for number in range(first, first + peers))}

    def state(self) -> Result:
        """As the book counts."""
        return {
            "peers": len(store_of(self.book)._lasting) + len(store_of(self.book)._hearsay),
            "addresses": store_of(self.book)._count,
        }

    def counted(self) -> Result:
        gc.collect()
        known = self.book.peers()
        return {"peers": len(known), "addresses": sum(len(self.book.addresses(peer)) for peer in known)}

    # ------------------------------------------------------------------ files

    def load(self, path: str) -> Result:
        book = AddressBook.load(Path(path))
        return {"read": len(book.peers())}

    def save(self, path: str, peers: int) -> None:
        """A book of so many peers."""
        book = AddressBook()
        for number in range(peers):
            book.add(invented(number), f"/ip4/192.0.2.1/tcp/{number + 1}")
        book.save(Path(path))

    async def often(self, times: int, command: str, **arguments: Any) -> Result:
        """One writer or reader: what it has read, and what went wrong."""
        outcomes = [await settings.outcome(partial(getattr(self, command), **arguments)) for _ in range(times)]
        errors = Counter(one["text"] for one in outcomes if one["error"])
        return {"seen": sorted({one["read"] for one in outcomes if "read" in one}), "errors": errors}

    def key(self, path: str, *, create: bool = False) -> Result:
        return {"peer": str(Identity.load(Path(path), create=create).peer_id)}

    def save_key(self, path: str) -> None:
        Identity().save(Path(path))

    def limit_files(self, size: int) -> None:
        """A disk that is full after so many bytes of each file; -1: it is not."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # ------------------------------------------------------------------ rules files

    def rules(self, path: str, friends: list[str], banned: list[str]) -> Result:
        """A file of ours: friends are let in, others are not; it ends as all of ours do."""
        firewall = Firewall()
        for friend in friends:
            firewall.set(Rule.ALLOW, peer=PeerId(friend))
        for whom in banned:
            firewall.ban(whom)
        firewall.set(Rule.REJECT)
        firewall.save(path)
        return {"size": Path(path).stat().st_size, "mode": oct(Path(path).stat().st_mode & 0o777)}

    def cut(self, path: str, step: int) -> Result:
        """The file cut off at every ``step``-th byte and behind each line: what came of it."""
        whole, outcomes = Path(path).read_bytes(), dict.fromkeys(("refused", "allows", "denies"), 0)
        part = Path(f"{path}.cut")
        last = len(whole) - len("# end\n")
        lines = [at + 1 for at in range(last) if whole[at] == ord("\n")]
        for size in sorted({*range(0, last, step), *lines}):
            part.write_bytes(whole[:size])
            outcomes[tried(part) if size else "refused"] += 1
        part.unlink()
        return outcomes

    def spoil(self, path: str, texts: list[tuple[str, str, int]]) -> Result:
        """What is read of each text, the end of which is repeated."""
        each = []
        for begin, end, times in texts:
            Path(path).write_text(begin + end * times, encoding="utf-8", errors="surrogateescape")
            each.append(tried(Path(path)))
        Path(path).unlink()
        return {"each": each}

    def save_rules(self, path: str, count: int) -> None:
        """So many rules, in place of those that are there."""
        firewall = Firewall()
        for number in range(count):
            firewall.set(Rule.REJECT, protocol=f"/{count}/{number}")
        firewall.save(path)

    def load_rules(self, path: str) -> Result:
        return {"read": len(Firewall.load(path).rules())}


if __name__ == "__main__":
    settings.weaken(settings.parsed("reader"))
    asyncio.run(settings.obey(Reader()))
