"""What every store does, asserted of the one in memory and of the one in a real Redis."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Period, Reservation, Store
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.store.redis import RedisStore
from asgi_llmgw.store.redis_client import RedisClient
from tests.store.redis_server import RedisServer

pytestmark = pytest.mark.anyio
NUMBERS = itertools.count()
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(clock=clock)
        return
    server: RedisServer = request.getfixturevalue("redis")
    made = RedisStore(RedisClient(server.url, timeout=5), prefix=f"t{next(NUMBERS)}:", clock=clock)
    yield made
    await made.aclose()


def limit(measure: Measure, ceiling: int, period: Period | None = None, *, owner: str = "a") -> Limit:
    return Limit("key", owner, measure, ceiling, period)


async def admitted(store: Store, request_id: str, *claims: Claim, lease: float = 60) -> Reservation:
    result = await store.reserve(claims, request_id=request_id, lease=lease)
    assert isinstance(result, Reservation)
    return result


async def denied(store: Store, *claims: Claim) -> Denied:
    result = await store.reserve(claims, request_id="one too many", lease=60)
    assert isinstance(result, Denied)
    return result


async def remaining(store: Store, *limits: Limit) -> list[int]:
    """What is left of limits, asked for with a claim of nothing."""
    claims = [Claim(limit, 0) for limit in limits]
    result = await store.reserve(claims, request_id=f"look {next(NUMBERS)}", lease=60)
    return [standing.remaining for standing in result.standings]


EVERY_KIND = [
    pytest.param(limit("tokens", 10, "minute"), id="minute"),
    pytest.param(limit("cost", 10, "day"), id="day"),
    pytest.param(limit("cost", 10, "month"), id="month"),
    pytest.param(limit("slots", 10), id="slots"),
]


@pytest.mark.parametrize("ceiling", EVERY_KIND)
async def test_what_is_claimed_is_taken_until_nothing_is_left(store: Store, ceiling: Limit) -> None:
    first = await admitted(store, "1", Claim(ceiling, 7))
    assert [standing.remaining for standing in first.standings] == [3]
    assert first.id == "1" and first.claims == (Claim(ceiling, 7),) and first.time == NOON
    assert (await denied(store, Claim(ceiling, 4))).limit == ceiling
    await admitted(store, "2", Claim(ceiling, 3))
    assert [standing.remaining for standing in (await denied(store, Claim(ceiling, 1))).standings] == [0]


@pytest.mark.parametrize("ceiling", EVERY_KIND)
async def test_200_at_once_with_room_for_10_make_10(store: Store, ceiling: Limit) -> None:
    """F189, L4: the check and the claim are one step."""
    asked = [store.reserve([Claim(ceiling, 1)], request_id=str(n), lease=60) for n in range(200)]
    results = [result for start in range(0, 200, 25) for result in await asyncio.gather(*asked[start : start + 25])]
    assert sum(isinstance(result, Reservation) for result in results) == 10
    assert await remaining(store, ceiling) == [0]


@pytest.mark.parametrize("short", EVERY_KIND)
async def test_a_refused_request_takes_nothing_of_its_other_limits(store: Store, short: Limit) -> None:
    """L2: whoever is refused for one limit has not used up the others."""
    others = [limit("requests", 10, "minute", owner="b"), limit("requests", 10, "day"), limit("slots", 10, owner="b")]
    await admitted(store, "1", Claim(short, 10))
    for _ in range(3):
        await denied(store, *(Claim(other, 1) for other in others), Claim(short, 1))
    assert await remaining(store, *others) == [10, 10, 10]


@pytest.mark.parametrize("ceiling", EVERY_KIND)
async def test_a_request_that_is_reserved_twice_counts_once(store: Store, ceiling: Limit, clock: Clock) -> None:
    """L6"""
    first = await admitted(store, "1", Claim(ceiling, 4))
    clock.now += 1
    again = await admitted(store, "1", Claim(ceiling, 4))
    assert again.time == first.time and again.standings[0].remaining == 6
    await store.settle(first, {"tokens": 4, "cost": 4})
    await admitted(store, "1", Claim(ceiling, 4))
    assert await remaining(store, ceiling) == [10 if ceiling.measure == "slots" else 6]


@pytest.mark.parametrize("ceiling", EVERY_KIND)
@pytest.mark.parametrize(("really", "left"), [(2, 8), (0, 10), (9, 1), (25, 0)])
async def test_what_it_really_was_takes_the_place_of_the_claim(
    store: Store, ceiling: Limit, really: int, left: int
) -> None:
    """F191, L4, L6: also where it is more than was claimed, or than there is; a second time it changes nothing."""
    reservation = await admitted(store, "1", Claim(ceiling, 5))
    for _ in range(3):
        await store.settle(reservation, {"tokens": really, "cost": really})
        assert await remaining(store, ceiling) == [10 if ceiling.measure == "slots" else left]


async def test_what_is_not_told_was_claimed_rightly(store: Store) -> None:
    requests, tokens, slots = limit("requests", 10, "minute"), limit("tokens", 10, "day"), limit("slots", 10)
    reservation = await admitted(store, "1", Claim(requests, 1), Claim(tokens, 6), Claim(slots, 1))
    await store.settle(reservation, {})
    assert await remaining(store, requests, tokens, slots) == [9, 4, 10]
    reservation = await admitted(store, "2", Claim(requests, 1), Claim(tokens, 4), Claim(slots, 1))
    await store.settle(reservation, {"requests": 0, "tokens": 1, "slots": 5})
    assert await remaining(store, requests, tokens, slots) == [9, 3, 10]


@pytest.mark.parametrize(
    ("ceiling", "left"),
    [
        pytest.param(limit("tokens", 10, "minute"), 7, id="minute"),
        pytest.param(limit("cost", 10, "day"), 7, id="day"),
        pytest.param(limit("slots", 10), 10, id="slots"),
    ],
)
async def test_what_is_settled_before_it_is_reserved_counts_once(store: Store, ceiling: Limit, left: int) -> None:
    """F191: a reservation that a frozen server takes up late sets nothing aside any more."""
    late = Reservation("1", (Claim(ceiling, 5),), (), NOON)
    await store.settle(late, {"tokens": 3, "cost": 3})
    await admitted(store, "1", Claim(ceiling, 5))
    await store.settle(late, {"tokens": 3, "cost": 3})
    assert await remaining(store, ceiling) == [left]


@pytest.mark.parametrize(
    ("ceiling", "freed", "charged"),
    [
        pytest.param(limit("cost", 10, "day"), 10, 3, id="day"),
        pytest.param(limit("cost", 10, "month"), 10, 3, id="month"),
        pytest.param(limit("slots", 10), 10, 10, id="slots"),
    ],
)
async def test_a_dead_worker_s_leases_run_out_and_what_it_used_is_charged_late(
    store: Store, clock: Clock, ceiling: Limit, freed: int, charged: int
) -> None:
    """F190, F191, L1: nothing is refused for what nobody holds any more, and what is settled late counts."""
    dead = [await admitted(store, str(n), Claim(ceiling, 1), lease=30) for n in range(10)]
    clock.now += 29.9
    await denied(store, Claim(ceiling, 1))
    clock.now += 0.1
    assert await remaining(store, ceiling) == [freed]
    for reservation in dead[:7]:
        await store.settle(reservation, {"cost": 1})
    assert await remaining(store, ceiling) == [charged]


async def test_a_hundred_dead_leases_are_freed_at_once(store: Store, clock: Clock) -> None:
    """F190"""
    slots = limit("slots", 100)
    for n in range(100):
        await admitted(store, str(n), Claim(slots, 1), lease=30)
    clock.now += 31
    assert (await admitted(store, "new", Claim(slots, 100))).standings[0].remaining == 0


@pytest.mark.parametrize("ceiling", EVERY_KIND[1:])
async def test_who_is_still_running_keeps_what_it_has(store: Store, clock: Clock, ceiling: Limit) -> None:
    """L1: a lease is renewed, never the counter as a whole."""
    running = await admitted(store, "1", Claim(ceiling, 3), Claim(limit("requests", 5, "minute"), 1), lease=30)
    await admitted(store, "2", Claim(ceiling, 4), lease=30)
    for _ in range(5):
        clock.now += 20
        await store.renew([running], lease=30)
    assert await remaining(store, ceiling) == [7]
    await store.settle(running, {"cost": 0})
    assert await remaining(store, ceiling) == [10]


@pytest.mark.parametrize("ceiling", EVERY_KIND[1:])
async def test_a_lease_that_has_run_out_is_not_brought_back(store: Store, clock: Clock, ceiling: Limit) -> None:
    reservation = await admitted(store, "1", Claim(ceiling, 10), lease=30)
    clock.now += 30
    await store.renew([reservation], lease=30)
    await admitted(store, "2", Claim(ceiling, 10))


async def test_a_lease_is_never_made_shorter(store: Store, clock: Clock) -> None:
    slots = limit("slots", 1)
    await store.renew([await admitted(store, "1", Claim(slots, 1), lease=30)], lease=5)
    clock.now += 29
    await denied(store, Claim(slots, 1))
    clock.now += 1
    await admitted(store, "2", Claim(slots, 1))


@pytest.mark.parametrize("ceiling", EVERY_KIND)
async def test_a_claim_of_nothing_ends_like_all_others(store: Store, clock: Clock, ceiling: Limit) -> None:
    await admitted(store, "1", Claim(ceiling, 0), lease=30)
    settled = await admitted(store, "2", Claim(ceiling, 0), lease=30)
    await store.settle(settled, {})
    clock.now += 31
    assert await remaining(store, ceiling) == [10]


async def test_many_leases_are_renewed_together(store: Store, clock: Clock) -> None:
    slots = limit("slots", 1200)
    running = [await admitted(store, str(n), Claim(slots, 1), lease=30) for n in range(1200)]
    clock.now += 20
    await store.renew(running, lease=30)
    clock.now += 20
    assert await remaining(store, slots) == [0]
    await store.renew([], lease=30)


async def test_no_minute_ever_holds_more_than_its_ceiling(store: Store, clock: Clock) -> None:
    """The cell that a minute's beginning cuts in two counts in full."""
    ceiling = limit("requests", 5, "minute")
    taken: list[float] = []
    for step in range(300):
        result = await store.reserve([Claim(ceiling, 1)], request_id=str(step), lease=60)
        if isinstance(result, Reservation):
            taken.append(clock.now)
        clock.now += 1.0
    assert all(late - early >= 60 for early, late in zip(taken, taken[5:], strict=False))
    assert len(taken) >= 20


