"""What a store of a gateway's can do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias, get_args

import msgspec

Measure: TypeAlias = Literal["requests", "tokens", "cost", "slots"]
"""What a limit counts; `cost` is in millionths of a USD, `slots` are requests that run at the same time."""

Period: TypeAlias = Literal["minute", "day", "month"]

NOTHING_USED: Final[Mapping[Measure, int]] = dict.fromkeys(get_args(Measure), 0)
"""What is settled for a request that has never run."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A ceiling somebody has set.

    Args:
        scope: what it is about: a client's key, a model, a tenant.
        owner: the name of that key, model or tenant.
        measure: what is counted.
        ceiling: so much and no more.
        period: `minute` slides: no 60 seconds ever hold more than the ceiling. `day` and `month` are calendar periods
            in UTC. None for slots, which are given back at the end of each request.

    Attributes:
        counter: what is counted together: a new ceiling goes on with what the old one has counted.
    """

    scope: Literal["key", "model", "tenant"]
    owner: str
    measure: Measure
    ceiling: int
    period: Period | None = None
    counter: tuple[str, str, Measure, Period | Literal[""]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.period is None) != (self.measure == "slots"):
            raise ValueError("slots have no period, and everything else has one")
        object.__setattr__(self, "counter", (self.scope, self.owner, self.measure, self.period or ""))


class Claim(msgspec.Struct, frozen=True, gc=False):
    """So much of a limit is wanted."""

    limit: Limit
    amount: int

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("nobody can claim less than nothing")


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How a limit stands: what is left of it, and the seconds until all of it is there again.

    Nobody knows when a running request ends: what waits for one alone is said to be there in a second.
    """

    limit: Limit
    remaining: int
    reset: float


class Reservation(msgspec.Struct, frozen=True):
    """All that was claimed is set aside until it is settled, or until its lease runs out.

    Args:
        id: the request's; reserving or settling it twice counts once.
        claims: what was claimed.
        standings: how each claim's limit stands with it, in the order of the claims.
        time: the store's clock at the time, seconds since the epoch: amounts are settled where they were claimed.
    """

    id: str
    claims: tuple[Claim, ...]
    standings: tuple[Standing, ...]
    time: float


class Denied(msgspec.Struct, frozen=True):
    """Nothing was set aside, because one limit has not enough left.

    Args:
        limit: the limit; where several are short, the one that is short for longest.
        retry_after: seconds until the same claim may succeed. A claim above the ceiling never does; then it is what is
            left of the limit's period.
        standings: how each claim's limit stands, in the order of the claims.
    """

    limit: Limit
    retry_after: float
    standings: tuple[Standing, ...]


def check_claims(claims: Sequence[Claim]) -> None:
    """Refuse what no store can count.

    Raises:
        ValueError: a limit is claimed twice.
    """
    if len({claim.limit.counter for claim in claims}) != len(claims):
        raise ValueError("a limit is claimed twice in one reservation")


class StoreUnavailable(Exception):
    """The store cannot be asked: it is away, frozen, too slow or out of order. The message names no host."""


class Store(Protocol):
    """Limits, shared by all that use the store. Each call is atomic and one round trip; denial is a result.

    Every method may raise `StoreUnavailable`.
    """

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        """Set aside all that is claimed, or nothing.

        A lease that runs out, because its worker has died, gives back slots and what was claimed of days and months.
        What was claimed of a minute stays counted: that minute will be over soon.

        Args:
            claims: each limit once.
            request_id: one that was made here, for this reservation alone. With an id that a client may choose,
                whoever repeats one pays nothing.
            lease: seconds; `renew` prolongs it.
        """
        ...

    async def renew(self, reservations: Sequence[Reservation], /, *, lease: float) -> None:
        """These requests are still running: leases that have not ended yet last `lease` seconds from now, or longer."""
        ...

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        """Count what it really was instead of what was claimed, and give the slots back.

        What `actual` does not name was claimed rightly. It is counted in full even where that goes over the ceiling,
        and even after the lease has run out; a second time it changes nothing.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections. Calling it twice is harmless."""
        ...


class SideTable(Protocol):
    """Small values that are kept for a while and may be forgotten at any time. Nobody sees another owner's."""

    async def get(self, owner: str, name: str) -> bytes | None:
        """What was put there, None if it is not known any more."""
        ...

    async def put(self, owner: str, name: str, value: bytes, *, ttl: float) -> None:
        """Keep a value for so many seconds at most, instead of the one that was there."""
        ...
