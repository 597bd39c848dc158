"""Whether, when and where a request is tried again."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import FailureClass, InvalidRequest, UpstreamError
from asgi_llmgw.exchange import Target
from asgi_llmgw.routing.health import BreakerPolicy, Health, Ticket
from asgi_llmgw.routing.policy import Balancer, Credentials
from asgi_llmgw.routing.retry import Attempt, Attempts, Retries, RetryBudget, RetryPolicy
from asgi_llmgw.testing import FakeClock

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m")
CALM = BreakerPolicy(failures=10**6, minimum=10**6)
NO_WAITING = RetryPolicy(backoff=0.0)


class Desk:
    """One request's way, step by step."""

    def __init__(
        self,
        *targets: Target,
        policy: RetryPolicy = NO_WAITING,
        keys: dict[str, int] | None = None,
        breaker: BreakerPolicy = CALM,
    ) -> None:
        self.clock = FakeClock(1000.0)
        self.health = Health(breaker, clock=self.clock, rng=random.Random(1))
        credentials = {name: Credentials(count) for name, count in (keys or {}).items()}
        balancer = Balancer(self.health, credentials=credentials, rng=random.Random(2))
        self.retries = Retries(balancer, policy, rng=random.Random(3))
        self.targets = targets
        self.attempts = self.another()

    def another(self) -> Attempts:
        """The next request."""
        self.attempts = Attempts(self.retries, self.targets, started=self.clock())
        return self.attempts

    def next(self) -> Attempt:
        attempt = self.attempts.next()
        assert attempt is not None
        return attempt

    def fail(self, attempt: Attempt, failure: FailureClass, retry_after: float | None = None) -> None:
        """What the dispatcher does about an attempt that failed."""
        self.clock.advance(attempt.wait)
        ticket = self.health.begin(attempt.lane, in_a_panic=attempt.in_a_panic)
        assert ticket is not None
        error = UpstreamError("x", failure=failure, retry_after=retry_after)
        self.health.fail(ticket, error)
        if attempt.retry:
            self.retries.budget(attempt.target.provider).done()
        self.attempts.failed(attempt, error)

    def way(self, failure: FailureClass, retry_after: float | None = None) -> list[tuple[str, int]]:
        """Everybody who is asked when all fail alike."""
        asked = []
        while (attempt := self.attempts.next()) is not None:
            asked.append((attempt.target.provider, attempt.lane.key.credential))
            self.fail(attempt, failure, retry_after)
        return asked


@pytest.mark.parametrize("failure", ["overloaded", "transient", "timeout", "invalid_response"])
def test_all_targets_come_first_and_then_the_first_again(failure: FailureClass) -> None:
    """D1, D9, F137: three tries in all, over the whole chain."""
    assert Desk(A, B).way(failure) == [("a", 0), ("b", 0), ("a", 0)]
    assert Desk(A).way(failure) == [("a", 0), ("a", 0), ("a", 0)]


def test_further_tries_go_round() -> None:
    desk = Desk(A, B, policy=RetryPolicy(backoff=0.0, attempts=6))
    assert [name for name, _ in desk.way("transient")] == ["a", "b", "a", "b", "a", "b"]


def test_every_target_has_one_try_however_long_the_chain() -> None:
    chain = [Target(name, "m") for name in "abcde"]
    assert [name for name, _ in Desk(*chain).way("transient")] == list("abcde")


def test_a_broken_connection_is_tried_again_at_once() -> None:
    """F125, F135: once, and without waiting."""
    desk = Desk(A, B, policy=RetryPolicy())
    first = desk.next()
    desk.fail(first, "unreachable")
    second = desk.next()
    assert (second.target, second.wait, second.retry) == (A, 0.0, True)
    desk.fail(second, "unreachable")
    assert desk.next().target == B


@pytest.mark.parametrize("failure", ["model_access", "credential", "quota"])
def test_what_will_be_answered_the_same_is_not_asked_again(failure: FailureClass) -> None:
    """D11."""
    assert Desk(A, B).way(failure) == [("a", 0), ("b", 0)]


