"""Two sets find out in what they differ, and say little else: range-based set reconciliation (arXiv 2212.13567).

A set is records in the order of their keys, each with a digest of all that it says. Of a range of keys, a side tells a
fingerprint of what it has there. Where the other side has the same, nothing more is said; where it has something else,
it cuts the range into pieces and tells theirs; and what few records are left are listed. So ten differences among
100,000 records cost some kilobytes and three round trips, whoever begins, and each side keeps nothing in between.

    message = ranges, one behind the other; each has an upper end (the lower one is the end before), and what it tells
    range   = length and bytes of the upper end, where length 0 is no end; a kind; and of that kind:
              SAME         nothing: it is known to be equal
              FINGERPRINT  16 bytes
              LIST         a count, then each record: length and bytes of its key, 16 bytes of its digest
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

SAME, FINGERPRINT, LIST = range(3)
PIECES = 16  # of a range that differs
FEW = 24  # records that are listed rather than cut into pieces
SIZE = 16  # bytes of a fingerprint, and of a digest in a list
LONGEST_KEY = 1_024
MOST = 65_536  # ranges and records of one message

_MODULUS = 1 << 256


class Malformed(ValueError):
    """A message that nobody can have meant."""


class Records:
    """A set, looked at once: ``digests`` maps each key to 32 bytes, the SHA-256 of all that its record says.

    Fingerprints are hashes of sums: a sum over any range is one subtraction, and one cannot aim at it, as it has 256
    bits and the digests are hashes themselves (the paper's section 5).
    """

    def __init__(self, digests: Mapping[bytes, bytes]) -> None:
        self.keys: list[bytes] = sorted(digests)
        self.digests = digests
        self._sums = [0]
        for key in self.keys:
            self._sums.append((self._sums[-1] + int.from_bytes(digests[key], "big")) % _MODULUS)

    def span(self, lower: bytes, upper: bytes | None) -> tuple[int, int]:
        """Where the keys from ``lower`` on, and below ``upper`` (None: all that follow), stand."""
        first = bisect_left(self.keys, lower)
        return first, len(self.keys) if upper is None else max(first, bisect_left(self.keys, upper))

    def fingerprint(self, first: int, last: int) -> bytes:
        total = (self._sums[last] - self._sums[first]) % _MODULUS
        return sha256((last - first).to_bytes(8, "big") + total.to_bytes(32, "big")).digest()[:SIZE]

    def cuts(self, first: int, last: int) -> list[int]:
        """Where the pieces of this range begin, but for the first one."""
        count = last - first
        return sorted({first + count * piece // PIECES for piece in range(1, PIECES)} - {first})

    def between(self, at: int) -> bytes:
        """The shortest key that parts the record at ``at`` from the one before it."""
        key, before = self.keys[at], self.keys[at - 1]
        same = next((i for i, (one, other) in enumerate(zip(key, before, strict=False)) if one != other), len(before))
        return key[: same + 1]


@dataclass
class Found:
    """What one message has shown, and what to answer; ``reply`` is empty when nothing is left to be asked."""

    reply: bytes = b""
    missing: list[bytes] = field(default_factory=list)
    """Keys that the other side has, and that we have not, or with something else."""
    surplus: list[bytes] = field(default_factory=list)
    """Keys that we have, and that the other side has not, or with something else."""


def begin(ours: Records) -> bytes:
    """The first message."""
    out = _Writer()
    _cut(out, ours, 0, len(ours.keys), None)
    return out.data()


def answer(ours: Records, message: bytes) -> Found:
    """What to do with a message of the other side. ``Malformed``: it is none."""
    found, out = Found(), _Writer()
    lower = b""
    for upper, kind, told in _read(message):
        first, last = ours.span(lower, upper)
        if kind == FINGERPRINT and told != ours.fingerprint(first, last):
            _cut(out, ours, first, last, upper)
        elif isinstance(told, list):
            theirs = dict(told)
            mine = {key: ours.digests[key][:SIZE] for key in ours.keys[first:last]}
            found.surplus += [key for key in mine if theirs.get(key) != mine[key]]
            found.missing += [key for key in theirs if mine.get(key) != theirs[key]]
            out.add(upper, SAME)
        else:
            out.add(upper, SAME)
        lower = lower if upper is None else upper
    found.missing.sort()
    found.reply = out.data() if out.asks else b""
    return found


def _cut(out: "_Writer", ours: Records, first: int, last: int, upper: bytes | None) -> None:
    """Tell of a range: its records if they are few, else the fingerprints of its pieces."""
    if last - first <= FEW:
        records = [(key, ours.digests[key][:SIZE]) for key in ours.keys[first:last]]
        out.add(upper, LIST, records)
        return
    cuts = ours.cuts(first, last)
    for start, stop in zip([first, *cuts], [*cuts, last], strict=True):
        end = upper if stop == last else ours.between(stop)
        out.add(end, FINGERPRINT, ours.fingerprint(start, stop))


class _Writer:
    """Puts ranges into a message; neighbours that are the same become one, and the last ones are left out."""

    def __init__(self) -> None:
        self.asks = False
        self._parts: list[bytes] = []
        self._same: bytes | None = None

    def add(self, upper: bytes | None, kind: int, told: bytes | Sequence[tuple[bytes, bytes]] = b"") -> None:
        if kind == SAME:
            self._same = upper
            return
        self.asks = True
        if self._same is not None:
            self._parts.append(_bound(self._same) + bytes([SAME]))
            self._same = None
        body = told if isinstance(told, bytes) else _listed(told)
        self._parts.append(_bound(upper) + bytes([kind]) + body)

    def data(self) -> bytes:
        return b"".join(self._parts)


def _bound(upper: bytes | None) -> bytes:
    return b"\0" if upper is None else _number(len(upper)) + upper


def _listed(records: Sequence[tuple[bytes, bytes]]) -> bytes:
    return _number(len(records)) + b"".join(_number(len(key)) + key + digest for key, digest in records)


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


Told = bytes | list[tuple[bytes, bytes]]


class _Reader:
    """Takes a message apart."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = self._records = 0

    @property
    def over(self) -> bool:
        return self._at == len(self._message)

    def take(self, size: int) -> bytes:
        piece = self._message[self._at : self._at + size]
        if len(piece) < size:
            raise Malformed("the message is cut off")
        self._at += size
        return piece

    def number(self) -> int:
        value = 0
        for shift in (0, 7, 14):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Malformed("a number that is too large")

    def key(self) -> bytes:
        size = self.number()
        if size > LONGEST_KEY:
            raise Malformed(f"a key of {size} bytes: {LONGEST_KEY} are the most")
        return self.take(size)

    def told(self, kind: int) -> Told:
        if kind == SAME:
            return b""
        if kind == FINGERPRINT:
            return self.take(SIZE)
        if kind != LIST:
            raise Malformed(f"a range of kind {kind}")
        count = self.number()
        self._records += count
        if self._records > MOST:
            raise Malformed(f"more than {MOST} records in a message")
        return [(self.key(), self.take(SIZE)) for _ in range(count)]


def _read(message: bytes) -> Iterator[tuple[bytes | None, int, Told]]:
    """Each range: its upper end, its kind, and what it tells; their ends rise."""
    reader, lower = _Reader(message), b""
    while not reader.over:
        upper = reader.key() or None
        if upper is not None and upper <= lower:
            raise Malformed("the ends of ranges do not rise")
        kind = reader.take(1)[0]
        yield upper, kind, reader.told(kind)
        if upper is None:
            if not reader.over:
                raise Malformed("something stands behind the last range")
            return
        lower = upper
