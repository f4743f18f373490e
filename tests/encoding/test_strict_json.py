from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import strict_json
from stronghold_p2p.encoding.strict_json import MAX_CONTAINERS, MAX_DEPTH, MAX_DIGITS, dumps, loads
from stronghold_p2p.errors import Malformed

TEXTS = st.text()  # without surrogates, as its default is
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)

# What serde_json 1.0.87 was seen to write (parity 2).
SERDE = [
    ("Ping", b'"Ping"'),
    ({"Message": "hi"}, b'{"Message":"hi"}'),
    ({"Other": [0, 1, 255]}, b'{"Other":[0,1,255]}'),
    ({"Pair": (1, "x")}, b'{"Pair":[1,"x"]}'),
    ({"Named": {"key": [1], "n": 18446744073709551615}}, b'{"Named":{"key":[1],"n":18446744073709551615}}'),
    ({"Opt": None}, b'{"Opt":null}'),
    ({"Opt": []}, b'{"Opt":[]}'),
    (None, b"null"),
    ([112, 105, 110, 103], b"[112,105,110,103]"),
    ({"a": 1, "b": None}, b'{"a":1,"b":null}'),
    ({"secs": 1, "nanos": 5}, b'{"secs":1,"nanos":5}'),
    (1.0, b"1.0"),
    ('a/b "c" \\ \n\t\x01 é 😀', '"a/b \\"c\\" \\\\ \\n\\t\\u0001 é 😀"'.encode()),
]


@pytest.mark.parametrize(("value", "body"), SERDE)
def test_serde_vectors(value: Any, body: bytes) -> None:
    assert dumps(value) == body
    assert loads(body) == json.loads(json.dumps(value))


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    body = dumps(value)
    assert loads(body) == value
    assert loads(b" \r\n\t" + body + b" \n") == value


@given(VALUES.filter(lambda value: not isinstance(value, (int, float)) or isinstance(value, bool)), st.data())
def test_a_part_or_more_than_the_whole_is_refused(value: Any, data: st.DataObject) -> None:
    body = dumps(value)
    with pytest.raises(Malformed):
        loads(body[: data.draw(st.integers(0, len(body) - 1))])
    with pytest.raises(Malformed):
        loads(body + data.draw(st.sampled_from((b"x", b"\0", b"null", b"]", b","))))


@given(st.text(alphabet='[]{}",:\\u0d8e1-.x \t\n\r\f\xa0', max_size=30) | VALUES.map(json.dumps))
def test_the_parser_reads_and_refuses_what_that_of_the_standard_library_does(text: str) -> None:
    """``JSONDecoder.decode`` with the same scanner: same value, or same words at the same character."""

    def outcome(parse: Callable[[str], Any]) -> Any:
        try:
            return parse(text)
        except json.JSONDecodeError as error:
            return (error.msg, error.pos)
        except Malformed as error:
            return str(error)

    assert outcome(strict_json._parsed) == outcome(strict_json._DECODER.decode)


@given(VALUES)
def test_the_encoder_that_is_made_once_writes_what_that_of_the_standard_library_does(value: Any) -> None:
    """It is made as ``JSONEncoder.iterencode`` makes it, by a name that CPython does not promise."""
    assert "".join(strict_json._pieces(value, 0)) == strict_json._ENCODER.encode(value)


def test_without_the_c_encoder_the_standard_librarys_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    monkeypatch.setattr(strict_json, "_pieces", strict_json._in_pieces())
    assert dumps({"a": [1, "é"]}) == '{"a":[1,"é"]}'.encode()


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0d8e1-.NaI ', max_size=60).map(str.encode))
def test_only_malformed_leaves_the_reader(body: bytes) -> None:
    try:
        value = loads(body)
    except Malformed:
        return
    assert loads(dumps(value)) == value


LENIENT = rb"""
"Ping"x "Ping""Ping" NaN [Infinity] -Infinity 1e400 [-1e999] {"a":1,"a":1} [{"b":{"a":1,"c":2,"\u0061":1}}]
"\ud800" "\uDFFF" "\ude00\ud83d" {"\ud800":1} 'a' [1,] 01 nul
""".split()


