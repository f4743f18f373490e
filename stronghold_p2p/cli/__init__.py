"""The command line; ``main`` is what the script ``stronghold-p2p`` calls."""

from stronghold_p2p.cli.main import main

__all__ = ["main"]
