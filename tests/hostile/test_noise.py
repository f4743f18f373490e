"""Hostile rows 46 to 55: Noise and the identity that it proves.

In both roles the answer to any fault is the same: the connection closes, and nothing more is said on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.process import soon
from tests.hostile.arena import KIB, Arena, Program, refuses
from tests.hostile.client import Host, Peer, answer_security, chosen, half_way, third, upgrade_in
from tests.hostile.codec import SIGNATURE_PREFIX, Identity, blob, handshake_payload, integer, line, noise, propose
from tests.hostile.frames import SYN, data, ping
from tests.hostile.names import ECHO, MULTISTREAM, NOISE, RR, YAMUX
from tests.hostile.points import LOW_ORDER, UNSOUND, anybody_signs
from tests.hostile.secure import Channel, Handshake, framed
from tests.hostile.wire import Ended, Late, Wire

PAYLOAD_MAX = 8_192

Payload = Callable[[Handshake], bytes]

# ---------------------------------------------------------------------- tools: a fault in one message, in both roles


@contextmanager
def at_message(number: int, target: Program) -> Iterator[tuple[Wire, Handshake]]:
    """We dial, and it is for us to say message 1 or 3; what is said inside closes the connection without a word."""
    with target.wire() as wire:
        if number == 1:
            handshake = Handshake(Identity(), initiator=True)
            wire.send(propose(NOISE))
            assert wire.exactly(len(propose(NOISE))) == propose(NOISE)
        else:
            handshake = half_way(wire)
        with suppress(Ended):
            yield wire, handshake
        closes_silently(wire)


def closes_silently(wire: Wire) -> None:
    wire.until_closed(1.0)
    assert not wire.buffer, f"an answer: {bytes(wire.buffer[:40])!r}"


def third_messages(target: Program, payloads: Iterable[tuple[str, Payload]]) -> float:
    """Each payload in a message 3 of its own must be refused; seconds on a core for each."""
    before, count = target.cpu(), 0
    for name, payload in payloads:
        try:
            with at_message(3, target) as (wire, handshake):
                wire.send(framed(handshake.write(payload(handshake))))
                wire.send(handshake.channel(wire).record(ping(1)))
        except (AssertionError, Late) as error:
            raise AssertionError(f"message 3: {name}: {error}") from error
        count += 1
    return (target.cpu() - before) / count


def second_messages(dialer: Program, host: Host, payloads: Iterable[tuple[str, Payload]]) -> None:
    """The same as listener: the dialer says HandshakeError, and tells us nothing about itself."""
    for name, payload in payloads:
        with refuses_us(dialer, host, name) as (wire, handshake):
            wire.send(framed(handshake.write(payload(handshake))))
    assert "Opened" not in dialer.state()["seen"]


@contextmanager
def refuses_us(dialer: Program, host: Host, name: str = "") -> Iterator[tuple[Wire, Handshake]]:
    """It has dialed us and said message 1; what it is told now ends the handshake."""
    with refuses(dialer, host, "HandshakeError", name) as wire:
        yield wire, answer_security(wire, host.identity)
    assert not wire.buffer, "it has told a stranger who it is"


def signed(
    prefix: bytes = SIGNATURE_PREFIX, signer: Identity | None = None, over: bytes | None = None, flip: int | None = None
) -> Payload:
    """A payload whose signature is right but for one thing; ``flip``: the byte of which one bit is another."""

    def make(handshake: Handshake) -> bytes:
        subject = handshake.static if over is None else over
        signature = bytearray((signer or handshake.identity).sign(prefix + subject))
        if flip is not None:
            signature[flip] ^= 1
        return handshake_payload(handshake.identity.public, bytes(signature))

    return make


def with_key(key: bytes, signature: bytes = bytes(64)) -> Payload:
    return lambda _: handshake_payload(key, signature)


def nonsense(arena: Arena) -> list[tuple[str, Payload]]:
    """Payloads that prove nothing, whatever they look like."""
    found: list[tuple[str, Payload]] = [
        ("empty", lambda _: b""),
        ("garbage", lambda _: noise(300)),
        ("no key", lambda h: blob(2, h.identity.sign(SIGNATURE_PREFIX + h.static))),
        ("no signature", lambda h: blob(1, h.identity.public)),
        ("a second key", lambda h: h.payload() + blob(1, Identity().public)),
        ("a second signature", lambda h: h.payload() + blob(2, bytes(64))),
        ("60 KiB of extensions", lambda h: h.payload(extra=blob(4, bytes(60 * KIB)))),
        ("9 KiB of an unknown field", lambda h: h.payload(extra=blob(9, bytes(9 * KIB)))),
        ("a certificate as key", with_key(b"\x30\x82\x01\x0a\x02\x82\x01\x01" + noise(260))),
        ("DER in the key", with_key(integer(1, 0) + blob(2, b"\x30\x80\x00\x00" + noise(200)))),
        ("a group", lambda h: h.payload(extra=b"\x0b\x0c" * 200)),
        ("a length past the end", lambda h: h.payload() + b"\x4a\xff\x7f"),
        ("field 0", lambda h: b"\x02\x01x" + h.payload()),
    ]
    cuts = range(0, 100, arena.pick(9, 1))
    return found + [(f"cut after {size}", lambda h, size=size: h.payload()[:size]) for size in cuts]


def test_row_46_handshake_messages(arena: Arena) -> None:
    """Each handshake message empty, cut, garbled, too long"""
    with arena.serve(memory=128 * KIB) as target:
        for number, sizes in ((1, (0, 31, 33, 65_535)), (3, (0, 63, 48 + PAYLOAD_MAX + 17, 65_535))):
            for size in sizes:  # message 1 is 32 bytes
                with at_message(number, target) as (wire, _):
                    wire.send(size.to_bytes(2, "big"))  # the body is not waited for
        for flip in range(0, 64, arena.pick(8, 1)):
            with at_message(3, target) as (wire, handshake):
                wire.send(framed(flipped(handshake, flip)))
        with target.wire() as wire:
            wire.send(third(half_way(wire)) + framed(noise(100)))  # a fourth message
            wire.until_closed(1.0)
        each = third_messages(target, nonsense(arena))
        arena.bound("ms of a core each", each * 1e3, 5.0)
        with target.connect() as peer:  # the negative control
            peer.request(b"x")
    with arena.dialer() as dialer, Host() as host:
        for size in (0, 31, 95, 96 + PAYLOAD_MAX + 1, 65_535):
            start = time.monotonic()
            with refuses_us(dialer, host) as (wire, _):
                wire.send(size.to_bytes(2, "big"))
            arena.took(time.monotonic() - start, 2.0)  # the body was not waited for
        second_messages(dialer, host, nonsense(arena))
        with refuses_us(dialer, host) as (wire, handshake):
            wire.send(framed(flipped(handshake, 40)))


def flipped(handshake: Handshake, at: int) -> bytes:
    """The next message, honest but for a bit of this byte."""
    message = bytearray(handshake.write(handshake.payload()))
    message[at] ^= 1
    return bytes(message)


def broken_records(peer: Peer) -> Iterable[tuple[str, bytes]]:
    """What the channel must not survive; each is made from two records that would be in order."""
    channel, start = peer.channel, peer.channel.sent
    first, second = channel.record(data(1, b"first")), channel.record(data(1, b"second"))
    for bit in range(0, len(first) * 8, 37):
        flipped = bytearray(first)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(flipped) + second + bytes(65_535)
    yield "swapped", second + first
    yield "duplicated", first + first
    yield "dropped", second
    yield "shorter than the tag", b"\x00\x0f" + bytes(15)
    yield "length 0", b"\x00\x00" + first
    yield "65,535 bytes", b"\xff\xff" + noise(65_535)
    channel.sent = start


def test_row_47_transport_records(arena: Arena) -> None:
    """Records flipped, swapped, repeated, dropped, cut"""
    with arena.serve(memory=256 * KIB) as target:
        with target.connect() as peer:
            names = [name for name, _ in broken_records(peer)]
        for name in names[:: arena.pick(3, 1)]:
            with target.connect() as peer:
                stream = peer.open(ECHO, b"before")
                assert peer.says(stream, b"before")
                peer.generous = False
                peer.rest(0.05)
                with suppress(Ended):
                    peer.wire.send(dict(broken_records(peer))[name])
                arena.took(peer.ends(None, 1.0), 0.25)  # no go-away: nothing is said on a channel that is not trusted
                assert b"second" not in peer.body(stream), name


LAST = 2**64 - 2  # the last counter that may be used; 2**64 - 1 is reserved (Noise spec, 5.1)


def use_up_receiving(peer: Peer) -> None:
    """Their counter for what we send begins three records before its end."""
    peer.channel.sent = LAST - 2
    peer.generous = peer.answers_pings = False  # nothing but what stands here
    stream = peer.open(ECHO, b"one")
    peer.send(data(stream, b", two"))
    peer.send(data(stream, b", last"))
    assert peer.channel.sent == LAST + 1
    assert peer.says(stream, b"one, two, last")
    assert peer.wire.ending is None
    with suppress(Ended):
        peer.send(data(stream, b", never"))
    peer.ends(0, 1.0)  # what they send is still in order, so they may say goodbye
    assert not peer.body(stream).endswith(b"never")


def use_up_sending(peer: Peer) -> None:
    """Their counter for what they send begins 20 records before its end; pings make them say something."""
    peer.channel.received = LAST - 19
    for number in range(25):
        if peer.wire.ending is None:
            with suppress(Ended):
                peer.send(ping(number))
                peer.pump(lambda number=number: number in peer.pongs, 1.0)  # type: ignore[misc]
    peer.ends(None, 1.0)
    assert peer.channel.received == LAST + 1  # not one less, not one more
    assert len(peer.pongs) >= 15


def test_row_48_the_last_counters(arena: Arena) -> None:
    """Noise's counters at their end, both directions

    That a record which does not open takes no counter is seen in tests/noise: from outside, it ends the connection.
    """
    for begin, use_up in (((0, LAST - 2), use_up_receiving), ((LAST - 19, 0), use_up_sending)):
        with arena.serve("--counters", *map(str, begin), probe=False) as target, target.connect() as peer:
            use_up(peer)
    with arena.dialer("--counters", str(LAST - 19), "0") as dialer, Host() as host:
        dialer.tell(do="dial", addrs=[host.address])
        with host.peer() as peer:
            assert dialer.read()["error"] == ""
            use_up_sending(peer)
        assert soon(lambda: any(event.startswith("Ended") for event in dialer.state()["seen"]))


def test_row_49_points_of_low_order(arena: Arena) -> None:
    """X25519 points of low order, as e and as s"""
    with arena.serve() as target:
        for point in LOW_ORDER:
            with at_message(1, target) as (wire, _):
                wire.send(framed(point))
            with at_message(3, target) as (wire, handshake):
                handshake.pretend_static(point)
                wire.send(third(handshake))
    with arena.dialer() as dialer, Host() as host:
        for point in LOW_ORDER:
            with refuses_us(dialer, host) as (wire, _):
                wire.send(framed(point + noise(120)))
            with refuses_us(dialer, host) as (wire, handshake):
                handshake.pretend_static(point)
                wire.send(third(handshake))


def forged(arena: Arena) -> list[tuple[str, Payload]]:
    """Signatures that are not this key's word for this static key."""
    stranger = Identity()
    another = Handshake(stranger, initiator=True).static
    return [
        ("over another static key", signed(over=noise(32))),
        ("without the prefix", signed(prefix=b"")),
        ("with another prefix", signed(prefix=b"noise-libp2p-static-key;")),
        ("by another key", signed(signer=stranger)),
        ("empty", lambda h: handshake_payload(h.identity.public, b"")),
        ("zeros", lambda h: handshake_payload(h.identity.public, bytes(64))),
        ("too short", lambda h: h.payload(())[:-4] + blob(2, bytes(63))),
        ("replayed", with_key(stranger.public, stranger.sign(SIGNATURE_PREFIX + another))),
        *((f"byte {at}", signed(flip=at)) for at in range(0, 64, arena.pick(8, 1))),
    ]


