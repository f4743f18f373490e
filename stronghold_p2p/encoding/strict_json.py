"""JSON as two peers must agree on it: RFC 8259 and RFC 7493 (I-JSON), read strictly, written as serde writes it.

Python's own parser is lenient where another one is not, and a message that two parsers read differently can
pass a rule as one thing and be acted on as another. Refused here: duplicate keys, NaN and infinities, lone
surrogates, trailing bytes, and what costs more than it carries: nesting beyond ``MAX_DEPTH``, more than
``MAX_CONTAINERS`` objects and arrays, numbers of more than ``MAX_DIGITS`` digits. These are checked without recursion
before the parser sees the text.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any, Final, NoReturn

from stronghold_p2p.errors import Malformed

MAX_DEPTH: Final = 64
MAX_DIGITS: Final = 1_000
MAX_CONTAINERS: Final = (256 << 10) // 3
"""As many as 256 KiB can hold: what is read must not cost more (hostile row 74)."""
MAX_PATH: Final = 200

# A string from its first quote to its last, or to the end of the text: linear in any input.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# So many strings, and what stands between them: a thread that reads a long text leaves the interpreter to others.
_RUN: Final = re.compile(rb'(?:[^"]++|%b){1,4096}+' % _STRING.pattern, re.DOTALL)
_AS_ZEROS: Final = bytes(48 if byte in b"0123456789" else 32 for byte in range(256))
_LONG_NUMBER: Final = b"0" * (MAX_DIGITS + 1)
_SURROGATE: Final = re.compile(rb"\\u[dD]")

_AS_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # down and up, as signed bytes
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def loads(body: bytes) -> Any:
    """The value of a JSON text in UTF-8. ``Malformed``: anything else, down to the last byte."""
    if len(body) > 2 * MAX_DEPTH:  # a shorter one is neither deep, as each bracket has its other, nor expensive
        _check_cost(body)
    try:
        value = _parsed(body.decode())
        if b"\\" in body and b"\\u" in body and _SURROGATE.search(body):
            _ENCODER.encode(value).encode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise Malformed("a lone surrogate is no text") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg} at character {error.pos}") from None
    except Malformed:
        raise
    except ValueError as error:  # a process may allow integers fewer digits than MAX_DIGITS
        raise Malformed(f"not JSON: {error}") from None
    return value


def dumps(value: Any) -> bytes:
    """The compact JSON text of ``value``, non-ASCII text as it is.

    ``Malformed``, with the path of the field: a NaN or an infinity, a key that is no text, a lone surrogate,
    a value that JSON does not have, nesting beyond ``MAX_DEPTH``, a number beyond ``MAX_DIGITS``, or more than
    ``MAX_CONTAINERS`` objects and arrays.
    """
    if not _is_plain(value, MAX_DEPTH) and (fault := _fault(value, leaves=False)):
        raise fault
    try:
        body = "".join(_pieces(value, 0)).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise (_fault(value, leaves=True) or at("", f"not JSON: {_reason(error)}")) from None
    if len(body) > MAX_DIGITS:
        if len(body) > 2 * MAX_CONTAINERS:  # each takes two bytes
            _check_cost(body)
        _check_digits(body)
    return body


def outside_strings(body: bytes) -> bytes:
    """What of a JSON text stands in no string, up to where it ceases to be JSON."""
    return b"".join([_STRING.sub(b"", run[0]) for run in _RUN.finditer(body)])


def _parsed(text: str) -> Any:
    """What ``JSONDecoder.decode`` returns, without its two regular expressions that look for white space."""
    start = 0 if text[:1] not in _WHITE else len(text) - len(text.lstrip(_WHITE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise json.JSONDecodeError("Expecting value", text, stop.value) from None
    if end < len(text) and (rest := text[end:].lstrip(_WHITE)):
        raise json.JSONDecodeError("Extra data", text, len(text) - len(rest))
    return value


def _check_cost(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        steps = outside_strings(body).translate(_AS_STEPS, _NOT_BRACKETS)
        if steps.count(1) > MAX_CONTAINERS:
            raise Malformed(f"more than {MAX_CONTAINERS} objects and arrays")
        # No deeper than the parser gets: where brackets do not pair it stops.
        if max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}")
    if len(body) > MAX_DIGITS:
        _check_digits(body)


def _check_digits(body: bytes) -> None:
    long = _LONG_NUMBER in body.translate(_AS_ZEROS)
    if long and _LONG_NUMBER in _STRING.sub(b'""', body).translate(_AS_ZEROS):
        raise Malformed(f"a number of more than {MAX_DIGITS} digits")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise at(printable(key), "duplicate key")
    return value


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Malformed("a number beyond the range of a double")
    return value


def _constant(text: str) -> NoReturn:
    raise Malformed(f"{text} is no JSON")


# Any, because typeshed does not know of ``scan_once``.
_DECODER: Final[Any] = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_WHITE: Final = " \t\n\r"
_scan: Final = _DECODER.scan_once


def _in_pieces() -> Callable[[Any, int], Iterable[str]]:
    """``_ENCODER.iterencode``, which makes CPython's C encoder anew for each value: here it is made once.

    It need not look for a container inside itself: what is nested too deeply has been refused before.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: _ENCODER.iterencode(value)
    encoder: Callable[[Any, int], Iterable[str]] = make(
        None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
    )
    return encoder


_pieces: Final = _in_pieces()


def _is_plain(value: Any, depth: int) -> bool:
    """A quick yes for what ``_fault`` would find nothing in; a no says nothing."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if not depth:
        return False
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        return False
    for child in value:  # noqa: SIM110 - twice as fast as a generator
        if type(child) not in _SCALARS and not _is_plain(child, depth - 1):
            return False
    return True


def _fault(value: Any, path: tuple[Any, ...] = (), depth: int = MAX_DEPTH, *, leaves: bool) -> Malformed | None:
    """What is wrong first inside ``value``: depth and keys, which the encoder would recurse into or turn into text
    without a word, and with ``leaves`` whatever it cannot write.
    """
    if isinstance(value, dict | list | tuple):
        if not depth:
            return at(_text(path), f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            return at(_text(path), "a key that is no text")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        found = (_fault(child, (*path, key), depth - 1, leaves=leaves) for key, child in items)
        return next((fault for fault in found if fault is not None), None)
    if leaves:
        try:
            _ENCODER.encode(value).encode()
        except (ValueError, TypeError, RecursionError) as error:
            return at(_text(path), f"not JSON: {_reason(error)}")
    return None


def _text(path: tuple[Any, ...]) -> str:
    return printable(".".join(map(str, path)))


def at(path: str, what: str) -> Malformed:
    """What is wrong with the field at ``path``; at the whole message if that is empty."""
    return Malformed(f"{path}: {what}" if path else what, path=path)


def printable(text: str) -> str:
    """A text that may be a peer's, in ASCII and not too long for an error."""
    return ascii(text[:MAX_PATH])[1:-1]


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "a lone surrogate is no text"
    return f"{error}: name a RequestProtocol that has a codec for it" if isinstance(error, TypeError) else str(error)
