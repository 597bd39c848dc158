"""Whether a failed attempt is worth another one, when, and where.

All retries of the gateway are decided here, before the first byte has reached the client. There is never more of them
than a budget allows, so that a vendor in trouble is not buried under its own clients' patience.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from asgi_llmgw.errors import FailureClass, GatewayError, UpstreamError
from asgi_llmgw.exchange import Target
from asgi_llmgw.routing.health import Health, Lane, LaneState
from asgi_llmgw.routing.policy import Balancer

_OTHER_KEY: Final[frozenset[FailureClass]] = frozenset({"credential", "quota", "rate_limit"})
"""What is wrong is the key's: a sibling may do."""
_AT_ONCE: Final[frozenset[FailureClass]] = frozenset({"unreachable"})
"""A connection that broke before the answer says little about the vendor."""
_SAME_AGAIN: Final[frozenset[FailureClass]] = frozenset(
    {"overloaded", "transient", "timeout", "unreachable", "invalid_response", "rate_limit"}
)
"""What may be over the next time. The others are answered the same way however often one asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How patient the gateway is with its vendors.

    Args:
        attempts: tries for one request over its whole chain; every target has one in any case.
        backoff: seconds; before the n-th retry the gateway waits between 0 and `backoff * 2**n`.
        max_backoff: but never longer than this.
        max_retry_after: a vendor's `Retry-After` is waited for up to so many seconds; with a longer one the vendor is
            left alone.
        deadline: seconds after the request came in; no further attempt begins later, and none is waited for in vain.
        budget: retries as a share of requests, for each provider.
        budget_cap: retries that may be saved up in quiet times.
        min_concurrent: so many retries may be under way to a provider whatever its budget says.
    """

    attempts: int = 3
    backoff: float = 0.25
    max_backoff: float = 8.0
    max_retry_after: float = 20.0
    deadline: float = 600.0
    budget: float = 0.1
    budget_cap: float = 10.0
    min_concurrent: int = 3


class RetryBudget:
    """A provider's retries: each request earns a share of one (gRPC's retry throttling, Finagle's budgets)."""

    __slots__ = ("_concurrent", "_policy", "_tokens")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._tokens = policy.budget_cap
        self._concurrent = 0

    def earn(self) -> None:
        """A request went there for the first time."""
        if self._tokens < self._policy.budget_cap:
            self._tokens = min(self._policy.budget_cap, self._tokens + self._policy.budget)

    def spend(self, *, saved: bool = False) -> bool:
        """Whether a retry may go there; `done` has to follow if so.

        Args:
            saved: only from what was saved. Retries that do not wait are over in no time, so that the number of those
                under way is no bound for them.
        """
        if self._tokens >= 1.0:
            self._tokens -= 1.0
        elif saved or self._concurrent >= self._policy.min_concurrent:
            return False
        self._concurrent += 1
        return True

    def done(self) -> None:
        """The retry is over."""
        self._concurrent -= 1


class Attempt(msgspec.Struct, frozen=True):
    """What to do next: wait so many seconds, then ask this target with this key.

    `retry` is true where the budget was charged, `in_a_panic` where the lane's breaker is open.
    """

    target: Target
    lane: Lane
    wait: float = 0.0
    retry: bool = False
    in_a_panic: bool = False


