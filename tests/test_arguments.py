"""Mistakes are caught where they are made: a wrong argument is one ``ConfigError`` at the call (defects 3, 4, 14)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import (
    JSON,
    STRONGHOLD,
    AddressBook,
    ConfigError,
    Firewall,
    Identity,
    Network,
    P2PError,
    RequestProtocol,
    Rule,
    Stream,
    UsageError,
    messages,
    sync,
)
from stronghold_p2p.addressing.parse import parse
from tests.peers import LOOPBACK, until

PEER = Identity.from_seed(b"m" * 32).peer_id
SOMEWHERE = "/ip4/192.0.2.7/tcp/4001"
SECRET = b"Schwertfisch 4711 Schwertfisch !"


class Decimal:
    def encode(self, value: int, /) -> bytes:
        return b"%d" % value

    def decode(self, body: bytes, /) -> int:
        return int(body)


class Static:
    """A class that is a codec itself."""

    @staticmethod
    def encode(value: int) -> bytes:
        return b"%d" % value

    @staticmethod
    def decode(body: bytes) -> int:
        return int(body)


def protocol(*ids: Any, **options: Any) -> Callable[[], object]:
    given = {"request": JSON, "response": JSON} | options
    return lambda: RequestProtocol(*(ids or ("/x/1",)), **given)


def network(**options: Any) -> Callable[[], object]:
    return lambda: Network(**options)


BEFORE: dict[str, tuple[Callable[[], object], str]] = {
    "identity": (network(identity="bob.key"), r"identity is a str: take an Identity; Identity\.load\(path\) reads one"),
    "identity, secret": (network(identity=SECRET), "identity is a bytes: take an Identity"),
    "identity, class": (network(identity=Identity), "identity is the class Identity itself: take an Identity"),
    "firewall": (network(firewall="rules.toml"), "firewall is a str: take a Firewall"),
    "book": (network(book={}), "book is a dict: take an AddressBook"),
    "timeouts": (network(timeouts=5), r"timeouts is an int: take Timeouts\(request=5\)"),
    "limits": (network(limits={"connections": 5}), r"limits is a dict: take Limits\(connections=100\)"),
    "agent": (network(agent=5), "agent is an int: take a text"),
    "name": (network(name=b"bob"), "name is a bytes: take a text"),
    "listen, tuple": (
        network(listen=[("127.0.0.1", 5)]),
        "address is a tuple: take a text like '/ip4/192.0.2.7/tcp/4001'",
    ),
    "listen, number": (network(listen=5), "listen is an int: a list of addresses"),
    "listen, numbers": (network(listen=[5]), "address is an int: take a text"),
    "listen, nothing": (network(listen=None), "listen is a NoneType: a list of addresses"),
    "listen, one": (network(listen=LOOPBACK), r"listen is one address: take \['/ip4/127.0.0.1/tcp/0'\]"),
    "listen, one object": (network(listen=parse(LOOPBACK)), r"listen is one address: take \['/ip4/127.0.0.1/tcp/0'\]"),
    "announce": (network(announce=SOMEWHERE), "announce is one address"),
    "announce, number": (network(announce=7), "announce is an int"),
    "newline": (network(listen=[f"{LOOPBACK}\n"]), r"^'/ip4/127.0.0.1/tcp/0\\n': "),
    "protocol, number": (protocol(5), "protocol id 5: take a text like '/chat/1.0.0'"),
    "protocol, no slash": (protocol("x"), "protocol id 'x': a slash, then up to 1022 printable bytes"),
    "protocol, list": (protocol(["/x/1"]), r"protocol id \['/x/1'\]: take a text"),
    "codec, type": (protocol(request=int), "request is <class 'int'>, which is no codec: take JSON, BYTES, messages"),
    "codec, class": (
        protocol(response=Decimal),
        r"response is <class .*Decimal'>, which is no codec: Decimal\(\) makes",
    ),
    "codec, none": (protocol(request=None), "request is None, which is no codec"),
    "view": (protocol(view="x"), "view takes a function of a request, not 'x'"),
    "size": (protocol(max_request="5"), "max_request is '5': take a number of bytes"),
    "size, below zero": (protocol(max_response=-1), "max_response is -1: take a number of bytes"),
    "key file": (lambda: Identity.load(None), "path None: take a Path or a text"),  # type: ignore[arg-type]
    "seed": (lambda: Identity.from_seed("x" * 32), "a seed is bytes, not a str"),  # type: ignore[arg-type]
    "signer": (lambda: Identity.from_signer(bytes(32), None), "sign=None: take a function"),  # type: ignore[arg-type]
    "public key": (lambda: Identity.from_signer("x", print), "public key is bytes, not a str"),  # type: ignore[arg-type]
    "protobuf": (lambda: Identity.from_private_protobuf("x"), "a private key is bytes"),  # type: ignore[arg-type]
    "private key": (lambda: Identity("bob.key"), r"private is a str: Identity\.load\(path\)"),  # type: ignore[arg-type]
    "book.relays": (lambda: setattr(AddressBook(), "relays", ["x"]), "peer is a str"),
    "book.relays, one": (lambda: setattr(AddressBook(), "relays", PEER), "relays is one peer: take a list"),
    "book.import_": (lambda: AddressBook().import_(b"{}"), r"text is a bytes: take what export\(\) gives"),  # type: ignore[arg-type]
    "open_protocols": (lambda: Firewall(open_protocols="/x/1"), "open_protocols is a str: take a set"),  # type: ignore[arg-type]
    "firewall.watch": (lambda: Firewall().watch("x"), "watch is a str: take a function without"),  # type: ignore[arg-type]
    "firewall.set": (
        lambda: Firewall().set(Rule.ALLOW, pear=PEER),  # type: ignore[call-arg]
        "'pear' unknown: take peer, protocol, subnet, direction",
    ),
    "firewall.set, by place": (
        lambda: Firewall().set(Rule.ALLOW, PEER),  # type: ignore[arg-type]
        r"firewall\.set takes its selectors by name: peer=, protocol=, subnet=, direction=, not PeerId\('12D3",
    ),
    "firewall.remove, by place": (
        lambda: Firewall().remove(PEER),  # type: ignore[arg-type]
        r"firewall\.remove takes its selectors by name",
    ),
    "firewall.set, two peers": (
        lambda: Firewall().set(Rule.ALLOW, peer=[PEER, PEER]),  # type: ignore[arg-type]
        "peer is a list: take one peer, and make the call for each",
    ),
    "firewall.set, an address of anybody": (
        lambda: Firewall().set(Rule.ALLOW, peer=SOMEWHERE),
        f"peer '{SOMEWHERE}' names nobody: it has to end in /p2p/ and a peer id",
    ),
    "firewall.ban, an address": (
        lambda: Firewall().ban(f"{SOMEWHERE}/p2p/{PEER}"),
        "an address is a peer at a place: take the peer id behind its /p2p/, or its IP address",
    ),
    "firewall.ban, nobody": (lambda: Firewall().ban("bob"), "peer 'bob': peer id: "),
    "listen, no transport": (
        network(listen=["/ip4/127.0.0.1/udp/4001/quic-v1"]),
        "cannot listen on /ip4/127.0.0.1/udp/4001/quic-v1: ",
    ),
    "listen, another peer": (network(listen=[f"{LOOPBACK}/p2p/{PEER}"]), "names another peer than us"),
    "predicates, list": (
        lambda: Firewall.load("rules.toml", predicates=["short"]),  # type: ignore[arg-type]
        "predicates is a list: take a dict",
    ),
    "rules file": (lambda: Firewall.load(5), "path 5: take a Path"),  # type: ignore[arg-type]
    "predicates": (
        lambda: Firewall.load("rules.toml", predicates={"short": True}),  # type: ignore[dict-item]
        "predicate True: take a function",
    ),
    "book file": (lambda: AddressBook.load(5), "path 5: take a Path"),  # type: ignore[arg-type]
    "book size": (lambda: AddressBook(peers="5"), "AddressBook"),  # type: ignore[arg-type]
    "book.add": (lambda: AddressBook().add(str(PEER), SOMEWHERE), "peer is a str: take PeerId"),  # type: ignore[arg-type]
    "book.add, address": (lambda: AddressBook().add(PEER, ("192.0.2.7", 1)), "address is a tuple"),  # type: ignore[arg-type]
    "book.remove": (lambda: AddressBook().remove("x"), "peer is a str"),  # type: ignore[arg-type]
    "book.addresses": (lambda: AddressBook().addresses("x"), "peer is a str"),  # type: ignore[arg-type]
    "book.via": (lambda: AddressBook().via("x", []), "peer is a str"),  # type: ignore[arg-type]
    "book.via, relay": (lambda: AddressBook().via(PEER, PEER), "relays is one peer: take a list"),  # type: ignore[arg-type]
    "book.via, relays": (lambda: AddressBook().via(PEER, ["x"]), "peer is a str"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("name", BEFORE)
def test_defect_14_what_is_given_before_a_network_is_open(name: str) -> None:
    call, told = BEFORE[name]
    with pytest.raises(ConfigError, match=told) as caught:
        call()
    assert "Schwertfisch" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_peer_is_let_in_by_its_address() -> None:
    firewall = Firewall()
    firewall.set(Rule.ALLOW, peer=f"{SOMEWHERE}/p2p/{PEER}")
    firewall.set(Rule.ASK, peer=str(PEER), protocol="/x/1")
    assert [scope["peer"] for scope, _ in firewall.rules()] == [PEER, PEER]
    assert firewall.remove(peer=str(PEER))
    firewall.ban(str(PEER))
    firewall.ban("192.0.2.7")
    firewall.ban("ba::/16")  # which might begin a peer id in base32
    assert firewall.banned == {PEER, "192.0.2.7/32", "ba::/16"}
    firewall.unban(PEER.to_cid())
    assert PEER not in firewall.banned


async def test_each_network_names_the_other_one() -> None:
    with pytest.raises(UsageError, match=r"take async with; .* the Network of stronghold_p2p\.sync"), Network():  # type: ignore[attr-defined]
        pass
    with pytest.raises(UsageError, match="take with; in an event loop, the Network of stronghold_p2p itself"):
        async with sync.Network():  # type: ignore[attr-defined]
            pass


def test_what_is_no_peer_id() -> None:
    with pytest.raises(p2p.DecodeError, match="that is an address: take what stands behind its last /p2p/"):
        p2p.PeerId(f"{SOMEWHERE}/p2p/{PEER}")
    with pytest.raises(p2p.DecodeError, match="peer id: take its text or its bytes, not a NoneType"):
        p2p.PeerId(None)  # type: ignore[arg-type]


def plain(stream: object) -> None:
    """Takes one argument."""


async def nothing() -> None:
    """Takes none."""


async def good(stream: object) -> None:
    """Takes one."""


async def generator(stream: object) -> Any:
    yield stream


@pytest.mark.parametrize(
    ("register", "told"),
    [
        (
            lambda net: net.on_stream(good),
            r"on_stream needs the id of a protocol: @network\.on_stream\('/chat/1.0.0'\)",
        ),
        (lambda net: net.on_stream("chat"), "protocol id 'chat': a slash"),
        (lambda net: net.on_stream(5), "protocol id 5"),
        (lambda net: net.on_stream("/x/1")(plain), "on_stream: plain is a plain function: write async def"),
        (lambda net: net.on_stream("/x/1")(nothing), "on_stream: nothing has to take one argument, a Stream"),
        (lambda net: net.on_stream("/x/1")(generator), "on_stream: generator is a generator"),
        (lambda net: net.on_stream("/x/1")("/x/2"), "on_stream takes a function of a Stream, not '/x/2'"),
        (lambda net: net.on_request("/x/1"), r"protocol is '/x/1': take RequestProtocol\('/x/1', request=JSON"),
        (lambda net: net.on_request(5), "on_request takes a function of a Request, not 5"),
        (lambda net: net.on_request(nothing), "on_request: nothing has to take one argument, a Request"),
        (lambda net: net.on_request(STRONGHOLD)(None), "on_request takes a function of a Request, not None"),
        (lambda net: net.on_event("x"), "on_event takes a function of an event"),
        (lambda net: net.on_event(nothing), "on_event: nothing has to take one argument"),
        (lambda net: net.events(buffer="5"), "a buffer of '5' events: at least 1"),
        (lambda net: net.events(overflow="no"), "overflow 'no': take one of"),
        (lambda net: net.open_stream(PEER, "nostart"), "protocol id 'nostart': a slash"),
        (lambda net: net.open_stream(PEER, 5), "protocol id 5"),
        (lambda net: net.open_stream(PEER, ["/x/1", "/x/2"]), r"protocol id \['/x/1', '/x/2'\]"),
        (lambda net: net.open_stream(PEER, "/x/1", timeout=-1), "timeout is -1: take seconds from 0 on, or None"),
        (lambda net: net.is_connected(str(PEER)), r"peer is a str: take a PeerId, as PeerId\(text\) is"),
        (lambda net: net.connections(str(PEER)), "peer is a str"),
    ],
)
def test_defect_3_what_is_registered_and_asked_for(register: Callable[[Any], object], told: str) -> None:
    net = Network()
    with pytest.raises(ConfigError, match=told):
        register(net)
    net.on_request(lambda request: request.message)  # nothing was registered
    net.on_stream("/x/1")(good)


def test_a_network_that_has_yet_to_be_opened_has_no_addresses() -> None:
    with pytest.raises(UsageError, match="a network has no addresses before it is open: use async with"):
        print(Network(listen=[LOOPBACK]).addresses[0])
    net = Network(announce=[SOMEWHERE])
    assert [str(address) for address in net.addresses] == [f"{SOMEWHERE}/p2p/{net.peer_id}"]


WRONG_SECONDS = ["5", -1, -0.1, float("nan"), [5], b"5"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda net, to: net.request(None, "x"), "address is a NoneType: take a text"),
        (lambda net, to: net.request(7, "x"), "address is an int"),
        (lambda net, to: net.request(("127.0.0.1", 5), "x"), "address is a tuple"),
        (lambda net, to: net.request(to, "x", 5), "protocol is 5: take a RequestProtocol, or none for STRONGHOLD"),
        (lambda net, to: net.request(to, "x", "/x/1"), r"protocol is '/x/1': take RequestProtocol\('/x/1'"),
        (lambda net, to: net.request(to, "x", RequestProtocol), "protocol is <class .*: take a RequestProtocol"),
        *((lambda net, to, n=n: net.request(to, "x", timeout=n), "timeout is .*: take seconds") for n in WRONG_SECONDS),
        *((lambda net, to, n=n: net.connect(to, timeout=n), "timeout is .*: take seconds") for n in WRONG_SECONDS),
        *((lambda net, to, n=n: net.ping(to, timeout=n), "timeout is .*: take seconds") for n in WRONG_SECONDS),
        (lambda net, to: net.identify(to, timeout=-1), "timeout is -1: take seconds"),
        (lambda net, to: net.connect(None), "address is a NoneType"),
        (lambda net, to: net.disconnect(str(PEER)), "peer is a str"),
        (lambda net, to: net.listen(("127.0.0.1", 0)), "address is a tuple"),
    ],
)
async def test_defect_14_what_calls_are_given(call: Callable[[Any, Any], Any], told: str) -> None:
    """Nothing is sent: the peer hears of none of these, on a connection that is open or not."""
    heard: list[object] = []
    bob = Network(listen=[LOOPBACK])
    bob.firewall.set(Rule.ALLOW)
    bob.on_request(lambda request: heard.append(request))
    async with bob, Network() as alice:
        for to in (bob.addresses[0], bob.peer_id):
            with pytest.raises(ConfigError, match=told) as caught:
                await call(alice, to)
            assert not caught.value.sent
            await alice.connect(bob.addresses[0])
    assert heard == []


async def test_defect_14_what_is_written_to_a_stream() -> None:
    server = Network(listen=[LOOPBACK])
    server.firewall.set(Rule.ALLOW)

    @server.on_stream("/x/1")
    async def answer(stream: Stream) -> None:
        await stream.write(await stream.read_to_end())

    async with server, Network() as client, client.open_stream(server.addresses[0], "/x/1") as stream:
        wrong: Any
        for wrong, told in (
            ("text", r"a stream takes bytes, not a str: text\.encode\(\) makes them"),
            (5, "a stream takes bytes, not an int"),
            (None, "a stream takes bytes, not a NoneType"),
            ([1, 2], "a stream takes bytes, not a list"),
        ):
            for write in (stream.write, stream.write_message):
                with pytest.raises(ConfigError, match=told):
                    await write(wrong)
        with pytest.raises(ConfigError, match="read at least one byte"):
            await stream.read(0)
        await stream.write(bytearray(b"a"))
        await stream.write(memoryview(b"b"))
        await stream.write_message(bytearray(b"c"))
        await stream.close_write()
        assert await stream.read_to_end() == b"ab\x01c"


class Asynchronous:
    async def __call__(self, stream: Stream) -> None:
        await stream.write(b"x")


async def serve(stream: Stream) -> None:
    await stream.write(b"x")


@functools.wraps(serve)
def wrapping(stream: Stream) -> Any:
    return serve(stream)


async def serve_with(word: str, stream: Stream) -> None:
    await stream.write(b"x")


@pytest.mark.parametrize(
    "handler", [serve, wrapping, Asynchronous(), lambda stream: serve(stream), functools.partial(serve_with, "x")]
)
async def test_what_gives_a_coroutine_handles_streams(handler: Any) -> None:
    server = Network(listen=[LOOPBACK])
    server.firewall.set(Rule.ALLOW)
    assert server.on_stream("/x/1")(handler) is handler
    async with server, Network() as client, client.open_stream(server.addresses[0], "/x/1") as stream:
        assert await stream.read_to_end() == b"x"


async def test_what_gives_nothing_to_await_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    server = Network(listen=[LOOPBACK])
    server.firewall.set(Rule.ALLOW)
    server.on_stream("/x/1")(lambda stream: None)  # type: ignore[arg-type, return-value]
    async with server, Network() as client, client.open_stream(server.addresses[0], "/x/1") as stream:
        with pytest.raises(p2p.StreamReset):
            await stream.read()
        await until(lambda: "returned NoneType, which nobody can await: write async def" in caplog.text)
    caplog.clear()


async def test_what_is_right_is_taken() -> None:
    static = RequestProtocol("/double/1", request=Static, response=Static)
    builtin = RequestProtocol("/builtin/1", request=JSON, response=messages(int | str), view=len)
    bob = Network(listen=iter([LOOPBACK]), agent="bob/1")
    bob.firewall.set(Rule.ALLOW)
    bob.on_request(static)(lambda request: 2 * request.message)
    bob.on_request(builtin)(lambda request: request.message)
    bob.on_event(print)
    async with bob, Network() as alice:
        assert await alice.request(bob.addresses[0], 21, static, timeout=5) == 42
        assert await alice.request(bob.addresses[0], "x", builtin, timeout=None) == "x"
        with pytest.raises(p2p.DeadlineExceeded):
            await alice.request(bob.peer_id, 21, static, timeout=0)


async def test_a_fault_of_a_codec_of_ones_own_stays_what_it_is() -> None:
    class Broken(Decimal):
        def encode(self, value: int, /) -> bytes:
            raise AttributeError("of the codec")

    async with Network() as alice:
        with pytest.raises(AttributeError, match="of the codec"):
            await alice.request(SOMEWHERE, 1, RequestProtocol("/x/1", request=Broken(), response=JSON))


def test_many_protocols_are_not_remembered_for_ever() -> None:
    net = Network()
    for number in range(3_000):
        opening = net.open_stream(PEER, f"/x/{number}")
        assert opening is not None
    assert len(net._checked) <= 1_000


def every_error() -> list[type[P2PError]]:
    """All classes of the package, also those that are not in its tree of errors."""
    found, new = set[type[P2PError]](), {P2PError}
    while new:
        found |= new
        new = {below for kind in new for below in kind.__subclasses__()} - found
    return sorted(
        (kind for kind in found if kind.__module__.startswith("stronghold_p2p")), key=lambda kind: kind.__name__
    )


def test_every_class_of_errors_is_one_that_test_errors_copies() -> None:
    """B01: what ``tests/test_errors.py`` copies and pickles are all that there are."""
    public = {name for name, thing in vars(p2p).items() if inspect.isclass(thing) and issubclass(thing, P2PError)}
    assert {kind.__name__ for kind in every_error()} == public
    assert {kind.__module__ for kind in every_error()} == {"stronghold_p2p.errors"}
