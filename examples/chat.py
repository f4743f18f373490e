"""A chat room that everybody who knows its address may join, and whose members come back when it does.

terminal 1:  python chat.py serve --key room.key [--listen ADDRESS]     (prints its ADDRESS)
terminal 2:  python chat.py join ADDRESS --name alice
terminal 3:  python chat.py join ADDRESS --name bob

What is typed goes to everybody. Stop the room and start it again with the same key: the members connect again by
themselves, and send what the room has not repeated to them yet (so a line may come twice, and none is lost). The end of
the input (Ctrl-D) leaves the room.
"""

import argparse
import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

from stronghold_p2p import Connection, Identity, Network, P2PError, Rule, Stream

CHAT = "/chat/1.0.0"
LONGEST = 4_000  # bytes of a line, with what stands around it
BEHIND = 100  # lines that a member may be behind; then it has to join again


async def serve(key: Path, listen: str) -> None:
    network = Network(identity=Identity.load(key, create=True), listen=[listen])
    network.firewall.set(Rule.ALLOW, protocol=CHAT)
    room: dict[Stream, asyncio.Queue[bytes]] = {}

    def tell(line: bytes) -> None:
        for stream, lines in room.items():
            if lines.full():
                stream.reset()  # its member does not read; the others go on
            else:
                lines.put_nowait(line)

    @network.on_stream(CHAT)
    async def member(stream: Stream) -> None:
        """Two tasks for each member: a stream may be read by one while another one writes."""
        lines = room[stream] = asyncio.Queue(BEHIND)
        tell(json.dumps({"name": "room", "text": f"{len(room)} are here", "from": str(network.peer_id)}).encode())
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(pass_on(lines, stream))
                while (line := await stream.read_message(LONGEST)) is not None:
                    tell(json.dumps({**json.loads(line), "from": str(stream.peer)}).encode())
                writing.cancel()
        except* (P2PError, ValueError):  # it has gone, or does not speak as we do: only its own stream pays for it
            stream.reset()
        finally:
            del room[stream]

    async with network:
        print(f"the room is {network.addresses[0]}", flush=True)
        await network.serve_forever()


async def pass_on(lines: asyncio.Queue[bytes], stream: Stream) -> None:
    while True:
        await stream.write_message(await lines.get())


class Member:
    """``unheard`` are the lines that the room has not repeated to us yet, by their number."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unheard: dict[int, bytes] = {}
        self.outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard_all = asyncio.Event()
        self._count = 0

    def typed(self, text: str) -> None:
        self._count += 1
        line = json.dumps({"name": self.name, "number": self._count, "text": text}).encode()
        self.unheard[self._count] = line
        self.outgoing.put_nowait(line)

    def heard(self, line: dict[str, Any], own: bool) -> None:
        print(f"{line['name']}: {line['text']}", flush=True)
        if own:
            self.unheard.pop(line["number"], None)
            self.heard_all.set()

    async def talk(self, network: Network, connection: Connection) -> None:
        """Until the stream ends; what has not been heard goes first."""
        self.outgoing = asyncio.Queue()
        for line in self.unheard.values():
            self.outgoing.put_nowait(line)
        async with network.open_stream(connection.peer, CHAT) as stream, asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(pass_on(self.outgoing, stream))
            while (message := await stream.read_message(LONGEST)) is not None:
                line = json.loads(message)
                self.heard(line, own=line["from"] == str(network.peer_id))
            writing.cancel()


async def join(address: str, name: str) -> None:
    me = Member(name)
    async with Network() as network, network.keep(address, longest=2) as kept:

        async def stay() -> None:
            while True:
                connection = await kept.connected(timeout=None)
                try:
                    await me.talk(network, connection)
                except* P2PError as errors:
                    print(f"-- out of the room: {errors.exceptions[0]}", flush=True)
                await asyncio.sleep(0.5)

        staying = asyncio.create_task(stay())
        async for text in typed_lines():
            me.typed(text)
        while me.unheard:
            me.heard_all.clear()
            await me.heard_all.wait()
        staying.cancel()


async def typed_lines() -> Any:
    """The lines of the standard input. A thread reads them, as files, pipes and terminals are read everywhere."""
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\n"))
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(prog="chat.py")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="keep a room")
    server.add_argument("--key", type=Path, required=True, help="the room is known by it; made if there is none")
    server.add_argument("--listen", default="/ip4/127.0.0.1/tcp/7008")
    client = commands.add_parser("join", help="talk in a room")
    client.add_argument("address")
    client.add_argument("--name", default="somebody")
    options = parser.parse_args()
    try:
        if options.command == "serve":
            asyncio.run(serve(options.key, options.listen))
        else:
            asyncio.run(join(options.address, options.name))
    except P2PError as error:
        sys.exit(f"chat.py: {error}")
    except KeyboardInterrupt:
        sys.exit(0 if options.command == "serve" else 130)


if __name__ == "__main__":
    main()
