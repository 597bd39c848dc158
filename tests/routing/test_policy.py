"""Which target first, and which key."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import FailureClass, UpstreamError
from asgi_llmgw.exchange import Target
from asgi_llmgw.providers.base import KeyRotation
from asgi_llmgw.routing.health import BreakerPolicy, Health, Lane
from asgi_llmgw.routing.policy import Balancer, Credentials, Strategy
from asgi_llmgw.testing import FakeClock

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m")
STRATEGIES: tuple[Strategy, ...] = ("fallback", "weighted", "least_latency", "least_busy")
DRAWS = 4000


class Field:
    """A balancer on a clock of its own."""

    def __init__(self, *, keys: dict[str, int] | None = None, rotation: KeyRotation = "round_robin") -> None:
        self.clock = FakeClock(0.0)
        self.health = Health(BreakerPolicy(jitter=0), clock=self.clock, rng=random.Random(1))
        credentials = {name: Credentials(count, rotation) for name, count in (keys or {}).items()}
        self.balancer = Balancer(self.health, credentials=credentials, rng=random.Random(7))

    def first(self, targets: Sequence[Target], strategy: Strategy, session: str | None = None) -> Target:
        return self.balancer.order(targets, strategy, session=session)[0]

    def keys(self, target: Target, session: str | None = None) -> list[int]:
        return [lane.key.credential for lane in self.balancer.lanes([target], session=session)[target]]

    def answered(self, target: Target, waited: float) -> None:
        ticket = self.health.begin(self.health.lane(target, 0))
        assert ticket is not None
        self.health.answers(ticket, waited)
        self.health.succeed(ticket)

    def failed(
        self, target: Target, failure: FailureClass, *, times: int = 1, retry_after: float | None = None
    ) -> None:
        for _ in range(times):
            ticket = self.health.begin(self.health.lane(target, 0))
            assert ticket is not None
            self.health.fail(ticket, UpstreamError("x", failure=failure, retry_after=retry_after))

    def busy(self, target: Target, times: int, credential: int = 0) -> Lane:
        lane = self.health.lane(target, credential)
        for _ in range(times):
            self.health.begin(lane)
        return lane


NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


@given(
    names=NAMES,
    strategy=st.sampled_from(STRATEGIES),
    session=st.none() | st.text(max_size=9),
    resting=st.sets(st.sampled_from("abcdef")),
    weights=st.lists(st.integers(1, 1000), min_size=6, max_size=6),
)
def test_the_order_holds_every_target_once_and_the_resting_ones_last(
    names: list[str], strategy: Strategy, session: str | None, resting: set[str], weights: list[int]
) -> None:
    field = Field()
    targets = [Target(name, "m", weight) for name, weight in zip(names, weights, strict=False)]
    for target in targets:
        if target.provider in resting:
            field.failed(target, "transient", times=5)
    ordered = field.balancer.order(targets, strategy, session=session)
    assert sorted(ordered, key=str) == sorted(targets, key=str)
    if strategy != "fallback":
        rests = [target.provider in resting for target in ordered]
        assert rests == sorted(rests)
    else:
        assert list(ordered) == targets


def test_weights_are_honoured() -> None:
    field = Field()
    targets = [Target("a", "m", 5), Target("b", "m", 3), Target("c", "m", 2)]
    drawn = Counter(field.first(targets, "weighted").provider for _ in range(DRAWS))
    for name, share in (("a", 0.5), ("b", 0.3), ("c", 0.2)):
        assert drawn[name] / DRAWS == pytest.approx(share, abs=0.03)


def test_weights_are_honoured_among_the_rest_as_well() -> None:
    """Behind a first target the second one is drawn by weight again."""
    field = Field()
    targets = [Target("a", "m", 100), Target("b", "m", 9), Target("c", "m", 1)]
    orders = [field.balancer.order(targets, "weighted") for _ in range(DRAWS)]
    seconds = Counter(order[1].provider for order in orders if order[0].provider == "a")
    assert seconds["b"] / seconds.total() == pytest.approx(0.9, abs=0.03)


def test_a_new_model_can_be_tried_on_five_percent() -> None:
    field = Field()
    targets = [Target("old", "m", 19), Target("new", "m", 1)]
    drawn = Counter(field.first(targets, "weighted").provider for _ in range(DRAWS))
    assert drawn["new"] / DRAWS == pytest.approx(0.05, abs=0.015)


def test_sessions_are_spread_by_weight_too() -> None:
    field = Field()
    targets = [Target("a", "m", 3), Target("b", "m", 1)]
    drawn = Counter(field.first(targets, "weighted", f"session-{number}").provider for number in range(DRAWS))
    assert drawn["a"] / DRAWS == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("strategy", ["weighted", "least_latency", "least_busy"])
def test_a_session_stays_where_it_is(strategy: Strategy) -> None:
    """C14: whatever the load is, and in whatever order the targets are given."""
    field = Field()
    first = field.first([A, B, C], strategy, "session-1")
    field.busy(first, 50)
    assert {field.first(order, strategy, "session-1") for order in ([A, B, C], [C, B, A], [B, A, C])} == {first}


@given(sessions=st.sets(st.text(min_size=1, max_size=20), min_size=1, max_size=30))
def test_when_a_target_goes_away_only_its_sessions_move(sessions: set[str]) -> None:
    """C14: rendezvous hashing."""
    field = Field()
    for session in sessions:
        before = field.first([A, B, C], "weighted", session)
        without = [target for target in (A, B, C) if target != C]
        after = field.first(without, "weighted", session)
        assert after == before or before == C


def test_a_session_moves_only_while_its_target_rests_and_comes_back() -> None:
    """C14."""
    field = Field()
    home = field.first([A, B, C], "weighted", "session-1")
    field.failed(home, "rate_limit", retry_after=5)
    away = field.first([A, B, C], "weighted", "session-1")
    assert away != home
    field.clock.advance(5.1)
    assert field.first([A, B, C], "weighted", "session-1") == home


def test_a_session_takes_the_same_key_of_several() -> None:
    """C14: vendors keep prompts warm per account."""
    field = Field(keys={"a": 5})
    assert len({tuple(field.keys(A, "session-7")) for _ in range(20)}) == 1
    firsts = Counter(field.keys(A, f"session-{number}")[0] for number in range(1000))
    assert sorted(firsts) == [0, 1, 2, 3, 4] and min(firsts.values()) > 140


def test_a_session_has_one_key_for_all_models_of_a_provider() -> None:
    field = Field(keys={"a": 5})
    for number in range(20):
        assert field.keys(A, f"s{number}") == field.keys(Target("a", "other"), f"s{number}")


def test_keys_take_turns() -> None:
    field = Field(keys={"a": 3})
    assert [field.keys(A) for _ in range(4)] == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_the_turn_of_a_resting_key_is_shared_by_all_the_others() -> None:
    """F173: its neighbour alone would get twice as much."""
    field = Field(keys={"a": 4})
    field.failed(A, "credential")
    firsts = Counter(field.keys(A)[0] for _ in range(30))
    assert firsts == {1: 10, 2: 10, 3: 10}
    assert field.keys(A)[-1] == 0


def test_keys_take_turns_though_a_request_has_several_targets_at_one_provider() -> None:
    field = Field(keys={"a": 2, "b": 2})
    other = Target("a", "mini")
    firsts = [[lanes[0].key.credential for lanes in field.balancer.lanes([A, B, other]).values()] for _ in range(4)]
    assert firsts == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1]]


def test_the_least_busy_key_comes_first() -> None:
    field = Field(keys={"a": 3}, rotation="least_busy")
    field.busy(A, 2, credential=0)
    field.busy(A, 1, credential=1)
    assert field.keys(A) == [2, 1, 0]


def test_a_target_may_ask_for_one_key() -> None:
    """What lies in one account cannot be had with the key of another."""
    field = Field(keys={"a": 3})
    pinned = Target("a", "m", credential=2)
    assert [field.keys(pinned) for _ in range(3)] == [[2], [2], [2]]
    gone = Target("a", "m", credential=7)
    assert sorted(field.keys(gone)) == [0, 1, 2], "the configuration has changed since"


def test_the_least_busy_target_comes_first() -> None:
    field = Field(keys={"b": 2})
    field.busy(A, 3)
    field.busy(B, 1, credential=0)
    field.busy(B, 1, credential=1)
    assert field.balancer.order([A, B, C], "least_busy") == (C, B, A)


def test_a_heavier_target_may_be_busier() -> None:
    field = Field()
    heavy = Target("a", "m", 4)
    field.busy(heavy, 2)
    assert field.balancer.order([B, heavy], "least_busy")[0] == heavy


def test_equally_busy_targets_share() -> None:
    field = Field()
    drawn = Counter(field.first([A, B], "least_busy").provider for _ in range(1000))
    assert min(drawn.values()) > 400


def test_of_two_the_faster_one_comes_first() -> None:
    field = Field()
    field.answered(A, 2.0)
    field.answered(B, 0.2)
    assert {field.first([A, B], "least_latency") for _ in range(50)} == {B}


def test_a_fast_target_with_a_queue_gives_way_to_a_slower_one() -> None:
    field = Field()
    field.answered(A, 0.5)
    field.answered(B, 0.2)
    field.busy(B, 3)
    assert {field.first([A, B], "least_latency") for _ in range(50)} == {A}


def test_nobody_herds_on_the_one_that_looks_best_to_all() -> None:
    """Power of two choices: the worst of three is never first, the best not always."""
    field = Field()
    for target, waited in ((A, 0.1), (B, 0.2), (C, 5.0)):
        field.answered(target, waited)
    drawn = Counter(field.first([A, B, C], "least_latency").provider for _ in range(3000))
    assert drawn["c"] == 0
    assert drawn["a"] / 3000 == pytest.approx(2 / 3, abs=0.04)


def test_load_does_not_move_to_a_target_that_refuses_fast() -> None:
    """F174: a 429 within a millisecond against an answer after three seconds, for two minutes."""
    field = Field()
    asked: Counter[str] = Counter()
    field.answered(B, 3.0)
    for _ in range(1200):
        target = field.first([A, B], "least_latency")
        asked[target.provider] += 1
        if target is A:
            field.failed(A, "rate_limit")
        else:
            field.answered(B, 3.0)
        field.clock.advance(0.1)
    assert asked["a"] <= 13, "once in its ten seconds of rest at most"
    assert asked["b"] >= 1180


def test_load_does_not_move_to_a_target_that_hangs() -> None:
    """F174: what never answers is never measured, and must not look free for that."""
    field = Field()
    asked: Counter[str] = Counter()
    for _ in range(300):
        target = field.first([A, B], "least_latency")
        asked[target.provider] += 1
        if target is A:
            field.busy(A, 1)
        else:
            field.answered(B, 1.0)
        field.clock.advance(0.1)
    assert asked["a"] <= 3


def test_a_target_that_has_recovered_gets_its_share_again() -> None:
    """Nobody has to restart anything."""
    field = Field()
    field.failed(A, "transient", times=5)
    field.answered(B, 0.5)
    assert field.first([A, B], "least_latency") == B
    field.clock.advance(30)
    for _ in range(20):
        field.answered(field.first([A, B], "least_latency"), 0.5)
    drawn: Counter[str] = Counter()
    for _ in range(200):
        target = field.first([A, B], "least_latency")
        drawn[target.provider] += 1
        field.answered(target, 0.5)
        field.clock.advance(0.5)
    assert min(drawn.values()) > 40
