"""What Python says about a type: hints that are strings, aliases, generics, classes of a function."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import KW_ONLY, InitVar, dataclass, field
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, NewType, Optional, TypeAlias, TypeVar, Union

import pytest
from typing_extensions import TypeAliasType

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.request_response.codecs import forms
from stronghold_p2p.request_response.codecs.codec import Codec
from stronghold_p2p.request_response.codecs.typed import messages
from tests.request_response.codecs.kinds import Ping, Say

X = TypeVar("X")
Y = TypeVar("Y")
NONE = type(None)
UserId = NewType("UserId", int)


@dataclass(frozen=True)
class Box(Generic[X]):
    content: X
    more: list[X] = field(default_factory=list)
    boxed: Box[X] | None = None


class Both(NamedTuple, Generic[X, Y]):
    left: X
    right: dict[str, Y]


@dataclass(frozen=True)
class Outer(Generic[X]):
    both: Both[int, X]
    box: Box[list[X]]


Message = Ping | Say
Explicit: TypeAlias = Ping | Say
Old = Union[Ping, "Say"]
Lazy = TypeAliasType("Lazy", Ping | Say)
Many = TypeAliasType("Many", list[X] | None, type_params=(X,))


@pytest.mark.parametrize("form", [Message, Explicit, Annotated[Message, "told"], Lazy, Union[Ping, Say]], ids=str)  # noqa: UP007
def test_a_union_by_any_name(form: Any) -> None:
    codec: Codec[Any] = messages(form)
    assert codec.decode(b'"Ping"') == Ping()
    assert codec.encode(Say("hi")) == b'{"Say":{"text":"hi"}}'
    assert repr(codec) == "messages(Ping | Say)"


@dataclass(frozen=True)
class Hints:
    """Every hint is a string here, whatever it names."""

    optional: Optional[int]  # noqa: UP045
    alias: Message
    old: Union[int, str]  # noqa: UP007
    user: UserId
    noted: Annotated[list[Annotated[int, "told"]], [1]]
    quoted: list[Say]
    many: Many[int]
    bare: list  # type: ignore[type-arg]
    table: dict  # type: ignore[type-arg]
    places: tuple  # type: ignore[type-arg]
    whatever: object
    constant: ClassVar[int] = 5
    _: KW_ONLY
    last: int = 0
    derived: int = field(init=False, default=9)


def test_hints() -> None:
    hints = Hints(None, Ping(), "x", UserId(5), [1], [Say("a")], [2], [1, "x"], {"a": None}, (1, "b"), {"c": 1}, last=3)
    codec = messages(Hints)
    body = codec.encode(hints)
    assert body == (
        b'{"Hints":{"optional":null,"alias":"Ping","old":"x","user":5,"noted":[1],"quoted":[{"text":"a"}],'
        b'"many":[2],"bare":[1,"x"],"table":{"a":null},"places":[1,"b"],"whatever":{"c":1},"last":3}}'
    )
    assert codec.decode(body) == hints


def test_generics() -> None:
    box = Box(1, [2], Box(3))
    codec = messages(Box[int])
    assert codec.encode(box) == b'{"Box":{"content":1,"more":[2],"boxed":{"content":3,"more":[],"boxed":null}}}'
    assert codec.decode(codec.encode(box)) == box
    outer = messages(Outer[str])
    body = b'{"Outer":{"both":[1,{"a":"x"}],"box":{"content":["y"],"more":[],"boxed":null}}}'
    assert outer.decode(body) == Outer(Both(1, {"a": "x"}), Box(["y"]))
    assert outer.encode(outer.decode(body)) == body
    texts = messages(Box[str] | Ping)
    with pytest.raises(ValueError, match=r"Box\.content: not str"):
        texts.decode(b'{"Box":{"content":1}}')


def test_a_class_of_a_function() -> None:
    @dataclass(frozen=True)
    class Leaf:
        n: int

    @dataclass(frozen=True)
    class Node:
        leaf: Leaf
        nodes: list[Node]

    codec = messages(Node | Leaf)
    body = b'{"Node":{"leaf":{"n":1},"nodes":[{"leaf":{"n":2},"nodes":[]}]}}'
    assert codec.decode(body) == Node(Leaf(1), [Node(Leaf(2), [])])
    with pytest.raises(ConfigError, match=r"Node: a type cannot be resolved: .*Leaf.*; define it in the module"):
        messages(Node)  # nobody has said what Leaf is


def test_a_name_of_the_module_comes_before_one_of_the_form() -> None:
    other: Any = dataclass(frozen=True)(type("Say", (), {"__annotations__": {"n": int}}))

    @dataclass(frozen=True)
    class Holder:
        say: Say

    form: Any = Union[Holder, other]  # noqa: UP007
    codec: Codec[Any] = messages(form)
    assert codec.decode(b'{"Holder":{"say":{"text":"x"}}}') == Holder(Say("x"))
    assert codec.decode(b'{"Say":{"n":1}}') == other(n=1)


def test_a_class_with_slots_that_derives_and_can_be_changed() -> None:
    @dataclass(slots=True)
    class Base:
        text: str

    @dataclass(slots=True)
    class Derived(Base):
        level: int = 0

    codec = messages(Derived | Base)
    read = codec.decode(b'{"Derived":{"text":"a"}}')
    assert read == Derived("a")
    read.text = "b"
    assert codec.encode(read) == b'{"Derived":{"text":"b","level":0}}'
    assert codec.encode(Base("a")) == b'{"Base":{"text":"a"}}'


class Plain(Say):
    """Derived, but no dataclass itself."""


class Longer(Both[int, int]):
    """Derived from a NamedTuple."""


@dataclass(frozen=True)
class Known(Box[int]):
    level: int = 0


@dataclass
class Started:
    n: int
    factor: InitVar[int]


@dataclass(init=False)
class Handmade:
    n: int

    def __init__(self, whole: int) -> None:
        self.n = whole


@dataclass
class Hidden:
    n: int
    __signature__: ClassVar[Any] = 5


@dataclass
class Unresolved:
    n: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Broken:
    n: "int |"  # type: ignore[valid-type]  # noqa: F722


@dataclass
class Missing:
    n: forms.Nowhere  # type: ignore[name-defined]


Untyped = namedtuple("Untyped", "a b")  # noqa: PYI024


@pytest.mark.parametrize(
    ("form", "where", "told"),
    [
        (Plain, "", "has no form in JSON"),
        (Longer, "", "has no form in JSON"),
        (Untyped, "Untyped.a", "derive from typing.NamedTuple"),
        (Known, "Known", "derives from a generic class"),
        (Started, "Started", "its constructor .* see factor"),
        (Handmade, "Handmade", "its constructor .* see n, whole"),
        (Hidden, "Hidden", "its constructor cannot be looked at"),
        (Unresolved, "Unresolved", "Nowhere.* is not defined; define it"),
        (Broken, "Broken", "cannot be resolved"),
        (Missing, "Missing", "cannot be resolved: .*Nowhere"),
        (Box, "Box.content", "~X stands for any type"),
        (list[Box], "Box.content", "~X stands for any type"),  # type: ignore[type-arg]
        (X, "", "~X"),
        ("Say", "", "'Say' has no form in JSON"),
        (list["Say"], "", "'Say' has no form in JSON"),
        (Old, "", r"ForwardRef\('Say'\) has no form in JSON"),
    ],
    ids=str,
)
def test_what_cannot_be_resolved(form: Any, where: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^messages\(\): .*{told}") as caught:
        messages(form)
    assert caught.value.where == where


def test_a_class_knows_itself_better_than_the_form_does() -> None:
    def inner() -> Any:
        @dataclass(frozen=True)
        class Node:
            nodes: list[Node]

        return Node

    @dataclass(frozen=True)
    class Holder:
        held: Any

    one, other = inner(), inner()
    kept: Any = Union[one, Holder]  # noqa: UP007
    assert messages(kept).decode(b'{"Node":{"nodes":[{"nodes":[]}]}}') == one([one([])])
    deeper: Any = GenericAlias(list, (other,)) | one
    assert messages(deeper).decode(b'[{"nodes":[{"nodes":[]}]}]') == [other([other([])])]


def test_members_are_flat() -> None:
    assert list(forms.members(Union[Lazy, Optional[Many[int]]])) == [Ping, Say, list[int], NONE, NONE]  # noqa: UP007, UP045
    assert list(forms.members(UserId)) == [int]
    assert list(forms.members(None)) == [NONE]