@pytest.mark.parametrize(("wanted", "wait"), [(1, 48), (4, 48), (5, 63), (10, 63)])
async def test_the_wait_for_a_minute_is_as_long_as_it_must_be(
    store: Store, clock: Clock, wanted: int, wait: int
) -> None:
    ceiling = limit("tokens", 10, "minute")
    await admitted(store, "1", Claim(ceiling, 4))
    clock.now += 15
    await admitted(store, "2", Claim(ceiling, 6))
    refused = await denied(store, Claim(ceiling, wanted))
    assert (refused.retry_after, refused.standings[0].reset) == (wait, 63)
    clock.now += wait - 0.001
    await denied(store, Claim(ceiling, wanted))
    clock.now += 0.001
    await admitted(store, "3", Claim(ceiling, wanted))


async def test_a_minute_of_which_all_was_given_back_is_whole_at_once(store: Store, clock: Clock) -> None:
    ceiling = limit("tokens", 10, "minute")
    early = await admitted(store, "1", Claim(ceiling, 2))
    clock.now += 9
    await store.settle(await admitted(store, "2", Claim(ceiling, 4)), {"tokens": 0})
    assert (await admitted(store, "3", Claim(ceiling, 0))).standings[0].reset == 63 - 9
    await store.settle(early, {"tokens": 0})
    assert (await admitted(store, "4", Claim(ceiling, 0))).standings[0].reset == 0


