"""What a client asks a relay, over a stream of ``HOP``: a place, or a circuit (relay/circuit-v2.md)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of, through_relay
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.codes import Reset
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import (
    DecodeError,
    DialError,
    Malformed,
    RelayRefused,
    StreamEnded,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.identity import PeerId
from stronghold_p2p.relay import messages, voucher
from stronghold_p2p.relay.allowance import Allowance, told
from stronghold_p2p.relay.messages import HOP, HopMessage, HopType, Status
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream

ASKING: Final = 60.0  # seconds for an answer (go: reserve and dial, 1 min)
MOST: Final = 16  # addresses of a relay that are announced

_REASONS: Final = {
    Status.NONE: "it gives no reason that we know",
    Status.RESERVATION_REFUSED: "all its places are taken",
    Status.RESOURCE_LIMIT_EXCEEDED: "it carries no more circuits now",
    Status.PERMISSION_DENIED: "its firewall refuses",
    Status.CONNECTION_FAILED: "it does not reach the target, or the target refuses",
    Status.NO_RESERVATION: "the target has no place there: it is not connected to this relay, or did not ask",
    Status.MALFORMED_MESSAGE: "it does not understand us",
    Status.UNEXPECTED_MESSAGE: "it expected something else",
}


def _refused(relay: PeerId, status: Status, peer: PeerId | None = None) -> RelayRefused:
    told = f"the relay {relay} refuses: {_REASONS.get(status, status.name)} (status {status})"
    return RelayRefused(told, relay=relay, status=int(status), peer=peer)


@dataclass(frozen=True, slots=True)
class Granted:
    """A place: ``lasts`` seconds, ``addresses`` that lead through the relay to us, what circuits may carry there."""

    lasts: float
    addresses: tuple[Multiaddr, ...]
    allowance: Allowance


async def _ask(relay: LiveConnection, body: bytes) -> tuple[HopMessage, LiveStream]:
    stream = await relay.open_stream(HOP)
    try:
        async with Deadline(ASKING, "relay", peer=relay.peer):
            await stream.write_message(body)
            data = await stream.read_message(messages.MAX_MESSAGE)
        message = messages.read_hop(data or b"")
        if message.type != HopType.STATUS:
            raise DecodeError("a request where an answer was due")
    except DecodeError as error:
        stream.reset(Reset.NONE)
        raise Malformed(f"the answer of the relay {relay.peer}: {error}", peer=relay.peer) from None
    except UnsupportedProtocol:
        stream.reset(Reset.NONE)
        told = f"{relay.peer} is no relay, or not for us: its firewall decides to whom it shows that it is one"
        raise RelayRefused(told, relay=relay.peer, status=Status.NONE) from None
    except (StreamReset, StreamEnded) as error:
        stream.reset(Reset.NONE)
        raise DialError(f"the relay {relay.peer} gives no answer: {error}", peer=relay.peer) from error
    except BaseException:
        stream.reset(Reset.NONE)
        raise
    return message, stream


async def reserve(relay: LiveConnection, own: PeerId, clock: Callable[[], float] = time.time) -> Granted:
    """A place at the end of ``relay``. ``DialError``, ``Malformed``, ``DeadlineExceeded``, ``ConnectionClosed``.

    A voucher that is there and wrong is ``Malformed``, as go has it; rust sends none.
    """
    message, stream = await _ask(relay, messages.reserve())
    stream.close()
    status, reservation = messages.status_of(message), message.reservation
    if status is not Status.OK:
        raise _refused(relay.peer, status)
    if reservation is None or reservation.expire is None:
        raise Malformed("the relay grants a place and does not say until when", peer=relay.peer)
    if reservation.voucher:
        try:
            voucher.check(reservation.voucher, relay.peer, own)
        except DecodeError as error:
            raise Malformed(f"the relay's voucher: {error}", peer=relay.peer) from None
    lasts = reservation.expire - clock()
    return Granted(lasts, _addresses(reservation.addrs, relay), told(message.limit))


def _addresses(listed: tuple[bytes, ...], relay: LiveConnection) -> tuple[Multiaddr, ...]:
    """Through the addresses that it tells, and the one at which we have found it. A relay behind a relay is none."""
    found: dict[Multiaddr, None] = {}
    for data in (bytes(relay.remote_address) if relay.direction == "out" else b"", *listed):
        try:
            place = parse(data)
            if not relays_of(place):
                found[through_relay(place, relay.peer)] = None
        except ValueError:  # no address, or that of another peer
            continue
    return tuple(found)[:MOST]


async def connect(relay: LiveConnection, target: PeerId) -> tuple[LiveStream, Allowance]:
    """A stream on which every byte is ``target``'s from now on. ``RelayRefused`` tells the relay's own reason."""
    message, stream = await _ask(relay, messages.connect(target))
    status = messages.status_of(message)
    if status is not Status.OK:
        stream.close()
        raise _refused(relay.peer, status, target)
    return stream, told(message.limit)
