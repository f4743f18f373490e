"""Hostile row 115: everything fails at level DEBUG. No known secret is in a log, a repr or a traceback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import logging
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from stronghold_p2p import Identity, Network, P2PError, Rejected, Request, Rule, Timeouts
from stronghold_p2p.addressing.kinds import from_socket
from stronghold_p2p.encoding.base58 import encode as base58
from stronghold_p2p.identity import PeerId
from stronghold_p2p.multistream import propose
from stronghold_p2p.noise.cipher import CipherState
from stronghold_p2p.noise.libp2p import NOISE, Noise
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.transport.upgrade import UpgradeSettings
from stronghold_p2p.yamux.header import frame
from tests.peers import LOOPBACK, until
from tests.swarm.raw import Server, bare_to, dial_raw, shake
from tests.transport.ends import identity, randomness, upgrade
from tests.transport.wire import Bare

SEED = bytes(range(7, 39))
WORD = "Schwertfisch-plaintext-4711"
PIECE = 8  # bytes of a secret in a row that count as a leak


def spellings(secret: bytes) -> Iterator[str]:
    """All that a piece of it may look like in text."""
    for at in range(len(secret) - PIECE + 1):
        piece = secret[at : at + PIECE]
        yield piece.hex()
        yield piece.hex().upper()
        yield repr(piece)[2:-1]
        yield repr(list(piece))[1:-1]
        yield str(int.from_bytes(piece, "big"))
    for at in range(3):  # wherever it begins, its middle is in one of these
        yield base64.b64encode(secret[at : at + 12]).decode()
        yield base64.urlsafe_b64encode(secret[at : at + 12]).decode()
    yield base58(secret)
    yield str(int.from_bytes(secret, "big"))
    yield str(int.from_bytes(secret, "little"))


def leaks(text: str, secrets: set[bytes]) -> list[str]:
    """The spellings of secrets that stand in the text."""
    found = [one for secret in secrets for one in spellings(secret) if one in text]
    return found + ([WORD] if WORD in text else [])


class Recorder:
    """Every secret that is drawn or derived, and every error that came out."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.secrets = {SEED}
        self.errors: list[BaseException] = []
        draw, begin = os.urandom, CipherState.__init__

        def urandom(size: int) -> bytes:
            drawn = draw(size)
            if size == 32:  # static and ephemeral keys; and what pings say, which is nobody's business either
                self.secrets.add(drawn)
            return drawn

        def initialize(cipher: CipherState, key: bytes | None = None) -> None:
            self.secrets |= set() if key is None else {key}
            begin(cipher, key)

        patch.setattr(os, "urandom", urandom)
        patch.setattr(CipherState, "__init__", initialize)

    async def fails(self, call: Awaitable[Any]) -> None:
        """Keep the error with its traceback."""
        try:
            async with asyncio.timeout(5):
                await call
        except (P2PError, OSError) as error:
            self.errors.append(error)

    def tracebacks(self) -> str:
        return "\n".join("".join(traceback.format_exception(error)) for error in self.errors)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@pytest.fixture
async def bob(recorder: Recorder) -> AsyncIterator[Network]:
    """His identity is known; everything that he meets becomes an event, whose error is kept."""
    network = Network(identity=Identity.from_seed(SEED), listen=[LOOPBACK], timeouts=Timeouts(upgrade=0.5))
    network.firewall.set(Rule.ALLOW)

    @network.on_event
    def keep(event: Any) -> None:
        if (error := getattr(event, "error", None)) is not None:
            recorder.errors.append(error)

    @network.on_request
    async def answer(request: Request[Any]) -> Any:
        if request.message == ["Break", WORD]:
            raise ValueError("mine")
        if request.message == {"Refuse": WORD}:
            raise Rejected
        return request.message

    async with network:
        yield network
    recorder.errors.clear()  # tracebacks keep everything alive


# ---------------------------------------------------------------------- how a handshake fails


def impostor(seed: int) -> UpgradeSettings:
    """Its signature is over nothing."""
    keys = StaticKeys.create(identity(seed), bytes([seed + 100]) * 32)
    return replace(upgrade(seed), securities=(Noise(replace(keys, signature=bytes(64)), os.urandom),))


def cut(data: bytes) -> Callable[[Bare], Awaitable[None]]:
    async def say(bare: Bare) -> None:
        await bare.send(data)
        bare.finish()
        await bare.rest()

    return say


async def silent(bare: Bare) -> None:
    await bare.rest()


OPENINGS: tuple[Callable[[Bare], Awaitable[None]], ...] = (
    silent,
    cut(f"GET /{WORD} HTTP/1.1\r\nCookie: {WORD}\r\n\r\n".encode()),  # another protocol
    cut(b"\x1c" + WORD.encode() + b"\n" + bytes(40)),  # a line that is none
    cut(propose(f"/{WORD}/1") + propose("/plaintext/2.0.0")),  # not Noise
    cut(propose(NOISE) + b"\x00\x20" + bytes(32)),  # a low-order point
    cut(propose(NOISE) + b"\x00\x20" + b"\x09" + bytes(31) + b"\x00\x80" + bytes(128)),  # garbage for message 3
    cut(propose(NOISE) + b"\x00\x20" + bytes(7)),  # half of message 1
    cut(propose(NOISE) + b"\xff\xff"),  # a length that is too long
)


