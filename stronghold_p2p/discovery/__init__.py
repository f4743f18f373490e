"""Finding peers without being told where they are."""

from stronghold_p2p.swarm.host import Host, Service


def switch_on(swarm: Host) -> Service:
    """MDNS for ``swarm``. Only now is zeroconf loaded, which most programs never need."""
    from stronghold_p2p.discovery.mdns import MdnsService  # noqa: PLC0415 - that is the point

    return MdnsService(swarm)
