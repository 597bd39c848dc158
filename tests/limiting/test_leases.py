"""One timer keeps the leases of all running requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anyio
import pytest

from asgi_llmgw.limiting.leases import Leases
from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Reservation, StoreUnavailable
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.testing import FakeClock

pytestmark = pytest.mark.anyio

SLOTS = Limit("key", "team-a", "slots", 2)


class Ticks:
    """Timers that end when the test says so."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, callback: Callable[[], None]) -> None:
        self._due.append((seconds, callback))

    @property
    def waiting(self) -> int:
        return len(self._due)

    async def tick(self) -> None:
        due, self._due = self._due, []
        for seconds, callback in due:
            self._clock.advance(seconds)
            callback()
        await anyio.wait_all_tasks_blocked()


class Away(MemoryStore):
    """A store that cannot be asked while `away` is set."""

    away = False

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        if self.away:
            raise StoreUnavailable("away")
        await super().settle(reservation, actual)

    async def renew(self, reservations: Sequence[Reservation], /, *, lease: float) -> None:
        if self.away:
            raise StoreUnavailable("away")
        await super().renew(reservations, lease=lease)


async def take(store: MemoryStore, name: str) -> Reservation | Denied:
    return await store.reserve([Claim(SLOTS, 1)], request_id=name, lease=30.0)


async def held(store: MemoryStore, leases: Leases, name: str) -> Reservation:
    reservation = await take(store, name)
    assert isinstance(reservation, Reservation)
    leases.hold(reservation)
    return reservation


async def test_a_running_request_keeps_its_slot_as_long_as_it_runs() -> None:
    clock = FakeClock()
    store, ticks = MemoryStore(clock=clock), Ticks(clock)
    leases = Leases(store, seconds=30.0, later=ticks)
    await held(store, leases, "one")
    await held(store, leases, "two")
    await anyio.wait_all_tasks_blocked()
    assert ticks.waiting == 1
    for _ in range(10):
        await ticks.tick()
        assert isinstance(await take(store, "three"), Denied)


async def test_what_a_killed_process_held_is_free_after_the_lease() -> None:
    """F190 L1"""
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    killed = Leases(store, seconds=30.0, later=Ticks(clock))
    await held(store, killed, "one")
    await held(store, killed, "two")
    assert isinstance(await take(store, "three"), Denied)
    clock.advance(30.1)
    assert isinstance(await take(store, "three"), Reservation)


async def test_the_timer_ends_when_nothing_is_left_and_starts_again() -> None:
    clock = FakeClock()
    store, ticks = MemoryStore(clock=clock), Ticks(clock)
    leases = Leases(store, later=ticks)
    for name in ("one", "two"):
        reservation = await held(store, leases, name)
        await anyio.wait_all_tasks_blocked()
        assert ticks.waiting == 1
        await leases.settle(reservation, {})
        await ticks.tick()
        assert ticks.waiting == 0


async def test_a_settlement_that_the_store_could_not_take_is_taken_later() -> None:
    """L6 F191: and counts once."""
    clock = FakeClock()
    store, ticks = Away(clock=clock), Ticks(clock)
    leases = Leases(store, later=ticks)
    tokens = Limit("key", "team-a", "tokens", 1000, "month")
    found = await store.reserve([Claim(tokens, 900), Claim(SLOTS, 1)], request_id="one", lease=30.0)
    assert isinstance(found, Reservation)
    leases.hold(found)
    store.away = True
    await leases.settle(found, {"tokens": 100})
    await anyio.wait_all_tasks_blocked()
    await ticks.tick()
    assert ticks.waiting == 1
    store.away = False
    await ticks.tick()
    await ticks.tick()
    assert ticks.waiting == 0
    after = await store.reserve([Claim(tokens, 1)], request_id="two", lease=30.0)
    assert isinstance(after, Reservation)
    assert after.standings[0].remaining == 899


async def test_so_many_settlements_wait_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("asgi_llmgw.limiting.leases._MAX_UNSETTLED", 1)
    clock = FakeClock()
    store, ticks = Away(clock=clock), Ticks(clock)
    leases = Leases(store, later=ticks)
    first, second = await held(store, leases, "one"), await held(store, leases, "two")
    store.away = True
    await leases.settle(first, {})
    await leases.settle(second, {})
    assert "is not counted" in caplog.text
    store.away = False
    await ticks.tick()
    # the first one's place is free when its lease ends
    assert isinstance(await take(store, "three"), Reservation)
    assert isinstance(await take(store, "four"), Denied)
    clock.advance(30.1)
    assert isinstance(await take(store, "four"), Reservation)


async def test_a_store_that_is_away_for_a_while_ends_no_renewals() -> None:
    clock = FakeClock()
    store, ticks = Away(clock=clock), Ticks(clock)
    leases = Leases(store, later=ticks)
    await held(store, leases, "one")
    await anyio.wait_all_tasks_blocked()
    store.away = True
    await ticks.tick()
    store.away = False
    for _ in range(5):
        await ticks.tick()
    assert isinstance(await take(store, "two"), Reservation)
    assert isinstance(await take(store, "three"), Denied)
