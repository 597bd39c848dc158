"""What is counted of one limit in memory: a sliding minute, a calendar period, slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from asgi_llmgw.store.base import Claim, Measure, Period, Standing
from asgi_llmgw.store.periods import CELL, MINUTE, SOON, calendar, cell_end


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

    def claim(self, now: float, claim: Claim) -> Standing | None:
        """Set it aside, and tell how the limit stands with it; None where there is no room for it."""
        ...

    def give_back(self, time: float, claim: Claim) -> None:
        """Its lease has run out."""
        ...

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        """It was so much really, after `claimed` was counted for it at the time and its lease has run out."""
        ...

    def settle(self, time: float, claim: Claim, actual: Mapping[Measure, int]) -> None:
        """It is not set aside any more, and was so much really; what `actual` does not name was claimed rightly."""
        ...


def make_counter(period: Period | Literal[""]) -> Counter:
    """The counter for limits of this period; slots have none."""
    match period:
        case "":
            return _Slots()
        case "minute":
            return _Minute()
        case _:
            return _Calendar(period)


class _Minute:
    """Cells of a few seconds. All that overlap the last minute count, so that no real minute ever holds too much."""

    def __init__(self) -> None:
        self._cells: dict[float, int] = {}
        self._total = 0
        # that of the last look: cells run out where another one begins
        self._cell: float | None = None
        self._ends = 0.0

    def counted(self, now: float) -> int:
        if now // CELL != self._cell:
            self._begin(now)
        return self._total

    def reset(self, now: float) -> float:
        taken = [cell for cell, amount in self._cells.items() if amount]
        return cell_end(max(taken)) - now if taken else 0.0

    def wait(self, now: float, excess: int) -> float:
        for cell in sorted(self._cells):
            excess -= self._cells[cell]
            if excess <= 0:
                return cell_end(cell) - now
        return MINUTE

    def claim(self, now: float, claim: Claim) -> Standing | None:
        cell = now // CELL
        if cell != self._cell:
            self._begin(now)
        limit, amount = claim.limit, claim.amount
        left = limit.ceiling - self._total - amount
        if left < 0:
            return None
        if not amount:
            return Standing(limit, left, self.reset(now))
        self._cells[cell] += amount
        self._total += amount
        return Standing(limit, left, self._ends - now)

    def give_back(self, time: float, claim: Claim) -> None:
        """It stays counted: the minute will be over soon."""

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        if actual != claimed:
            self._change(time, actual - claimed)

    def settle(self, time: float, claim: Claim, actual: Mapping[Measure, int]) -> None:
        claimed = claim.amount
        amount = actual.get(claim.limit.measure, claimed)
        if amount != claimed:
            self._change(time, max(0, amount) - claimed)

    def _change(self, time: float, difference: int) -> None:
        cell = time // CELL
        before = self._cells.get(cell)
        if before is None:
            # it may be over: the next look tells
            before, self._cell = 0, None
        # no more is taken back than is there
        after = max(0, before + difference)
        self._cells[cell] = after
        self._total += after - before

    def _begin(self, now: float) -> None:
        """Another cell is the current one."""
        cell = now // CELL
        for over in [known for known in self._cells if cell_end(known) <= now]:
            self._total -= self._cells.pop(over)
        self._cells.setdefault(cell, 0)
        self._cell, self._ends = cell, cell_end(cell)


class _Calendar:
    """The current day or month. What comes late for an earlier one has no effect any more."""

    def __init__(self, period: Literal["day", "month"]) -> None:
        self._period = period
        self._begins = 0.0
        self._ends = 0.0
        self._used = 0
        self._held = 0

    def counted(self, now: float) -> int:
        self._is_current(now)
        return self._used + self._held

    def reset(self, now: float) -> float:
        return self._ends - now if self._used + self._held else 0.0

    def wait(self, now: float, excess: int) -> float:
        return SOON if excess <= self._held else self._ends - now

    def claim(self, now: float, claim: Claim) -> Standing | None:
        current = self._is_current(now)
        limit, amount = claim.limit, claim.amount
        left = limit.ceiling - self._used - self._held - amount
        if left < 0:
            return None
        if current:
            self._held += amount
        return Standing(limit, left, self.reset(now))

    def give_back(self, time: float, claim: Claim) -> None:
        if self._is_current(time):
            self._held = max(0, self._held - claim.amount)

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        if self._is_current(time):
            self._used += actual

    def settle(self, time: float, claim: Claim, actual: Mapping[Measure, int]) -> None:
        if self._is_current(time):
            self._held = max(0, self._held - claim.amount)
            self._used += max(0, actual.get(claim.limit.measure, claim.amount))

    def _is_current(self, time: float) -> bool:
        """Whether the moment is in the current period, which it may begin."""
        if time >= self._ends:
            self._begins, self._ends = calendar(self._period, time)
            self._used = self._held = 0
        return time >= self._begins


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

    def claim(self, now: float, claim: Claim) -> Standing | None:
        held = self._held + claim.amount
        left = claim.limit.ceiling - held
        if left < 0:
            return None
        self._held = held
        return Standing(claim.limit, left, SOON if held else 0.0)

    def give_back(self, time: float, claim: Claim) -> None:
        self._held = max(0, self._held - claim.amount)

    def charge(self, time: float, actual: int, *, claimed: int) -> None:
        """A request that is over takes no slot."""

    def settle(self, time: float, claim: Claim, actual: Mapping[Measure, int]) -> None:
        held = self._held - claim.amount
        self._held = held if held > 0 else 0
