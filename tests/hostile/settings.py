"""What the programs under test have in common: what a row may set, what a control takes away, JSON lines."""

from __future__ import annotations

import argparse
import inspect
import time
from ast import literal_eval
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from harness.commands import commands, say
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import DialError
from tests.hostile import weak

Setting = tuple[str, float | None]


def parsed(program: str, *, add: Callable[[argparse.ArgumentParser], object] | None = None) -> argparse.Namespace:
    """The command line of a program; constants are as it says. Each option may be given again; the last one counts."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.hostile.{program}")
    if add is not None:
        add(parser)
    parser.add_argument("--timeout", type=_named, action="append", default=[], metavar="NAME=SECONDS")
    parser.add_argument("--limit", type=_named, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--constant", type=_named, action="append", default=[], metavar="MODULE.NAME=VALUE")
    parser.add_argument(
        "--without", choices=sorted(weak.CHECKS), action="append", default=[], help="tests.hostile.weak"
    )
    parser.add_argument(
        "--counters", type=int, nargs=2, metavar=("SEND", "RECEIVE"), help="where Noise begins to count"
    )
    options = parser.parse_args()
    options.timeouts, options.limits = Timeouts(**dict(options.timeout)), dict(options.limit)
    for name, value in options.constant:
        module, _, constant = name.rpartition(".")
        if not hasattr(import_module(f"stronghold_p2p.{module}"), constant):
            raise SystemExit(f"no constant {name}")
        setattr(import_module(f"stronghold_p2p.{module}"), constant, value)
    return options


def weaken(options: argparse.Namespace) -> None:
    """From now on the checks are taken out, and counters begin where the options say."""
    for name in options.without:
        weak.patch(*weak.CHECKS[name])
    if options.counters is not None:
        weak.begin_counting_at(*options.counters)


def _named(text: str) -> Setting:
    name, _, value = text.partition("=")
    return name, literal_eval(value)


async def obey(program: object, **ready: object) -> None:
    """Say what is ``ready``; then each line of standard input is a method of ``program``, and answered by a line."""
    async for command in commands(ready):
        say(await outcome(partial(getattr(program, command.pop("do")), **command)))


async def outcome(run: Callable[[], Any]) -> dict[str, Any]:
    """What it returns, if anything, or its error; the seconds that it took, and the milliseconds of a core."""
    start, spent = time.monotonic(), time.process_time()
    try:
        result = run()
        result = {"error": "", **((await result if inspect.isawaitable(result) else result) or {})}
    except Exception as error:
        result = failed(error)
    return {**result, "seconds": time.monotonic() - start, "ms": (time.process_time() - spent) * 1e3}


def failed(error: Exception) -> dict[str, Any]:
    """An error as the rows look at it."""
    told: dict[str, Any] = {name: getattr(error, name, None) for name in ("code", "where")}
    if isinstance(error, DialError):
        told["attempts"] = {str(address): type(cause).__name__ for address, cause in error.attempts.items()}
    return {"error": type(error).__name__, "text": str(error), **told}
