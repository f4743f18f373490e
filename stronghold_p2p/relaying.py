"""What a network has of relays: it is always a client of theirs, and one itself if it is told so."""

from stronghold_p2p.relay.client.transport import RelayClient
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.relay.service.relay import RelayService
from stronghold_p2p.swarm.host import Host


def use_relays(host: Host, limits: RelayLimits | None) -> None:
    """``limits``: be a relay within them."""
    RelayClient(host)
    if limits is not None:
        RelayService(host, limits)
