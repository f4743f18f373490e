"""A peer of ours with mDNS that listens elsewhere whenever a line comes on standard input; it prints where, as JSON.

python -m tests.interop.moving_peer
"""

from __future__ import annotations

import asyncio
import json
import sys

from stronghold_p2p import Network

ANYWHERE = "/ip4/0.0.0.0/tcp/0"


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with Network(mdns=True) as network:
        while not lines.at_eof():
            for listener in network.listeners:
                await listener.close()
            await network.listen(ANYWHERE)
            addresses = [str(address) for address in network.addresses]
            print(json.dumps({"event": "listening", "peer": str(network.peer_id), "addresses": addresses}), flush=True)
            await lines.readline()


if __name__ == "__main__":
    asyncio.run(main())
