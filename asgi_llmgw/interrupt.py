"""Ending what a task is at, from the outside and once."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Interrupt:
    """What runs inside it can be ended by `fire()`; then `fired` is true and the code behind it goes on.

    It is `asyncio.timeout(None)` without awaiting anything: most requests have several, and few ever fire. Cancellation
    by others passes through.

    Attributes, from when it is entered on:
        fired: that is why it ended.
        loop: the event loop.
        timer: what may fire it, no longer than it lasts.
    """

    __slots__ = ("_cancelling", "_task", "fired", "loop", "timer")
    loop: asyncio.AbstractEventLoop
    fired: bool
    timer: asyncio.TimerHandle | None
    _task: asyncio.Task[object] | None
    _cancelling: int

    def fire(self, _: object = None) -> None:
        """End it at its next `await`; a second time, and after its end, it does nothing. It may be a callback."""
        if self._task is not None and not self.fired:
            self.fired = True
            self._task.cancel()

    def __enter__(self) -> Self:
        # to ask for the loop is a system call in CPython 3.11
        self.loop = loop = asyncio.get_running_loop()
        self._task = task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("only a task can be interrupted")
        self._cancelling = task.cancelling()
        self.fired = False
        self.timer = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.timer is not None:
            self.timer.cancel()
        if self.fired and self._task is not None:
            # with one more request to cancel than there was, somebody else wants it as well
            return self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        self._task = None
        return False


class Deadline(Interrupt):
    """An `Interrupt` that fires by itself, at a moment that may be set, moved and taken back."""

    __slots__ = ()

    def after(self, seconds: float | None) -> None:
        """Fire so many seconds from now and not when it was said before; None for not at all."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if seconds is None else self.loop.call_later(seconds, self.fire)
