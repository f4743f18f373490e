"""Answers count as long as they say, and there are never too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.resolving import cache as limits
from stronghold_p2p.resolving.cache import LONGEST, MISSING, NAMES, SIZE, Cache
from stronghold_p2p.resolving.questions import Answer

ONE = Answer((bytes(4),), ttl=60.0)


def test_an_answer_holds_for_its_ttl() -> None:
    cache = Cache()
    cache.put("a.example", "A", ONE, 100.0)
    assert cache.get("a.example", "A", 159.9) == ONE
    assert cache.get("a.example", "AAAA", 100.0) is None
    assert cache.get("b.example", "A", 100.0) is None
    assert cache.get("a.example", "A", 160.0) is None
    assert len(cache) == 0


def test_no_ttl_is_believed_without_end_and_what_is_missing_soon_asked_again() -> None:
    cache = Cache()
    cache.put("a.example", "A", Answer((bytes(4),), ttl=2.0**31), 0.0)
    cache.put("b.example", "A", Answer((), ttl=2.0**31), 0.0)
    assert cache.get("a.example", "A", LONGEST - 1) is not None
    assert cache.get("a.example", "A", LONGEST) is None
    assert cache.get("b.example", "A", MISSING - 1) is not None
    assert cache.get("b.example", "A", MISSING) is None


def test_without_a_ttl_nothing_is_kept_and_what_was_kept_goes() -> None:
    cache = Cache()
    cache.put("a.example", "A", ONE, 0.0)
    cache.put("a.example", "A", Answer((bytes(4),), ttl=0.0), 1.0)
    assert cache.get("a.example", "A", 1.0) is None


def test_the_answer_that_was_used_longest_ago_goes_first() -> None:
    cache = Cache()
    for number in range(NAMES):
        cache.put(f"{number}.example", "A", ONE, 0.0)
    assert cache.get("0.example", "A", 1.0) == ONE
    cache.put("new.example", "A", ONE, 1.0)
    assert len(cache) == NAMES
    assert cache.get("0.example", "A", 1.0) == ONE
    assert cache.get("1.example", "A", 1.0) is None


def test_the_bytes_are_bounded() -> None:
    cache = Cache()
    big = Answer(tuple(b"dnsaddr=" + bytes((number,)) * 1_000 for number in range(100)), ttl=60.0)
    for number in range(50):
        cache.put(f"{number}.example", "TXT", big, 0.0)
    assert len(cache) * 100_000 <= SIZE
    assert cache.get("49.example", "TXT", 1.0) == big
    cache.clear()
    assert (len(cache), cache.get("49.example", "TXT", 1.0)) == (0, None)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3), st.integers(0, 90), st.integers(0, 9))))
def test_it_agrees_with_a_plain_table(steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever is put and however time passes, an answer that is found is the last one and has not ended."""
    cache, model, now = Cache(), dict[str, tuple[float, Answer]](), 0.0
    for name, records, ttl, passed in steps:
        now += passed
        answer = Answer(tuple(bytes((number,)) for number in range(records)), ttl=float(ttl))
        until, known = model.get(name, (0.0, None))
        assert cache.get(name, "A", now) == (known if until > now else None)
        cache.put(name, "A", answer, now)
        model[name] = now + min(ttl, limits.LONGEST if records else limits.MISSING), answer
    assert len(cache) <= len(model)
