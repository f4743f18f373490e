"""Where a row is played: the process under test, the honest probe beside it, and what has to hold at the end."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import pytest

from harness.process import Patience, Process, soon
from tests import netns
from tests.hostile.client import Peer, connect, upgrade_out
from tests.hostile.codec import GUARDED, Identity
from tests.hostile.facts import judged
from tests.hostile.wire import Wire

KIB = 1 << 10
MIB = 1 << 20
PROBE_WITHIN = 0.25
HONEST_SOURCES = ("127.66.66.66", "127.55.55.55")
HONEST_SOURCES_6 = ("2001:db8:66::66", "2001:db8:55::55")

# Resident memory moves by itself: allocator pools, a first traceback, code that runs for the first time.
NOISE_FLOOR = 2 * MIB


class SlowProbe(AssertionError):
    """The honest user had to wait: measured again, best of three."""


@dataclass
class Figures:
    """What a row has shown; each is the worst of its processes."""

    memory: int = 0
    probe: float | None = None
    notes: list[str] = field(default_factory=list)


class Attacked(Protocol):
    """What the honest user wants to know of a program."""

    address: tuple[str, int]


class Target(Process):
    """``python -m tests.hostile.target``."""

    def __init__(self, *arguments: str, tolerated: str | None = None, namespace: str | None = None) -> None:
        super().__init__("tests.hostile.target", *arguments, tolerated=tolerated, namespace=namespace)
        self._namespace = namespace
        self.honest = HONEST_SOURCES if namespace is None else HONEST_SOURCES_6
        parts = self.ready["addr"].split("/")
        self.address = (parts[2], int(parts[4]))
        self.peer: str = self.ready["peer"]
        self.base = 0
        self.sockets = 0
        self._seen: Counter[str] = Counter()

    def state(self) -> dict[str, Any]:
        """What it counts, and all that has happened in it."""
        self.signal(signal.SIGUSR1)
        return self.read()

    def toggle(self) -> None:
        """Take away what ``--without`` and ``--counters`` say, or give it back."""
        self.signal(signal.SIGUSR2)
        self.read()

    def seen(self, event: str) -> int:
        """How often this has happened since ``settle``: ``"AcceptFailed LimitExceeded accept_rate"``."""
        return Counter[str](self.state()["seen"])[event] - self._seen[event]

    def wire(self, *, source: str | None = None, small: bool = False) -> Wire:
        with ExitStack() if self._namespace is None else netns.inside(self._namespace):
            return Wire.connect(self.address, source=source, small=small)

    def connect(
        self, identity: Identity | None = None, *, source: str | None = None, small: bool = False, early: bool = True
    ) -> Peer:
        """Honest up to the session."""
        wire = self.wire(source=source, small=small)
        try:
            return upgrade_out(wire, identity or Identity(), early=early)
        except BaseException:
            wire.close()
            raise

    def warm_up(self) -> None:
        """What happens for the first time takes memory once; then the base is taken."""
        sockets = self.descriptors()
        for number in range(12):
            with self.connect(source=self.honest[0], early=number % 2 == 0) as peer:
                peer.request(bytes(200_000))
        with self.wire(source=self.honest[0]) as wire:
            wire.send(b"GET / HTTP/1.1\r\n\r\n")
            wire.until_closed()
        with self.connect(source=self.honest[0]) as peer:
            peer.send(b"\xff" * 12)
            peer.ends(1)
        self.settle(sockets)

    def settle(self, sockets: int) -> None:
        """Wait until there are no more sockets than these, and take what is there now as the base."""
        assert soon(lambda: self.descriptors() <= sockets), f"{self.descriptors()} descriptors, not {sockets}"
        self.sockets = sockets
        self._seen = Counter(self.state()["seen"])
        self.base = self.memory()
        self.forget_peak()

    def growth(self) -> int:
        """How much memory it has taken at most since ``settle``."""
        return max(0, self.peak() - self.base)


class Guarded(Process):
    """``python -m tests.hostile.guard``."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("tests.hostile.guard", *arguments)
        parts = self.ready["addr"].split("/")
        self.address = (parts[2], int(parts[4]))
        self.base = 0
        self.idle = 0  # connections that are none of the row's

    def connect(self, identity: Identity | None = None) -> Peer:
        """Honest up to the session."""
        return connect(self.address, identity)

    def rules(self, *entries: tuple[object, dict[str, str]]) -> None:
        """These rules, and no others."""
        self.ask(do="rules", entries=entries)

    def warm_up(self) -> None:
        """What happens for the first time takes memory once; then the base is taken."""
        self.rules(("allow", {}))
        for _ in range(3):
            with self.connect() as peer:
                peer.request(bytes(100_000))
                peer.open(GUARDED, b'\x06"Ping"', fin=True)
                assert peer.pump(lambda: bool(peer.finished))
        assert soon(lambda: not self.ask(do="state")["connections"])
        self.rules()
        self.ask(do="forget")
        self.base = self.memory()
        self.forget_peak()

    def growth(self) -> int:
        """How much memory it has taken at most since ``warm_up``."""
        return max(0, self.peak() - self.base)


