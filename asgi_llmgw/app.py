"""The gateway put together, for a server or for a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from asgi_llmgw._types import ASGIApp
from asgi_llmgw.assembly import ANONYMOUS, Given, assemble
from asgi_llmgw.components.auth import Verify
from asgi_llmgw.components.context import ContextMiddleware, stdout_log
from asgi_llmgw.components.metrics import MetricsMiddleware
from asgi_llmgw.components.realtime import HandshakeMiddleware
from asgi_llmgw.config import Config, load_config
from asgi_llmgw.gateway import Gateway
from asgi_llmgw.hooks import Hooks
from asgi_llmgw.upstream.base import Upstream

__all__ = ("ANONYMOUS", "Gateway", "build_app", "from_environment")


def build_app(
    config: Config | None = None,
    *,
    upstreams: Mapping[str, Upstream] | None = None,
    upstream: Upstream | None = None,
    verify: Verify | None = None,
    trust_scope_user: bool = False,
    fallback: ASGIApp | None = None,
    hooks: Sequence[Hooks] = (),
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
        hooks: see and change requests and answers; called in this order.
        registry: where the metrics go; None makes a registry of the gateway's own.
        access_log: takes one JSON line for each request; None, or `access_log = false`, turns it off.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    given = Given(
        registry=registry if registry is not None else CollectorRegistry(),
        upstreams=dict(upstreams or {}),
        upstream=upstream,
        verify=verify,
        trust_scope_user=trust_scope_user,
        fallback=fallback,
        hooks=tuple(hooks),
    )

    def log(line: bytes) -> None:
        if access_log is not None and gateway.config.server.access_log:
            access_log(line)

    def around(app: ASGIApp) -> ASGIApp:
        counted = MetricsMiddleware(app, registry=given.registry)
        context = ContextMiddleware(
            counted,
            access_log=None if access_log is None else log,
            websockets=fallback is not None,
            send_stall=lambda: gateway.config.server.send_stall_seconds,
        )
        return HandshakeMiddleware(context)

    gateway = Gateway(
        config if config is not None else load_config(),
        assemble=lambda config, shared: assemble(config, shared, given),
        around=around,
        drain=given.drain,
        given=given.aclose,
        fallback=fallback,
    )
    return gateway


def from_environment() -> Gateway:
    """The gateway of `LLMGW_CONFIG`, or of the vendors' key variables: what a server's factory option points at."""
    return build_app(load_config())