def test_what_one_target_cannot_express_another_may() -> None:
    """F177."""
    desk = Desk(A, B)
    desk.attempts.failed(desk.next(), InvalidRequest("Not here.", kind="unsupported"))
    assert desk.next().target == B


def test_a_target_that_failed_is_tried_again_though_the_next_cannot_express_the_request() -> None:
    desk = Desk(A, B)
    desk.fail(desk.next(), "transient")
    desk.attempts.failed(desk.next(), InvalidRequest("Not here.", kind="unsupported"))
    again = desk.next()
    assert (again.target, again.retry) == (A, True)


@pytest.mark.parametrize("failure", ["credential", "quota"])
def test_a_refused_key_gives_way_to_its_siblings_without_waiting(failure: FailureClass) -> None:
    """D11, F173."""
    desk = Desk(A, B, keys={"a": 3}, policy=RetryPolicy())
    waits = []
    for _ in range(3):
        attempt = desk.next()
        waits.append((attempt.target.provider, attempt.wait))
        desk.fail(attempt, failure)
    assert waits == [("a", 0.0)] * 3
    assert desk.next().target == B


def test_a_429_gives_way_to_a_sibling_after_a_moment() -> None:
    """D11: with backoff."""
    desk = Desk(A, keys={"a": 2}, policy=RetryPolicy())
    first = desk.next()
    desk.fail(first, "rate_limit", 60)
    second = desk.next()
    assert second.lane.key.credential != first.lane.key.credential
    assert 0 < second.wait <= 0.25 and not second.retry


def test_the_siblings_carry_on_without_the_benched_key() -> None:
    """F173, D12: remembered between requests."""
    desk = Desk(A, keys={"a": 3})
    refused = desk.next()
    desk.fail(refused, "credential")
    taken: Counter[int] = Counter()
    for _ in range(30):
        desk.another()
        taken[desk.next().lane.key.credential] += 1
    assert refused.lane.key.credential not in taken and len(taken) == 2 and min(taken.values()) >= 10


def test_keys_that_say_retry_at_once_are_not_asked_for_ever() -> None:
    """F136: `Retry-After: 0` of two keys is no perpetual motion."""
    assert len(Desk(A, keys={"a": 2}).way("rate_limit", 0)) == 3
    assert len(Desk(A).way("rate_limit", 0)) == 3


def test_retry_after_is_waited_for_where_nobody_else_can_answer() -> None:
    """D5, F136."""
    desk = Desk(A)
    desk.fail(desk.next(), "rate_limit", 2)
    again = desk.next()
    assert (again.target, again.wait) == (A, 2.0)


def test_another_target_is_asked_before_anything_is_waited_for() -> None:
    """F136."""
    desk = Desk(A, B)
    desk.fail(desk.next(), "rate_limit", 2)
    attempt = desk.next()
    assert (attempt.target, attempt.wait) == (B, 0.0)


def test_of_two_that_said_when_the_time_of_each_is_its_own() -> None:
    """F136: what the last one said is nothing to do with the first."""
    desk = Desk(A, B)
    desk.fail(desk.next(), "rate_limit")
    desk.fail(desk.next(), "overloaded", 3)
    attempt = desk.next()
    assert (attempt.target, attempt.wait) == (B, 3.0)


@pytest.mark.parametrize("said", [21.0, None], ids=["too_long", "not_said"])
def test_a_cooldown_that_is_long_or_a_guess_is_not_waited_for(said: float | None) -> None:
    """F136: at most 20 seconds."""
    desk = Desk(A)
    desk.fail(desk.next(), "rate_limit", said)
    assert desk.attempts.next() is None
    assert desk.attempts.rest() == (said or 10.0)


def test_it_does_not_sleep_past_the_deadline() -> None:
    """F176: five seconds are left, the backoff would be eight."""
    desk = Desk(A, policy=RetryPolicy(backoff=1000.0, max_backoff=1000.0, deadline=5.0))
    desk.fail(desk.next(), "transient")
    assert desk.attempts.next() is None
    assert desk.clock() == 1000.0