async def test_a_clock_that_is_set_back_frees_nothing(store: Store, clock: Clock) -> None:
    ceiling = limit("tokens", 10, "minute")
    await admitted(store, "1", Claim(ceiling, 4))
    clock.now -= 6
    early = await admitted(store, "2", Claim(ceiling, 5))
    assert early.standings[0].remaining == 1
    await denied(store, Claim(ceiling, 2))
    clock.now += 6 + 57
    assert await remaining(store, ceiling) == [6]
    clock.now += 6
    assert await remaining(store, ceiling) == [10]


async def test_what_can_never_be_is_told_to_wait_for_the_whole_period(store: Store) -> None:
    assert (await denied(store, Claim(limit("tokens", 10, "minute"), 11))).retry_after == 60
    assert (await denied(store, Claim(limit("tokens", 10, "day"), 11))).retry_after == 12 * 3600


async def test_a_settlement_changes_the_moment_of_its_claim(store: Store, clock: Clock) -> None:
    """F192"""
    ceiling = limit("tokens", 10, "minute")
    early = await admitted(store, "1", Claim(ceiling, 4), lease=300)
    clock.now += 30
    await store.settle(early, {"tokens": 8})
    assert await remaining(store, ceiling) == [2]
    clock.now += 33
    assert await remaining(store, ceiling) == [10]
    late = await admitted(store, "2", Claim(ceiling, 10), lease=300)
    clock.now += 100
    await store.settle(late, {"tokens": 10})
    assert await remaining(store, ceiling) == [10]


