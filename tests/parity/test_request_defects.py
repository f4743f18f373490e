"""Defects of the Rust library in requests and what carries them: one test each, that ours has none of it.

D1, D2 and D12 stand in tests/swarm, D14, D15 and D32 in tests/request_response; tools/decisions plays D5 and D8.
Time is virtual.
"""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from typing import Any, Self

import pytest

from stronghold_p2p import errors
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.codes import Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded
from stronghold_p2p.events.events import AcceptFailed, Ended
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.request_response.client import Client
from stronghold_p2p.request_response.codecs.codec import BYTES
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import mirror, now, swarm, until
from tests.support.requests import ID, requests
from tests.swarm.raw import SEED, Events, Server, bare_to, raw_in, raw_out
from tests.transport.ends import identity
from tests.virtual import VIRTUAL, eventually

LOOPS = VIRTUAL

RAW: RequestProtocol[bytes, bytes] = RequestProtocol("/raw/1", request=BYTES, response=BYTES)


async def test_d7_every_call_ends() -> None:
    """There, a request waited for ever when its dial was refused by the limit of pending ones, or a listener failed."""
    async with swarm(1, limits=Limits(pending_out=1)) as alice, swarm(2) as bob:
        with contextlib.closing(Server()) as silent:
            busy = asyncio.ensure_future(alice.dial(identity(7).peer_id, [silent.address]))
            await until(lambda: alice.gate.snapshot()["pending_out"])
            began = now()
            with pytest.raises(errors.LimitExceeded) as caught:
                await Client(alice).request(bob.peer_id, bob.addresses, "Ping", STRONGHOLD, timeout=None)
            assert (caught.value.limit, caught.value.peer, now() - began < 0.1) == ("pending_out", bob.peer_id, True)
            with pytest.raises(DeadlineExceeded):
                await busy
        with pytest.raises(errors.ListenError):
            await alice.listen(bob.addresses[0])


async def test_d13_a_length_is_no_memory() -> None:
    """There, what was announced was allocated, without limit, and before the firewall was asked."""
    async with requests(mirror) as on, raw_in(on.bob) as (raw, connection):
        await raw.open(1, ID, b"\x80\x80\x40" + b'"')
        await until(lambda: connection.streams)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for stream in range(3, 103, 2):
                await raw.open(stream, ID, b"\x80\x80\x40" + b'"')  # 1 MiB is to come, as much as may be
            await until(lambda: connection.streams == 51)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak - before < 50 * 32_768  # a stream, its task and what runs in it
        await raw.open(103, ID, b"\x81\x80\x40")  # one more: refused at its length
        assert (await raw.until(1, 8, stream=103)).length == Reset.PROTOCOL_VIOLATION
        on.bob.firewall.set(Rule.REJECT)
        await raw.open(105, ID, b"\x80\x80\x40" + b'"')
        assert (await raw.until(1, 8, stream=105)).length == Reset.NEGOTIATION_FAILED


async def test_d28_a_dead_peer_is_noticed_without_any_request_timing_out() -> None:
    """There, only requests that timed out told; keep-alive does here, within 40 seconds."""
    async with swarm(1) as alice, raw_out(alice) as (raw, connection):
        events, began = Events(alice), now()
        request = asyncio.ensure_future(Client(alice).request(raw.id, (), "Ping", STRONGHOLD, timeout=None))
        await raw.until(0, 1)
        await raw.answer(1, ID)  # from here on it is dead, and its socket stays open
        with pytest.raises(ConnectionClosed, match="ping") as caught:
            await request
        assert (caught.value.sent, caught.value.peer) == (True, identity(SEED).peer_id)
        assert now() - began == pytest.approx(40, abs=1)
        (ended,) = events.of(Ended)
        assert (ended.connection, ended.error.peer) == (connection.face, raw.id)


class Tap:
    """Between a dialer and a listener: passes everything on, and keeps what the dialer sends."""

    def __init__(self, to: Swarm) -> None:
        self._host, self._port = str(to.addresses[0]).split("/")[2::2]
        self.sent: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.address = from_socket(self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(self._host, int(self._port))
        self.writers += [their_writer, writer]
        await asyncio.gather(self._copy(reader, their_writer, self.sent), self._copy(their_reader, writer, []))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: list[bytes]) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                kept.append(piece)
                writer.write(piece)
            writer.write_eof()


async def test_d30_a_recorded_request_is_worth_nothing() -> None:
    """Neither on its own connection (the counter has moved on) nor on another one (its keys are fresh)."""
    served: list[Any] = []
    async with requests(lambda request: served.append(request.message)) as on, Tap(on.bob) as tap:
        await on.connection.close()
        await until(lambda: not on.bob.connections())
        events = Events(on.bob)
        connection = on.connection = await on.alice.dial(on.bob.peer_id, [tap.address])
        on.ends = True
        await on.ask("Warm up")
        before = len(tap.sent)
        await on.ask("Pay")
        await until(lambda: len(tap.sent) > before)
        recorded = b"".join(tap.sent[before:])

        bare = await bare_to(on.bob.addresses[0])  # all of it, from the first byte of the handshake
        await bare.send(b"".join(tap.sent))
        await eventually(lambda: events.of(AcceptFailed))
        assert isinstance(events.of(AcceptFailed)[0].error, errors.HandshakeError)
        bare.close()
        assert not connection.closed

        tap.writers[0].write(recorded)
        await eventually(lambda: connection.closed and events.of(Ended))
        assert isinstance(events.of(Ended)[0].error, errors.DecryptError)
        await asyncio.sleep(5)
        assert served == ["Warm up", "Pay"]
