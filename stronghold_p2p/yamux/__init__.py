"""Yamux: many streams over one connection (libp2p specs, yamux/README.md)."""
