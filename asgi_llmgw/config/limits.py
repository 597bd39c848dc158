"""`[limits]`, `[tenants.NAME]`, `[prices."NAME"]`, and the limits that keys, tenants and models can have."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias

import msgspec
from pydantic import BaseModel, Field, model_validator

from asgi_llmgw.components.limits import Unpriced
from asgi_llmgw.config.fields import SETTINGS
from asgi_llmgw.limiting.estimate import DEFAULT_OUTPUT_TOKENS
from asgi_llmgw.limiting.leases import LEASE_SECONDS
from asgi_llmgw.pricing import MAX_PRICE, Price
from asgi_llmgw.store.base import Limit

Scope: TypeAlias = Literal["key", "model", "tenant"]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**15)]
Dollars: TypeAlias = Annotated[float, Field(ge=0, le=MAX_PRICE)]

_MILLION: Final = 1_000_000


class LimitedSettings(BaseModel):
    """The limits that keys, tenants and models can have; None is no limit."""

    model_config = SETTINGS

    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None
    tokens_per_day: Count | None = None
    tokens_per_month: Count | None = None
    budget_usd: float | None = Field(default=None, gt=0, le=10**9)
    budget_period: Literal["day", "month"] = "month"

    @model_validator(mode="after")
    def _a_period_is_a_budgets(self) -> Self:
        if self.budget_usd is None and "budget_period" in self.model_fields_set:
            raise ValueError("has a budget_period and no budget_usd: write both, or neither")
        return self

    def limits(self, scope: Scope, owner: str) -> tuple[Limit, ...]:
        """What is counted for this key, tenant or model."""
        budget = None if self.budget_usd is None else max(1, round(self.budget_usd * _MILLION))
        found = (
            None if self.rpm is None else Limit(scope, owner, "requests", self.rpm, "minute"),
            None if self.tpm is None else Limit(scope, owner, "tokens", self.tpm, "minute"),
            None if self.concurrency is None else Limit(scope, owner, "slots", self.concurrency),
            None if self.tokens_per_day is None else Limit(scope, owner, "tokens", self.tokens_per_day, "day"),
            None if self.tokens_per_month is None else Limit(scope, owner, "tokens", self.tokens_per_month, "month"),
            None if budget is None else Limit(scope, owner, "cost", budget, self.budget_period),
        )
        return tuple(limit for limit in found if limit is not None)


class TenantSettings(LimitedSettings):
    """`[tenants.NAME]`: limits that several keys share."""


class LimitsSettings(BaseModel):
    """`[limits]`: how limits are kept."""

    model_config = SETTINGS

    lease_seconds: float = Field(default=LEASE_SECONDS, ge=1, le=86_400)
    default_output_tokens: int = Field(default=DEFAULT_OUTPUT_TOKENS, ge=1, le=10_000_000)
    unpriced: Unpriced = "refuse"


class RatesSettings(BaseModel):
    """Prices in USD for a million tokens."""

    model_config = SETTINGS

    input: Dollars
    output: Dollars
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    reasoning: Dollars | None = None
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    image_output: Dollars | None = None


class LongContextSettings(RatesSettings):
    """`long_context`: the prices of a request whose prompt is longer than `over` tokens."""

    over: Count


class PriceSettings(RatesSettings):
    """`[prices."NAME"]`: what a model costs."""

    long_context: LongContextSettings | None = None
    picture: Dollars = 0.0
    minute: Dollars = 0.0
    characters: Dollars = 0.0

    @property
    def price(self) -> Price:
        """The same as it is reckoned with."""
        return msgspec.convert(self.model_dump(), Price)
