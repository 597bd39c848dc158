"""From method and path to operation and protocol."""

from __future__ import annotations

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import header, headers_of, route_path
from asgi_llmgw.errors import RequestError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.render import UPGRADE_REQUIRED, deny_websocket, no_websockets, send_error
from asgi_llmgw.routing.endpoints import Endpoint, MethodNotAllowed, match_endpoint


class EndpointsMiddleware:
    """Finds out what is asked for and in which protocol; answers 404 and 405 itself.

    Args:
        fallback: a host's own app, given everything that is not ours just as it came, WebSockets included.
    """

    def __init__(self, app: ASGIApp, *, fallback: ASGIApp | None = None) -> None:
        self._app = app
        self._fallback = fallback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        exchange = Exchange.get_or_create(scope)
        found = match_endpoint(scope["method"], route_path(scope), exchange.headers)
        if isinstance(found, Endpoint):
            exchange.operation = found.operation
            exchange.client_protocol = found.protocol
            exchange.endpoint = found.template
            exchange.response_id = found.response_id
            if found.operation != "chat":
                exchange.model = found.model
            # from here on the path is the protocol's own, wherever we are mounted
            path = found.path
            canonical = {**scope, "path": path, "raw_path": path.encode(), "root_path": "", SCOPE_KEY: exchange}
            await self._app(canonical, receive, send)
        elif found is not None:
            await _refuse_method(scope, send, exchange, found)
        elif self._fallback is not None:
            await self._fallback(scope, receive, send)
        else:
            error = RequestError(
                "Nothing is served at this path; chat completions are at /v1/chat/completions.",
                kind="not_found",
                code="unknown_url",
            )
            await _refuse(scope, send, exchange, error)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket" and (self._fallback is None or _is_ours(scope)):
            await deny_websocket(scope, send)
        elif self._fallback is not None:
            await self._fallback(scope, receive, send)
        else:
            raise ValueError(f"the scope type {scope['type']!r} is not served")


async def _refuse_method(scope: Scope, send: Send, exchange: Exchange, refused: MethodNotAllowed) -> None:
    exchange.client_protocol = refused.protocol
    exchange.endpoint = refused.template
    if (header(exchange.headers, b"upgrade") or "").lower() == "websocket":
        # what a server hands on that has no WebSockets of its own
        await _refuse(scope, send, exchange, no_websockets(), status=UPGRADE_REQUIRED)
        return
    allow = ", ".join(refused.allow)
    error = RequestError(f"This path answers {allow} only.", kind="method_not_allowed", code="method_not_allowed")
    await _refuse(scope, send, exchange, error, ((b"allow", allow.encode()),))


async def _refuse(
    scope: Scope,
    send: Send,
    exchange: Exchange,
    error: RequestError,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    *,
    status: int | None = None,
) -> None:
    exchange.reject(error)
    await send_error(
        send,
        error,
        exchange.client_protocol,
        request_id=exchange.request_id,
        extra_headers=headers,
        head=scope["method"] == "HEAD",
        status=status,
    )


def _is_ours(scope: Scope) -> bool:
    return match_endpoint("GET", route_path(scope), headers_of(scope)) is not None
