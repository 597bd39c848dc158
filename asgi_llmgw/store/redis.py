"""Stores in Redis, which all workers and all hosts see."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from asgi_llmgw.json import dumps
from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Reservation, Standing, StoreUnavailable, check_claims
from asgi_llmgw.store.breaker import Breaker
from asgi_llmgw.store.periods import SOON, cell_at, cell_end, seconds_left
from asgi_llmgw.store.redis_client import RedisClient, Script

PREFIX: Final = "llmgw:"
_TAG: Final = "{llmgw}"
"""Everything of one script lies on one node of a cluster."""
_REST: Final = -1
_DENIED, _ADMITTED, _KNOWN = range(3)
_MAX_LEASE: Final = 2 * 86_400.0
"""No lease is longer: counters that nobody touches for so long are forgotten."""
_AT_ONCE: Final = 500
"""Reservations in one call of `renew`."""


class RedisStore:
    """A `Store` for many processes: each call is one script, which Redis runs at once or not at all.

    Args:
        client: where.
        prefix: in front of every key, where one Redis serves several gateways.
        clock: seconds since the epoch, for tests. None takes the server's, since the hosts' may differ.
    """

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX, clock: Callable[[], float] | None = None) -> None:
        self._client = client
        self._prefix = prefix + _TAG
        self._clock = clock
        self._reserve, self._renew, self._settle = (Script.load(name) for name in ("reserve", "renew", "settle"))

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        """Set aside all that is claimed, or nothing."""
        check_claims(claims)
        identity = _digest(request_id)
        arguments: list[str | int] = [self._now(), _milliseconds(min(lease, _MAX_LEASE)), identity]
        for claim in claims:
            arguments += [_kind(claim.limit), claim.amount, claim.limit.ceiling]
        reply = await self._client.run(self._reserve, self._keys(identity, claims), arguments)
        now, happened, *numbers = _integers(reply, 2 + 3 * len(claims))
        return _result(claims, request_id, now / 1000, happened, numbers)

    async def renew(self, reservations: Sequence[Reservation], /, *, lease: float) -> None:
        """These requests are still running: leases that have not ended yet last `lease` seconds from now, or longer."""
        for start in range(0, len(reservations), _AT_ONCE):
            keys: list[str] = []
            arguments: list[str | int] = [self._now(), _milliseconds(min(lease, _MAX_LEASE))]
            for reservation in reservations[start : start + _AT_ONCE]:
                identity = _digest(reservation.id)
                record, *pairs = self._keys(identity, reservation.claims)
                for number, claim in enumerate(reservation.claims):
                    kind = _kind(claim.limit)
                    if kind != "minute":
                        keys += [record, *pairs[2 * number : 2 * number + 2]]
                        arguments += [kind, claim.amount, identity, _milliseconds(reservation.time)]
            if keys:
                _integer(await self._client.run(self._renew, keys, arguments))

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        """Count what it really was instead of what was claimed, and give the slots back."""
        identity = _digest(reservation.id)
        arguments: list[str | int] = [self._now(), identity, _milliseconds(reservation.time)]
        for claim in reservation.claims:
            really = max(0, actual.get(claim.limit.measure, claim.amount))
            arguments += [_kind(claim.limit), claim.amount, really]
        _integer(await self._client.run(self._settle, self._keys(identity, reservation.claims), arguments))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _now(self) -> str | int:
        return "" if self._clock is None else _milliseconds(self._clock())

    def _keys(self, identity: str, claims: Sequence[Claim]) -> list[str]:
        """The request's record, and for each claim its limit's counter and leases."""
        keys = [f"{self._prefix}r:{identity}"]
        for claim in claims:
            limit = _counter_digest(claim.limit.counter)
            keys += [f"{self._prefix}c:{limit}", f"{self._prefix}l:{limit}"]
        return keys


class RedisSideTable:
    """A `SideTable` in Redis. It fails softly: what cannot be asked for is not known, what cannot be kept is forgotten.

    Args:
        client: where.
        prefix: in front of every key.
        breaker: nothing is asked while it says that the server is away. Give it the one of the `GuardedStore` that
            uses the same server, which finds out when it is back.
        max_bytes: what is larger is not kept.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        prefix: str = PREFIX,
        breaker: Breaker | None = None,
        max_bytes: int = 1024 * 1024,
    ) -> None:
        self._client = client
        self._max_bytes = max_bytes
        self._prefix = prefix
        self._breaker = breaker

    async def get(self, owner: str, name: str) -> bytes | None:
        """What was put there, None if it is not known any more."""
        found = await self._ask("GET", self._key(owner, name))
        return found if isinstance(found, bytes) else None

    async def put(self, owner: str, name: str, value: bytes, *, ttl: float) -> None:
        """Keep a value for so many seconds at most, instead of the one that was there."""
        key = self._key(owner, name)
        if len(value) > self._max_bytes:
            await self._ask("DEL", key)
        else:
            await self._ask("SET", key, value, "PX", max(1, _milliseconds(ttl)))

    async def _ask(self, *command: str | bytes | int) -> object:
        breaker = self._breaker
        if breaker is not None and not breaker.available:
            return None
        try:
            reply = await self._client.execute(*command)
        except StoreUnavailable as error:
            if breaker is not None:
                breaker.failed(str(error))
            return None
        if breaker is not None:
            breaker.succeeded()
        return reply

    def _key(self, owner: str, name: str) -> str:
        return f"{self._prefix}s:{_digest(owner, name)}"


