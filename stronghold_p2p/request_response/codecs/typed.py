"""``messages``: a codec for the classes of an application, in serde's externally tagged JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from stronghold_p2p.encoding import strict_json
from stronghold_p2p.errors import Malformed
from stronghold_p2p.request_response.codecs.codec import Codec
from stronghold_p2p.request_response.codecs.compiler import compiled
from stronghold_p2p.request_response.codecs.shapes import Shape

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


class MessageCodec(Generic[T]):
    """What ``messages`` returns: a ``Codec``. Every fault is a ``Malformed`` with the path of the field."""

    __slots__ = ("_read", "_what", "_write")

    def __init__(self, shape: Shape) -> None:
        self._read, self._write, self._what = shape.read, shape.write, shape.what

    def encode(self, value: T, /) -> bytes:
        """The JSON text of a message."""
        try:
            written = self._write(value)
        except Malformed as error:
            raise _told(error) from error.__cause__
        except RecursionError:
            raise Malformed(f"nested deeper than {strict_json.MAX_DEPTH}") from None
        return strict_json.dumps(written)

    def decode(self, body: bytes, /) -> T:
        """The message in a JSON text."""
        value = strict_json.loads(body)
        try:
            message: T = self._read(value)
        except Malformed as error:
            raise _told(error) from error.__cause__
        return message

    def __repr__(self) -> str:
        return f"messages({self._what})"


def _told(error: Malformed) -> Malformed:
    return strict_json.at(error.path[: strict_json.MAX_PATH], str(error))


def messages(form: TypeForm[T], *, tagged: bool = True) -> Codec[T]:
    """A codec for a dataclass, a NamedTuple or a union of them, as serde_json writes an enum (externally tagged).

    A class without fields is its name, ``"Ping"``; a dataclass ``{"Say":{"text":"hi"}}``; a NamedTuple has positions,
    ``{"Pair":[1,2]}``, and with one field that field alone, ``{"Say":"hi"}``. Inside a message a class by itself is a
    struct, without its name; ``tagged=False`` does so at the top, too. Fields: bool, int, float, str, bytes (an array
    of numbers), None, list, tuple, ``dict[str, X]``, Literal, Enum (by name, a StrEnum by value), such classes, Any,
    and unions of what JSON tells apart. What has a default, or may be None, may be absent; what is not known is
    ignored, as serde does.

    ``ConfigError``, at once, if there is no form for one of the types; ``where`` is the field. The codec raises
    ``Malformed`` with the ``path`` of what is missing or not of its type, both ways, and for all that ``JSON`` refuses.
    The forms are those of parity 2.
    """
    return MessageCodec(compiled(form, tagged=tagged))
