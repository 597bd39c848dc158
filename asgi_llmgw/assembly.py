"""From a configuration to a stack of components: the only place that knows every one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry

from asgi_llmgw._types import ASGIApp
from asgi_llmgw.components.auth import AuthMiddleware, Verify
from asgi_llmgw.components.cache import CacheMiddleware
from asgi_llmgw.components.capabilities import CapabilitiesMiddleware
from asgi_llmgw.components.costs import CostsMiddleware
from asgi_llmgw.components.count_tokens import CountTokensApp
from asgi_llmgw.components.dispatch import DispatchApp
from asgi_llmgw.components.drain import Drain, DrainMiddleware
from asgi_llmgw.components.endpoints import EndpointsMiddleware
from asgi_llmgw.components.forward import ForwardApp
from asgi_llmgw.components.health import HealthApp, Readiness, ReadyApp
from asgi_llmgw.components.heartbeat import HeartbeatMiddleware
from asgi_llmgw.components.hooks import HooksMiddleware
from asgi_llmgw.components.json_array import JSONArrayMiddleware
from asgi_llmgw.components.limits import LimitsMiddleware
from asgi_llmgw.components.metrics import MetricsApp, TargetStates, store_gauge
from asgi_llmgw.components.models import ModelsApp
from asgi_llmgw.components.operations import OperationsApp
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.realtime import RealtimeApp, RealtimeEntrance
from asgi_llmgw.components.response_owners import ResponseOwnersMiddleware
from asgi_llmgw.components.router import RouterMiddleware
from asgi_llmgw.components.status import StatusApp
from asgi_llmgw.components.stored_responses import StoredResponsesMiddleware
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.config import Config
from asgi_llmgw.exchange import Operation, Principal
from asgi_llmgw.gateway import Stack
from asgi_llmgw.health_checks import Check, HealthChecks
from asgi_llmgw.hooks import Hooks
from asgi_llmgw.operation_stack import operation_apps
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.routing.health import Health
from asgi_llmgw.routing.policy import Balancer, Credentials
from asgi_llmgw.routing.retry import Retries
from asgi_llmgw.routing.routes import RouteTable
from asgi_llmgw.shared import Shared
from asgi_llmgw.store.base import SideTable
from asgi_llmgw.store.memory import MemorySideTable
from asgi_llmgw.store.responses import ResponseOwners
from asgi_llmgw.store.stores import Stores
from asgi_llmgw.upstream.base import Upstream
from asgi_llmgw.upstream.demo import DemoUpstream
from asgi_llmgw.upstream.httptools import HttptoolsUpstream
from asgi_llmgw.upstream.websocket import Refusal, SocketRequest, UpstreamSocket

ANONYMOUS: Final = Principal("anonymous")
"""Who everybody is where no keys are configured."""

_DEMO: Final = "demo:"
_RESPONSES: Final = 50_000
_ANSWERS: Final = 10_000
"""So many stored responses have a known owner, in this process."""
_SIDE_TABLE: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """What does not come from the configuration, and stays when that changes; see `build_app`."""

    registry: CollectorRegistry
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    upstream: Upstream | None = None
    verify: Verify | None = None
    trust_scope_user: bool = False
    fallback: ASGIApp | None = None
    hooks: Sequence[Hooks] = ()
    drain: Drain = field(default_factory=Drain)

    async def aclose(self) -> None:
        """Close the transports; each once."""
        for upstream in {id(upstream): upstream for upstream in (*self.upstreams.values(), self.upstream)}.values():
            if upstream is not None:
                await upstream.aclose()


def assemble(config: Config, shared: Shared, given: Given) -> Stack:
    """Put the stack of a configuration together.

    Args:
        shared: makes the parts that outlive the configuration, or takes them from the one before.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    providers = config.providers_by_name()
    table = config.route_table()
    transports = _transports(config, providers, shared, given)
    retries = _retries(config, providers, shared)
    facts = config.facts_table()
    models = ModelsApp(table=table, created=int(time.time()), facts=facts, prices=config.price_table())
    max_body = config.server.max_body_bytes
    counting = CountTokensApp(
        providers=providers, upstreams=transports, max_body=max_body, carriers_key=config.reasoning.sealing_key
    )

    def readiness() -> Readiness:
        return _readiness(table, providers, given.drain)

    stores = _stores(config, shared, given)
    owners = ResponseOwners(
        _side_table(stores, shared, "response owners", entries=_RESPONSES),
        keys={name: provider.api_keys for name, provider in providers.items()},
    )
    forward = _forward(config, providers, transports, retries)
    compact = ResponseOwnersMiddleware(forward, owners=owners, max_body=max_body)
    chat = _chat(config, providers, transports, retries, _turns(config, stores, shared), owners)
    chat = _cache(config, chat, stores, shared)
    limits, costs = _limits(config, stores), _costs(config)

    def routed(app: ASGIApp) -> ASGIApp:
        return _router(config, _hooks(config, costs(limits(app)), given), table, retries.balancer)

    apps: dict[Operation, ASGIApp] = {
        "chat": routed(chat),
        "compact": routed(compact),
        "stored_response": limits(StoredResponsesMiddleware(forward, owners=owners, providers=providers)),
        "count_tokens": _router(config, limits(counting), table),
        "realtime": _realtime(config, retries, routed, given),
        "models": models,
        "model": models,
        "health": HealthApp(),
        "ready": ReadyApp(readiness),
        "status": StatusApp(
            retries.balancer.health, store=None if stores.breaker is None else lambda: stores.available
        ),
    }
    apps |= operation_apps(config, providers, transports, retries, owners, routed=routed, counted=limits)
    if config.metrics.enabled:
        apps["metrics"] = MetricsApp(given.registry)
    app = _front(config, OperationsApp(apps), given)
    states = shared.keep("target states", None, lambda: TargetStates(given.registry))
    states.show(retries.balancer.health, (target for route in table.routes for target in route.targets))
    checks = _health_checks(config, providers, transports, retries, shared)
    return Stack(config, app, shared, readiness, start=checks.start)


