"""How limits stand, in the headers that the clients of each protocol read.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
https://docs.anthropic.com/en/api/rate-limits#response-headers
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.ir import Protocol
from asgi_llmgw.store.base import Measure, Standing

_SHOWN: Final[tuple[Measure, ...]] = ("requests", "tokens")


def rate_limit_headers(standings: Iterable[Standing], protocol: Protocol | None, *, now: float) -> Headers:
    """Limit, remainder and reset of requests and tokens; of several limits the one with the least left.

    The limits of a model are left out: what is left of them tells what other clients do. Gemini has no such headers.

    Args:
        now: seconds since the epoch.
    """
    if protocol == "gemini_generate":
        return ()
    tightest: dict[Measure, Standing] = {}
    for standing in standings:
        limit = standing.limit
        if limit.scope == "model" or limit.measure not in _SHOWN:
            continue
        known = tightest.get(limit.measure)
        if known is None or standing.remaining < known.remaining:
            tightest[limit.measure] = standing
    headers: Headers = ()
    for measure in _SHOWN:
        if measure in tightest:
            headers += _of_one(tightest[measure], protocol, now)
    return headers


def retry_headers(retry_after: float | None, protocol: Protocol | None, *, hopeless: bool) -> Headers:
    """What the SDKs of OpenAI and Anthropic read before `retry-after`: milliseconds, or that it is of no use."""
    if protocol == "gemini_generate":
        return ()
    if hopeless:
        return ((b"x-should-retry", b"false"),)
    return () if retry_after is None else ((b"retry-after-ms", b"%d" % math.ceil(retry_after * 1000)),)


def _of_one(standing: Standing, protocol: Protocol | None, now: float) -> Headers:
    limit, remaining = b"%d" % standing.limit.ceiling, b"%d" % standing.remaining
    kind = standing.limit.measure.encode()
    if protocol == "anthropic_messages":
        prefix = b"anthropic-ratelimit-" + kind
        # rounded up to whole seconds, as the API does
        reset = _moment(math.ceil(now) + math.ceil(standing.reset))
        return ((prefix + b"-limit", limit), (prefix + b"-remaining", remaining), (prefix + b"-reset", reset))
    return (
        (b"x-ratelimit-limit-" + kind, limit),
        (b"x-ratelimit-remaining-" + kind, remaining),
        (b"x-ratelimit-reset-" + kind, _duration(standing.reset)),
    )


@lru_cache(maxsize=16)
def _moment(seconds: int) -> bytes:
    """The seconds since the epoch as Anthropic's API writes them; most requests of a second share them."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}".encode()


def _duration(seconds: float) -> bytes:
    """As Go writes one: `120ms`, `1.5s`, `6m0s`, `2h3m4s`."""
    if 0 < seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    if seconds < 60:
        return f"{math.ceil(seconds * 1000) / 1000:g}s".encode()
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s".encode() if hours else f"{minutes}m{rest}s".encode()
