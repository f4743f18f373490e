"""What a connection needs of the swarm that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, TypeVar

from stronghold_p2p.identity import PeerId
from stronghold_p2p.streams.live import LiveStream

Handler: TypeAlias = Callable[[LiveStream], Awaitable[None]]


C_contra = TypeVar("C_contra", contravariant=True)


class Owner(Protocol[C_contra]):
    """The swarm. ``connection`` is always the one that asks."""

    def admits(self, connection: C_contra, protocol: str) -> bool | None:
        """Whether its peer may open a stream for ``protocol``; None: ``ask`` first."""

    async def ask(self, connection: C_contra, protocol: str) -> bool:
        """Ask the application."""

    def handler(self, protocol: str) -> Handler | None:
        """Who serves ``protocol``."""

    def served(self, peer: PeerId, protocols: tuple[str, ...]) -> str | None:
        """The first of ``protocols`` that ``peer`` has said to serve."""

    def is_protected(self, peer: PeerId) -> bool:
        """Connections to ``peer`` are kept although nothing happens on them."""

    @property
    def readers_wait(self) -> bool:
        """Somebody reads events slowly and has asked that peers wait for that."""

    async def turn(self, peer: PeerId) -> None:
        """Return when what ``peer`` brings may begin."""

    def ended(self, connection: C_contra, error: Exception) -> None:
        """It is over; its wire may take a moment longer."""

    def gone(self, connection: C_contra) -> None:
        """Its wire is gone, too."""

    def leave_behind(self, task: asyncio.Task[None]) -> None:
        """A handler runs although its connection is over."""
