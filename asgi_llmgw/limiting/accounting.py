"""What a request has really used: what the vendors reported, and an estimate where they did not."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Final

import msgspec

from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import Usage
from asgi_llmgw.limiting.estimate import Estimate
from asgi_llmgw.pricing import MAX_TOKENS, PriceTable, cost

_CHARACTERS_PER_TOKEN: Final = 3.0
_logger: Final = logging.getLogger(__name__)


class Used(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one attempt, and whose they were."""

    provider: str
    model: str
    usage: Usage


class Answered(msgspec.Struct, frozen=True, gc=False):
    """How far the client's answer has got.

    Args:
        began: a good answer has begun.
        finished: its last byte is on the way.
        size: bytes of its body, where it is not a stream.
    """

    began: bool = False
    finished: bool = False
    size: int = 0


def reported(exchange: Exchange) -> list[Used]:
    """What the vendors have reported, of failed and lost attempts too."""
    used = _earlier(exchange)
    if exchange.usage is not None:
        used.append(Used(exchange.provider or "", exchange.upstream_model or "", exchange.usage))
    return used


def used_by(exchange: Exchange, estimate: Estimate, answered: Answered) -> list[Used]:
    """What all attempts have used.

    Failed attempts count as far as the vendor told. The last one counts as it was reported if its answer is whole; if
    it was cut, or the client has left, as the input and what was streamed of the output, but at least as reported. An
    attempt that failed before its first content and reported nothing was refused, and nothing was used.
    """
    used = _earlier(exchange)
    usage = _last(exchange, estimate, answered)
    if usage is not None:
        model = exchange.upstream_model or exchange.model or estimate.model or ""
        used.append(Used(exchange.provider or "", model, usage))
    return used


def tokens_of(used: Iterable[Used]) -> int:
    """Input and output of all attempts together."""
    total = 0
    for one in used:
        total_input, total_output = one.usage.input_tokens, one.usage.output_tokens
        if total_input is not None and 0 <= total_input <= MAX_TOKENS:
            total += total_input
        if total_output is not None and 0 <= total_output <= MAX_TOKENS:
            total += total_output
    return total


def cost_of(used: Iterable[Used], prices: PriceTable) -> int | None:
    """What all attempts have cost, in millionths of a USD; None where no price is known for any of them."""
    total: int | None = None
    for one in used:
        price = prices.find(one.provider, one.model)
        if price is not None:
            total = (total or 0) + cost(one.usage, price)
    return total


def _earlier(exchange: Exchange) -> list[Used]:
    """The attempts that are over and are not the one that the exchange is about."""
    found: list[Used] = []
    for tried in exchange.tried:
        usage = tried.usage
        if usage is not None and usage is not exchange.usage:
            found.append(Used(tried.provider, tried.model, usage))
    return found


def _last(exchange: Exchange, estimate: Estimate, answered: Answered) -> Usage | None:
    usage = exchange.usage
    if exchange.cache == "hit":
        return None
    if exchange.failure is not None and exchange.first_token is None and not exchange.text_length:
        return usage if usage is None else _mended(usage, Usage(input_tokens=0, output_tokens=0))
    if exchange.provider is None and not answered.began:
        return None
    if estimate.later and answered.finished:
        return Usage(input_tokens=estimate.input_tokens, output_tokens=estimate.output_tokens)
    whole = exchange.failure is None and (exchange.finish_reason is not None or answered.finished)
    if whole and usage is not None and _are_sane(usage.input_tokens, usage.output_tokens):
        return usage
    length = max(exchange.text_length, answered.size if usage is None and estimate.text else 0)
    seen = Usage(
        input_tokens=estimate.input_tokens, output_tokens=min(math.ceil(length / _CHARACTERS_PER_TOKEN), MAX_TOKENS)
    )
    return seen if usage is None else _mended(usage, seen, whole=whole)


def _mended(usage: Usage, seen: Usage, *, whole: bool = True) -> Usage:
    """The reported usage with numbers that can be; of a stream that was cut, the first report says too little."""
    total_input, total_output = _sane(usage.input_tokens), _sane(usage.output_tokens)
    if total_input != usage.input_tokens or total_output != usage.output_tokens:
        _logger.warning("a vendor reported an impossible usage; an estimate is counted instead")
    if total_input is None:
        total_input = seen.input_tokens
    if total_output is None:
        total_output = seen.output_tokens
    elif not whole:
        total_output = max(total_output, seen.output_tokens or 0)
    return msgspec.structs.replace(usage, input_tokens=total_input, output_tokens=total_output)


def _sane(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= MAX_TOKENS else None


def _are_sane(total_input: int | None, total_output: int | None) -> bool:
    if total_input is None or total_output is None:
        return False
    return 0 <= total_input <= MAX_TOKENS and 0 <= total_output <= MAX_TOKENS
