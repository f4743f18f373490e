"""What two peers agree on before they exchange messages: protocol ids, codecs and sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from stronghold_p2p.arguments import check_codec, check_function, check_ids, shown
from stronghold_p2p.errors import ConfigError
from stronghold_p2p.request_response.codecs.codec import JSON, Codec

Rq = TypeVar("Rq")
# Covariant, although a codec writes, too: in ``print(await network.request(...))`` mypy takes what print wants for it.
Rs_co = TypeVar("Rs_co", covariant=True)


@dataclass(frozen=True, init=False)
class RequestProtocol(Generic[Rq, Rs_co]):
    """A request-response protocol under one or more ids.

    All ``ids`` are served; rules of the firewall may name any of them. A request goes out under the first that the
    peer is known to serve, else under the first, and under the others once that is refused. ``max_request`` and
    ``max_response`` are bytes of a message body (1 MiB and 10 MiB), checked when its length is read.
    ``view`` makes of a request what the firewall sees of it besides its variant; without one it sees the request.
    ``ConfigError``: no id, one that cannot be an id, one twice, a codec that is none, or a size below zero.
    """

    ids: tuple[str, ...]
    request: Codec[Rq]
    response: Codec[Rs_co]
    max_request: int
    max_response: int
    view: Callable[[Rq], Any] | None

    def __init__(
        self,
        *ids: str,
        request: Codec[Rq],
        response: Codec[Rs_co],
        max_request: int = 1 << 20,
        max_response: int = 10 << 20,
        view: Callable[[Rq], Any] | None = None,
    ) -> None:
        _check(ids, max_request=max_request, max_response=max_response)
        for name, codec in (("request", request), ("response", response)):
            check_codec(name, codec)
        if view is not None:
            check_function("view", view, "a request")
        values = {"ids": ids, "request": request, "response": response, "view": view}
        values |= {"max_request": max_request, "max_response": max_response}
        for name, value in values.items():
            object.__setattr__(self, name, value)  # frozen dataclasses are filled this way


def _check(ids: tuple[str, ...], **sizes: object) -> None:
    check_ids(ids)
    if not ids or len(set(ids)) != len(ids):
        raise ConfigError(f"protocol ids {ids}: give at least one, each once")
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 0:
            raise ConfigError(f"{name} is {shown(size)}: take a number of bytes, so not below zero", where=name)


STRONGHOLD: Final[RequestProtocol[Any, Any]] = RequestProtocol(
    "/stronghold-p2p/1.0.0", "/p2p/1.0.0", request=JSON, response=JSON
)
"""What the Rust library speaks, under its published id and that of its successor (parity 1)."""
