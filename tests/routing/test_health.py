"""Breakers, cooldowns and benches of single lanes."""

from __future__ import annotations

import random

import pytest

from asgi_llmgw.errors import FailureClass, UpstreamError
from asgi_llmgw.exchange import Target
from asgi_llmgw.routing import health as module
from asgi_llmgw.routing.health import (
    COOLDOWN,
    CREDENTIAL_BENCH,
    PENALTY,
    BreakerPolicy,
    Health,
    Lane,
    LaneKey,
    Ticket,
)
from asgi_llmgw.testing import FakeClock

TARGET = Target("openai", "gpt-4o")
STEADY = BreakerPolicy(jitter=0.0)


class Ward:
    """Health on a clock of its own, and one lane."""

    def __init__(self, policy: BreakerPolicy = STEADY) -> None:
        self.clock = FakeClock(1000.0)
        self.health = Health(policy, clock=self.clock, rng=random.Random(1))
        self.lane = self.health.lane(TARGET, 0)

    @property
    def state(self) -> str:
        return self.health.state(self.lane)

    def begin(self, lane: Lane | None = None) -> Ticket:
        ticket = self.health.begin(self.lane if lane is None else lane)
        assert ticket is not None
        return ticket

    def fail(self, failure: FailureClass = "transient", *, times: int = 1, retry_after: float | None = None) -> None:
        for _ in range(times):
            self.health.fail(self.begin(), error(failure, retry_after))

    def succeed(self, *, times: int = 1, waited: float | None = 0.5) -> None:
        for _ in range(times):
            ticket = self.begin()
            if waited is not None:
                self.health.answers(ticket, waited)
            self.health.succeed(ticket)


def error(failure: FailureClass = "transient", retry_after: float | None = None) -> UpstreamError:
    return UpstreamError("It failed.", failure=failure, retry_after=retry_after)


def opened(policy: BreakerPolicy = STEADY) -> Ward:
    ward = Ward(policy)
    ward.fail(times=policy.failures)
    assert ward.state == "open"
    return ward


def test_five_failures_in_a_row_open_a_breaker() -> None:
    """F171, D7: felt here at once, without asking anybody."""
    ward = Ward()
    ward.fail(times=4)
    assert ward.state == "closed"
    ward.fail()
    assert ward.state == "open" and not ward.health.usable(ward.lane)


def test_a_success_between_them_starts_the_count_anew() -> None:
    ward = Ward()
    ward.fail(times=4)
    ward.succeed()
    ward.fail(times=4)
    assert ward.state == "closed"


@pytest.mark.parametrize("failure", ["caller_fault", "filtered"])
def test_a_refusal_of_the_request_itself_does_not_count(failure: FailureClass) -> None:
    """F138: the vendor is well."""
    ward = Ward()
    ward.fail(times=4)
    ward.fail(failure)
    ward.fail(times=4)
    assert ward.state == "closed"


def test_a_flapping_lane_opens_at_half_of_twenty() -> None:
    """F172: never two failures in a row."""
    ward = Ward()
    for _ in range(9):
        ward.fail()
        ward.succeed()
    assert ward.state == "closed"
    ward.fail()
    assert ward.state == "closed"
    ward.succeed()
    ward.fail()
    assert ward.state == "open"


def test_what_was_before_the_window_is_forgotten() -> None:
    ward = Ward()
    for _ in range(9):
        ward.fail()
        ward.succeed()
    ward.clock.advance(STEADY.window + 3)
    ward.fail()
    ward.succeed()
    ward.fail()
    assert ward.state == "closed"


def test_one_percent_of_failures_opens_nothing() -> None:
    ward = Ward()
    for _ in range(20):
        ward.succeed(times=99)
        ward.fail()
        ward.clock.advance(1)
    assert ward.state == "closed"


def test_slow_successes_are_failures() -> None:
    """F172: a first token after 30 s is no answer to wait for."""
    ward = Ward()
    ward.succeed(times=4, waited=30.1)
    assert ward.state == "closed"
    ward.succeed(waited=30.1)
    assert ward.state == "open"


def test_a_whole_answer_may_take_its_time() -> None:
    """F172, D16: how long a whole answer takes is a matter of its length."""
    ward = Ward()
    for _ in range(10):
        ticket = ward.begin()
        ward.clock.advance(120)
        ward.health.succeed(ticket)
    assert ward.state == "closed" and ward.lane.latency is None


