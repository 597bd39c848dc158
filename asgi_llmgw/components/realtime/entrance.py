"""What a realtime session is asked at the door, before any vendor hears of it."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from asgi_llmgw._types import ASGIApp, Headers, Receive, Scope, Send
from asgi_llmgw.asgi import ClientDisconnected, header, read_body, replay, send_gone
from asgi_llmgw.components.realtime.socket import SOCKET_KEY
from asgi_llmgw.errors import AuthError, GatewayError, RequestError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.json import dumps
from asgi_llmgw.render import UPGRADE_REQUIRED, send_error

_ELSEWHERE: Final = ("call_id", "intent")
"""Parameters of sessions that name no model, or are not the caller's own; the gateway could not say whose they are."""
_MAX_QUERY: Final = 8


class RealtimeEntrance:
    """Tells the components behind it the model of a session, as the body of the request; refuses what is none.

    Args:
        app: routes the request.
        any_origin: pages of every origin may come in. That is for gateways that let in nobody without a key of theirs:
            where anybody may come in, or whom a cookie vouches for, each page a user opens could talk to the gateway
            in that user's name.
    """

    def __init__(self, app: ASGIApp, *, any_origin: bool = False) -> None:
        self._app = app
        self._any_origin = any_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        status: int | None = None
        try:
            await read_body(receive, headers=exchange.headers)
            if SOCKET_KEY not in scope:
                status = UPGRADE_REQUIRED
                raise _no_socket()
            if not self._any_origin and _is_foreign(exchange.headers):
                raise AuthError(
                    "Pages of other origins may not open WebSockets here.", kind="forbidden", code="foreign_origin"
                )
            body = dumps({"model": _model(scope)})
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            exchange.reject(error)
            protocol = exchange.client_protocol
            await send_error(send, error, protocol, request_id=exchange.request_id, status=status)
            return
        await self._app(scope, replay(body, receive), send)


def _no_socket() -> RequestError:
    return RequestError(
        "Realtime sessions are WebSockets. If this was one, the gateway's server cannot serve any: it needs the "
        "package websockets or wsproto.",
        kind="method_not_allowed",
        code="websocket_required",
    )


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that the page is not of this address; programs do not send the header."""
    origin = header(headers, b"origin")
    if origin is None:
        return False
    page = origin.partition("://")[2].lower()
    return not page or page != (header(headers, b"host") or "").lower()


def _model(scope: Scope) -> str:
    query = bytes(scope.get("query_string") or b"").decode("latin-1")
    try:
        found = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY)
    except ValueError:
        raise RequestError("The query cannot be read.", code="invalid_query") from None
    for name in _ELSEWHERE:
        if name in found:
            raise RequestError(
                f"Sessions with {name!r} are not served here.",
                kind="unsupported",
                param=name,
                code="unsupported_session",
            )
    models = found.get("model", [])
    if len(models) != 1 or not models[0]:
        raise RequestError(
            "The address of a realtime session ends in ?model= and the name of one model.",
            param="model",
            code="missing_required_parameter",
        )
    return models[0]
