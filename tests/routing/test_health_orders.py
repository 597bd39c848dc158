"""Lanes under any order of events."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asgi_llmgw.errors import FailureClass, UpstreamError
from asgi_llmgw.exchange import Target
from asgi_llmgw.routing.health import BreakerPolicy, Health, Ticket
from asgi_llmgw.testing import FakeClock

FAILURES: list[FailureClass] = ["transient", "timeout", "unreachable", "overloaded", "rate_limit", "caller_fault"]


class AnyInterleaving(RuleBasedStateMachine):
    """F171: whatever order requests begin and end in."""

    @initialize()
    def start(self) -> None:
        self.clock = FakeClock(1000.0)
        self.health = Health(BreakerPolicy(failures=2), clock=self.clock, rng=random.Random(1))
        self.lane = self.health.lane(Target("openai", "gpt-4o"), 0)
        self.tickets: list[Ticket] = []

    @rule(panic=st.booleans())
    def begin(self, panic: bool) -> None:
        ticket = self.health.begin(self.lane, in_a_panic=panic)
        if ticket is not None:
            self.tickets.append(ticket)

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0), failure=st.sampled_from(FAILURES))
    def fail(self, which: int, failure: FailureClass) -> None:
        self.health.fail(self._take(which), UpstreamError("x", failure=failure, retry_after=0.5))

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0), waited=st.none() | st.floats(0, 60), end=st.sampled_from(["succeed", "abandon"]))
    def finish(self, which: int, waited: float | None, end: str) -> None:
        ticket = self._take(which)
        if waited is not None:
            self.health.answers(ticket, waited)
        ends: Callable[[Ticket], None] = getattr(self.health, end)
        ends(ticket)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def there_is_one_probe_at_most(self) -> None:
        now, patience = self.clock(), self.health.policy.slow_seconds
        silent = [ticket for ticket in self.tickets if ticket.probe and ticket.waited is None]
        assert len([ticket for ticket in silent if now - ticket.began < patience]) <= 1

    @invariant()
    def everybody_under_way_is_counted(self) -> None:
        assert self.lane.in_flight == len(self.tickets) >= 0

    @invariant()
    def what_rests_says_for_how_long(self) -> None:
        assert self.health.usable(self.lane) == (self.health.rests_for(self.lane) == 0)

    def _take(self, which: int) -> Ticket:
        return self.tickets.pop(which % len(self.tickets))


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