def test_an_open_breaker_lets_one_request_try_after_five_seconds() -> None:
    ward = opened()
    assert ward.health.rests_for(ward.lane) == pytest.approx(5.0)
    ward.clock.advance(4.9)
    assert ward.state == "open" and ward.health.begin(ward.lane) is None
    ward.clock.advance(0.2)
    assert ward.state == "half_open"
    assert ward.begin().probe
    assert ward.state == "open"


def test_half_open_admits_exactly_one_of_a_thousand() -> None:
    """F171: exact count."""
    ward = opened()
    ward.clock.advance(5.1)
    admitted = [ticket for ticket in (ward.health.begin(ward.lane) for _ in range(1000)) if ticket is not None]
    assert len(admitted) == 1
    assert ward.lane.in_flight == 1
    ward.health.succeed(admitted[0])
    assert ward.state == "closed" and ward.lane.in_flight == 0


def test_each_failed_probe_doubles_the_rest_up_to_a_minute() -> None:
    ward = opened()
    rests = []
    for _ in range(6):
        rests.append(ward.health.rests_for(ward.lane))
        ward.clock.advance(rests[-1])
        ward.fail()
    assert rests == pytest.approx([5, 10, 20, 40, 60, 60])


def test_after_a_success_the_rest_is_short_again() -> None:
    ward = opened()
    ward.clock.advance(5)
    ward.fail()
    ward.clock.advance(10)
    ward.succeed()
    assert ward.state == "closed"
    ward.fail(times=5)
    assert ward.health.rests_for(ward.lane) == pytest.approx(5)


def test_processes_do_not_come_back_at_once() -> None:
    """F167: ± 20 %."""
    rests = []
    for seed in range(200):
        clock = FakeClock(0.0)
        health = Health(clock=clock, rng=random.Random(seed))
        lane = health.lane(TARGET, 0)
        for _ in range(5):
            ticket = health.begin(lane)
            assert ticket is not None
            health.fail(ticket, error())
        rests.append(health.rests_for(lane))
    assert 4.0 <= min(rests) < 4.2 and 5.8 < max(rests) <= 6.0


def test_the_first_token_of_a_probe_closes_the_breaker() -> None:
    """F170: nobody waits for the end of an agent's long stream."""
    ward = opened()
    ward.clock.advance(5)
    ticket = ward.begin()
    ward.health.answers(ticket, 0.3)
    assert ward.state == "closed"
    ward.clock.advance(300)
    ward.health.succeed(ticket)
    assert ward.state == "closed" and ward.lane.in_flight == 0


def test_a_probe_that_breaks_after_its_first_token_opens_it_again() -> None:
    ward = opened()
    ward.clock.advance(5)
    ticket = ward.begin()
    ward.health.answers(ticket, 0.3)
    ward.health.fail(ticket, error())
    assert ward.state == "open"
    assert ward.health.rests_for(ward.lane) == pytest.approx(10)


def test_streams_that_always_break_open_it() -> None:
    """F172: a first token is not yet an answer."""
    ward = Ward()
    for _ in range(5):
        ticket = ward.begin()
        ward.health.answers(ticket, 0.3)
        ward.health.fail(ticket, error())
    assert ward.state == "open"


def test_a_probe_without_a_word_does_not_keep_others_out_for_ever() -> None:
    ward = opened()
    ward.clock.advance(5)
    silent = ward.begin()
    ward.clock.advance(29)
    assert ward.health.begin(ward.lane) is None
    ward.clock.advance(2)
    second = ward.begin()
    ward.health.abandon(silent)
    assert ward.health.begin(ward.lane) is None, "the end of the first probe is not the end of the second"
    ward.health.succeed(second)
    assert ward.state == "closed"


def test_an_abandoned_probe_leaves_room_for_the_next() -> None:
    ward = opened()
    ward.clock.advance(5)
    ward.health.abandon(ward.begin())
    assert ward.state == "half_open"


def test_what_was_under_way_when_it_opened_says_nothing_new() -> None:
    ward = Ward()
    early = [ward.begin() for _ in range(3)]
    ward.fail(times=5)
    until = ward.health.rests_for(ward.lane)
    ward.health.fail(early[0], error())
    assert ward.health.rests_for(ward.lane) == until
    ward.health.succeed(early[1])
    ward.health.abandon(early[2])
    assert ward.state == "open" and ward.lane.in_flight == 0


