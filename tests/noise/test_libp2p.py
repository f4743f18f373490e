"""noise/libp2p.py: the whole handshake, in any pieces, with honest and with hostile partners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from stronghold_p2p.errors import HandshakeError, PeerIdMismatch, UsageError
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.identity.peer_id import PeerId
from stronghold_p2p.noise.handshake import KeyPair
from stronghold_p2p.noise.libp2p import Handshaken, choose_muxer
from stronghold_p2p.noise.payload import make
from stronghold_p2p.noise.records import Opener, Sealer
from tests.noise.opening import SPACE, opened, sealed
from tests.noise.pair import (
    LOW_ORDER,
    YAMUX,
    feed_all,
    framed,
    handshake,
    identity,
    keys,
    side,
    speaker,
    talk,
    transcript,
)

FIRST, SECOND, THIRD = transcript()
ROLES = pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])


def ours(initiator: bool, **options: Any) -> Exchange[Handshaken]:
    """The honest side of keys 1 or 2 in its usual role."""
    return side(initiator=initiator, seed=1 if initiator else 2, **options)


def begun(initiator: bool, **options: Any) -> ExchangeRunner[Handshaken]:
    """The same, when it has said what it says first."""
    runner = ExchangeRunner(ours(initiator, **options))
    runner.start()
    return runner


def talks(sender: Handshaken, receiver: Handshaken) -> bool:
    """Whether what one seals, the other opens."""
    wire = sealed(Sealer(sender.send, SPACE), b"text")
    return opened(Opener(receiver.receive, SPACE), wire)[0] == [b"text"]


def test_both_sides_know_each_other_and_can_talk() -> None:
    one, two = handshake()
    assert (one.peer, two.peer) == (identity(2).peer_id, identity(1).peer_id)
    assert (one.public_key, two.public_key) == (identity(2).public_key, identity(1).public_key)
    assert one.early_muxer == two.early_muxer == YAMUX
    assert talks(one, two)
    assert talks(two, one)


def test_the_messages_have_the_sizes_of_the_specification() -> None:
    extensions = len(b"\x22\x0e\x12\x0c/yamux/1.0.0")
    payload = 2 + 36 + 2 + 64 + extensions
    assert [len(FIRST), len(SECOND), len(THIRD)] == [2 + 32, 2 + 32 + 48 + payload + 16, 2 + 48 + payload + 16]
    assert FIRST[:2] == b"\0\x20"


def pieces_of(initiator: bool) -> tuple[bytes, list[bytes]]:
    """All that this role receives, and all that it says."""
    return (SECOND, [FIRST, THIRD]) if initiator else (FIRST + THIRD, [SECOND])


@ROLES
def test_every_split_point_byte_by_byte_and_with_records_behind_it(initiator: bool) -> None:
    wire, says = pieces_of(initiator)
    cuts = [[wire[:cut], wire[cut:]] for cut in range(len(wire) + 1)]
    for pieces in [[wire], [bytes([byte]) for byte in wire], *cuts]:
        runner = ExchangeRunner(ours(initiator))
        assert runner.start() + feed_all(runner, pieces) == b"".join(says)
        assert runner.result.peer == identity(2 if initiator else 1).peer_id
        assert runner.leftover == b""
    runner = begun(initiator)
    runner.feed(wire + b"\0\x1d and the first records")
    assert runner.leftover == b"\0\x1d and the first records"


@ROLES
def test_each_message_leaves_in_one_piece(initiator: bool) -> None:
    exchange, (wire, says) = ours(initiator), pieces_of(initiator)
    said, at, step = [], 0, next(exchange)
    with pytest.raises(StopIteration):
        while True:
            if isinstance(step, bytes):
                said.append(step)
                step = exchange.send(b"")
            else:
                at += step
                step = exchange.send(wire[at - step : at])
    assert said == says


def test_the_expected_peer() -> None:
    one, two = handshake(
        initiator={"expected": identity(2).peer_id}, responder={"expected": PeerId(str(identity(1).peer_id))}
    )
    assert talks(one, two)


@ROLES
def test_another_peer_than_expected(initiator: bool) -> None:
    """Hostile row 54, in both roles; an initiator then says no more: not even who it is."""
    wire, says = pieces_of(initiator)
    runner = begun(initiator, expected=identity(3).peer_id)
    with pytest.raises(PeerIdMismatch) as caught:
        runner.feed(wire)
    assert caught.value.expected == identity(3).peer_id
    assert caught.value.actual == identity(2 if initiator else 1).peer_id
    assert runner.unsent == (b"" if initiator else says[0])


@pytest.mark.parametrize(
    ("initiators", "responders", "muxer"),
    [
        ((YAMUX,), (YAMUX,), YAMUX),
        (("/a", "/b"), ("/b", "/a"), "/a"),
        (("/x", "/b", "/a"), ("/a", "/b"), "/b"),
        (("/a",), ("/b",), None),
        ((), ("/b",), None),
        (("/a",), (), None),
        ((), (), None),
        (("/a",) * 100, ("/a",), "/a"),
    ],
)
def test_early_muxer(initiators: tuple[str, ...], responders: tuple[str, ...], muxer: str | None) -> None:
    """The initiator's preference wins; without a common one both fall back to multistream."""
    one, two = handshake(initiator={"muxers": initiators}, responder={"muxers": responders})
    assert (one.early_muxer, two.early_muxer) == (muxer, muxer)
    assert choose_muxer(initiators, responders) == muxer
    assert talks(one, two)


