"""Answers of the DNS, for as long as they say that they hold (RFC 1035, 3.2.1; of what is missing RFC 2308, 5)."""

from collections import OrderedDict
from typing import Final

from stronghold_p2p.resolving.questions import Answer, Kind

NAMES: Final = 1_024
SIZE: Final = 1 << 20  # bytes of all records
LONGEST: Final = 3_600.0  # seconds; whoever moves a name expects to be followed
MISSING: Final = 60.0  # seconds for which a name may be missing: it may have been made since


class Cache:
    """Bounded: the answers that were used longest ago go first. Failures are no answers."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, Kind], tuple[float, Answer]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, name: str, kind: Kind, now: float) -> Answer | None:
        until, answer = self._answers.get((name, kind), (0.0, None))
        if answer is None:
            return None
        if until <= now:
            self._drop((name, kind))
            return None
        self._answers.move_to_end((name, kind))
        return answer

    def put(self, name: str, kind: Kind, answer: Answer, now: float) -> None:
        """An answer with a TTL of 0 holds for those who have asked already."""
        self._drop((name, kind))
        ttl = min(answer.ttl, LONGEST if answer.records else MISSING)
        if ttl <= 0:
            return
        self._answers[name, kind] = now + ttl, answer
        self._size += _size(name, answer)
        while len(self._answers) > NAMES or self._size > SIZE:
            self._drop(next(iter(self._answers)))

    def clear(self) -> None:
        self._answers.clear()
        self._size = 0

    def _drop(self, key: tuple[str, Kind]) -> None:
        _, answer = self._answers.pop(key, (0.0, None))
        if answer is not None:
            self._size -= _size(key[0], answer)


def _size(name: str, answer: Answer) -> int:
    return len(name) + sum(map(len, answer.records))
