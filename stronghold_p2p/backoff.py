"""How long to wait before the next try: longer each time, and never the same for all who have lost the same peer."""

import random
from collections.abc import Iterator


def backoff(first: float, longest: float) -> Iterator[float]:
    """Seconds without end: about ``first``, then twice as many each time, up to ``longest``.

    Each is drawn from the upper half of what it may be, so that those who began together do not try together.
    """
    most = first
    while True:
        yield random.uniform(most / 2, most)  # noqa: S311 - no secret
        most = min(2 * most, longest)
