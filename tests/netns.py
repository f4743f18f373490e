"""Two network namespaces joined by a link that is as slow as a test wants it, now or later: no netem, only TUN devices.

A process of its own (this file) carries the packets, so a busy test does not slow the link down. Needs root,
``/dev/net/tun`` and ``ip`` (iproute2).

``prefix`` gives one namespace instead, in which any address of an IPv6 prefix may be a source. ``lan`` gives several
that share an Ethernet, with multicast and IPv6.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import math
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple

A_ADDRESS = "10.9.0.1"
B_ADDRESS = "10.9.0.2"

TUN = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000  # bare IP packets, no header before them
MTU = 1_500
LONGEST_QUEUE = 1.0  # seconds that a packet may have to wait for those before it
BURST = 64  # packets read before those that are due get their turn

READY = b"ready\n"
PATIENCE = 10.0

_numbers = count()


class Unavailable(Exception):
    """This machine gives no such link; the text is one line that says why."""


class Link(NamedTuple):
    """The two ends: names of network namespaces; ``commands`` is heard by who carries the packets."""

    a: str
    b: str
    commands: IO[bytes]

    def rate(self, bits: float) -> None:
        """Carry so many bits a second each way from now on; what has to wait for longer than a second is lost."""
        self._say(f"rate {bits / 8}")

    def forget(self) -> None:
        """Lose every packet of the connections that there are, as a router does that has lost its table."""
        self._say("forget")

    def _say(self, command: str) -> None:
        self.commands.write(f"{command}\n".encode())
        self.commands.flush()


def run_in(namespace: str, *command: str) -> list[str]:
    """A command that runs inside."""
    return ["ip", "netns", "exec", namespace, *command]


@contextmanager
def _making() -> Iterator[None]:
    """Whatever goes wrong while namespaces are made is what this machine lacks."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        raise Unavailable("network namespaces need Linux, root and ip (iproute2)")
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip()
        raise Unavailable(f"no network namespaces here: {reason}") from error


def _made(stack: ExitStack) -> str:
    """A new namespace; the stack removes it."""
    name = f"n{os.getpid()}.{next(_numbers)}"
    _ip("netns", "add", name)
    stack.callback(_remove, name)
    return name


@contextmanager
def slow_link(delay: float) -> Iterator[Link]:
    """A link that holds each packet for ``delay`` seconds, in each direction; ``Unavailable`` if it cannot be had.

    Afterwards nothing is left of it, whatever has happened; whoever still runs in the namespaces is killed.
    """
    with ExitStack() as stack:
        with _making():
            if not TUN.exists():
                raise OSError(f"no {TUN}")
            names = [_made(stack) for _ in "ab"]
            command = [sys.executable, "-P", __file__, str(delay), *names]  # it owns both devices: they go with it
            pipe = subprocess.PIPE
            carrier = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
            stack.callback(carrier.kill)
            assert carrier.stdin is not None
            assert carrier.stdout is not None
            readable, _, _ = select.select([carrier.stdout], [], [], PATIENCE)
            if not readable or carrier.stdout.readline() != READY:
                raise OSError("the TUN devices cannot be made")
        yield Link(names[0], names[1], carrier.stdin)
        if carrier.poll() is not None:
            raise RuntimeError(f"the link has ended with {carrier.returncode}")


# ---------------------------------------------------------------------- any address of a prefix

IPV6_FREEBIND = 78  # linux/in6.h: bind to an address that no interface has
CLONE_NEWNET = 0x4000_0000  # linux/sched.h


@contextmanager
def prefix(network: str) -> Iterator[str]:
    """A namespace whose loopback interface answers for all addresses of this IPv6 network; its name."""
    with ExitStack() as stack:
        with _making():
            name = _made(stack)
            _ip("-netns", name, "link", "set", "lo", "up")
            _ip("-netns", name, "-6", "route", "add", "local", network, "dev", "lo")
        yield name


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread makes its sockets there; they stay there afterwards."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/thread-self/ns/net", "rb") as here, open(f"/run/netns/{namespace}", "rb") as there:
        if setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            setns(here.fileno(), CLONE_NEWNET)


# ---------------------------------------------------------------------- an Ethernet