class Arena:
    """``full``: floods and deadlines as the row says, with the probe and all bounds; else about 3 s of it.

    ``weak``: options that take a check away from the programs under test, so that the row has to fail.
    """

    def __init__(self, *, full: bool, weak: tuple[str, ...] = ()) -> None:
        self.full = full
        self.slack = Patience.of(3.0)  # seconds, beyond a deadline of theirs, in which its end has to be seen
        self.weak = weak
        self.figures = Figures()

    def pick(self, quick: float, full: float) -> float:
        return full if self.full else quick

    def count(self, quick: int, full: int) -> int:
        return full if self.full else quick

    def note(self, text: str) -> None:
        """A figure for the line of this row."""
        self.figures.notes.append(text)

    def skip(self, reason: str) -> NoReturn:
        """This machine cannot play the row."""
        pytest.skip(reason)

    def bound(self, what: str, value: float, maximum: float) -> None:
        """A time or a load: asserted in full only, a busy machine is no finding."""
        self.note(f"{what} {value:.3g}")
        if self.full:
            assert value <= maximum, f"{what}: {value:.3g}, at most {maximum:g} allowed"

    def took(self, seconds: float, maximum: float) -> None:
        """The same without a figure for the line."""
        assert seconds <= maximum or not self.full, f"{seconds:.3g} s, at most {maximum:g} allowed"

    @judged("memory")
    def grown(self, size: int, allowed: int | None) -> None:
        """How much a program has grown, beside what memory moves by itself; None: as much as it likes."""
        self.figures.memory = max(self.figures.memory, size)
        assert allowed is None or size <= allowed + NOISE_FLOOR, f"{size / MIB:.1f} MiB, {allowed / MIB:.1f} allowed"

    @contextmanager
    def serve(
        self,
        *arguments: str,
        limits: bool = True,
        memory: int | None = None,
        probe: bool = True,
        probe_connects: bool = False,
        tolerated: str | None = None,
        namespace: str | None = None,
    ) -> Iterator[Target]:
        """The process under test. ``memory``: how much it may grow, beside what memory moves by itself.

        In the end it must answer an honest request, and have no descriptor left of what was done to it, unless the row
        has stopped it.
        """
        options = () if limits else ("--lifted",)
        with ExitStack() as stack:
            target = stack.enter_context(
                Target(*options, *arguments, *self.weak, tolerated=tolerated, namespace=namespace)
            )
            target.warm_up()
            toggles = {"--without", "--counters"} & {*arguments, *self.weak}
            if toggles:
                target.toggle()
            with self._probed(target, probe_connects) if probe and self.full else ExitStack():
                if probe and self.full:
                    time.sleep(0.5)
                    target.settle(target.sockets + 1)  # the probe's
                yield target
                if target.ended:
                    return
                grown = target.growth()
            self.grown(grown, memory)
            if toggles:
                target.toggle()
            time.sleep(0.25 if "--count-loopback" in arguments else 0)  # what the rate of connections wants
            with target.connect(source=target.honest[1]) as honest:
                honest.request(b"still there?")
            assert soon(lambda: target.descriptors() <= target.sockets), (
                f"{target.descriptors()} descriptors, {target.sockets} before"
            )

    def probed(self, target: Attacked) -> AbstractContextManager[object]:
        """In full, with an honest user beside it who may not have to wait."""
        return self._probed(target, False) if self.full else nullcontext()

    @contextmanager
    def _probed(self, target: Attacked, anew: bool) -> Iterator[None]:
        host, port = target.address
        with Process("tests.hostile.probe", host, str(port), *(["--connect"] if anew else [])) as probe:
            yield
            probe.signal(15)
            said = probe.read()
        self.figures.probe = max(self.figures.probe or 0.0, said["p99"])
        assert not said["failures"], f"the honest probe failed: {said['failures']}"
        if said["p99"] > PROBE_WITHIN:
            raise SlowProbe(f"the honest probe waited {said['p99'] * 1e3:.0f} ms")

    @contextmanager
    def reader(self, *arguments: str) -> Iterator[Process]:
        """The package as a reader of names and files."""
        with Process("tests.hostile.reader", *arguments, *self.weak) as reader:
            yield reader

    @contextmanager
    def dialer(self, *arguments: str) -> Iterator[Process]:
        """The package as a dialer; in the end nothing may be left in it but itself."""
        with Process("tests.hostile.dialer", *arguments, *self.weak) as dialer:
            dialer.ask(do="state")
            before = dialer.ask(do="state")
            yield dialer
            dialer.ask(do="hang_up")

            def clean() -> bool:
                after = dialer.ask(do="state")
                return all(after[name] <= before[name] for name in ("connections", "tasks", "files", "gate"))

            assert soon(clean), f"left behind: {dialer.ask(do='state')}, before: {before}"

    def start_guard(self, *arguments: str) -> Guarded:
        """The same as it starts, with nothing done to it before."""
        return Guarded(*arguments, *self.weak)

    @contextmanager
    def guard(self, *arguments: str, memory: int | None = None) -> Iterator[Guarded]:
        """The package as somebody with rules; in the end it answers, and nothing is left of what was done to it."""
        with Guarded(*arguments, *self.weak) as guard:
            guard.warm_up()
            before = guard.ask(do="state", collect=True)
            with self._probed(guard, False) if self.full else ExitStack():
                guard.idle = guard.ask(do="state")["connections"]
                yield guard
            self.grown(guard.growth(), memory)
            with guard.connect() as honest:
                honest.request(b"still there?")

            def clean() -> bool:
                after = guard.ask(do="state", collect=True)
                return all(after[name] <= before[name] for name in ("connections", "tasks", "files", "asks"))

            assert soon(clean), f"left behind: {guard.ask(do='state')}, before: {before}"
