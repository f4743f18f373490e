"""Rules files that were cut, spoilt, or written by two at once: what a guard's process does with them."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p import Attempt, ConfigError, Firewall, Identity, PeerId, Rule
from tests.hostile.codec import GUARDED

Result = dict[str, Any]


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


class Files:
    """Each method is a command; ``firewall`` is the network's own."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall

    def make(self, path: str, friends: list[str], banned: list[str]) -> Result:
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

    def spoil(self, path: str, texts: dict[str, tuple[str, str, int]]) -> Result:
        """What is read of each text, the end of which is repeated."""
        outcomes = {}
        for name, (begin, end, times) in texts.items():
            Path(path).write_text(begin + end * times, encoding="utf-8", errors="surrogateescape")
            outcomes[name] = tried(Path(path))
        Path(path).unlink()
        return outcomes

    def write_together(self, path: str, rounds: int) -> Result:
        """Two write at once, a third reads: what it has read."""
        writers = [Firewall() for _ in range(2)]
        for number, writer in enumerate(writers):
            for index in range(20 + 20 * number):
                writer.set(Rule.REJECT, protocol=f"/{number}/{index}")
        seen: dict[str, int] = {}

        def write(writer: Firewall) -> None:
            for _ in range(rounds):
                writer.save(path)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            told = str(len(Firewall.load(path).rules())) if Path(path).exists() else "absent"
            seen[told] = seen.get(told, 0) + 1
        for thread in threads:
            thread.join()
        return {"seen": seen, "left": sorted(os.listdir(Path(path).parent))}

    def fill_the_disk(self, path: str) -> Result:
        """Nothing more can be written than a hundred bytes: what saving says, and what is left."""
        before = Path(path).read_bytes()
        firewall = Firewall.load(path)
        firewall.set(Rule.ALLOW)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # Python ignores the signal: a write fails
        try:
            firewall.save()
            said = "saved"
        except ConfigError as error:
            said = str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return {"said": said, "same": Path(path).read_bytes() == before, "left": sorted(os.listdir(Path(path).parent))}

    def save(self) -> Result:
        """The network's own."""
        self._firewall.save()
        return {}