@pytest.mark.parametrize(
    ("period", "end", "reset"),
    [
        pytest.param("day", datetime(2026, 2, 1, tzinfo=UTC), 12 * 3600, id="day"),
        pytest.param("month", datetime(2026, 2, 1, tzinfo=UTC), 12 * 3600, id="month"),
    ],
)
async def test_a_calendar_period_ends_at_midnight_in_utc(
    store: Store, clock: Clock, period: Period, end: datetime, reset: int
) -> None:
    """F192: a settlement counts where the claim did, however many come over from the period before."""
    ceiling = limit("cost", 100, period)
    running = [await admitted(store, str(n), Claim(ceiling, 10), lease=86_400) for n in range(10)]
    assert running[-1].standings[0].reset == reset
    for reservation in running[:5]:
        await store.settle(reservation, {"cost": 10})
    clock.now = end.timestamp() - 0.5
    refused = await denied(store, Claim(ceiling, 60))
    assert (refused.retry_after, refused.standings[0].remaining) == (0.5, 0)
    assert (await denied(store, Claim(ceiling, 1))).retry_after == 1, "a running request may cost less than was claimed"
    clock.now = end.timestamp()
    assert await remaining(store, ceiling) == [100]
    await admitted(store, "new", Claim(ceiling, 30))
    await asyncio.gather(*(store.settle(reservation, {"cost": 10}) for reservation in running))
    assert await remaining(store, ceiling) == [70]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((2024, 2, 29), (2024, 3, 1)),
        ((2026, 2, 28), (2026, 3, 1)),
        ((2026, 12, 31), (2027, 1, 1)),
        ((2000, 2, 29), (2000, 3, 1)),
        ((2100, 2, 28), (2100, 3, 1)),
        ((2027, 1, 1), (2027, 2, 1)),
        ((2026, 4, 30), (2026, 5, 1)),
    ],
)
async def test_months_have_the_days_they_have(
    store: Store, clock: Clock, start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    ceiling = limit("cost", 10, "month")
    clock.now = datetime(*start, tzinfo=UTC).timestamp()
    await admitted(store, "1", Claim(ceiling, 10), lease=86_400 * 2)
    clock.now = datetime(*end, tzinfo=UTC).timestamp() - 1
    assert (await denied(store, Claim(ceiling, 11))).retry_after == 1
    clock.now += 1
    assert await remaining(store, ceiling) == [10]


async def test_the_limit_that_is_short_for_longest_is_named(store: Store) -> None:
    slots, minute, day = limit("slots", 1), limit("requests", 1, "minute"), limit("requests", 1, "day")
    await admitted(store, "1", Claim(slots, 1), Claim(minute, 1))
    await store.settle(await admitted(store, "2", Claim(day, 1)), {})
    assert (await denied(store, Claim(slots, 1), Claim(minute, 1), Claim(day, 1))).limit == day
    refused = await denied(store, Claim(slots, 1), Claim(minute, 1))
    assert refused.limit == minute and refused.retry_after > 60
    assert [standing.limit for standing in refused.standings] == [slots, minute]
    refused = await denied(store, Claim(slots, 1))
    assert refused.limit == slots and refused.retry_after == 1


async def test_a_new_ceiling_goes_on_with_what_was_counted(store: Store) -> None:
    await admitted(store, "1", Claim(limit("cost", 10, "day"), 8))
    assert await remaining(store, limit("cost", 20, "day"), limit("cost", 100, "month")) == [12, 100]
    assert (await denied(store, Claim(limit("cost", 5, "day"), 0))).standings[0].remaining == 0


async def test_limits_do_not_mix_whatever_their_owners_are_called(store: Store) -> None:
    """F196"""
    owners = ["a", "a:b", "a\n", "", "{llmgw}", "a\x00b", "é", "\ud800", "x" * 1_000_000, "*"]
    for number, owner in enumerate(owners):
        everyone = limit("tokens", 100, "day", owner=owner)
        await admitted(store, f"n{number}", Claim(everyone, number + 1))
        await admitted(store, f"m{number}", Claim(Limit("tenant", owner, "tokens", 100, "day"), 50))
    found = [await remaining(store, limit("tokens", 100, "day", owner=owner)) for owner in owners]
    assert found == [[99 - number] for number in range(len(owners))]


async def test_one_limit_cannot_be_claimed_twice(store: Store) -> None:
    ceiling = limit("tokens", 10, "day")
    with pytest.raises(ValueError, match="claimed twice"):
        await store.reserve([Claim(ceiling, 1), Claim(ceiling, 2)], request_id="1", lease=60)


async def test_large_amounts_stay_exact(store: Store) -> None:
    """A month's budget of ten million USD, in millionths."""
    ceiling = limit("cost", 10_000_000_000_000, "month")
    reservation = await admitted(store, "1", Claim(ceiling, 9_999_999_999_999))
    assert reservation.standings[0].remaining == 1
    await store.settle(reservation, {"cost": 1_234_567_890_123})
    assert await remaining(store, ceiling) == [8_765_432_109_877]


async def test_it_can_be_closed_twice(store: Store) -> None:
    await admitted(store, "1", Claim(limit("slots", 1), 1))
    await store.aclose()
    await store.aclose()
    await denied(store, Claim(limit("slots", 1), 1))
