"""The memory that bytes are received into."""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

# Four full records. A connection whose input is slow to process reads no more per callback: that many frames of the
# least size block the loop for tens of milliseconds.
INBOX_BYTES: Final = 256 << 10

_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def inbox_for(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The inbox that connections of this loop share, or a fresh one where they cannot.

    On a selector loop ``get_buffer``, ``recv_into`` and ``buffer_updated`` are one callback, so nothing of it has to be
    kept between callbacks. A proactor loop reads ahead: there each connection has its own. A bytearray with live views
    cannot be resized, so it is handed out as a view.
    """
    proactor = getattr(asyncio, "ProactorEventLoop", None)
    if proactor is not None and isinstance(loop, proactor):
        return memoryview(bytearray(INBOX_BYTES))
    inbox = _shared.get(loop)
    if inbox is None:
        inbox = _shared[loop] = memoryview(bytearray(INBOX_BYTES))
    return inbox
