"""Interrupts: what runs inside ends, what stands behind goes on, and nobody else's cancellation is swallowed."""

from __future__ import annotations

import asyncio

import pytest

from asgi_llmgw.interrupt import Deadline, Interrupt

pytestmark = pytest.mark.anyio


async def test_what_waits_inside_is_ended_and_the_code_behind_goes_on() -> None:
    loop, seen = asyncio.get_running_loop(), []
    with Interrupt() as interrupt:
        loop.call_soon(interrupt.fire)
        try:
            await loop.create_future()
        finally:
            seen.append("cleaned up")
    seen.append("behind")
    assert interrupt.fired and seen == ["cleaned up", "behind"]
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    await asyncio.sleep(0)


async def test_what_is_over_cannot_be_interrupted() -> None:
    with Interrupt() as interrupt:
        await asyncio.sleep(0)
    interrupt.fire()
    interrupt.fire()
    assert not interrupt.fired
    await asyncio.sleep(0)


async def test_firing_twice_is_firing_once() -> None:
    loop = asyncio.get_running_loop()
    with Interrupt() as interrupt:
        loop.call_soon(interrupt.fire)
        loop.call_soon(interrupt.fire)
        await loop.create_future()
    await asyncio.sleep(0)
    assert interrupt.fired


async def test_the_inner_of_two_ends_alone() -> None:
    loop = asyncio.get_running_loop()
    with Interrupt() as outer:
        with Interrupt() as inner:
            loop.call_soon(inner.fire)
            await loop.create_future()
        await asyncio.sleep(0)
    assert inner.fired and not outer.fired


async def test_an_error_inside_stays_an_error() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(ValueError, match="mine"), Interrupt() as interrupt:
        loop.call_soon(interrupt.fire)
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            raise ValueError("mine") from None


@pytest.mark.parametrize("fires", [False, True])
async def test_cancellation_by_somebody_else_passes_through(fires: bool) -> None:
    """Also where both happen in the same turn of the loop."""
    loop, inside = asyncio.get_running_loop(), asyncio.Event()
    interrupt = Interrupt()

    async def work() -> None:
        with interrupt:
            inside.set()
            await loop.create_future()
        raise AssertionError("this must not be reached")

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    if fires:
        interrupt.fire()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_only_a_task_can_be_interrupted() -> None:
    loop = asyncio.new_event_loop()
    outcomes: list[str] = []

    def enter() -> None:
        try:
            Interrupt().__enter__()
        except RuntimeError as error:
            outcomes.append(str(error))
        loop.stop()

    loop.call_soon(enter)
    loop.run_forever()
    loop.close()
    assert outcomes == ["only a task can be interrupted"]


async def test_a_deadline_comes_by_itself() -> None:
    with Deadline() as deadline:
        deadline.after(0)
        await asyncio.get_running_loop().create_future()
    assert deadline.fired


async def test_a_deadline_may_be_moved_and_taken_back() -> None:
    with Deadline() as deadline:
        deadline.after(0)
        deadline.after(60)
        deadline.after(0)
        deadline.after(None)
        for _ in range(5):
            await asyncio.sleep(0)
    assert not deadline.fired


async def test_a_deadline_is_over_with_what_it_is_for() -> None:
    with Deadline() as deadline:
        deadline.after(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not deadline.fired
