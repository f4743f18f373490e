"""What is asked of a stronghold, and what each request needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.stronghold.permissions import Grant, Needs
from stronghold_p2p import RequestProtocol, messages


@dataclass(frozen=True)
class Generate:
    """A new key at ``path``. Answered with ``Key``."""

    path: str


@dataclass(frozen=True)
class Derive:
    """A key made of the one at ``path``, kept at ``target``. Answered with ``Key``."""

    path: str
    target: str
    info: str


@dataclass(frozen=True)
class PublicKey:
    """Answered with ``Key``."""

    path: str


@dataclass(frozen=True)
class Sign:
    """Answered with ``Signature``."""

    path: str
    message: str


@dataclass(frozen=True)
class Revoke:
    """Answered with ``Done``."""

    path: str


@dataclass(frozen=True)
class Paths:
    """Those below ``path``. Answered with ``Listed``."""

    path: str


@dataclass(frozen=True)
class Read:
    """A record of the store. Answered with ``Record``."""

    path: str


@dataclass(frozen=True)
class Write:
    """``value`` None deletes. Answered with ``Done``."""

    path: str
    value: str | None


@dataclass(frozen=True)
class Compare:
    """A message of the reconciliation (in base64), and records that the other side has shown to be missing there, each
    with its time and its value. Answered with ``Compared``.
    """

    ranges: str
    records: dict[str, tuple[int, str | None]]
    wanted: list[str]


@dataclass(frozen=True)
class Key:
    public: str


@dataclass(frozen=True)
class Signature:
    signature: str


@dataclass(frozen=True)
class Listed:
    paths: list[str]


@dataclass(frozen=True)
class Record:
    value: str | None


@dataclass(frozen=True)
class Compared:
    ranges: str
    records: dict[str, tuple[int, str | None]]
    wanted: list[str]


@dataclass(frozen=True)
class Done: ...


Question = Generate | Derive | PublicKey | Sign | Revoke | Paths | Read | Write | Compare
Answer = Key | Signature | Listed | Record | Compared | Done

PROTOCOL: RequestProtocol[Any, Any] = RequestProtocol(
    "/stronghold-example/1.0.0", request=messages(Question), response=messages(Answer)
)

# Whatever uses a secret needs that, also where it makes another one of it. To compare stores needs nothing: what is
# shown and taken is what the peer may read and store, record by record.
NEEDS: Mapping[type, Needs] = {
    Generate: lambda asked: [Grant("write", asked.path)],
    Derive: lambda asked: [Grant("use", asked.path), Grant("write", asked.target)],
    PublicKey: lambda asked: [Grant("use", asked.path)],
    Sign: lambda asked: [Grant("use", asked.path)],
    Revoke: lambda asked: [Grant("write", asked.path)],
    Paths: lambda asked: [Grant("list", asked.path)],
    Read: lambda asked: [Grant("read", asked.path)],
    Write: lambda asked: [Grant("store", asked.path)],
    Compare: lambda _: [],
}
