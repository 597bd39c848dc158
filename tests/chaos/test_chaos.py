"""A short storm of every run of the tests; the long one is `python -m tests.chaos.run`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.storm import Storm
from tests.chaos.vendor import FAULTS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("seed", "strategy"), [(11, "least_latency"), (12, "weighted"), (13, "least_busy")])
async def test_the_gateway_stays_up_in_a_storm(seed: int, strategy: str, report: Callable[[str, int], None]) -> None:
    """F064, F167, F168, F170, D1: three of ten vendors are sick at any time, each in a way of its own."""
    seen = await Storm(seed=seed, requests=1000, period=200, strategy=strategy).run()
    report("requests served in storms, of those that could be", seen.served)
    report("requests in storms that could be served", seen.could_be_served)
    assert seen.requests == 1000
    assert (seen.silent, seen.wrong, seen.leaks) == ([], [], [])
    assert seen.served_share >= 0.999
    assert seen.attempts_per_request <= 1.2
    assert set(seen.faults) == set(FAULTS)
