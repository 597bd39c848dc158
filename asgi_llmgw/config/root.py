"""The whole configuration, and what the gateway is built from."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Self

from pydantic import BaseModel, Field, model_validator

from asgi_llmgw.components.auth import Key
from asgi_llmgw.config.balancing import BreakerSettings, RetrySettings
from asgi_llmgw.config.check import find_problems
from asgi_llmgw.config.fields import SETTINGS
from asgi_llmgw.config.limits import LimitsSettings, PriceSettings, TenantSettings
from asgi_llmgw.config.metadata import MetadataSettings, build_facts
from asgi_llmgw.config.models import (
    KeySettings,
    MetricsSettings,
    ModelSettings,
    ProviderSettings,
    ReasoningSettings,
    RoutingSettings,
    ServerSettings,
)
from asgi_llmgw.config.problems import Problems
from asgi_llmgw.config.quotas import budget_warnings, build_limits, build_prices, find_quota_problems
from asgi_llmgw.config.resolve import build_provider, build_routes, cache_times
from asgi_llmgw.config.store import StoreSettings
from asgi_llmgw.limiting.table import LimitTable
from asgi_llmgw.metadata import FactsTable
from asgi_llmgw.pricing import PriceTable
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.providers.catalog import DEMO
from asgi_llmgw.routing.routes import RouteTable


class Config(BaseModel):
    """A configuration that was checked as a whole. `load_config` and `parse_config` make one; nothing is read later.

    Raises:
        ConfigError: its parts do not fit together; the message lists all that is wrong.
    """

    model_config = SETTINGS

    server: ServerSettings = ServerSettings()
    routing: RoutingSettings = RoutingSettings()
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    limits: LimitsSettings = LimitsSettings()
    store: StoreSettings = StoreSettings()
    reasoning: ReasoningSettings = ReasoningSettings()
    metrics: MetricsSettings = MetricsSettings()
    keys: tuple[KeySettings, ...] = ()
    tenants: dict[str, TenantSettings] = Field(default_factory=dict)
    providers: dict[str, ProviderSettings] = Field(default_factory=lambda: {DEMO: ProviderSettings()})
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    metadata: dict[str, MetadataSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = Problems()
        find_problems(
            problems,
            server=self.server,
            routing=self.routing,
            keys=dict(enumerate(self.keys)),
            providers=self.providers,
            models=self.models,
        )
        find_quota_problems(
            problems,
            limits=self.limits,
            keys=dict(enumerate(self.keys)),
            tenants=self.tenants,
            providers=self.providers,
            models=self.models,
            prices=self.prices,
        )
        problems.raise_if_any()
        return self

    def providers_by_name(self) -> dict[str, Provider]:
        """The vendors, each as the dispatcher takes it."""
        return {name: build_provider(name, settings) for name, settings in self.providers.items()}

    def route_table(self) -> RouteTable:
        """Which model name goes where."""
        return build_routes(self.routing, self.providers, self.models)

    def cache_times(self) -> dict[str, float]:
        """For how many seconds answers are remembered, by the model's name; those that are missing have no cache."""
        return cache_times(self.models)

    def client_keys(self) -> tuple[Key, ...]:
        """Who may come in: digests, never secrets. None at all means that everybody on this machine may."""
        return tuple(
            Key(key.name, key.digest, models=key.models, expires=_midnight(key.expires), tenant=key.tenant)
            for key in self.keys
        )

    def limit_table(self) -> LimitTable:
        """Which limits there are; an empty table where none is configured."""
        return build_limits(self.keys, self.tenants, self.models)

    def price_table(self) -> PriceTable:
        """What the models cost."""
        return build_prices(self.prices, self.providers)

    def facts_table(self) -> FactsTable:
        """What is known about the models."""
        return build_facts(self.metadata)

    def warnings(self) -> tuple[str, ...]:
        """What works, but should be known."""
        found = []
        if not self.keys:
            found.append("No client keys are configured: every program on this machine may use the gateway.")
        today = datetime.now(UTC).date()
        found += [
            f'The key "{key.name}" has expired on {key.expires}: it is refused.'
            for key in self.keys
            if key.expires is not None and key.expires <= today
        ]
        found += budget_warnings(self.limits, self.keys, self.tenants, self.models, self.providers, self.prices)
        if self.server.workers > 1 and not self.store.is_shared and self.limit_table():
            found.append(
                f"Limits are counted by each of the {self.server.workers} workers for itself: "
                "point store.url at a Redis to have them counted together."
            )
        if list(self.providers) == [DEMO]:
            found.append(
                "No vendor is configured: the demo provider makes its answers up. "
                "Set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY, or write a configuration file."
            )
        return tuple(found)


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time.min, UTC)
