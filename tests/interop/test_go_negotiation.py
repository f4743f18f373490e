"""multistream-select on streams, with go-multistream at the other end."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import UnsupportedProtocol
from tests.interop.go_peer import GoError
from tests.interop.our_peer import ECHO, HALF_CLOSE, RR, Pair, echo

UNKNOWN = "/test/unknown/1"
LATE = "/test/late/1"


@pytest.fixture
def first_flights() -> Iterator[list[bytes]]:
    """What arrives first on each stream that a peer opens."""
    seen: list[bytes] = []
    match_first = multistream.match_first

    def note(data: bytes | memoryview) -> tuple[str, int] | None:
        seen.append(bytes(data))
        return match_first(data)

    with patch.object(multistream, "match_first", note):
        yield seen


async def test_go_does_not_serve_it(pair: Pair) -> None:
    # One name is proposed lazily, so the refusal comes with the first read ...
    stream = await pair.open(UNKNOWN)
    await stream.write(b"in vain")
    with pytest.raises(UnsupportedProtocol) as caught:
        await stream.read()
    assert caught.value.protocols == (UNKNOWN,)
    # ... several are proposed one after the other.
    with pytest.raises(UnsupportedProtocol) as caught:
        await pair.open(UNKNOWN, LATE)
    assert caught.value.protocols == (UNKNOWN, LATE)
    async with await pair.open(UNKNOWN, LATE, ECHO) as stream:
        assert stream.protocol == ECHO
        await stream.write(b"x")
        assert await stream.readexactly(1) == b"x"
    await pair.quiet()


async def test_we_do_not_serve_it(pair: Pair) -> None:
    with pytest.raises(GoError, match="protocols not supported") as caught:
        await pair.ask_go("streams_sequential", protocol=UNKNOWN)
    assert UNKNOWN in str(caught.value)
    assert (await pair.ask_go("streams_sequential", n=10))["done"] == 10


async def test_we_serve_it_no_longer(pair: Pair) -> None:
    """go believes identify, proposes lazily, and is refused when it reads."""
    pair.ours.serve_no_longer(RR)
    with pytest.raises(GoError) as caught:
        await pair.ask_go("streams_sequential")
    assert caught.value.code == Reset.NEGOTIATION_FAILED
    assert (await pair.ask_go("streams_sequential", protocol=ECHO))["done"] == 1


async def test_go_is_lazy_once_it_knows(pair: Pair, first_flights: list[bytes]) -> None:
    first_flights.clear()
    await pair.ask_go("streams_sequential", protocol=RR, size=100)
    (flight,) = first_flights
    proposal = multistream.propose(RR)
    assert flight.startswith(proposal)
    # A lazy opener that reads first sends its proposal with nothing behind it.
    first_flights.clear()
    answer = await pair.ask_go("half_close", remote_first=True, size=1000)
    assert (answer["received"], answer["sent"]) == (0, 1000)
    assert first_flights == [multistream.propose(HALF_CLOSE)]


async def test_go_asks_first_when_it_does_not_know(pair: Pair, first_flights: list[bytes]) -> None:
    pair.ours.serve(LATE, echo)  # identify does not tell
    first_flights.clear()
    assert (await pair.ask_go("streams_sequential", protocol=LATE))["done"] == 1
    assert len(first_flights) == 1
    assert len(first_flights[0]) <= len(multistream.propose(LATE))  # no data yet


async def test_ls_is_nothing_that_is_served(pair: Pair) -> None:
    """go-multistream has dropped ``ls`` and answers ``na``; so do we, and the negotiation goes on."""
    question = multistream.HEADER + multistream.message("ls") + multistream.message(ECHO) + b"payload"
    expected = multistream.HEADER + multistream.NA + multistream.message(ECHO) + b"payload"
    raw = await pair.ask_go("raw", send=question.hex(), want=len(expected))
    assert bytes.fromhex(raw["received"]) == expected

    stream = pair.connection._stream(pair.connection._muxer.open())
    await stream.write(question)
    assert await stream.readexactly(len(expected)) == expected
    stream.close()
