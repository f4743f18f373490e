"""What a value looks like in JSON and in Python, and the two functions that go from one to the other.

The forms are those of serde_json (parity 2). Every function here is called while a
codec is made and returns closures; these see only what ``strict_json`` has parsed, or what it will check when it
writes. A fault is a ``Malformed`` whose ``path`` grows on its way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import NoneType
from typing import Any, Final, TypeAlias

from stronghold_p2p.encoding.strict_json import printable
from stronghold_p2p.errors import Malformed

Convert: TypeAlias = Callable[[Any], Any]

_NONE: Final[frozenset[type]] = frozenset()
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Shape:
    """One form of a value.

    ``what`` names it in messages. ``read`` makes a value of JSON's, ``write`` the other way round. ``kinds`` are the
    types that the JSON parser gives for it, ``types`` those of its values in Python, by which a union tells its
    members apart; ``weak`` are kinds and types that it takes where no other member wants them. Values of exactly the
    type ``plain`` are the same on both sides. ``unit``: a class without fields.
    """

    what: str
    read: Convert
    write: Convert
    kinds: frozenset[type]
    types: frozenset[type]
    plain: type | None = None
    weak: frozenset[type] = _NONE
    unit: bool = False


def wrong(what: str) -> Malformed:
    """The fault of a value that is something else."""
    return Malformed(f"not {what}")


def outwards(error: Malformed, name: str) -> None:
    """Put one level before the path of a fault; ``name`` may be a peer's."""
    error.path = f"{printable(name)}.{error.path}" if error.path else printable(name)


def _same(value: Any) -> Any:
    return value


ANY: Final = Shape("Any", _same, _same, _NONE, _NONE)
"""Whatever JSON can say; what is written is checked by ``strict_json``."""


def _scalar(kind: type, what: str, plain: Convert = _same) -> Shape:
    """``plain`` makes the value of a derived class one of ``kind``; a bool is no int."""

    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise wrong(what)

    def write(value: Any) -> Any:
        if type(value) is kind:
            return value
        if isinstance(value, kind) and not isinstance(value, bool):
            return plain(value)
        raise wrong(what)

    return Shape(what, read, write, frozenset({kind}), frozenset({kind}), kind)