@ROLES
@pytest.mark.parametrize(("count", "muxer"), [(100, "/a"), (101, None)])
def test_a_list_of_more_than_100_muxers_counts_as_none(initiator: bool, count: int, muxer: str | None) -> None:
    remote = speaker(initiator=not initiator, payload=make(keys(2), ("/a",) * count))
    honest, _ = talk(ours(initiator, muxers=("/a",)), remote)
    assert honest.result.early_muxer == muxer


@ROLES
def test_we_send_no_list_that_would_be_ignored(initiator: bool) -> None:
    with pytest.raises(UsageError):
        next(ours(initiator, muxers=("/a",) * 101))


LENGTHS = {True: (96, 96 + 8192), False: (64, 64 + 8192)}


@ROLES
def test_lengths_are_judged_by_the_prefix(initiator: bool) -> None:
    """Hostile rows 46 and 53: length 0, yamux frames in place of a message, 65,535 that never come."""
    least, most = LENGTHS[initiator]
    before = b"" if initiator else FIRST
    for size in (0, 1, least - 1, most + 1, 65_535):
        runner = begun(initiator)
        runner.feed(before)
        with pytest.raises(HandshakeError):
            runner.feed(size.to_bytes(2, "big"))
        assert runner.unsent == b""
    for size in (least, most):
        runner = begun(initiator)
        runner.feed(before)
        assert runner.feed(size.to_bytes(2, "big") + bytes(size - 1)) == b""
        with pytest.raises(HandshakeError):
            runner.feed(b"\0")


def test_message_1_is_a_bare_key() -> None:
    for size in (0, 1, 31, 33, 48, 65_535):
        runner = begun(False)
        with pytest.raises(HandshakeError):
            runner.feed(size.to_bytes(2, "big"))
    with pytest.raises(HandshakeError):
        talk(speaker(initiator=True, payload=make(keys(2), ()), first=b"x"), ours(False))


@ROLES
def test_every_flipped_byte_and_nothing_is_said_after_it(initiator: bool) -> None:
    """A byte of message 1 changes what message 3 authenticates, so the responder finds it there."""
    wire, says = pieces_of(initiator)
    for at in range(len(wire)):
        bad = wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]
        runner = ExchangeRunner(ours(initiator))
        said = runner.start()
        with pytest.raises(HandshakeError):
            feed_all(runner, [bad, bytes(600)])
        assert len(said + runner.unsent) <= len(says[0])


UNPROVEN: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "of another": lambda: make(keys(3), (YAMUX,)),
    "without signature": lambda: b"\x0a\x24" + keys(2).identity_key,
    "garbage": lambda: b"\xff" * 100,
    "DER": lambda: b"\x30\x82\x01\x22" + bytes(290),
    "60 KiB": lambda: make(keys(2), ("/m" * 30_000,)),
}


