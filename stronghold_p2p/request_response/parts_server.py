"""The responder of a ``PartsProtocol``: each message that the handler yields leaves before the next one is asked for.

So a requester that reads slowly holds up the handler, by the window of its stream, and nothing is kept for it. Each
part has ``Timeouts.request`` seconds to be made and to be taken; a requester that leaves has the handler cancelled.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from inspect import isasyncgenfunction, iscoroutine, iscoroutinefunction
from typing import Any, Final, TypeAlias, TypeVar

from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import ConfigError, Rejected
from stronghold_p2p.interceptors import Handle, Interceptors
from stronghold_p2p.per_peer import Hold
from stronghold_p2p.request_response.codecs.protocol import PartsProtocol, RequestProtocol
from stronghold_p2p.request_response.codecs.records import REFUSAL, THE_END
from stronghold_p2p.request_response.server import Request, Responder, Server, Watch
from stronghold_p2p.streams.live import LiveStream

Rq = TypeVar("Rq")
P = TypeVar("P")

PartsHandler: TypeAlias = Callable[[Request[Rq]], AsyncIterator[P]]

_NO_PARTS: Final = "gives no async iterator: make it an async def with yield"


class PartsResponder(Responder[Rq, P]):
    """Answers the requests of one ``protocol`` with the parts that one ``handler`` yields.

    ``around`` is what interceptors make of a call that sends them all; None without any.
    """

    def __init__(self, server: Server, protocol: PartsProtocol[Rq, P], handler: PartsHandler[Rq, P]) -> None:
        super().__init__(server, protocol.asked, handler)  # type: ignore[arg-type]  # the base calls no handler
        self.yields = handler
        self.around: Callable[[Handle], Handle] | None = None

    async def _answer(self, request: Request[Rq], stream: LiveStream, held: Hold[bytes] | None) -> None:
        watch, version = Watch(stream), self._swarm.firewall.version
        sending = _Sending()
        send: Handle = partial(self._send, stream=stream, held=held, version=version, sending=sending)
        try:
            await (send if self.around is None else self.around(send))(request)
            sending.writes = True
            if not sending.shut_out:
                await stream.write(THE_END)
        except Rejected as error:
            await self._refuse(error, request, stream, held, version)
        except (Exception, asyncio.CancelledError) as error:
            self._fail(error, watch, request, held, answering=sending.writes)
        finally:
            watch.stop()

    async def _send(
        self, request: Request[Rq], *, stream: LiveStream, held: Hold[bytes] | None, version: int, sending: "_Sending"
    ) -> None:
        parts: Any = self.yields(request)
        if not hasattr(parts, "__aiter__"):
            if iscoroutine(parts):
                parts.close()
            raise TypeError(f"the handler of {stream.protocol} {_NO_PARTS}")
        firewall, each = self._swarm.firewall, self._swarm.timeouts.request
        try:
            async for part in parts:
                if version != firewall.version:
                    version = firewall.version
                    sending.shut_out = not self._still_allowed(request, held)
                if sending.shut_out:
                    break
                framed = self._framed(part, "part")
                sending.begun = sending.writes = True
                await stream.write(framed)
                sending.writes = False
                stream.expire(math.inf if each is None else self._swarm.loop.time() + each)
        finally:
            if hasattr(parts, "aclose"):
                await parts.aclose()
        if sending.shut_out and sending.begun:  # before the first part a refusal is an end without a byte
            stream.reset(Reset.GATED)

    def _refusal(self, error: Rejected) -> bytes:
        # Without a reason, too: an end alone would be an answer that breaks off.
        return super()._refusal(error) or bytes((REFUSAL,))


class _Sending:
    """How far one answer is. ``writes``: what fails now is the stream, and not the handler."""

    __slots__ = ("begun", "shut_out", "writes")

    def __init__(self) -> None:
        self.begun = self.shut_out = self.writes = False


def serve_parts(server: Server, protocol: PartsProtocol[Rq, P], handler: PartsHandler[Rq, P]) -> PartsResponder[Rq, P]:
    """Let what ``handler`` yields answer what the firewall lets through.

    ``Rejected`` refuses, at any time; any other exception resets the stream. ``ConfigError``: it is a coroutine
    function, which can give one answer only.
    """
    if iscoroutinefunction(handler):
        raise ConfigError(f"the handler of {protocol.ids[0]} {_NO_PARTS}", where=protocol.ids[0])
    responder = PartsResponder(server, protocol, handler)
    server.answer_with(responder, protocol.asked)
    return responder


def answer_with(
    server: Server, around: Interceptors, protocol: RequestProtocol[Any, Any] | PartsProtocol[Any, Any], handler: Any
) -> None:
    """Let ``handler`` answer ``protocol``, inside of whatever interceptors there are or will be."""
    if isinstance(protocol, PartsProtocol):
        parts = serve_parts(server, protocol, handler)
        around.keep(lambda: setattr(parts, "around", around.around if around else None))
    elif isasyncgenfunction(handler):
        raise ConfigError("on_request: only a PartsProtocol has answers in parts, by yield", where="on_request")
    else:
        one = server.serve(protocol, handler)
        around.keep(lambda: setattr(one, "handler", around.around(handler) if around else handler))
