"""What a row may set in the programs under test, and what a negative control takes away from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from typing import TypeVar

from stronghold_p2p.config import Limits, Timeouts
from tests.hostile import weak

T = TypeVar("T", Limits, Timeouts)
Setting = tuple[str, float | None]


def add_to(parser: argparse.ArgumentParser) -> None:
    """Each option may be given again; the last one counts."""
    parser.add_argument("--timeout", type=_one_of(Timeouts), action="append", default=[], metavar="NAME=SECONDS")
    parser.add_argument("--limit", type=_one_of(Limits), action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--constant", type=_named, action="append", default=[], metavar="MODULE.NAME=VALUE")
    parser.add_argument(
        "--without", choices=sorted(weak.CHECKS), action="append", default=[], help="tests.hostile.weak"
    )
    parser.add_argument(
        "--counters", type=int, nargs=2, metavar=("SEND", "RECEIVE"), help="where Noise begins to count"
    )


def set_constants(options: argparse.Namespace) -> None:
    """Before anything of the package runs."""
    for name, value in options.constant:
        module, _, constant = name.rpartition(".")
        if not hasattr(import_module(f"stronghold_p2p.{module}"), constant):
            raise SystemExit(f"no constant {name}")
        setattr(import_module(f"stronghold_p2p.{module}"), constant, value)


def weaken(options: argparse.Namespace) -> None:
    """From now on the checks are taken out, and counters begin where the options say."""
    for name in options.without:
        weak.CHECKS[name]()
    if options.counters is not None:
        weak.begin_counting_at(*options.counters)


def timeouts(options: argparse.Namespace, base: Timeouts) -> Timeouts:
    return _with(base, options.timeout)


def limits(options: argparse.Namespace, base: Limits) -> Limits:
    return _with(base, options.limit)


def _with(base: T, settings: list[Setting]) -> T:
    return replace(base, **dict(settings))  # type: ignore[arg-type]


def _named(text: str) -> Setting:
    name, _, value = text.partition("=")
    if value == "None":
        return name, None
    return name, int(value) if value.isdecimal() else float(value)


def _one_of(kind: type[Limits | Timeouts]) -> Callable[[str], Setting]:
    names = {field.name for field in fields(kind)}

    def setting(text: str) -> Setting:
        found = _named(text)
        if found[0] not in names:
            raise argparse.ArgumentTypeError(f"{kind.__name__} has no {found[0]!r}")
        return found

    return setting