def _front(config: Config, app: ASGIApp, given: Given) -> ASGIApp:
    """What every request meets, whatever it asks for."""
    app = _auth(config, app, given)
    app = DrainMiddleware(app, drain=given.drain)
    app = JSONArrayMiddleware(app)
    return EndpointsMiddleware(app, fallback=given.fallback)


def _auth(config: Config, app: ASGIApp, given: Given) -> ASGIApp:
    keys = config.client_keys()
    open_to_all = not keys and given.verify is None and not given.trust_scope_user
    public: set[Operation] = {"health", "ready"}
    if config.metrics.public:
        public.add("metrics")
    return AuthMiddleware(
        app,
        keys=keys,
        verify=given.verify,
        public=public,
        anonymous=ANONYMOUS if open_to_all else None,
        trust_scope_user=given.trust_scope_user,
    )


def _chat(
    config: Config,
    providers: Mapping[str, Provider],
    transports: Mapping[str, Upstream],
    retries: Retries,
    table_of_turns: SideTable | None,
    owners: ResponseOwners,
) -> ASGIApp:
    max_body, reasoning, facts = config.server.max_body_bytes, config.reasoning, config.facts_table()
    key = reasoning.sealing_key
    apps: dict[str, ASGIApp] = {
        name: CapabilitiesMiddleware(
            TranslatorMiddleware(
                ProxyApp(provider, upstream=transports[name], max_body=2 * max_body, carriers_key=key),
                over=provider.protocols,
                profile_for=provider.profile_for,
                max_body=max_body,
                carriers_key=key,
                side_table=table_of_turns,
                side_table_ttl=reasoning.side_table_ttl_seconds,
            ),
            facts_for=partial(facts.find, name),
            max_body=max_body,
        )
        for name, provider in providers.items()
    }
    dispatch = DispatchApp(providers=apps, retries=retries, max_body=max_body)
    app: ASGIApp = ResponseOwnersMiddleware(dispatch, owners=owners, max_body=max_body)
    if config.server.heartbeat_seconds:
        app = HeartbeatMiddleware(app, seconds=config.server.heartbeat_seconds)
    return app


