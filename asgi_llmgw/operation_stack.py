"""The part of the stack for what can be asked of vendors beside chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from asgi_llmgw._types import ASGIApp
from asgi_llmgw.components.dispatch import DispatchApp
from asgi_llmgw.components.heartbeat import HeartbeatMiddleware
from asgi_llmgw.components.pinned import PinnedMiddleware
from asgi_llmgw.components.relay import RelayApp
from asgi_llmgw.components.uploads import UploadsMiddleware
from asgi_llmgw.config import Config
from asgi_llmgw.exchange import Operation
from asgi_llmgw.ir import Protocol
from asgi_llmgw.operations.table import family
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.routing.retry import Retries
from asgi_llmgw.store.responses import ResponseOwners
from asgi_llmgw.upstream.base import Upstream

_ROUTED: Final[tuple[Operation, ...]] = (
    "embeddings",
    "completions",
    "images",
    "speech",
    "transcriptions",
    "moderations",
    "rerank",
    "predict",
)


def operation_apps(
    config: Config,
    providers: Mapping[str, Provider],
    transports: Mapping[str, Upstream],
    retries: Retries,
    owners: ResponseOwners,
    *,
    routed: Callable[[ASGIApp], ASGIApp],
    counted: Callable[[ASGIApp], ASGIApp],
) -> dict[Operation, ASGIApp]:
    """One app for each operation.

    Args:
        owners: remembers whose the files, batches and caches are.
        routed: puts router, hooks, costs and limits around an app.
        counted: puts the limits around an app whose target is known.
    """
    server = config.server
    relays: dict[str, ASGIApp] = {
        name: RelayApp(provider, upstream=transports[name], max_body=server.max_body_bytes)
        for name, provider in providers.items()
    }
    dispatch: ASGIApp = DispatchApp(providers=relays, retries=retries, max_body=server.max_body_bytes)
    beating = HeartbeatMiddleware(dispatch, seconds=server.heartbeat_seconds) if server.heartbeat_seconds else dispatch

    def uploads(app: ASGIApp) -> ASGIApp:
        return UploadsMiddleware(
            app,
            max_upload=server.max_upload_bytes,
            silence=server.body_timeout_seconds,
            min_rate=server.body_min_bytes_per_second,
        )

    def pinned(provider: str | None, create: ASGIApp | None = None) -> ASGIApp:
        return PinnedMiddleware(counted(dispatch), owners=owners, provider=provider, create=create)

    app = uploads(routed(beating))
    files = config.routing.files or _only(providers, "openai_chat")
    caches = config.routing.caches or _only(providers, "gemini_generate")
    return {
        **dict.fromkeys(_ROUTED, app),
        "files": uploads(pinned(files)),
        "batches": pinned(files),
        "usage": pinned(config.routing.usage),
        "caches": pinned(caches, create=routed(dispatch)),
    }


def _only(providers: Mapping[str, Provider], protocol: Protocol) -> str | None:
    """The one provider that has the operations of a protocol."""
    found = [name for name, provider in providers.items() if protocol in family(provider.protocols)]
    return found[0] if len(found) == 1 else None
