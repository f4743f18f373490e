"""What the tests and the benchmarks both stand on: processes of ours, the lines they are told, and the peers.

``process`` starts a program of ours and measures it from outside; ``commands`` is what such a program hears and says.
``peer`` is our side of the contract that every compared implementation keeps, through ``Network`` (``facade``) or below
it (``below``; ``contract`` is what both share). ``build`` makes those on go-libp2p (``go/``) and on the Rust crate
(``crate/``). Nothing here knows a test or a benchmark.
"""
