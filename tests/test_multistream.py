"""multistream.py: negotiation, in any pieces and with any fault of the peer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stronghold_p2p import multistream
from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import ConfigError, HandshakeError, NegotiationError
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.multistream import HEADER, NA, confirm, dial, lazy, listen, match_first, propose
from tests.noise.pair import feed_all
from tests.test_parsers import splits

T = TypeVar("T")

NOISE = bytes.fromhex("072f6e6f6973650a")
YAMUX = bytes.fromhex("0d2f79616d75782f312e302e300a")
SERVED = {"/noise", "/yamux/1.0.0", "/x" * 200}


def line(text: bytes) -> bytes:
    """A message of any text, well-formed or not."""
    return varint.encode(len(text)) + text


def run(exchange: Exchange[T], *pieces: bytes) -> tuple[bytes, ExchangeRunner[T]]:
    """Everything the exchange wrote, and its runner."""
    runner = ExchangeRunner(exchange)
    return runner.start() + feed_all(runner, pieces), runner


def every_way(make: Callable[[], Exchange[T]], data: bytes, result: T, sent: bytes) -> None:
    """Whole, byte by byte, cut in two everywhere, and with the next layer's bytes behind it: the same outcome."""
    for rest in (b"", b"\x13/multistream/1.0.0\n"):
        for pieces in splits(data + rest):
            wrote, runner = run(make(), *pieces)
            assert (runner.done, runner.result, wrote, runner.leftover) == (True, result, sent, rest)


def fails(make: Callable[[], Exchange[Any]], data: bytes, *, refused: bool = False) -> bytes:
    """The negotiation ends with our error in any pieces, having read nothing behind the fault; what it wrote."""
    outcomes = set()
    for pieces in ([data], [bytes([byte]) for byte in data]):
        runner, wrote = ExchangeRunner(make()), bytearray()
        with pytest.raises(NegotiationError) as caught:
            for piece in (None, *pieces):
                wrote += runner.start() if piece is None else runner.feed(piece)
        assert caught.value.refused is refused
        assert caught.value.phase == "multistream"
        assert isinstance(caught.value, HandshakeError)
        outcomes.add(bytes(wrote) + runner.unsent)
    (outcome,) = outcomes
    return outcome


def test_messages_are_the_bytes_of_the_wire() -> None:
    assert HEADER.hex() == "132f6d756c746973747265616d2f312e302e300a"
    assert NA.hex() == "036e610a"
    assert multistream.message("/noise") == NOISE
    assert multistream.message("/yamux/1.0.0") == YAMUX
    assert propose("/noise") == HEADER + NOISE


@pytest.mark.parametrize("name", ["", "/a\n", "/a\nb", "/a\r", "/\ud800", "/" + "é" * 511 + "x"])
def test_names_that_no_message_can_carry(name: str) -> None:
    with pytest.raises(ConfigError):
        multistream.message(name)
    assert len(multistream.message("/" + "é" * 511)) == 2 + 1024


def test_dial_takes_the_first_that_is_echoed() -> None:
    every_way(lambda: dial(["/noise"]), HEADER + NOISE, "/noise", HEADER + NOISE)
    every_way(
        lambda: dial(["/tls/1.0.0", "/noise", "/other"]), HEADER + NA + NOISE, "/noise", propose("/tls/1.0.0") + NOISE
    )


def test_dial_refused() -> None:
    sent = fails(lambda: dial(["/a", "/b"]), HEADER + NA + NA, refused=True)
    assert sent == propose("/a") + multistream.message("/b")
    with pytest.raises(NegotiationError) as caught:
        next(dial([]))
    assert caught.value.refused


def test_listen_accepts() -> None:
    every_way(lambda: listen(SERVED.__contains__), HEADER + NOISE, "/noise", HEADER + NOISE)
    every_way(
        lambda: listen(SERVED.__contains__),
        HEADER + line(b"/tls/1.0.0\n") + line(b"ls\n") + HEADER + NA + line(b"no slash\n") + YAMUX,
        "/yamux/1.0.0",
        HEADER + NA * 5 + YAMUX,
    )


def test_listen_answers_a_dialer_that_waits_for_the_header() -> None:
    runner = ExchangeRunner(listen(SERVED.__contains__))
    assert runner.start() == b""
    assert runner.feed(HEADER) == HEADER
    assert runner.feed(NOISE) == NOISE


def test_listen_never_serves_what_is_no_protocol() -> None:
    asked: list[str] = []

    def serve_all(name: str) -> bool:
        asked.append(name)
        return True

    sent, runner = run(listen(serve_all), HEADER + HEADER + line(b"ls\n") + NA + NOISE)
    assert (sent, runner.result, asked) == (HEADER + NA * 3 + NOISE, "/noise", ["/noise"])


