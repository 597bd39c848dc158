"""The slots of a pool: nobody waits for long, and none is ever lost."""

from __future__ import annotations

import asyncio

import pytest

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.upstream import pools
from asgi_llmgw.upstream.pools import Pool

pytestmark = pytest.mark.anyio


class Slots(Pool):
    """A pool of nothing."""

    async def close(self) -> None:
        """Nothing is open."""

    def forget(self) -> None:
        """Nothing is known."""


async def turns() -> None:
    """Let everybody else go on."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_waits_longest_goes_on_first() -> None:
    pool, order = Slots(1), []
    await pool.take()

    async def call(name: str) -> None:
        await pool.take()
        order.append(name)

    waiting = [asyncio.create_task(call(name)) for name in "abc"]
    await turns()
    for _ in waiting:
        pool.give_back()
        await turns()
    assert order == ["a", "b", "c"]


async def test_one_that_was_cancelled_while_it_waited_takes_nothing() -> None:
    pool = Slots(1)
    await pool.take()
    gone, patient = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await turns()
    gone.cancel()
    await asyncio.wait({gone})
    pool.give_back()
    await asyncio.wait_for(patient, 1)
    pool.give_back()
    await asyncio.wait_for(pool.take(), 1)


async def test_a_slot_given_to_one_that_is_just_cancelled_goes_to_the_next() -> None:
    """It is neither lost nor given twice."""
    pool = Slots(1)
    await pool.take()
    gone, patient = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await turns()
    pool.give_back()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await asyncio.wait_for(patient, 1)
    late = asyncio.create_task(pool.take())
    await turns()
    assert not late.done()
    pool.give_back()
    await asyncio.wait_for(late, 1)


async def test_a_call_too_many_is_refused_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "POOL_WAIT", 0.01)
    pool = Slots(1)
    await pool.take()
    with pytest.raises(UpstreamError) as caught:
        await pool.take()
    assert (caught.value.failure, caught.value.retry_after) == ("overloaded", 1.0)
    pool.give_back()
    await pool.take()
