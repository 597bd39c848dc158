"""Stores in the memory of this process: other processes do not see them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from asgi_llmgw.store.base import (
    NOTHING_USED,
    Claim,
    Denied,
    Limit,
    Measure,
    Period,
    Reservation,
    Standing,
    check_claims,
)
from asgi_llmgw.store.counters import Counter, make_counter

_OVERHEAD: Final = 256
"""About what an entry costs besides its texts."""

_SWEEP: Final = 60.0
"""Seconds between two looks for limits that nobody uses any more."""
_REMEMBERED: Final = 3600.0
"""Seconds after its lease for which a request that is over is known, so that nothing counts twice."""

_Key: TypeAlias = tuple[str, str, Measure, Period | Literal[""]]


class _Record(msgspec.Struct, gc=False):
    """A request that has set something aside, or had."""

    claims: tuple[Claim, ...]
    time: float
    ends: float
    settled: bool = False


class _Counters(dict[_Key, Counter]):
    """The counters of limits by `Limit.counter`; one that is missing begins with nothing."""

    def __missing__(self, key: _Key) -> Counter:
        made = self[key] = make_counter(key[-1])
        return made


class MemoryStore:
    """A `Store` for one process. It may be used from several event loops and threads.

    Args:
        clock: seconds since the epoch.
        max_remembered: so many requests that are over are known at most.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, max_remembered: int = 10_000) -> None:
        self._clock = clock
        self._max_remembered = max_remembered
        self._lock = threading.Lock()
        self._counters = _Counters()
        self._open: dict[str, _Record] = {}
        self._over: OrderedDict[str, _Record] = OrderedDict()
        self._swept = clock()
        # until then no lease ends, and nothing is to be swept
        self._due = self._swept + _SWEEP

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        """Set aside all that is claimed, or nothing."""
        with self._lock:
            now = self._now()
            if request_id in self._open or request_id in self._over:
                known = self._open.get(request_id) or self._over[request_id]
                return Reservation(request_id, known.claims, self._standings(known.claims, now), known.time)
            counters = self._counters
            standings: dict[Counter, Standing] = {}
            for claim in claims:
                counter = counters[claim.limit.counter]
                standing = None if counter in standings else counter.claim(now, claim)
                if standing is None:
                    for taken in claims[: len(standings)]:
                        counters[taken.limit.counter].settle(now, taken, NOTHING_USED)
                    return self._denied(claims, now)
                standings[counter] = standing
            made = Reservation(request_id, tuple(claims), tuple(standings.values()), now)
            ends = now + lease
            self._open[request_id] = _Record(made.claims, now, ends)
            if ends < self._due:
                self._due = ends
            return made

    async def renew(self, reservations: Sequence[Reservation], /, *, lease: float) -> None:
        """These requests are still running: leases that have not ended yet last `lease` seconds from now, or longer."""
        with self._lock:
            now = self._now()
            for reservation in reservations:
                record = self._open.get(reservation.id)
                if record is not None:
                    record.ends = max(record.ends, now + lease)

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        """Count what it really was instead of what was claimed, and give the slots back."""
        with self._lock:
            record = self._open.pop(reservation.id, None)
            if record is None:
                self._settle_late(reservation, actual)
                return
            counters, claimed_at = self._counters, record.time
            for claim in record.claims:
                counters[claim.limit.counter].settle(claimed_at, claim, actual)
            record.settled = True
            self._remember(reservation.id, record)

    async def aclose(self) -> None:
        """Nothing is open."""

    def __len__(self) -> int:
        """How many limits are being counted."""
        return len(self._counters)

    def _now(self) -> float:
        now = self._clock()
        if not self._swept <= now < self._due:
            self._reap(now)
        return now

    def _settle_late(self, reservation: Reservation, actual: Mapping[Measure, int]) -> None:
        """The lease has run out, or nothing was ever reserved; it may have been settled before."""
        known = self._over.pop(reservation.id, None)
        record = known or _Record(reservation.claims, reservation.time, self._now())
        if not record.settled:
            record.settled = True
            for claim in record.claims:
                amount = max(0, actual.get(claim.limit.measure, claim.amount))
                counted = claim.amount if known else 0
                self._counters[claim.limit.counter].charge(record.time, amount, claimed=counted)
        self._remember(reservation.id, record)

    def _denied(self, claims: Sequence[Claim], now: float) -> Denied:
        """Of several limits that are short, the one that is short for longest; the first of equal ones.

        Raises:
            ValueError: a limit is claimed twice.
        """
        check_claims(claims)
        waits: list[tuple[float, Limit]] = []
        for claim in claims:
            counter = self._counters[claim.limit.counter]
            excess = counter.counted(now) + claim.amount - claim.limit.ceiling
            if excess > 0:
                waits.append((counter.wait(now, excess), claim.limit))
        wait, limit = max(waits, key=lambda short: short[0])
        return Denied(limit, wait, self._standings(claims, now))

    def _standings(self, claims: Sequence[Claim], now: float) -> tuple[Standing, ...]:
        counted = [(claim.limit, self._counters[claim.limit.counter]) for claim in claims]
        return tuple(
            [Standing(limit, max(0, limit.ceiling - one.counted(now)), one.reset(now)) for limit, one in counted]
        )

    def _remember(self, request_id: str, record: _Record) -> None:
        self._over[request_id] = record
        if len(self._over) > self._max_remembered:
            self._over.popitem(last=False)

    def _reap(self, now: float) -> None:
        """End the leases that have run out, and forget what is long over."""
        # leases are renewed long before they end, so that it is seldom time to look at them all
        for request_id, record in [item for item in self._open.items() if item[1].ends <= now]:
            del self._open[request_id]
            for claim in record.claims:
                self._counters[claim.limit.counter].give_back(record.time, claim)
            self._remember(request_id, record)
        if not self._swept <= now < self._swept + _SWEEP:
            self._sweep(now)
        self._due = min([self._swept + _SWEEP, *[record.ends for record in self._open.values()]])

    def _sweep(self, now: float) -> None:
        self._swept = now
        for key in [key for key, counter in self._counters.items() if not counter.counted(now)]:
            del self._counters[key]
        while self._over and next(iter(self._over.values())).ends <= now - _REMEMBERED:
            self._over.popitem(last=False)


class _Entry(msgspec.Struct, frozen=True):
    value: bytes
    expires: float
    size: int


class MemorySideTable:
    """A `SideTable` that forgets first what was not asked for longest.

    Args:
        max_entries: so many values at most.
        max_bytes: so much memory at most, roughly; what alone is larger is not kept.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0

    async def get(self, owner: str, name: str) -> bytes | None:
        """What was put there, None if it is not known any more."""
        entry = self._entries.get((owner, name))
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._forget((owner, name))
            return None
        self._entries.move_to_end((owner, name))
        return entry.value

    async def put(self, owner: str, name: str, value: bytes, *, ttl: float) -> None:
        """Keep a value for so many seconds at most, instead of the one that was there."""
        key = (owner, name)
        self._forget(key)
        size = len(owner) + len(name) + len(value) + _OVERHEAD
        if size > self._max_bytes:
            return
        self._entries[key] = _Entry(value, self._clock() + ttl, size)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def __len__(self) -> int:
        return len(self._entries)

    def _forget(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
