"""A large form passes through a real process without staying there."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")


def test_a_large_form_leaves_no_trace_in_memory() -> None:
    """What `python -m benchmarks.upload` prints for 200 MB, with less of it."""
    from benchmarks.upload import BOUND, measure

    before, most, _ = measure(64, clients=1)
    assert before > 0 and most - before < BOUND
