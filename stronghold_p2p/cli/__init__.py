"""The command line; ``main`` is what the script ``stronghold-p2p`` calls."""

from __future__ import annotations

from stronghold_p2p.cli.main import main

__all__ = ["main"]
