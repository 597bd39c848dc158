"""Limits in words: for the client that meets one, and for the operator's metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from asgi_llmgw.errors import GatewayError, LimitError, RequestError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.store.base import Claim, Denied, Limit, Measure

UNAVAILABLE_FOR: Final = 5.0
"""Seconds after which to come back when limits cannot be checked."""

_SOON: Final = 120.0
"""A wait that is longer is not for a client to sit out. A minute's limit never asks for so much."""

_WORDS: Final[Mapping[tuple[Measure, str | None], str]] = {
    ("requests", "minute"): "rpm",
    ("tokens", "minute"): "tpm",
    ("slots", None): "concurrency",
    ("tokens", "day"): "tokens_per_day",
    ("tokens", "month"): "tokens_per_month",
    ("cost", "day"): "budget",
    ("cost", "month"): "budget",
}
_MILLION: Final = 1_000_000


def label(limit: Limit) -> str:
    """A word for a metric: `key_rpm`, `tenant_budget`."""
    return f"{limit.scope}_{_WORDS.get((limit.measure, limit.period), limit.measure)}"


def describe(limit: Limit) -> str:
    """`key team-a: 600 requests per minute`."""
    if limit.measure == "slots":
        amount = f"{_count(limit.ceiling, 'request')} at the same time"
    elif limit.measure == "cost":
        amount = f"{dollars(limit.ceiling)} per {limit.period}"
    else:
        amount = f"{_count(limit.ceiling, limit.measure.removesuffix('s'))} per {limit.period}"
    return f"{limit.scope} {limit.owner}: {amount}"


def dollars(millionths: int) -> str:
    """`12.5 USD`."""
    whole, part = divmod(millionths, _MILLION)
    return f"{whole}.{part:06}".rstrip("0").rstrip(".") + " USD"


def denial(denied: Denied, protocol: Protocol | None, *, now: float) -> GatewayError:
    """The error for a request that a limit has no room for.

    What lasts until the end of a day or a month is a quota that is used up where a protocol tells that apart: its
    clients need not try again.
    """
    limit = denied.limit
    seconds = max(1, math.ceil(denied.retry_after))
    if limit.period in ("day", "month") and denied.retry_after > _SOON:
        end = datetime.fromtimestamp(now, UTC) + timedelta(seconds=denied.retry_after)
        return LimitError(
            f"The limit of {describe(limit)} is used up; the {limit.period} ends at {end:%Y-%m-%d %H:%M} UTC.",
            kind="rate_limited" if protocol == "anthropic_messages" else "quota_exceeded",
            retry_after=denied.retry_after,
        )
    again = "1 second" if seconds == 1 else f"{seconds} seconds"
    return LimitError(f"The limit of {describe(limit)} is reached; try again in {again}.", retry_after=seconds)


def too_much(claim: Claim) -> GatewayError:
    """The error for a request that alone is more than a limit ever has room for."""
    limit = claim.limit
    amount = dollars(claim.amount) if limit.measure == "cost" else _count(claim.amount, limit.measure.removesuffix("s"))
    return LimitError(
        f"This request may use up to {amount}, which is more than the limit of {describe(limit)} allows at all: "
        "shorten it, or let it generate fewer tokens.",
        code="request_too_large_for_limit",
    )


def unpriced(model: str, limit: Limit) -> GatewayError:
    """The error for a request whose cost nobody could tell."""
    return RequestError(
        f"The model {model!r} has no known price, so the limit of {describe(limit)} cannot be kept: "
        "whoever runs this gateway has to set a price for it.",
        kind="forbidden",
        param="model",
        code="model_without_price",
    )


def unavailable() -> GatewayError:
    """The error where nobody can tell what is left."""
    return GatewayError(
        "The limits of this gateway cannot be checked at the moment; try again in a few seconds.",
        kind="overloaded",
        code="limits_unavailable",
        retry_after=UNAVAILABLE_FOR,
    )


def hopeless(error: GatewayError) -> bool:
    """Whether trying again soon is of no use."""
    return error.code == "request_too_large_for_limit" or (error.retry_after or 0.0) > _SOON


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
