"""Remembers which vendor holds which response, and sends what builds on one to the vendor that has it."""

from __future__ import annotations

from typing import Final, cast

from msgspec.structs import replace

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.asgi import MAX_BODY, ClientDisconnected, read_body, replay, send_gone
from asgi_llmgw.errors import GatewayError, RequestError
from asgi_llmgw.exchange import Exchange, Target
from asgi_llmgw.json import JSONError, JSONObject, as_object, as_str, loads, loads_object, members, repeated_member
from asgi_llmgw.render import send_error
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from asgi_llmgw.store.responses import ResponseOwner, ResponseOwners

_PREVIOUS: Final = "previous_response_id"
_READ: Final = (_PREVIOUS, "store", "background")
_MAX_ID: Final = 256
_MAX_SHOWN: Final = 100
_MAX_EVENTS: Final = 8


class ResponseOwnersMiddleware:
    """For clients of Responses; all others pass straight through.

    Each answer's id is remembered with the provider that gave it and the caller who got it, unless the request said
    that nothing shall be stored. A request with `previous_response_id` goes to the targets of the provider that holds
    that response and to no other; the response of another caller is answered like one that does not exist.

    Args:
        app: dispatches to the targets.
        owners: what is remembered.
        max_body: the largest request, in bytes.
    """

    def __init__(self, app: ASGIApp, *, owners: ResponseOwners, max_body: int = MAX_BODY) -> None:
        self._app = app
        self._owners = owners
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange, scope = Exchange.of(scope)
        if scope["type"] != "http" or exchange.client_protocol != "openai_responses":
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
            asked = _asked(body)
            previous = as_str(asked.get(_PREVIOUS))
            if previous is not None:
                exchange.targets = await self._pinned(exchange, previous)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            exchange.reject(error)
            await send_error(send, error, exchange.client_protocol, request_id=exchange.request_id)
            return
        if asked.get("store") is not False or asked.get("background") is True:
            send = _Watch(send, exchange, self._owners).send
        await self._app(scope, replay(body, receive), send)

    async def _pinned(self, exchange: Exchange, previous: str) -> tuple[Target, ...]:
        """The targets that have the response this request goes on from."""
        owner = await self._owners.find(previous) if len(previous) <= _MAX_ID else None
        if owner is None:
            # made before a restart or elsewhere: the vendor knows
            return exchange.targets
        name = exchange.principal.name if exchange.principal is not None else ""
        if owner.principal != name:
            raise _refused(f"Previous response with id '{_shown(previous)}' not found.")
        if owner.translated:
            raise _refused(
                f"The response '{_shown(previous)}' was translated from another protocol and never stored: send the "
                "whole conversation as `input` instead."
            )
        targets = tuple(
            replace(target, credential=owner.credential)
            for target in exchange.targets
            if target.provider == owner.provider
        )
        if not targets:
            raise _refused(
                f"The response '{_shown(previous)}' is stored at a provider that does not serve the model "
                f"'{_shown(exchange.model or '')}': ask for the model that made it, or send the whole conversation."
            )
        return targets


def _asked(body: bytes) -> JSONObject:
    """What a request says of stored responses. Whether the rest of it can be read is the business of others.

    Raises:
        RequestError: the previous response is named twice, and readers differ in which of the two they take.
    """
    # a name may be written in escapes
    if b"\\u00" not in body and not any(b'"%b"' % name.encode() in body for name in _READ):
        return {}
    try:
        raw = members(body)
        asked: JSONObject = {name: loads(bytes(raw[name])) for name in _READ if name in raw}
    except JSONError:
        return {}
    if _PREVIOUS in asked and repeated_member(body, (_PREVIOUS,)):
        message = f"The parameter '{_PREVIOUS}' is given twice."
        raise RequestError(message, param=_PREVIOUS, code="repeated_parameter")
    return asked


def _refused(message: str) -> RequestError:
    return RequestError(message, param=_PREVIOUS, code="previous_response_not_found")


def _shown(text: str) -> str:
    return text[:_MAX_SHOWN]


class _Watch:
    """A `send` that notes the id of the answer before the client can come back with it."""

    def __init__(self, send: Send, exchange: Exchange, owners: ResponseOwners) -> None:
        self._send = send
        self._exchange = exchange
        self._owners = owners
        self._done = False
        self._frames: SSEDecoder | None = None
        self._events = 0
        self._whole = bytearray()

    async def send(self, message: Message) -> None:
        if not self._done:
            await self._look(message)
        await self._send(message)

    async def _look(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = cast(list[tuple[bytes, bytes]], message.get("headers") or [])
            if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):
                self._frames = SSEDecoder()
            self._done = message["status"] >= 400
            return
        identifier = self._read(cast(bytes, message.get("body", b"")), more=bool(message.get("more_body", False)))
        if identifier is not None and 0 < len(identifier) <= _MAX_ID:
            await self._remember(identifier)

    def _read(self, chunk: bytes, *, more: bool) -> str | None:
        """The id, once it can be told: from a whole answer, or from an event of a stream."""
        try:
            if self._frames is not None:
                return self._first_id(self._frames.feed(chunk))
            self._whole += chunk
            if more:
                return None
            self._done = True
            raw = members(bytes(self._whole)).get("id")
            return None if raw is None else as_str(loads(bytes(raw)))
        except (JSONError, GatewayError):
            self._done = True
            return None

    def _first_id(self, frames: list[ServerSentEvent]) -> str | None:
        """The first events of a stream hold the response; a heartbeat may come before them."""
        for frame in frames:
            identifier = as_str(as_object(loads_object(frame.data).get("response")).get("id"))
            self._events += 1
            self._done = identifier is not None or self._events == _MAX_EVENTS
            if self._done:
                return identifier
        return None

    async def _remember(self, identifier: str) -> None:
        exchange = self._exchange
        owner = ResponseOwner(
            principal=exchange.principal.name if exchange.principal is not None else "",
            provider=exchange.provider or "",
            credential=exchange.credential,
            upstream_model=exchange.upstream_model or "",
            model=exchange.model or "",
            route=exchange.route,
            translated=exchange.translated,
        )
        await self._owners.remember(identifier, owner)
