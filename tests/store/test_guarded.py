"""What happens while the shared store is away; the rules of it, with a store that fails at will."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence

import pytest

from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Period, Reservation, StoreUnavailable
from asgi_llmgw.store.breaker import Breaker
from asgi_llmgw.store.guarded import GuardedStore, WhenAway
from asgi_llmgw.store.memory import MemoryStore
from tests.serving.raw import until

pytestmark = pytest.mark.anyio
LOOKS = itertools.count()


class Wavering:
    """A store that can be told to fail. `executes` says whether what fails is done all the same."""

    def __init__(self) -> None:
        self.behind = MemoryStore()
        self.away = False
        self.executes = False
        self.refused: set[str] = set()
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        self.asked += 1
        if self.away and not self.executes:
            raise StoreUnavailable("away")
        result = await self.behind.reserve(claims, request_id=request_id, lease=lease)
        if self.away:
            raise StoreUnavailable("away")
        if self.hold is not None:
            await self.hold.wait()
        return result

    async def renew(self, reservations: Sequence[Reservation], /, *, lease: float) -> None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        await self.behind.renew(reservations, lease=lease)

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.away or reservation.id in self.refused:
            raise StoreUnavailable("away")
        await self.behind.settle(reservation, actual)

    async def aclose(self) -> None:
        self.asked += 1

    async def was_asked(self, times: int) -> None:
        await until(lambda: self.asked >= times)


class Naps:
    """Stands in for sleep: notes how long, and sleeps until it is woken."""

    def __init__(self) -> None:
        self.lengths: list[float] = []
        self._sleeping = asyncio.Event()
        self._wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.lengths.append(seconds)
        self._wake = asyncio.Event()
        self._sleeping.set()
        await self._wake.wait()

    async def over(self) -> None:
        """Let the sleeper that is there, or comes next, go on."""
        await self._sleeping.wait()
        self._sleeping.clear()
        self._wake.set()


class Rig:
    """A guarded store over one that wavers."""

    def __init__(self, *, replicas: int = 1, when_away: WhenAway = "deny", max_owed: int = 100) -> None:
        self.shared, self.naps, self.breaker = Wavering(), Naps(), Breaker()
        self.back = asyncio.Event()
        self.breaker.listen(lambda available: self.back.set() if available else self.back.clear())
        self.store = GuardedStore(
            self.shared,
            breaker=self.breaker,
            replicas=replicas,
            budgets_when_away=when_away,
            max_owed=max_owed,
            sleep=self.naps,
            jitter=lambda: 0.5,
        )

    async def go_away(self, *, executes: bool = False) -> None:
        self.shared.away, self.shared.executes = True, executes
        for n in range(5):
            assert self.store.available
            await self.store.renew([Reservation(f"gone{n}", (), (), 0.0)], lease=1)
        assert not self.store.available

    async def come_back(self) -> None:
        """The store is there again and has been told everything."""
        self.shared.away = self.shared.executes = False
        await self.naps.over()
        await self.back.wait()
        await until(lambda: not self.store.owed)

    async def taken(self, limit: Limit) -> int:
        """What the shared store has counted of a limit."""
        result = await self.shared.behind.reserve([Claim(limit, 0)], request_id=f"look{next(LOOKS)}", lease=1)
        return limit.ceiling - result.standings[0].remaining


def limit(measure: Measure, ceiling: int, period: Period | None = None) -> Limit:
    return Limit("key", "a", measure, ceiling, period)


async def reserved(store: GuardedStore, request_id: str, *claims: Claim) -> Reservation:
    result = await store.reserve(claims, request_id=request_id, lease=60)
    assert isinstance(result, Reservation)
    return result


async def test_a_store_that_is_there_is_asked() -> None:
    rig = Rig()
    tokens = limit("tokens", 10, "day")
    reservation = await reserved(rig.store, "1", Claim(tokens, 10))
    assert isinstance(await rig.store.reserve([Claim(tokens, 1)], request_id="2", lease=60), Denied)
    await rig.store.renew([reservation], lease=60)
    await rig.store.settle(reservation, {"tokens": 3})
    assert await rig.taken(tokens) == 3


async def test_five_failures_in_a_row_and_not_four_open_the_breaker() -> None:
    """M9: a failure that is swallowed counts all the same."""
    rig = Rig()
    for _ in range(3):
        rig.shared.away = True
        for n in range(4):
            await reserved(rig.store, f"{n}", Claim(limit("requests", 100, "minute"), 1))
        rig.shared.away = False
        await reserved(rig.store, "ok", Claim(limit("requests", 100, "minute"), 1))
    assert rig.store.available
    await rig.go_away()


@pytest.mark.parametrize(
    "ceiling", [pytest.param(limit("tokens", 40, "minute"), id="minute"), pytest.param(limit("slots", 40), id="slots")]
)
async def test_while_it_is_away_each_process_takes_its_part(ceiling: Limit) -> None:
    """F185: minutes and slots are counted here."""
    rig = Rig(replicas=4)
    await rig.go_away()
    asked = rig.shared.asked
    reservations = [await reserved(rig.store, str(n), Claim(ceiling, 1)) for n in range(10)]
    assert [reservation.standings[0].remaining for reservation in reservations] == list(range(9, -1, -1))
    assert {reservation.standings[0].limit for reservation in reservations} == {ceiling}
    refused = await rig.store.reserve([Claim(ceiling, 1)], request_id="11", lease=60)
    assert isinstance(refused, Denied) and refused.limit == ceiling and refused.retry_after > 0
    await rig.store.settle(reservations[0], {"tokens": 0})
    await rig.store.renew(reservations, lease=60)
    await reserved(rig.store, "12", Claim(ceiling, 1))
    assert rig.shared.asked == asked, "nobody asks a store that is away"


@pytest.mark.parametrize(("ceiling", "part"), [(1, 1), (3, 1), (9, 2), (0, 0)])
async def test_a_part_is_at_least_one_unless_nothing_is_allowed(ceiling: int, part: int) -> None:
    rig = Rig(replicas=4)
    await rig.go_away()
    claim = Claim(limit("requests", ceiling, "minute"), 1)
    results = [await rig.store.reserve([claim], request_id=str(n), lease=60) for n in range(5)]
    assert sum(isinstance(result, Reservation) for result in results) == part


@pytest.mark.parametrize("period", ["day", "month"])
async def test_budgets_are_refused_while_it_is_away(period: Period) -> None:
    """F185: hard budgets fail closed, and nothing else is taken for the refused request."""
    rig = Rig()
    await rig.go_away()
    slots = limit("slots", 1)
    for n in range(3):
        with pytest.raises(StoreUnavailable, match="budgets cannot be checked"):
            await rig.store.reserve([Claim(slots, 1), Claim(limit("cost", 9, period), 1)], request_id=str(n), lease=60)
    await reserved(rig.store, "1", Claim(slots, 1))


@pytest.mark.parametrize("period", ["day", "month"])
async def test_budgets_may_be_granted_unseen_and_are_charged_later(period: Period) -> None:
    """F185: the other choice."""
    rig = Rig(when_away="allow")
    await rig.go_away()
    cost, minute = limit("cost", 9, period), limit("tokens", 100, "minute")
    reservation = await reserved(rig.store, "1", Claim(minute, 50), Claim(cost, 100))
    assert [standing.remaining for standing in reservation.standings] == [50, 9]
    assert reservation.claims == (Claim(minute, 50), Claim(cost, 100))
    await rig.store.settle(reservation, {"cost": 7, "tokens": 20})
    await rig.come_back()
    assert (await rig.taken(cost), await rig.taken(minute)) == (7, 0)


async def test_what_was_reserved_there_is_settled_there_when_it_is_back() -> None:
    """F181, L4: nothing that was used is lost, nothing that was claimed stays."""
    rig = Rig()
    cost, slots = limit("cost", 100, "day"), limit("slots", 10)
    running = [await reserved(rig.store, str(n), Claim(cost, 9), Claim(slots, 1)) for n in range(8)]
    await rig.go_away()
    for reservation in running:
        await rig.store.settle(reservation, {"cost": 2})
    assert rig.store.owed == 8
    assert (await rig.taken(cost), await rig.taken(slots)) == (72, 8)
    await rig.come_back()
    assert (await rig.taken(cost), await rig.taken(slots)) == (16, 0)


async def test_what_was_reserved_here_is_settled_here_although_it_is_back() -> None:
    rig = Rig()
    slots = limit("slots", 1)
    await rig.go_away()
    here = await reserved(rig.store, "1", Claim(slots, 1))
    await rig.come_back()
    there = await reserved(rig.store, "2", Claim(slots, 1))
    await rig.store.renew([here, there], lease=60)
    await rig.store.settle(here, {})
    assert await rig.taken(slots) == 1
    await rig.store.settle(there, {})
    await rig.go_away()
    await reserved(rig.store, "3", Claim(slots, 1))


@pytest.mark.parametrize("when_away", ["deny", "allow"])
async def test_a_reservation_nobody_knows_the_end_of_counts_for_nothing_or_for_what_it_was(when_away: WhenAway) -> None:
    """L1: a store that answers too late has taken up the reservation all the same."""
    rig = Rig(when_away=when_away)
    cost, tokens, slots = limit("cost", 100, "day"), limit("tokens", 100, "minute"), limit("slots", 10)
    claims = (Claim(cost, 60), Claim(tokens, 60), Claim(slots, 1))
    rig.shared.away, rig.shared.executes = True, True
    if when_away == "deny":
        with pytest.raises(StoreUnavailable):
            await rig.store.reserve(claims, request_id="1", lease=600)
    else:
        reservation = await reserved(rig.store, "1", *claims)
    assert [await rig.taken(each) for each in (cost, tokens, slots)] == [60, 60, 1]
    rig.shared.away = rig.shared.executes = False
    if when_away == "allow":
        await rig.store.settle(reservation, {"cost": 5, "tokens": 6})
    await reserved(rig.store, "2", Claim(slots, 1))
    await until(lambda: not rig.store.owed)
    expected = [0, 0, 1] if when_away == "deny" else [5, 6, 1]
    assert [await rig.taken(each) for each in (cost, tokens, slots)] == expected


async def test_a_client_that_leaves_while_the_store_is_asked_holds_nothing() -> None:
    """L1, F193: whoever has gone will not settle."""
    rig = Rig()
    slots = limit("slots", 1)
    rig.shared.hold = asyncio.Event()
    asking = asyncio.create_task(rig.store.reserve([Claim(slots, 1)], request_id="1", lease=600))
    await until(lambda: rig.shared.asked == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    rig.shared.hold = None
    await rig.store.renew([Reservation("other", (), (), 0.0)], lease=1)
    await until(lambda: not rig.store.owed)
    await reserved(rig.store, "2", Claim(slots, 1))


async def test_a_settlement_that_is_cancelled_is_told_later() -> None:
    rig = Rig()
    cost = limit("cost", 100, "day")
    reservation = await reserved(rig.store, "1", Claim(cost, 60))
    rig.shared.hold = asyncio.Event()
    settling = asyncio.create_task(rig.store.settle(reservation, {"cost": 5}))
    await asyncio.sleep(0)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    rig.shared.hold = None
    await rig.store.aclose()
    assert (await rig.taken(cost), rig.store.owed) == (5, 0)


async def test_each_change_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """F184: ten thousand requests in an outage make no noise."""
    rig = Rig()
    with caplog.at_level(logging.DEBUG, "asgi_llmgw"):
        await rig.go_away()
        for n in range(10_000):
            reservation = await reserved(rig.store, str(n), Claim(limit("slots", 10), 1))
            await rig.store.settle(reservation, {})
        await rig.come_back()
    assert [record.getMessage() for record in caplog.records] == [
        "the shared store is away, requests go on without it: away",
        "the shared store is back",
    ]


async def test_one_probe_at_a_time_about_once_a_second() -> None:
    """F182: whether anybody asks or not."""
    rig = Rig()
    await rig.go_away()
    asked = rig.shared.asked
    for probes in range(1, 5):
        for n in range(20):
            await reserved(rig.store, f"{probes}.{n}", Claim(limit("requests", 1000, "minute"), 1))
        assert rig.shared.asked == asked + probes - 1
        await rig.naps.over()
        await rig.shared.was_asked(asked + probes)
    await rig.come_back()
    assert rig.naps.lengths == [1.0] * 5


async def test_probes_of_many_processes_are_spread() -> None:
    """F188: 64 workers that lose the store at one moment do not come back in one."""
    lengths: list[float] = []

    async def sleep(seconds: float) -> None:
        lengths.append(seconds)
        await asyncio.Event().wait()

    stores = []
    for _ in range(64):
        shared = Wavering()
        shared.away = True
        stores.append(GuardedStore(shared, sleep=sleep))
        for n in range(5):
            await reserved(stores[-1], str(n), Claim(limit("requests", 10, "minute"), 1))
    await asyncio.sleep(0)
    assert len(lengths) == 64 and all(0.5 <= length <= 1.5 for length in lengths)
    assert (
        max(sum(start <= length < start + 0.1 for length in lengths) for start in (0.5 + n / 10 for n in range(10)))
        < 32
    )
    for store in stores:
        await store.aclose()


async def test_so_much_waits_for_the_store_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(max_owed=3)
    cost = limit("cost", 100, "day")
    running = [await reserved(rig.store, str(n), Claim(cost, 1)) for n in range(6)]
    await rig.go_away()
    for n, reservation in enumerate(running):
        await rig.store.settle(reservation, {"cost": 10 + n})
    assert rig.store.owed == 3
    assert [record.getMessage() for record in caplog.records if "lost" in record.getMessage()] == [
        "more than 3 settlements wait for the shared store: the oldest are lost"
    ]
    await rig.come_back()
    assert await rig.taken(cost) == 13 + 14 + 15 + 3


async def test_a_settlement_that_the_store_never_takes_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    cost = limit("cost", 100, "day")
    running = [await reserved(rig.store, str(n), Claim(cost, 1)) for n in range(4)]
    rig.shared.refused = {"1"}
    for reservation in running:
        await rig.store.settle(reservation, {"cost": 5})
    await until(lambda: not rig.store.owed)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (rig.store.owed, rig.store.available) == (0, True)
    assert await rig.taken(cost) == 16
    assert caplog.messages == ["the shared store refuses a settlement: it is lost"]


async def test_it_may_go_away_again_while_it_is_told() -> None:
    rig = Rig()
    cost = limit("cost", 1000, "day")
    running = [await reserved(rig.store, str(n), Claim(cost, 1)) for n in range(50)]
    await rig.go_away()
    for reservation in running:
        await rig.store.settle(reservation, {"cost": 2})
    rig.shared.hold = asyncio.Event()
    rig.shared.away = False
    await rig.naps.over()
    await asyncio.sleep(0)
    rig.shared.hold.set()
    await rig.back.wait()
    rig.shared.away = True
    await until(lambda: not rig.store.available)
    assert rig.store.owed == 50
    await rig.come_back()
    assert await rig.taken(cost) == 100


async def test_what_is_owed_at_the_end_is_told_or_regretted(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    reservation = await reserved(rig.store, "1", Claim(limit("cost", 100, "day"), 1))
    await rig.go_away()
    await rig.store.settle(reservation, {"cost": 5})
    await rig.store.aclose()
    await rig.store.aclose()
    assert "1 settlements were never told to the shared store" in caplog.messages


async def test_another_user_of_the_same_server_opens_the_same_breaker() -> None:
    rig = Rig()
    rig.shared.away = True
    for _ in range(5):
        rig.breaker.failed("too slow")
    assert not rig.store.available
    await rig.come_back()
    assert rig.store.available


def test_a_probe_of_a_loop_that_has_ended_is_taken_up_by_the_next() -> None:
    """F199"""
    rig = Rig()
    asyncio.run(rig.go_away())
    assert not rig.store.available

    async def later() -> bool:
        await reserved(rig.store, "1", Claim(limit("slots", 1), 1))
        rig.shared.away = False
        await until(lambda: rig.store.available)
        return rig.store.available

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    rig.store._sleep = at_once
    assert asyncio.run(later())
