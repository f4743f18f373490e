"""What Python says about a type: aliases resolved, unions flattened, the fields of a class with their types.

Everything that may be wrong with a form is found here or in ``compiler``, as ``ConfigError``.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from stronghold_p2p.errors import ConfigError

# What looking at somebody's annotations is known to raise.
_BROKEN: Final = (NameError, AttributeError, TypeError, ValueError, SyntaxError, LookupError, ImportError)


def refused(where: str, why: str) -> ConfigError:
    """A form that cannot be a message, and the field in which it stands."""
    place = f"{where}: " if where else ""
    return ConfigError(f"messages(): {place}{why}", where=where)


def members(form: Any) -> Iterator[Any]:
    """The members of a union, or the form itself: without aliases, ``NewType`` and ``Annotated``."""
    form = _without_alias(form)
    if get_origin(form) in {Union, UnionType}:
        for member in get_args(form):
            yield from members(member)
    else:
        yield form


def _without_alias(form: Any) -> Any:
    while True:
        origin = get_origin(form)
        if form is None:
            return NoneType
        if isinstance(form, NewType):
            form = form.__supertype__
        elif origin is Annotated:
            form = get_args(form)[0]
        elif _is_alias(form):  # ``type Message = Ping | Say`` (PEP 695)
            form = form.__value__
        elif _is_alias(origin):
            form = substituted(origin.__value__, bindings(origin.__type_params__, form), "")
        else:
            return form


def _is_alias(form: Any) -> bool:
    # By its name: Python 3.11 has none, and typing_extensions brings its own.
    return type(form).__name__ == "TypeAliasType"


def message_class(form: Any) -> type | None:
    """The dataclass or NamedTuple that a form is, also with type arguments; else None."""
    cls = get_origin(form) or form
    if not isinstance(cls, type):
        return None
    own = vars(cls)
    named = issubclass(cls, tuple) and "_fields" in own
    return cls if named or "__dataclass_fields__" in own else None


def is_positional(cls: type) -> bool:
    """Whether the fields of a message class have places on the wire, and no names."""
    return issubclass(cls, tuple)


def bindings(parameters: tuple[Any, ...], form: Any) -> dict[Any, Any]:
    """What the type variables of a generic class or alias stand for in ``form``."""
    return dict(zip(parameters, get_args(form), strict=False))


def substituted(form: Any, bound: Mapping[Any, Any], where: str) -> Any:
    """A form without type variables."""
    parameters = (form,) if isinstance(form, TypeVar) else ()
    if get_origin(form) is not None:
        parameters = getattr(form, "__parameters__", ())
    for parameter in parameters:
        if parameter not in bound:
            raise refused(where, f"{parameter} stands for any type: say which, as in Box[int]")
    if isinstance(form, TypeVar):
        return bound[form]
    return form[tuple(bound[one] for one in parameters)] if parameters else form


def fields(cls: type, form: Any, known: Mapping[str, type]) -> list[tuple[str, Any, bool]]:
    """The fields of a message class in their order: name, type in ``form``, whether the constructor has a default.

    ``known`` are classes by name, for hints that their module does not explain: those of a function.
    """
    names = vars(cls)["_fields"] if is_positional(cls) else [one.name for one in dataclasses.fields(cls) if one.init]
    try:
        parameters = inspect.signature(cls).parameters
    except _BROKEN as error:
        raise refused(cls.__name__, f"its constructor cannot be looked at: {error}") from None
    if odd := sorted(parameters.keys() ^ set(names)):
        told = f"its constructor has to take its fields and nothing else, see {', '.join(odd)}"
        raise refused(cls.__name__, told)
    if any(getattr(base, "__parameters__", ()) for base in cls.__mro__[1:] if message_class(base)):
        raise refused(cls.__name__, "it derives from a generic class: declare the fields itself")
    hints = _hints(cls, {**known, cls.__name__: cls})
    bound = bindings(getattr(cls, "__parameters__", ()), form)
    found = []
    for name in names:
        where = f"{cls.__name__}.{name}"
        if name not in hints:
            raise refused(where, "it has no type: derive from typing.NamedTuple")
        has_default = parameters[name].default is not inspect.Parameter.empty
        found.append((name, substituted(hints[name], bound, where), has_default))
    return found


def _hints(cls: type, known: Mapping[str, type]) -> dict[str, Any]:
    added: dict[str, Any] = {}
    while True:
        try:
            return get_type_hints(cls, localns=added)
        except _BROKEN as error:
            name = error.name if isinstance(error, NameError) else None
            # Only what is missing: a name that the module of the class explains is that module's.
            if name is None or name in added or name not in known:
                raise refused(cls.__name__, f"a type cannot be resolved: {error}; define it in the module") from None
            added[name] = known[name]
