"""Finds the vendor that holds a stored response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.errors import RequestError
from asgi_llmgw.exchange import Exchange, Target
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.render import send_error
from asgi_llmgw.store.responses import ResponseOwner, ResponseOwners

_MAX_SHOWN: Final = 100


class StoredResponsesMiddleware:
    """Put the one target into the exchange that a stored response can be asked of.

    That is the provider it came from, for the caller who got it: for others it does not exist. A response nobody
    remembers, from before a restart, is asked for where there is only one provider that could have it.

    Args:
        app: dispatches to the target.
        owners: what is remembered.
        providers: every provider by name.
    """

    def __init__(self, app: ASGIApp, *, owners: ResponseOwners, providers: Mapping[str, Provider]) -> None:
        self._app = app
        self._owners = owners
        holding = [name for name, provider in providers.items() if "openai_responses" in provider.protocols]
        self._only = holding[0] if len(holding) == 1 else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange, scope = Exchange.of(scope)
        identifier = exchange.response_id or ""
        owner = await self._owners.find(identifier)
        target, reason = self._target(exchange, owner)
        if target is None:
            shown = identifier[:_MAX_SHOWN]
            message = f"Response with id '{shown}' not found{reason}."
            error = RequestError(message, kind="not_found", param="id", code="response_not_found")
            exchange.reject(error)
            await send_error(send, error, "openai_responses", request_id=exchange.request_id)
            return
        if owner is not None:
            exchange.model, exchange.route = owner.model, owner.route
        exchange.targets = (target,)
        await self._app(scope, receive, send)

    def _target(self, exchange: Exchange, owner: ResponseOwner | None) -> tuple[Target | None, str]:
        """Where the response is; else what there is to say about it."""
        if owner is None:
            if self._only is not None:
                return Target(self._only, ""), ""
            return None, (
                ": the gateway does not know which provider holds it. Responses that were translated from another "
                "protocol are never stored"
            )
        if owner.principal != (exchange.principal.name if exchange.principal is not None else ""):
            return None, ""
        if owner.translated:
            return None, ": it was translated from another protocol and never stored"
        return Target(owner.provider, owner.upstream_model, credential=owner.credential), ""
