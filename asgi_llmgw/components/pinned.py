"""What lies at one vendor: files, batches, cached prompts. All clients share the operator's account there."""

from __future__ import annotations

from typing import Final, cast

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.errors import AuthError, GatewayError, RequestError
from asgi_llmgw.exchange import Exchange, Operation, Target
from asgi_llmgw.json import JSONError, as_str, loads, members
from asgi_llmgw.render import send_error
from asgi_llmgw.store.responses import ResponseOwner, ResponseOwners

_MAX_SHOWN: Final = 100
_MAX_ID: Final = 256
_MAX_WATCHED: Final = 1024 * 1024
_UNSEEN: Final[frozenset[Operation]] = frozenset({"batches", "usage"})
"""What is asked for there cannot be seen from here, so that no allow-list of models could be kept."""


class PinnedMiddleware:
    """Put the one target into the exchange that has what is asked for.

    What a key has made is its own: for others it does not exist. What nobody remembers, and the lists of everything,
    are for keys alone that may use every model, and so are batches.

    Args:
        app: dispatches to the target.
        owners: what is remembered.
        provider: where things lie; None where the operation is not offered.
        create: routes and dispatches requests for something new that name a model; None: they are pinned as well.
    """

    def __init__(
        self, app: ASGIApp, *, owners: ResponseOwners, provider: str | None, create: ASGIApp | None = None
    ) -> None:
        self._app = app
        self._owners = owners
        self._provider = provider
        self._create = create

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange, scope = Exchange.of(scope)
        creates = scope["method"] == "POST" and exchange.response_id is None
        try:
            app, target = self._app, await self._target(exchange, creates=creates)
        except GatewayError as error:
            exchange.reject(error)
            await send_error(send, error, exchange.client_protocol, request_id=exchange.request_id)
            return
        exchange.targets = (target,)
        if creates:
            send = _Watch(send, exchange, self._owners)
            app = self._create or app
        await app(scope, receive, send)

    async def _target(self, exchange: Exchange, *, creates: bool) -> Target:
        if self._provider is None:
            raise RequestError(
                "This operation is not served here: no provider, or more than one, could be meant.",
                kind="not_found",
                code="operation_not_configured",
            )
        principal, identifier = exchange.principal, exchange.response_id
        trusted = principal is None or "*" in principal.models
        if not trusted and (exchange.operation in _UNSEEN or (identifier is None and not creates)):
            raise AuthError("This is for keys that may use every model.", kind="forbidden", code="key_is_restricted")
        if identifier is None or exchange.operation == "usage":
            return Target(self._provider, "")
        owner = await self._owners.find(_key(exchange, identifier))
        mine = trusted if owner is None else owner.principal == ("" if principal is None else principal.name)
        if not mine:
            shown = identifier[:_MAX_SHOWN]
            raise RequestError(f"There is no '{shown}' here.", kind="not_found", param="id", code="not_found")
        if owner is None:
            return Target(self._provider, "")
        return Target(owner.provider, "", credential=owner.credential)


def _key(exchange: Exchange, identifier: str) -> str:
    """Things of different kinds may be called the same."""
    return f"{exchange.operation}/{identifier}"


class _Watch:
    """A `send` that notes the id of what was made before the client can come back with it."""

    def __init__(self, send: Send, exchange: Exchange, owners: ResponseOwners) -> None:
        self._send = send
        self._exchange = exchange
        self._owners = owners
        self._good = False
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._good = message["status"] < 300
        elif self._good:
            self._body += cast(bytes, message.get("body", b""))
            if len(self._body) > _MAX_WATCHED:
                self._good = False
            elif not message.get("more_body", False):
                await self._remember()
        await self._send(message)

    async def _remember(self) -> None:
        identifier, exchange = self._identifier(), self._exchange
        if identifier is None or len(identifier) > _MAX_ID:
            return
        owner = ResponseOwner(
            principal="" if exchange.principal is None else exchange.principal.name,
            provider=exchange.provider or "",
            credential=exchange.credential,
        )
        await self._owners.remember(_key(exchange, identifier), owner)

    def _identifier(self) -> str | None:
        """OpenAI calls it `id`, Gemini `name` with the collection before it."""
        try:
            raw = members(bytes(self._body))
            told = raw.get("id") or raw.get("name")
            name = None if told is None else as_str(loads(bytes(told)))
        except JSONError:
            return None
        return None if name is None else name.rpartition("/")[2]