def test_retry_after_is_not_slept_past_the_deadline_either() -> None:
    """F176."""
    desk = Desk(A, policy=RetryPolicy(deadline=5.0))
    desk.fail(desk.next(), "rate_limit", 5)
    assert desk.attempts.next() is None


def test_nothing_begins_after_the_deadline() -> None:
    """F176."""
    desk = Desk(A, B, policy=RetryPolicy(deadline=5.0))
    desk.fail(desk.next(), "timeout")
    desk.clock.advance(5)
    assert desk.attempts.next() is None


def test_a_request_that_was_slow_to_come_has_its_first_try_all_the_same() -> None:
    desk = Desk(A, policy=RetryPolicy(deadline=5.0))
    desk.clock.advance(6)
    assert desk.next().target == A


def test_the_backoff_grows_and_is_spread_over_all_of_its_range() -> None:
    """F167: full jitter, no waves."""
    retries = Desk(A, policy=RetryPolicy()).retries
    for retry, most in ((0, 0.25), (1, 0.5), (2, 1.0), (5, 8.0), (9, 8.0)):
        waits = [retries.backoff(retry) for _ in range(500)]
        assert 0 <= min(waits) < most * 0.05 and most * 0.95 < max(waits) <= most
        assert sum(waits) / 500 == pytest.approx(most / 2, rel=0.1)


def test_resting_targets_are_skipped() -> None:
    """D12."""
    desk = Desk(A, B, breaker=BreakerPolicy(failures=1))
    desk.fail(desk.next(), "transient")
    desk.another()
    assert desk.next().target == B


def test_a_breaker_that_opened_is_not_retried() -> None:
    desk = Desk(A, breaker=BreakerPolicy(failures=1))
    desk.fail(desk.next(), "transient")
    assert desk.attempts.next() is None


def test_where_all_breakers_are_open_one_request_a_second_tries_nevertheless() -> None:
    """F170."""
    desk = Desk(A, B, breaker=BreakerPolicy(failures=1))
    desk.way("transient")
    desk.another()
    panic = desk.next()
    assert panic.in_a_panic
    desk.fail(panic, "transient")
    assert desk.attempts.next() is None
    desk.another()
    assert desk.attempts.next() is None and 0 < (desk.attempts.rest() or 0) <= 12
    desk.clock.advance(1)
    assert desk.another().next() is not None


def test_a_hedge_goes_to_the_next_target() -> None:
    """F178."""
    desk = Desk(A, B)
    second = desk.attempts.beside(desk.next())
    assert second is not None and second.target == B


def test_a_hedge_goes_to_another_key_where_there_is_no_other_target() -> None:
    """F178: though others are using it."""
    desk = Desk(A, keys={"a": 2})
    for number in range(2):
        assert desk.health.begin(desk.health.lane(A, number)) is not None
    first = desk.next()
    second = desk.attempts.beside(first)
    assert second is not None and second.lane is not first.lane and second.target == A


def test_without_another_target_or_key_there_is_no_hedge() -> None:
    desk = Desk(A)
    assert desk.attempts.beside(desk.next()) is None


def test_a_target_that_is_named_twice_is_one() -> None:
    desk = Desk(A, B)
    attempts = Attempts(desk.retries, [A, B, A], started=desk.clock())
    assert attempts.targets == (A, B)
    assert Attempts(desk.retries, [], started=desk.clock()).next() is None


def test_a_budget_is_a_tenth_of_the_requests_and_what_was_saved() -> None:
    """F167."""
    budget = RetryBudget(RetryPolicy(min_concurrent=0))
    spent = 0
    for _ in range(1000):
        budget.earn()
        while budget.spend():
            budget.done()
            spent += 1
    assert spent == 10 + 100 - 1


def test_three_retries_at_a_time_are_free_but_not_those_that_do_not_wait() -> None:
    """F167: a refused connection is over in no time, so that three at a time would be any number."""
    budget = RetryBudget(RetryPolicy(budget_cap=0.0))
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    budget.done()
    assert budget.spend()
    assert not budget.spend(saved=True)


