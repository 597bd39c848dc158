"""An event loop whose time passes at once when nobody has anything to do: minutes of waiting take no time at all.

For code between fakes alone. Nothing on a real socket would ever come, as the loop does not wait for it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping


class _Selector(selectors.SelectSelector):
    """Polls instead of waiting, and passes the time that it was to wait."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self._loop.passed += timeout
        # without a timer nothing but a call from outside can wake the loop
        return super().select(timeout if timeout is None else 0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its `time()` starts at 0 and jumps to the next timer as soon as all tasks wait."""

    def __init__(self) -> None:
        self.passed = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.passed


BACKEND: tuple[str, Mapping[str, object]] = ("asyncio", {"loop_factory": VirtualTimeLoop})
"""For a test module's `anyio_backend` fixture."""
