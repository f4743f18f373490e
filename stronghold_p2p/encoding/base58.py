"""Numbers as text: base58btc and base36, as multibase uses them.

Both read the bytes as one large number and write it in another base; each leading zero byte is written as the
alphabet's first character. The work grows with the square of the length, so that the text is capped at 128
characters; the longest peer id has 71.
"""

from functools import lru_cache
from typing import Final

from stronghold_p2p.errors import DecodeError

BASE58BTC: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
MAX_TEXT: Final = 128

_DIGITS: Final = {alphabet: {char: index for index, char in enumerate(alphabet)} for alphabet in (BASE58BTC, BASE36)}


def encode(data: bytes, alphabet: str = BASE58BTC) -> str:
    """``data`` as text in ``alphabet``."""
    number = int.from_bytes(data, "big")
    out: list[str] = []
    while number:
        number, digit = divmod(number, len(alphabet))
        out.append(alphabet[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return alphabet[0] * zeros + "".join(reversed(out))


def decode(text: str, alphabet: str = BASE58BTC) -> bytes:
    """The bytes of ``text``; ``DecodeError`` for a foreign character or more than 128 of them."""
    if len(text) > MAX_TEXT:
        raise DecodeError(f"text of {len(text)} characters, {MAX_TEXT} allowed")
    return _decoded(text, alphabet)


@lru_cache(64)  # the addresses of one message end in one peer id
def _decoded(text: str, alphabet: str) -> bytes:
    digits = _DIGITS[alphabet]
    number = 0
    for char in text:
        digit = digits.get(char)
        if digit is None:
            raise DecodeError(f"character {char!r} is not in the alphabet")
        number = number * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
