"""Names for the bytes of the three handshake messages, and every secret on the way.

The tokens come from the pattern that the stack itself runs. All keys are known here, so that one walk sees what
both sides compute: ``h`` and ``ck`` after each token, the keys ``k``, and the nonces ``n`` under which they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from stronghold_p2p.noise import payload as payloads
from stronghold_p2p.noise.cipher import TAGLEN, CipherState, pack_nonce
from stronghold_p2p.noise.handshake import DH, DHLEN, XX, KeyPair
from stronghold_p2p.noise.symmetric import HKDF, PROTOCOL_NAME
from tools.journey import fields, sources, words
from tools.journey.pieces import Cursor, JourneyError, Layer, Part, Piece, Step
from tools.journey.recording import Keys
from tools.journey.sources import Source
from tools.journey.wire import Side

WRITERS: Final = (Side.DIALER, Side.LISTENER)
"""The initiator, which writes the first message and every other one, and the responder."""


class Ledger:
    """The SymmetricState of the Noise specification, with everything written down."""

    def __init__(self) -> None:
        self.ck = self.h = PROTOCOL_NAME
        self.k: bytes | None = None
        self.n = 0
        self.under = ""
        self._steps: list[Step] = []
        self.note("", "h, ck", PROTOCOL_NAME, f"the name `{PROTOCOL_NAME.decode()}`", sources.NAME)
        self.mix_hash("", b"", "SHA256(h ‖ prologue); the prologue is empty", sources.INITIALIZE)

    def take_steps(self) -> tuple[Step, ...]:
        """What was noted since the last call."""
        steps, self._steps = self._steps, []
        return tuple(steps)

    def note(self, token: str, name: str, value: bytes, how: str, source: Source) -> None:
        self._steps.append(Step(token, name, value.hex(), how, source))

    def mix_hash(self, token: str, data: bytes, how: str, source: Source = sources.MIX_HASH) -> None:
        self.h = sha256(self.h + data).digest()
        self.note(token, "h", self.h, how, source)

    def mix_key(self, token: str, secret: bytes) -> None:
        self.ck, self.k = HKDF(self.ck, secret)
        self.n, self.under = 0, token
        self.note(token, "ck", self.ck, "HKDF(ck, DH), first output", sources.MIX_KEY)
        self.note(token, "k", self.k, "HKDF(ck, DH), second output; n starts at 0", sources.MIX_KEY)

    def open(self, token: str, ciphertext: bytes) -> tuple[bytes, str]:
        """Decrypt under k, n and h, and add the ciphertext to h; tells how it was encrypted, too."""
        how = encrypted(f"the `k` of `{self.under}`", self.n, "the last `h` before it")
        cipher = CipherState(self.k, n=self.n)
        plaintext = cipher.DecryptWithAd(self.h, ciphertext)
        self.n = cipher.n
        self.mix_hash(token, ciphertext, "SHA256(h ‖ ciphertext ‖ tag)")
        return plaintext, how


def encrypted(key: str, n: int, ad: str) -> str:
    """How a ciphertext came about."""
    return f"encrypted under {key}; `n` = {n}: nonce `{pack_nonce(n).hex()}`; associated data: {ad}"


class Handshake:
    """Walks the messages in order; after the last one ``split`` gives what the records are opened with."""

    def __init__(self, keys: Mapping[Side, Keys]) -> None:
        self.ledger = Ledger()
        self._pairs: tuple[dict[str, KeyPair], ...] = tuple(keys[side].pairs for side in WRITERS)
        self._row = 0

    def message(self, cursor: Cursor) -> Part:
        """The next message, with its length in front."""
        row, self._row = self._row, self._row + 1
        prefix = cursor.take(2)
        size = int.from_bytes(prefix, "big")
        body = Cursor(cursor.take(size))
        pieces = [Piece(prefix, Layer.FRAMING, "noise_message_len", f"{size} bytes follow", sources.FRAMING)]
        for token in XX[row]:
            pieces += self._token(token, row, body)
        pieces += self._payload(row, body.take_all())
        arrow = "→" if WRITERS[row % 2] is Side.DIALER else "←"
        tokens = ", ".join(token for token in XX[row])
        title = f"Noise handshake, message {row + 1} of {len(XX)}: `{arrow} {tokens}`"
        return Part(title, words.MESSAGES[row], tuple(pieces), self.ledger.take_steps())

    def split(self) -> tuple[dict[Side, CipherState], tuple[Step, ...]]:
        """The cipher of what each side sends."""
        outputs = HKDF(self.ledger.ck, b"")
        for side, key, which in zip(WRITERS, outputs, ("first", "second"), strict=True):
            how = f"HKDF(ck, nothing), {which} output: what the {side.value} sends from now on; n starts at 0"
            self.ledger.note("Split", f"k of the {side.value}", key, how, sources.SPLIT)
        ciphers = {side: CipherState(key) for side, key in zip(WRITERS, outputs, strict=True)}
        return ciphers, self.ledger.take_steps()

    def _token(self, token: str, row: int, body: Cursor) -> list[Piece]:
        writer = WRITERS[row % 2].value
        match token:
            case "e":
                public = self._known("e", row, body.take(DHLEN))
                self.ledger.mix_hash("e", public, "SHA256(h ‖ e)")
                meaning = f"the {writer}'s ephemeral X25519 public key"
                return [Piece(public, Layer.KEYS, "e", meaning, sources.TOKENS)]
            case "s":
                return self._static(row, body.take(DHLEN + TAGLEN))
            case _:
                secret = DH(self._pairs[0][token[0]], self._pairs[1][token[1]].public)
                how = f"X25519 of the dialer's `{token[0]}` and the listener's `{token[1]}`"
                self.ledger.note(token, "DH", secret, how, sources.X25519)
                self.ledger.mix_key(token, secret)
                return []

    def _static(self, row: int, ciphertext: bytes) -> list[Piece]:
        plaintext, how = self.ledger.open("s", ciphertext)
        public = self._known("s", row, plaintext)
        meaning = f"the {WRITERS[row % 2].value}'s static X25519 public key"
        inside = (Piece(public, Layer.KEYS, "s", meaning, sources.TOKENS),)
        return self._sealed("s", ciphertext, how, inside)

    def _payload(self, row: int, ciphertext: bytes) -> list[Piece]:
        if self.ledger.k is None:
            if ciphertext:
                raise JourneyError("a payload before there is a key")
            self.ledger.mix_hash("payload", b"", "SHA256(h ‖ payload), which is empty")
            return []
        plaintext, how = self.ledger.open("payload", ciphertext)
        payloads.check(plaintext, self._pairs[row % 2]["s"].public, None)
        return self._sealed("payload", ciphertext, how, fields.payload(plaintext))

    def _sealed(self, field: str, ciphertext: bytes, how: str, inside: tuple[Piece, ...]) -> list[Piece]:
        body, tag = ciphertext[:-TAGLEN], ciphertext[-TAGLEN:]
        return [
            Piece(body, Layer.CIPHERTEXT, f"{field}, encrypted", how, sources.SEALED, inside),
            Piece(tag, Layer.TAG, "tag", f"authenticates `{field}` and, by `h`, all that came before", sources.CIPHER),
        ]

    def _known(self, letter: str, row: int, public: bytes) -> bytes:
        if public != self._pairs[row % 2][letter].public:
            raise JourneyError(f"message {row + 1} carries another {letter} than the one that was fixed")
        return public
