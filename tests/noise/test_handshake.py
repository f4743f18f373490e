"""noise/handshake.py: published vectors, another implementation, misuse, and points of low order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stronghold_p2p.errors import HandshakeError, UsageError
from stronghold_p2p.noise.handshake import DH, HandshakeState, KeyPair
from tests.noise.pair import randomness

VECTORS_FILE = Path(__file__).parent.parent / "vectors" / "noise_xx.json"
VECTORS = json.loads(VECTORS_FILE.read_text(encoding="utf-8"))["vectors"]

S1, S2 = KeyPair.create(b"\x11" * 32), KeyPair.create(b"\x12" * 32)


def state(*, initiator: bool, prologue: bytes = b"", s: KeyPair | None = None) -> HandshakeState:
    """One side, with its own static and ephemeral key."""
    random = randomness(21 if initiator else 22)
    return HandshakeState(initiator=initiator, s=s or (S1 if initiator else S2), random=random, prologue=prologue)


def published(vector: dict[str, Any], role: str) -> HandshakeState:
    """One side of a vector."""
    ephemeral = bytes.fromhex(vector[f"{role}_ephemeral"])
    return HandshakeState(
        initiator=role == "init",
        s=KeyPair.create(bytes.fromhex(vector[f"{role}_static"])),
        random=lambda _: ephemeral,
        prologue=bytes.fromhex(vector[f"{role}_prologue"]),
    )


def test_the_vectors_are_ours() -> None:
    assert {vector["protocol_name"] for vector in VECTORS} == {"Noise_XX_25519_ChaChaPoly_SHA256"}
    assert len({vector["source"] for vector in VECTORS}) == len(VECTORS) == 3


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["source"] for vector in VECTORS])
def test_vectors(vector: dict[str, Any]) -> None:
    sides = [published(vector, "init"), published(vector, "resp")]
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]]
    for number, (payload, ciphertext) in enumerate(messages[:3]):
        writer, reader = sides[number % 2], sides[1 - number % 2]
        assert writer.WriteMessage(payload) == ciphertext
        assert reader.ReadMessage(ciphertext) == payload
    assert sides[0].rs == KeyPair.create(bytes.fromhex(vector["resp_static"])).public
    assert sides[1].rs == KeyPair.create(bytes.fromhex(vector["init_static"])).public
    assert sides[0]._symmetric.h == sides[1]._symmetric.h
    if "handshake_hash" in vector:
        assert sides[0]._symmetric.h.hex() == vector["handshake_hash"]
    ciphers = [each.Split() for each in sides]
    assert len(messages) > 3
    for number, (payload, ciphertext) in enumerate(messages[3:], start=3):
        send, receive = ciphers[number % 2][0], ciphers[1 - number % 2][1]
        assert send.EncryptWithAd(b"", payload) == ciphertext
        assert receive.DecryptWithAd(b"", ciphertext) == payload


def refuse(*calls: Callable[[], object]) -> None:
    for call in calls:
        with pytest.raises(UsageError):
            call()


def test_messages_out_of_turn() -> None:
    one, two = state(initiator=True), state(initiator=False)
    refuse(lambda: two.WriteMessage(b""), lambda: one.ReadMessage(bytes(32)), one.Split)
    first = one.WriteMessage(b"")
    refuse(lambda: one.WriteMessage(b""))
    two.ReadMessage(first)
    refuse(lambda: two.ReadMessage(first))
    one.ReadMessage(two.WriteMessage(b""))
    refuse(one.Split, two.Split)
    two.ReadMessage(one.WriteMessage(b""))
    for each in (one, two):  # no fourth message
        refuse(lambda each=each: each.WriteMessage(b""), lambda each=each: each.ReadMessage(bytes(96)))  # type: ignore[misc]


def test_a_failure_is_final() -> None:
    one, two = state(initiator=True), state(initiator=False)
    two.ReadMessage(one.WriteMessage(b""))
    second = two.WriteMessage(b"")
    with pytest.raises(HandshakeError):
        one.ReadMessage(second[:-1])
    refuse(lambda: one.ReadMessage(second), lambda: one.WriteMessage(b""), one.Split)


def test_message_1_shorter_than_a_key() -> None:
    for size in range(32):
        with pytest.raises(HandshakeError):
            state(initiator=False).ReadMessage(bytes(size))


def test_a_point_of_low_order_gives_no_secret() -> None:
    """tests/hostile/test_noise.py plays all of them, wherever a key stands (hostile row 49)."""
    with pytest.raises(HandshakeError, match="low order"):
        DH(S1, bytes(32))
