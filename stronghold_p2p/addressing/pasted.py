"""What somebody may have meant by a text that is no address, in words of advice: people paste what other programs show.

Looked at when the parser has refused a text, which has at most 1,024 characters.
"""

import ipaddress
import re
from typing import Final

from stronghold_p2p.addressing.components import BY_NAME
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.peer_id import PeerId

_PORTS: Final = {"ws": "80", "http": "80", "wss": "443", "https": "443", "tcp": ""}
_SPOKEN: Final = {"ws": "/ws", "wss": "/wss", "http": "/ws", "https": "/wss"}
_URL: Final = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?:\[(?P<ip6>[0-9a-f:.]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d{1,5}))?(?:/[^\s]*)?",
    re.IGNORECASE,
)
_QUOTES: Final = "'\"`<>\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"


def advice_for(text: str) -> str:
    """What to give instead of ``text``; empty: nobody can tell."""
    if text != text.strip():
        return "there is white space around it"
    if text and (text[0] in _QUOTES or text[-1] in _QUOTES):
        return "there are quotation marks around it"
    if not text.startswith("/"):
        return _of_another_form(text)
    words = text.removesuffix("/").split("/")[1:]
    if "" in words:
        return "nothing stands between two of its slashes"
    for before, word in zip(("", *words), words, strict=False):
        if advice := _of_word(before, word):
            return advice
    return ""


def _of_another_form(text: str) -> str:
    if _is_peer(text):
        return "a peer id alone is PeerId(text)"
    if text.partition("/")[0] in BY_NAME:
        return f"it begins with a slash, /{text}"
    found = _URL.fullmatch(text)
    if found is None or (found["scheme"] or "tcp").lower() not in _PORTS:
        return ""
    scheme = (found["scheme"] or "tcp").lower()
    host = found["ip6"] or found["host"]
    kind = _kind_of_host(host)
    if not kind or not (found["scheme"] or found["port"] or kind != "dns" or "." in host):
        return ""
    return f"take /{kind}/{host}/tcp/{found['port'] or _PORTS[scheme] or '<port>'}{_SPOKEN.get(scheme, '')}"


def _of_word(before: str, word: str) -> str:
    """``word`` in an address, behind ``before``: a value or the name of a protocol."""
    if before in ("ip4", "ip6"):
        return _of_ip(before, word)
    if before in BY_NAME and BY_NAME[before].size != 0:
        return ""
    if word in BY_NAME:
        return ""
    if word.lower() in BY_NAME:
        return f"names of protocols are written small, /{word.lower()}"
    if _is_peer(word):
        return "a peer id stands behind /p2p/"
    if word.isdigit():
        return "a port stands behind /tcp/ or /udp/"
    return ""


def _of_ip(kind: str, word: str) -> str:
    host, _, zone = word.partition("%")
    if zone and _kind_of_host(host) == "ip6":
        return f"the zone stands before it, /ip6zone/{zone[:16]}/ip6/{host}"
    if word.startswith("[") and _kind_of_host(word.strip("[]")) == "ip6":
        return f"take /ip6/{word.strip('[]')}"
    host, _, port = word.partition(":")
    if port.isdigit() and _kind_of_host(host) == "ip4":
        return f"the port stands behind it, /ip4/{host}/tcp/{port}"
    actual = _kind_of_host(word)
    if actual == "dns" and not word.replace(".", "").isdigit():
        return f"a name stands behind /dns/, /dns/{word}"
    return f"take /{actual}/{word}" if actual and actual not in ("dns", kind) else ""


def _kind_of_host(text: str) -> str:
    try:
        return f"ip{ipaddress.ip_address(text).version}"
    except ValueError:
        return "dns" if len(text) <= 253 and re.fullmatch(r"[\w-]+(?:\.[\w-]+)*\.?", text) else ""


def _is_peer(text: str) -> bool:
    try:
        PeerId(text)
    except DecodeError:
        return False
    return True
