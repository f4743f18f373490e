"""docs/journey.md is what ``python -m tools.journey`` prints, and what that prints is true."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import DecryptError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.muxing.yamux_muxer import YAMUX
from stronghold_p2p.noise.handshake import HandshakeState, KeyPair
from stronghold_p2p.noise.payload import check
from stronghold_p2p.noise.records import Opener
from stronghold_p2p.yamux.header import HEADER_SIZE
from tests.cores import ROOT
from tests.noise import pair as opening
from tools.journey import sources
from tools.journey.dissect import Dissected, dissect
from tools.journey.pieces import JourneyError, Layer, Part, Piece, joined, leaves
from tools.journey.recording import KEYS, REQUEST, Recording, record
from tools.journey.render import answered, arrives, cost, document
from tools.journey.wire import Segment, Side

PAGE = ROOT / "docs" / "journey.md"
LONG = {"Message": "x" * 300}
DIALER, LISTENER = Side.DIALER, Side.LISTENER


@cache
def recording(*requests: str) -> Recording:
    """One recording for all tests; a second request is told apart by its text."""
    return record(*(LONG if request == "long" else request for request in requests))


@cache
def dissected(*requests: str) -> tuple[Dissected, ...]:
    return dissect(recording(*requests))


def parts(*requests: str) -> list[tuple[Segment, Part]]:
    return [(one.segment, part) for one in dissected(*requests) for part in one.parts]


def every_leaf(*requests: str) -> list[tuple[Segment, Piece]]:
    return [(segment, leaf) for segment, part in parts(*requests) for leaf in leaves(part.pieces)]


def messages() -> list[bytes]:
    """The three Noise messages, without their lengths."""
    return [joined(part.pieces)[2:] for _, part in parts() if part.steps]


def rows(section: str) -> Iterator[tuple[bool, int, bytes]]:
    """Of each row of a section's tables of bytes: whether it is plaintext, its offset, its bytes."""
    for arrow, offset, shown in re.findall(r"^\| (↳ )?([0-9a-f]+) \| `([0-9a-f ]+)` \|", section, re.MULTILINE):
        yield bool(arrow), int(offset, 16), bytes.fromhex(shown)


def sections() -> list[str]:
    """The page's text about each segment."""
    return PAGE.read_text(encoding="utf-8").partition("## What each layer")[0].split("## Segment ")[1:]


# ---------------------------------------------------------------------- the page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(record()), "python -m tools.journey > docs/journey.md"


def test_the_command_prints_the_same_each_time() -> None:
    command = [sys.executable, "-W", "error", "-m", "tools.journey"]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "ascii"}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60)
        assert run.stdout.decode() == document(recording())


def test_the_page_can_be_read_in_one_sitting() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) < 400


def test_the_page_shows_each_byte_once_and_in_order() -> None:
    """Those of the wire, and below each ciphertext those of its plaintext."""
    for section, segment in zip(sections(), recording().segments, strict=True):
        outside, sealed, inside = b"", 0, 0
        for plain, offset, data in rows(section):
            if plain:
                assert offset == inside
                inside += len(data)
                assert inside <= sealed
            else:
                assert offset == len(outside)
                assert inside in (0, sealed), "plaintext that is shorter than its ciphertext"
                outside += data
                sealed, inside = len(data), 0
        assert outside == segment.data


def test_every_source_is_listed_and_every_listed_one_is_used() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## The documents")[0]
    cited = {leaf.source for _, leaf in every_leaf()}
    cited |= {piece.source for _, part in parts() for piece in part.pieces}
    cited |= {step.source for _, part in parts() for step in part.steps}
    assert {source.document for source in cited} <= set(sources.DOCUMENTS)
    assert all(source.section for source in cited)
    assert [name for name in sources.DOCUMENTS if name not in text] == []


# ---------------------------------------------------------------------- the bytes


@pytest.mark.parametrize("requests", [(), ("Ping", "Pang"), ("long",)], ids=str)
def test_each_byte_has_one_name(requests: tuple[str, ...]) -> None:
    for one in dissected(*requests):
        assert b"".join(joined(part.pieces) for part in one.parts) == one.segment.data
    for _, part in parts(*requests):
        for piece in part.pieces:
            assert piece.data
            assert len(joined(piece.inside)) in (0, len(piece.data))
            assert (piece.layer is Layer.CIPHERTEXT) is bool(piece.inside)
            assert not any(leaf.inside for leaf in piece.inside)


def test_the_handshake_replays_on_both_sides() -> None:
    states = {side: state(side) for side in Side}
    one, two, three = messages()
    assert states[DIALER].WriteMessage(b"") == one
    assert states[LISTENER].ReadMessage(one) == b""
    answer = states[DIALER].ReadMessage(two)
    assert states[LISTENER].WriteMessage(answer) == two
    assert states[DIALER].WriteMessage(plaintext("payload, encrypted", 1)) == three
    states[LISTENER].ReadMessage(three)
    told = {step.name: step.value for _, part in parts() for step in part.steps}
    assert states[DIALER]._symmetric.h.hex() == states[LISTENER]._symmetric.h.hex() == told["h"]
    assert opened(states) == [plaintext("record, encrypted", at) for at in range(4)]


