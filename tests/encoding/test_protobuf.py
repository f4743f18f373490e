"""protobuf.py against the ``protobuf`` package, whose messages are built at run time, and against hostile bytes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as TheirError
from google.protobuf.message import Message as TheirMessage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner(Message):
    data: bytes | None = field(2, "bytes")
    type: int | None = field(1, "enum")
    numbers: tuple[int, ...] = field(3, "uint64", repeated=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer(Message):
    data: bytes | None = field(1, "bytes")
    text: str | None = field(2, "string")
    number: int | None = field(3, "uint64")
    flag: bool | None = field(4, "bool")
    type: int | None = field(5, "enum")
    inner: Inner | None = field(6, Inner)  # noqa: RUF009 - a declaration
    datas: tuple[bytes, ...] = field(7, "bytes", repeated=True)
    texts: tuple[str, ...] = field(8, "string", repeated=True)
    numbers: tuple[int, ...] = field(9, "uint64", repeated=True)
    types: tuple[int, ...] = field(10, "enum", repeated=True)
    flags: tuple[bool, ...] = field(11, "bool", repeated=True)
    inners: tuple[Inner, ...] = field(1_000, Inner, repeated=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deep(Message):
    outer: Outer | None = field(1, Outer)  # noqa: RUF009 - a declaration
    few: tuple[int, ...] = field(2, "uint64", repeated=True, limit=3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Newer(Message):
    """``Outer`` as a later version might have it: fields that ``Outer`` does not know, in between and behind."""

    data: bytes | None = field(1, "bytes")
    unknown: bytes | None = field(20, "bytes")
    unknown_number: int | None = field(21, "uint64")
    unknown_inner: Outer | None = field(22, Outer)  # noqa: RUF009 - a declaration
    number: int | None = field(3, "uint64")


F = descriptor_pb2.FieldDescriptorProto
TYPES = {"bytes": F.TYPE_BYTES, "string": F.TYPE_STRING, "uint64": F.TYPE_UINT64, "bool": F.TYPE_BOOL}


def add_field(message: Any, number: int, name: str, kind: str, *, repeated: bool = False) -> None:
    item = message.field.add(
        name=name, number=number, label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL, type=TYPES.get(kind, 0) or 1
    )
    if kind == "enum":
        item.type, item.type_name = F.TYPE_ENUM, ".t.Kind"
    elif kind not in TYPES:
        item.type, item.type_name = F.TYPE_MESSAGE, f".t.{kind}"


def build_their_classes() -> dict[str, type[TheirMessage]]:
    """The same schema, given to the package as a descriptor; the enum is open (proto3), so that any value is kept."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="editions")
    file.edition = descriptor_pb2.EDITION_2023
    file.options.features.repeated_field_encoding = descriptor_pb2.FeatureSet.EXPANDED
    kind = file.enum_type.add(name="Kind")
    kind.value.add(name="ZERO", number=0)
    for ours in (Inner, Outer):
        message = file.message_type.add(name=ours.__name__)
        for name, item in ours.__dataclass_fields__.items():
            spec = item.metadata[protobuf._SPEC]
            kind_of = spec.kind if isinstance(spec.kind, str) else spec.kind.__name__
            add_field(message, spec.number, name, kind_of, repeated=bool(spec.limit))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}")) for name in ("Inner", "Outer")
    }


THEIRS = build_their_classes()


def to_theirs(message: Message) -> Any:
    theirs: Any = THEIRS[type(message).__name__]()
    for name in type(message).__dataclass_fields__:
        value = getattr(message, name)
        if isinstance(value, Message):
            getattr(theirs, name).CopyFrom(to_theirs(value))
        elif isinstance(value, tuple):
            getattr(theirs, name).extend([to_theirs(item) if isinstance(item, Message) else item for item in value])
        elif value is not None:
            setattr(theirs, name, value)
    return theirs


def to_ours(theirs: Any) -> dict[str, Any]:
    """Their message as the fields of ours: set ones, and repeated ones as tuples."""
    return {
        item.name: tuple(to_value(element) for element in value) if item.is_repeated else to_value(value)
        for item, value in theirs.ListFields()
    }


def to_value(value: Any) -> Any:
    return Inner(**to_ours(value)) if isinstance(value, TheirMessage) else value


