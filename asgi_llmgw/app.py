"""The gateway put together: the only place that knows every component."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
from prometheus_client import CollectorRegistry

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.components.auth import AuthMiddleware, Verify
from asgi_llmgw.components.context import ContextMiddleware, stdout_log
from asgi_llmgw.components.count_tokens import CountTokensApp
from asgi_llmgw.components.dispatch import DispatchApp
from asgi_llmgw.components.endpoints import EndpointsMiddleware
from asgi_llmgw.components.health import HealthApp, Readiness, ReadyApp
from asgi_llmgw.components.json_array import JSONArrayMiddleware
from asgi_llmgw.components.metrics import MetricsApp, MetricsMiddleware
from asgi_llmgw.components.models import ModelsApp
from asgi_llmgw.components.operations import OperationsApp
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.router import RouterMiddleware
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.config import Config, load_config
from asgi_llmgw.config.models import ReasoningSettings
from asgi_llmgw.exchange import Operation, Principal
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.routing.routes import RouteTable
from asgi_llmgw.store.base import SideTable
from asgi_llmgw.store.memory import MemorySideTable
from asgi_llmgw.upstream.aiohttp import AiohttpUpstream
from asgi_llmgw.upstream.base import Upstream
from asgi_llmgw.upstream.demo import DemoUpstream

ANONYMOUS: Final = Principal("anonymous")
"""Who everybody is where no keys are configured."""

_DEMO: Final = "demo:"


class Gateway:
    """The whole gateway as one ASGI app.

    Under a server of its own it answers the lifespan protocol. Mounted into a host, which gets no lifespan events, it
    starts by itself with the first request; a host that wants its connections closed in time uses `lifespan()`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        upstreams: Mapping[str, Upstream],
        readiness: Callable[[], Readiness],
        fallback: ASGIApp | None = None,
        drain_seconds: float = 30.0,
    ) -> None:
        self._app = app
        self._upstreams = dict(upstreams)
        self._readiness = readiness
        self._fallback = fallback
        self._drain_seconds = drain_seconds
        self._in_flight = 0
        self._idle: anyio.Event | None = None
        self._closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0 and self._idle is not None:
                self._idle.set()

    @property
    def readiness(self) -> Readiness:
        """Whether requests are welcome, and why not."""
        if self._closing:
            return Readiness(False, ("shutting down",))
        return self._readiness()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For hosts: `FastAPI(lifespan=gateway.lifespan)`, or `async with gateway.lifespan():` in the host's own."""
        self._closing = False
        try:
            yield
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Wait for running requests (`drain_seconds` at most), then close the connections to the vendors."""
        self._closing = True
        with anyio.CancelScope(shield=True):
            if self._in_flight:
                self._idle = anyio.Event()
                with anyio.move_on_after(self._drain_seconds):
                    await self._idle.wait()
            for upstream in {id(upstream): upstream for upstream in self._upstreams.values()}.values():
                await upstream.aclose()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._fallback is not None:
            await self._fallback(scope, receive, self._closing_before(send))
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._closing = False
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _closing_before(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self.aclose()
            await send(message)

        return sending


def build_app(
    config: Config | None = None,
    *,
    upstreams: Mapping[str, Upstream] | None = None,
    upstream: Upstream | None = None,
    verify: Verify | None = None,
    trust_scope_user: bool = False,
    fallback: ASGIApp | None = None,
    registry: CollectorRegistry | None = None,
    access_log: Callable[[bytes], None] | None = stdout_log,
) -> Gateway:
    """Put the gateway together.

    Args:
        config: None reads it as `load_config()` does.
        upstreams: transports for some providers, by provider name.
        upstream: the transport for all others; None makes one on aiohttp's client.
        verify: the host's own authentication: given the scope and the presented secret, it names the caller or None.
        trust_scope_user: take the user that a host's authentication middleware left at `scope["user"]`.
        fallback: the host's app, for every path that is not ours.
        registry: where the metrics go; None makes a registry of the gateway's own.
        access_log: takes one JSON line for each request; None, or `access_log = false`, turns it off.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = config if config is not None else load_config()
    providers = config.providers_by_name()
    table = config.route_table()
    transports = _transports(config, providers, upstreams or {}, upstream)
    registry = registry if registry is not None else CollectorRegistry()
    models = ModelsApp(table=table, created=int(time.time()))
    max_body = config.server.max_body_bytes
    counting = CountTokensApp(
        providers=providers, upstreams=transports, max_body=max_body, carriers_key=config.reasoning.sealing_key
    )
    apps: dict[Operation, ASGIApp] = {
        "chat": JSONArrayMiddleware(_chat(config, providers, table, transports)),
        "count_tokens": RouterMiddleware(counting, table=table, max_body=max_body),
        "models": models,
        "model": models,
        "health": HealthApp(),
        "ready": ReadyApp(lambda: gateway.readiness),
    }
    if config.metrics.enabled:
        apps["metrics"] = MetricsApp(registry)
    app = _auth(config, OperationsApp(apps), verify=verify, trust_scope_user=trust_scope_user)
    app = EndpointsMiddleware(app, fallback=fallback)
    app = MetricsMiddleware(app, registry=registry)
    app = ContextMiddleware(
        app, access_log=access_log if config.server.access_log else None, websockets=fallback is not None
    )
    gateway = Gateway(
        app,
        upstreams=transports,
        readiness=lambda: _readiness(table, providers),
        fallback=fallback,
        drain_seconds=config.server.drain_seconds,
    )
    return gateway


