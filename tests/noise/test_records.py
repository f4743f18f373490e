"""noise/records.py: any plaintext in any pieces comes out again, and nothing else ever does.

The records of several pieces are those of the joined plaintext, four of them in a write.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stronghold_p2p.errors import ConnectionClosed, DecryptError
from stronghold_p2p.noise.cipher import CipherState
from stronghold_p2p.noise.records import MAX_PLAINTEXT, ONE_SHOT, Opener, Sealer
from tests.noise.pair import KEY, SPACE, opened, sealed

NUMBERS = b"".join(number.to_bytes(4, "big") for number in range(1 << 16))
LAST = 2**64 - 2
SIZES = [1, 15, 16, 64, 8_175, 8_176, 8_191, 8_192, 8_193, 65_518, 65_519, 65_520, 131_038, 131_039, 200_000]


def sealer(n: int = 0) -> Sealer:
    """The sending end of the test key."""
    return Sealer(CipherState(KEY, n=n), SPACE)


def opener(n: int = 0) -> Opener:
    """The receiving end of the test key."""
    return Opener(CipherState(KEY, n=n), SPACE)


def records(*texts: bytes, n: int = 0) -> list[bytes]:
    """One record for each text, an empty one too."""
    cipher = CipherState(KEY, n=n)
    sealed = [cipher.EncryptWithAd(b"", text) for text in texts]
    return [len(each).to_bytes(2, "big") + each for each in sealed]


def text(size: int) -> bytes:
    """Bytes of which no two places are alike."""
    return NUMBERS[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_records_as_the_specification_has_them(size: int, kind: type) -> None:
    plaintext = text(size)
    wire = sealed(sealer(), kind(plaintext))
    chunks = [plaintext[at : at + 65_519] for at in range(0, size, 65_519)]
    assert wire == b"".join(records(*chunks))
    plaintexts, used = opened(opener(), wire)
    assert (b"".join(plaintexts), used) == (plaintext, len(wire))


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 70_000) | st.integers(1, 100), max_size=6), st.lists(st.integers(1, 66_000), max_size=40)
)
def test_any_plaintext_in_any_pieces(sizes: list[int], steps: list[int]) -> None:
    ours, theirs = sealer(), opener()
    plaintext = [text(size) for size in sizes]
    wire = b"".join(sealed(ours, each) for each in plaintext)
    got, buffer, at = [], b"", 0
    for step in [*steps, len(wire)]:
        buffer += wire[at : at + step]
        at += step
        pieces, used = opened(theirs, buffer)
        got += pieces
        buffer = buffer[used:]
    assert b"".join(got) == b"".join(plaintext)
    assert buffer == b""
    assert theirs.failure is None


def test_records_without_plaintext_are_legal() -> None:
    wire = b"".join(records(b"", b"one", b"", b"", b"two", b""))
    assert opened(opener(), wire) == ([b"", b"one", b"", b"", b"two", b""], len(wire))
    (empty,) = records(b"")
    assert opened(opener(), empty) == ([b""], 18)


@pytest.mark.parametrize("size", [0, 10, 20_000])
def test_who_wants_no_more_gets_the_rest_later(size: int) -> None:
    wire, theirs = b"".join(records(*[bytes(size)] * 5)), opener()
    got: list[int] = []
    at = 0

    def deliver(plaintext: bytes | memoryview) -> bool:
        got.append(len(plaintext))
        return len(got) % 2 == 0

    while at < len(wire):
        used = theirs.open(memoryview(wire)[at:], deliver)
        assert used in {size + 18, 2 * (size + 18)}
        at += used
    assert got == [size] * 5


def test_plaintext_does_not_depend_on_the_buffer_it_came_in() -> None:
    buffer = bytearray(records(b"stays")[0])
    (plaintext,), _ = opened(opener(), buffer)
    buffer[:] = bytes(len(buffer))
    assert plaintext == b"stays"


def fails_behind(theirs: Opener, wire: bytes, kind: type[ConnectionClosed] = DecryptError) -> list[bytes]:
    """What is delivered before a record fails."""
    delivered: list[bytes] = []
    with pytest.raises(kind) as caught:
        theirs.open(memoryview(wire), lambda plaintext: delivered.append(bytes(plaintext)))
    assert theirs.failure is caught.value
    return delivered


def refuse(theirs: Opener, wire: bytes) -> None:
    """The first record fails at once, and every later call the same way, whatever comes."""
    with pytest.raises(DecryptError) as first:
        opened(theirs, wire)
    assert theirs.failure is first.value
    for later in (b"", wire, records(b"good")[0]):
        with pytest.raises(DecryptError):
            opened(theirs, later)


def test_every_flipped_bit() -> None:
    """Hostile row 47: no plaintext of a record with one wrong bit, nor of the next one."""
    one, two = records(b"plaintext", b"next")
    for bit in range(16, len(one) * 8):
        bad = bytearray(one)
        bad[bit // 8] ^= 1 << bit % 8
        refuse(opener(), bytes(bad) + two)


def test_what_authenticated_before_a_failure_is_delivered_and_nothing_behind_it() -> None:
    one, two, three = records(b"one", b"two", b"three")
    for bad in (one, two[:-1] + b"\0" + three, *(bytes([0, size]) for size in range(16))):
        theirs = opener()
        assert fails_behind(theirs, one + bad) == [b"one"]
        with pytest.raises(DecryptError) as caught:
            opened(theirs, one)
        assert caught.value is theirs.failure


@pytest.mark.parametrize("size", range(16))
def test_a_length_below_the_tag_is_refused_at_the_prefix(size: int) -> None:
    refuse(opener(), size.to_bytes(2, "big"))


def test_the_longest_length_waits_for_its_record() -> None:
    theirs = opener()
    assert opened(theirs, b"\xff\xff" + bytes(65_534)) == ([], 0)
    refuse(theirs, b"\xff\xff" + bytes(65_535))


def test_the_counter_ends_before_its_last_value_when_sealing() -> None:
    """Hostile row 48."""
    for last in (b"x", bytes(20_000)):
        ours = sealer(LAST)
        assert sealed(ours, last) == records(last, n=LAST)[0]
        for more in (b"x", bytes(20_000)):
            with pytest.raises(ConnectionClosed):
                sealed(ours, more)


def test_the_counter_ends_before_its_last_value_when_opening() -> None:
    """Hostile row 48."""
    (last,) = records(b"last", n=LAST)
    theirs = opener(LAST)
    assert fails_behind(theirs, last + last, ConnectionClosed) == [b"last"]
    with pytest.raises(ConnectionClosed):
        opened(theirs, last)


@pytest.mark.parametrize("size", [1, 29, ONE_SHOT - 16])
def test_a_full_record_and_the_short_rest_behind_it_come_in_one_piece(size: int) -> None:
    """go-yamux's full frame, with its header, is a little longer than a record."""
    full, rest = text(MAX_PLAINTEXT), b"r" * size
    wire = b"".join(records(full, rest, full, rest, b"last"))
    assert opened(opener(), wire)[0] == [full + rest, full + rest, b"last"]


