"""From a form to its shape: the one time that types are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, Flag
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from stronghold_p2p.request_response.codecs import classes, forms, shapes
from stronghold_p2p.request_response.codecs.classes import Field
from stronghold_p2p.request_response.codecs.forms import refused
from stronghold_p2p.request_response.codecs.shapes import Shape

_SCALARS: Final[dict[Any, Shape]] = {
    Any: shapes.ANY,
    object: shapes.ANY,
    NoneType: shapes.NONE,
    bool: shapes.BOOL,
    bytes: shapes.BYTES,
    float: shapes.FLOAT,
    int: shapes.INT,
    str: shapes.STR,
}
_JSON: Final[dict[type, str]] = {
    NoneType: "null",
    bool: "a boolean",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "an array",
    str: "a string",
}
_CONSTANTS: Final = (bool, int, str, NoneType, Enum)
_WAY_OUT: Final = (
    "take bool, int, float, str, bytes, None, list, tuple, dict[str, X], Literal, an Enum, a dataclass, a NamedTuple, "
    "a union of these or Any, or write a codec of your own"
)


def compiled(form: Any, *, tagged: bool) -> Shape:
    """The shape of a whole message. ``tagged``: a class is a variant even where it is the only one.

    ``ConfigError``, whose ``where`` is the field: a form that cannot be a message.
    """
    try:
        hash(form)
        known = {cls.__name__: cls for member in forms.members(form) if (cls := forms.message_class(member))}
        return _Compiler(known).shape(form, "", tagged=tagged)
    except RecursionError:
        raise refused("", f"{form!r:.80} contains itself without end") from None
    except TypeError as error:
        raise refused("", f"{form!r:.80} is no type: {error}") from None


class _Compiler:
    """Remembers each class: it may be needed again, also inside itself."""

    def __init__(self, known: dict[str, type]) -> None:
        self._known = known
        self._classes: dict[Any, Shape] = {}

    def shape(self, form: Any, where: str, *, tagged: bool = False) -> Shape:
        """The shape of any form. Of classes in a union each is a variant, alone it is one if ``tagged``."""
        messages: list[Any] = []
        literals: list[Any] = []
        found: list[Shape] = []
        for member in dict.fromkeys(forms.members(form)):
            if forms.message_class(member):
                messages.append(member)
            elif get_origin(member) is Literal:
                literals += get_args(member)
            else:
                found.append(self._single(member, where))
        if literals:
            found.append(_constants(literals, where))
        if len(messages) > 1 or (messages and tagged):
            found.append(self._variants(messages, where))
        elif messages:
            found.append(self._class(messages[0]))
        return found[0] if len(found) == 1 else _together(found, where)

    def _single(self, form: Any, where: str) -> Shape:
        if isinstance(form, type) and issubclass(form, Enum):
            if issubclass(form, Flag) or not list(form):
                raise refused(where, f"{form.__name__} is a Flag, or has no member: take int")
            return shapes.constants(form, form.__name__)
        kind, arguments = get_origin(form) or form, get_args(form)
        if kind is list:
            return shapes.sequence(list, self.shape((arguments or (Any,))[0], where))
        if kind is tuple:
            return self._tuple(form, arguments, where)
        if kind is dict:
            key, content = arguments or (str, Any)
            if list(forms.members(key)) != [str]:
                raise refused(where, f"the keys of an object are str, not {key!r:.80}")
            return shapes.mapping(self.shape(content, where))
        if form not in _SCALARS:
            raise refused(where, f"{form!r:.80} has no form in JSON: {_WAY_OUT}")
        return _SCALARS[form]

    def _tuple(self, form: Any, arguments: Sequence[Any], where: str) -> Shape:
        if form is tuple or arguments[1:] == (...,):
            return shapes.sequence(tuple, self.shape((arguments or (Any,))[0], where))
        if not arguments:
            raise refused(where, "an empty tuple is null for serde: take None")
        return shapes.row([self.shape(one, where) for one in arguments])

    def _variants(self, messages: Sequence[Any], where: str) -> Shape:
        found: dict[str, Shape] = {}
        for form in messages:
            one = self._class(form)
            if found.setdefault(one.what, one) is not one:
                raise refused(where, f"two classes are called {one.what}, and that is what is on the wire")
        return classes.variants(found.values())

    def _class(self, form: Any) -> Shape:
        known = self._classes.get(form)
        if known is not None:
            return known
        cls = forms.message_class(form)
        assert cls is not None
        declared = forms.fields(cls, form, self._known)
        fields: classes.Fields = []
        if not declared:
            shape = classes.unit(cls)
        elif forms.is_positional(cls):
            only = len(declared) == 1
            shape = classes.newtype(cls, self._field(cls, *declared.pop())) if only else classes.positional(cls, fields)
        else:
            shape = classes.struct(cls, fields)
        self._classes[form] = shape
        fields += [self._field(cls, *one) for one in declared]
        return shape

    def _field(self, cls: type, name: str, form: Any, default: bool) -> Field:
        shape = self.shape(form, f"{cls.__name__}.{name}")
        # In an array a position that is absent has no name that would tell that it is the one left out.
        optional = NoneType in forms.members(form) and not forms.is_positional(cls)
        return Field(name, shape, default=default, optional=optional)


def _constants(values: Sequence[Any], where: str) -> Shape:
    for value in values:
        if not isinstance(value, _CONSTANTS):
            raise refused(where, f"{value!r:.80} in a Literal has no form in JSON")
    shape = shapes.constants(values)
    if len({(type(one), one) for one in map(shape.write, values)}) != len(values):
        raise refused(where, f"{shape.what} has two values of the same form")
    return shape


def _together(found: Sequence[Shape], where: str) -> Shape:
    """A union whose members the types of JSON tell apart."""
    others = [shape for shape in found if shape is not shapes.ANY]
    if len(others) < len(found) and all(shape is shapes.NONE for shape in others):
        return shapes.ANY
    taken: dict[type, Shape] = {}
    for shape in found:
        if shape is shapes.ANY:
            raise refused(where, "Any with others in a union would hide them")
        for kind in shape.kinds:
            other = taken.setdefault(kind, shape)
            if other is not shape:
                raise refused(
                    where, f"{other.what} and {shape.what} are both {_JSON[kind]} in JSON: wrap one in a class"
                )
    return shapes.union(found)