def _result(
    claims: Sequence[Claim], request_id: str, now: float, happened: int, numbers: list[int]
) -> Reservation | Denied:
    """What the reply says of each claim: taken, wait and reset in milliseconds."""
    standings, worst = [], (0.0, 0)
    for place, claim in enumerate(claims):
        limit = claim.limit
        taken, wait, reset = numbers[3 * place : 3 * place + 3]
        left = _seconds(limit, now, reset)
        if happened == _ADMITTED and claim.amount:
            taken += claim.amount
            left = _after_a_claim(limit, now)
        standings.append(Standing(limit, max(0, limit.ceiling - taken), left))
        worst = max(worst, (_seconds(limit, now, wait), -place))
    if happened == _DENIED:
        return Denied(claims[-worst[1]].limit, worst[0], tuple(standings))
    return Reservation(request_id, tuple(claims), tuple(standings), now)


def _seconds(limit: Limit, now: float, milliseconds: int) -> float:
    if milliseconds == _REST and limit.period in ("day", "month"):
        return seconds_left(limit.period, now)
    return max(0.0, milliseconds / 1000)


def _after_a_claim(limit: Limit, now: float) -> float:
    """Seconds until a limit that has just been claimed is whole again."""
    match limit.period:
        case None:
            return SOON
        case "minute":
            return cell_end(cell_at(now)) - now
        case period:
            return seconds_left(period, now)


def _kind(limit: Limit) -> str:
    return limit.period or "slots"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _digest(*parts: str) -> str:
    """What stands for a text of a client's in a key: as a list, so that no two pairs of texts are the same."""
    return hashlib.sha256(dumps([part.encode("utf-8", "surrogatepass").hex() for part in parts])).hexdigest()[:32]


@lru_cache(maxsize=4096)
def _counter_digest(counter: tuple[str, ...]) -> str:
    return _digest(*counter)


def _integers(reply: object, count: int) -> list[int]:
    if not isinstance(reply, list) or len(reply) != count:
        raise StoreUnavailable("the store cannot be used: it gave an unknown answer")
    return [_integer(number) for number in reply]


def _integer(reply: object) -> int:
    if not isinstance(reply, int):
        raise StoreUnavailable("the store cannot be used: it gave an unknown answer")
    return reply
