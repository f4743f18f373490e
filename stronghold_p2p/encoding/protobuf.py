"""Protocol Buffers messages as frozen dataclasses, without generated code.

A message is a dataclass whose fields carry their numbers::

    @dataclass(frozen=True, kw_only=True, slots=True)
    class PublicKeyMessage(Message):
        type: int | None = field(1, "enum")
        data: bytes | None = field(2, "bytes")

What libp2p needs beyond the bare format ("Protocol Buffers, Encoding"):

* Explicit presence, as in proto2: an absent field is ``None``, and a field that is present is written even when
  its value is 0. go, rust and js check presence, so that a relay's ``RESERVE`` (0) has to be on the wire.
* One canonical order, by field number: a peer id is the hash of an encoded message (peer-ids/peer-ids.md, "Keys").
* Bounds: a size, a number of fields (so that 64 KiB cost no more than some milliseconds), a cap on the elements of
  each repeated field, and no recursion but into declared messages, whose nesting the class definitions themselves
  limit. Unknown fields are walked over and not kept.

Decoding accepts what the format allows (any order, packed or not, varints that are not minimal, the last of several
scalars, merged messages) and refuses groups, which are deprecated and occur in no libp2p message.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, TypeAlias, TypeVar

from stronghold_p2p.encoding.varint import leb128
from stronghold_p2p.errors import DecodeError

MAX_SIZE: Final = 1 << 16
MAX_FIELDS: Final = 4_096
MAX_ELEMENTS: Final = 1_024

Scalar: TypeAlias = Literal["bytes", "string", "uint64", "bool", "enum"]
_Values: TypeAlias = dict[str, Any]

_SPEC: Final = "protobuf"
_MAX_NUMBER: Final = (1 << 29) - 1
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_BEYOND: Final = "a field reaches past the end of its message"
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """The base of every message: a frozen dataclass of ``field``s, compared by value."""


M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class _Spec:
    """A declared field. ``limit``: how many elements it may have; 0 if it is not repeated."""

    number: int
    kind: Scalar | type[Message]
    limit: int

    @property
    def is_varint(self) -> bool:
        return self.kind in _FROM_VARINT


@dataclass(slots=True)
class _Pass:
    """One decoding: the bytes, and how many more fields and packed elements they may hold."""

    data: bytes
    most: int
    left: int

    def count(self, fields: int = 1) -> None:
        self.left -= fields
        if self.left < 0:
            raise DecodeError(f"more than {self.most} fields")


@dataclass(frozen=True)
class _Schema:
    """A message class, looked at once: its fields in the order of their numbers, and by the tags that they have."""

    fields: dict[str, _Spec]
    tags: tuple[tuple[str, bytes, _Spec, bool], ...]  # encoded, and whether the field is a varint
    varints: dict[int, tuple[str, Callable[[int], Any], int]]  # the conversion of the value, and the limit
    lengths: dict[int, tuple[str, _Spec]]  # also elements of a repeated number, packed
    lists: dict[int, tuple[str, int]]  # those of bytes, and the limit


def field(number: int, kind: Scalar | type[Message], *, repeated: bool = False, limit: int = MAX_ELEMENTS) -> Any:
    """Declare a field: its ``number`` and its ``kind``, a scalar's name or another message class.

    Absent is ``None``; a ``repeated`` field is a tuple of at most ``limit`` elements when decoded. An ``enum`` is an
    ``int`` of 32 bits with sign, and may be a value that nobody knows. ``ValueError`` for a number that cannot be.
    """
    if not 1 <= number <= _MAX_NUMBER:
        raise ValueError(f"{number} is no field number")
    return dataclasses.field(
        default=() if repeated else None, metadata={_SPEC: _Spec(number, kind, limit if repeated else 0)}
    )


def encode(message: Message) -> bytes:
    """The canonical bytes of ``message``: fields by number, each that is present, repeated ones unpacked.

    ``ValueError`` for a number that does not fit its kind.
    """
    parts: list[bytes] = []
    for name, tag, spec, is_varint in _schema(type(message)).tags:
        value = getattr(message, name)
        for element in () if value is None else value if spec.limit else (value,):
            if is_varint:
                parts += (tag, leb128(_checked(element, spec.kind)))
            else:
                write = str.encode if spec.kind == "string" else bytes if spec.kind == "bytes" else encode
                body = write(element)
                parts += (tag, leb128(len(body)), body)
    return b"".join(parts)


def decode(
    cls: type[M], data: bytes | bytearray | memoryview, *, max_size: int = MAX_SIZE, max_fields: int = MAX_FIELDS
) -> M:
    """Read ``data``, all of it, as a ``cls``.

    ``DecodeError`` if it is none, is longer than ``max_size`` bytes, or has more than ``max_fields`` fields and packed
    elements, nested ones included.
    """
    if len(data) > max_size:
        raise DecodeError(f"message of {len(data)} bytes, {max_size} allowed")
    values: _Values = {}
    _walk(_schema(cls), _Pass(bytes(data), max_fields, max_fields), 0, len(data), values)
    message: M = _finished(cls, values, 0)
    return message


def _walk(schema: _Schema, run: _Pass, offset: int, end: int, values: _Values) -> None:
    """One flat pass over the fields between ``offset`` and ``end``; what is known lands in ``values``."""
    data, varints, lengths, lists = run.data, schema.varints, schema.lengths, schema.lists
    while offset < end:
        if data[offset] in lists:
            offset = _take_list(lists[data[offset]], values, run, offset, end)
            continue
        run.count()
        tag, offset = (data[offset], offset + 1) if data[offset] < 0x80 else _varint(data, offset, end)
        if not 8 <= tag <= 0xFFFFFFFF:
            raise DecodeError("field number out of range")
        wire = tag & 7
        if wire > _LENGTH and wire != _FIXED32:
            raise DecodeError(f"wire type {wire} is not supported")
        if wire == _FIXED64 or wire == _FIXED32:
            offset += _FIXED_SIZES[wire]
        else:
            short = offset < end and data[offset] < 0x80
            value, offset = (data[offset], offset + 1) if short else _varint(data, offset, end)
            if wire == _LENGTH:
                start, offset = offset, offset + value
                if offset <= end and tag in lengths:
                    _take(lengths[tag], values, run, start, offset)
            elif tag in varints:
                name, convert, limit = varints[tag]
                _put(values, name, convert(value), limit)
        if offset > end:
            raise DecodeError(_BEYOND)


def _varint(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """A protobuf varint: up to 64 bits in ten bytes, minimal or not."""
    value = shift = 0
    for byte in data[offset : min(end, offset + 10)]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if value >> 64:
                raise DecodeError("varint of more than 64 bits")
            return value, offset + shift // 7
    raise DecodeError("varint of more than ten bytes" if shift == 70 else "truncated varint")


def _put(values: _Values, name: str, value: Any, limit: int) -> None:
    """The last singular scalar wins; elements of a repeated field are collected up to ``limit``."""
    if not limit:
        values[name] = value
        return
    elements = values.setdefault(name, [])
    if len(elements) >= limit:
        raise DecodeError(f"more than {limit} elements in {name}")
    elements.append(value)


def _take(declared: tuple[str, _Spec], values: _Values, run: _Pass, start: int, stop: int) -> None:
    """A length-delimited field: cut bytes, check text, walk a message, or unpack varints."""
    name, spec = declared
    kind, limit = spec.kind, spec.limit
    if not isinstance(kind, str):
        inner: _Values = {} if limit else values.setdefault(name, {})  # a message that comes again is merged
        if limit:
            _put(values, name, inner, limit)
        _walk(_schema(kind), run, start, stop, inner)
    elif kind == "bytes":
        _put(values, name, run.data[start:stop], limit)
    elif kind == "string":
        try:
            _put(values, name, run.data[start:stop].decode(), limit)
        except UnicodeDecodeError:
            raise DecodeError(f"{name} is not UTF-8") from None
    else:
        while start < stop:
            run.count()
            value, start = _varint(run.data, start, stop)
            _put(values, name, _FROM_VARINT[kind](value), limit)


def _take_list(declared: tuple[str, int], values: _Values, run: _Pass, offset: int, end: int) -> int:
    """The elements that begin a list of bytes, or go on with it, as long as nothing else is between; where they end."""
    name, limit = declared
    elements = values.setdefault(name, [])
    before, data, add = len(elements), run.data, elements.append
    tag = data[offset]
    for _ in range(min(limit + 1 - before, run.left + 1)):  # one more than may be
        if offset == end or data[offset] != tag:
            break
        start = offset + 2
        size = data[start - 1] if start <= end else 0x80
        if size >= 0x80:
            size, start = _varint(data, offset + 1, end)
        offset = start + size
        if offset > end:
            raise DecodeError(_BEYOND)
        add(data[start:offset])
    if len(elements) > limit:
        raise DecodeError(f"more than {limit} elements in {name}")
    run.count(len(elements) - before)
    return offset


def _finished(kind: Any, value: Any, limit: int) -> Any:
    """From what the walk collected (lists, and dicts for messages) to values of a field."""
    if isinstance(kind, str):
        return tuple(value) if limit else value
    if limit:
        return tuple(_finished(kind, inner, 0) for inner in value)
    fields = _schema(kind).fields
    return kind(**{name: _finished(fields[name].kind, inner, fields[name].limit) for name, inner in value.items()})


def _look_at(cls: type[Message]) -> _Schema:
    specs = {item.name: item.metadata[_SPEC] for item in dataclasses.fields(cls)}
    if len({spec.number for spec in specs.values()}) != len(specs):
        raise ValueError(f"{cls.__name__} uses a field number twice")
    ordered = dict(sorted(specs.items(), key=lambda entry: entry[1].number))
    varints, lengths = {}, {}
    for name, spec in ordered.items():
        if spec.is_varint:
            varints[spec.number << 3 | _VARINT] = (name, _FROM_VARINT[spec.kind], spec.limit)
        if spec.limit or not spec.is_varint:
            lengths[spec.number << 3 | _LENGTH] = (name, spec)
    tags = tuple(
        (name, leb128(spec.number << 3 | (_VARINT if spec.is_varint else _LENGTH)), spec, spec.is_varint)
        for name, spec in ordered.items()
    )
    lists = {tag: (name, spec.limit) for tag, (name, spec) in lengths.items() if spec.kind == "bytes" and spec.limit}
    return _Schema(ordered, tags, varints, lengths, lists)


def _checked(value: int, kind: Any) -> int:
    """The 64 bits that stand for ``value``: a negative enum is sign-extended ("Encoding", Signed Integers)."""
    if kind == "enum" and -(1 << 31) <= value < 1 << 31:
        return value & 0xFFFFFFFFFFFFFFFF
    if kind == "enum" or not 0 <= value < 1 << 64:
        raise ValueError(f"{value} does not fit a field of kind {kind}")
    return int(value)


def _int32(value: int) -> int:
    """The low 32 bits with sign: a decoder truncates an enum as if cast to int32 ("Encoding", updating a type)."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


_FROM_VARINT: Final[dict[Any, Callable[[int], Any]]] = {"uint64": int, "bool": bool, "enum": _int32}

# Any: type checkers take the class of a dataclass for unhashable.
_schema: Callable[[Any], _Schema] = cache(_look_at)
