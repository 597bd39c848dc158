"""What no single value shows: whether the parts of a configuration fit together."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias

from asgi_llmgw.config.models import KeySettings, ModelSettings, ProviderSettings, RoutingSettings, ServerSettings
from asgi_llmgw.config.problems import Problems, did_you_mean
from asgi_llmgw.config.resolve import catalog_entry, destination, direct_routes, follow_aliases
from asgi_llmgw.providers.catalog import CATALOG, CatalogEntry
from asgi_llmgw.signing import EXTRAS, lacks

Providers: TypeAlias = Mapping[str, ProviderSettings]
Models: TypeAlias = Mapping[str, ModelSettings]

_PROVIDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_OR_TARGETS: Final = '; write targets = ["provider/model"] for a name that only the vendor knows'
_MODEL_NAME: Final = re.compile(r"[^\x00-\x20\x7f]{1,256}\Z")


def find_problems(
    problems: Problems,
    *,
    server: ServerSettings,
    routing: RoutingSettings,
    keys: Mapping[int, KeySettings],
    providers: Providers,
    models: Models,
    broken: Collection[tuple[str, str]] = (),
    open_to_all: bool | None = None,
) -> None:
    """Note everything that does not fit.

    Args:
        keys: the client keys by their place in the list.
        broken: (section, name) of entries that are already known to be wrong; what points at them is not.
        open_to_all: there is no client key; None takes it from `keys`.
    """
    _check_keys(problems, keys)
    if (not keys if open_to_all is None else open_to_all) and not is_loopback(server.host):
        problems.add(
            ("server", "host"),
            "without [[keys]] everybody who reaches this address could use your vendors' keys: "
            'add a key (name = "team-a", key = "env:NAME"), or listen on 127.0.0.1',
        )
    for name, provider in providers.items():
        _check_provider(problems, name, provider)
    names = {*providers, *(name for section, name in broken if section == "providers")}
    for name, model in models.items():
        if not _MODEL_NAME.match(name):
            problems.add(("models", name), "a model's name has 1 to 256 characters and no spaces")
        for number, target in enumerate(model.targets):
            if target.provider not in names:
                problems.add(("models", name, "targets", number), _unknown_provider(target.provider, names))
    for key in ("files", "caches", "usage"):
        pinned = getattr(routing, key)
        if pinned is not None and pinned not in names:
            problems.add(("routing", key), _unknown_provider(pinned, names))
    if not broken:
        _check_aliases(problems, routing, providers, models)
        _check_fallbacks(problems, providers, models)
    _check_hedges(problems, providers, models)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_keys(problems: Problems, keys: Mapping[int, KeySettings]) -> None:
    names: dict[str, int] = {}
    digests: dict[str, int] = {}
    for number, key in keys.items():
        first = names.setdefault(key.name, number)
        if first != number:
            problems.add(("keys", number, "name"), f'"{key.name}" is the name of keys[{first}] too: give it its own')
        first = digests.setdefault(key.digest, number)
        if first != number:
            problems.add(
                ("keys", number, "key"), f"is the same secret as that of keys[{first}]: give each client its own"
            )


def _check_provider(problems: Problems, name: str, settings: ProviderSettings) -> None:
    path = ("providers", name)
    if not _PROVIDER_NAME.match(name):
        problems.add(path, "a provider's name has letters, digits, '.', '_' and '-' only, 64 at most")
    if settings.kind is not None and settings.kind not in CATALOG:
        known = ", ".join(sorted(CATALOG))
        hint = did_you_mean(settings.kind, CATALOG) or f"; known are {known}"
        problems.add((*path, "kind"), f'"{settings.kind}" is not in the catalog{hint}')
        return
    row = catalog_entry(name, settings)
    if row is None and (settings.protocol is None or settings.base_url is None):
        missing = " and ".join(key for key in ("protocol", "base_url") if getattr(settings, key) is None)
        problems.add(
            path,
            f"is not in the catalog and has no {missing}: write "
            f'protocol = "openai_chat" and base_url = "https://…", or kind = "…"{did_you_mean(name, CATALOG)}',
        )
        return
    if row is not None and settings.base_url is None:
        _check_places(problems, path, row, settings)
    style = settings.auth or (row.auth if row is not None else None)
    _check_style(problems, path, style, settings)
    wrapped = (row is not None and row.envelope is not None) or "bedrock_converse" in (settings.protocol or ())
    if settings.health_check_seconds and (style in EXTRAS or wrapped):
        problems.add((*path, "health_check_seconds"), "is of no use here: this vendor has no list of models to ask for")
    needs_key = settings.auth != "none" if settings.auth else row is not None and row.key_required
    if style in EXTRAS:
        needs_key = False
    elsewhere = settings.base_url is not None and not (row is not None and row.lives_at(settings.base_url))
    if needs_key and not settings.secrets and (settings.auth is not None or not elsewhere):
        usual = f"set {row.key_variables[0]}, or " if row and row.key_variables and settings.auth is None else ""
        problems.add((*path, "api_key"), f'is missing: {usual}write api_key = "env:NAME"')


def _check_style(problems: Problems, path: tuple[str, str], style: str | None, settings: ProviderSettings) -> None:
    """Whether a way of telling who we are that is no header can be carried out."""
    extra = lacks(style or "")
    if extra is not None:
        problems.add((*path, "auth"), f'"{style}" needs a library: pip install "asgi-llmgw[{extra}]"')
    elif style == "sigv4" and settings.region is None:
        problems.add(
            (*path, "region"), 'is missing, and calls are signed for one: set AWS_REGION, or write region = "…"'
        )


def _check_places(problems: Problems, path: tuple[str, str], row: CatalogEntry, settings: ProviderSettings) -> None:
    """Whether the address of the catalog is whole."""
    for place in row.missing(settings.places):
        written = place.name if place.name in settings.places else "base_url"
        usual = " or ".join(place.variables)
        problems.add((*path, written), f'is missing: set {usual}, or write {written} = "…" (for {row.base_url})')


def _unknown_provider(name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known)
    row = CATALOG.get(name)
    if not hint and row is not None and row.key_variables:
        hint = f": write [providers.{name}] and set {row.key_variables[0]}"
    return f'there is no provider "{name}"{hint or f"; write [providers.{name}] first"}'


def _check_aliases(problems: Problems, routing: RoutingSettings, providers: Providers, models: Models) -> None:
    looping = _loops(models)
    direct = direct_routes(providers, models)
    ends = follow_aliases(models, direct)
    for name, model in models.items():
        if model.alias is None:
            continue
        if name in looping:
            problems.add(("models", name, "alias"), f'leads back to "{name}": point it at a model with targets')
        elif ends[name] is None and model.alias not in models:
            hint = did_you_mean(model.alias, models) or _OR_TARGETS
            problems.add(("models", name, "alias"), f'there is no model "{model.alias}"{hint}')
    default = routing.default
    if default is not None and default not in ends and destination(default, direct) is None:
        problems.add(("routing", "default"), f'there is no model "{default}"{did_you_mean(default, models)}')


def _check_fallbacks(problems: Problems, providers: Providers, models: Models) -> None:
    direct = direct_routes(providers, models)
    for name, model in models.items():
        for number, fallback in enumerate(model.fallbacks):
            path = ("models", name, "fallbacks", number)
            if model.alias is not None:
                problems.add(path, f'belongs to the model that this alias means: write it at "{model.alias}"')
            elif fallback == name:
                problems.add(path, "is the model itself: name another one")
            elif fallback not in models and destination(fallback, direct) is None:
                problems.add(path, f'there is no model "{fallback}"{did_you_mean(fallback, models)}')


def _check_hedges(problems: Problems, providers: Providers, models: Models) -> None:
    """A second attempt needs somebody else to make it."""
    for name, model in models.items():
        if model.hedge is None or model.fallbacks or len(model.targets) > 1:
            continue
        if model.alias is not None:
            problems.add(("models", name, "hedge"), "belongs to the model that this alias means: write it there")
            continue
        provider = providers.get(model.targets[0].provider)
        if provider is not None and len(provider.secrets) < 2:
            problems.add(
                ("models", name, "hedge"),
                "has nobody to ask beside the only target: write a second target, fallbacks, or two api_keys",
            )


def _loops(models: Models) -> set[str]:
    """The names whose aliases never arrive; each is walked once, however long the chains are."""
    settled: set[str] = set()
    looping: set[str] = set()
    for start in models:
        walked: dict[str, None] = {}
        name: str | None = start
        while name is not None and name in models and name not in settled and name not in walked:
            walked[name] = None
            name = models[name].alias
        if name is not None and (name in walked or name in looping):
            looping.update(walked)
        settled.update(walked)
    return looping
