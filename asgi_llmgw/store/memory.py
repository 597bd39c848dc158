"""Stores in the memory of this process: other processes do not see them."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Reservation, Standing, claimed_twice
from asgi_llmgw.store.counters import Counter, make_counter

_OVERHEAD: Final = 256
"""About what an entry costs besides its texts."""

_SWEEP: Final = 60.0
"""Seconds between two looks for limits that nobody uses any more."""
_SETTLED: Final = 1000
"""Leases of requests that are over, kept until there are so many."""
_REMEMBERED: Final = 3600.0
"""Seconds for which a request that is over is known, so that nothing counts twice."""


class _Record(msgspec.Struct, gc=False):
    """A request that has set something aside, or had."""

    claims: tuple[Claim, ...]
    time: float
    ends: float
    settled: bool = False


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
        self._counters: dict[tuple[str, str, str, str], Counter] = {}
        self._open: dict[str, _Record] = {}
        self._over: OrderedDict[str, _Record] = OrderedDict()
        self._leases: list[tuple[float, str]] = []
        self._swept = clock()
        self._due = self._swept + _SWEEP

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        """Set aside all that is claimed, or nothing."""
        with self._lock:
            now = self._now()
            known = self._open.get(request_id) or self._over.get(request_id)
            if known is not None:
                return Reservation(request_id, known.claims, self._standings(known.claims, now), known.time)
            room: dict[Counter, tuple[Claim, int]] = {}
            enough = True
            for claim in claims:
                limit = claim.limit
                counter = self._counters.get(limit.counter) or self._counter(limit)
                left = limit.ceiling - counter.counted(now) - claim.amount
                enough = enough and left >= 0
                room[counter] = claim, left
            if len(room) != len(claims):
                raise claimed_twice()
            if not enough:
                return self._denied(claims, now)
            standings: list[Standing] = []
            for counter, (claim, left) in room.items():
                counter.claim(now, claim.amount)
                standings.append(Standing(claim.limit, left, counter.reset(now)))
            made = Reservation(request_id, tuple(claims), tuple(standings), now)
            self._open[request_id] = _Record(made.claims, now, now + lease)
            self._expect(request_id, now + lease)
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
            now = self._now()
            record = self._open.pop(reservation.id, None)
            known = record or self._over.get(reservation.id)
            if known is not None and known.settled:
                return
            about = known or _Record(reservation.claims, reservation.time, now)
            for claim in about.claims:
                counter = self._counters.get(claim.limit.counter) or self._counter(claim.limit)
                amount = actual.get(claim.limit.measure, claim.amount)
                if amount < 0:
                    amount = 0
                if record is not None:
                    counter.settle(about.time, amount, claimed=claim.amount)
                else:
                    counter.charge(about.time, amount, claimed=claim.amount if known else 0)
            about.settled, about.ends = True, now
            self._remember(reservation.id, about)

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

    def _counter(self, limit: Limit) -> Counter:
        counter = self._counters.get(limit.counter)
        if counter is None:
            counter = self._counters[limit.counter] = make_counter(limit)
        return counter

    def _denied(self, claims: Sequence[Claim], now: float) -> Denied:
        """Of several limits that are short, the one that is short for longest; the first of equal ones."""
        waits: list[tuple[float, Limit]] = []
        for claim in claims:
            counter = self._counter(claim.limit)
            excess = counter.counted(now) + claim.amount - claim.limit.ceiling
            if excess > 0:
                waits.append((counter.wait(now, excess), claim.limit))
        wait, limit = max(waits, key=lambda short: short[0])
        return Denied(limit, wait, self._standings(claims, now))

    def _standings(self, claims: Sequence[Claim], now: float) -> tuple[Standing, ...]:
        counted = [(claim.limit, self._counter(claim.limit)) for claim in claims]
        return tuple(
            [Standing(limit, max(0, limit.ceiling - one.counted(now)), one.reset(now)) for limit, one in counted]
        )

    def _give_back(self, record: _Record) -> None:
        for claim in record.claims:
            self._counter(claim.limit).give_back(record.time, claim.amount)

    def _expect(self, request_id: str, ends: float) -> None:
        """Look at this request again when its lease ends."""
        heapq.heappush(self._leases, (ends, request_id))
        if len(self._leases) > 2 * len(self._open) + _SETTLED:
            # most of them are of requests that are over by now
            self._leases = [(record.ends, name) for name, record in self._open.items()]
            heapq.heapify(self._leases)
        if ends < self._due:
            self._due = ends

    def _remember(self, request_id: str, record: _Record) -> None:
        self._over[request_id] = record
        self._over.move_to_end(request_id)
        if len(self._over) > self._max_remembered:
            self._over.popitem(last=False)

    def _reap(self, now: float) -> None:
        """End the leases that have run out, and forget what is long over."""
        while self._leases and self._leases[0][0] <= now:
            _, request_id = heapq.heappop(self._leases)
            record = self._open.get(request_id)
            if record is None:
                continue
            if record.ends > now:
                heapq.heappush(self._leases, (record.ends, request_id))
                continue
            del self._open[request_id]
            self._give_back(record)
            self._remember(request_id, record)
        if abs(now - self._swept) >= _SWEEP:
            self._sweep(now)
        self._due = min(self._swept + _SWEEP, self._leases[0][0]) if self._leases else self._swept + _SWEEP

    def _sweep(self, now: float) -> None:
        self._swept = now
        self._counters = {key: counter for key, counter in self._counters.items() if counter.counted(now)}
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