async def dialed_by_strangers(bob: Network) -> None:
    for say in OPENINGS:
        with contextlib.closing(await bare_to(bob._swarm.bound[0])) as bare:
            await say(bare)
    with contextlib.closing(await bare_to(bob._swarm.bound[0])) as bare:
        raw = await shake(bare, impostor(20).outbound(None))  # a dialer learns of it with its first read only
        assert await raw.gone() is None
    for record in (b"\x00\x20" + bytes(32), b"\x00\x01\x00"):
        raw = await dial_raw(bob._swarm)
        await raw.bare.send(record)  # does not authenticate
        await raw.bare.rest()
        raw.close()
    raw = await dial_raw(bob._swarm)
    await raw.send(frame(9, 0, 0, 0))
    await raw.gone()
    raw.close()


def shaken(by: UpgradeSettings) -> Callable[[Bare], Awaitable[None]]:
    async def say(bare: Bare) -> None:
        with contextlib.suppress(ConnectionError):
            await shake(bare, by.inbound())

    return say


async def dials_strangers(bob: Network, recorder: Recorder) -> None:
    openings = [(say, "") for say in (*OPENINGS, shaken(impostor(20)))]
    for say, asked in (*openings, (shaken(upgrade(20)), f"/p2p/{identity(33).peer_id}")):
        with contextlib.closing(Server()) as server:
            dialing = asyncio.ensure_future(recorder.fails(bob.connect(f"{server.address}{asked}")))
            await say(await server.accept())
            await dialing
    await recorder.fails(bob.connect("/ip4/127.0.0.1/tcp/1"))
    await recorder.fails(bob.connect(identity(34).peer_id))


async def broken(_: Any) -> bool:
    raise ValueError("mine")


async def talks(bob: Network, recorder: Recorder) -> None:
    """Requests that are answered, refused, broken, late, malformed; a hook that fails.

    A message's variant (here ``Say``) is a name that the audit log tells, and so is the path in ``Malformed``.
    """
    async with Network() as alice:
        address = bob.addresses[0]
        assert await alice.request(address, {"Say": WORD}) == {"Say": WORD}
        await recorder.fails(alice.request(address, {"Refuse": WORD}))
        await recorder.fails(alice.request(address, ["Break", WORD]))
        await recorder.fails(alice.request(address, {"Say": [WORD, float("nan")]}))
        await recorder.fails(alice.request(address, {"Say": WORD}, timeout=0.0001))
        stream = await alice.open_stream(address, "/stronghold-p2p/1.0.0")
        await stream.write(b"\x1d{" + WORD.encode() + b"}")
        await recorder.fails(stream.read())

        bob.firewall.on_ask(broken)
        bob.firewall.set(Rule.ASK)
        await recorder.fails(alice.request(address, {"Say": WORD}))
        bob.firewall.set(Rule.ALLOW)


async def test_nothing_secret_is_logged(bob: Network, recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """What a stranger said instead of a handshake is quoted, at most 80 characters of it; a message never."""
    caplog.set_level(logging.DEBUG)
    await dialed_by_strangers(bob)
    await dials_strangers(bob, recorder)
    quoting = [str(error) for error in recorder.errors if WORD in str(error)]
    assert all("multistream header was expected" in text or "in answer to" in text for text in quoting)
    assert all(len(text) <= 400 for text in quoting)
    before = len(recorder.errors)
    await talks(bob, recorder)
    assert not [error for error in recorder.errors[before:] if WORD in str(error)]
    await until(lambda: len(recorder.errors) >= 25)
    assert len(recorder.secrets) >= 30
    assert len(caplog.records) >= 5
    assert leaks(caplog.text, recorder.secrets) == []
    assert leaks(recorder.tracebacks().replace(WORD, ""), recorder.secrets) == []
    others = [record for record in caplog.records if record.name not in {"stronghold_p2p.audit", "asyncio"}]
    loud = [record.getMessage() for record in others if record.levelno > logging.DEBUG]
    told = ("handler of", "no handshake came", "a limit refuses", "a protocol is not served")
    assert loud == [message for message in loud if "on_ask failed" in message or message.startswith(told)]
    caplog.clear()


async def test_nothing_secret_is_in_a_repr(bob: Network, recorder: Recorder) -> None:
    """Of any object of ours that lives while connections are open and half open."""
    with contextlib.closing(await bare_to(bob._swarm.bound[0])) as bare:
        await bare.send(propose(NOISE) + b"\x00\x20" + b"\x09" + bytes(31))
        async with Network() as alice:
            await alice.request(bob.addresses[0], "x")
            await alice.ping(bob.peer_id)
            ours = [thing for thing in gc.get_objects() if type(thing).__module__.startswith("stronghold_p2p")]
            kinds = {type(thing).__name__ for thing in ours}
            assert {"Identity", "StaticKeys", "KeyPair", "CipherState", "NoiseChannel", "Connection"} <= kinds
            texts = {repr(thing) + str(thing) for thing in ours}
            assert leaks("\n".join(texts), recorder.secrets - {WORD.encode()}) == []
            ours.clear()


def test_the_search_finds_what_it_looks_for() -> None:
    """The negative control: each way in which a key could be written."""
    secret = bytes(range(100, 132))
    written = [
        repr(secret),
        secret.hex(),
        f"key={secret.hex().upper()}",
        str(list(secret)),
        base64.b64encode(b"x" + secret).decode(),
        base58(secret),
        str(int.from_bytes(secret, "big")),
        f"a message: {WORD}",
        repr(StaticKeys.create(Identity(), secret).pair.public + secret[:8]),
    ]
    assert [text for text in written if not leaks(text, {secret})] == []
    assert leaks(f"{PeerId(bytes(Identity().peer_id))} {from_socket(('127.0.0.1', 1))}", {secret}) == []
    assert randomness(1)(2) == b"\x01\x01"
