"""Dataclasses and NamedTuples in serde's forms, alone and as the variants of a union.

Alone a class is what serde makes of a struct: without fields ``null``, with names an object, with positions an array,
and with a single position that field's own form. As a variant it is its name, ``"Ping"``, or an object with its name
as the only key: ``{"Say":{"text":"hi"}}``, ``{"Pair":[1,2]}``, ``{"Say":"hi"}`` (parity 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, Final, TypeAlias

from stronghold_p2p.encoding.strict_json import printable
from stronghold_p2p.errors import Malformed
from stronghold_p2p.request_response.codecs.shapes import Shape, outwards, wrong

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


def _made(cls: type, values: Mapping[str, Any]) -> Any:
    """An object of a class, whose own checks may refuse the values."""
    try:
        return cls(**values)
    except Malformed:
        raise
    except ValueError as error:
        raise Malformed(str(error)) from error


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


def unit(cls: type) -> Shape:
    """A class without fields: ``null``."""

    def read(value: Any) -> Any:
        if value is not None:
            raise wrong(cls.__name__)
        return _made(cls, {})

    def write(value: Any) -> None:
        _check(value, cls)

    return Shape(cls.__name__, read, write, frozenset({NoneType}), frozenset({cls}))


def struct(cls: type, fields: Fields) -> Shape:
    """A dataclass: an object. Keys that it does not know are ignored, as serde does (parity 2)."""

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise wrong(cls.__name__)
        return _made(cls, _converted(fields, value.get, reading=True))

    def write(value: Any) -> dict[str, Any]:
        _check(value, cls)
        return _converted(fields, partial(getattr, value), reading=False)

    return Shape(cls.__name__, read, write, frozenset({dict}), frozenset({cls}))


def positional(cls: type, fields: Fields) -> Shape:
    """A NamedTuple of several fields: an array in their order; those with a default may be absent at its end."""

    def read(value: Any) -> Any:
        if type(value) is not list or len(value) > len(fields):
            raise wrong(f"{cls.__name__}: an array of {len(fields)}")
        named = dict(zip((field.name for field in fields), value, strict=False))
        return _made(cls, _converted(fields, named.get, reading=True))

    def write(value: Any) -> list[Any]:
        _check(value, cls)
        return list(_converted(fields, partial(getattr, value), reading=False).values())

    return Shape(cls.__name__, read, write, frozenset({list}), frozenset({cls}))


def newtype(cls: type, name: str, inner: Shape) -> Shape:
    """A NamedTuple of one field: as that field alone."""

    def read(value: Any) -> Any:
        return _made(cls, {name: inner.read(value)})

    def write(value: Any) -> Any:
        _check(value, cls)
        return inner.write(getattr(value, name))

    return Shape(cls.__name__, read, write, inner.kinds, frozenset({cls}), weak=inner.weak)


def _check(value: Any, cls: type) -> None:
    """An object of a derived class is refused, too: the other side could not know it."""
    if type(value) is not cls:
        raise wrong(cls.__name__)


@dataclass(frozen=True, slots=True)
class Variant:
    """A class among others; ``unit``: it has no fields."""

    cls: type
    shape: Shape
    unit: bool


def variants(of: Sequence[Variant]) -> Shape:
    """Several classes, each under its name; of one without fields the name is all.

    ``{"Ping":null}`` is read as ``"Ping"``, as serde does; a name alone where there are fields is refused, as by serde.
    """
    names = [one.cls.__name__ for one in of]
    what, known = " | ".join(names), ", ".join(names)
    by_name = dict(zip(names, of, strict=True))
    by_class = {one.cls: one for one in of}

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
            return found.shape.read(content)
        except Malformed as error:
            outwards(error, name)
            raise

    def write(value: Any) -> Any:
        found = by_class.get(type(value))
        if found is None:
            raise wrong(what)
        name = found.cls.__name__
        if found.unit:
            return name
        try:
            return {name: found.shape.write(value)}
        except Malformed as error:
            outwards(error, name)
            raise

    kinds = {str if one.unit else dict for one in of} | {dict}
    return Shape(what, read, write, frozenset(kinds), frozenset(by_class))
