"""The arithmetic of periods, the same for every store (the scripts for Redis say it once more in Lua)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

CELL: Final = 3.0
"""A sliding minute is counted in cells of so many seconds."""
CELLS: Final = 20
"""Cells in a minute; one more is counted, the one that the minute's beginning cuts in two."""
MINUTE: Final = CELL * CELLS
SOON: Final = 1.0
"""Seconds to wait for what only running requests hold."""

_DAY: Final = 86_400


def cell_at(time: float) -> float:
    """The number of a moment's cell."""
    return time // CELL


def cell_end(cell: float) -> float:
    """The moment from which no minute holds anything of the cell."""
    return (cell + 1) * CELL + MINUTE


def calendar(period: Literal["day", "month"], time: float) -> tuple[float, float]:
    """When the calendar day or month of a moment has begun, in UTC, and when the next one does."""
    if period == "day":
        begins = time // _DAY * _DAY
        return begins, begins + _DAY
    first = datetime.fromtimestamp(time, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=31)).replace(day=1)
    return first.timestamp(), following.timestamp()


def seconds_left(period: Literal["day", "month"], time: float) -> float:
    """Seconds until the calendar day or month of a moment is over."""
    return calendar(period, time)[1] - time
