"""What is counted of one limit in memory: a sliding minute, a calendar period, slots."""

from __future__ import annotations

import math
from typing import Literal, Protocol

from asgi_llmgw.store.base import Limit
from asgi_llmgw.store.periods import MINUTE, SOON, calendar, cell_at, cell_end, seconds_left


class Counter(Protocol):
    """Counts one limit. `time` is when something was claimed, `now` is the clock."""

    def counted(self, now: float) -> int:
        """So much is taken."""
        ...

    def reset(self, now: float) -> float:
        """Seconds until nothing is."""
        ...

    def wait(self, now: float, excess: int) -> float:
        """Seconds until so much of it may be free again."""
        ...

    def claim(self, time: float, amount: int) -> None:
        """Set it aside."""
        ...

    def give_back(self, time: float, amount: int) -> None:
        """It is not set aside any more: settled, or its lease has run out."""
        ...

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        """It was so much really, after `claimed` was counted for it at the time."""
        ...

    def settle(self, time: float, actual: int, *, claimed: int) -> None:
        """Both at once: it is not set aside any more, and was so much really."""
        ...


def make_counter(limit: Limit) -> Counter:
    """The counter for a limit."""
    match limit.period:
        case None:
            return _Slots()
        case "minute":
            return _Minute()
        case period:
            return _Calendar(period)


class _Minute:
    """Cells of a few seconds. All that overlap the last minute count, so that no real minute ever holds too much."""

    def __init__(self) -> None:
        self._cells: dict[int, int] = {}
        self._total = 0
        self._first_ends = math.inf
        self._last_ends = 0.0

    def counted(self, now: float) -> int:
        if self._first_ends <= now:
            for cell in [cell for cell in self._cells if cell_end(cell) <= now]:
                self._total -= self._cells.pop(cell)
            self._find_ends()
        return self._total

    def reset(self, now: float) -> float:
        return self._last_ends - now if self._cells else 0.0

    def wait(self, now: float, excess: int) -> float:
        for cell in sorted(self._cells):
            excess -= self._cells[cell]
            if excess <= 0:
                return cell_end(cell) - now
        return MINUTE

    def claim(self, time: float, amount: int) -> None:
        cell = cell_at(time)
        before = self._cells.get(cell, 0)
        after = before + amount
        if after > 0:
            self._cells[cell] = after
            self._total += amount
            if not before:
                self._first_ends = min(self._first_ends, cell_end(cell))
                self._last_ends = max(self._last_ends, cell_end(cell))
        elif before:
            # no more is taken back than is there
            self._total -= self._cells.pop(cell)
            self._find_ends()

    def give_back(self, time: float, amount: int) -> None:
        """It stays counted: the minute will be over soon."""

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        if actual != claimed:
            self.claim(time, actual - claimed)

    settle = charge

    def _find_ends(self) -> None:
        self._first_ends = cell_end(min(self._cells)) if self._cells else math.inf
        self._last_ends = cell_end(max(self._cells)) if self._cells else 0.0


class _Calendar:
    """The current day or month. What comes late for an earlier one has no effect any more."""

    def __init__(self, period: Literal["day", "month"]) -> None:
        self._period = period
        self._number = -1
        self._used = 0
        self._held = 0

    def counted(self, now: float) -> int:
        self._is_current(now)
        return self._used + self._held

    def reset(self, now: float) -> float:
        return seconds_left(self._period, now) if self._used + self._held else 0.0

    def wait(self, now: float, excess: int) -> float:
        return SOON if excess <= self._held else seconds_left(self._period, now)

    def claim(self, time: float, amount: int) -> None:
        if self._is_current(time):
            self._held += amount

    def give_back(self, time: float, amount: int) -> None:
        if self._is_current(time):
            self._held = max(0, self._held - amount)

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        if self._is_current(time):
            self._used += actual

    def settle(self, time: float, actual: int, *, claimed: int) -> None:
        if self._is_current(time):
            self._held = max(0, self._held - claimed)
            self._used += actual

    def _is_current(self, time: float) -> bool:
        """Whether the moment is in the current period, which it may begin."""
        number = calendar(self._period, time)
        if number > self._number:
            self._number, self._used, self._held = number, 0, 0
        return number == self._number


class _Slots:
    """Requests that run at the same time."""

    def __init__(self) -> None:
        self._held = 0

    def counted(self, now: float) -> int:
        return self._held

    def reset(self, now: float) -> float:
        return SOON if self._held else 0.0

    def wait(self, now: float, excess: int) -> float:
        return SOON

    def claim(self, time: float, amount: int) -> None:
        self._held += amount

    def give_back(self, time: float, amount: int) -> None:
        self._held = max(0, self._held - amount)

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        """A request that is over takes no slot."""

    def settle(self, time: float, actual: int, *, claimed: int) -> None:
        self._held = self._held - claimed if self._held > claimed else 0