@pytest.mark.parametrize("proposal", [b"/nope\n", b"ls\n", HEADER[1:]], ids=["unknown", "ls", "header"])
def test_64_proposals_at_most(proposal: bytes) -> None:
    assert run(listen(SERVED.__contains__), HEADER + line(proposal) * 63 + NOISE)[1].result == "/noise"
    sent = fails(lambda: listen(SERVED.__contains__), HEADER + line(proposal) * 10_000, refused=True)
    assert sent == HEADER + NA * 64


BAD_LINES = {
    "length 0": b"\0",
    "empty line": b"\x01\n",
    "length 1025": b"\x81\x08",
    "length 16383": b"\xff\x7f",
    "three bytes of length": b"\x80\x80\x01",
    "not minimal": b"\x80\0",
    "not minimal, in range": b"\x87\0/noise\n",
    "endless length": b"\xff" * 100,
    "no newline": line(b"/noise/"),
    "carriage return": line(b"/noise\r\n"),
    "two lines": line(b"/noise\n/a\n"),
    "not UTF-8": line(b"/no\xffise\n"),
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_bad_lines(bad: bytes) -> None:
    """Hostile rows 15 and 16: refused by the prefix where the prefix tells, and by every role."""
    assert fails(lambda: listen(SERVED.__contains__), bad) == b""
    assert fails(lambda: listen(SERVED.__contains__), HEADER + bad) == HEADER
    assert fails(lambda: dial(["/noise", "/b"]), bad) == propose("/noise")
    assert fails(lambda: dial(["/noise", "/b"]), HEADER + bad) == propose("/noise")
    fails(lambda: confirm("/noise"), bad)
    fails(lambda: confirm("/noise"), HEADER + bad)


LONG = [b"\0", b"\x01", b"\x80\0", b"\xff\xff", b"\x81\x08"]


@pytest.mark.parametrize(
    ("prefix", "behind"), [*((one, b"") for one in (*LONG, b"\x14")), *((one, HEADER) for one in LONG)]
)
def test_a_bad_length_is_refused_before_any_body_is_asked_for(prefix: bytes, behind: bytes) -> None:
    for exchange in [listen(SERVED.__contains__)] if behind else [confirm("/noise"), listen(SERVED.__contains__)]:
        asked = next(exchange)
        if behind:
            exchange.send(HEADER[:1])
            assert exchange.send(HEADER[1:]) == HEADER
            asked = exchange.send(b"")
        with pytest.raises(NegotiationError):
            for byte in prefix:
                assert asked == 1
                asked = exchange.send(bytes([byte]))


BAD_HEADERS = [b"/multistream/2.0.0\n", b"/multistream/1.0\n", b"/Multistream/1.0.0\n", b"na\n", b"/noise\n"]


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_bad_headers(header: bytes) -> None:
    assert fails(lambda: listen(SERVED.__contains__), line(header) + NOISE) == b""
    fails(lambda: dial(["/noise"]), line(header) + NOISE)
    fails(lambda: confirm("/noise"), line(header) + NOISE)


BAD_ANSWERS = [b"/noise2\n", b"/nois\n", b"/noise \n", b" /noise\n", b"/Noise\n", b"/b\n", b"ls\n", b"NA\n", HEADER[1:]]


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_an_answer_is_the_exact_echo_or_na(answer: bytes) -> None:
    """Hostile row 19: no closest match, and not the second proposal's name to the first either."""
    fails(lambda: dial(["/noise", "/b"]), HEADER + line(answer))
    fails(lambda: confirm("/noise"), HEADER + line(answer))


def test_an_error_quotes_no_more_than_a_little_of_the_peer() -> None:
    runner = ExchangeRunner(dial(["/noise"]))
    runner.start()
    with pytest.raises(NegotiationError) as caught:
        runner.feed(HEADER + line(b"\x1b" * 1000 + b"\n"))
    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)


def test_confirm() -> None:
    every_way(lambda: confirm("/noise"), HEADER + NOISE, None, b"")
    fails(lambda: confirm("/noise"), HEADER + NA, refused=True)


def upper(writes: int, reads: list[int]) -> Exchange[bytes]:
    """An inner exchange that writes, then reads and echoes each piece in capitals, then writes a last word."""
    for number in range(writes):
        yield b"w%d" % number
    got = b""
    for size in reads:
        piece = yield size
        yield piece.upper()
        got += piece
    yield b"end"
    return got