int32 = st.integers(-(1 << 31), (1 << 31) - 1)
uint64 = st.integers(0, (1 << 64) - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
data = st.binary(max_size=8)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def many(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=4).map(tuple)


inners = st.builds(Inner, data=some(data), type=some(int32), numbers=many(uint64))
outers = st.builds(
    Outer,
    data=some(data),
    text=some(text),
    number=some(uint64),
    flag=some(st.booleans()),
    type=some(int32),
    inner=some(inners),
    datas=many(data),
    texts=many(text),
    numbers=many(uint64),
    types=many(int32),
    flags=many(st.booleans()),
    inners=many(inners),
)


@given(outers)
def test_what_we_write_they_read_and_write_the_same(message: Outer) -> None:
    encoded = protobuf.encode(message)
    assert to_theirs(message).SerializeToString(deterministic=True) == encoded
    assert Outer(**to_ours(THEIRS["Outer"].FromString(encoded))) == message == protobuf.decode(Outer, encoded)


@given(st.lists(outers, max_size=4))
def test_messages_one_after_the_other_merge(messages: list[Outer]) -> None:
    """The last scalar wins, messages merge, repeated fields append: as the package does it."""
    encoded = b"".join(map(protobuf.encode, messages))
    assert protobuf.decode(Outer, encoded) == Outer(**to_ours(THEIRS["Outer"].FromString(encoded)))


@given(outers, outers)
def test_unknown_fields_are_skipped(message: Outer, other: Outer) -> None:
    newer = protobuf.encode(Newer(data=b"x", unknown=b"y", unknown_number=7, unknown_inner=other, number=9))
    fixed = bytes.fromhex("f101") + bytes(8) + bytes.fromhex("f501") + bytes(4)
    assert protobuf.decode(Outer, newer + fixed) == Outer(data=b"x", number=9)
    assert protobuf.decode(Newer, protobuf.encode(message)) == Newer(data=message.data, number=message.number)


def varint(value: int, padding: int = 0) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(min(padding, 10 - len(out))):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def field_bytes(number: int, wire: int, value: int, body: bytes, padding: int) -> bytes:
    tag = varint(number << 3 | wire, min(padding, 1))
    match wire:
        case 0:
            return tag + varint(value, padding)
        case 1:
            return tag + bytes(8)
        case 5:
            return tag + bytes(4)
        case _:
            return tag + varint(len(body), min(padding, 1)) + body


def raw(body: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Fields that are well-formed one by one, of any wire type: known, unknown, packed, not minimal."""
    one = st.builds(
        field_bytes,
        number=st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1_000, 100_000]),
        wire=st.sampled_from([0, 1, 2, 2, 5]),
        value=uint64,
        body=body,
        padding=st.integers(0, 2),
    )
    return st.lists(one, max_size=5).map(b"".join)


bodies = st.recursive(st.binary(max_size=6) | uint64.map(varint) | text.map(str.encode), raw, max_leaves=4)


def decodes(encoded: bytes) -> Outer | None:
    with suppress(DecodeError):
        return protobuf.decode(Outer, encoded)
    return None


def they_decode(encoded: bytes) -> Outer | None:
    with suppress(TheirError):
        return Outer(**to_ours(THEIRS["Outer"].FromString(encoded)))
    return None


@settings(max_examples=300)
@given(raw(bodies))
@example(bytes.fromhex("4a0ac280e0a080f090808030"))
def test_any_form_of_known_and_unknown_fields(encoded: bytes) -> None:
    """Packed or not, any order, any wire type, not minimal: the same verdict and the same message as theirs."""
    ours, theirs = decodes(encoded), they_decode(encoded)
    if ours is None and theirs is not None:
        # Two differences: in a nested body they take groups for fields, and skip them; and of a varint of more than 64
        # bits they cut what is too much, where go's protowire refuses it as we do.
        with pytest.raises(DecodeError, match=r"wire type|more than 64 bits"):
            protobuf.decode(Outer, encoded)
    else:
        assert ours == theirs


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_any_bytes(encoded: bytes) -> None:
    """Nothing but ``DecodeError`` comes out, and what we accept they read as the same."""
    ours = decodes(encoded)
    if ours is not None:
        assert they_decode(encoded) == ours


@given(outers)
def test_every_prefix_decodes_as_theirs(message: Outer) -> None:
    """Byte by byte: a prefix is a message exactly when it ends between two fields."""
    encoded = protobuf.encode(message)
    for end in range(len(encoded)):
        assert decodes(encoded[:end]) == they_decode(encoded[:end])


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        (Inner(), ""),
        (Inner(type=0), "0800"),
        (Outer(flag=False, number=0, text="", data=b""), "0a00120018002000"),
        (Inner(data=b"x", type=1), "0801120178"),
        (Outer(inner=Inner()), "3200"),
        (Deep(outer=Outer(inner=Inner(type=3), inners=(Inner(), Inner(data=b"x")))), "0a0d32020803c23e00c23e03120178"),
    ],
    ids=["nothing", "zero", "empty", "by number, not by declaration", "an empty message", "three deep"],
)
def test_what_is_present_is_written(message: Message, encoded: str) -> None:
    assert protobuf.encode(message).hex() == encoded
    assert protobuf.decode(type(message), bytes.fromhex(encoded)) == message


def test_packed_and_unpacked_mix() -> None:
    encoded = bytes.fromhex("4801" + "4a03020304" + "4805" + "4a00")
    assert protobuf.decode(Outer, encoded).numbers == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_buffer(kind: Any) -> None:
    message = protobuf.decode(Inner, kind(bytes.fromhex("0801120178")))
    assert message == Inner(type=1, data=b"x")
    assert type(message.data) is bytes


REFUSED = {
    "number out of range": "03 0000 808080801000 ffffffffffffffffff01",
    "wire type 3": "0b0c 1b1c",
    "wire type 4": "0c",
    "wire type 6": "0e00",
    "wire type 7": "0f00",
    "truncated varint": "08 0880 88 12 1a0180",
    "past the end": "1205 120548656c6c 12ffffffffffffffffff01 7205 0d000000 0900000000000000",
    "more than 64 bits": "08ffffffffffffffffff02 08ffffffffffffffffff7f",
    "more than ten bytes": "08ffffffffffffffffffff01",
}


@pytest.mark.parametrize(("reason", "encoded"), [(why, one) for why in REFUSED for one in REFUSED[why].split()])
def test_refused(reason: str, encoded: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        protobuf.decode(Inner, bytes.fromhex(encoded))


@pytest.mark.parametrize("body", ["ff", "c080", "eda080", "f4908080", "e282"])
def test_bad_utf8_anywhere(body: str) -> None:
    value = bytes([0x12, len(body) // 2]) + bytes.fromhex(body)
    for encoded in (value, value + b"\x12\x01x"):
        with pytest.raises(DecodeError, match="text is not UTF-8"):
            protobuf.decode(Outer, encoded)


def test_a_field_of_a_nested_message_may_not_leave_it() -> None:
    with pytest.raises(DecodeError, match="past the end"):
        protobuf.decode(Outer, bytes.fromhex("3202120178"))


def test_an_enum_keeps_its_low_32_bits() -> None:
    assert protobuf.decode(Inner, b"\x08" + varint((1 << 32) + 1)) == Inner(type=1)
    assert protobuf.decode(Inner, b"\x08" + varint((1 << 64) - 1)) == Inner(type=-1)


@pytest.mark.parametrize(
    "message", [Inner(type=1 << 31), Inner(type=-(1 << 31) - 1), Outer(number=-1), Outer(number=1 << 64)]
)
def test_numbers_that_do_not_fit(message: Message) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        protobuf.encode(message)


def test_size_limit() -> None:
    encoded = protobuf.encode(Inner(data=bytes(100)))
    assert protobuf.decode(Inner, encoded, max_size=len(encoded)).data == bytes(100)
    with pytest.raises(DecodeError, match="allowed"):
        protobuf.decode(Inner, encoded, max_size=len(encoded) - 1)
    with pytest.raises(DecodeError, match="allowed"):
        protobuf.decode(Inner, bytes(protobuf.MAX_SIZE + 1))


def test_element_limit() -> None:
    assert protobuf.decode(Deep, bytes.fromhex("12020102" + "1003")).few == (1, 2, 3)
    for encoded in ("1001100210031004", "120401020304", "12020102" + "12020304"):
        with pytest.raises(DecodeError, match="more than 3 elements in few"):
            protobuf.decode(Deep, bytes.fromhex(encoded))


@pytest.mark.parametrize("unit", ["2800", "0a00", "3200", "320208 01".replace(" ", ""), "a20600", "8d0600000000"])
def test_field_limit_bounds_the_work(unit: str) -> None:
    """64 KiB of the smallest fields, known, unknown and nested, end soon and without a trace."""
    piece = bytes.fromhex(unit)
    encoded = piece * (protobuf.MAX_SIZE // len(piece))
    start = time.process_time()
    with pytest.raises(DecodeError, match="more than 4096 fields"):
        protobuf.decode(Outer, encoded)
    assert time.process_time() - start < 0.1


def test_packed_elements_count_as_fields() -> None:
    packed = b"\x1a\xe8\x07" + b"\x01" * 1_000  # 1,000 numbers in an Inner
    with pytest.raises(DecodeError, match="more than 4096 fields"):
        protobuf.decode(Outer, (b"\xc2\x3e" + varint(len(packed)) + packed) * 5)


def test_depth_that_the_schema_does_not_have_is_not_walked() -> None:
    encoded = b""
    for _ in range(10_000):
        encoded = b"\x0a" + varint(len(encoded)) + encoded
        if len(encoded) > 60_000:
            break
    assert protobuf.decode(Inner, encoded) == Inner()


def test_declarations_that_cannot_be() -> None:
    for number in (0, -1, 1 << 29):
        with pytest.raises(ValueError, match="no field number"):
            field(number, "bytes")

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Twice(Message):
        one: bytes | None = field(1, "bytes")
        two: bytes | None = field(1, "bytes")

    with pytest.raises(ValueError, match="uses a field number twice"):
        protobuf.encode(Twice())
