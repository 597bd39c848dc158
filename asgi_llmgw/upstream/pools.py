"""What every pool of connections has in common, whichever HTTP client fills it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from asgi_llmgw.errors import ConfigError

from .common import pool_exhausted

POOL_WAIT: Final = 1.0
"""Seconds that a call too many waits for another one to end."""
KEEP_ALIVE: Final = 30.0
"""Seconds for which a connection is kept that nobody uses."""


class Pool(ABC):
    """The connections of one event loop.

    Args:
        limit: the most calls under way at once.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    def took(self) -> bool:
        """Take one of the connections if that needs no waiting; `give_back` has to follow."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Take one of the connections, waited for no longer than `POOL_WAIT`; `give_back` has to follow.

        Raises:
            UpstreamError: all of them are in use.
        """
        if self.took():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(POOL_WAIT):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                # it was given one in the very moment it was cancelled
                self.give_back()
            if isinstance(exc, TimeoutError):
                raise pool_exhausted() from None
            raise

    def give_back(self) -> None:
        """The call is over: who waits for longest goes on."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of connections whose loop has ended: nothing can be awaited there any more."""


PoolT = TypeVar("PoolT", bound=Pool)


class Pools(Generic[PoolT]):
    """A pool for each event loop, made when the first call needs it.

    Args:
        make: makes one for the loop that runs, for this many calls at once.
        limit: the most calls under way at once, per event loop.

    Raises:
        ConfigError: `limit` is not positive.
    """

    def __init__(self, make: Callable[[int], PoolT], *, limit: int) -> None:
        if limit < 1:
            raise ConfigError(f"limit must be positive, got {limit}")
        self._make = make
        self._limit = limit
        self._pools: dict[asyncio.AbstractEventLoop, PoolT] = {}

    def here(self) -> PoolT:
        """The pool of the loop that runs."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for ended in [known for known in self._pools if known.is_closed()]:
                self._pools.pop(ended).forget()
            pool = self._pools[loop] = self._make(self._limit)
        return pool

    async def aclose(self) -> None:
        """Close the connections of every loop, from whichever loop this is called."""
        while self._pools:
            loop, pool = self._pools.popitem()
            if loop is asyncio.get_running_loop():
                await pool.close()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pool.close(), loop))
            else:
                pool.forget()
