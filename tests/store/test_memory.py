from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Period, Reservation
from asgi_llmgw.store.memory import MemorySideTable, MemoryStore


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.anyio
async def test_what_was_put_is_there_for_its_owner_alone() -> None:
    table = MemorySideTable()
    await table.put("team-a", "call_1", b"state", ttl=10)
    assert await table.get("team-a", "call_1") == b"state"
    assert await table.get("team-b", "call_1") is None
    assert await table.get("team-a", "call_2") is None


@pytest.mark.anyio
async def test_a_value_ends_with_its_time() -> None:
    clock = Clock()
    table = MemorySideTable(clock=clock)
    await table.put("a", "n", b"v", ttl=10)
    clock.now = 9.9
    assert await table.get("a", "n") == b"v"
    clock.now = 10
    assert await table.get("a", "n") is None
    assert len(table) == 0


@pytest.mark.anyio
async def test_a_newer_value_replaces_the_older() -> None:
    table = MemorySideTable(max_entries=1)
    await table.put("a", "n", b"old", ttl=10)
    await table.put("a", "n", b"new", ttl=10)
    assert await table.get("a", "n") == b"new" and len(table) == 1


@pytest.mark.anyio
async def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    table = MemorySideTable(max_entries=2)
    for name in ("first", "second"):
        await table.put("a", name, b"v", ttl=10)
    await table.get("a", "first")
    await table.put("a", "third", b"v", ttl=10)
    assert [await table.get("a", name) for name in ("first", "second", "third")] == [b"v", None, b"v"]


@pytest.mark.anyio
async def test_memory_is_bounded() -> None:
    table = MemorySideTable(max_bytes=10_000)
    for number in range(100):
        await table.put("a", str(number), bytes(1000), ttl=10)
    assert 1 < len(table) < 10
    assert await table.get("a", "99") is not None
    await table.put("a", "99", bytes(20_000), ttl=10)
    assert await table.get("a", "99") is None


def limit(
    measure: Measure = "tokens", period: Period | None = "minute", *, ceiling: int = 10, owner: str = "a"
) -> Limit:
    return Limit("key", owner, measure, ceiling, period)


@pytest.mark.anyio
async def test_limits_that_nobody_uses_are_forgotten() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    for number in range(100):
        await store.reserve([Claim(limit(owner=str(number)), 1)], request_id=str(number), lease=5)
        await store.reserve([Claim(limit("slots", None, owner=str(number)), 1)], request_id=f"s{number}", lease=5)
    assert len(store) == 200
    clock.now = 200.0
    await store.reserve([Claim(limit(owner="new"), 1)], request_id="new", lease=5)
    assert len(store) == 1


@pytest.mark.anyio
async def test_a_budget_is_kept_while_its_day_lasts() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    reservation = await store.reserve([Claim(limit("cost", "day"), 10)], request_id="1", lease=5)
    assert isinstance(reservation, Reservation)
    await store.settle(reservation, {})
    clock.now = 80_000.0
    assert isinstance(await store.reserve([Claim(limit("cost", "day"), 1)], request_id="2", lease=5), Denied)


@pytest.mark.anyio
async def test_so_many_requests_that_are_over_are_known_and_no_more() -> None:
    store = MemoryStore(clock=Clock(), max_remembered=2)
    made = [await store.reserve([Claim(limit(ceiling=100), 1)], request_id=str(n), lease=5) for n in range(3)]
    for reservation in made:
        assert isinstance(reservation, Reservation)
        await store.settle(reservation, {"tokens": 1})
    again = await store.reserve([Claim(limit(ceiling=100), 1)], request_id="0", lease=5)
    assert [standing.remaining for standing in again.standings] == [96]
    again = await store.reserve([Claim(limit(ceiling=100), 1)], request_id="2", lease=5)
    assert [standing.remaining for standing in again.standings] == [96]


def test_threads_do_not_overspend() -> None:
    store = MemoryStore()
    claim = Claim(limit(ceiling=100), 1)

    async def many(worker: int) -> int:
        results = [await store.reserve([claim], request_id=f"{worker}.{n}", lease=60) for n in range(100)]
        return sum(isinstance(result, Reservation) for result in results)

    with ThreadPoolExecutor(4) as pool:
        admitted = list(pool.map(lambda worker: asyncio.run(many(worker)), range(4)))
    assert sum(admitted) == 100


@pytest.mark.parametrize(("measure", "period"), [("slots", "minute"), ("tokens", None)])
def test_slots_alone_have_no_period(measure: Measure, period: Period | None) -> None:
    with pytest.raises(ValueError, match="slots have no period"):
        limit(measure, period)


def test_nobody_claims_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="less than nothing"):
        Claim(limit(), -1)


@pytest.mark.anyio
@pytest.mark.parametrize("period", ["day", "month"])
async def test_a_clock_that_is_set_back_over_midnight_grants_no_second_budget(period: Period) -> None:
    clock = Clock()
    clock.now = datetime(2026, 3, 1, tzinfo=UTC).timestamp() + 5
    store, budget = MemoryStore(clock=clock), limit("cost", period)
    reservation = await store.reserve([Claim(budget, 8)], request_id="1", lease=5)
    assert isinstance(reservation, Reservation)
    clock.now -= 10
    assert isinstance(await store.reserve([Claim(budget, 8)], request_id="2", lease=5), Denied)
    clock.now += 11
    await store.settle(reservation, {"cost": 3})
    assert (await store.reserve([Claim(budget, 0)], request_id="3", lease=5)).standings[0].remaining == 7