def _float(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong("float")
    try:
        return float(value)
    except OverflowError:
        raise wrong("float: beyond its range") from None


BOOL: Final = _scalar(bool, "bool")
NONE: Final = _scalar(NoneType, "None")
INT: Final = _scalar(int, "int", int.__int__)
STR: Final = _scalar(str, "str", str.__str__)
# As serde does: a whole number is read as a float, and 1.0 is written with its point (parity 2).
FLOAT: Final = Shape("float", _float, _float, frozenset({float}), frozenset({float}), float, frozenset({int}))


def _checked(what: str, kind: type, cls: type, read: Convert, write: Convert) -> Shape:
    """A shape whose values are of ``kind`` in JSON, and of ``cls`` or a derived class in Python."""

    def checked_read(value: Any) -> Any:
        if type(value) is not kind:
            raise wrong(what)
        return read(value)

    def checked_write(value: Any) -> Any:
        if not isinstance(value, cls):
            raise wrong(what)
        return write(value)

    return Shape(what, checked_read, checked_write, frozenset({kind}), frozenset({cls}))


def _read_bytes(value: Any) -> bytes:
    # bytes() would take True for a number.
    if type(value) is list and set(map(type, value)) <= {int}:
        try:
            return bytes(value)
        except ValueError:
            pass
    raise wrong("bytes: an array of numbers from 0 to 255")


# serde's Vec<u8> (parity 2): two to four bytes for each one, which is what the peer reads.
BYTES: Final = replace(_checked("bytes", list, bytes, _same, list), read=_read_bytes)


def _name(member: Enum) -> str:
    """Its name; but one that is a string is that string, as ``JSON`` writes it, too."""
    return str.__str__(member) if isinstance(member, str) else member.name


def constants(values: Iterable[Any], name: str = "") -> Shape:
    """``Literal`` values as they are; members of an ``Enum`` among them by their names. ``name`` is for messages."""
    pairs = [(_name(value) if isinstance(value, Enum) else value, value) for value in values]
    # 1 and True are equal, so each type has a table of its own.
    reads: dict[type, dict[Any, Any]] = {}
    writes: dict[type, dict[Any, Any]] = {}
    for wire, value in pairs:
        reads.setdefault(type(wire), {})[wire] = value
        writes.setdefault(type(value), {})[value] = wire
    what = name or f"Literal[{', '.join(repr(value) for _, value in pairs)}]"

    def among(tables: dict[type, dict[Any, Any]]) -> Convert:
        def convert(value: Any) -> Any:
            table = tables.get(type(value))
            found = _ABSENT if table is None else table.get(value, _ABSENT)
            if found is _ABSENT:
                raise wrong(what)
            return found

        return convert

    return Shape(what, among(reads), among(writes), frozenset(reads), frozenset(writes))


def _each(values: Iterable[tuple[Any, Any]], convert: Convert) -> list[Any]:
    """Each named value, converted; a fault gets its name on its path."""
    done: list[Any] = []
    for name, value in values:
        try:
            done.append(convert(value))
        except Malformed as error:
            outwards(error, str(name))
            raise
    return done


def sequence(kind: type[list[Any] | tuple[Any, ...]], item: Shape) -> Shape:
    """``list[X]`` or ``tuple[X, ...]``: an array of any length."""
    only = frozenset({item.plain})

    def each(value: Any, convert: Convert) -> Any:
        return value if only.issuperset(map(type, value)) else _each(enumerate(value), convert)

    def read(value: list[Any]) -> Any:
        value = each(value, item.read)
        return value if kind is list else kind(value)

    return _checked(kind.__name__, list, kind, read, lambda value: each(value, item.write))


def mapping(item: Shape) -> Shape:
    """``dict[str, X]``: an object."""
    only = frozenset({item.plain})

    def each(value: dict[Any, Any], convert: Convert) -> dict[Any, Any]:
        if only.issuperset(map(type, value.values())):
            return value
        return dict(zip(value, _each(value.items(), convert), strict=True))

    return _checked("dict", dict, dict, lambda value: each(value, item.read), lambda value: each(value, item.write))


def row(items: Sequence[Shape]) -> Shape:
    """``tuple[X, Y]``: an array of exactly these."""
    what = f"tuple of {len(items)}"
    reads, writes = [item.read for item in items], [item.write for item in items]

    def each(value: Any, converts: list[Convert]) -> list[Any]:
        if len(value) != len(items):
            raise wrong(what)
        return _each(enumerate(zip(converts, value, strict=True)), lambda pair: pair[0](pair[1]))

    return _checked(what, list, tuple, lambda value: tuple(each(value, reads)), lambda value: each(value, writes))


def union(shapes: Sequence[Shape]) -> Shape:
    """One of several, told apart by the type of the JSON value. No two may share a kind."""
    what = " | ".join(shape.what for shape in shapes)
    readers = {kind: shape.read for shape in shapes for kind in shape.weak}
    readers |= {kind: shape.read for shape in shapes for kind in shape.kinds}
    writers = {kind: shape.write for shape in shapes for kind in shape.weak}
    writers |= {kind: shape.write for shape in shapes for kind in shape.types}

    def read(value: Any) -> Any:
        convert = readers.get(type(value))
        if convert is None:
            raise wrong(what)
        return convert(value)

    def write(value: Any) -> Any:
        convert = writers.get(type(value))
        if convert is not None:
            return convert(value)
        for kind, convert in writers.items():  # an object of a derived class
            if isinstance(value, kind):
                return convert(value)
        raise wrong(what)

    return Shape(what, read, write, frozenset(readers), frozenset(writers))
