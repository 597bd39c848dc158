"""A shared store that may be away: requests go on, and what they used is told when it is back."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, TypeVar, get_args
from uuid import uuid4

import msgspec

from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Reservation, Standing, Store, StoreUnavailable
from asgi_llmgw.store.breaker import Breaker
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.store.periods import seconds_left

WhenAway: TypeAlias = Literal["deny", "allow"]

PROBE: Final = 1.0
"""Seconds between two probes, give or take a half, so that many workers do not come back as one."""
MAX_OWED: Final = 10_000
_TRIES: Final = 3
"""So often is one settlement tried while the store answers others."""
_LAST_WORDS: Final = 1.0
"""Seconds to deliver what is owed when the gateway closes."""
_NOTHING: Final[Mapping[Measure, int]] = dict.fromkeys(get_args(Measure), 0)

_logger: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


class _LocalReservation(Reservation, frozen=True):
    """One that was made here. `owed` is what the shared store has to be told of it."""

    local: Reservation
    owed: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class _Settlement:
    reservation: Reservation
    actual: Mapping[Measure, int]
    tries: int = 0


class GuardedStore:
    """A `Store` in front of one that may be away.

    While it is away nothing waits for it. Minutes and slots are counted in this process, each with its part of the
    ceiling; budgets of days and months are refused, or granted unseen. A reservation is settled where it was made.

    Args:
        shared: the store that may be away.
        breaker: who says that it is; others who use the same server take the same one.
        local: where minutes and slots are counted meanwhile.
        replicas: processes that share the limits: while the store is away each takes its part of every ceiling.
        budgets_when_away: `deny` raises `StoreUnavailable` for claims on days and months, `allow` lets them through and
            charges them when the store is back.
        max_owed: so many settlements wait for the store at most; the oldest are lost first.
        clock: seconds since the epoch.
        sleep: how to wait between probes.
        jitter: between 0 and 1, drawn for each wait.
    """

    def __init__(
        self,
        shared: Store,
        *,
        breaker: Breaker | None = None,
        local: Store | None = None,
        replicas: int = 1,
        budgets_when_away: WhenAway = "deny",
        max_owed: int = MAX_OWED,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._shared = shared
        self._breaker = breaker if breaker is not None else Breaker()
        self._local = local if local is not None else MemoryStore()
        self._replicas = replicas
        self._deny = budgets_when_away == "deny"
        self._max_owed = max_owed
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._owed: deque[_Settlement] = deque()
        self._losing = False
        self._recovering: asyncio.Task[None] | None = None
        self._delivering: asyncio.Task[None] | None = None
        self._breaker.listen(self._changed)

    @property
    def available(self) -> bool:
        """Whether the shared store is asked at all."""
        return self._breaker.available

    @property
    def owed(self) -> int:
        """So many settlements wait for the shared store."""
        return len(self._owed)

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        """Set aside all that is claimed, or nothing: in the shared store, or in what stands in for it."""
        in_doubt = self.available
        if in_doubt:
            try:
                return await self._ask(self._shared.reserve(claims, request_id=request_id, lease=lease))
            except StoreUnavailable:
                pass
            except asyncio.CancelledError:
                # whoever asked has gone and will not settle what the store may still take up
                self._undo(request_id, claims)
                raise
        else:
            self._keep_probing()
        told_later = False
        try:
            result = await self._reserve_here(claims, request_id, lease, in_doubt=in_doubt)
            told_later = isinstance(result, _LocalReservation) and bool(result.owed)
        finally:
            if in_doubt and not told_later:
                self._undo(request_id, claims)
        return result

    async def renew(self, reservations: Sequence[Reservation], /, *, lease: float) -> None:
        """These requests are still running. Leases in a store that is away run out, and are charged all the same."""
        here = [reservation.local for reservation in reservations if isinstance(reservation, _LocalReservation)]
        there = [reservation for reservation in reservations if not isinstance(reservation, _LocalReservation)]
        if here:
            await self._local.renew(here, lease=lease)
        if there and self.available:
            try:
                await self._ask(self._shared.renew(there, lease=lease))
            except StoreUnavailable:
                pass

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        """Count what it really was, where it was reserved. It never fails: what cannot be told now is told later."""
        if isinstance(reservation, _LocalReservation):
            await self._local.settle(reservation.local, actual)
            if not reservation.owed:
                return
            reservation = Reservation(reservation.id, reservation.owed, (), reservation.time)
        if not self.available:
            self._owe(_Settlement(reservation, actual))
            return
        try:
            await self._ask(self._shared.settle(reservation, actual))
        except StoreUnavailable:
            self._owe(_Settlement(reservation, actual))
        except asyncio.CancelledError:
            self._owe(_Settlement(reservation, actual))
            raise

    async def aclose(self) -> None:
        """Tell what is owed, if the store is there, and close the connections."""
        for task in (self._recovering, self._delivering):
            if task is not None and task.get_loop() is asyncio.get_running_loop():
                task.cancel()
                await asyncio.wait([task])
        if self._owed and self.available:
            try:
                async with asyncio.timeout(_LAST_WORDS):
                    await self._deliver()
            except TimeoutError:
                pass
        if self._owed:
            _logger.error("%d settlements were never told to the shared store", len(self._owed))
            self._owed.clear()
        await self._shared.aclose()
        await self._local.aclose()

    async def _ask(self, call: Awaitable[_T]) -> _T:
        try:
            result = await call
        except StoreUnavailable as error:
            self._breaker.failed(str(error))
            raise
        self._breaker.succeeded()
        if self._owed:
            self._delivering = _running(self._delivering, self._deliver)
        return result

    async def _reserve_here(
        self, claims: Sequence[Claim], request_id: str, lease: float, *, in_doubt: bool
    ) -> _LocalReservation | Denied:
        budgets = tuple(claim for claim in claims if claim.limit.period in ("day", "month"))
        if budgets and self._deny:
            raise StoreUnavailable("budgets cannot be checked while the store is away")
        here = [Claim(self._part_of(claim.limit), claim.amount) for claim in claims if claim not in budgets]
        result = await self._local.reserve(here, request_id=request_id, lease=lease)
        standings = self._standings(claims, result.standings)
        if isinstance(result, Denied):
            limit = next(claim.limit for claim in claims if claim.limit.counter == result.limit.counter)
            return Denied(limit, result.retry_after, standings)
        owed = tuple(claims) if in_doubt and budgets else budgets
        return _LocalReservation(request_id, tuple(claims), standings, self._clock(), result, owed)

    def _part_of(self, limit: Limit) -> Limit:
        return replace(limit, ceiling=max(1, limit.ceiling // self._replicas) if limit.ceiling else 0)

    def _standings(self, claims: Sequence[Claim], here: Sequence[Standing]) -> tuple[Standing, ...]:
        """Of what is counted here as it stands here; nobody knows how budgets stand."""
        known = {standing.limit.counter: standing for standing in here}
        found = []
        for claim in claims:
            limit = claim.limit
            if limit.period in ("day", "month"):
                found.append(Standing(limit, limit.ceiling, seconds_left(limit.period, self._clock())))
            else:
                found.append(msgspec.structs.replace(known[limit.counter], limit=limit))
        return tuple(found)

    def _undo(self, request_id: str, claims: Sequence[Claim]) -> None:
        """Nobody knows whether the store has taken this reservation, or will: it is to count for nothing."""
        self._owe(_Settlement(Reservation(request_id, tuple(claims), (), self._clock()), _NOTHING))

    def _owe(self, settlement: _Settlement) -> None:
        self._owed.append(settlement)
        if len(self._owed) > self._max_owed:
            self._owed.popleft()
            if not self._losing:
                self._losing = True
                _logger.error("more than %d settlements wait for the shared store: the oldest are lost", self._max_owed)

    def _changed(self, available: bool) -> None:
        if not available:
            self._keep_probing()

    def _keep_probing(self) -> None:
        self._recovering = _running(self._recovering, self._recover)

    async def _recover(self) -> None:
        """Probe until the store is there again, then tell it what is owed."""
        while not self.available:
            await self._sleep(PROBE * (0.5 + self._jitter()))
            # a write, since a store that can only be read is away as well
            probe = Reservation(f"probe-{uuid4()}", (), (), self._clock())
            try:
                await self._shared.settle(probe, {})
            except StoreUnavailable:
                continue
            self._breaker.recovered()
        self._losing = False
        self._delivering = _running(self._delivering, self._deliver)

    async def _deliver(self) -> None:
        """Settle what is owed, oldest first. One that fails waits behind the others, and is given up at last."""
        while self._owed and self.available:
            settlement = self._owed.popleft()
            try:
                await self._shared.settle(settlement.reservation, settlement.actual)
            except StoreUnavailable as error:
                self._breaker.failed(str(error))
                self._try_again(settlement)
            except asyncio.CancelledError:
                self._owed.appendleft(settlement)
                raise
            else:
                self._breaker.succeeded()

    def _try_again(self, settlement: _Settlement) -> None:
        if not self.available:
            self._owed.appendleft(settlement)
        elif settlement.tries + 1 < _TRIES:
            self._owed.append(replace(settlement, tries=settlement.tries + 1))
        else:
            _logger.error("the shared store refuses a settlement: it is lost")


def _running(task: asyncio.Task[None] | None, work: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
    """The task that does this work, begun if there is none, or if it ended with its event loop."""
    if task is not None and not task.done() and not task.get_loop().is_closed():
        return task
    return asyncio.create_task(work())