def _limits(config: Config, stores: Stores) -> Callable[[ASGIApp], ASGIApp]:
    """Puts the limits around an app; where none are configured there is nothing in its way."""
    table, settings = config.limit_table(), config.limits
    if not table:
        return lambda app: app
    prices = config.price_table()
    return lambda app: LimitsMiddleware(
        app,
        store=stores.limits,
        limits=table,
        prices=prices,
        lease_seconds=settings.lease_seconds,
        default_output_tokens=settings.default_output_tokens,
        unpriced=settings.unpriced,
        max_body=config.server.max_body_bytes,
    )


def _cache(config: Config, app: ASGIApp, stores: Stores, shared: Shared) -> ASGIApp:
    seconds = config.cache_times()
    if not seconds:
        return app
    table = _side_table(stores, shared, "cache", entries=_ANSWERS)
    return CacheMiddleware(app, seconds=seconds, table=table, max_body=config.server.max_body_bytes)


def _hooks(config: Config, app: ASGIApp, given: Given) -> ASGIApp:
    return HooksMiddleware(app, hooks=given.hooks, max_body=config.server.max_body_bytes) if given.hooks else app


def _costs(config: Config) -> Callable[[ASGIApp], ASGIApp]:
    prices = config.price_table()
    return lambda app: CostsMiddleware(app, prices=prices)


def _router(config: Config, app: ASGIApp, table: RouteTable, balancer: Balancer | None = None) -> ASGIApp:
    server = config.server
    return RouterMiddleware(
        app,
        table=table,
        balancer=balancer,
        max_body=server.max_body_bytes,
        body_timeout=server.body_timeout_seconds,
        body_min_rate=server.body_min_bytes_per_second,
    )


def _forward(
    config: Config, providers: Mapping[str, Provider], transports: Mapping[str, Upstream], retries: Retries
) -> ASGIApp:
    """What goes to the vendors beside chat."""
    max_body, key = config.server.max_body_bytes, config.reasoning.sealing_key
    apps: dict[str, ASGIApp] = {
        name: ForwardApp(provider, upstream=transports[name], max_body=max_body, carriers_key=key)
        for name, provider in providers.items()
    }
    return DispatchApp(providers=apps, retries=retries, max_body=max_body)


def _realtime(config: Config, retries: Retries, routed: Callable[[ASGIApp], ASGIApp], given: Given) -> ASGIApp:
    """WebSockets have connections of their own."""
    apps: dict[str, ASGIApp] = {
        name: RealtimeApp(provider, upstream=_Realtime(trust_env=config.providers[name].trust_env_proxies))
        for name, provider in config.providers_by_name().items()
    }
    keys_alone = bool(config.client_keys()) and given.verify is None and not given.trust_scope_user
    return RealtimeEntrance(routed(DispatchApp(providers=apps, retries=retries)), any_origin=keys_alone)


def _retries(config: Config, providers: Mapping[str, Provider], shared: Shared) -> Retries:
    """What is known of the vendors' health; it is of use for as long as the vendors and their keys are the same."""
    credentials = {
        name: Credentials(max(1, len(provider.api_keys)), provider.key_rotation) for name, provider in providers.items()
    }
    same = {
        name: (provider.base_url, hash(provider.api_keys), credentials[name]) for name, provider in providers.items()
    }

    def make() -> Retries:
        health = Health(config.breaker.policy, clock=time.monotonic)
        return Retries(Balancer(health, credentials=credentials), config.retry.policy)

    return shared.keep("health", (config.retry, config.breaker, same), make)