def from_environment() -> Gateway:
    """The gateway of `LLMGW_CONFIG`, or of the vendors' key variables: what a server's factory option points at."""
    return build_app(load_config())


def _auth(config: Config, app: ASGIApp, *, verify: Verify | None, trust_scope_user: bool) -> ASGIApp:
    keys = config.client_keys()
    open_to_all = not keys and verify is None and not trust_scope_user
    public: set[Operation] = {"health", "ready"}
    if config.metrics.public:
        public.add("metrics")
    return AuthMiddleware(
        app,
        keys=keys,
        verify=verify,
        public=public,
        anonymous=ANONYMOUS if open_to_all else None,
        trust_scope_user=trust_scope_user,
    )


def _chat(
    config: Config, providers: Mapping[str, Provider], table: RouteTable, transports: Mapping[str, Upstream]
) -> ASGIApp:
    max_body, reasoning = config.server.max_body_bytes, config.reasoning
    key, table_of_turns = reasoning.sealing_key, _side_table(reasoning)
    apps: dict[str, ASGIApp] = {
        name: TranslatorMiddleware(
            ProxyApp(provider, upstream=transports[name], max_body=2 * max_body, carriers_key=key),
            over=provider.protocols,
            profile_for=provider.profile_for,
            max_body=max_body,
            carriers_key=key,
            side_table=table_of_turns,
            side_table_ttl=reasoning.side_table_ttl_seconds,
        )
        for name, provider in providers.items()
    }
    return RouterMiddleware(DispatchApp(providers=apps, max_body=max_body), table=table, max_body=max_body)


def _side_table(reasoning: ReasoningSettings) -> SideTable | None:
    if not reasoning.side_table:
        return None
    return MemorySideTable(max_entries=reasoning.side_table_entries, max_bytes=reasoning.side_table_bytes)


def _transports(
    config: Config, providers: Mapping[str, Provider], given: Mapping[str, Upstream], upstream: Upstream | None
) -> dict[str, Upstream]:
    """One transport for each provider; those that need nothing special share one pool."""
    shared = upstream
    found: dict[str, Upstream] = {}
    for name, provider in providers.items():
        if name in given:
            found[name] = given[name]
        elif provider.base_url.startswith(_DEMO):
            found[name] = DemoUpstream()
        elif upstream is None and config.providers[name].trust_env_proxies:
            found[name] = AiohttpUpstream(trust_env=True)
        else:
            shared = found[name] = shared if shared is not None else AiohttpUpstream()
    return found


def _readiness(table: RouteTable, providers: Mapping[str, Provider]) -> Readiness:
    for route in table.routes:
        for target in route.targets:
            provider = providers.get(target.provider)
            if provider is not None and provider.usable():
                return Readiness(True)
    return Readiness(False, ("no target is usable: configure a provider and its API key",))
