"""A form that cannot be a message is told when the codec is made, with the field and the way out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, Flag, IntFlag
from typing import Any, Generic, Literal, NamedTuple, Never, TypedDict, TypeVar

import pytest

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.request_response.codecs.codec import Codec
from stronghold_p2p.request_response.codecs.compiler import compiled
from stronghold_p2p.request_response.codecs.typed import messages
from tests.request_response.codecs.kinds import Ping, Say, Shout

X = TypeVar("X")


class Count(NamedTuple):
    n: int


@dataclass
class Wrapped:
    when: dict[str, list[datetime.datetime]]


@dataclass
class Inside:
    wrapped: Wrapped


class Color(Enum):
    RED = 1


class Empty(Enum): ...


class Bits(Flag):
    A = 1


class Numbers(IntFlag):
    A = 1


class Record(TypedDict):
    n: int


class Endless(NamedTuple):
    inner: Endless | None


@dataclass
class Growing(Generic[X]):
    inner: Growing[list[X]] | None


Again: Any = dataclass(type("Say", (), {"__annotations__": {"n": int}}))
JSON = "in JSON: take bool, .* or write a codec of your own"


@pytest.mark.parametrize(
    ("form", "where", "told"),
    [
        (datetime.datetime, "", f"datetime.* has no form {JSON}"),
        (Wrapped, "Wrapped.when", f"datetime.* has no form {JSON}"),
        (Ping | Inside, "Wrapped.when", f"datetime.* has no form {JSON}"),
        (set[int], "", JSON),
        (Sequence[int], "", JSON),
        (Callable[[], int], "", JSON),
        (Record, "", JSON),
        (Never, "", JSON),
        (type[Say], "", JSON),
        (complex, "", JSON),
        (bytearray, "", JSON),
        (3, "", "3 has no form"),
        (tuple[()], "", "take None"),
        (dict[int, str], "", "the keys of an object are str, not <class 'int'>"),
        (dict[str | int, str], "", "the keys of an object are str"),
        (Bits, "", "Bits is a Flag"),
        (Numbers, "", "Numbers is a Flag"),
        (Empty, "", "has no member"),
        (Literal[b"x"], "", "b'x' in a Literal"),
        (Literal[Color.RED, "RED"], "", "two values of the same form"),
        (Literal[[1]], "", "is no type"),
        (str | Color, "", "str and Color are both a string in JSON: wrap one in a class"),
        (str | Literal["x"], "", "both a string"),  # noqa: PYI051 - what is to be refused
        (bytes | list[str], "", "bytes and list are both an array"),
        (list[int] | list[str], "", "both an array"),
        (tuple[int, ...] | list[str], "", "both an array"),
        (dict[str, int] | Say, "", "dict and Say are both an object"),
        (Ping | Say | str, "", "str and Ping | Say are both a string"),
        (Ping | Literal["Stop"], "", "both a string"),
        (Say | Again, "", "two classes are called Say"),
        (Any | Say, "", "Any with others"),
        (list[Count | int], "", "both a number"),
        (list[Shout | str], "", "both a string"),
        (Endless, "", "contains itself"),
        (Growing[int], "", "contains itself"),
        ([], "", "no type"),
    ],
    ids=str,
)
def test_what_cannot_be_a_message(form: Any, where: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^messages\(\): .*{told}") as caught:
        messages(form)
    assert caught.value.where == where
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"messages(): {where}: ") or not where


@pytest.mark.parametrize(
    "form",
    [
        Any | None,
        Shout | None,
        Say | None | bool | float | list[int],
        list[Say | str],
        list[Say | Shout | int],
        list[Shout | int],
        Literal[1, "a", True] | None,
        int | float | None,
        Color | int,
    ],
    ids=str,
)
def test_what_json_can_tell_apart(form: Any) -> None:
    codec: Codec[Any] = messages(form)
    assert repr(codec).startswith("messages(")


def test_a_class_is_looked_at_once() -> None:
    """A union of many classes that hold each other stays small: each class has one shape."""
    kinds: list[Any] = [Say]
    for number in range(60):
        kinds.append(dataclass(type(f"C{number}", (), {"__annotations__": {"a": kinds[-1], "b": kinds[-1]}})))
    shape = compiled(kinds[-1], tagged=False)
    assert shape.what == "C59"
