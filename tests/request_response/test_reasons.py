"""``raise Rejected("why")``: told where the protocol carries it, and nowhere else."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from stronghold_p2p import Attempt, Request, RequestFailed
from stronghold_p2p.errors import Malformed, Rejected
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.request_response.codecs.codec import frame
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD
from tests.peers import mirror
from tests.support.requests import ID, json, requests
from tests.virtual import VIRTUAL

LOOPS = VIRTUAL

SHOP = json(ID, reasons=True)
PING = frame(b'"Ping"')


def sold_out(request: Request[Any]) -> Any:
    raise Rejected("sold out\n: Brötchen")


async def later(request: Request[Any]) -> Any:
    raise Rejected("sold out\n: Brötchen")


@pytest.mark.parametrize("handler", [sold_out, later])
async def test_the_requester_is_told_why(handler: Any) -> None:
    failed: list[Any] = []
    async with requests(handler, protocol=SHOP) as on:
        on.bob.hub.on_event(lambda event: failed.append(event) if isinstance(event, RequestFailed) else None)
        with pytest.raises(Rejected) as caught:
            await on.ask("Buy", protocol=SHOP)
        error = caught.value
        assert error.reason == "sold out\\n: Brötchen"
        assert str(error) == f"the peer refused the request: {error.reason}"
        assert (error.peer, error.local, error.sent) == (on.bob.peer_id, False, False)
        assert await on.raw(PING) == frame(b"\x01" + "sold out\n: Brötchen".encode())
        assert not failed


async def test_an_answer_has_one_byte_more() -> None:
    async with requests(mirror, protocol=SHOP) as on:
        assert await on.ask("Ping", protocol=SHOP) == "Ping"
        assert await on.ask("x" * 100_000, protocol=SHOP) == "x" * 100_000
        assert await on.raw(PING) == frame(b'\x00"Ping"')


async def test_what_stronghold_peers_see_is_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """The Rust library knows a refusal as the end of the stream: the reason stays in our log."""
    caplog.set_level(logging.INFO, "stronghold_p2p.request")
    async with requests(sold_out) as on:
        assert await on.raw(PING) == b""
        with pytest.raises(Rejected) as caught:
            await on.ask()
        assert caught.value.reason == ""
        assert str(caught.value) == f"{on.bob.peer_id} refused the request: ask its owner"
    told = [record.getMessage() for record in caplog.records if record.name == "stronghold_p2p.request"]
    assert told[-1] == f"handler of {STRONGHOLD.ids[0]} refuses {on.alice.peer_id}: sold out\\u000a: Brötchen"


@pytest.mark.parametrize("rule", [Rule.REJECT, Rule.only(["Say"]), Rule.ASK])
async def test_whom_the_rules_reject_is_told_nothing(rule: Rule) -> None:
    async with requests(sold_out, protocol=SHOP) as on:
        on.bob.firewall.set(rule)
        assert await on.raw(PING) == b"" if rule != Rule.REJECT else True
        with pytest.raises(Exception) as caught:
            await on.ask(protocol=SHOP)
        assert "sold out" not in str(caught.value)


async def test_who_was_shut_out_meanwhile_is_not_told_why() -> None:
    async with requests(protocol=SHOP) as on:

        def shut(request: Request[Any]) -> Any:
            on.bob.firewall.set(Rule.only(["Say"]))
            raise Rejected("a secret")

        on.server.serve(SHOP, shut)
        assert await on.raw(PING) == b""


async def test_a_hook_may_say_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with requests(mirror, Rule.ASK, protocol=SHOP) as on:

        @on.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            raise Rejected("not on Sundays")

        with pytest.raises(Rejected) as caught:
            await on.ask("Buy", protocol=SHOP)
        assert (caught.value.reason, caught.value.sent) == ("not on Sundays", False)
        on.server.serve(STRONGHOLD, mirror)
        assert await on.raw(PING) == b""
    assert not [record for record in caplog.records if record.name.startswith("stronghold_p2p")]


async def test_our_own_hook_may_say_why() -> None:
    async with requests(mirror) as on:
        on.alice.firewall.set(Rule.ASK, direction="out")

        @on.alice.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            raise Rejected("over budget")

        with pytest.raises(Rejected, match="keeps this request back: over budget") as caught:
            await on.ask()
        assert (caught.value.local, caught.value.reason) == (True, "over budget")


async def test_what_another_peer_has_refused_is_a_fault_of_a_hook(caplog: pytest.LogCaptureFixture) -> None:
    async with requests(mirror, Rule.ASK, protocol=SHOP) as on:

        @on.bob.firewall.on_ask
        async def decide(attempt: Attempt) -> bool:
            raise Rejected("of somebody else", peer=attempt.peer)

        assert await on.raw(PING) == b""
    assert "on_ask failed" in caplog.text
    caplog.clear()


async def test_an_answer_without_a_kind_is_malformed() -> None:
    """The other side has not said ``reasons=True``."""
    async with requests(mirror) as on:
        with pytest.raises(Malformed, match="both sides") as caught:
            await on.ask("Ping", protocol=SHOP)
        assert caught.value.path == "response"


async def test_a_reason_has_to_fit_in_a_response() -> None:
    tight = json(ID, reasons=True, max_response=9)
    async with requests(sold_out, protocol=tight) as on:
        with pytest.raises(Rejected) as caught:
            await on.ask("Buy", protocol=tight)
        assert caught.value.reason == "sold out"
