"""One app for each operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.errors import ConfigError, RequestError
from asgi_llmgw.exchange import Exchange, Operation
from asgi_llmgw.render import send_error


class OperationsApp:
    """Hands a request to the app of its operation.

    Args:
        apps: which app does what; an operation that is not in it is answered 404.
    """

    def __init__(self, apps: Mapping[Operation, ASGIApp]) -> None:
        unknown = sorted(set(apps) - set(get_args(Operation)))
        if unknown:
            raise ConfigError(f"{unknown[0]!r} is not an operation; use one of {', '.join(get_args(Operation))}")
        self._apps = dict(apps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the scope type {scope['type']!r} is not served")
        exchange, scope = Exchange.of(scope)
        app = None if exchange.operation is None else self._apps.get(exchange.operation)
        if app is not None:
            await app(scope, receive, send)
            return
        error = RequestError("This operation is not served here.", kind="not_found", code="unknown_url")
        exchange.reject(error)
        await send_error(
            send,
            error,
            exchange.client_protocol,
            request_id=exchange.request_id,
            head=scope["method"] == "HEAD",
        )
