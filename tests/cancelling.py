"""Cancel at every await: a scenario is run again and again, each time cancelled one suspension later than before."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Literal, TypeAlias

Scenario: TypeAlias = Callable[[], Awaitable[None]]
How: TypeAlias = Literal["once", "twice", "inner"]


class Steps:
    """Counts the suspensions of every task of a scenario, and cancels at some of them.

    Args:
        at: the number of the suspension at which a cancellation comes; 0 for none.
        how: `once` cancels the request, as servers do; `twice` does so again at the next suspension; `inner` cancels
            whichever task it was that suspended.
    """

    def __init__(self, at: int, how: How) -> None:
        self.count = 0
        self.main: asyncio.Task[None] | None = None
        self._at = at
        self._how = how

    def suspended(self) -> None:
        """A task is about to wait."""
        if self.main is None or self.main.done():
            return
        self.count += 1
        due = (self._at, self._at + 1) if self._how == "twice" else (self._at,)
        if self._at and self.count in due:
            task = asyncio.current_task() if self._how == "inner" else self.main
            if task is not None:
                task.cancel()

    @types.coroutine
    def stepping(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """The same work, with every suspension noted."""
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                waited = work.send(value) if error is None else work.throw(error)
            except StopIteration as ended:
                return ended.value
            self.suspended()
            value, error = None, None
            try:
                value = yield waited
            except BaseException as raised:
                error = raised


async def run(scenario: Scenario, *, at: int, how: How) -> int:
    """Run the scenario with a cancellation at this suspension; the number of suspensions there were.

    Raises:
        Exception: whatever the scenario raises that is no cancellation.
    """
    loop = asyncio.get_running_loop()
    steps = Steps(at, how)

    def made(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(stepped(work), loop=loop, **options)

    async def stepped(work: Any) -> Any:
        return await steps.stepping(work)

    async def main() -> None:
        await scenario()

    before = loop.get_task_factory()
    loop.set_task_factory(made)
    try:
        steps.main = loop.create_task(main())
        await asyncio.wait({steps.main})
        if not steps.main.cancelled():
            steps.main.result()
    finally:
        loop.set_task_factory(before)
    return steps.count


async def settled(before: set[asyncio.Task[Any]], *, turns: int = 50) -> set[asyncio.Task[Any]]:
    """The tasks that are still there after some turns of the loop, beside those that were there before."""
    for _ in range(turns):
        left = asyncio.all_tasks() - before
        if not left:
            break
        await asyncio.sleep(0)
    return asyncio.all_tasks() - before
