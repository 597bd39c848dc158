"""Keeps what running requests have set aside: one timer for all of them, as long as there are any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import anyio

from asgi_llmgw.store.base import Measure, Reservation, Store, StoreUnavailable
from asgi_llmgw.store.memory import MemoryStore

LEASE_SECONDS: Final = 30.0
_RENEWALS: Final = 3
"""So many times a lease is renewed before it would end."""
_MAX_UNSETTLED: Final = 10_000

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function so many seconds later, in the event loop."""

_logger: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


async def shielded(call: Awaitable[_T]) -> _T:
    """Nothing breaks into this call, but a server that cancels its task."""
    with anyio.CancelScope(shield=True):
        return await call
    raise AssertionError("a shield suppresses nothing")


class Leases:
    """The reservations of the requests that run in this process.

    What a process holds that is killed is free again once its leases have ended. A settlement that the store could not
    take is tried again until it is taken.

    Args:
        seconds: how long a reservation outlives its process.
        later: None takes the event loop's own timers.

    Attributes:
        waits: the store may wait for something, so that a cancellation could break into a call.
    """

    def __init__(self, store: Store, *, seconds: float = LEASE_SECONDS, later: Later | None = None) -> None:
        self.store = store
        self.waits = not isinstance(store, MemoryStore)
        self._later = later
        self._running: dict[str, Reservation] = {}
        self._unsettled: dict[str, tuple[Reservation, Mapping[Measure, int]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._round: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()
        self.seconds = seconds

    def hold(self, reservation: Reservation) -> None:
        """This request runs: renew its lease until it is settled."""
        self._running[reservation.id] = reservation
        self._start()

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int]) -> None:
        """The request is over and has used this.

        Whoever is cancelled while the store is at it leaves the settlement to a task of its own: servers cancel in ways
        that no scope can shield from. It counts once, however often it is told.
        """
        self._running.pop(reservation.id, None)
        try:
            settling = self.store.settle(reservation, actual)
            await (shielded(settling) if self.waits else settling)
        except StoreUnavailable:
            self._owe(reservation, actual)
        except asyncio.CancelledError:
            self.settle_beside(reservation, actual)
            raise

    def settle_beside(self, reservation: Reservation, actual: Mapping[Measure, int]) -> None:
        """The same without waiting."""
        task = asyncio.get_running_loop().create_task(self._settle(reservation, actual))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _settle(self, reservation: Reservation, actual: Mapping[Measure, int]) -> None:
        try:
            await self.store.settle(reservation, actual)
        except StoreUnavailable:
            self._owe(reservation, actual)

    def _owe(self, reservation: Reservation, actual: Mapping[Measure, int]) -> None:
        if len(self._unsettled) >= _MAX_UNSETTLED:
            del self._unsettled[next(iter(self._unsettled))]
            _logger.warning("too much waits for the store of limits: what one request has used is not counted")
        self._unsettled[reservation.id] = (reservation, actual)
        self._start()

    def _start(self) -> None:
        """Have a timer in this event loop; another one's is of no use."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            (self._later or loop.call_later)(self.seconds / _RENEWALS, self._tick)

    def _tick(self) -> None:
        """Renew and settle, until nothing is left to do; a request that comes later starts anew."""
        self._loop = None
        if not (self._running or self._unsettled):
            return
        if self._round is None or self._round.done():
            self._round = asyncio.get_running_loop().create_task(self._renew())
        self._start()

    async def _renew(self) -> None:
        try:
            if self._running:
                await self.store.renew(list(self._running.values()), lease=self.seconds)
            for name, (reservation, actual) in list(self._unsettled.items()):
                await self.store.settle(reservation, actual)
                self._unsettled.pop(name, None)
        except StoreUnavailable:
            # the next round may find it again
            pass
