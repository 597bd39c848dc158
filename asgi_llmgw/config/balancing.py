"""The settings of retries, breakers and hedging: how the gateway stays up when vendors do not."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from asgi_llmgw.config.fields import SETTINGS
from asgi_llmgw.exchange import Hedge
from asgi_llmgw.routing.health import BreakerPolicy
from asgi_llmgw.routing.retry import RetryPolicy

_RETRY, _BREAKER = RetryPolicy(), BreakerPolicy()
_Seconds = Annotated[float, Field(gt=0, le=86_400)]
_Share = Annotated[float, Field(ge=0, le=1)]


class RetrySettings(BaseModel):
    """`[retry]`: what happens before the first byte has reached the client."""

    model_config = SETTINGS

    attempts: int = Field(default=_RETRY.attempts, ge=1, le=10)
    backoff_seconds: float = Field(default=_RETRY.backoff, ge=0, le=60)
    max_backoff_seconds: float = Field(default=_RETRY.max_backoff, ge=0, le=600)
    max_retry_after_seconds: float = Field(default=_RETRY.max_retry_after, ge=0, le=3600)
    deadline_seconds: _Seconds = _RETRY.deadline
    budget: _Share = _RETRY.budget

    @property
    def policy(self) -> RetryPolicy:
        """The same, as the dispatcher takes it."""
        return RetryPolicy(
            attempts=self.attempts,
            backoff=self.backoff_seconds,
            max_backoff=self.max_backoff_seconds,
            max_retry_after=self.max_retry_after_seconds,
            deadline=self.deadline_seconds,
            budget=self.budget,
        )


class BreakerSettings(BaseModel):
    """`[breaker]`: when a model at a provider is left alone for a while, and for how long."""

    model_config = SETTINGS

    enabled: bool = True
    failures: int = Field(default=_BREAKER.failures, ge=1)
    ratio: float = Field(default=_BREAKER.ratio, gt=0, le=1)
    minimum: int = Field(default=_BREAKER.minimum, ge=1)
    window_seconds: _Seconds = _BREAKER.window
    open_seconds: _Seconds = _BREAKER.open_seconds
    max_open_seconds: _Seconds = _BREAKER.max_open_seconds
    slow_seconds: _Seconds = _BREAKER.slow_seconds

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_open_seconds < self.open_seconds:
            raise ValueError("has max_open_seconds below open_seconds: raise the one or lower the other")
        return self

    @property
    def policy(self) -> BreakerPolicy:
        """The same, as the health takes it."""
        return BreakerPolicy(
            enabled=self.enabled,
            failures=self.failures,
            ratio=self.ratio,
            minimum=self.minimum,
            window=self.window_seconds,
            open_seconds=self.open_seconds,
            max_open_seconds=self.max_open_seconds,
            slow_seconds=self.slow_seconds,
        )


class HedgeSettings(BaseModel):
    """`hedge` of a model: a second attempt beside a first one that says nothing."""

    model_config = SETTINGS

    after_seconds: _Seconds
    max_share: float = Field(default=Hedge(1.0).share, gt=0, le=0.5)

    @property
    def hedge(self) -> Hedge:
        """The same, as the dispatcher takes it."""
        return Hedge(self.after_seconds, self.max_share)
