"""py-libp2p as a peer of the interoperability tests: ``peer.py drive [--listen] [--listen-ws]``.

It knows the commands connect, connections, identify, streams_sequential, events and close of harness/go/drive.go, and
serves what the benchmarks' peer serves, with that one's settings. It runs in an environment of its own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from libp2p import create_yamux_muxer_option, new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks" / "py"))
from peer import ECHO, PERF, REQUEST, own_version, read_all, serve_echo, serve_perf, serve_request  # type: ignore[import-not-found]

Fields = dict[str, Any]

LISTEN = {"--listen": "/ip4/127.0.0.1/tcp/0", "--listen-ws": "/ip4/127.0.0.1/tcp/0/ws"}


def create_host() -> Any:
    keys = create_new_key_pair()
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: noise},
        muxer_opt=create_yamux_muxer_option(),
        connection_config=ConnectionConfig(max_connections_per_peer=1),
        enable_tcp=True,
        enable_websocket=True,
    )
    host.get_network().set_resource_manager(None)
    for name, handler in ((PERF, serve_perf), (REQUEST, serve_request), (ECHO, serve_echo)):
        host.set_stream_handler(TProtocol(name), handler)
    return host


class Driver:
    """The host, and what happened since it was last asked for. It is the network's listener, too."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.events: list[Fields] = []
        host.get_network().register_notifee(self)

    async def connected(self, network: Any, connection: Any) -> None:
        self.events.append({"event": "connected", "peer": peer_of(connection)})

    async def disconnected(self, network: Any, connection: Any) -> None:
        self.events.append({"event": "disconnected", "peer": peer_of(connection)})

    async def nothing(self, *_: Any) -> None:
        """It has no interest in these."""

    opened_stream = closed_stream = listen = listen_close = nothing

    async def answer(self, command: Fields) -> None:
        try:
            with trio.fail_after(command.get("timeout", 60.0)):
                answer = await ACTIONS[command["cmd"]](self, command)
            line = {**answer, "id": command["id"], "ok": True}
        except Exception as error:
            line = {"id": command["id"], "ok": False, "error": f"{type(error).__name__}: {error}"}
        say(line)


def peer_of(connection: Any) -> str:
    return str(connection.muxed_conn.peer_id)


async def connect(driver: Driver, command: Fields) -> Fields:
    info = info_from_p2p_addr(Multiaddr(command["addr"]))
    await driver.host.connect(info)
    return await connections(driver, {"peer": str(info.peer_id)})


async def connections(driver: Driver, command: Fields) -> Fields:
    found = driver.host.get_network().get_connections(ID.from_string(command["peer"]))
    return {"connections": [{"peer": command["peer"]} for _ in found]}


async def identify(driver: Driver, command: Fields) -> Fields:
    """Asks anew: what the host itself has learned is not told. It lists a connection a moment after the other side."""
    while not (await connections(driver, command))["connections"]:
        await trio.sleep(0.01)
    stream = await driver.host.new_stream(ID.from_string(command["peer"]), [IDENTIFY])
    data, _ = await read_all(stream)
    await stream.close()
    message = parse_identify_response(data)
    return {
        "agent_version": message.agent_version,
        "protocol_version": message.protocol_version,
        "protocols": list(message.protocols),
        "listen_addrs": [str(Multiaddr(address)) for address in message.listen_addrs],
        "observed_addr": str(Multiaddr(message.observed_addr)) if message.observed_addr else None,
    }


async def streams_sequential(driver: Driver, command: Fields) -> Fields:
    payload = os.urandom(command.get("size", 64))
    count = command.get("n", 1)
    for _ in range(count):
        stream = await driver.host.new_stream(ID.from_string(command["peer"]), [command.get("protocol", REQUEST)])
        await stream.write(payload)
        await stream.close_write()
        answer, _ = await read_all(stream)
        await stream.close()
        if answer != payload:
            raise ValueError(f"wrong answer: {len(answer)} bytes for {len(payload)}")
    return {"done": count}


async def events(driver: Driver, command: Fields) -> Fields:
    taken, driver.events = driver.events, []
    return {"events": taken}


async def close(driver: Driver, command: Fields) -> Fields:
    await driver.host.disconnect(ID.from_string(command["peer"]))
    return {}


ACTIONS: dict[str, Callable[[Driver, Fields], Awaitable[Fields]]] = {
    "connect": connect,
    "connections": connections,
    "identify": identify,
    "streams_sequential": streams_sequential,
    "events": events,
    "close": close,
}


def say(line: Fields) -> None:
    print(json.dumps(line), flush=True)


async def drive(options: list[str]) -> None:
    host = create_host()
    async with host.run([Multiaddr(LISTEN[option]) for option in options]), trio.open_nursery() as nursery:
        driver = Driver(host)
        end = f"/p2p/{host.get_id()}"
        addresses = sorted((str(address).replace(end, "") for address in host.get_transport_addrs()), key=len)
        say(
            {
                "ready": True,
                "peer": str(host.get_id()),
                "addrs": addresses,
                "pid": os.getpid(),
                "version": own_version(),
            }
        )
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            nursery.start_soon(driver.answer, json.loads(line))
        os._exit(0)  # closing the host takes seconds, and nothing is left to tell


def main() -> None:
    logging.disable(logging.ERROR)
    if sys.argv[1:2] != ["drive"]:
        sys.exit("usage: peer.py drive [--listen] [--listen-ws]")
    trio.run(drive, sys.argv[2:])


if __name__ == "__main__":
    main()
