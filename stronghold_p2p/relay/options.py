"""What a relay gives to others. The figures are go-libp2p's (``relay.DefaultResources``, ``relay.DefaultLimit``)."""

from dataclasses import dataclass, fields

from stronghold_p2p.errors import ConfigError
from stronghold_p2p.relay.allowance import Allowance

SHORTEST: float = 60.0  # seconds of a reservation: go's clients look once in a minute whether it has to be renewed


@dataclass(frozen=True, kw_only=True)
class RelayLimits:
    """Counts, seconds and bytes of a relay; None: no limit.

    reservations = 128: peers that have a place here. Then the next one is refused with RESERVATION_REFUSED.
    reservations_per_ip = 8: of these, from one IP address.
    reservation = 3600.0: seconds that a place lasts unless it is renewed; at least 60.
    circuits = 64: circuits at the same time. Then the next one is refused with RESOURCE_LIMIT_EXCEEDED.
    circuits_per_peer = 16: of these, from one peer, and to one peer.
    duration = 120.0: seconds that a circuit lasts, at least 1. Then both its ends are reset.
    data = 131072 (128 KiB): bytes that a circuit carries each way, at least 1. Then both its ends are reset.

    A peer whom a rule names may have more: see the guide to relays.
    ``ConfigError``: something that is no number from 0 on, or less than the least.
    """

    reservations: int | None = 128
    reservations_per_ip: int | None = 8
    reservation: float = 3_600.0
    circuits: int | None = 64
    circuits_per_peer: int | None = 16
    duration: float | None = 120.0
    data: int | None = 131_072

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None and "None" in str(option.type):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                where = f"RelayLimits.{option.name}"
                raise ConfigError(f"{where} is {value!r}: take a number from 0 on, or None for none", where=where)
        for name, value in (("duration", self.duration), ("data", self.data)):
            if value is not None and value < 1:  # on the wire 0 stands for any number
                raise ConfigError(
                    f"RelayLimits.{name} is {value!r}: take at least 1, or None", where=f"RelayLimits.{name}"
                )
        if self.reservation < SHORTEST:
            told = f"a reservation of {self.reservation:g} s: clients renew theirs once in a minute, take {SHORTEST:g}"
            raise ConfigError(told, where="RelayLimits.reservation")


def allowance_of(limits: RelayLimits) -> Allowance:
    """What one circuit may carry."""
    everything = Allowance()
    return Allowance(
        data=everything.data if limits.data is None else float(limits.data),
        duration=everything.duration if limits.duration is None else limits.duration,
    )
