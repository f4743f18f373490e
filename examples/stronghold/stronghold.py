"""One stronghold: a vault, a store, and the network that serves them to those who have been granted something."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from examples.stronghold import protocol
from examples.stronghold.permissions import Grant, allows, granted
from examples.stronghold.protocol import NEEDS, PROTOCOL
from examples.stronghold.reconcile import Malformed, Records, answer, begin
from examples.stronghold.store import Entry, Store
from examples.stronghold.vault import Vault, VaultError
from stronghold_p2p import Network, PeerId, Rejected, Request, Rule

Told = dict[str, tuple[int, str | None]]  # records: time and value of each

ROUNDS = 32  # messages of one reconciliation, at most


class Stronghold:
    """Serves ``vault`` and ``store`` over ``network``; ``permit`` says to whom."""

    def __init__(self, network: Network, vault: Vault, store: Store) -> None:
        self.network = network
        self.vault = vault
        self.store = store
        self._grants: dict[PeerId, Sequence[Grant]] = {}
        self._looked_at: tuple[PeerId, Sequence[Grant], int, Records] | None = None
        network.on_request(PROTOCOL)(self._serve)

    def permit(self, peer: PeerId, grants: Sequence[Grant]) -> None:
        """``peer`` may do that and nothing else. The firewall looks at each request, before anything is done."""
        self._grants[peer] = grants
        rule = Rule.when(granted(grants, NEEDS), name="granted")
        self.network.firewall.set(rule, peer=peer, protocol=PROTOCOL.ids[0])

    def _sees(self, peer: PeerId, right: str) -> Callable[[str], bool]:
        grants = [grant for grant in self._grants.get(peer, ()) if grant.right == right]
        return lambda path: any(grant.covers(Grant(grant.right, path)) for grant in grants)

    def _records(self, peer: PeerId) -> Records:
        """What ``peer`` may see, looked at once as long as nothing changes: each message of a comparison needs it."""
        grants, version, last = self._grants.get(peer, ()), self.store.version, self._looked_at
        if last is None or last[:3] != (peer, grants, version):
            last = self._looked_at = peer, grants, version, self.store.records(self._sees(peer, "read"))
        return last[3]

    async def _serve(self, request: Request[Any]) -> Any:
        asked = request.message
        if not allows(self._grants.get(request.peer, ()), NEEDS, asked):  # the rules may have changed meanwhile
            raise Rejected("that was not granted")
        try:
            if isinstance(asked, protocol.Compare):
                return self._compare(request.peer, asked)
            # Not in the loop: each change of a vault is a file that is written.
            return await asyncio.to_thread(self._perform, asked)
        except (VaultError, Malformed, ValueError) as error:
            raise Rejected(str(error)) from None

    def _perform(self, asked: Any) -> Any:
        match asked:
            case protocol.Generate(path):
                return protocol.Key(self.vault.generate(path).hex())
            case protocol.Derive(path, target, info):
                return protocol.Key(self.vault.derive(path, target, info).hex())
            case protocol.PublicKey(path):
                return protocol.Key(self.vault.public_key(path).hex())
            case protocol.Sign(path, message):
                return protocol.Signature(self.vault.sign(path, message.encode()).hex())
            case protocol.Revoke(path):
                self.vault.revoke(path)
                return protocol.Done()
            case protocol.Paths(path):
                below = Grant("list", path)
                return protocol.Listed([one for one in self.vault.paths() if below.covers(Grant("list", one))])
            case protocol.Read(path):
                return protocol.Record(self.store.read(path))
            case protocol.Write(path, value):
                self.store.write(path, value)
                return protocol.Done()
        raise Rejected("nobody knows such a request")

    def _compare(self, peer: PeerId, asked: protocol.Compare) -> protocol.Compared:
        """One step of a reconciliation. What is shown is what the peer may read, what is taken what it may store."""
        self._take(peer, asked.records)
        found = answer(self._records(peer), b64decode(asked.ranges, validate=True))
        reads = self._sees(peer, "read")
        given = self._given(reads, [*_texts(found.surplus), *asked.wanted], asked.records)
        return protocol.Compared(b64encode(found.reply).decode(), given, _texts(found.missing))

    def _given(self, reads: Callable[[str], bool], keys: list[str], heard: Told) -> Told:
        """Our records of ``keys`` that the other side may see, and has not just told us itself."""
        ours = self.store.give([key for key in dict.fromkeys(keys) if reads(key)])
        told = {key: (entry.time, entry.value) for key, entry in ours.items()}
        return {key: record for key, record in told.items() if key not in heard or tuple(heard[key]) != record}

    def _take(self, peer: PeerId, records: Told) -> int:
        stores = self._sees(peer, "store")
        return self.store.take({key: Entry(*told) for key, told in records.items() if stores(key)})

    async def synchronise(self, target: Any) -> tuple[int, int]:
        """Make our store and the one of ``target`` equal, as far as each lets the other see and write it.

        How many records came and how many were sent. Its errors are those of ``Network.request``.
        """
        peer = (await self.network.connect(target)).peer
        reads, came, sent = self._sees(peer, "read"), 0, 0
        given: Told = {}
        ranges, wanted = begin(self._records(peer)), list[str]()
        for _ in range(ROUNDS):
            sent += len(given)
            asked = protocol.Compare(b64encode(ranges).decode(), given, wanted)
            told: protocol.Compared = await self.network.request(peer, asked, PROTOCOL)
            came += self._take(peer, told.records)
            found = answer(self._records(peer), b64decode(told.ranges, validate=True))
            ranges = found.reply
            given = self._given(reads, [*_texts(found.surplus), *told.wanted], told.records)
            wanted = [key for key in _texts(found.missing) if key not in told.records]
            if not (ranges or given or wanted):
                break
        return came, sent


def _texts(keys: list[bytes]) -> list[str]:
    return [key.decode(errors="replace") for key in keys]


def open_both(folder: Path, passphrase: bytes) -> tuple[Vault, Store]:
    """The vault and the store of ``folder``; new ones where there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    return Vault.open(folder / "vault.json", passphrase, create=True), Store(folder / "store.json")
