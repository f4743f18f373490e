"""What each limit and each timeout means, in three places: ``help`` of its class, the editor, and docs/limits.md.

The docstring of the class is what is written by hand. From there each field gets its own docstring, which editors show,
and the page gets its tables; what is seen when an option is reached stands here.

python -m tools.options write     writes them (part of ``make docs``)
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from stronghold_p2p.config import Limits, Timeouts
from tools import pages
from tools.house import ROOT

CONFIG: Final = ROOT / "stronghold_p2p" / "config.py"
PAGE: Final = ROOT / "docs" / "limits.md"
KINDS: Final[tuple[type[Any], ...]] = (Timeouts, Limits)
WIDTH: Final = 120
BYTES: Final = {"receive_memory_total", "max_window", "receive_memory", "request_memory", "request_memory_per_peer"}

# What somebody sees who has reached it: here, and at the other end.
SYMPTOMS: Final[Mapping[str, str]] = {
    "request": "`DeadlineExceeded`, whose `phase` tells where; a late handler is cancelled: `StreamReset`",
    "ask": "the log says that the hook gave no answer in time; the requester gets `Rejected`",
    "dial": "`DeadlineExceeded` with `phase` `dial`, `raise Timeouts.dial`",
    "resolve": "`NameResolutionError`, whose `query` names the question",
    "connect": "that address in `DialError.attempts`, or `DeadlineExceeded` with `phase` `connecting`",
    "upgrade": "`DeadlineExceeded` with `phase` `upgrade`; at a listener the log says that no handshake came",
    "negotiate": "`DeadlineExceeded` with `phase` `negotiate`, `raise Timeouts.negotiate`",
    "identify": "nothing is known of the peer's protocols and addresses",
    "idle": "`Ended` with a `ConnectionClosed` that says idle; the next call dials anew",
    "keepalive": "nothing: a ping goes out",
    "keepalive_answer": "`ConnectionClosed` with `no answer to a keep-alive ping`",
    "write_stall": "`ConnectionClosed` that names `write_stall`",
    "close": "a warning in the log that closing took longer",
    "busy_poll": "nothing: the connection waits for the event loop again",
    "connections": "the log names it; the peer gets `ConnectionClosed` with code 0x1001; our dial gets `LimitExceeded`",
    "inbound": "the log names it; the peer gets `ConnectionClosed`",
    "outbound": "our dial gets `LimitExceeded`",
    "per_peer": "the log names it; the peer gets `ConnectionClosed` with code 0x1001",
    "per_subnet": "the log names it; the ninth peer behind one NAT, proxy or ingress gets `ConnectionClosed`",
    "pending_in": "the log names it (or `pending_per_ip`); the peer gets `ConnectionClosed` during the upgrade",
    "pending_out": "our dial gets `LimitExceeded`",
    "accept_rate": "the log names it; the peer gets `ConnectionClosed` during the upgrade",
    "receive_memory_total": "the log names it; our reader and the peer get `LimitExceeded`",
    "streams_in": "the log names it; the peer gets `LimitExceeded` with `remote`",
    "streams_in_total": "the log names it; the peer gets `LimitExceeded` with `remote`",
    "max_window": "nothing: one stream gets no faster over a long way",
    "receive_memory": "the log names it; our reader and the peer get `LimitExceeded`",
    "requests_per_peer": "whose request it was gets `LimitExceeded`; if the peer's, the log names it",
    "requests_waiting": "our request gets `LimitExceeded`",
    "request_memory": "the log names it, `RequestUnread` shows it; the peer gets `LimitExceeded`",
    "request_memory_per_peer": "the log names it, `RequestUnread` shows it; the peer gets `LimitExceeded`",
    "asks": "the log says how many questions there are; the requester gets `Rejected`",
    "asks_per_peer": "the log names it; the requester gets `Rejected`",
    "mdns_peers": "no `PeerDiscovered` for further ones, or a `PeerLost` for another one of the same source",
    "mdns_rate": "`mdns_dropped_total` grows",
}


def meanings(kind: type[Any]) -> dict[str, str]:
    """What the docstring of the class says of each field, as one line of text."""
    entry = re.compile(r"^    (\w+) = \S+?(?: \(\d+ MiB\))?: (.*(?:\n {8}.*)*)", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entry.findall(kind.__doc__ or "")}


def documented(source: str) -> str:
    """The module with the docstring of each field behind it."""
    for kind in KINDS:
        told = meanings(kind)
        for one in fields(kind):
            field = re.compile(rf'^(    {one.name}: [^\n]* = [^\n]*\n)(?:    """(?:[^"]|"(?!""))*"""\n)?', re.MULTILINE)
            text = _docstring(told[one.name])
            head, begin, rest = source.partition(f"class {kind.__name__}(")
            body, count = field.subn(lambda found, text=text: found[1] + text, rest, count=1)  # type: ignore[misc]
            if count != 1:
                raise ValueError(f"no one place for {kind.__name__}.{one.name}")
            source = head + begin + body
    return source


def _docstring(text: str) -> str:
    sentence = text[0].upper() + text[1:]
    whole = f'"""{sentence}"""'
    if len(whole) > WIDTH - 4:
        whole = "\n".join(textwrap.wrap(f'"""{sentence}', WIDTH - 4, break_long_words=False)) + '\n"""'
    return textwrap.indent(whole, "    ") + "\n"


def table(kind: type[Any]) -> str:
    """The options of one class: default with its unit, meaning, and what is seen when it is reached."""
    told = meanings(kind)
    lines = ["| option | default | meaning | when it is reached |", "|---|---|---|---|"]
    for one in fields(kind):
        meaning = told[one.name].replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{one.name}` | {_default(kind, one.name, one.default)} | {meaning} | {SYMPTOMS[one.name]} |")
    return "\n".join([*lines, ""])


def _default(kind: type[Any], name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name in BYTES:
        return f"{value >> 20} MiB"
    if name == "accept_rate":
        return f"{value:g} a second"
    return f"{value:g} s" if kind is Timeouts else f"{value:,}"


def current() -> Mapping[Path, str]:
    """Both files as they have to be."""
    parts = {kind.__name__: table(kind) for kind in KINDS}
    return {
        CONFIG: documented(CONFIG.read_text(encoding="utf-8")),
        PAGE: pages.placed(PAGE.read_text(encoding="utf-8"), parts),
    }


if __name__ == "__main__":
    pages.main(current())
