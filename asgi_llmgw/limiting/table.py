"""All the limits of a configuration, and which of them a request meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asgi_llmgw.exchange import Exchange
from asgi_llmgw.limiting.headers import told_of
from asgi_llmgw.limiting.words import describe
from asgi_llmgw.store.base import Claim, Limit, Measure

_METERED: Final[frozenset[Measure]] = frozenset({"tokens", "cost"})
_MAX_REMEMBERED: Final = 4096


class Met:
    """The limits that a request meets, and what follows from them alone.

    Attributes:
        claims: one of each limit.
        metered: the places of those that count tokens or money: one of them is not enough.
        unmetered: what is met by a request that generates nothing.
        fits: one is never more than any of them allows.
        told: which of them clients are told of; see `headers.told_of`.
    """

    __slots__ = ("claims", "fits", "metered", "told", "unmetered")

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self.claims = tuple([Claim(limit, 1) for limit in limits])
        self.metered = tuple([place for place, limit in enumerate(limits) if limit.measure in _METERED])
        others = tuple([limit for limit in limits if limit.measure not in _METERED])
        self.unmetered: Met = Met(others) if self.metered else self
        self.fits = all(limit.ceiling >= 1 for limit in others)
        self.told = told_of(limits)


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
        self._met: dict[tuple[str | None, str | None, str | None], Met] = {}

    def __bool__(self) -> bool:
        """Whether there is any limit at all."""
        return any(limits for table in (self._keys, self._tenants, self._models) for limits in table.values())

    def described(self) -> tuple[str, ...]:
        """Every limit in words, each once."""
        tables = (self._keys, self._tenants, self._models)
        return tuple({describe(limit): None for table in tables for limits in table.values() for limit in limits})

    def of(self, exchange: Exchange) -> Met:
        """The limits that a request meets: those of its key, of its key's tenant and of the model it asks for."""
        principal, route = exchange.principal, exchange.route
        who = (None, None, route) if principal is None else (principal.name, principal.tenant, route)
        met = self._met.get(who)
        if met is None:
            if len(self._met) >= _MAX_REMEMBERED:
                # keys need not be those of a configuration
                self._met.clear()
            tables = zip((self._keys, self._tenants, self._models), who, strict=True)
            met = self._met[who] = Met(sum([table.get(owner, ()) for table, owner in tables if owner is not None], ()))
        return met
