"""Hostile rows 160 and 161: TLS, below secure WebSocket. Of a listener, as a dialer's is the same code."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hostile.arena import KIB, Arena, Program, warm_up_listener
from tests.hostile.codec import noise
from tests.hostile.wire import Ended, Wire
from tests.support.certificates import Authority, private, write
from tests.support.tls import APPLICATION, HANDSHAKE, Sealer, record

LONG = b"\x01" + (100_000).to_bytes(3, "big")  # a hello that says how long it is
OPENINGS = (
    b"\x13/multistream/1.0.0\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    bytes(1 << 20),
    noise(1 << 16),
    record(APPLICATION, bytes(100)),
    record(HANDSHAKE, b"", 0xFFFF),
    record(HANDSHAKE, noise(4_096)),
    record(HANDSHAKE, b"\x02\0\0\x04" + bytes(4)),
    record(HANDSHAKE, LONG + bytes(15_000)) + record(HANDSHAKE, bytes(15_000)) * 3,
    record(21, b"\x02\x28") * 1_000,
    record(20, b"\x01") * 10_000,
)


@contextmanager
def secured() -> Iterator[tuple[Path, ssl.SSLContext, Path]]:
    """A certificate with its key in one file, whoever trusts it, and where this one writes its secrets."""
    with TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        certificate = authority.issue("127.0.0.1").certificate
        assert certificate is not None
        both = write(Path(folder) / "both.pem", Path(certificate).read_bytes() + private(7))
        context = ssl.create_default_context(cafile=str(authority.ca))
        context.keylog_filename = str(Path(folder) / "secrets")
        yield both, context, Path(folder) / "secrets"


def socket_to(target: Program) -> Wire:
    parts = target.ready["wss"].split("/")
    return Wire.connect((parts[2], int(parts[4])))


def shaken(wire: Wire, context: ssl.SSLContext) -> None:
    """An honest client, up to the end of the handshake."""
    came, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(came, out, server_hostname="127.0.0.1")
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            wire.send(out.read())
            assert wire.fill(5.0)
            came.write(bytes(wire.buffer))
            wire.buffer.clear()
        else:
            wire.send(out.read())
            return


def test_row_160_what_is_no_tls(arena: Arena) -> None:
    """Garbage instead of a hello, hellos without end, and one that dribbles"""
    with secured() as (certificate, context, _):

        def warm_up(program: Program) -> None:
            warm_up_listener(program)
            for _ in range(3):
                with socket_to(program) as wire:
                    shaken(wire, context)
                with socket_to(program) as wire:
                    wire.send(OPENINGS[0])
                    wire.until_closed()

        options = ("--tls", str(certificate), "--timeout", "upgrade=2")
        with arena.serve(*options, warm_up=warm_up, memory=512 * KIB) as target:
            for opening in OPENINGS:
                with socket_to(target) as wire:
                    with suppress(Ended):
                        wire.push(opening)
                    arena.took(wire.until_closed(1.0), 0.1)
                    assert len(wire.buffer) < 100, f"an answer to {opening[:8]!r}"  # an alert at most
            with socket_to(target) as wire:
                wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                wire.until_closed(1.0)
                assert wire.buffer.startswith(b"HTTP/1.1 400 ")
            with socket_to(target) as wire:  # a dribble does not move the deadline
                start = time.monotonic()
                with suppress(Ended):
                    for byte in record(HANDSHAKE, b"\x01\0\x02\0" + bytes(0x200)):
                        wire.send(bytes([byte]))
                        wire.fill(0.02)
                wire.until_closed(3.0)
                assert time.monotonic() - start <= 2.0 + arena.slack
            before, count = target.cpu(), arena.pick(200, 2_000)
            for number in range(count):
                with socket_to(target) as wire, suppress(Ended):
                    wire.push(OPENINGS[number % len(OPENINGS)])
                    wire.until_closed(2.0)
            arena.bound("ms of a core for each", (target.cpu() - before) * 1e3 / count, 3.0)


def test_row_161_records_that_say_nothing(arena: Arena) -> None:
    """Key updates without end, and records that are none, behind the handshake"""
    with secured() as (certificate, context, secrets):

        def sealing(wire: Wire) -> Sealer:
            secrets.write_bytes(b"")
            shaken(wire, context)
            return Sealer(secrets)

        def warm_up(program: Program) -> None:
            warm_up_listener(program)
            for _ in range(3):
                with socket_to(program) as wire:
                    wire.send(sealing(wire).key_update())

        options = ("--tls", str(certificate), "--timeout", "upgrade=5")
        with arena.serve(*options, warm_up=warm_up, memory=512 * KIB) as target:
            with socket_to(target) as wire:
                sealer = sealing(wire)
                for _ in range(arena.pick(5, 50)):  # between words they are in order
                    wire.send(b"".join(sealer.key_update() for _ in range(20)))
                    wire.send(sealer.seal(b"G"))
                assert not wire.fill(0.2)
            with socket_to(target) as wire:
                sealer = sealing(wire)
                with suppress(Ended):
                    wire.push(b"".join(sealer.key_update() for _ in range(arena.pick(200, 20_000))))
                wire.until_closed(1.0)
            for last in (
                record(APPLICATION, bytes(64)),
                record(HANDSHAKE, noise(64)),
                record(APPLICATION, b"", 40_000),
            ):
                with socket_to(target) as wire:
                    sealing(wire)
                    wire.send(last)
                    wire.until_closed(1.0)
