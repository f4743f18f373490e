"""Send files to somebody over an encrypted connection.

Terminal 1:  python transfer.py receive inbox --from SENDER_ID   (prints its ADDRESS)
Terminal 2:  python transfer.py send ADDRESS FILE...             (prints its SENDER_ID)

Each file has a stream: Offer ->, <- "go", bytes and their SHA-256 ->, <- the same SHA-256; or else <- why not.
"""

import argparse
import asyncio
import hashlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from stronghold_p2p import Attempt, Identity, Network, P2PError, PeerId, Rule, Stream, UnsupportedProtocol, messages

PROTOCOL, CHUNK, PATIENCE = "/file-transfer/1.0.0", 1 << 18, 60


@dataclass(frozen=True)
class Offer:
    name: str
    size: int

    def __post_init__(self) -> None:
        if (
            not self.name.isprintable()
            or self.name != Path(self.name).name
            or self.name.startswith(".")
            or self.size < 0
        ):
            raise ValueError("no name for a file")


OFFER = messages(Offer)


class Refused(Exception):
    """The receiver does not take a file; the text says why."""


async def store(stream: Stream, folder: Path, limit: int) -> str:
    loop, digest = asyncio.get_running_loop(), hashlib.sha256()
    async with asyncio.timeout(PATIENCE) as patience:
        offer = OFFER.decode(await stream.read_message(4096) or b"")
        if (left := offer.size) > limit:
            raise Refused(f"{offer.name} has more than {limit:,} bytes")
        if (target := folder / offer.name).exists():
            raise Refused(f"{offer.name} is there already")
        await stream.write_message(b"go")
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part") as part:  # gone when closed
            while left:
                chunk = await stream.read(min(left, CHUNK)) or await stream.readexactly(1)  # raises at the end
                left -= part.write(chunk)
                digest.update(chunk)
                patience.reschedule(loop.time() + PATIENCE)
            if await stream.readexactly(32) != digest.digest():
                raise Refused(f"{offer.name} arrived with a wrong checksum")
            part.flush()
            try:
                os.link(part.name, target)  # unlike a rename it never overwrites
            except FileExistsError:
                raise Refused(f"{offer.name} is there by now") from None
        await stream.write_message(digest.hexdigest().encode())
    return f"{offer.name}, {offer.size:,} bytes"


async def receive(folder: Path, senders: list[PeerId], limit: int, listen: str, key: Path) -> int:
    network = Network(identity=Identity.load(key, create=True), listen=[listen])
    for sender in senders:
        network.firewall.set(Rule.ALLOW, peer=sender, protocol=PROTOCOL)

    @network.firewall.on_no_rule
    async def stranger(attempt: Attempt) -> None:
        print(f"turned away {attempt.address}; to let it in: --from {attempt.peer}")

    @network.on_stream(PROTOCOL)
    async def take(stream: Stream) -> None:
        try:
            print(f"{stream.peer}: stored {await store(stream, folder, limit)}")
        except (Refused, P2PError, OSError) as error:
            print(f"{stream.peer}: not stored: {str(error) or 'silent for too long'}")
            await stream.write_message(str(error).encode() if isinstance(error, Refused) else b"it failed")

    async with network:
        print("receiving at", *network.addresses, sep="\n  ")
        await network.serve_forever()


async def send_file(stream: Stream, path: Path) -> None:
    digest, size, began = hashlib.sha256(), os.path.getsize(path), time.monotonic()
    await stream.write_message(OFFER.encode(Offer(path.name, size)))
    if (answer := await stream.read_message(4096)) != b"go":
        raise Refused(ascii((answer or b"").decode(errors="replace")))
    with path.open("rb") as file:
        for start in range(0, size, CHUNK):
            chunk = file.read(min(CHUNK, size - start))
            digest.update(chunk)
            await stream.write(chunk)
            done, seconds = start + len(chunk), time.monotonic() - began
            print(f"\r{path.name}: {done / size:4.0%}, {done / seconds / 1e6:.1f} MB/s ", end="", flush=True)
    await stream.write(digest.digest())
    if (answer := await stream.read_message(4096)) != digest.hexdigest().encode():
        raise Refused(ascii((answer or b"").decode(errors="replace")))
    print(f"\r{path.name}: stored, {size:,} bytes, {size / (time.monotonic() - began) / 1e6:.1f} MB/s")


async def send(address: str, files: list[Path], key: Path) -> int:
    failed, identity = 0, Identity.load(key, create=True)
    print("sending as", identity.peer_id)
    async with Network(identity=identity) as network:
        for path in files:
            try:
                async with network.open_stream(address, PROTOCOL) as stream:
                    await send_file(stream, path)
            except UnsupportedProtocol:
                raise Refused(f"not let in there: they need --from {identity.peer_id}") from None
            except Refused as error:
                failed += 1
                print(f"\r{path.name}: not stored: {error}")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Send files to somebody over an encrypted connection.")
    commands = parser.add_subparsers(dest="command", required=True)
    receiver = commands.add_parser("receive", help="store what allowed senders send")
    receiver.add_argument("folder", type=Path)
    receiver.add_argument(
        "--from", dest="senders", nargs="+", action="extend", type=PeerId, default=[], metavar="PEER_ID"
    )
    receiver.add_argument("--limit", type=int, default=1000, metavar="MB", help="of one file (%(default)s)")
    receiver.add_argument("--listen", default="/ip4/0.0.0.0/tcp/47200", metavar="ADDRESS", help="(%(default)s)")
    receiver.add_argument("--key", type=Path, default=Path("receiver.key"), help="(%(default)s)")
    sender = commands.add_parser("send", help="send files, one after the other")
    sender.add_argument("address", help="as the receiver prints it")
    sender.add_argument("files", nargs="+", type=Path)
    sender.add_argument("--key", type=Path, default=Path("sender.key"), help="(%(default)s)")
    a = parser.parse_args()
    try:
        if a.command == "send":
            return asyncio.run(send(a.address, a.files, a.key))
        return asyncio.run(receive(a.folder, a.senders, a.limit * 1_000_000, a.listen, a.key))
    except (Refused, P2PError, OSError) as error:
        print(f"\ntransfer.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
