"""What a request to a stronghold needs, and who has been granted it.

Every kind of request says what it needs, in one place; what is not listed there is refused, whoever asks. Rights are
for paths: one for ``wallet`` holds for ``wallet/main``, too, and one for the empty path for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stronghold_p2p import Attempt

Right = Literal["use", "write", "list", "read", "store"]
"""``use`` a secret in a procedure, ``write`` a secret or revoke it, ``list`` the paths of secrets; ``read`` records of
the store, and ``store`` them."""


@dataclass(frozen=True)
class Grant:
    """``right`` at ``path`` and below."""

    right: Right
    path: str = ""

    @staticmethod
    def parse(text: str) -> "Grant":
        """``use:wallet``, ``list``. ``ValueError``: no such right."""
        right, _, path = text.partition(":")
        if right not in get_args(Right):
            raise ValueError(f"no right {right!r}: take {', '.join(get_args(Right))}, as in use:wallet")
        return Grant(right, path.strip("/"))  # type: ignore[arg-type]

    def covers(self, needed: "Grant") -> bool:
        if self.right != needed.right:
            return False
        return not self.path or needed.path == self.path or needed.path.startswith(self.path + "/")


Needs = Callable[[Any], Sequence[Grant]]


def allows(grants: Sequence[Grant], table: Mapping[type, Needs], message: Any) -> bool:
    """Whether ``grants`` cover all that ``message`` needs. A kind of message that ``table`` does not know: never."""
    needs = table.get(type(message))
    if needs is None:
        return False
    return all(any(grant.covers(needed) for grant in grants) for needed in needs(message))


def granted(grants: Sequence[Grant], table: Mapping[type, Needs]) -> Callable[[Attempt], bool]:
    """For ``Rule.when``: looks at the request itself, before any handler sees it."""
    return lambda attempt: allows(grants, table, attempt.view)