def state(side: Side) -> HandshakeState:
    """The stack's own handshake, with the keys of the page."""
    keys = KEYS[side]
    return HandshakeState(initiator=side is DIALER, s=KeyPair.create(keys.static), random=lambda _: keys.ephemeral)


def plaintext(field: str, at: int) -> bytes:
    """What the page says is inside the ciphertext of that name, counted over the whole wire."""
    found = [piece for _, part in parts() for piece in part.pieces if piece.field == field]
    return joined(found[at].inside)


def opened(states: dict[Side, HandshakeState]) -> list[bytes]:
    """The plaintexts of all records, as the other side's record layer opens them."""
    openers = {side: Opener(state.Split()[1], opening.SPACE) for side, state in states.items()}
    found = []
    for segment, part in parts():
        if any(piece.field == "record, encrypted" for piece in part.pieces):
            plaintexts, _ = opening.opened(openers[segment.sender.other], joined(part.pieces))
            found += plaintexts
    return found


@pytest.mark.parametrize(("at", "side"), [(0, LISTENER), (1, DIALER)])
def test_the_payloads_prove_who_speaks(at: int, side: Side) -> None:
    static = KeyPair.create(KEYS[side].static).public
    peer, key, muxers = check(plaintext("payload, encrypted", at), static, KEYS[side].peer)
    assert peer == KEYS[side].peer
    assert muxers == (YAMUX,)
    named = [leaf.data for _, leaf in every_leaf() if leaf.field == "identity_key.data"]
    assert named[at] == key.data


def test_request_and_answer_are_those_of_the_applications() -> None:
    said = {leaf.field: leaf.data for _, leaf in every_leaf() if leaf.layer is Layer.MESSAGE}
    assert said["request"] == b'"%s"' % REQUEST.encode()
    [answer] = recording().answers
    assert PeerId(answer["Pong"]) == KEYS[DIALER].peer
    assert said["answer"] == b'{"Pong":"%s"}' % answer["Pong"].encode()


def test_every_layer_costs_something_and_all_together_are_the_wire() -> None:
    spent = cost(dissected())
    assert all(sides[side] > 0 for sides in spent.values() for side in Side)
    for side in Side:
        sent = sum(len(segment.data) for segment in recording().segments if segment.sender is side)
        assert sum(sides[side] for sides in spent.values()) == sent
    assert sum(spent[Layer.YAMUX].values()) % HEADER_SIZE == 0


# ---------------------------------------------------------------------- time


def test_the_answer_takes_three_round_trips() -> None:
    assert answered(dissected()) == 3
    sent = [(segment.sender, segment.sent) for segment in recording().segments]
    assert [at for sender, at in sent if sender is DIALER] == [0, 2, 2, 4]
    assert [at for sender, at in sent if sender is LISTENER] == [1, 3, 5]


def test_a_second_question_takes_one_more() -> None:
    requests = ("Ping", "Pang")
    assert [arrives(segment) for segment, leaf in every_leaf(*requests) if leaf.field == "answer"] == [3, 4]
    assert "Pang" in document(recording(*requests))
    assert len(recording(*requests).answers) == 2


def test_a_length_may_take_two_bytes() -> None:
    fields = [leaf for segment, leaf in every_leaf("long") if segment.sender is DIALER]
    lengths = [leaf.data for leaf in fields if (leaf.layer, leaf.field) == (Layer.MESSAGE, "length")]
    assert [varint.decode(length) for length in lengths] == [(len('{"Message":""}') + 300, 2)]


# ---------------------------------------------------------------------- what has no name


def altered(at: int, change: Any) -> Recording:
    """The recording with the bytes of one segment changed."""
    segments = list(recording().segments)
    segments[at] = dataclasses.replace(segments[at], data=change(segments[at].data))
    return dataclasses.replace(recording(), segments=tuple(segments))


SIZES = {"a byte is missing": lambda data: data[:-1], "a byte too many": lambda data: data + b"\0"}


@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize("change", SIZES.values(), ids=SIZES)
def test_what_does_not_fit_is_refused(at: int, change: Any) -> None:
    with pytest.raises(JourneyError):
        dissect(altered(at, change))


def test_what_was_changed_is_found() -> None:
    def flipped(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1])

    with pytest.raises(DecryptError):
        dissect(altered(3, flipped))
    for change in (flipped, lambda data: data.replace(b"\n", b"\r", 1)):
        with pytest.raises(JourneyError):
            dissect(altered(0, change))


def test_a_record_before_the_handshake_is_refused() -> None:
    segments = recording().segments
    with pytest.raises(JourneyError, match="before the end"):
        dissect(dataclasses.replace(recording(), segments=(*segments[:2], dataclasses.replace(segments[4], number=3))))


def test_pieces_tell_their_innermost_name() -> None:
    inner = Piece(b"ab", Layer.KEYS, "s", "", sources.TOKENS)
    outer = Piece(b"xy", Layer.CIPHERTEXT, "s, encrypted", "", sources.SEALED, (inner,))
    assert list(leaves([outer, inner])) == [inner, inner]
    assert joined([outer, inner]) == b"xyab"