class Retries:
    """The retry budgets of all providers, and the policy. One for each process.

    Args:
        rng: spreads the waiting.
    """

    def __init__(
        self, balancer: Balancer, policy: RetryPolicy | None = None, *, rng: random.Random | None = None
    ) -> None:
        self.balancer = balancer
        self.policy = policy if policy is not None else RetryPolicy()
        self._rng = rng if rng is not None else random.Random()
        self._budgets: dict[str, RetryBudget] = {}

    def budget(self, provider: str) -> RetryBudget:
        """A provider's budget."""
        found = self._budgets.get(provider)
        if found is None:
            found = self._budgets[provider] = RetryBudget(self.policy)
        return found

    def backoff(self, retry: int) -> float:
        """Seconds to wait before a retry, the first being 0: full jitter.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        return self._rng.uniform(0.0, min(self.policy.max_backoff, self.policy.backoff * 2**retry))


class Attempts:
    """One request's way through its targets.

    Args:
        targets: in the order in which they are tried.
        started: when the request came in, by the health's clock.
        session: what makes requests stick together.
    """

    def __init__(
        self,
        retries: Retries,
        targets: Iterable[Target],
        *,
        started: float,
        session: str | None = None,
    ) -> None:
        self._retries = retries
        self._started = started
        self._health: Health = retries.balancer.health
        self._lanes = lanes = retries.balancer.lanes(targets, session=session)
        self._ahead = iter(lanes.items())
        self._made: list[Attempt] = []
        self._given_up: list[Lane] = []
        self._told_when: dict[Lane, float] = {}
        self._last: tuple[Attempt, UpstreamError] | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, each once."""
        return tuple(self._lanes)

    def next(self) -> Attempt | None:
        """What to try now, None if nothing is left that is worth it."""
        attempt: Attempt | None = None
        if not self._made:
            attempt = self._next_target() or self._in_a_panic()
        elif self._in_time(0.0):
            attempt = self._sibling() or self._again_at_once() or self._next_target() or self._second_round()
        return self._counted(attempt)

    def beside(self, first: Attempt) -> Attempt | None:
        """A second attempt to make while the first is under way: another target, or another key."""
        attempt = self._next_target()
        if attempt is None:
            lane = self._fresh(self._lanes[first.target])
            attempt = None if lane is None else Attempt(first.target, lane)
        return self._counted(attempt)

    def failed(self, attempt: Attempt, error: GatewayError) -> None:
        """What came of the last attempt."""
        self._last = (attempt, error) if isinstance(error, UpstreamError) else None
        if not isinstance(error, UpstreamError) or error.failure not in _SAME_AGAIN:
            self._given_up.append(attempt.lane)
        elif error.retry_after is not None:
            self._told_when[attempt.lane] = self._health.clock() + error.retry_after

    def rest(self) -> float | None:
        """Seconds until the first lane of any target may be used again, None where there is none at all."""
        return min((self._health.rests_for(lane) for lanes in self._lanes.values() for lane in lanes), default=None)

    def states(self) -> set[LaneState]:
        """How the lanes are, all targets' together."""
        return {self._health.state(lane) for lanes in self._lanes.values() for lane in lanes}

    def _counted(self, attempt: Attempt | None) -> Attempt | None:
        if attempt is not None:
            made, provider = self._made, attempt.target.provider
            if not made or provider not in [earlier.target.provider for earlier in made]:
                self._retries.budget(provider).earn()
            made.append(attempt)
        return attempt

    def _fresh(self, lanes: list[Lane]) -> Lane | None:
        """The first of a target's lanes that may be used and has not been tried."""
        tried = [made.lane for made in self._made]
        for lane in lanes:
            if lane not in tried and self._health.usable(lane):
                return lane
        return None

    def _sibling(self) -> Attempt | None:
        """Another key of the same provider, where the last one was the trouble. A refused key costs no waiting."""
        if self._last is None or self._last[1].failure not in _OTHER_KEY:
            return None
        target = self._last[0].target
        lane = self._fresh(self._lanes[target])
        if lane is None:
            return None
        wait = self._retries.backoff(0) if self._last[1].failure == "rate_limit" else 0.0
        return Attempt(target, lane, wait=wait) if self._in_time(wait) else None

    def _again_at_once(self) -> Attempt | None:
        if self._last is None or self._last[1].failure not in _AT_ONCE or self._last[0].retry:
            return None
        return self._retry(self._last[0].target, wait=0.0, saved=True)

    def _next_target(self) -> Attempt | None:
        for target, lanes in self._ahead:
            lane = self._fresh(lanes)
            if lane is not None:
                return Attempt(target, lane)
        return None

    def _second_round(self) -> Attempt | None:
        """Everything was tried: the first target that may do better the next time, after a while."""
        backoff = self._retries.backoff(sum(made.retry for made in self._made))
        times = [made.target for made in self._made]
        for target in sorted(self._lanes, key=times.count):
            lanes = self._lanes[target]
            rests = [self._worth_waiting(lane) for lane in lanes if lane not in self._given_up]
            rest = min((rest for rest in rests if rest is not None), default=None)
            attempt = None if rest is None else self._retry(target, wait=rest + backoff)
            if attempt is not None:
                return attempt
        return None

    def _worth_waiting(self, lane: Lane) -> float | None:
        """Seconds this lane rests, None if it is not to be waited for: its breaker is open, or nobody said how long."""
        health, told = self._health, self._told_when.get(lane)
        if told is None:
            return 0.0 if health.usable(lane) else None
        rest = max(health.rests_for(lane), told - health.clock())
        may_be = health.usable(lane) or health.state(lane) == "cooling"
        return rest if may_be and rest <= self._retries.policy.max_retry_after else None

    def _retry(self, target: Target, *, wait: float, saved: bool = False) -> Attempt | None:
        if len(self._made) >= self._retries.policy.attempts or not self._in_time(wait):
            return None
        lanes = [lane for lane in self._lanes[target] if lane not in self._given_up]
        lane = min(lanes, key=self._health.rests_for, default=None)
        if lane is None or self._health.rests_for(lane) > wait:
            return None
        if not self._retries.budget(target.provider).spend(saved=saved):
            return None
        return Attempt(target, lane, wait=wait, retry=True)

    def _in_a_panic(self) -> Attempt | None:
        lane = self._health.least_bad(lane for lanes in self._lanes.values() for lane in lanes)
        if lane is None:
            return None
        target = next(target for target, lanes in self._lanes.items() if lane in lanes)
        return Attempt(target, lane, in_a_panic=True)

    def _in_time(self, wait: float) -> bool:
        return self._health.clock() + wait < self._started + self._retries.policy.deadline
