"""noise/security.py: Noise as the rest of the stack sees it, both ways."""

from __future__ import annotations

import pytest

from stronghold_p2p.errors import DecryptError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.noise import NOISE, Noise
from stronghold_p2p.seams import Secured
from tests.noise.pair import YAMUX, identity, keys, opened, randomness, talk


def secured(*muxers: str, expected: PeerId | None = None) -> tuple[Secured, Secured]:
    """Both results: of keys 1, which dialed, and of keys 2."""
    sides = [Noise(keys(seed), randomness(seed)) for seed in (1, 2)]
    one, two = talk(
        sides[0].handshake(initiator=True, expected=expected, muxers=(YAMUX,)),
        sides[1].handshake(initiator=False, expected=None, muxers=muxers),
    )
    return one.result, two.result


@pytest.mark.parametrize(("muxers", "muxer"), [((YAMUX,), YAMUX), ((), None)])
def test_both_are_proven_and_agree_on_the_muxer(muxers: tuple[str, ...], muxer: str | None) -> None:
    one, two = secured(*muxers, expected=identity(2).peer_id)
    assert Noise(keys(1), randomness(1)).id == NOISE == "/noise"
    assert (one.peer, one.public_key, one.muxer) == (identity(2).peer_id, identity(2).public_key, muxer)
    assert (two.peer, two.public_key, two.muxer) == (identity(1).peer_id, identity(1).public_key, muxer)


@pytest.mark.parametrize("dialer_speaks", [True, False])
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_what_one_seals_the_other_opens(dialer_speaks: bool, size: int) -> None:
    one, two = secured(YAMUX)
    speaker, hearer = (one.channel, two.channel) if dialer_speaks else (two.channel, one.channel)
    wire = bytearray()
    text = bytes(range(256)) * (size // 256) + bytes(size % 256)
    speaker.seal([text[:1], text[1:]], size, wire.extend)
    header = bytes(wire[: speaker.header_size])
    assert speaker.body_size(header) == int.from_bytes(header, "big") == min(size, 65_519) + 16
    plaintexts, used = opened(hearer, wire + b"\0")
    assert (b"".join(plaintexts), used) == (text, len(wire))
    with pytest.raises(DecryptError):
        opened(hearer, wire)
