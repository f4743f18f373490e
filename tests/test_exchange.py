"""The runner of exchanges: bytes in any pieces, results, leftovers and failures."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.exchange import Exchange, ExchangeRunner


def greet() -> Exchange[bytes]:
    """Says hello, reads a length and that many bytes, thanks, and returns them."""
    answer = yield b"hello "
    assert answer == b""
    size = (yield 1)[0]
    body = yield size
    yield b"thanks"
    return body


def silent() -> Exchange[int]:
    """Neither reads nor writes."""
    yield from ()
    return 7


def refuse() -> Exchange[None]:
    yield 1
    yield b"sorry"
    raise ValueError("refused")


@given(body=st.binary(max_size=60), cuts=st.lists(st.integers(0, 80)), tail=st.binary(max_size=20))
def test_pieces_do_not_matter(body: bytes, cuts: list[int], tail: bytes) -> None:
    data = bytes([len(body)]) + body + tail
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    runner = ExchangeRunner(greet())
    sent = runner.start()
    for start, end in pairwise(edges):
        sent += runner.feed(data[start:end])
    assert runner.done
    assert (sent, runner.result, runner.leftover) == (b"hello thanks", body, tail)


def test_nothing_to_read_is_done_at_once_and_what_comes_after_the_end_is_kept() -> None:
    runner = ExchangeRunner(silent())
    assert runner.start() == b""
    assert runner.done
    assert runner.result == 7
    assert runner.feed(b"next ") == b""
    assert runner.feed(bytearray(b"layer")) == b""
    assert runner.leftover == b"next layer"


def test_a_failure_keeps_what_it_wanted_to_say() -> None:
    runner = ExchangeRunner(refuse())
    assert runner.start() == b""
    with pytest.raises(ValueError, match="refused"):
        runner.feed(b"x")
    assert runner.unsent == b"sorry"
    assert not runner.done


def test_closing_ends_the_exchange() -> None:
    ended: list[bool] = []

    def watched() -> Exchange[None]:
        try:
            yield 1
        finally:
            ended.append(True)

    runner = ExchangeRunner(watched())
    runner.start()
    runner.close()
    assert ended == [True]