def _health_checks(
    config: Config,
    providers: Mapping[str, Provider],
    transports: Mapping[str, Upstream],
    retries: Retries,
    shared: Shared,
) -> HealthChecks:
    """They begin anew with every configuration: what they hold is theirs alone."""
    every = {name: settings.health_check_seconds for name, settings in config.providers.items()}
    checks = [Check(providers[name], transports[name], seconds) for name, seconds in every.items() if seconds]
    health = retries.balancer.health
    return shared.keep(
        "health checks", object(), lambda: HealthChecks(health, checks), close=lambda checks: checks.aclose()
    )


def _stores(config: Config, shared: Shared, given: Given) -> Stores:
    gauge = shared.keep("store gauge", None, lambda: store_gauge(given.registry))

    def make() -> Stores:
        stores = config.store.open(workers=config.server.workers)
        stores.watch(gauge.set)
        return stores

    return shared.keep("stores", (config.store, config.server.workers), make, close=lambda stores: stores.aclose())


def _turns(config: Config, stores: Stores, shared: Shared) -> SideTable | None:
    reasoning = config.reasoning
    if not reasoning.side_table:
        return None
    return _side_table(
        stores, shared, "side table", entries=reasoning.side_table_entries, size=reasoning.side_table_bytes
    )


def _side_table(stores: Stores, shared: Shared, name: str, *, entries: int, size: int = _SIDE_TABLE) -> SideTable:
    """The one that all processes share, or one in the memory of this."""
    if stores.side_table is not None:
        return stores.side_table
    return shared.keep(name, (entries, size), lambda: MemorySideTable(max_entries=entries, max_bytes=size))


def _transports(config: Config, providers: Mapping[str, Provider], shared: Shared, given: Given) -> dict[str, Upstream]:
    """One transport for each provider; those that need nothing special share one pool."""
    found: dict[str, Upstream] = {}
    for name, provider in providers.items():
        if name in given.upstreams:
            found[name] = given.upstreams[name]
        elif provider.base_url.startswith(_DEMO):
            found[name] = _keep(shared, f"demo {name}", DemoUpstream)
        elif given.upstream is not None:
            found[name] = given.upstream
        elif config.providers[name].trust_env_proxies:
            found[name] = _keep(shared, f"connections through proxies {name}", lambda: _aiohttp(trust_env=True))
        elif config.server.http_client == "aiohttp":
            found[name] = _keep(shared, "connections of aiohttp", _aiohttp)
        else:
            found[name] = _keep(shared, "connections", HttptoolsUpstream)
    return found


def _aiohttp(*, trust_env: bool = False) -> Upstream:
    """aiohttp takes 10 MB and a tenth of a second, which only some configurations need."""
    from asgi_llmgw.upstream.aiohttp import AiohttpUpstream

    return AiohttpUpstream(trust_env=trust_env)


class _Realtime:
    """Connects with aiohttp once somebody wants a WebSocket."""

    def __init__(self, *, trust_env: bool) -> None:
        self._trust_env = trust_env

    def connect(self, request: SocketRequest, /) -> AbstractAsyncContextManager[UpstreamSocket | Refusal]:
        from asgi_llmgw.upstream.aiohttp_websocket import AiohttpRealtime

        return AiohttpRealtime(trust_env=self._trust_env).connect(request)


def _keep(shared: Shared, name: str, make: Callable[[], Upstream]) -> Upstream:
    return shared.keep(name, None, make, close=lambda upstream: upstream.aclose())


def _readiness(table: RouteTable, providers: Mapping[str, Provider], drain: Drain) -> Readiness:
    if drain.draining:
        return Readiness(False, ("shutting down",))
    for route in table.routes:
        for target in route.targets:
            provider = providers.get(target.provider)
            if provider is not None and provider.usable():
                return Readiness(True)
    return Readiness(False, ("no target is usable: configure a provider and its API key",))
