"""``messages``: a codec for the classes of an application, in serde's externally tagged JSON."""

from typing import TYPE_CHECKING, TypeVar

from stronghold_p2p.encoding import strict_json
from stronghold_p2p.errors import Malformed
from stronghold_p2p.request_response.codecs.codec import Codec, Named
from stronghold_p2p.request_response.codecs.compiler import compiled

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


def _told(error: Malformed) -> Malformed:
    return strict_json.at(error.path[: strict_json.MAX_PATH], str(error))


def messages(form: "TypeForm[T]", *, tagged: bool = True) -> Codec[T]:
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
    shape = compiled(form, tagged=tagged)

    def encode(value: T) -> bytes:
        try:
            written = shape.write(value)
        except Malformed as error:
            raise _told(error) from error.__cause__
        except RecursionError:
            raise Malformed(f"nested deeper than {strict_json.MAX_DEPTH}") from None
        return strict_json.dumps(written)

    def decode(body: bytes) -> T:
        value = strict_json.loads(body)
        try:
            message: T = shape.read(value)
        except Malformed as error:
            raise _told(error) from error.__cause__
        return message

    return Named(f"messages({shape.what})", encode, decode)
