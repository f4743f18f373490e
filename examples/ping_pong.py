"""The smallest conversation: one peer says Ping, the other one answers Pong.

terminal 1:  python ping_pong.py                     (prints its ADDRESS)
terminal 2:  python ping_pong.py ADDRESS [-n TIMES]

Everything has to be done within a second, and everybody may ask. The messages are those of the Rust library's example
of this name (a unit variant each), so either side may be that one.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass

from stronghold_p2p import STRONGHOLD, Network, P2PError, Request, RequestProtocol, Rule, Timeouts, messages


@dataclass(frozen=True)
class Ping: ...  # "Ping" on the wire


@dataclass(frozen=True)
class Pong: ...


PING_PONG = RequestProtocol(*STRONGHOLD.ids, request=messages(Ping, tagged=True), response=messages(Pong, tagged=True))
QUICK = Timeouts(request=1.0, dial=1.0, ask=0.5)


async def serve(listen: str) -> None:
    network = Network(listen=[listen], timeouts=QUICK)
    network.firewall.set(Rule.ALLOW, protocol=PING_PONG.ids[0])

    @network.on_request(PING_PONG)
    def answer(request: Request[Ping]) -> Pong:
        print(f"Ping from {request.peer}", flush=True)
        return Pong()

    async with network:
        print(*network.addresses, sep="\n", flush=True)
        await network.serve_forever()


async def ping(address: str, times: int) -> None:
    async with Network(timeouts=QUICK) as network:
        for _ in range(times):
            begin = time.perf_counter()
            answer = await network.request(address, Ping(), PING_PONG)
            print(f"{type(answer).__name__} after {(time.perf_counter() - begin) * 1000:.1f} ms", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="ping_pong.py")
    parser.add_argument("address", nargs="?", help="whom to ask; without it, wait for others")
    parser.add_argument("-n", type=int, default=3, metavar="TIMES")
    parser.add_argument("--listen", default="/ip4/127.0.0.1/tcp/0")
    options = parser.parse_args()
    try:
        asyncio.run(ping(options.address, options.n) if options.address else serve(options.listen))
    except KeyboardInterrupt:
        return 0 if options.address is None else 130
    except P2PError as error:
        print(f"ping_pong.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
