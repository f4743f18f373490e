"""A network namespace out of which no packet comes: whatever is dialed from it is a black hole, and seen.

As tests/netns.py it needs root, ``/dev/net/tun`` and ``ip`` (iproute2).
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests import netns

ALL_PACKETS = 0x0003  # linux/if_ether.h: ETH_P_ALL
IPV4, IPV6 = 0x0800, 0x86DD
TCP = 6
SYN, ACK = 0x02, 0x10


class Nowhere(NamedTuple):
    """``namespace`` reaches its own addresses; what it sends elsewhere is lost. ``packets``: all that it sends."""

    namespace: str
    packets: socket.socket

    def called(self) -> set[tuple[str, int]]:
        """Whereto TCP connections were begun since the last look, in here and out of here."""
        found: set[tuple[str, int]] = set()
        with suppress(BlockingIOError):
            while True:
                packet, (_, kind, *_) = self.packets.recvfrom(netns.MTU)
                if (where := _begun(packet, kind)) is not None:
                    found.add(where)
        return found


def _begun(packet: bytes, kind: int) -> tuple[str, int] | None:
    """The address and the port to which a packet wants to connect, if it does."""
    if kind == IPV4 and packet[9] == TCP:
        host, tcp = socket.inet_ntop(socket.AF_INET, packet[16:20]), packet[4 * (packet[0] & 15) :]
    elif kind == IPV6 and packet[6] == TCP:
        host, tcp = socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[40:]
    else:
        return None
    return (host, int.from_bytes(tcp[2:4], "big")) if tcp[13] & (SYN | ACK) == SYN else None


def _forget(files: Path) -> None:
    shutil.rmtree(files)
    with suppress(OSError):  # others have theirs there
        files.parent.rmdir()


@contextmanager
def nowhere(*own: str, hosts: str = "") -> Iterator[Nowhere]:
    """A namespace with these IPv4 addresses of its own, whose route to everywhere ends in a device that nobody reads.

    ``hosts`` is its hosts file, where it has one (ip-netns(8)). ``Unavailable`` as for ``slow_link``.
    """
    with ExitStack() as stack:
        with netns._making():
            name = netns._made(stack)
            device = stack.enter_context(open(netns.TUN, "r+b", buffering=0))
            fcntl.ioctl(
                device, netns.TUNSETIFF, struct.pack("16sH14x", f"t{name}".encode(), netns.IFF_TUN | netns.IFF_NO_PI)
            )
            netns._ip("link", "set", f"t{name}", "netns", name)
            for where in ("lo", f"t{name}"):
                netns._ip("-netns", name, "link", "set", where, "up")
            for address in own:
                netns._ip("-netns", name, "address", "add", f"{address}/32", "dev", "lo")
            netns._ip("-netns", name, "route", "add", "default", "dev", f"t{name}", "src", own[0])
            if hosts:
                files = Path("/etc/netns") / name
                files.mkdir(parents=True)
                stack.callback(_forget, files)
                (files / "hosts").write_text(hosts)
            with netns.inside(name):
                packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PACKETS))
            stack.callback(packets.close)
            packets.setblocking(False)
        yield Nowhere(name, packets)
