"""All the limits of a configuration, and which of them a request meets."""

from __future__ import annotations

from collections.abc import Mapping

from asgi_llmgw.exchange import Exchange
from asgi_llmgw.limiting.words import describe
from asgi_llmgw.store.base import Limit


class LimitTable:
    """The configured limits.

    Args:
        keys: by the name of a client's key (`Principal.name`).
        tenants: by the name of a tenant (`Principal.tenant`).
        models: by the name of a route (`Exchange.route`).
    """

    def __init__(
        self,
        *,
        keys: Mapping[str, tuple[Limit, ...]] | None = None,
        tenants: Mapping[str, tuple[Limit, ...]] | None = None,
        models: Mapping[str, tuple[Limit, ...]] | None = None,
    ) -> None:
        self._keys = dict(keys or {})
        self._tenants = dict(tenants or {})
        self._models = dict(models or {})

    def __bool__(self) -> bool:
        """Whether there is any limit at all."""
        return any(limits for table in (self._keys, self._tenants, self._models) for limits in table.values())

    def described(self) -> tuple[str, ...]:
        """Every limit in words, each once."""
        tables = (self._keys, self._tenants, self._models)
        return tuple({describe(limit): None for table in tables for limits in table.values() for limit in limits})

    def of(self, exchange: Exchange) -> tuple[Limit, ...]:
        """The limits that a request meets: those of its key, of its key's tenant and of the model it asks for."""
        principal, route = exchange.principal, exchange.route
        found: tuple[Limit, ...] = ()
        if principal is not None:
            found = self._keys.get(principal.name, ())
            if principal.tenant is not None:
                found += self._tenants.get(principal.tenant, ())
        return found if route is None else found + self._models.get(route, ())
