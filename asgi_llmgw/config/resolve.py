"""From settings to what the gateway is built from: providers and routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from asgi_llmgw.config.models import ModelSettings, ProfileSettings, ProviderSettings, RoutingSettings
from asgi_llmgw.envelopes import Envelope
from asgi_llmgw.envelopes.converse import BedrockConverse
from asgi_llmgw.exchange import Target
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.providers.base import AuthStyle, Provider
from asgi_llmgw.providers.catalog import CATALOG, DEMO, CatalogEntry
from asgi_llmgw.routing.routes import ANY_MODEL, Route, RouteTable
from asgi_llmgw.signing import EXTRAS, make_signer
from asgi_llmgw.timeouts import Timeouts

_INVENTOR: Final[Mapping[Protocol, str]] = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "anthropic_messages": "anthropic",
    "gemini_generate": "gemini",
    "bedrock_converse": "bedrock-converse",
}
"""Whose way of sending keys and headers a server imitates when it speaks a protocol."""
_ALWAYS_WRAPPED: Final[Mapping[Protocol, Envelope]] = {"bedrock_converse": BedrockConverse()}
"""What a protocol comes in wherever it is spoken."""


def catalog_entry(name: str, settings: ProviderSettings) -> CatalogEntry | None:
    """The catalog's row for a provider, None if everything is spelled out."""
    return CATALOG.get(settings.kind or name)


def build_provider(name: str, settings: ProviderSettings) -> Provider:
    """The vendor that these settings describe; they were checked before."""
    row = catalog_entry(name, settings)
    protocols = settings.protocol or (row.protocols if row else ())
    pattern = row or CATALOG[_INVENTOR[protocols[0]]]
    headers = dict(pattern.headers)
    headers |= {key.encode(): value.reveal().encode() for key, value in settings.headers.items()}
    secrets = tuple(secret.reveal() for secret in settings.secrets)
    wrapped = row if settings.protocol is None else None
    values = row.filled(settings.places, {}) if row else {}
    auth = _auth(settings, pattern)
    return Provider(
        name=name,
        base_url=settings.base_url or (row.address({}, settings.places) or "" if row else ""),
        protocols=protocols,
        paths=wrapped.paths if wrapped else (),
        query=tuple((key, value.format(**values)) for key, value in (wrapped.query if wrapped else ())),
        auth=auth,
        api_keys=secrets,
        signer=make_signer(auth, region=settings.region),
        headers=tuple(headers.items()),
        forward_headers=pattern.forward_headers,
        envelope=wrapped.envelope if wrapped else _ALWAYS_WRAPPED.get(protocols[0]),
        operations=wrapped.operations if wrapped else None,
        profile=_profile(row.profile if row else Profile(), settings.profile),
        profiles=tuple((glob, _profile(facts, settings.profile)) for glob, facts in (row.profiles if row else ())),
        timeouts=Timeouts(**settings.timeouts.model_dump()),
        key_rotation=settings.key_rotation,
        on_disconnect=settings.on_disconnect,
    )


def _auth(settings: ProviderSettings, pattern: CatalogEntry) -> AuthStyle:
    """A server at an address of the operator's own may do without a key."""
    if settings.auth is not None:
        return settings.auth
    return pattern.auth if settings.secrets or pattern.auth in EXTRAS else "none"


def _profile(facts: Profile, settings: ProfileSettings) -> Profile:
    return msgspec.structs.replace(facts, **settings.model_dump(exclude_none=True))


def build_routes(
    routing: RoutingSettings, providers: Mapping[str, ProviderSettings], models: Mapping[str, ModelSettings]
) -> RouteTable:
    """All routes: the configured models, then what providers pass through by name."""
    direct = direct_routes(providers, models)
    found = dict(direct)
    for name, route in follow_aliases(models, direct).items():
        if route is not None:
            found[name] = replace(route, name=name, on_loss=models[name].on_loss or route.on_loss)
    ordered = [found[name] for name in (*models, *(name for name in found if name not in models)) if name in found]
    return RouteTable(ordered, default=_default(routing, providers, models, found))


