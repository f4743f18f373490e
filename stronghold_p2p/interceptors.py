"""Interceptors: what an application puts around all of its handlers, those of requests and those of streams.

The chain of a handler is made when it or an interceptor is registered. A network without any keeps each handler as it
was given, so that nothing is looked at when a request comes.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from stronghold_p2p.errors import ConfigError

Handle: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Handles one request or stream, and returns what its handler returns."""
Interceptor: TypeAlias = Callable[[Any, Handle], Awaitable[Any]]
"""Is called with a request or stream and what handles it: the next interceptor, and in the end the handler."""


class Interceptors:
    """Those of one network. The first that was added is the outermost: it begins first, and ends last."""

    def __init__(self) -> None:
        self._all: list[Interceptor] = []
        self._stored: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._all)

    def keep(self, store: Callable[[], None]) -> None:
        """Call ``store`` now, and whenever there is another interceptor: it stores a handler as it is to be called."""
        store()
        self._stored.append(store)

    def add(self, interceptor: Interceptor) -> None:
        """``ConfigError``: it is no coroutine function."""
        if not (iscoroutinefunction(interceptor) or iscoroutinefunction(getattr(interceptor, "__call__", None))):  # noqa: B004
            told = f"intercept({interceptor!r:.80}): make it an async def of two parameters, the call and what goes on"
            raise ConfigError(told, where="intercept")
        self._all.append(interceptor)
        for store in self._stored:
            store()

    def around(self, handler: Callable[[Any], Any]) -> Handle:
        """``handler``, a plain function or a coroutine function, behind all that there are now."""
        handle: Handle = partial(_called, handler)
        for interceptor in reversed(self._all):
            handle = partial(_intercepted, interceptor, handle)
        return handle


def name_of(handler: Callable[..., Any]) -> str:
    """What the application calls its ``handler``, which may be behind interceptors."""
    while isinstance(handler, partial):
        handler = handler.args[-1] if handler.args else handler.func
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__


async def _called(handler: Callable[[Any], Any], call: Any) -> Any:
    outcome = handler(call)
    return await outcome if hasattr(outcome, "__await__") else outcome


def _intercepted(interceptor: Interceptor, handle: Handle, call: Any) -> Awaitable[Any]:
    return interceptor(call, handle)
