"""Random histories of a store, judged afterwards by a naive account of what was asked and answered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Reservation, Standing, Store
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.store.redis import RedisStore
from asgi_llmgw.store.redis_client import RedisClient
from tests.store.redis_server import RedisServer

START = datetime(2026, 2, 28, 23, 57, 30, tzinfo=UTC).timestamp()
LIMITS = (
    Limit("key", "a", "tokens", 50, "minute"),
    Limit("model", "m", "tokens", 80, "minute"),
    Limit("key", "a", "cost", 120, "day"),
    Limit("tenant", "t", "cost", 200, "month"),
    Limit("key", "a", "slots", 3),
)
RUNS = itertools.count()
T = TypeVar("T")


@dataclass
class Entry:
    """A reservation that was granted, as the checker knows it."""

    at: float
    ends: float
    claims: tuple[Claim, ...]
    actual: Mapping[Measure, int] | None = None


@dataclass
class Asked:
    """A claim and its answer, with all that was known by then."""

    now: float
    claims: tuple[Claim, ...]
    answer: Reservation | Denied
    before: list[Entry] = field(default_factory=list)


def amounts(limit: Limit, known: list[Entry], now: float, *, window: float = 60.0) -> Iterator[int]:
    """What each reservation takes of a limit at a moment."""
    for entry in known:
        for claim in entry.claims:
            if claim.limit != limit:
                continue
            really = claim.amount if entry.actual is None else entry.actual.get(limit.measure, claim.amount)
            match limit.period:
                case "minute":
                    yield really if entry.at > now - window else 0
                case None:
                    yield claim.amount if entry.actual is None and entry.ends > now else 0
                case period:
                    day, then = (datetime.fromtimestamp(time, UTC) for time in (now, entry.at))
                    same = (day.year, day.month) == (then.year, then.month) and (
                        period == "month" or day.day == then.day
                    )
                    yield (really if entry.actual is not None or entry.ends > now else 0) if same else 0


def check(asked: Asked) -> None:
    """Nothing above a ceiling is granted, nothing is refused without a reason, nothing is negative."""
    taken = [sum(amounts(claim.limit, asked.before, asked.now)) for claim in asked.claims]
    assert min(taken) >= 0
    if isinstance(asked.answer, Reservation):
        for claim, before in zip(asked.claims, taken, strict=True):
            assert before + claim.amount <= claim.limit.ceiling
        for claim, standing, before in zip(asked.claims, asked.answer.standings, taken, strict=True):
            exact = claim.limit.ceiling - before - claim.amount
            assert standing.remaining == exact or (claim.limit.period == "minute" and standing.remaining <= exact)
        return
    # a minute may hold up to one cell more than 60 seconds of claims
    most = [sum(amounts(claim.limit, asked.before, asked.now, window=63.0)) for claim in asked.claims]
    short = [
        claim for claim, before in zip(asked.claims, most, strict=True) if before + claim.amount > claim.limit.ceiling
    ]
    assert asked.answer.limit in [claim.limit for claim in short]
    assert asked.answer.retry_after > 0


class Histories(RuleBasedStateMachine):
    """Requests come, run on, end, end twice, end late, or die; the clock goes over midnight and the end of a month."""

    def __init__(self, url: str | None) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = START
        self.store: Store
        if url is None:
            self.store = MemoryStore(clock=lambda: self.now)
        else:
            prefix = f"h{next(RUNS)}:"
            self.store = RedisStore(RedisClient(url, timeout=5), prefix=prefix, clock=lambda: self.now)
        self.numbers = itertools.count()
        self.granted: dict[str, tuple[Reservation, Entry]] = {}
        self.log: list[Asked] = []

    @initialize(seconds=st.integers(0, 200))
    def begin(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        amounts=st.lists(st.one_of(st.none(), st.integers(0, 60)), min_size=4, max_size=4),
        slots=st.integers(0, 2),
        lease=st.sampled_from([10, 30, 120]),
    )
    def reserve(self, amounts: list[int | None], slots: int, lease: int) -> None:
        wanted = [*amounts, slots or None]
        claims = tuple(Claim(limit, amount) for limit, amount in zip(LIMITS, wanted, strict=True) if amount is not None)
        if claims:
            self._reserve(f"r{next(self.numbers)}", claims, lease)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        reservation, _ = self._some(data)
        again = self._do(self.store.reserve(reservation.claims, request_id=reservation.id, lease=60))
        assert isinstance(again, Reservation) and again.time == reservation.time

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), lease=st.sampled_from([10, 30, 120]))
    def renew(self, data: st.DataObject, lease: int) -> None:
        some = [self._some(data), self._some(data)]
        self._do(self.store.renew([reservation for reservation, _ in some], lease=lease))
        for _, entry in some:
            if entry.actual is None and entry.ends > self.now:
                entry.ends = max(entry.ends, self.now + lease)

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), tokens=st.integers(0, 90), cost=st.one_of(st.none(), st.integers(0, 90)))
    def settle(self, data: st.DataObject, tokens: int, cost: int | None) -> None:
        reservation, entry = self._some(data)
        actual: dict[Measure, int] = {"tokens": tokens} if cost is None else {"tokens": tokens, "cost": cost}
        self._do(self.store.settle(reservation, actual))
        if entry.actual is None:
            entry.actual = actual

    @rule(seconds=st.sampled_from([0.5, 2.9, 3.0, 11.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_last_answer_was_right(self) -> None:
        if self.log:
            check(self.log[-1])

    def teardown(self) -> None:
        """At rest nothing is reserved any more: what counts is what was used."""
        self.now += 121
        known = [entry for _, entry in self.granted.values()]
        try:
            for limit in LIMITS:
                result = self._do(self.store.reserve([Claim(limit, 0)], request_id=f"end {limit.counter}", lease=1))
                used = sum(amounts(limit, known, self.now))
                assert result.standings[0].remaining == max(0, limit.ceiling - used)
        finally:
            self._do(self.store.aclose())
            self.loop.close()

    def _reserve(self, request_id: str, claims: tuple[Claim, ...], lease: int) -> None:
        before = [Entry(entry.at, entry.ends, entry.claims, entry.actual) for _, entry in self.granted.values()]
        answer = self._do(self.store.reserve(claims, request_id=request_id, lease=lease))
        self.log.append(Asked(self.now, claims, answer, before))
        if isinstance(answer, Reservation):
            assert answer.time == pytest.approx(self.now, abs=0.001)
            self.granted[request_id] = (answer, Entry(self.now, self.now + lease, claims))

    def _some(self, data: st.DataObject) -> tuple[Reservation, Entry]:
        return self.granted[data.draw(st.sampled_from(sorted(self.granted)))]

    def _do(self, call: Coroutine[None, None, T]) -> T:
        return self.loop.run_until_complete(call)


def run(url: str | None, *, examples: int) -> None:
    run_state_machine_as_test(
        lambda: Histories(url),  # type: ignore[arg-type]
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_histories_in_memory() -> None:
    """F189, F191, F192, L4, L6"""
    run(None, examples=60)


def test_histories_in_redis(redis: RedisServer) -> None:
    """F189, F191, F192, L4, L6"""
    run(redis.url, examples=30)


def test_the_checker_finds_what_is_wrong() -> None:
    tokens, slots = LIMITS[0], LIMITS[4]
    busy = Entry(START, START + 60, (Claim(tokens, 40), Claim(slots, 3)))
    for claim, left in ((Claim(tokens, 20), 0), (Claim(slots, 1), 0), (Claim(tokens, 5), 8)):
        granted = Reservation("x", (claim,), (Standing(claim.limit, left, 1.0),), START)
        with pytest.raises(AssertionError):
            check(Asked(START + 1, (claim,), granted, [busy]))
    with pytest.raises(AssertionError):
        check(Asked(START + 64, (Claim(tokens, 50),), Denied(tokens, 1.0, ()), [busy]))