def cache_times(models: Mapping[str, ModelSettings]) -> dict[str, float]:
    """For how many seconds answers are remembered, by the model's name; an alias has its model's time or its own."""
    found: dict[str, float] = {}
    for start, settings in models.items():
        walked: set[str] = set()
        while settings.cache_seconds is None and (alias := settings.alias) is not None:
            if alias not in models or alias in walked:
                break
            walked.add(alias)
            settings = models[alias]
        if settings.cache_seconds is not None:
            found[start] = settings.cache_seconds
    return found


def destination(name: str, routes: Mapping[str, Route]) -> Route | None:
    """Where a model name of the operator's leads, None if nowhere; the name of a glob means its route."""
    if name in routes:
        return routes[name]
    route = RouteTable(routes.values()).match(name)
    return route and replace(route, name=name, targets=route.targets_for(name), strip="")


def follow_aliases(models: Mapping[str, ModelSettings], direct: Mapping[str, Route]) -> dict[str, Route | None]:
    """Where each alias leads in the end: None for one that goes in circles or nowhere. Each is walked once."""
    found: dict[str, Route | None] = {}
    for start in models:
        walked: dict[str, None] = {}
        name = start
        while name not in walked and name not in found and name in models and (alias := models[name].alias) is not None:
            walked[name] = None
            name = alias
        end = None if name in walked else found[name] if name in found else destination(name, direct)
        found.update(dict.fromkeys(walked, end))
    return found


def direct_routes(providers: Mapping[str, ProviderSettings], models: Mapping[str, ModelSettings]) -> dict[str, Route]:
    """Every route that has targets of its own, by name."""
    found = {
        name: Route(
            name,
            tuple(Target(target.provider, target.model, target.weight) for target in settings.targets),
            strategy=settings.strategy,
            fallbacks=settings.fallbacks,
            sticky=settings.sticky,
            on_loss=settings.on_loss or "warn",
            stream_failure=settings.stream_failure,
            hedge=None if settings.hedge is None else settings.hedge.hedge,
        )
        for name, settings in models.items()
        if settings.alias is None
    }
    passed: dict[str, list[Target]] = {}
    for provider, settings in providers.items():
        for name in settings.models or ():
            if name not in models:
                passed.setdefault(name, []).append(Target(provider, ANY_MODEL))
    found |= {name: Route(name, tuple(targets)) for name, targets in passed.items()}
    if not models and all(settings.models is None for settings in providers.values()):
        for route in _everything(providers):
            found.setdefault(route.name, route)
    return found


def _everything(providers: Mapping[str, ProviderSettings]) -> Iterator[Route]:
    """Where no model is named at all: what the catalog knows of each provider, and all it has as `provider/model`."""
    for name, settings in providers.items():
        kind = settings.kind or name
        if kind == DEMO:
            # beside real vendors it answers to its own name alone, and never to a real model's
            yield Route(name, (Target(name, ANY_MODEL),))
        for glob in CATALOG[kind].model_globs if kind in CATALOG and kind != DEMO else ():
            yield Route(glob, (Target(name, ANY_MODEL),), strip=f"{kind}/")
        yield Route(f"{name}/*", (Target(name, ANY_MODEL),), strip=f"{name}/")


def _default(
    routing: RoutingSettings,
    providers: Mapping[str, ProviderSettings],
    models: Mapping[str, ModelSettings],
    routes: Mapping[str, Route],
) -> Route | None:
    if routing.default is not None:
        route = destination(routing.default, routes)
        return route and replace(route, name=routing.default)
    if list(providers) == [DEMO] and not models:
        # whatever name a client insists on: the first command works on a fresh machine
        return Route(DEMO, (Target(DEMO, ANY_MODEL),))
    return None
