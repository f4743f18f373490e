"""What a call that opens a stream gives back: to be awaited, or to be entered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any

from stronghold_p2p.streams.stream import Stream


class StreamOpening:
    """A stream that is being opened: ``await`` it and close it yourself, or use it in ``async with``. Use it once."""

    __slots__ = ("_open", "_stream")

    def __init__(self, open_stream: Callable[[], Coroutine[Any, Any, Stream]]) -> None:
        self._open = open_stream
        self._stream: Stream | None = None

    def __await__(self) -> Generator[Any, None, Stream]:
        return self._open().__await__()

    async def __aenter__(self) -> Stream:
        self._stream = await self._open()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.__aexit__(kind, error, trace)