def test_where_nothing_else_is_left_one_request_a_second_tries_an_open_breaker() -> None:
    """F170: the panic rule."""
    ward = opened()
    health, lane = ward.health, ward.lane
    assert health.least_bad([lane]) is lane
    ticket = health.begin(lane, in_a_panic=True)
    assert ticket is not None
    assert health.least_bad([lane]) is None and health.begin(lane, in_a_panic=True) is None
    health.fail(ticket, error())
    assert health.least_bad([lane]) is None
    ward.clock.advance(1.0)
    assert health.least_bad([lane]) is lane


def test_what_a_health_check_said_is_tested_too() -> None:
    """F170: a vendor whose list of models is broken may answer all the same."""
    ward = Ward()
    health, lane = ward.health, ward.lane
    health.checked("openai", 0, error("timeout"), rest=75.0)
    assert ward.state == "down" and health.begin(lane) is None and health.least_bad([lane]) is lane
    ticket = health.begin(lane, in_a_panic=True)
    assert ticket is not None and health.begin(lane, in_a_panic=True) is None
    health.fail(ticket, error())
    assert ward.state == "down"
    ward.clock.advance(1)
    ticket = health.begin(lane, in_a_panic=True)
    assert ticket is not None
    health.succeed(ticket)
    assert ward.state == "closed"


def test_of_several_open_breakers_the_one_that_ends_first_is_tried() -> None:
    ward = opened()
    other = ward.health.lane(Target("claude", "sonnet"), 0)
    ward.clock.advance(1)
    for _ in range(5):
        ward.health.fail(ward.begin(other), error())
    assert ward.health.least_bad([other, ward.lane]) is ward.lane


def test_a_429_cools_the_lane_for_as_long_as_it_says() -> None:
    """F136."""
    ward = Ward()
    ward.fail("rate_limit", retry_after=2)
    assert ward.state == "cooling" and ward.health.rests_for(ward.lane) == 2
    ward.clock.advance(2)
    assert ward.state == "closed"


def test_a_429_that_does_not_say_cools_it_for_ten_seconds() -> None:
    ward = Ward()
    ward.fail("rate_limit")
    assert ward.health.rests_for(ward.lane) == COOLDOWN


def test_of_two_429s_the_longer_counts() -> None:
    """D6: the second one extends the cooldown, and a shorter one does not shorten it."""
    ward = Ward()
    first, second, third = ward.begin(), ward.begin(), ward.begin()
    ward.health.fail(first, error("rate_limit", 5))
    ward.health.fail(second, error("rate_limit", 30))
    assert ward.health.rests_for(ward.lane) == 30
    ward.health.fail(third, error("rate_limit", 1))
    assert ward.health.rests_for(ward.lane) == 30


def test_a_429_is_no_failure_to_the_breaker() -> None:
    ward = Ward()
    for _ in range(30):
        ward.fail("rate_limit", retry_after=0)
    assert ward.state == "closed" and ward.lane.failures_in_a_row == 0


def test_a_503_with_retry_after_cools_and_counts() -> None:
    """D8."""
    ward = Ward()
    ward.fail("overloaded", retry_after=3)
    assert ward.state == "cooling" and ward.lane.failures_in_a_row == 1


@pytest.mark.parametrize("failure", ["credential", "quota"])
def test_a_refused_key_rests_with_all_its_models(failure: FailureClass) -> None:
    """F173: for five minutes; its siblings and the breakers know nothing of it."""
    ward = Ward()
    same_key = ward.health.lane(Target("openai", "o3"), 0)
    sibling = ward.health.lane(TARGET, 1)
    ward.fail(failure)
    assert [ward.health.state(lane) for lane in (ward.lane, same_key, sibling)] == ["benched", "benched", "closed"]
    assert ward.lane.failures_in_a_row == 0
    ward.clock.advance(CREDENTIAL_BENCH - 1)
    assert not ward.health.usable(ward.lane)
    ward.clock.advance(2)
    assert ward.health.usable(ward.lane)


def test_a_model_that_is_missing_rests_alone() -> None:
    """D12: it is not asked for again with every message."""
    ward = Ward()
    ward.fail("model_access")
    assert ward.state == "missing" and ward.health.rests_for(ward.lane) == CREDENTIAL_BENCH
    assert ward.health.state(ward.health.lane(Target("openai", "o3"), 0)) == "closed"


