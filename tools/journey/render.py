"""The document: what was recorded, with everything that ``dissect`` says about it, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import fill
from typing import Final

from stronghold_p2p.muxing.yamux_muxer import YAMUX
from stronghold_p2p.noise.symmetric import PROTOCOL_NAME
from tools.journey import sources, words
from tools.journey.dissect import Dissected, dissect
from tools.journey.pieces import Layer, Part, Piece, Step, joined, leaves
from tools.journey.recording import PROTOCOL, Recording
from tools.journey.wire import Segment, Side

WIDTH: Final = 120
HANDSHAKE: Final = 1.0
"""Round trips that TCP takes before the dialer's first byte (RFC 9293, 3.5): SYN out, SYN and ACK back."""


def document(recording: Recording) -> str:
    """The whole page."""
    dissected = dissect(recording)
    total = sum(len(segment.data) for segment in recording.segments)
    names = {"noise": PROTOCOL_NAME.decode(), "yamux": YAMUX, "protocol": PROTOCOL.ids[0]}
    blocks = [words.INTRO.format(total=total, count=len(dissected), **names), _people(recording)]
    blocks += [words.TIME.format(answered=answered(dissected)), _timeline(dissected), words.BYTES]
    for one in dissected:
        blocks += _segment(one, recording.segments)
    blocks += [words.COST.format(handshake=_handshake(dissected)), _costs(dissected)]
    blocks += ["## The documents\n", _documents()]
    return "\n".join(blocks)


def answered(dissected: Sequence[Dissected]) -> float:
    """Round trips from the dialer's SYN to the arrival of the first byte of the answer."""
    for segment, layer in ((one.segment, piece.layer) for one in dissected for piece in _leaves(one)):
        if segment.sender is Side.LISTENER and layer is Layer.MESSAGE:
            return arrives(segment)
    raise ValueError("nothing was answered")


def leaves_at(segment: Segment) -> float:
    """Round trips from the dialer's SYN until the segment was written."""
    return HANDSHAKE + segment.sent / 2


def arrives(segment: Segment) -> float:
    """Round trips from the dialer's SYN until the segment is there."""
    return leaves_at(segment) + 0.5


def cost(dissected: Iterable[Dissected]) -> dict[Layer, dict[Side, int]]:
    """Bytes on the wire of each layer, by who sent them."""
    spent = {layer: dict.fromkeys(Side, 0) for layer in words.COSTS}
    for one in dissected:
        for piece in _leaves(one):
            spent[piece.layer][one.segment.sender] += len(piece.data)
    return spent


def _leaves(one: Dissected) -> Iterator[Piece]:
    return leaves(piece for part in one.parts for piece in part.pieces)


# ---------------------------------------------------------------------- sections


def _people(recording: Recording) -> str:
    rows = []
    for side, keys in recording.keys.items():
        rows.append((f"**{side.value}**", "peer id", f"`{keys.peer}`"))
        private = {"identity": keys.seed, "static (`s`)": keys.static, "ephemeral (`e`)": keys.ephemeral}
        rows += [("", f"{name}, private", f"{len(key)} × `{key[:1].hex()}`") for name, key in private.items()]
    return _table(("", "key", "value"), rows)


def _timeline(dissected: Sequence[Dissected]) -> str:
    lines = ["```mermaid", "sequenceDiagram"]
    lines += [f"    participant {side.name} as {side.value}" for side in Side]
    lines += [f"    {Side.DIALER.name}->>{Side.LISTENER.name}: TCP SYN (0 RTT)"]
    lines += [f"    {Side.LISTENER.name}->>{Side.DIALER.name}: TCP SYN, ACK (0.5 RTT)"]
    for one in dissected:
        segment, sender = one.segment, one.segment.sender
        titles = ", ".join(_plain(part.title) for part in one.parts)
        told = f"{segment.number}. {titles} ({leaves_at(segment):g} RTT)"
        lines.append(f"    {sender.name}->>{sender.other.name}: {told}")
    return "\n".join([*lines, "```", ""])


def _plain(title: str) -> str:
    """Without what the language of the diagram would take for its own."""
    return title.replace("`", "").replace(";", " and")


def _segment(one: Dissected, segments: Sequence[Segment]) -> Iterator[str]:
    segment = one.segment
    way = f"{segment.sender.value} → {segment.sender.other.value}"
    yield f"## Segment {segment.number}: {way}, {len(segment.data)} bytes\n"
    yield f"Leaves at {leaves_at(segment):g} RTT, {_cause(segment, segments)}. Arrives at {arrives(segment):g} RTT.\n"
    offset = 0
    for part in one.parts:
        yield fill(f"**{part.title}.** {part.text}", WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"
        yield _pieces(part, offset)
        offset += len(joined(part.pieces))
        if part.steps:
            yield _steps(part.steps)


def _cause(segment: Segment, segments: Sequence[Segment]) -> str:
    heard = [other for other in segments if other.sender is not segment.sender and other.sent < segment.sent]
    said = [other for other in segments if other.sender is segment.sender and other.sent == segment.sent]
    said = [other for other in said if other.number < segment.number]
    if said:
        return f"right behind segment {said[-1].number}, without waiting for anything"
    return f"when segment {heard[-1].number} has arrived" if heard else "as soon as TCP is connected"


def _pieces(part: Part, offset: int) -> str:
    rows = []
    for piece in part.pieces:
        rows.append(_row(f"{offset:x}", piece))
        inner = 0
        for leaf in leaves(piece.inside):
            rows.append(_row(f"↳ {inner:x}", leaf))
            inner += len(leaf.data)
        offset += len(piece.data)
    return _table(("offset", "bytes", "layer", "field", "meaning", "source"), rows)


def _row(offset: str, piece: Piece) -> tuple[str, ...]:
    return offset, _hex(piece.data), piece.layer.value, piece.field, piece.meaning, str(piece.source)


def _steps(steps: Iterable[Step]) -> str:
    rows = [
        (f"`{step.token}`" if step.token else "", f"`{step.name}`", f"`{step.value}`", step.how, str(step.source))
        for step in steps
    ]
    return _table(("token", "new", "value", "how", "source"), rows)


def _costs(dissected: Sequence[Dissected]) -> str:
    spent = cost(dissected)
    total = sum(sum(sides.values()) for sides in spent.values())
    rows = []
    for layer, sides in spent.items():
        both = sum(sides.values())
        numbers = [str(sides[side]) for side in Side]
        rows.append((layer.value, *numbers, str(both), f"{100 * both / total:.0f} %", words.COSTS[layer]))
    sums = [str(sum(sides[side] for sides in spent.values())) for side in Side]
    rows.append(("**all**", *sums, str(total), "100 %", ""))
    return _table(("layer", *(side.value for side in Side), "both", "share", "for"), rows)


def _handshake(dissected: Sequence[Dissected]) -> int:
    """Bytes before the first record."""
    parts = [part for one in dissected for part in one.parts]
    handshake = [part for part in parts if all(piece.layer is not Layer.YAMUX for piece in leaves(part.pieces))]
    return sum(len(joined(part.pieces)) for part in handshake)


def _documents() -> str:
    return "\n".join(f"- [{name}]({link})" for name, link in sources.DOCUMENTS.items()) + "\n"


# ---------------------------------------------------------------------- Markdown


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line(head), "|" + "---|" * len(head), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _hex(data: bytes) -> str:
    """In groups of sixteen bytes, between which a narrow column may break."""
    return "`" + " ".join(data[at : at + 16].hex() for at in range(0, len(data), 16)) + "`"
