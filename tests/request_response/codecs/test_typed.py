"""Typed messages on the wire: exact bytes, round trips, and what a hostile peer may send instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Literal, NamedTuple, assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding.strict_json import MAX_DEPTH
from stronghold_p2p.errors import Malformed
from stronghold_p2p.request_response.codecs.codec import Codec
from stronghold_p2p.request_response.codecs.typed import messages
from tests.request_response.codecs.kinds import Pair, Ping, Say, Shout


class Nothing(NamedTuple): ...


class Color(Enum):
    RED = 1
    BLUE = 2


class Mode(StrEnum):
    ON = "on"


@dataclass(frozen=True)
class Named:
    key: bytes
    n: int


@dataclass(frozen=True)
class Everything:
    flag: bool
    count: int
    ratio: float
    text: str
    data: bytes
    none: None
    maybe: int | None
    either: bool | int | str | list[int] | None
    names: list[str]
    places: tuple[float, ...]
    pair: tuple[int, str]
    table: dict[str, Pair]
    say: Say
    shout: Shout
    choice: Ping | Say | Pair
    color: Color
    mode: Mode
    level: Literal["low", 3, True]
    anything: Any
    ratios: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    children: list[Tree]


@dataclass(frozen=True)
class Held:
    ping: Ping


@dataclass(frozen=True)
class Checked:
    age: int

    def __post_init__(self) -> None:
        if self.age < 0:
            raise ValueError("below zero")


@dataclass(frozen=True)
class Optionals:
    needed: str
    maybe: int | None
    count: int = 7
    names: list[str] = field(default_factory=lambda: ["bob"])


Message = Ping | Say | Shout | Pair | Nothing | Named | Everything | Tree | Checked | Optionals | Held
MESSAGE = messages(Message)

WIRE: list[tuple[Message, bytes]] = [
    (Ping(), b'"Ping"'),
    (Nothing(), b'"Nothing"'),
    (Say("hi"), b'{"Say":{"text":"hi"}}'),
    (Shout("hi"), b'{"Shout":"hi"}'),
    (Pair(1, "x"), b'{"Pair":[1,"x"]}'),
    (Named(b"\x01", 18446744073709551615), b'{"Named":{"key":[1],"n":18446744073709551615}}'),
    (Held(Ping()), b'{"Held":{"ping":null}}'),
    (Named(b"", -1), b'{"Named":{"key":[],"n":-1}}'),
    (Tree([]), b'{"Tree":{"children":[]}}'),
    (Tree([Tree([]), Tree([])]), b'{"Tree":{"children":[{"children":[]},{"children":[]}]}}'),
    (Optionals("a", None), b'{"Optionals":{"needed":"a","maybe":null,"count":7,"names":["bob"]}}'),
    (Say('/ "é\n'), '{"Say":{"text":"/ \\"é\\n"}}'.encode()),
]
WHOLE = Everything(
    flag=True,
    count=-5,
    ratio=1.0,
    text="",
    data=b"\x00\xff",
    none=None,
    maybe=None,
    either=[1],
    names=["a", "b"],
    places=(1.5, 2.0),
    pair=(1, "x"),
    table={"k": Pair(1, "y")},
    say=Say("hi"),
    shout=Shout("ho"),
    choice=Ping(),
    color=Color.BLUE,
    mode=Mode.ON,
    level=True,
    anything={"a": [None, 1]},
)
WHOLE_WIRE = (
    b'{"Everything":{"flag":true,"count":-5,"ratio":1.0,"text":"","data":[0,255],"none":null,"maybe":null,'
    b'"either":[1],"names":["a","b"],"places":[1.5,2.0],"pair":[1,"x"],"table":{"k":[1,"y"]},"say":{"text":"hi"},'
    b'"shout":"ho","choice":"Ping","color":"BLUE","mode":"on","level":true,"anything":{"a":[null,1]},"ratios":[]}}'
)


@pytest.mark.parametrize(("message", "body"), [*WIRE, (WHOLE, WHOLE_WIRE)], ids=lambda one: str(one)[:30])
def test_exact_bytes(message: Message, body: bytes) -> None:
    """As serde_json writes the same messages (parity 2)."""
    assert MESSAGE.encode(message) == body
    read = MESSAGE.decode(body)
    assert (read, type(read)) == (message, type(message))
    assert MESSAGE.decode(b" " + body + b"\n") == message


@pytest.mark.parametrize("form", [Ping, Say, Shout, Pair, Nothing])
def test_a_class_alone_is_a_variant_too(form: Any) -> None:
    alone: Codec[Any] = messages(form)
    for message, body in WIRE:
        if type(message) is form:
            assert alone.encode(message) == body
            assert alone.decode(body) == message


FORMS: list[tuple[Any, Any, bytes]] = [
    (Say | None, None, b"null"),
    (Say | None, Say("hi"), b'{"Say":{"text":"hi"}}'),
    (Literal["Ping"] | Say, "Ping", b'"Ping"'),
    (Literal["Ping"] | Say, Say(""), b'{"Say":{"text":""}}'),
    (list[Say], [Say("")], b'[{"text":""}]'),
    (Color, Color.RED, b'"RED"'),
    (None, None, b"null"),
    (int | float, 1, b"1"),
    (int | float, 1.0, b"1.0"),
    (float | None, 1.0, b"1.0"),
    (Literal[Color.RED, "x"], Color.RED, b'"RED"'),
    (Literal[Color.RED, "x"], "x", b'"x"'),
    (Any, {"a": 1}, b'{"a":1}'),
]
UNTAGGED: list[tuple[Any, Any, bytes]] = [  # a class is what serde makes of a struct
    (Ping, Ping(), b"null"),
    (Nothing, Nothing(), b"null"),
    (Say, Say("hi"), b'{"text":"hi"}'),
    (Shout, Shout("hi"), b'"hi"'),
    (Pair, Pair(1, "x"), b'[1,"x"]'),
    (Say | Ping, Say("hi"), b'{"Say":{"text":"hi"}}'),
    (Say | None, Say("hi"), b'{"text":"hi"}'),
    (Say | None, None, b"null"),
]


@pytest.mark.parametrize(
    ("form", "tagged", "message", "body"),
    [*((form, True, *rest) for form, *rest in FORMS), *((form, False, *rest) for form, *rest in UNTAGGED)],
    ids=str,
)
def test_forms_at_the_top(form: Any, tagged: bool, message: Any, body: bytes) -> None:
    codec: Codec[Any] = messages(form, tagged=tagged)
    assert codec.encode(message) == body
    read = codec.decode(body)
    assert (read, type(read)) == (message, type(message))


TEXTS = st.text()
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PAIRS = st.builds(Pair, st.integers(), TEXTS)
SAYS = st.builds(Say, TEXTS)
JSONS = st.recursive(st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner), max_leaves=5)
MESSAGES = st.one_of(
    st.builds(Ping),
    st.builds(Nothing),
    SAYS,
    st.builds(Shout, TEXTS),
    PAIRS,
    st.builds(Named, st.binary(), st.integers()),
    st.recursive(st.builds(Tree, st.just([])), lambda inner: st.builds(Tree, st.lists(inner)), max_leaves=10),
    st.builds(Optionals, TEXTS, st.none() | st.integers(), st.integers(), st.lists(TEXTS)),
    st.builds(Everything, ratio=FLOATS, places=st.lists(FLOATS).map(tuple), anything=JSONS, ratios=st.lists(FLOATS)),
)


@given(MESSAGES)
def test_what_is_written_is_read(message: Message) -> None:
    body = MESSAGE.encode(message)
    read = MESSAGE.decode(body)
    assert read == message
    assert repr(read) == repr(message)  # 1, 1.0 and True are equal, and not the same
    assert MESSAGE.encode(read) == body


NASTY = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS | st.sampled_from(["Ping", "Say", "RED", "on"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["Ping", "Say", "text", "Pair", "Tree", "children", "Named", "key"]), inner)
    ),
    max_leaves=12,
)
JSON_MESSAGES: Codec[Any] = messages(Any)


@given(NASTY)
def test_only_malformed_leaves_the_reader(value: Any) -> None:
    try:
        read = MESSAGE.decode(JSON_MESSAGES.encode(value))
    except Malformed:
        return
    assert MESSAGE.decode(MESSAGE.encode(read)) == read


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"Say":{"more":[1,{"x":2}],"text":"hi","":null}}', Say("hi")),  # unknown fields
        (b'{"Ping":null}', Ping()),  # a unit variant may have null
        (b'{"Nothing":null}', Nothing()),
        (b'{"Optionals":{"needed":"a"}}', Optionals("a", None, 7, ["bob"])),  # what has a default, or may be None
        (b'{"Optionals":{"needed":"a","count":1,"maybe":2}}', Optionals("a", 2, 1, ["bob"])),
        (b'{"Pair":[1]}', Pair(1, "x")),
    ],
)
def test_what_is_ignored_and_what_may_be_absent(body: bytes, message: Message) -> None:
    assert MESSAGE.decode(body) == message


def test_a_default_is_made_anew_for_each_message() -> None:
    first, second = (messages(Optionals).decode(b'{"Optionals":{"needed":"a"}}') for _ in range(2))
    assert first.names == second.names
    assert first.names is not second.names


def test_a_whole_number_is_a_float_where_one_is_wanted() -> None:
    numbers = messages(list[float])
    read = numbers.decode(b"[1,2.5,-0]")
    assert read == [1.0, 2.5, 0.0]
    assert {type(one) for one in read} == {float}
    assert numbers.encode([1, 2.5]) == b"[1.0,2.5]"


BAD: list[tuple[bytes, str, str]] = [
    # what a peer sends, the path, the rest of the message
    (b'{"Say":{"text":5}}', "Say.text", "not str"),
    (b'{"Say":{"text":null}}', "Say.text", "not str"),
    (b'{"Say":{}}', "Say.text", "missing"),
    (b'{"Say":[]}', "Say", "not Say"),
    (b'{"Say":["hi"]}', "Say", "not Say"),
    (b'{"Say":null}', "Say", "not Say"),
    (b'"Say"', "Say", "a name without its fields"),
    (b'{"Shout":{"text":"hi"}}', "Shout", "not str"),
    (b'"Shout"', "Shout", "a name without its fields"),
    (b'{"Pair":[]}', "Pair.left", "missing"),
    (b'{"Pair":[1,2]}', "Pair.right", "not str"),
    (b'{"Pair":[1,"x",2]}', "Pair", "not Pair: an array of 2"),
    (b'{"Pair":{"left":1}}', "Pair", "not Pair: an array of 2"),
    (b'{"Ping":{}}', "Ping", "not Ping"),
    (b'{"Ping":[]}', "Ping", "not Ping"),
    (b'{"Named":{"n":1,"key":[256]}}', "Named.key", "not bytes: an array of numbers from 0 to 255"),
    (b'{"Named":{"n":1,"key":[-1]}}', "Named.key", "not bytes: an array of numbers from 0 to 255"),
    (b'{"Named":{"n":1,"key":[true]}}', "Named.key", "not bytes: an array of numbers from 0 to 255"),
    (b'{"Named":{"n":1,"key":[1.0]}}', "Named.key", "not bytes: an array of numbers from 0 to 255"),
    (b'{"Named":{"n":1,"key":"AQ=="}}', "Named.key", "not bytes: an array of numbers from 0 to 255"),
    (b'{"Named":{"n":1,"key":[' + b"9" * 40 + b"]}}", "Named.key", "not bytes: an array of numbers from 0 to 255"),
    (b'{"Tree":{"children":[{"children":[]},{"children":[0]}]}}', "Tree.children.1.children.0", "not Tree"),
    (b'{"Optionals":{"needed":"a","names":["x",1]}}', "Optionals.names.1", "not str"),
    (b'{"Checked":{"age":-1}}', "Checked", "below zero"),
    (b'{"Delete":null}', "", "'Delete' is none of Ping, Say, "),
    (b'"Delete"', "", "'Delete' is none of Ping, Say, "),
    (b'"ping"', "", "'ping' is none of Ping, Say, "),
    (b'{"":{}}', "", "'' is none of Ping, Say, "),
    ('"é\\u0000\'"'.encode(), "", "'\\xe9\\x00'' is none of "),
    (b"{}", "", "not Ping | Say | "),
    (b'{"Ping":null,"Say":{"text":"hi"}}', "", "not Ping | Say | "),
    (b"null", "", "not Ping | Say | "),
    (b"[]", "", "not Ping | Say | "),
    (b"5", "", "not Ping | Say | "),
    (b"true", "", "not Ping | Say | "),
    (b'{"Say":{"text":"a","text":"b"}}', "text", "duplicate key"),
    (b"[" * 65 + b"]" * 65, "", "nested deeper than 64"),
    (b"", "", "not JSON: "),
]


@pytest.mark.parametrize(("body", "path", "told"), BAD, ids=lambda one: str(one)[:60])
def test_what_a_peer_may_not_send(body: bytes, path: str, told: str) -> None:
    with pytest.raises(Malformed) as caught:
        MESSAGE.decode(body)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: {told}" if path else told)
    assert path == "" or str(caught.value) == f"{path}: {told}"


EVERYTHING: list[tuple[str, str, str]] = [
    ("flag", "1", "not bool"),
    ("flag", "null", "not bool"),
    ("count", "true", "not int"),
    ("count", '"1"', "not int"),
    ("count", "1.0", "not int"),
    ("count", "1e2", "not int"),
    ("ratio", '"1"', "not float"),
    ("ratio", "true", "not float"),
    ("ratio", "9" * 400, "not float: beyond its range"),
    ("none", "0", "not None"),
    ("maybe", "true", "not int | None"),
    ("either", "1.5", "not bool | int | str | list | None"),
    ("either", "{}", "not bool | int | str | list | None"),
    ("either.0", "[true]", "not int"),
    ("names", '"ab"', "not list"),
    ("places", "{}", "not tuple"),
    ("places.1", '[1,"2"]', "not float"),
    ("pair", "[1]", "not tuple of 2"),
    ("pair", '[1,"x",3]', "not tuple of 2"),
    ("pair", "5", "not tuple of 2"),
    ("pair.1", "[1,2]", "not str"),
    ("table", "[]", "not dict"),
    ("table.é", '{"a":[1],"é":1}', "not Pair: an array of 2"),
    ("table.a.left", '{"a":["x"]}', "not int"),
    ("say.text", '{"Say":{"text":"hi"}}', "missing"),
    ("shout", '["ho"]', "not str"),
    ("choice", "[1]", "not Ping | Say | Pair"),
    ("choice", '"Shout"', "'Shout' is none of Ping, Say, Pair"),
    ("choice.Say.text", '{"Say":{"text":{}}}', "not str"),
    ("color", '"GREEN"', "not Color"),
    ("color", "1", "not Color"),
    ("mode", '"ON"', "not Mode"),
    ("level", '"high"', "not Literal['low', 3, True]"),
    ("level", "1", "not Literal['low', 3, True]"),
    ("level", "false", "not Literal['low', 3, True]"),
    ("level", "[]", "not Literal['low', 3, True]"),
]


@pytest.mark.parametrize(("path", "text", "told"), EVERYTHING, ids=str)
def test_each_kind_of_field_is_strict(path: str, text: str, told: str) -> None:
    name = path.partition(".")[0]
    whole = JSON_MESSAGES.decode(WHOLE_WIRE)
    whole["Everything"][name] = JSON_MESSAGES.decode(text.encode())
    with pytest.raises(Malformed) as caught:
        MESSAGE.decode(JSON_MESSAGES.encode(whole))
    path = ascii(path)[1:-1]
    assert (caught.value.path, str(caught.value)) == (f"Everything.{path}", f"Everything.{path}: {told}")


def tree(depth: int) -> Tree:
    value = Tree([])
    for _ in range(depth - 1):
        value = Tree([value])
    return value


def test_depth() -> None:
    """Two brackets for each tree, one for its tag: 31 of them are 63 deep."""
    deepest = tree((MAX_DEPTH - 1) // 2)
    assert MESSAGE.decode(MESSAGE.encode(deepest)) == deepest
    for depth in (MAX_DEPTH // 2, 5_000):
        with pytest.raises(Malformed, match="nested deeper than 64"):
            MESSAGE.encode(tree(depth))
    body = b'{"Tree":' + b'{"children":[' * 32 + b"]}" * 32 + b"}"
    with pytest.raises(Malformed, match="deeper than 64"):
        MESSAGE.decode(body)


def test_a_long_path_is_cut() -> None:
    codec = messages(dict[str, int])
    with pytest.raises(Malformed) as caught:
        codec.decode(b'{"%s":""}' % (b"k" * 100_000))
    assert caught.value.path == "k" * 200
    nested: Codec[Any] = messages(dict[str, dict[str, dict[str, int]]])
    key = b"k" * 150
    with pytest.raises(Malformed) as caught:
        nested.decode(b'{"%s":{"%s":{"%s":[]}}}' % (key, key, key))
    assert len(caught.value.path) == 200
    with pytest.raises(Malformed) as caught:
        MESSAGE.decode(b'"%s"' % (b"k" * 100_000))
    assert len(str(caught.value)) < 400


@dataclass(frozen=True)
class Louder(Say):
    level: int = 0


class Strange(str):
    __slots__ = ()


UNWRITABLE: list[tuple[Any, str, str]] = [
    (Say(5), "Say.text", "not str"),  # type: ignore[arg-type]
    (Shout(None), "Shout", "not str"),  # type: ignore[arg-type]
    (Named("x", 1), "Named.key", "not bytes"),  # type: ignore[arg-type]
    (Tree([Ping()]), "Tree.children.0", "not Tree"),  # type: ignore[list-item]
    (Held(Say("hi")), "Held.ping", "not Ping"),  # type: ignore[arg-type]
    (Louder("hi"), "", "not Ping | Say | "),
    ("Ping", "", "not Ping | Say | "),
    (None, "", "not Ping | Say | "),
    (Say, "", "not Ping | Say | "),
    (Say("\ud800"), "Say.text", "not JSON: a lone surrogate is no text"),
    ((1, "x"), "", "not Ping | Say | "),
]


@pytest.mark.parametrize(("message", "path", "told"), UNWRITABLE, ids=lambda one: ascii(one)[:40])
def test_what_we_may_not_send(message: Any, path: str, told: str) -> None:
    with pytest.raises(Malformed) as caught:
        MESSAGE.encode(message)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: {told}" if path else told)


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("flag", 1, "flag"),
        ("count", True, "count"),
        ("count", 1.0, "count"),
        ("data", bytearray(b"x"), "data"),
        ("names", ("a",), "names"),
        ("ratio", math.nan, "ratio"),
        ("ratio", math.inf, "ratio"),
        ("ratio", True, "ratio"),
        ("ratio", 10**400, "ratio"),
        ("ratio", "1", "ratio"),
        ("places", (1.5, math.nan), "places.1"),
        ("places", [1.5], "places"),
        ("names", ["a", 1], "names.1"),
        ("names", ["a", "\ud800"], "names.1"),
        ("pair", (1,), "pair"),
        ("pair", [1, "x"], "pair"),
        ("pair", (1, 2), "pair.1"),
        ("table", {"a": (1, "x")}, "table.a"),
        ("table", {5: Pair(1)}, "table"),
        ("table", [Pair(1)], "table"),
        ("say", Shout("x"), "say"),
        ("shout", "x", "shout"),
        ("choice", Shout("x"), "choice"),
        ("choice", Say(1), "choice.Say.text"),  # type: ignore[arg-type]
        ("color", "RED", "color"),
        ("mode", "on", "mode"),
        ("level", 1, "level"),
        ("level", 4, "level"),
        ("level", [], "level"),
        ("none", 0, "none"),
        ("either", 1.5, "either"),
        ("either", Ping(), "either"),
        ("anything", {"a": [type]}, "anything.a.0"),
        ("anything", Say("x"), "anything"),
    ],
    ids=str,
)
def test_each_kind_of_field_is_strict_when_it_is_written(name: str, value: Any, path: str) -> None:
    values = {one: getattr(WHOLE, one) for one in WHOLE.__dataclass_fields__} | {name: value}
    with pytest.raises(Malformed) as caught:
        MESSAGE.encode(Everything(**values))
    assert caught.value.path == f"Everything.{path}"
    assert str(caught.value).startswith(f"Everything.{path}: not ") or name == "table"


def test_values_of_derived_classes_are_written_as_what_they_are() -> None:
    class Number(int): ...

    class Real(float): ...

    numbers: Codec[Any] = messages(dict[str, int | float | str])
    body = numbers.encode({"a": Number(3), "b": Real(1.5), "c": Strange("x"), "d": Mode.ON})
    assert body == b'{"a":3,"b":1.5,"c":"x","d":"on"}'
    texts: Codec[Any] = messages(list[str])
    assert texts.encode([Strange("x"), Mode.ON]) == b'["x","on"]'
    assert messages(list[int]).encode([Number(3)]) == b"[3]"


def test_errors_of_a_class() -> None:
    """A ``ValueError`` is a reason, a ``Malformed`` has its own place, and any other error is the class's own."""
    raised: list[Exception] = [ValueError("below zero"), Malformed("odd", path="n.half"), KeyError("mine")]

    @dataclass(frozen=True)
    class Own:
        n: int

        def __post_init__(self) -> None:
            raise raised[self.n]

    for number, path, told in ((0, "Own", "Own: below zero"), (1, "Own.n.half", "Own.n.half: odd")):
        with pytest.raises(Malformed) as caught:
            messages(Own).decode(b'{"Own":{"n":%d}}' % number)
        assert (caught.value.path, str(caught.value)) == (path, told)
        assert number == 1 or caught.value.__cause__ is raised[number]
    with pytest.raises(KeyError, match="mine"):
        messages(Own).decode(b'{"Own":{"n":2}}')


def test_it_says_what_it_is_for() -> None:
    assert repr(messages(Ping | Say)) == "messages(Ping | Say)"
    assert repr(messages(Say)) == "messages(Say)"


def test_types() -> None:
    """mypy looks at these lines, too."""
    assert_type(messages(Say), Codec[Say])
    assert_type(messages(Ping | Say), Codec[Ping | Say])
    assert_type(messages(Say, tagged=False), Codec[Say])
    assert_type(messages(list[Say]), Codec[list[Say]])
    decode: Callable[[bytes], Message] = MESSAGE.decode
    assert decode(b'"Ping"') == Ping()
