"""Names become IP addresses: the resolver of one network."""

from collections.abc import Callable, Sequence

from multiaddr import Multiaddr

from stronghold_p2p.identity import PeerId
from stronghold_p2p.resolving.resolved import Resolved, has_name


class Resolver:
    """Resolves addresses for one network."""

    def __init__(self, *, nameservers: Sequence[str] | None = None, timeout: float | None = 10.0) -> None:
        self._nameservers = nameservers
        self._timeout = timeout

    async def resolve(
        self,
        address: Multiaddr,
        *,
        peer: PeerId | None,
        given: bool = False,
        found: Callable[[Resolved], None] | None = None,
    ) -> tuple[Resolved, ...]:
        """What ``address`` leads to, each once, in the order in which it was found; itself, if it begins with no name.

        peer: who is to be dialed; of a ``/dnsaddr`` only what ends in ``/p2p/`` and this peer counts. None: anybody.
        given: the application named this address, so it may lead into private networks and to this machine; what a
            peer told may not.
        found: called with each result as soon as that is known, while others are still looked up; not for what would
            be returned at once. It must not raise.

        ``NameResolutionError``: nothing was found within the deadline; what was found by then is returned.
        When the call is cancelled nothing of it is left, except look-ups that others wait for as well.
        """
        if not has_name(address):
            return (Resolved(address),)
        raise NotImplementedError

    async def close(self) -> None:
        """End every look-up; who waits for one gets ``NameResolutionError``."""