def test_row_50_identity_signatures(arena: Arena) -> None:
    """Identity signatures forged in every way, both roles"""
    with arena.serve() as target:
        third_messages(target, forged(arena))
        with target.connect() as peer:
            peer.request(b"x")
    with arena.dialer() as dialer, Host() as host:
        second_messages(dialer, host, forged(arena))


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def der(kind: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([kind]) + length + body


def der_integers(*numbers: int) -> bytes:
    """PKCS#1."""
    return der(0x30, b"".join(der(2, one.to_bytes(one.bit_length() // 8 + 1, "big")) for one in numbers))


_RSA = bytes.fromhex("300d06092a864886f70d0101010500")


def rsa_key(bits: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo with any numbers."""
    modulus = int.from_bytes(noise(bits // 8), "big") | 1 << bits - 1 | 1
    return der(0x30, _RSA + der(3, b"\0" + der_integers(modulus, exponent)))


Sign = Callable[[bytes], bytes]


def signs(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Sign:
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda message: key.sign(message, PKCS1v15(), SHA256())
    return lambda message: key.sign(message, ec.ECDSA(SHA256()))


def signs_with_1(message: bytes) -> bytes:
    """With the exponent 1 a signature is the padded hash itself (RFC 8017, 9.2): anybody can make it."""
    info = bytes.fromhex("3031300d060960864801650304020105000420") + sha256(message).digest()
    return b"\0\1" + b"\xff" * (256 - 3 - len(info)) + b"\0" + info


def identity_keys() -> dict[str, tuple[int, bytes, Sign]]:
    """Key type, data and signature. The first three are taken; the others are refused before they cost anything."""
    short, long = (rsa.generate_private_key(65_537, bits) for bits in (1_024, 2_048))
    p224, p256, bitcoin = map(ec.generate_private_key, (ec.SECP224R1(), ec.SECP256R1(), ec.SECP256K1()))
    compressed, uncompressed = (
        bitcoin.public_key().public_bytes(Encoding.X962, form)
        for form in (PublicFormat.CompressedPoint, PublicFormat.UncompressedPoint)
    )
    good = rsa_key(2_048, 65_537)
    nobodys = {
        "RSA 8,193": (0, rsa_key(8_200, 65_537)),
        "RSA 16,384": (0, rsa_key(16_384, 65_537)),
        "e even": (0, rsa_key(2_048, 65_536)),
        "e of 3,001 bits": (0, rsa_key(4_096, 1 << 3_000 | 1)),
        "DER with a byte behind": (0, good + b"\0"),
        "DER of indefinite length": (0, b"\x30\x80" + good[4:] + b"\0\0"),
        "PKCS#1": (0, der_integers(1 << 2_047 | 1, 65_537)),
        "secp256k1 off the curve": (2, b"\x02" + b"\xff" * 32),
        "Ed25519 of 31 bytes": (1, bytes(31)),
        "type 99": (99, bytes(32)),
        "type 2**31": (1 << 31, bytes(32)),
    }
    return {
        "RSA 2,048": (0, spki(long), signs(long)),
        "P-256": (3, spki(p256), signs(p256)),
        "secp256k1": (2, compressed, signs(bitcoin)),
        "RSA 1,024": (0, spki(short), signs(short)),
        "e = 1": (0, rsa_key(2_048, 1), signs_with_1),
        "P-224": (3, spki(p224), signs(p224)),
        "secp256k1 as ECDSA": (3, spki(bitcoin), signs(bitcoin)),
        "secp256k1, uncompressed": (2, uncompressed, signs(bitcoin)),
        **{name: (*key, lambda _: noise(256)) for name, key in nobodys.items()},
    }


def signed_by(kind: int, key: bytes, sign: Sign) -> Payload:
    public = integer(1, kind) + blob(2, key)
    return lambda handshake: handshake_payload(public, sign(SIGNATURE_PREFIX + handshake.static))


def test_row_51_keys_for_which_anybody_signs(arena: Arena) -> None:
    """Ed25519 keys of small order, or in a second form"""
    points = list(UNSOUND.items())
    some = points[: arena.pick(14, len(points))]
    keys = [(name, signed_by(1, point, anybody_signs(point))) for name, point in some]
    with arena.serve() as target:
        third_messages(target, keys)
        with target.connect() as peer:  # the negative control
            peer.request(b"x")
    with arena.dialer() as dialer, Host() as host:
        second_messages(dialer, host, keys)


def test_row_52_identity_keys(arena: Arena) -> None:
    """RSA, ECDSA and other keys that are none"""
    keys = [(name, signed_by(*key)) for name, key in identity_keys().items()]
    usual, payloads = keys[:3], keys[3:]
    with arena.serve() as target:
        for name, payload in usual:  # the negative control
            with target.wire() as wire:
                handshake = half_way(wire)
                wire.send(framed(handshake.write(payload(handshake))))
                assert Peer(handshake.channel(wire), client=True).alive(), name
        base = third_messages(target, [("empty", lambda _: b"")] * arena.pick(5, 40))
        for name, payload in payloads:
            each = third_messages(target, [(name, payload)] * arena.pick(3, 40)) - base
            if arena.full:
                assert each <= 1e-3, f"{name}: {each * 1e3:.2f} ms"
    with arena.dialer() as dialer, Host() as host:
        second_messages(dialer, host, payloads)


def test_row_53_data_before_the_proof(arena: Arena) -> None:
    """Frames before message 3; no identity at all"""
    flight = data(1, propose(RR) + b"too early", SYN)
    with arena.serve() as target:
        for early in (flight, framed(flight), framed(noise(16)) + flight):
            with target.wire() as wire:
                half_way(wire)
                wire.send(early)
                wire.until_closed(1.0)
                assert len(early) < 64 or not wire.buffer
        third_messages(target, [("no payload", lambda _: b""), ("zeros", lambda _: bytes(100))])
    with arena.dialer() as dialer, Host() as host:
        with refuses_us(dialer, host) as (wire, _):
            wire.send(framed(flight))
        assert "Opened" not in dialer.state()["seen"]


def test_row_54_somebody_else_answers(arena: Arena) -> None:
    """Q is dialed, R answers; a correct address beside it"""
    with arena.dialer() as dialer, Host() as wrong, Host() as right:
        expected = right.identity.name
        dialer.tell(do="dial", addrs=[wrong.address], peer=expected)
        with wrong.accept() as wire:
            wire.send(third(answer_security(wire, wrong.identity)))
            answer = dialer.read()
            assert answer["error"] == "PeerIdMismatch"
            assert wrong.identity.name in answer["text"]
            assert expected in answer["text"]
            arena.took(answer["seconds"], 2.0)
            closes_silently(wire)  # it has not told a stranger who it is
        assert "Opened" not in dialer.state()["seen"]
        dialer.tell(do="dial", addrs=[wrong.address, right.address], peer=expected)
        with wrong.accept() as wire:
            wire.send(third(answer_security(wire, wrong.identity)))
            with right.accept() as other:
                peer = upgrade_in(other, right.identity)
                answer = dialer.read()
                assert answer["peer"] == expected
                assert answer["remote"] == right.address
                arena.took(answer["seconds"], 1.0)
                assert peer.alive()
                book = dialer.ask(do="info")["book"]
                assert list(book) == [expected]
                assert book[expected][0] == right.address
                dialer.tell(do="hang_up")
                peer.rest(0.2)
        dialer.read()


def test_row_55_after_the_handshake(arena: Arena) -> None:
    """Plaintext, replayed and reflected records; muxers stripped"""
    with arena.serve() as target:
        with target.connect() as other:
            recorded = other.channel.record(ping(7))
        for name in ("plaintext", "replayed", "reflected"):
            with target.connect() as peer:
                peer.generous = peer.answers_pings = False
                assert peer.pump(lambda peer=peer: bool(peer.opened))  # type: ignore[misc]
                reflected = framed(peer.channel.last)
                peer.wire.send({"plaintext": ping(7), "replayed": recorded, "reflected": reflected}[name])
                with suppress(Ended):
                    peer.wire.send(bytes(3_000))  # a plaintext header may announce a record of any length
                    peer.wire.send(bytes(64_000))
                peer.ends(None, 1.0)
                assert not peer.pongs, name
        # What was said before Noise counts for nothing; without a list of muxers, multistream decides inside.
        with target.connect(early=False) as peer:
            peer.request(b"no list")
        with target.wire() as wire:
            channel = after_message_3(wire)
            channel.send(propose("/mplex/6.7.0"))
            got = channel.at_least(len(MULTISTREAM) + 4)
            assert got == MULTISTREAM + line("na")
            channel.send(line(YAMUX) + ping(5))  # and what we all speak is still served
            while line(YAMUX) not in got:
                got += channel.receive()
            assert chosen(channel, got).alive()
        start = time.monotonic()
        with target.wire() as wire:
            after_message_3(wire).send(ping(7) * 100)  # frames where the choice of a muxer belongs
            wire.until_closed(1.0)
        arena.took(time.monotonic() - start, 2.0)


def after_message_3(wire: Wire) -> Channel:
    """We have dialed, and named no muxer in the handshake."""
    handshake = half_way(wire)
    wire.send(third(handshake, ()))
    return handshake.channel(wire)
