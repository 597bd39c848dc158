"""What limits and prices are built from, and whether they fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from asgi_llmgw.config.limits import LimitsSettings, PriceSettings, TenantSettings
from asgi_llmgw.config.models import KeySettings, ModelSettings, ProviderSettings
from asgi_llmgw.config.problems import Path, Problems, did_you_mean
from asgi_llmgw.exchange import Target
from asgi_llmgw.limiting.table import LimitTable
from asgi_llmgw.pricing import Price, PriceTable
from asgi_llmgw.providers.catalog import DEMO
from asgi_llmgw.routing.routes import ANY_MODEL
from asgi_llmgw.store.base import Limit

_FREE: Final = Price(input=0.0, output=0.0)
_SHOWN: Final = 3


def build_limits(
    keys: Iterable[KeySettings], tenants: Mapping[str, TenantSettings], models: Mapping[str, ModelSettings]
) -> LimitTable:
    """All limits. What is asked for by an alias meets the alias's own limits and those of the model it stands for."""
    return LimitTable(
        keys={key.name: key.limits("key", key.name) for key in keys},
        tenants={name: tenant.limits("tenant", name) for name, tenant in tenants.items()},
        models=_of_models(models),
    )


def build_prices(prices: Mapping[str, PriceSettings], providers: Mapping[str, ProviderSettings]) -> PriceTable:
    """All prices; what the demo provider makes up is free."""
    free = {f"{name}/*": _FREE for name, provider in providers.items() if (provider.kind or name) == DEMO}
    return PriceTable({**free, **{name: settings.price for name, settings in prices.items()}})


def find_quota_problems(
    problems: Problems,
    *,
    limits: LimitsSettings,
    keys: Mapping[int, KeySettings],
    tenants: Mapping[str, TenantSettings],
    providers: Mapping[str, ProviderSettings],
    models: Mapping[str, ModelSettings],
    prices: Mapping[str, PriceSettings],
    broken: Collection[tuple[str, str]] = (),
) -> None:
    """Note every tenant that does not exist, and every budget that cannot be kept.

    Args:
        broken: (section, name) of entries that are already known to be wrong; what points at them is not.
    """
    names = {*tenants, *(name for section, name in broken if section == "tenants")}
    for number, key in keys.items():
        if key.tenant is not None and key.tenant not in names:
            hint = did_you_mean(key.tenant, names) or f": write [tenants.{key.tenant}]"
            problems.add(("keys", number, "tenant"), f'there is no tenant "{key.tenant}"{hint}')
    if broken or limits.unpriced == "allow":
        return
    table = build_prices(prices, providers)
    for path, allowed in _budgets(keys, tenants, models):
        unknown = [_spelled(target) for target in _targets(models, allowed) if table.find(*_pair(target)) is None]
        if unknown:
            problems.add(
                (*path, "budget_usd"),
                f"cannot be kept without the price of {_listed(unknown)}: "
                f'write [prices."{unknown[0]}"] with input and output in USD per million tokens, '
                'or unpriced = "allow" below [limits]',
            )


def budget_warnings(
    limits: LimitsSettings,
    keys: Iterable[KeySettings],
    tenants: Mapping[str, TenantSettings],
    models: Mapping[str, ModelSettings],
    providers: Mapping[str, ProviderSettings],
    prices: Mapping[str, PriceSettings],
) -> list[str]:
    """What budgets are told to let pass uncounted."""
    budgets = list(_budgets(dict(enumerate(keys)), tenants, models)) if limits.unpriced == "allow" else []
    table = build_prices(prices, providers)
    reached = {target: None for _, allowed in budgets for target in _targets(models, allowed)}
    unknown = [_spelled(target) for target in reached if table.find(*_pair(target)) is None]
    return [f"Budgets do not count {_listed(unknown)}: no price is known for it."] if unknown else []


def _of_models(models: Mapping[str, ModelSettings]) -> dict[str, tuple[Limit, ...]]:
    """The limits of each model and of what it stands for; each alias is walked once."""
    found: dict[str, tuple[Limit, ...]] = {}
    for start in models:
        walked: dict[str, None] = {}
        name: str | None = start
        while name is not None and name in models and name not in found and name not in walked:
            walked[name] = None
            name = models[name].alias
        limits = found.get(name, ()) if name is not None else ()
        for name in reversed(walked):
            limits = found[name] = models[name].limits("model", name) + limits
    return found


def _budgets(
    keys: Mapping[int, KeySettings], tenants: Mapping[str, TenantSettings], models: Mapping[str, ModelSettings]
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Where a budget is written, and the globs of the models it is for."""
    for number, key in keys.items():
        if key.budget_usd is not None:
            yield ("keys", number), key.models
    for name, tenant in tenants.items():
        if tenant.budget_usd is not None:
            globs = {glob: None for key in keys.values() if key.tenant == name for glob in key.models}
            yield ("tenants", name), tuple(globs)
    for name, model in models.items():
        if model.budget_usd is not None:
            yield ("models", name), (name,)


def _targets(models: Mapping[str, ModelSettings], allowed: Collection[str]) -> Iterator[Target]:
    """The targets with a name of their own of all models that these globs cover, each once."""
    found: dict[Target, None] = {}
    for name in models:
        if any(fnmatchcase(name, glob) for glob in allowed):
            targets = _destination(name, models).targets
            found |= {Target(target.provider, target.model): None for target in targets if target.model != ANY_MODEL}
    yield from found


def _destination(name: str, models: Mapping[str, ModelSettings]) -> ModelSettings:
    walked = {name}
    model = models[name]
    while model.alias is not None and model.alias in models and model.alias not in walked:
        walked.add(model.alias)
        model = models[model.alias]
    return model


def _pair(target: Target) -> tuple[str, str]:
    return target.provider, target.model


def _spelled(target: Target) -> str:
    return f"{target.provider}/{target.model}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
