"""The table of what ``make field`` plays. A new scenario is a function of its own module, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from tests.field.closing import answers_of_handlers_at_work
from tests.field.descriptors import no_descriptor_left
from tests.field.figure import Figure
from tests.field.mounted_files import files_that_are_mounted
from tests.field.restart import restart_behind_a_vanished_connection
from tests.field.upload import upload_that_becomes_slow


class Scenario(NamedTuple):
    """``name`` selects it, ``told`` says what it is; ``play`` raises ``Unavailable`` where it cannot be played."""

    name: str
    told: str
    play: Callable[[], Figure]


SCENARIOS: Final = (
    Scenario("restart", "restart with the same key behind a vanished connection", restart_behind_a_vanished_connection),
    Scenario("upload", "an upload whose link slows from loopback speed to 1 Mbit/s", upload_that_becomes_slow),
    Scenario("descriptors", "60 sockets against a limit of 12 descriptors", no_descriptor_left),
    Scenario("mounted", "a key, rules and a book that are mounted one by one", files_that_are_mounted),
    Scenario("closing", "a handler at work when its network closes answers", answers_of_handlers_at_work),
)
