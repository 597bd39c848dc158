"""How limits stand, in the headers that the clients of each protocol read.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
https://docs.anthropic.com/en/api/rate-limits#response-headers
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.ir import Protocol
from asgi_llmgw.store.base import Limit, Measure, Standing

_SHOWN: Final[tuple[Measure, ...]] = ("requests", "tokens")
_TOLD: Final = ("limit", "remaining", "reset")
_OPENAI: Final[Mapping[str, tuple[bytes, ...]]] = {
    measure: tuple([f"x-ratelimit-{what}-{measure}".encode() for what in _TOLD]) for measure in _SHOWN
}
_ANTHROPIC: Final[Mapping[str, tuple[bytes, ...]]] = {
    measure: tuple([f"anthropic-ratelimit-{measure}-{what}".encode() for what in _TOLD]) for measure in _SHOWN
}
_remaining: Final = attrgetter("remaining")


def told_of(limits: Sequence[Limit]) -> tuple[tuple[int, ...], ...]:
    """The places of the limits that a client is told of: those of requests, and those of tokens.

    The limits of a model are left out: what is left of them tells what other clients do.
    """
    own = [(place, limit.measure) for place, limit in enumerate(limits) if limit.scope != "model"]
    found = [tuple([place for place, measure in own if measure == shown]) for shown in _SHOWN]
    return tuple([places for places in found if places])


def rate_limit_headers(
    standings: Sequence[Standing], told: Iterable[Sequence[int]], protocol: Protocol | None, *, now: float
) -> Headers:
    """Limit, remainder and reset of requests and tokens. Gemini has no such headers.

    Args:
        standings: how the limits of a request stand.
        told: for each measure the places of those that may be told; the one with the least left is.
        now: seconds since the epoch.
    """
    if protocol == "gemini_generate":
        return ()
    headers: list[tuple[bytes, bytes]] = []
    for places in told:
        standing = standings[places[0]]
        if len(places) > 1:
            standing = min([standings[place] for place in places], key=_remaining)
        limit = standing.limit
        if protocol == "anthropic_messages":
            of_limit, of_remaining, of_reset = _ANTHROPIC[limit.measure]
            # rounded up to whole seconds, as the API does
            reset = _moment(math.ceil(now) + math.ceil(standing.reset))
        else:
            of_limit, of_remaining, of_reset = _OPENAI[limit.measure]
            reset = _duration(standing.reset)
        headers += (of_limit, b"%d" % limit.ceiling), (of_remaining, b"%d" % standing.remaining), (of_reset, reset)
    return tuple(headers)


def retry_headers(retry_after: float | None, protocol: Protocol | None, *, hopeless: bool) -> Headers:
    """What the SDKs of OpenAI and Anthropic read before `retry-after`: milliseconds, or that it is of no use."""
    if protocol == "gemini_generate":
        return ()
    if hopeless:
        return ((b"x-should-retry", b"false"),)
    return () if retry_after is None else ((b"retry-after-ms", b"%d" % math.ceil(retry_after * 1000)),)


@lru_cache(maxsize=16)
def _moment(seconds: int) -> bytes:
    """The seconds since the epoch as Anthropic's API writes them; most requests of a second share them."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}".encode()


def _duration(seconds: float) -> bytes:
    """As Go writes one: `120ms`, `1.5s`, `6m0s`, `2h3m4s`."""
    if seconds >= 60:
        return _minutes(math.ceil(seconds))
    if 0 < seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    return f"{math.ceil(seconds * 1000) / 1000:g}s".encode()


@lru_cache(maxsize=64)
def _minutes(seconds: int) -> bytes:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s".encode() if hours else f"{minutes}m{rest}s".encode()
