"""What the names of bytes refer to: documents, and sections of them under their own titles."""

from __future__ import annotations

from typing import Final, NamedTuple

_LIBP2P: Final = "https://github.com/libp2p/specs/blob/master/"
_CODE: Final = "../stronghold_p2p/"

DOCUMENTS: Final = {
    "multistream-select": "https://github.com/multiformats/multistream-select",
    "unsigned-varint": "https://github.com/multiformats/unsigned-varint",
    "connections/README.md": _LIBP2P + "connections/README.md",
    "inlined-muxer-negotiation.md": _LIBP2P + "connections/inlined-muxer-negotiation.md",
    "noise/README.md": _LIBP2P + "noise/README.md",
    "peer-ids.md": _LIBP2P + "peer-ids/peer-ids.md",
    "yamux/README.md": _LIBP2P + "yamux/README.md",
    "Noise": "https://noiseprotocol.org/noise.html",
    "Protocol Buffers, Encoding": "https://protobuf.dev/programming-guides/encoding/",
    "RFC 7748": "https://www.rfc-editor.org/rfc/rfc7748",
    "RFC 8259": "https://www.rfc-editor.org/rfc/rfc8259",
    "RFC 9293": "https://www.rfc-editor.org/rfc/rfc9293",
    "codec.py": _CODE + "request_response/codecs/codec.py",
}


class Source(NamedTuple):
    """A section of one of ``DOCUMENTS``; the title or number is the document's own."""

    document: str
    section: str

    def __str__(self) -> str:
        return f"{self.document}: {self.section}"


MULTISTREAM: Final = Source("multistream-select", "Protocol")
NEGOTIATION: Final = Source("connections/README.md", "multistream-select")
NEW_STREAM: Final = Source("connections/README.md", "Opening New Streams Over a Connection")
UVARINT: Final = Source("unsigned-varint", "Spec")

FRAMING: Final = Source("noise/README.md", "Wire Format")
NAME: Final = Source("noise/README.md", "Noise Protocol Name")
SIGNED: Final = Source("noise/README.md", "Static Key Authentication")
PAYLOAD: Final = Source("noise/README.md", "The libp2p Handshake Payload")
EARLY_MUXER: Final = Source("inlined-muxer-negotiation.md", "Multiplexer Negotiation over Noise")

INITIALIZE: Final = Source("Noise", "5.2, 5.3 Initialize")
TOKENS: Final = Source("Noise", "5.3 WriteMessage")
MIX_KEY: Final = Source("Noise", "5.2 MixKey")
MIX_HASH: Final = Source("Noise", "5.2 MixHash")
SEALED: Final = Source("Noise", "5.2 EncryptAndHash")
SPLIT: Final = Source("Noise", "5.2 Split")
CIPHER: Final = Source("Noise", "12.3 ChaChaPoly")
TRANSPORT: Final = Source("Noise", "5.1 EncryptWithAd")
X25519: Final = Source("RFC 7748", "5 X25519")

FIELD: Final = Source("Protocol Buffers, Encoding", "Message Structure")
LENGTH: Final = Source("Protocol Buffers, Encoding", "Length-Delimited Records")
KEY: Final = Source("peer-ids.md", "Keys")
ED25519: Final = Source("peer-ids.md", "Ed25519")

YAMUX: Final = {
    "Version": Source("yamux/README.md", "Version Field"),
    "Type": Source("yamux/README.md", "Type Field"),
    "Flags": Source("yamux/README.md", "Flag Field"),
    "StreamID": Source("yamux/README.md", "StreamID Field"),
    "Length": Source("yamux/README.md", "Length Field"),
}

JSON: Final = Source("RFC 8259", "2 JSON Grammar")
MESSAGE: Final = Source("codec.py", "frame")