def test_a_worse_latency_counts_at_once_and_fades() -> None:
    ward = Ward()
    ward.succeed(waited=0.5)
    ward.succeed(waited=4.0)
    assert ward.lane.latency == 4.0
    ward.clock.advance(module.DECAY)
    ward.succeed(waited=0.5)
    assert ward.lane.latency == pytest.approx(0.5 + 3.5 * 0.3679, rel=1e-3)
    ward.clock.advance(60)
    ward.succeed(waited=0.5)
    assert ward.lane.latency == pytest.approx(0.5, rel=0.02)


def test_the_cost_grows_with_what_is_under_way() -> None:
    ward = Ward()
    ward.succeed(waited=0.5)
    assert ward.lane.cost(ward.clock()) == 0.5
    tickets = [ward.begin() for _ in range(3)]
    assert ward.lane.cost(ward.clock()) == 2.0
    for ticket in tickets:
        ward.health.abandon(ticket)
    assert ward.lane.cost(ward.clock() + 100) < 0.01


def test_a_lane_that_hangs_does_not_look_better_with_time() -> None:
    """F174: what was measured fades only while nobody waits there."""
    ward = Ward()
    ward.succeed(waited=0.5)
    ward.begin()
    assert ward.lane.cost(ward.clock() + 100) == 1.0


def test_a_lane_that_has_never_answered_is_free_for_one() -> None:
    ward = Ward()
    assert ward.lane.cost(ward.clock()) == 0.0
    ward.begin()
    assert ward.lane.cost(ward.clock()) == PENALTY


@pytest.mark.parametrize("failure", ["rate_limit", "transient", "timeout", "unreachable", "invalid_response"])
def test_a_failure_counts_as_five_seconds(failure: FailureClass) -> None:
    """F174: a fast refusal must not look like a fast answer."""
    ward = Ward()
    ward.succeed(waited=0.2)
    ward.fail(failure, retry_after=0)
    assert ward.lane.latency == PENALTY


def test_tells_people_how_the_lanes_are() -> None:
    ward = opened()
    ward.begin(ward.health.lane(Target("claude", "sonnet"), 1))
    first, second = ward.health.views()
    assert first.key == LaneKey("openai", 0, "gpt-4o")
    assert (first.state, first.in_flight, first.latency, first.retry_after) == ("open", 0, PENALTY, 5.0)
    assert second.key == LaneKey("claude", 1, "sonnet")
    assert (second.state, second.in_flight, second.latency, second.retry_after) == ("closed", 1, None, None)


def test_the_number_of_lanes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """F178: clients name the models of a glob; what is in use, or was used last, stays."""
    monkeypatch.setattr(module, "MAX_LANES", 10)
    ward = Ward()
    busy = ward.health.lane(Target("openai", "busy"), 0)
    ward.begin(busy)
    for number in range(100):
        ward.health.lane(Target("openai", f"made-up-{number}"), 0)
        assert ward.health.lane(TARGET, 0) is ward.lane
    assert len(list(ward.health.views())) == 10
    assert ward.health.lane(Target("openai", "busy"), 0) is busy


@pytest.mark.parametrize("failure", ["transient", "rate_limit", "credential", "quota", "model_access"])
def test_nothing_rests_where_that_is_turned_off(failure: FailureClass) -> None:
    ward = Ward(BreakerPolicy(enabled=False))
    ward.fail(failure, times=10, retry_after=7.0)
    ward.succeed(waited=100.0)
    assert ward.state == "closed"


def test_a_key_that_may_not_do_one_thing_may_do_others() -> None:
    """F173: a 403 rests the model that it was about; otherwise one client's wish would cost all others the vendor."""
    ward = Ward()
    other = ward.health.lane(Target("openai", "gpt-4o-mini"), 0)
    ward.health.fail(ward.begin(), UpstreamError("No.", failure="credential", upstream_status=403))
    assert (ward.state, ward.health.state(other)) == ("benched", "closed")
    assert ward.health.rests_for(ward.lane) == CREDENTIAL_BENCH
    ward.health.fail(ward.begin(other), UpstreamError("No.", failure="credential", upstream_status=401))
    assert ward.health.state(other) == "benched"
    ward.clock.advance(CREDENTIAL_BENCH)
    assert (ward.state, ward.health.state(other)) == ("closed", "closed")
