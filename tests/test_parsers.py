"""Every parser, in one piece, byte by byte, and with the next layer's bytes attached: always the same result.

The parsers are found by introspection, so one without a scenario fails here. Three kinds:

* exchanges: functions that return an ``Exchange``;
* streams: methods that take bytes in any pieces and keep what is unfinished;
* blocks: functions that take one whole message and refuse everything else.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from stronghold_p2p.errors import P2PError
from stronghold_p2p.exchange import ExchangeRunner
from tests import cores
from tests.parser_scenarios import BLOCKS, EXCHANGES, STREAMS, TAIL, Block, Stream
from tests.parser_scenarios import Exchange as ExchangeScenario

STREAMING = {"receive", "feed", "open", "data"}
BLOCK = re.compile(r"(decode|parse|check|open|loads|match|read|from_private|from_bytes|unseal|ReadMessage)")
BUFFER = re.compile(r"\b(bytes|bytearray|memoryview|Buffer)\b")


def functions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Every public function and method that a module defines, by its dotted name."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield f"{module.__name__}.{name}", thing
        elif inspect.isclass(thing) and not getattr(thing, "_is_protocol", False):
            for method, raw in vars(thing).items():
                function = getattr(raw, "__func__", raw)
                written = inspect.isfunction(function) and function.__qualname__ == f"{thing.__name__}.{method}"
                own = not method.startswith("_") or (
                    method == "__init__" and not hasattr(thing, "__dataclass_fields__")
                )
                if written and own:
                    yield f"{module.__name__}.{name}.{method}", function


def buffers(function: Any) -> list[bool]:
    """Which of the parameters take bytes, ``self`` left out."""
    parameters = inspect.signature(function).parameters.values()
    annotations = [str(one.annotation) for one in parameters if one.name != "self"]
    return [bool(BUFFER.search(text)) and not text.startswith("Callable") for text in annotations]


def kind(name: str, function: Any) -> str | None:
    """``exchange``, ``stream``, ``block``, or None for what parses nothing."""
    last = name.rpartition(".")[2]
    returned = str(inspect.signature(function).return_annotation)
    if inspect.iscoroutinefunction(function):
        return None
    if returned.startswith(("Exchange[", "collections.abc.Generator[int | bytes, bytes, ")):
        return "exchange"
    if last == "buffer_updated" and function.__module__.endswith("socket_wire"):  # what arrives is in ``get_buffer``
        return "stream"
    taken = buffers(function)
    if not any(taken):
        return None
    method = "self" in inspect.signature(function).parameters
    if method and last in STREAMING:
        return "stream" if taken[0] else None
    constructs = last == "__init__" and "str | bytes" in str(inspect.signature(function))
    return "block" if BLOCK.match(last) or constructs else None


TAKES_NOTHING = {
    "stronghold_p2p.streams.live.Intake.data",  # what each kind of it does is its own
    "stronghold_p2p.streams.stream.Stream.readuntil",  # the separator
    "stronghold_p2p.sync.parts.Stream.readuntil",
}


def found(wanted: str) -> set[str]:
    modules = (importlib.import_module(cores.name(path)) for path in cores.modules() if path.stem != "__main__")
    return {name for module in modules for name, function in functions(module) if kind(name, function) == wanted}


def splits(data: bytes) -> Iterator[list[bytes]]:
    """In one piece, byte by byte, and cut in two at every place."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, min(len(data), 200)):
        yield [data[:at], data[at:]]


@pytest.mark.parametrize(("wanted", "table"), [("exchange", EXCHANGES), ("stream", STREAMS), ("block", BLOCKS)])
def test_every_parser_has_a_scenario(wanted: str, table: list[Any]) -> None:
    assert found(wanted) - TAKES_NOTHING == {f"stronghold_p2p.{one.parser}" for one in table}


@pytest.mark.parametrize("scenario", EXCHANGES, ids=lambda one: one.parser)
def test_exchanges_do_not_care_how_bytes_arrive(scenario: ExchangeScenario[Any]) -> None:
    for tail in (b"", TAIL):
        for pieces in splits(scenario.given + tail):
            runner = ExchangeRunner(scenario.make())
            sent = runner.start()
            for piece in pieces:
                sent += runner.feed(piece)
            assert runner.done
            assert scenario.look(runner.result) == scenario.expected
            assert runner.leftover == tail
            assert scenario.sends is None or sent == scenario.sends


@pytest.mark.parametrize("scenario", STREAMS, ids=lambda one: one.parser)
def test_streams_do_not_care_how_bytes_arrive(scenario: Stream) -> None:
    for tail in (b"", scenario.tail):
        for pieces in splits(scenario.given + tail):
            parser = scenario.make()
            for piece in pieces:
                parser.feed(piece)
            assert parser.outcome() == scenario.expected


@pytest.mark.parametrize("scenario", BLOCKS, ids=lambda one: one.parser)
def test_blocks_take_the_whole_and_nothing_else(scenario: Block) -> None:
    for form in (bytes, bytearray, memoryview) if scenario.any_buffer else (bytes,):
        assert scenario.parse(form(scenario.given)) == scenario.expected
    for wrong in [scenario.given[:at] for at in range(len(scenario.given))] + [scenario.given + TAIL]:
        try:
            result = scenario.parse(wrong)
        except P2PError:
            continue
        assert scenario.lenient is not None, wrong.hex()
        assert scenario.lenient(wrong, result), wrong.hex()