class Lan:
    """Hosts on one bridge, each in a namespace, with the interface ``eth0`` and 10.7.0.N and a link-local address."""

    def __init__(self, hub: str, stack: ExitStack) -> None:
        self._hub, self._stack, self._hosts = hub, stack, 0

    def host(self, address: str | None = None) -> str:
        """One more, at this address and prefix instead; its namespace."""
        with _making():
            name = _made(self._stack)
            self._hosts += 1
            _ip("-netns", name, "link", "set", "lo", "up")
            self.plug(name, "eth0", address or f"10.7.0.{self._hosts}/24")
            if address is None:  # nobody is there, but js sends to groups as to everybody: where that route leads
                _ip("-netns", name, "route", "add", "default", "via", "10.7.0.254")
        return name

    def plug(self, name: str, device: str, address: str) -> None:
        """An interface of a host, on the bridge."""
        end = f"v{os.getpid() % 100_000}.{next(_numbers)}"
        _ip("-netns", name, "link", "add", device, "type", "veth", "peer", "name", end, "netns", self._hub)
        _no_dad(name, device)
        _ip("-netns", name, "address", "add", address, "dev", device)
        _ip("-netns", name, "link", "set", device, "up")
        _ip("-netns", self._hub, "link", "set", end, "master", "hub", "up")

    def unplug(self, name: str, device: str) -> None:
        _ip("-netns", name, "link", "delete", device)


@contextmanager
def lan() -> Iterator[Lan]:
    """A bridge without hosts; ``Unavailable`` if it cannot be had. Afterwards nothing is left of it."""
    with ExitStack() as stack:
        with _making():
            hub = _made(stack)
            _ip("-netns", hub, "link", "add", "hub", "type", "bridge", "mcast_snooping", "0")
            _ip("-netns", hub, "link", "set", "hub", "up")
        yield Lan(hub, stack)


def _no_dad(name: str, device: str) -> None:
    """A link-local address can be used at once; it is alone with the others here."""
    command = run_in(name, "sh", "-c", f"echo 0 > /proc/sys/net/ipv6/conf/{device}/accept_dad")
    subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)


def _remove(namespace: str) -> None:
    inside = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for pid in inside.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE)


# ---------------------------------------------------------------------- the process that carries the packets


def _end(namespace: str, address: str) -> int:
    """One end of the link, in its namespace, where it is up."""
    name = f"t{namespace}"
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    _ip("link", "set", name, "netns", namespace)
    _ip("-netns", namespace, "address", "add", f"{address}/24", "dev", name)
    _ip("-netns", namespace, "link", "set", name, "mtu", str(MTU), "up")
    _ip("-netns", namespace, "link", "set", "lo", "up")
    return device


class Carrier:
    """Carries packets between two ends: each waits ``delay`` seconds, and for those before it where there is a rate."""

    def __init__(self, delay: float, one: int, other: int) -> None:
        self.across = {one: other, other: one}
        self._delay = delay
        self._rate = math.inf  # bytes a second
        self._free = {one: 0.0, other: 0.0}  # when the direction to this end has carried what waits for it
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._order = count()
        self._seen: set[bytes] = set()  # connections: both addresses and ports
        self._lost: set[bytes] = set()

    def hear(self, command: str) -> None:
        what, _, value = command.partition(" ")
        if what == "rate":
            self._rate = float(value)
        elif what == "forget":
            self._lost |= self._seen

    def take(self, end: int, packet: bytes) -> None:
        now, to, connection = time.monotonic(), self.across[end], packet[12:24]  # of IPv4 without options
        self._seen.add(connection)
        starts = max(now, self._free[to])
        if connection in self._lost or starts - now > LONGEST_QUEUE:
            return
        self._free[to] = starts + len(packet) / self._rate
        heapq.heappush(self._waiting, (self._free[to] + self._delay, next(self._order), to, packet))

    def give(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, end, packet = heapq.heappop(self._waiting)
            with suppress(OSError):  # a device that cannot take a packet loses it, as links do
                os.write(end, packet)

    @property
    def patience(self) -> float | None:
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None


def carry(delay: float, a: str, b: str) -> None:
    """Carry packets between the namespaces until the process is killed, or nobody is left to tell it anything."""
    with suppress(OSError):  # before everybody else, so that a busy machine does not make the link slower
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    carrier = Carrier(delay, _end(a, A_ADDRESS), _end(b, B_ADDRESS))
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    commands = sys.stdin.fileno()
    while True:
        for ready in select.select([*carrier.across, commands], [], [], carrier.patience)[0]:
            if ready == commands:
                said = os.read(commands, 4_096)
                if not said:
                    return
                for command in said.decode().splitlines():
                    carrier.hear(command)
            else:
                for packet in _arrived(ready):
                    carrier.take(ready, packet)
        carrier.give()


def _arrived(end: int) -> Iterator[bytes]:
    for _ in range(BURST):
        try:
            yield os.read(end, MTU + 64)
        except BlockingIOError:
            return


if __name__ == "__main__":
    carry(float(sys.argv[1]), *sys.argv[2:4])
