"""What is wrong with the arguments of a call, as one ``ConfigError`` that says what to give instead.

Looked at where something is given once: an option, a handler, a protocol. On the way of a request, or of a stream that
is opened again, nothing is looked at before it has failed. What may be a secret is never shown.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from stronghold_p2p.errors import ConfigError, UsageError

MAX_ID: Final = 1_023
"""Bytes of a protocol's id: it is sent as one line, and go and js read lines of at most 1,024 (multistream-select)."""

KNOWN: Final = 1_000  # sets of protocols that are known to be well-formed

_SHOWN: Final = 100  # characters


def shown(value: object) -> str:
    """``value`` in one short line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "\N{HORIZONTAL ELLIPSIS}"


def kind_of(value: object) -> str:
    """What ``value`` is, without showing it: it may be a secret."""
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def check_kind(name: str, value: object, kind: type | tuple[type, ...], advice: str) -> None:
    """``ConfigError`` if ``value``, which is given as ``name``, is none of ``kind``. Only its type is shown."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {kind_of(value)}: {advice}", where=name)


def check_seconds(value: Any, name: str = "timeout") -> None:
    """``ConfigError`` if ``value`` is neither None nor a number of seconds from 0 on."""
    if not (value is None or (isinstance(value, int | float) and value >= 0)):
        raise ConfigError(f"{name} is {shown(value)}: take seconds from 0 on, or None for no deadline", where=name)


def check_ids(ids: Iterable[object]) -> None:
    """``ConfigError`` for what can be no id of a protocol."""
    for name in ids:
        if not isinstance(name, str):
            raise ConfigError(f"protocol id {shown(name)}: take a text like '/chat/1.0.0'", where="protocol")
        if not name.startswith("/") or not name.isprintable() or len(name.encode(errors="replace")) > MAX_ID:
            told = f"protocol id {shown(name)}: a slash, then up to {MAX_ID - 1} printable bytes"
            raise ConfigError(told, where="protocol")


def check_function(what: str, function: object, takes: str) -> None:
    """``ConfigError`` unless ``function``, which is given to ``what``, can be called with one argument, a ``takes``."""
    if not callable(function):
        raise ConfigError(f"{what} takes a function of {takes}, not {shown(function)}", where=what)
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise ConfigError(f"{what}: {_named(function)} has to take one argument, {takes}", where=what) from None
    except ValueError:  # some of those written in C do not tell
        return


def check_coroutine_function(what: str, function: Any, takes: str) -> bool:
    """Whether ``function`` is a coroutine function; ``ConfigError`` if it is certain that it gives nothing to await.

    A lambda, an object or a function that wraps another one may give a coroutine, too.
    """
    check_function(what, function, takes)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return True
    plain = function.__func__ if inspect.ismethod(function) else function
    if inspect.isasyncgenfunction(plain) or inspect.isgeneratorfunction(plain):
        raise ConfigError(f"{what}: {_named(function)} is a generator: take an async def without yield", where=what)
    if inspect.isfunction(plain) and plain.__name__ != "<lambda>" and not hasattr(plain, "__wrapped__"):
        raise ConfigError(f"{what}: {_named(function)} is a plain function: write async def", where=what)
    return False


def _named(function: object) -> str:
    return getattr(function, "__name__", None) or shown(function)


def check_codec(name: str, codec: object) -> None:
    """``ConfigError`` if ``codec`` cannot turn messages into bytes and back."""
    for method in ("encode", "decode"):
        call = getattr(codec, method, None)
        if callable(call):
            try:
                inspect.signature(call).bind(None)
            except TypeError:
                call = None
            except ValueError:
                continue
        if not callable(call):
            advice = f"{codec.__name__}() makes one" if isinstance(codec, type) and hasattr(codec, method) else ""
            advice = advice or "take JSON, BYTES, messages(...) or an object with encode and decode"
            raise ConfigError(f"{name} is {shown(codec)}, which is no codec: {advice}", where=name)


def no_protocol(value: object) -> ConfigError:
    """The error for what stands in the place of a ``RequestProtocol``."""
    advice = "take a RequestProtocol, or none for STRONGHOLD"
    if isinstance(value, str):
        advice = f"take RequestProtocol({shown(value)}, request=JSON, response=JSON)"
    return ConfigError(f"protocol is {shown(value)}: {advice}", where="protocol")


def unless(protocol: object, kind: type, error: Exception) -> Exception:
    """What a call failed with: ``error``, unless its ``protocol`` is none."""
    return error if isinstance(protocol, kind) else no_protocol(protocol)


def check_ids_once(protocols: tuple[str, ...], known: set[tuple[str, ...]]) -> None:
    """As ``check_ids``, once for each call that a program has: they are ``known`` then."""
    if not protocols:
        raise UsageError("name at least one protocol")
    check_ids(protocols)
    if len(known) >= KNOWN:
        known.clear()
    known.add(protocols)


async def awaited(handler: Callable[[Any], object], given: Any) -> None:
    """Run what is no coroutine function, but may give a coroutine."""
    outcome = handler(given)
    if not isinstance(outcome, Awaitable):
        raise TypeError(f"{handler!r} returned {type(outcome).__name__}, which nobody can await: write async def")
    await outcome
