"""One connection with fixed keys, recorded from the real stack and explained byte by byte.

``python -m tools.journey`` writes docs/journey.md to its standard output. ``wire`` records what two swarms say to
each other, ``recording`` gives them their keys and something to say, ``dissect`` (with ``handshake`` and ``fields``)
names every byte, and ``render`` writes it down.
"""
