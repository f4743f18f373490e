"""One question to the nameservers, one after the other, until one of them answers (RFC 1035, 7; RFC 7766 for TCP).

The messages are dnspython's. Each try has a socket of its own, from a port that the system draws and connected to the
server: so nobody else can answer, and a server that is not there says so at once.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from dns import asyncbackend, asyncquery, inet, message, rcode
from dns.exception import DNSException
from dns.name import Name, from_text

from stronghold_p2p.errors import NameResolutionError
from stronghold_p2p.resolving.dns import Server
from stronghold_p2p.resolving.questions import Answer, Kind, worth_keeping

TRY: Final = 2.0  # seconds for one server to answer (dnspython)
LONGEST: Final = 8_192  # bytes of an answer over TCP: the worst of them takes dnspython 30 ms, in the event loop
PAYLOAD: Final = 1_232  # bytes that an answer over UDP may have: no network cuts those up (DNS flag day 2020)
_FAMILIES: Final = {"A": socket.AF_INET, "AAAA": socket.AF_INET6}


class Nameservers:
    """The servers of one configuration. The one that answered last is asked first from then on."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._order = list(servers)
        self._plain: set[Server] = set()  # those that do not know EDNS

    async def ask(self, name: str, kind: Kind, until: float) -> Answer:
        """The answer to one question; ``NameResolutionError`` if there is none until then, in the loop's time.

        A server that says nothing for two seconds is asked again after the others; one that fails is not.
        """
        try:
            full = from_text(name)
        except (DNSException, UnicodeError) as error:
            return Answer(missing=f"is no name for the DNS: {error}", lookups=0)
        now, heard, left = asyncio.get_running_loop().time, dict[Server, str](), list(self._order)
        while left and now() < until:
            for server in tuple(left):
                seconds = min(TRY, until - now())
                if seconds <= 0:
                    break
                try:
                    answer, heard[server] = _read(await self._exchange(full, kind, server, seconds), kind)
                except TimeoutError:
                    heard[server] = "says nothing"
                    continue
                except (DNSException, OSError, EOFError, ValueError) as error:
                    answer, heard[server] = None, str(error) or type(error).__name__
                if answer is not None:
                    self._prefer(server)
                    return answer
                left.remove(server)
        told = "; ".join(f"{host} {said}" for (host, _), said in heard.items())
        raise NameResolutionError(told or "there was no time to ask")

    def _prefer(self, server: Server) -> None:
        if self._order[0] != server:
            self._order.remove(server)
            self._order.insert(0, server)

    async def _exchange(self, name: Name, kind: Kind, server: Server, seconds: float) -> message.Message:
        """One question, and what this server answers; ``TimeoutError`` if that is nothing."""
        async with asyncio.timeout(seconds):
            response = await _send(name, kind, server, edns=server not in self._plain)
            if server not in self._plain and response.rcode() in (rcode.FORMERR, rcode.NOTIMP):  # RFC 6891, 6.2.2
                response = await _send(name, kind, server, edns=False)
                self._plain.add(server)
            return response


async def _send(name: Name, kind: Kind, server: Server, *, edns: bool) -> message.Message:
    query = message.make_query(name, kind, use_edns=0 if edns else False, payload=PAYLOAD)
    backend, (host, port) = asyncbackend.get_backend("asyncio"), server
    family, to = inet.af_for_address(host), None if "%" in host else server  # asyncio drops the zone of a destination
    async with await backend.make_socket(family, socket.SOCK_DGRAM, destination=to) as sock:  # type: ignore[no-untyped-call]
        try:
            return await asyncquery.udp(
                query, host, port=port, sock=sock, raise_on_truncation=True, ignore_errors=True, ignore_unexpected=True
            )
        except message.Truncated:
            return await _by_tcp(query, server)


async def _by_tcp(query: message.Message, server: Server) -> message.Message:
    """The same question where the answer is too long for a datagram (RFC 7766, 8 for the length before it).

    dnspython would read an answer of any length at once.
    """
    reader, writer = await asyncio.open_connection(*server, limit=LONGEST)
    try:
        wire = query.to_wire()
        writer.write(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(await reader.readexactly(2), "big")
        if size > LONGEST:
            raise ValueError(f"answers with {size} bytes, of which at most {LONGEST} are read")
        response = message.from_wire(await reader.readexactly(size))
    finally:
        writer.close()
    if not query.is_response(response):
        raise ValueError("answers another question")
    return response


def _read(response: message.Message, kind: Kind) -> tuple[Answer | None, str]:
    """What the server has answered; None if that is a failure, and which one."""
    code = response.rcode()
    if code not in (rcode.NOERROR, rcode.NXDOMAIN) or not isinstance(response, message.QueryMessage):
        return None, f"answers {rcode.to_text(code)}"
    try:
        chain = response.resolve_chaining()
    except DNSException as error:
        return None, f"answers nonsense: {error}"
    found = chain.answer or ()
    if kind == "TXT":
        records = [b"".join(record.strings) for record in found]
    else:
        records = [socket.inet_pton(_FAMILIES[kind], record.address) for record in found]
    missing = "does not exist (NXDOMAIN)" if code == rcode.NXDOMAIN else f"has no {kind} record"
    return Answer(worth_keeping(kind, records), float(chain.minimum_ttl), missing), ""
