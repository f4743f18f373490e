from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, PartsProtocol, RequestProtocol


def test_the_protocol_of_the_first_library() -> None:
    assert STRONGHOLD.ids == ("/stronghold-p2p/1.0.0", "/p2p/1.0.0")
    assert STRONGHOLD.request is STRONGHOLD.response is JSON
    assert (STRONGHOLD.max_request, STRONGHOLD.max_response) == (1 << 20, 10 << 20)
    assert STRONGHOLD.view is None


def test_protocols_with_records_are_values_too() -> None:
    def make() -> PartsProtocol[bytes, bytes]:
        return PartsProtocol("/a", "/b", request=BYTES, part=BYTES, max_request=5, max_part=6, view=len)

    assert make() == make()
    assert (make().ids, make().asked.ids) == (("/a", "/b"), ("/a", "/b"))
    assert (make().asked.max_request, make().asked.max_response, make().asked.view) == (5, 6, len)
    assert make().asked == RequestProtocol(
        "/a", "/b", request=BYTES, response=BYTES, max_request=5, max_response=6, view=len, reasons=True
    )
    with pytest.raises(ConfigError, match="/a answers in parts: call request_parts"):
        make().request  # noqa: B018
    with pytest.raises(ConfigError, match="part is"):
        PartsProtocol("/a", request=BYTES, part=int)  # type: ignore[arg-type]


def test_a_protocol_is_a_value() -> None:
    def make() -> RequestProtocol[bytes, bytes]:
        return RequestProtocol("/a", "/b", request=BYTES, response=BYTES, max_request=5, max_response=6, view=len)

    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != STRONGHOLD
    assert (make().ids, make().max_request, make().max_response, make().view) == (("/a", "/b"), 5, 6, len)
    with pytest.raises(FrozenInstanceError):
        make().ids = ()  # type: ignore[misc]


@pytest.mark.parametrize("ids", [("/" + "é" * 511,), ("/x" * 511,), ("/with space/1.0.0",)])
def test_ids_at_their_limits(ids: tuple[str, ...]) -> None:
    assert RequestProtocol(*ids, request=JSON, response=JSON).ids == ids


@pytest.mark.parametrize(
    ("ids", "options"),
    [
        ((), {}),
        (("",), {}),
        (("echo",), {}),
        (("/a", "/a"), {}),
        (("/a\n",), {}),
        (("/a\x00",), {}),
        (("/" + "x" * 1_023,), {}),
        (("/" + "é" * 512,), {}),
        (("/\ud800",), {}),
        (("/a",), {"max_request": -1}),
        (("/a",), {"max_response": -1}),
    ],
)
def test_what_cannot_be_a_protocol(ids: tuple[str, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RequestProtocol(*ids, request=JSON, response=JSON, **options)
