"""The command line; ``main.main`` is what the script ``stronghold-p2p`` calls."""