@pytest.mark.parametrize(
    "texts",
    [
        [text(MAX_PLAINTEXT), b""],
        [text(MAX_PLAINTEXT), b"r" * (ONE_SHOT - 15)],
        [text(MAX_PLAINTEXT - 1), b"rest"],
        [text(MAX_PLAINTEXT), text(MAX_PLAINTEXT)],
    ],
)
def test_other_records_come_by_themselves(texts: list[bytes]) -> None:
    assert opened(opener(), b"".join(records(*texts)))[0] == texts


def test_a_rest_that_is_not_there_yet_comes_later() -> None:
    full, rest = records(text(MAX_PLAINTEXT), b"rest")
    for cut in range(len(rest)):
        theirs = opener()
        wire = memoryview(full + rest)
        assert opened(theirs, wire[: len(full) + cut]) == ([text(MAX_PLAINTEXT)], len(full))
        assert opened(theirs, wire[len(full) :]) == ([b"rest"], len(rest))


@pytest.mark.parametrize(("n", "damage", "kind"), [(0, b"?", DecryptError), (LAST, b"", ConnectionClosed)])
def test_a_rest_that_cannot_be_opened_fails_behind_its_record(
    n: int, damage: bytes, kind: type[ConnectionClosed]
) -> None:
    full, rest = records(text(MAX_PLAINTEXT), n=n)[0], records(b"rest", n=1)[0]
    wire = full + rest[: len(rest) - len(damage)] + damage
    assert fails_behind(opener(n), wire, kind) == [text(MAX_PLAINTEXT)]


def check(pieces: list[bytes | memoryview]) -> None:
    written: list[bytes] = []

    def write(some: bytes | memoryview) -> None:
        written.append(bytes(some))
        SPACE.sealed[:] = bytes(len(SPACE.sealed))

    sealer().seal(pieces, sum(map(len, pieces)), write)
    whole = b"".join(pieces)
    assert b"".join(written) == sealed(sealer(), whole)
    assert len(written) == -(-len(whole) // MAX_PLAINTEXT)
    assert all(len(some) == MAX_PLAINTEXT + 18 for some in written[:-1])


@given(sizes=st.lists(st.sampled_from([0, 1, 12, 500, 16_384, 65_507, 65_519, 65_520, 140_000]), max_size=6))
def test_pieces_are_sealed_as_if_joined(sizes: list[int]) -> None:
    check([text(size) for size in sizes])


def test_views_are_taken_as_they_are_and_many_small_pieces_are_one_plaintext() -> None:
    whole = memoryview(text(200_000))
    check([whole[:70_000], b"", whole[70_000:70_012], whole[70_012:]])
    check([text(1_000)] * 200)
    check([])


def test_the_counter_ends_in_the_middle_or_before_a_short_piece() -> None:
    for n, size in ((LAST, MAX_PLAINTEXT + 1), (LAST + 1, 1)):
        with pytest.raises(ConnectionClosed):
            sealed(sealer(n), text(size))