@pytest.mark.parametrize(
    "body", [*LENIENT, b"", b" ", b'"\xed\xa0\x80"', b'"\xff"', b"\xef\xbb\xbf1", b'"\x01"', b"\0"]
)
def test_lenient_texts_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        loads(body)


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert loads(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    assert loads(b'"\\\\ud800"') == "\\ud800"


def test_a_duplicate_key_is_named() -> None:
    with pytest.raises(Malformed) as caught:
        loads('{"x":{"ä\\n":1,"b":2,"ä\\n":3}}'.encode())
    assert caught.value.path == "\\xe4\\n"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_depth(opening: bytes, closing: bytes) -> None:
    """Hostile row 74: refused before a recursive parser sees it, whatever the depth."""
    levels = MAX_DEPTH // len(closing)
    assert loads(opening * levels + b"1" + closing * levels) is not None
    for depth in (levels + 1, 1_000, 100_000):
        told = "nested deeper than 64" if depth < MAX_CONTAINERS / 2 else "objects and arrays"
        with pytest.raises(Malformed, match=told):
            loads(opening * depth + b"1" + closing * depth)
        with pytest.raises(Malformed):
            loads(opening * depth)


def test_depth_is_of_brackets_outside_strings() -> None:
    brackets = "[{" * 200
    assert loads(dumps([brackets, '"' + brackets, "\\" + brackets])) == [brackets, '"' + brackets, "\\" + brackets]
    wide: list[list[int]] = [[] for _ in range(1_000)]
    assert loads(dumps(wide)) == wide
    assert loads(b"[" * MAX_DEPTH + b"]" * (MAX_DEPTH - 1) + b",[]]") == [nested(MAX_DEPTH - 1), []]
    with pytest.raises(Malformed):
        loads(b'["' + b"\\" * 3 + b'"' + b"[" * 500)
    with pytest.raises(Malformed):
        loads(b"[" * 70 + b"]" * 50)


@pytest.mark.parametrize("one", [b"{}", b"[]", b'{"a":0}'])
def test_no_message_costs_more_than_one_of_256_kib(one: bytes) -> None:
    """Hostile row 74: 1 MiB of ``[{},{},...]``; a body of 256 KiB never holds too many."""
    fits = b"[" + b",".join([one] * (MAX_CONTAINERS - 1)) + b"]"
    assert len(loads(fits)) == MAX_CONTAINERS - 1
    assert dumps(loads(fits)) == fits
    for surplus in (1, MAX_CONTAINERS):
        value = [*loads(fits), *[{}] * surplus]
        with pytest.raises(Malformed, match=f"more than {MAX_CONTAINERS} objects and arrays"):
            loads(b"[" + b",".join([one] * (len(value))) + b"]")
        with pytest.raises(Malformed, match=f"more than {MAX_CONTAINERS} objects and arrays"):
            dumps(value)
    assert loads(dumps("[{" * MAX_CONTAINERS)) == "[{" * MAX_CONTAINERS
    assert len(b"[" + b",".join([b"{}"] * (MAX_CONTAINERS - 1)) + b"]") < 256 << 10


def test_long_unterminated_strings_take_linear_time() -> None:
    # A restart at each escaped quote would take hours for these.
    for body in (b"[" * 65 + b'"' + b'\\"' * 500_000, b"[" * 65 + b'"' + b"\\" * 999_999):
        with pytest.raises(Malformed):
            loads(body)


def test_digits() -> None:
    for form in ("%s", "-%s", "[0.%s]", '{"a":1e%s}'):
        for digits in (MAX_DIGITS + 1, 5_000):
            with pytest.raises(Malformed, match="digits"):
                loads((form % ("1" * digits)).encode())
    assert loads(b"9" * MAX_DIGITS) == 10**MAX_DIGITS - 1
    assert loads(b'"' + b"9" * 5_000 + b'"') == "9" * 5_000
    with pytest.raises(Malformed, match="digits"):
        dumps({"a": [10**MAX_DIGITS]})
    assert dumps(10 ** (MAX_DIGITS - 1)) == b"1" + b"0" * (MAX_DIGITS - 1)


def test_a_process_that_allows_fewer_digits() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(Malformed):
            loads(b"9" * 700)
        with pytest.raises(Malformed):
            dumps([10**700])
    finally:
        sys.set_int_max_str_digits(before)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


LOOP: list[Any] = []
LOOP += [LOOP, LOOP]


class Odd(dict[str, int]):
    """A kind of dict."""


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"Say": {"n": math.nan}}, "Say.n"),
        ([1, [2, math.inf]], "1.1"),
        (-math.inf, ""),
        ({"a": {1: 2}}, "a"),
        ({None: 1}, ""),
        ({"a": [{}, {True: 1}]}, "a.1"),
        ({"text": "\ud800"}, "text"),
        ({"\udc00": 1}, ""),
        ({"a": b"bytes"}, "a"),
        ({"a": [1, {2}]}, "a.1"),
        ({"é": object()}, "\\xe9"),
        (object(), ""),
        (nested(MAX_DEPTH + 1), ".".join(["0"] * MAX_DEPTH)),
        (nested(5_000), ".".join(["0"] * MAX_DEPTH)),
        (LOOP, ".".join(["0"] * MAX_DEPTH)),
    ],
)
def test_what_json_does_not_have_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(Malformed) as caught:
        dumps(value)
    assert caught.value.path == path


def test_what_is_written_besides_plain_containers() -> None:
    assert dumps(nested(MAX_DEPTH)) == b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert dumps({"a": Odd(b=1), "t": (1, 2)}) == b'{"a":{"b":1},"t":[1,2]}'
    shared = [1]
    assert dumps([shared, shared]) == b"[[1],[1]]"
    assert strict_json.MAX_DEPTH == 64
