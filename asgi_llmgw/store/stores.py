"""The stores of a gateway, from an address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asgi_llmgw.store.base import SideTable, Store
from asgi_llmgw.store.breaker import Breaker
from asgi_llmgw.store.guarded import GuardedStore, WhenAway
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.store.redis import PREFIX, RedisSideTable, RedisStore
from asgi_llmgw.store.redis_client import RedisClient

MEMORY: Final = "memory://"


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept for longer than a request.

    Args:
        limits: where limits are counted.
        side_table: the one that all processes share; None where there is none, and each needs its own.
        breaker: whether what is shared is there; None where nothing is shared.
    """

    limits: Store
    side_table: SideTable | None = None
    breaker: Breaker | None = None

    @property
    def available(self) -> bool:
        """Whether what is shared is there; what is not shared always is."""
        return self.breaker is None or self.breaker.available

    def watch(self, listener: Callable[[bool], None]) -> None:
        """Be told of every change of `available`, and now of how it is."""
        if self.breaker is None:
            listener(True)
        else:
            self.breaker.listen(listener)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.limits.aclose()


def open_stores(
    url: str,
    *,
    prefix: str = PREFIX,
    replicas: int = 1,
    budgets_when_away: WhenAway = "deny",
    timeout: float = 0.1,
) -> Stores:
    """The stores behind an address. Nothing is connected before it is needed.

    Args:
        url: `memory://`, `redis://`, `rediss://` or `unix://`; it may hold a password.
        prefix: in front of every key, where one Redis serves several gateways.
        replicas: processes that share the limits: while Redis is away each takes its part of every ceiling.
        budgets_when_away: whether budgets refuse or grant everything while Redis is away.
        timeout: seconds for the reply to one command.

    Raises:
        ConfigError: redis-py is not installed, or the address cannot be used.
    """
    if url == MEMORY:
        return Stores(MemoryStore())
    client, breaker = RedisClient(url, timeout=timeout), Breaker()
    return Stores(
        GuardedStore(
            RedisStore(client, prefix=prefix), breaker=breaker, replicas=replicas, budgets_when_away=budgets_when_away
        ),
        RedisSideTable(client, prefix=prefix, breaker=breaker),
        breaker,
    )
