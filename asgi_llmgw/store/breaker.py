"""Whether a shared store is there, as everybody who uses it has found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

FAILURES: Final = 5

_logger: Final = logging.getLogger(__name__)


class Breaker:
    """Counts failures in a row. While it says that the store is away, nobody asks the store but for a probe.

    Args:
        failures: so many in a row mean that the store is away.

    Attributes:
        available: whether the store is asked at all.
    """

    def __init__(self, *, failures: int = FAILURES) -> None:
        self._most = failures
        self._in_a_row = 0
        self._listeners: list[Callable[[bool], None]] = []
        self.available = True

    def listen(self, listener: Callable[[bool], None]) -> None:
        """Be told of every change, and now of how it is."""
        self._listeners.append(listener)
        listener(self.available)

    def succeeded(self) -> None:
        """The store has answered in time."""
        self._in_a_row = 0

    def failed(self, reason: str) -> None:
        """The store has not."""
        self._in_a_row += 1
        if self.available and self._in_a_row >= self._most:
            _logger.error("the shared store is away, requests go on without it: %s", reason)
            self._change(False)

    def recovered(self) -> None:
        """A probe has shown that the store is there."""
        self._in_a_row = 0
        if not self.available:
            _logger.warning("the shared store is back")
            self._change(True)

    def _change(self, available: bool) -> None:
        self.available = available
        for listener in self._listeners:
            listener(available)