@given(
    failures=st.lists(
        st.sampled_from(["transient", "unreachable", "timeout", "rate_limit", "overloaded", "credential"]),
        min_size=12,
        max_size=12,
    ),
    said=st.lists(st.sampled_from([None, 0.0, 1.0, 30.0]), min_size=12, max_size=12),
    keys=st.integers(1, 4),
)
def test_a_request_ends_whatever_happens(failures: list[FailureClass], said: list[float | None], keys: int) -> None:
    """F167: every lane once, and two retries."""
    desk = Desk(A, B, keys={"a": keys}, policy=RetryPolicy())
    tries = 0
    while (attempt := desk.attempts.next()) is not None:
        desk.fail(attempt, failures[tries], said[tries])
        tries += 1
        assert tries <= keys + 1 + 2
    assert tries >= 2


def bad_times(failure: FailureClass, *, seconds: int, takes: float, breaker: BreakerPolicy, seed: int) -> list[float]:
    """So many seconds at 500 requests a second, where everything fails: when the upstream is asked."""
    desk = Desk(A, policy=RetryPolicy(), breaker=breaker)
    desk.clock.now = 0.0
    rng = random.Random(seed)
    number = itertools.count()
    asked: list[float] = []
    events: list[tuple[float, int, Attempts, Attempt | None, Ticket | None]] = [
        (request / 500, next(number), Attempts(desk.retries, [A], started=request / 500), None, None)
        for request in range(500 * seconds)
    ]
    while events:
        desk.clock.now, _, attempts, attempt, ticket = heapq.heappop(events)
        if attempt is not None and ticket is None:
            ticket = desk.health.begin(attempt.lane, in_a_panic=attempt.in_a_panic)
            if ticket is not None:
                asked.append(desk.clock.now)
                ends = desk.clock.now + takes * rng.uniform(0.5, 1.5)
                heapq.heappush(events, (ends, next(number), attempts, attempt, ticket))
                continue
        if attempt is not None:
            if attempt.retry:
                desk.retries.budget("a").done()
            if ticket is not None:
                error = UpstreamError("x", failure=failure)
                desk.health.fail(ticket, error)
                attempts.failed(attempt, error)
        following = attempts.next()
        if following is not None:
            heapq.heappush(events, (desk.clock.now + following.wait, next(number), attempts, following, None))
    assert desk.health.lane(A, 0).in_flight == 0
    return asked


@pytest.mark.parametrize(
    ("failure", "seconds", "takes"),
    [("overloaded", 60, 0.01), ("overloaded", 15, 1.0), ("unreachable", 15, 0.0001)],
    ids=["fast", "slow", "no_connection"],
)
def test_a_vendor_in_trouble_is_not_buried(failure: FailureClass, seconds: int, takes: float) -> None:
    """F167: at most 1.2 attempts for each request though no breaker opens, and no waves."""
    requests = 500 * seconds
    asked = bad_times(failure, seconds=seconds, takes=takes, breaker=CALM, seed=5)
    assert requests < len(asked) <= 1.2 * requests + 10 + 3
    tenths = Counter(int(moment * 10) for moment in asked)
    steady = [tenths[tenth] for tenth in range(50, 10 * seconds)]
    mean = sum(steady) / len(steady)
    assert sum((count - mean) ** 2 for count in steady) / len(steady) < 2 * mean
    assert max(steady) < 1.5 * mean


def test_breakers_leave_a_dead_vendor_nearly_alone() -> None:
    """F167, F170, D7: five failures, and then about one try a second."""
    asked = bad_times("overloaded", seconds=60, takes=0.01, breaker=BreakerPolicy(), seed=6)
    assert len(asked) <= 5 + 10 + 61 + 20
    seconds = Counter(int(moment) for moment in asked)
    assert all(seconds[second] <= 2 for second in range(5, 60))
    assert sum(seconds[second] for second in range(5, 60)) >= 40, "it is noticed when it is well again"
