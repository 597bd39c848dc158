"""Reads which model is asked for and finds where it may go."""

from __future__ import annotations

from typing import Final

from asgi_llmgw._types import ASGIApp, Headers, Receive, Scope, Send
from asgi_llmgw.asgi import (
    BODY_RATE,
    BODY_TIMEOUT,
    MAX_BODY,
    ClientDisconnected,
    Replay,
    path_with_query,
    read_body,
    send_gone,
)
from asgi_llmgw.errors import GatewayError, RequestError
from asgi_llmgw.exchange import Exchange, Principal, Target
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import Document, JSONError
from asgi_llmgw.operations.table import wire
from asgi_llmgw.protocols import codec
from asgi_llmgw.render import send_error
from asgi_llmgw.routing.policy import Balancer, Strategy
from asgi_llmgw.routing.routes import Route, RouteTable
from asgi_llmgw.routing.sessions import session_of
from asgi_llmgw.translate import translate_request

_MAX_MODEL_NAME: Final = 256
_JSON_TYPES: Final = (b"application/json", b"text/json", b"text/plain")


class RouterMiddleware:
    """Put the request's model, its route and its targets into the exchange.

    The body is read once, up to `max_body`, and handed on whole. A model that does not exist and one the caller may not
    use are answered alike, so that nobody learns names from the difference.

    Args:
        app: dispatches to the targets.
        table: the configured routes.
        balancer: puts a route's targets into the order of its strategy; None leaves them as they are configured.
        serve: the protocol of the clients; None takes it from the exchange.
        max_body: the largest request, in bytes.
        body_timeout: seconds in which it must have come.
        body_min_rate: bytes a second on average, below which it is too slow.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        table: RouteTable,
        balancer: Balancer | None = None,
        serve: Protocol | None = None,
        max_body: int = MAX_BODY,
        body_timeout: float = BODY_TIMEOUT,
        body_min_rate: float = BODY_RATE,
    ) -> None:
        self._app = app
        self._table = table
        self._balancer = balancer
        self._serve: Protocol | None = serve
        self._max_body = max_body
        self._body_timeout = body_timeout
        self._body_min_rate = body_min_rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        protocol = exchange.client_protocol = self._serve or exchange.client_protocol or "openai_chat"
        try:
            if exchange.upload is None:
                _check_media(exchange.headers)
            read = await read_body(
                receive,
                headers=exchange.headers,
                limit=self._max_body,
                timeout=self._body_timeout,
                min_rate=self._body_min_rate,
            )
            body = Document.of(read)
            if protocol == "openai_chat" and exchange.operation in (None, "chat"):
                body = _as_chat(body)
            model = exchange.model
            if model is None:
                # otherwise the path has named it
                spoken = wire(exchange.operation, protocol) or codec(protocol)
                head = spoken.peek(path_with_query(scope), body)
                model = exchange.model = head.model
                exchange.stream = head.stream
            exchange.seen_body = body
            route = self._find(model, exchange.principal)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            exchange.reject(error)
            await send_error(send, error, protocol, request_id=exchange.request_id)
            return
        exchange.route = route.name
        exchange.on_loss = route.on_loss
        exchange.stream_failure = route.stream_failure
        exchange.hedge = route.hedge
        self._choose(exchange, route, body)
        await self._app(scope, Replay(body, receive), send)

    def _choose(self, exchange: Exchange, route: Route, body: bytes) -> None:
        """Where the request may go, in the order to try: the route's own targets, then those of its fallbacks.

        A fallback is another model of the gateway's, so the caller must be allowed to use it. Which session it is does
        not matter where there is no choice.
        """
        targets, balancer, principal = route.targets_for(exchange.model or ""), self._balancer, exchange.principal
        others = self._fallbacks(route, principal) if route.fallbacks else []
        exchange.session = None
        if not others and (balancer is None or not balancer.has_choice(targets)):
            exchange.targets = targets
            return
        ways = [(route.strategy, targets), *others]
        if balancer is not None:
            exchange.session = session_of(exchange.headers, body) if route.sticky else None
            ways = [(way, balancer.order(targets, way, session=exchange.session)) for way, targets in ways]
        exchange.targets = ways[0][1] if len(ways) == 1 else _each_once([targets for _, targets in ways])

    def _fallbacks(self, route: Route, principal: Principal | None) -> list[tuple[Strategy, tuple[Target, ...]]]:
        found = []
        for name in route.fallbacks:
            fallback = self._table.match(name)
            if fallback is not None and (principal is None or principal.may_use(name)):
                found.append((fallback.strategy, fallback.targets_for(name)))
        return found

    def _find(self, model: str, principal: Principal | None) -> Route:
        table = self._table
        # a name that is configured needs no look, and globs are for what can be one
        route = table.exact.get(model) or (table.match(model) if _is_name(model) else None)
        if route is None or not (principal is None or principal.may_use(model)):
            raise RequestError(
                f"The model {_shown(model)!r} does not exist or you do not have access to it.",
                kind="model_not_found",
                param="model",
                code="model_not_found",
            )
        return route


def _each_once(lists: list[tuple[Target, ...]]) -> tuple[Target, ...]:
    return tuple(dict.fromkeys(target for targets in lists for target in targets))


def _as_chat(body: Document) -> Document:
    """Some editors (Cursor) send what is meant for Responses to the path of Chat Completions, and expect chat back."""
    try:
        found = body.members()
    except JSONError:
        # whoever reads it next says what is wrong with it
        return body
    if "input" not in found or "messages" in found:
        return body
    return Document.of(translate_request(body, source="openai_responses", target="openai_chat").body)


def _is_name(model: str) -> bool:
    return 0 < len(model) <= _MAX_MODEL_NAME and model.isprintable() and model == model.strip()


def _shown(model: str) -> str:
    """The client's own words, as far as they are fit to be repeated."""
    return "".join(character if character.isprintable() else "?" for character in model[:_MAX_MODEL_NAME])


def _check_media(headers: Headers) -> None:
    named = dict(headers)
    if b"content-encoding" in named:
        _check_encoding(headers)
    kind = named.get(b"content-type", b"application/json")
    if kind in _JSON_TYPES:
        return
    kind = kind.partition(b";")[0].strip().lower()
    if kind not in _JSON_TYPES and not kind.endswith(b"+json"):
        raise RequestError(
            "The request body must be JSON (content-type: application/json).", kind="unsupported_media_type"
        )


def _check_encoding(headers: Headers) -> None:
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise RequestError(
                "Compressed request bodies are not accepted; send the JSON as it is.", kind="unsupported_media_type"
            )