def test_lazy_sends_the_first_writes_with_the_proposal() -> None:
    exchange = lazy("/noise", upper(3, [2]))
    assert next(exchange) == HEADER + NOISE + b"w0w1w2"
    exchange.close()


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_lazy_in_any_pieces(writes: int) -> None:
    first = propose("/noise") + b"".join(b"w%d" % number for number in range(writes))
    every_way(
        lambda: lazy("/noise", upper(writes, [2, 0, 3])), HEADER + NOISE + b"abcde", b"abcde", first + b"ABCDEend"
    )


def test_lazy_around_an_exchange_that_never_reads_still_confirms() -> None:
    every_way(lambda: lazy("/noise", upper(1, [])), HEADER + NOISE, b"", propose("/noise") + b"w0end")
    fails(lambda: lazy("/noise", upper(1, [])), HEADER + NA, refused=True)


@pytest.mark.parametrize("answer", [HEADER + NA, NA, HEADER + line(b"/other\n"), b"data without answer", NOISE])
def test_lazy_gives_nothing_of_a_refusing_peer_to_the_inner_exchange(answer: bytes) -> None:
    """Hostile row 21."""
    got: list[bytes] = []
    closed: list[bool] = []

    def inner() -> Exchange[None]:
        try:
            yield b"early"
            got.append((yield 1))
        finally:
            closed.append(True)

    sent = fails(lambda: lazy("/noise", inner()), answer + b"payload", refused=answer == HEADER + NA)
    assert sent == propose("/noise") + b"early"
    assert got == []
    assert closed == [True, True]


def test_lazy_passes_an_error_of_the_inner_exchange_on() -> None:
    def inner() -> Exchange[None]:
        yield b"early"
        yield 1
        raise HandshakeError("inner")

    runner = ExchangeRunner(lazy("/noise", inner()))
    runner.start()
    with pytest.raises(HandshakeError, match="inner"):
        runner.feed(HEADER + NOISE + b"x")


FRAGMENTS = st.sampled_from(
    [HEADER, NOISE, YAMUX, NA, line(b"ls\n"), line(b"/x" * 200 + b"\n"), line(b"/unknown\n"), *BAD_LINES.values()]
)
FLIGHTS = st.lists(FRAGMENTS, max_size=4).map(b"".join) | st.binary(max_size=60).map(HEADER.__add__)


def first_by_generator(data: bytes) -> tuple[str, int] | None:
    """What ``listen`` makes of ``data`` up to the first proposal, when it accepts everything."""
    runner = ExchangeRunner(listen(lambda _: True))
    runner.start()
    try:
        sent = runner.feed(data)
    except NegotiationError:
        return None
    if not runner.done or sent != propose(runner.result):
        return None
    return runner.result, len(data) - len(runner.leftover)


@given(FLIGHTS, st.integers(0, 2000))
@example(HEADER, 0)
@example(HEADER + b"\x80", 0)
@example(HEADER + b"\x81\x08" + b"x" * 1024 + b"\n", 0)
@example(HEADER + b"\x80\x08" + b"x" * 1023 + b"\n", 0)
@example(HEADER + b"\x80\x08" + b"x" * 1023 + b"\n", 1)
@example(HEADER + b"\xff\x80\x01", 0)
@example(HEADER + line(b"/noise\r\n"), 0)
@example(HEADER + line(b"/no\xffise\n"), 0)
def test_the_fast_path_agrees_with_the_generator(flight: bytes, missing: int) -> None:
    data = flight[: len(flight) - missing] if missing else flight
    expected = None if len(flight) > 20 and flight[20] > 0x7F else first_by_generator(data)
    for form in (data, bytearray(data), memoryview(data)):
        assert match_first(form) == expected


def test_the_fast_path_finds_the_first_proposal_and_leaves_the_rest() -> None:
    assert match_first(HEADER + NOISE + b"rest") == ("/noise", 28)
    assert match_first(memoryview(propose("/x" * 60))) == ("/x" * 60, 20 + 1 + 121)
    assert match_first(propose("/x" * 200)) is None  # a length of two bytes is the generator's
    for data in (*((HEADER + NOISE)[:cut] for cut in range(28)), HEADER * 2, HEADER + NA, HEADER + line(b"ls\n")):
        assert match_first(data) is None


@given(st.binary(max_size=200))
def test_only_our_errors_leave(data: bytes) -> None:
    for make in (lambda: listen(lambda _: False), lambda: dial(["/noise", "/b"]), lambda: confirm("/noise")):
        for start in (data, HEADER + data):
            with contextlib.suppress(NegotiationError):
                _, runner = run(make(), start)
                assert runner.done or len(runner.leftover) < 1024
