"""Where a row is played: the processes under test, the honest probe beside them, and what has to hold at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from harness.process import Patience, Process, soon
from tests import netns
from tests.hostile.client import Host, Peer, closing, upgrade_out
from tests.hostile.codec import Identity, prefixed
from tests.hostile.names import GUARDED
from tests.hostile.wire import Wire

N = TypeVar("N", int, float)
KIB = 1 << 10
MIB = 1 << 20
PROBE_WITHIN = 0.25
HONEST_SOURCES = ("127.66.66.66", "127.55.55.55")
HONEST_SOURCES_6 = ("2001:db8:66::66", "2001:db8:55::55")

# Counts of a program that are no higher in the end than before.
LEFT = (
    "connections",
    "tasks",
    "files",
    "pending_in",
    "peers",
    "places",
    "asks",
    "held",
    "streams",
    "requests_in",
    "request_memory",
)

# Resident memory moves by itself: allocator pools, a first traceback, code that runs for the first time.
NOISE_FLOOR = 2 * MIB


class SlowProbe(AssertionError):
    """The honest user had to wait: measured again, best of three."""


class Program(Process):
    """``python -m tests.hostile.NAME``, which does what JSON lines say; ``address`` is where it listens, if it does."""

    def __init__(self, name: str, *arguments: str, tolerated: str | None = None, namespace: str | None = None) -> None:
        super().__init__(f"tests.hostile.{name}", *arguments, tolerated=tolerated, namespace=namespace)
        self._namespace = namespace
        self.honest = HONEST_SOURCES if namespace is None else HONEST_SOURCES_6
        self.peer: str = self.ready.get("peer", "")
        _, _, host, _, port, *_ = self.ready.get("addr", "///0/0").split("/")
        self.address = (host, int(port))
        self.base = 0
        self.sockets = 0
        self.idle = 0  # connections that are none of the row's
        self._seen: Counter[str] = Counter()

    def state(self, **options: bool) -> dict[str, Any]:
        """What it counts, and all that has happened in it."""
        return self.ask(do="state", **options)

    def seen(self, event: str) -> int:
        """How often this has happened since ``settle``: ``"AcceptFailed LimitExceeded accept_rate"``."""
        return Counter[str](self.state()["seen"])[event] - self._seen[event]

    def rules(self, *entries: tuple[object, dict[str, str]]) -> None:
        """A guard has these rules, and no others."""
        self.ask(do="rules", entries=entries)

    def wire(self, *, source: str | None = None, small: bool = False) -> Wire:
        with ExitStack() if self._namespace is None else netns.inside(self._namespace):
            return Wire.connect(self.address, source=source, small=small)

    def connect(
        self, identity: Identity | None = None, *, source: str | None = None, small: bool = False, early: bool = True
    ) -> Peer:
        """Honest up to the session."""
        with closing(self.wire(source=source, small=small)) as wire:
            return upgrade_out(wire, identity or Identity(), early=early)

    def settle(self, sockets: int) -> None:
        """Wait until there are no more sockets than these, and take what is there now as the base."""
        assert soon(lambda: self.descriptors() <= sockets), f"{self.descriptors()} descriptors, not {sockets}"
        self.sockets = sockets
        self._seen = Counter(self.state().get("seen", {}))
        self.base = self.memory()
        self.forget_peak()

    def growth(self) -> int:
        """How much memory it has taken at most since ``settle``."""
        return max(0, self.peak() - self.base)


def warm_up_listener(program: Program) -> None:
    """What happens for the first time takes memory once."""
    source = program.honest[0]
    for number in range(12):
        with program.connect(source=source, early=number % 2 == 0) as peer:
            peer.request(bytes(200_000))
    with program.wire(source=source) as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        wire.until_closed()
    with program.connect(source=source) as peer:
        peer.send(b"\xff" * 12)
        peer.ends(1)


def warm_up_guard(program: Program) -> None:
    """The same for one with rules."""
    program.rules(("allow", {}))
    for _ in range(3):
        with program.connect() as peer:
            peer.request(bytes(100_000))
            assert peer.over(peer.open(GUARDED, prefixed(b'"Ping"'), fin=True))
    program.rules()
    program.ask(do="forget")


class Arena:
    """``full``: floods and deadlines as the row says, with the probe and all bounds; else about 3 s of it.

    ``weak``: options that take a check away from the programs under test, so that the row has to fail. What a row has
    shown is ``memory`` and the ``wait`` of the probe, each the worst of its processes, and its notes.
    """

    def __init__(self, *, full: bool, weak: tuple[str, ...] = ()) -> None:
        self.full = full
        self.slack = Patience.of(3.0)  # seconds, beyond a deadline of theirs, in which its end has to be seen
        self.weak = weak
        self.memory = 0
        self.wait: float | None = None
        self.notes: list[str] = []

    def pick(self, quick: N, full: N) -> N:
        return full if self.full else quick

    def note(self, text: str) -> None:
        """A figure for the line of this row."""
        self.notes.append(text)

    def bound(self, what: str, value: float, maximum: float) -> None:
        """A time or a load: asserted in full only, a busy machine is no finding."""
        self.note(f"{what} {value:.3g}")
        self.took(value, maximum, what)

    def took(self, value: float, maximum: float, what: str = "seconds") -> None:
        """The same without a figure for the line."""
        assert value <= maximum or not self.full, f"{what}: {value:.3g}, at most {maximum:g} allowed"

    def grown(self, size: int, allowed: int | None) -> None:
        """How much a program has grown, beside what memory moves by itself; None: as much as it likes."""
        self.memory = max(self.memory, size)
        assert allowed is None or size <= allowed + NOISE_FLOOR, f"{size / MIB:.1f} MiB, {allowed / MIB:.1f} allowed"

    def start(self, name: str, *arguments: str, **options: str | None) -> Program:
        """A program as it starts, with nothing done to it before."""
        return Program(name, *arguments, *self.weak, **options)

    @contextmanager
    def serve(
        self,
        *arguments: str,
        host: str = "127.0.0.1",
        limits: bool = True,
        memory: int | None = None,
        probe: bool = True,
        probe_connects: bool = False,
        tolerated: str | None = None,
        namespace: str | None = None,
        warm_up: Callable[[Program], None] = warm_up_listener,
    ) -> Iterator[Program]:
        """The package as a listener. ``memory``: how much it may grow, beside what memory moves by itself.

        In the end it must answer an honest request, and have no descriptor left of what was done to it, unless the row
        has stopped it.
        """
        options = ("--listen", host, *([] if limits else ["--lifted"]), *arguments)
        with self.start("node", *options, tolerated=tolerated, namespace=namespace) as target:
            sockets = target.descriptors()
            warm_up(target)
            target.settle(sockets)
            with self._weakened(target, arguments):
                with self._probed(target, probe_connects) if probe and self.full else ExitStack():
                    if probe and self.full:
                        time.sleep(0.5)
                        target.settle(target.sockets + 1)  # the probe's
                    yield target
                    if target.ended:
                        return
                    grown = target.growth()
                self.grown(grown, memory)
            time.sleep(0.25 if "--count-loopback" in arguments else 0)  # what the rate of connections wants
            with target.connect(source=target.honest[1]) as honest:
                honest.request(b"still there?")
            assert soon(lambda: target.descriptors() <= target.sockets), (
                f"{target.descriptors()} descriptors, {target.sockets} before"
            )

    @contextmanager
    def _weakened(self, program: Program, arguments: tuple[str, ...]) -> Iterator[None]:
        """What takes checks away holds in here."""
        toggles = {"--without", "--counters"} & {*arguments, *self.weak}
        if toggles:
            program.ask(do="toggle")
        yield
        if toggles and not program.ended:
            program.ask(do="toggle")

    @contextmanager
    def _probed(self, target: Program, anew: bool) -> Iterator[None]:
        host, port = target.address
        with Process("tests.hostile.probe", host, str(port), *(["--connect"] if anew else [])) as probe:
            yield
            probe.signal(15)
            said = probe.read()
        self.wait = max(self.wait or 0.0, said["p99"])
        assert not said["failures"], f"the honest probe failed: {said['failures']}"
        if said["p99"] > PROBE_WITHIN:
            raise SlowProbe(f"the honest probe waited {said['p99'] * 1e3:.0f} ms")

    @contextmanager
    def _left_as_it_was(self, program: Program) -> Iterator[None]:
        """In the end nothing is left of what was done to it: none of these counts is higher than before."""
        program.state(collect=True)
        before = program.state(collect=True)
        yield

        def clean() -> bool:
            after = program.state(collect=True)
            return all(after[name] <= before[name] for name in LEFT)

        assert soon(clean), f"left behind: {program.state()}, before: {before}"

    @contextmanager
    def dialer(self, *arguments: str, namespace: str | None = None) -> Iterator[Program]:
        """The package as a dialer."""
        start = self.start("node", *arguments, namespace=namespace)
        with start as dialer, self._weakened(dialer, arguments), self._left_as_it_was(dialer):
            yield dialer
            dialer.ask(do="hang_up")

    @contextmanager
    def guard(self, *arguments: str, memory: int | None = None, tolerated: str | None = None) -> Iterator[Program]:
        """The package as somebody with rules."""
        program = self.serve("--closed", *arguments, memory=memory, tolerated=tolerated, warm_up=warm_up_guard)
        with program as guard, self._left_as_it_was(guard):
            guard.idle = guard.state()["connections"]
            yield guard


@contextmanager
def dialed(dialer: Program, host: Host, *, early: bool = True) -> Iterator[Peer]:
    """The package has dialed us, and is connected."""
    dialer.tell(do="dial", addrs=[host.address], peer=host.identity.name)
    with host.peer(early=early) as peer:
        answer = dialer.read()
        assert answer["error"] == "", answer
        peer.pump(lambda: bool(peer.opened), 1.0)  # identify
        yield peer
        dialer.tell(do="hang_up")
        peer.rest(0.1)
    dialer.read()


@contextmanager
def refuses(dialer: Program, host: Host, error: str, told: object = "") -> Iterator[Wire]:
    """The package dials us: what is done inside ends that with this error, and the connection is closed."""
    dialer.tell(do="dial", addrs=[host.address])
    with host.accept() as wire:
        yield wire
        answer = dialer.read()
        assert answer["error"] == error, (told, answer)
        wire.until_closed(1.0)


def accepted(peer: Peer, protocol: str) -> int:
    """The stream that the other side has opened for this protocol; it is not found again."""
    stream = peer.asked(protocol)[-1]
    peer.opened.remove(stream)
    return stream
