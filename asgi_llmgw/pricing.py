"""What models cost. Prices are USD for a million tokens, or for what is counted instead; sums are integers: millionths
of a USD."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import Usage
from asgi_llmgw.patterns import Patterns

MAX_TOKENS: Final = 100_000_000
"""More than any request can have: what claims to be larger is a mistake."""

MAX_PRICE: Final = 1_000_000

_MAX_REMEMBERED: Final = 4096
_MAX_SECONDS: Final = 1_000_000
_PARTS: Final = 1_000_000
"""Prices are multiplied in whole millionths, because sums of binary fractions are not exact."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens.

    Args:
        input: prompt tokens.
        output: generated tokens.
        cached_input: prompt tokens read from a cache; None: as `input`.
        cache_write: prompt tokens written to a cache; None: as `input`.
        cache_write_1h: those that stay there for an hour; None: as `cache_write`.
        reasoning: generated tokens that were reasoning; None: as `output`.
        audio_input: prompt tokens that were sound; None: as `input`.
        audio_output: generated tokens that were sound; None: as `output`.
        image_output: generated tokens that were pictures; None: as `output`.

    Raises:
        ConfigError: a price is negative, or no number.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    reasoning: float | None = None
    audio_input: float | None = None
    audio_output: float | None = None
    image_output: float | None = None

    def __post_init__(self) -> None:
        _check(self.input, self.output, self.cached_input, self.cache_write, self.cache_write_1h, self.reasoning)
        _check(self.audio_input, self.audio_output, self.image_output)


class LongContext(Rates, frozen=True, kw_only=True):
    """What all tokens of a request cost whose prompt is longer than `over` tokens."""

    over: int


class Price(Rates, frozen=True, kw_only=True):
    """What a model costs.

    Args:
        long_context: where long prompts have prices of their own.
        picture: USD for each picture made.
        minute: USD for a minute of sound heard.
        characters: USD for a million characters read aloud.
    """

    long_context: LongContext | None = None
    picture: float = 0.0
    minute: float = 0.0
    characters: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.picture, self.minute, self.characters)

    def rates(self, input_tokens: int) -> Rates:
        """The prices of a request with so long a prompt."""
        long = self.long_context
        return long if long is not None and input_tokens > long.over else self


def cost(usage: Usage, price: Price) -> int:
    """What was used, in millionths of a USD, rounded up.

    A token of a cached prompt costs the same whether it was text or sound.

    Counts that were not reported are nothing; negative ones too, and absurd ones are cut down to `MAX_TOKENS`. A share
    is never larger than what it is a share of.
    """
    total_input, written = _sane(usage.input_tokens), _sane(usage.cache_write_tokens)
    written_1h = min(_sane(usage.cache_write_1h_tokens), written)
    rates = price.rates(total_input)
    parts = _divided(
        total_input,
        rates.input,
        (usage.cache_read_tokens, rates.cached_input),
        (written_1h, rates.cache_write if rates.cache_write_1h is None else rates.cache_write_1h),
        (written - written_1h, rates.cache_write),
        (usage.audio_input_tokens, rates.audio_input),
    )
    parts += _divided(
        _sane(usage.output_tokens),
        rates.output,
        (usage.reasoning_tokens, rates.reasoning),
        (usage.audio_output_tokens, rates.audio_output),
        (usage.image_output_tokens, rates.image_output),
    )
    if usage.characters:
        parts += _sane(usage.characters) * round(price.characters * _PARTS)
    if usage.pictures:
        parts += _sane(usage.pictures) * _PARTS * round(price.picture * _PARTS)
    if usage.seconds:
        parts += _millionths_of_minutes(usage.seconds) * round(price.minute * _PARTS)
    return _rounded_up(parts)


def highest_cost(input_tokens: int, output_tokens: int, price: Price) -> int:
    """What so many tokens cost at most, whether they are cached, written to a cache, reasoning, sound or none of it."""
    rates = price.rates(input_tokens)
    for_input = max(
        rates.input, rates.cached_input or 0, rates.cache_write or 0, rates.cache_write_1h or 0, rates.audio_input or 0
    )
    for_output = max(rates.output, rates.reasoning or 0, rates.audio_output or 0, rates.image_output or 0)
    parts = _sane(input_tokens) * round(for_input * _PARTS) + _sane(output_tokens) * round(for_output * _PARTS)
    return _rounded_up(parts)


class PriceTable:
    """Which model costs what.

    A pattern is a name or a glob; it is compared with `provider/model` and with the model alone. Prices of one's own
    win over those that come with the package, names over globs, longer globs over shorter ones.

    Args:
        own: prices by pattern.
        packaged: know the list prices of OpenAI, Anthropic and Google too.
    """

    def __init__(self, own: Mapping[str, Price] | None = None, *, packaged: bool = True) -> None:
        self._tables = [Patterns(own or {}), *([_packaged()] if packaged else [])]
        self._found: dict[tuple[str, str], Price | None] = {}

    def find(self, provider: str, model: str) -> Price | None:
        """The price of a provider's model, None if it is not known."""
        key, found = (provider, model), self._found
        if key not in found:
            if len(found) >= _MAX_REMEMBERED:
                # models' names may be the clients'
                found.clear()
            names = (f"{provider}/{model}", model)
            matches = (table.match(name) for table in self._tables for name in names)
            found[key] = next((price for price in matches if price is not None), None)
        return found[key]


class _Row(Price, frozen=True, kw_only=True):
    models: tuple[str, ...]


@cache
def _packaged() -> Patterns[Price]:
    text = files("asgi_llmgw").joinpath("data", "prices.toml").read_text(encoding="utf-8")
    rows = msgspec.convert(tomllib.loads(text)["prices"], list[_Row])
    return Patterns[Price]({model: row for row in rows for model in row.models})


def _check(*amounts: float | None) -> None:
    if not all(amount is None or 0 <= amount <= MAX_PRICE for amount in amounts):
        raise ConfigError(f"a price is between 0 and {MAX_PRICE} USD")


def _sane(count: int | None) -> int:
    if not count or count < 0:
        return 0
    return count if count < MAX_TOKENS else MAX_TOKENS


def _divided(total: int, rate: float, *shares: tuple[int | None, float | None]) -> int:
    """What so many tokens cost of which these shares, one after the other, may have rates of their own."""
    parts = 0
    for count, own in shares:
        if count and count > 0:
            share = count if count < total else total
            total -= share
            parts += share * round((rate if own is None else own) * _PARTS)
    return parts + total * round(rate * _PARTS)


def _millionths_of_minutes(seconds: float) -> int:
    """Rounded up; what is no length is nothing."""
    if not 0 < seconds <= _MAX_SECONDS:
        return 0
    return math.ceil(seconds / 60 * _PARTS)


def _rounded_up(parts: int) -> int:
    return -(-parts // _PARTS)
