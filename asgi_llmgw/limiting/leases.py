"""Keeps what running requests have set aside: one task for all of them, as long as there are any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio

from asgi_llmgw.store.base import Measure, Reservation, Store, StoreUnavailable

LEASE_SECONDS: Final = 30.0
_RENEWALS: Final = 3
"""So many times a lease is renewed before it would end."""
_MAX_UNSETTLED: Final = 10_000

_logger: Final = logging.getLogger(__name__)


class Leases:
    """The reservations of the requests that run in this process.

    What a process holds that is killed is free again once its leases have ended. A settlement that the store could not
    take is tried again until it is taken.

    Args:
        seconds: how long a reservation outlives its process.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        seconds: float = LEASE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store = store
        self._sleep = sleep
        self._running: dict[str, Reservation] = {}
        self._unsettled: dict[str, tuple[Reservation, Mapping[Measure, int]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.seconds = seconds

    def hold(self, reservation: Reservation) -> None:
        """This request runs: renew its lease until it is settled."""
        self._running[reservation.id] = reservation
        self._work()

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int]) -> None:
        """The request is over and has used this; never raises."""
        self._running.pop(reservation.id, None)
        try:
            await self._store.settle(reservation, actual)
        except StoreUnavailable:
            if len(self._unsettled) >= _MAX_UNSETTLED:
                lost = next(iter(self._unsettled))
                del self._unsettled[lost]
                _logger.warning("too much waits for the store of limits: what one request has used is not counted")
            self._unsettled[reservation.id] = (reservation, actual)
            self._work()

    def _work(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """Renew and settle, until nothing is left to do; a request that comes later starts anew."""
        while True:
            await self._sleep(self.seconds / _RENEWALS)
            if not self._running and not self._unsettled:
                return
            try:
                if self._running:
                    await self._store.renew(list(self._running.values()), lease=self.seconds)
                for name, (reservation, actual) in list(self._unsettled.items()):
                    await self._store.settle(reservation, actual)
                    self._unsettled.pop(name, None)
            except StoreUnavailable:
                # the next round may find it again
                continue
