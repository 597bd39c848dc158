"""The garbage collector works while nobody waits."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from asgi_llmgw.collector import YOUNG, Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    thresholds = gc.get_threshold()
    made = Collector()
    made.start()
    yield made
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class Circle:
    def __init__(self) -> None:
        self.around = self


def circles() -> int:
    return sum(type(found) is Circle for found in gc.get_objects())


def age() -> None:
    """What is there becomes old, and there is reason to look at what is."""
    for _ in range(10):
        gc.collect(0)


def leave_old_circle() -> None:
    circle = Circle()
    gc.collect(0)
    del circle
    age()


def test_what_a_server_is_made_of_is_left_alone(collector: Collector) -> None:
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[0] == YOUNG


def test_circles_that_have_grown_old_are_found_when_nobody_waits(collector: Collector) -> None:
    collector.begin()
    leave_old_circle()
    assert circles() == 1
    collector.end()
    assert circles() == 0


def test_nobody_who_waits_is_made_to_wait_longer(collector: Collector) -> None:
    collector.begin()
    collector.begin()
    leave_old_circle()
    collector.end()
    assert circles() == 1
    collector.end()
    assert circles() == 0


def test_a_quiet_moment_is_not_used_without_need(collector: Collector) -> None:
    gc.collect()
    looks = gc.get_stats()[1]["collections"]
    for _ in range(100):
        collector.begin()
        collector.end()
    assert gc.get_stats()[1]["collections"] == looks
