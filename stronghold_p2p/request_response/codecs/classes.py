"""Dataclasses and NamedTuples in serde's forms, alone and as the variants of a union.

Alone a class is what serde makes of a struct: without fields ``null``, with names an object, with positions an array,
and with a single position that field's own form. As a variant it is its name, ``"Ping"``, or an object with its name
as the only key: ``{"Say":{"text":"hi"}}``, ``{"Pair":[1,2]}``, ``{"Say":"hi"}`` (parity 2).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, Final, TypeAlias

from stronghold_p2p.encoding.strict_json import printable
from stronghold_p2p.errors import Malformed
from stronghold_p2p.request_response.codecs.shapes import Convert, Shape, outwards, wrong

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a class. Where it is absent: ``default``, the constructor knows it; ``optional``, it is None."""

    name: str
    shape: Shape
    default: bool
    optional: bool


# The compiler fills it once the class has its shape, because a class may contain itself.
Fields: TypeAlias = list[Field]


def _converted(fields: Fields, get: Callable[..., Any], *, reading: bool) -> dict[str, Any]:
    """The item that ``get(name, absent)`` has for each field, read or written; a fault gets the name on its path."""
    values: dict[str, Any] = {}
    name = ""
    try:
        for field in fields:
            name, item = field.name, get(field.name, _ABSENT)
            if type(item) is field.shape.plain:
                values[name] = item
            elif item is not _ABSENT:
                values[name] = field.shape.read(item) if reading else field.shape.write(item)
            elif field.optional and not field.default:
                values[name] = None
            elif not field.default:
                raise Malformed("missing")
    except Malformed as error:
        outwards(error, name)
        raise
    return values


def _shape(cls: type, values: Convert, wire: Convert, kinds: Iterable[type], **options: Any) -> Shape:
    """The shape of ``cls``. ``values`` makes the constructor's arguments of what JSON has, ``wire`` is the way back.

    The class's own checks may refuse the values. An object of a derived class is refused, too: the other side could
    not know it.
    """

    def read(value: Any) -> Any:
        try:
            return cls(**values(value))
        except Malformed:
            raise
        except ValueError as error:
            raise Malformed(str(error)) from error

    def write(value: Any) -> Any:
        if type(value) is not cls:
            raise wrong(cls.__name__)
        return wire(value)

    return Shape(cls.__name__, read, write, frozenset(kinds), frozenset({cls}), **options)


def unit(cls: type) -> Shape:
    """A class without fields: ``null``."""

    def values(value: Any) -> dict[str, Any]:
        if value is not None:
            raise wrong(cls.__name__)
        return {}

    return _shape(cls, values, lambda _: None, {NoneType}, unit=True)


def struct(cls: type, fields: Fields) -> Shape:
    """A dataclass: an object. Keys that it does not know are ignored, as serde does (parity 2)."""

    def values(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise wrong(cls.__name__)
        return _converted(fields, value.get, reading=True)

    return _shape(cls, values, lambda value: _converted(fields, partial(getattr, value), reading=False), {dict})


def positional(cls: type, fields: Fields) -> Shape:
    """A NamedTuple of several fields: an array in their order; those with a default may be absent at its end."""

    def values(value: Any) -> dict[str, Any]:
        if type(value) is not list or len(value) > len(fields):
            raise wrong(f"{cls.__name__}: an array of {len(fields)}")
        named = dict(zip((field.name for field in fields), value, strict=False))
        return _converted(fields, named.get, reading=True)

    def wire(value: Any) -> list[Any]:
        return list(_converted(fields, partial(getattr, value), reading=False).values())

    return _shape(cls, values, wire, {list})


def newtype(cls: type, only: Field) -> Shape:
    """A NamedTuple of one field: as that field alone."""
    name, inner = only.name, only.shape
    return _shape(
        cls,
        lambda value: {name: inner.read(value)},
        lambda value: inner.write(getattr(value, name)),
        inner.kinds,
        weak=inner.weak,
    )


def variants(of: Collection[Shape]) -> Shape:
    """Several classes, each under its name; of one without fields the name is all.

    ``{"Ping":null}`` is read as ``"Ping"``, as serde does; a name alone where there are fields is refused, as by serde.
    """
    by_name = {one.what: one for one in of}
    by_class = {cls: one for one in of for cls in one.types}
    what, known = " | ".join(by_name), ", ".join(by_name)

    def read(value: Any) -> Any:
        kind = type(value)
        if kind is dict and len(value) == 1:
            ((name, content),) = value.items()
        elif kind is str:
            name, content = value, None
        else:
            raise wrong(what)
        found = by_name.get(name)
        if found is None:
            raise Malformed(f"'{printable(name)}' is none of {known}")
        try:
            if kind is str and not found.unit:
                raise Malformed("a name without its fields")
            return found.read(content)
        except Malformed as error:
            outwards(error, name)
            raise

    def write(value: Any) -> Any:
        found = by_class.get(type(value))
        if found is None:
            raise wrong(what)
        if found.unit:
            return found.what
        try:
            return {found.what: found.write(value)}
        except Malformed as error:
            outwards(error, found.what)
            raise

    kinds = {str if one.unit else dict for one in of} | {dict}
    return Shape(what, read, write, frozenset(kinds), frozenset(by_class))
