"""When the garbage collector may stop everything: as long as nobody waits, or seldom.

Nothing of a request is left to it, so it has little to find, and with a thousand streams open one look at what is not
young any more takes 60 to 100 ms, in which no stream goes on (https://docs.python.org/3/library/gc.html).
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 10_000
"""Objects made before it looks at those that are young: a few dozen requests' worth of them, two or three ms."""
_QUIET: Final = 10
"""Such looks before it looks at the older ones in a quiet moment."""
_BUSY: Final = 100
"""Such looks before it does without one."""


class Collector:
    """Tells the garbage collector when to work. There is one for a process."""

    def __init__(self) -> None:
        self._running = 0

    def start(self) -> None:
        """What a server is made of stays to its end: nothing is gained by looking through it again and again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, _BUSY, gc.get_threshold()[2])

    def begin(self) -> None:
        """A request has begun."""
        self._running += 1

    def end(self) -> None:
        """It is over. If it was the only one, this is a quiet moment."""
        self._running -= 1
        if not self._running and gc.get_count()[1] >= _QUIET:
            gc.collect(1)