@ROLES
@pytest.mark.parametrize("payload", UNPROVEN.values(), ids=UNPROVEN.keys())
def test_a_payload_that_proves_nothing(initiator: bool, payload: Callable[[], bytes]) -> None:
    """Hostile row 50: in both roles, however well the Noise part went."""
    with pytest.raises(HandshakeError) as caught:
        talk(ours(initiator), speaker(initiator=not initiator, payload=payload()))
    assert not isinstance(caught.value, PeerIdMismatch)


@ROLES
def test_a_speaker_with_a_good_payload_is_accepted(initiator: bool) -> None:
    """The hostile side differs from an honest one by its payload only."""
    honest, _ = talk(ours(initiator), speaker(initiator=not initiator, payload=make(keys(2), ())))
    assert honest.result.peer == identity(2).peer_id
    assert honest.result.early_muxer is None


@ROLES
@pytest.mark.parametrize("point", LOW_ORDER, ids=[point.hex() for point in LOW_ORDER])
def test_points_of_low_order(initiator: bool, point: bytes) -> None:
    """Hostile row 49: as the ephemeral key and as the static one."""
    runner = begun(initiator)
    with pytest.raises(HandshakeError, match="low order"):
        runner.feed(framed(point + bytes(64)) if initiator else framed(point))
    bad = KeyPair(keys(2).pair.private, point)
    with pytest.raises(HandshakeError, match="low order"):
        talk(ours(initiator), speaker(initiator=not initiator, payload=make(keys(2), ()), pair=bad))


def test_a_replayed_message_3_of_another_session() -> None:
    initiator = ExchangeRunner(side(initiator=True, seed=3))
    responder = ExchangeRunner(ours(False))
    responder.start()
    responder.feed(initiator.start())
    with pytest.raises(HandshakeError):
        responder.feed(THIRD)


def test_our_own_message_reflected() -> None:
    runner = ExchangeRunner(ours(True))
    said = runner.start()
    with pytest.raises(HandshakeError):
        runner.feed(said)


@ROLES
def test_against_the_noiseprotocol_package(initiator: bool) -> None:
    other = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
    other.set_keypair_from_private_bytes(Keypair.STATIC, bytes([2 + 100]) * 32)
    if initiator:
        other.set_as_responder()
    else:
        other.set_as_initiator()
    other.start_handshake()
    runner = ExchangeRunner(side(initiator=initiator, seed=1))
    said = runner.start()
    if initiator:
        other.read_message(said[2:])
        said = runner.feed(framed(bytes(other.write_message(make(keys(2), (YAMUX,))))))
        assert other.read_message(said[2:]) == make(keys(1), (YAMUX,))
    else:
        said = runner.feed(framed(bytes(other.write_message(b""))))
        assert other.read_message(said[2:]) == make(keys(1), (YAMUX,))
        runner.feed(framed(bytes(other.write_message(make(keys(2), (YAMUX,))))))
    secured = runner.result
    assert secured.peer == identity(2).peer_id
    assert secured.early_muxer == YAMUX
    sealer, opener = Sealer(secured.send, SPACE), Opener(secured.receive, SPACE)
    for text in (b"short", bytes(range(200)) * 100, bytes(65_519)):
        assert other.decrypt(sealed(sealer, text)[2:]) == text
        assert opened(opener, framed(bytes(other.encrypt(text)))) == ([text], len(text) + 18)


@given(st.booleans(), st.binary(max_size=400))
def test_only_our_errors_leave(initiator: bool, data: bytes) -> None:
    for wire in (data, b"\0\x20" + data, FIRST + data, b"\0\x60" + data):
        runner = begun(initiator)
        try:
            runner.feed(wire)
        except HandshakeError as error:
            assert error.phase == "noise"
        else:
            assert not runner.done


def test_no_key_in_a_repr() -> None:
    shown = repr(handshake())
    assert "CipherState object" in shown
    assert "ChaCha" not in shown
