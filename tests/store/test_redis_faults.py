"""A real Redis that is killed, frozen, slow and cut off, behind the guard: nothing hangs, nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar, cast

import pytest

from asgi_llmgw.store.base import Claim, Denied, Limit, Reservation, StoreUnavailable
from asgi_llmgw.store.breaker import Breaker
from asgi_llmgw.store.guarded import GuardedStore
from asgi_llmgw.store.redis import RedisSideTable, RedisStore
from asgi_llmgw.store.redis_client import RedisClient
from tests.store.proxy import Fate, proxy_to
from tests.store.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.anyio
MANY = Limit("key", "a", "requests", 1_000_000, "minute")
SLOTS = Limit("key", "a", "slots", 1000)
T = TypeVar("T")
SHORT = 0.25
"""Seconds for an operation, where it matters: longer than the 0.1 of the default, for busy machines."""
COST = Limit("tenant", "a", "cost", 100_000, "day")


class Behind:
    """A guarded store over a Redis, and all that one wants to know of it."""

    def __init__(self, url: str, *, timeout: float = SHORT) -> None:
        self.client = RedisClient(url, timeout=timeout)
        self.breaker = Breaker()
        self.shared = RedisStore(self.client)
        self.onlooker = RedisClient(url, timeout=5)
        self.store = GuardedStore(self.shared, breaker=self.breaker, sleep=self._sleep)
        self.side_table = RedisSideTable(self.client, breaker=self.breaker)
        self.probe = asyncio.Event()
        self.probing = asyncio.Event()
        self.back = asyncio.Event()
        self.away = asyncio.Event()
        self.breaker.listen(lambda available: (self.back if available else self.away).set())
        self.number = 0

    async def _sleep(self, seconds: float) -> None:
        self.probing.set()
        await self.probe.wait()
        await asyncio.sleep(0.01)

    async def ask(self, *claims: Claim) -> tuple[Reservation, float]:
        """A reservation, and the seconds it took."""
        self.number += 1
        begun = time.perf_counter()
        result = await self.store.reserve(claims or [Claim(MANY, 1)], request_id=f"r{self.number}", lease=600)
        assert isinstance(result, Reservation)
        return result, time.perf_counter() - begun

    async def lose(self) -> list[float]:
        """Ask until the store counts as away; the seconds each took."""
        self.back.clear()
        taken = []
        while self.store.available:
            taken.append((await self.ask())[1])
        return taken

    async def recover(self) -> None:
        """Let the probes come until one succeeds and all is told."""
        self.probe.set()
        async with asyncio.timeout(20):
            await self.back.wait()
            while self.store.owed:  # noqa: ASYNC110
                await asyncio.sleep(0)
        self.probe.clear()

    async def taken(self, limit: Limit) -> int:
        """What Redis has counted of a limit."""
        self.number += 1
        result = await RedisStore(self.onlooker).reserve([Claim(limit, 0)], request_id=f"look{self.number}", lease=1)
        return limit.ceiling - result.standings[0].remaining


@asynccontextmanager
async def behind(url: str, *, timeout: float = SHORT) -> AsyncIterator[Behind]:
    made = Behind(url, timeout=timeout)
    try:
        yield made
    finally:
        made.probe.set()
        await made.store.aclose()
        await made.onlooker.aclose()


def at_once(call: Coroutine[None, None, T]) -> T:
    """The result of a call that does not wait for anything, not even for its turn."""
    try:
        call.send(None)
    except StopIteration as ended:
        return cast(T, ended.value)
    raise AssertionError("it waits")


def assert_nobody_waits(rig: Behind) -> None:
    """p99 of what the store adds stays below 5 ms: no request waits, and this is the time that each computes."""
    taken = []
    for _ in range(300):
        begun = time.thread_time()
        reservation, _ = at_once(rig.ask(Claim(MANY, 1), Claim(SLOTS, 1)))
        at_once(rig.side_table.get("a", "n"))
        at_once(rig.side_table.put("a", "n", b"v", ttl=60))
        at_once(rig.store.renew([reservation], lease=60))
        at_once(rig.store.settle(reservation, {}))
        taken.append(time.thread_time() - begun)
    assert sorted(taken)[int(0.99 * len(taken))] < 0.005


async def test_a_killed_server(tmp_path: Path) -> None:
    """F181, M9: lost in mid-run, and there again."""
    with redis_server(tmp_path) as server:
        async with behind(server.url, timeout=5) as rig:
            await rig.ask()
            server.kill()
            seconds = await rig.lose()
            assert len(seconds) == 5 and max(seconds) < 2
            assert_nobody_waits(rig)
            with pytest.raises(StoreUnavailable):
                await rig.store.reserve([Claim(COST, 1)], request_id="budget", lease=60)
            server.start()
            await rig.recover()
            await rig.ask(Claim(SLOTS, 1))
            assert await rig.taken(SLOTS) == 1


async def test_down_when_the_gateway_starts(tmp_path: Path) -> None:
    """F181: it starts degraded, and is whole once the server is there."""
    with redis_server(tmp_path) as server:
        server.kill()
        async with behind(server.url, timeout=5) as rig:
            assert len(await rig.lose()) == 5
            assert_nobody_waits(rig)
            server.start()
            await rig.recover()
            await rig.ask(Claim(SLOTS, 3))
            assert await rig.taken(SLOTS) == 3


async def test_a_frozen_server(tmp_path: Path) -> None:
    """F182, L1, L4: it accepts and is silent; what it takes up when it goes on is undone, what was used is charged."""
    with redis_server(tmp_path) as server:
        async with behind(server.url) as rig:
            running, _ = await rig.ask(Claim(COST, 500), Claim(SLOTS, 1))
            server.freeze()
            for number in range(4):
                begun = time.perf_counter()
                with pytest.raises(StoreUnavailable):
                    await rig.store.reserve([Claim(COST, 9), Claim(SLOTS, 9)], request_id=f"f{number}", lease=600)
                assert 0.9 * SHORT < time.perf_counter() - begun < 2
            (seconds,) = await rig.lose()
            assert 0.9 * SHORT < seconds < 2
            assert_nobody_waits(rig)
            await rig.store.settle(running, {"cost": 123})
            server.thaw()
            await rig.recover()
            assert (await rig.taken(COST), await rig.taken(SLOTS)) == (123, 0)


async def test_a_server_of_50_ms_is_a_server(redis: RedisServer) -> None:
    """F183: slow is not away."""
    async with proxy_to(redis.port) as proxy, behind(proxy.url, timeout=5) as rig:
        await rig.ask()
        proxy.delay = 0.05
        taken = [(await rig.ask())[1] for _ in range(6)]
        assert min(taken) >= 0.05 and rig.store.available and rig.store.owed == 0


async def test_a_server_that_is_too_slow_is_away(redis: RedisServer) -> None:
    """F183: an operation that takes longer than its time has failed, although it is done."""
    async with proxy_to(redis.port) as proxy, behind(proxy.url) as rig:
        proxy.delay = 30.0
        seconds = await rig.lose()
        assert len(seconds) == 5 and max(seconds) < 2
        assert_nobody_waits(rig)
        proxy.delay = 0.0
        await rig.recover()


@pytest.mark.parametrize("fate", ["reset", "swallow"])
async def test_a_network_that_breaks_every_operation(redis: RedisServer, fate: Fate) -> None:
    """F183, M9: recorded as failures, nothing hangs."""
    async with proxy_to(redis.port) as proxy, behind(proxy.url) as rig:
        proxy.fate = lambda number: fate
        seconds = await rig.lose()
        assert len(seconds) == 5 and max(seconds) < 2
        assert_nobody_waits(rig)
        proxy.fate = lambda number: "pass"
        await rig.recover()
        await rig.ask()


async def test_a_network_that_loses_one_in_a_hundred(redis: RedisServer) -> None:
    """F183: those requests are counted here; the others do not suffer, and no slot stays taken."""
    lossy = Limit("key", "lossy", "slots", 1000)
    async with proxy_to(redis.port) as proxy, behind(proxy.url, timeout=1) as rig:
        proxy.fate = lambda number: "reset" if number % 100 == 99 else "pass"
        for _ in range(300):
            reservation, _ = await rig.ask(Claim(lossy, 1))
            await rig.store.settle(reservation, {})
        assert rig.store.available and proxy.connections > 5
        proxy.fate = lambda number: "pass"
        await rig.store.settle((await rig.ask(Claim(lossy, 1)))[0], {})
        async with asyncio.timeout(10):
            while rig.store.owed:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert await rig.taken(lossy) == 0


async def test_many_workers_come_back_with_few_connections(tmp_path: Path) -> None:
    """F188: 64 workers that probe make 64 connections, however many requests were waiting to use them."""
    with redis_server(tmp_path) as server:
        rigs = [Behind(server.url, timeout=5) for _ in range(64)]
        for rig in rigs:
            await rig.ask()
        server.kill()
        for rig in rigs:
            await rig.lose()
        await asyncio.gather(*(rig.ask() for rig in rigs for _ in range(20)))
        server.start()
        await asyncio.gather(*(rig.recover() for rig in rigs))
        info = await rigs[0].client.execute("INFO", "stats")
        assert isinstance(info, dict) and info["total_connections_received"] <= 2 * 64
        for rig in rigs:
            await rig.store.aclose()


async def test_200_at_once_through_the_guard(redis: RedisServer) -> None:
    """F189: more callers than connections; budget for ten."""
    ten = Limit("key", "ten", "cost", 10, "day")
    async with behind(redis.url, timeout=5) as rig:
        asked = [rig.store.reserve([Claim(ten, 1)], request_id=f"{n}", lease=60) for n in range(200)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        kinds = [type(result).__name__ for result in results]
        assert kinds.count("Reservation") == 10
        assert set(kinds) <= {"Reservation", "Denied", "StoreUnavailable"}
        assert sum(isinstance(result, Denied) for result in results) > 0
