"""Gives the answer again that the same request had before, where a route asks for that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, cast

import msgspec

from asgi_llmgw._types import ASGIApp, Headers, Message, Receive, Scope, Send
from asgi_llmgw.asgi import MAX_BODY, ClientDisconnected, header, path_with_query, read_body, replay, send_gone
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, dumps, loads_object
from asgi_llmgw.store.base import SideTable

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer; larger ones are not kept."""
CACHE_HEADER: Final = b"x-llmgw-cache"

_VERSION: Final = b"1"
_MEANINGFUL: Final = (b"anthropic-", b"openai-")
"""The client's headers that vendors read begin like this; the answer depends on them."""
_CONTINUING: Final = ("previous_response_id", "conversation", "background")
"""Members of a request whose answer depends on more than the request says."""


class _Entry(msgspec.Struct, frozen=True):
    """An answer: all of it."""

    headers: list[tuple[bytes, bytes]]
    chunks: list[bytes]
    finish_reason: str | None


class CacheMiddleware:
    """Answer a request from memory whose answer is known; remember complete good answers.

    Two requests are the same when the same tenant (without one: the same key) asks the same model and targets in the
    same protocol for the same thing: the order of members and the white space of the body do not matter, and everything
    else does. A stream is given again as the same frames. Nothing is counted as used by an answer out of the cache, and
    no vendor is named for it.

    The client's `cache-control: no-cache` asks anew and remembers the answer; `no-store` leaves the cache alone.

    Args:
        app: dispatches to the targets; the router stands before this component.
        seconds: for each route's name how long its answers are remembered; a route that is missing has no cache.
        table: remembers them.
        max_body: the largest request, in bytes.
        max_answer: the largest answer that is remembered, in bytes.

    Raises:
        ConfigError: a number is not positive.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        seconds: Mapping[str, float],
        table: SideTable,
        max_body: int = MAX_BODY,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        if max_answer <= 0 or any(value <= 0 for value in seconds.values()):
            raise ConfigError("the seconds and sizes of a cache must be positive")
        self._app = app
        self._seconds = dict(seconds)
        self._table = table
        self._max_body = max_body
        self._max_answer = max_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = scope.get(SCOPE_KEY)
        if scope["type"] != "http" or not isinstance(exchange, Exchange):
            await self._app(scope, receive, send)
            return
        seconds = self._seconds.get(exchange.route or "")
        wishes = _wishes(exchange.headers)
        if seconds is None or "no-store" in wishes:
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        receive = replay(body, receive)
        name = _name(exchange, path_with_query(scope), body)
        if name is None:
            await self._app(scope, receive, send)
            return
        owner = _owner(exchange)
        known = None if "no-cache" in wishes else _unpack(await self._table.get(owner, name))
        if known is not None:
            await _give(send, exchange, known)
            return
        exchange.cache = "miss"
        recorder = _Recorder(send, self._max_answer)
        await self._app(scope, receive, recorder)
        answer = recorder.answer(exchange)
        if answer is not None:
            await self._table.put(owner, name, msgspec.msgpack.encode(answer), ttl=seconds)


class _Recorder:
    """A `send` that keeps a copy of a good answer, as long as it is not too large."""

    def __init__(self, send: Send, limit: int) -> None:
        self._send = send
        self._room = limit
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._chunks: list[bytes] = []
        self._finished = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] == 200:
                self._headers = list(message.get("headers") or ())
                message = {**message, "headers": [*self._headers, (CACHE_HEADER, b"miss")]}
        elif self._headers is not None:
            chunk = cast(bytes, message.get("body", b""))
            self._room -= len(chunk)
            if self._room < 0:
                self._headers = None
                self._chunks.clear()
            elif not _is_heartbeat(chunk):
                self._chunks.append(chunk)
            self._finished = not message.get("more_body", False)
        await self._send(message)

    def answer(self, exchange: Exchange) -> _Entry | None:
        """What is worth remembering: an answer the vendor has finished, and the client has got whole."""
        good = exchange.failure is None and exchange.outcome in (None, "completed")
        if not good or not self._finished or self._headers is None or exchange.finish_reason is None:
            return None
        return _Entry(self._headers, self._chunks, exchange.finish_reason)


async def _give(send: Send, exchange: Exchange, entry: _Entry) -> None:
    exchange.cache = "hit"
    exchange.finish_reason = entry.finish_reason
    headers = [*entry.headers, (CACHE_HEADER, b"hit")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for chunk in entry.chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_heartbeat(chunk: bytes) -> bool:
    return not chunk.strip() or (chunk.startswith(b":") and b"data:" not in chunk)


def _wishes(headers: Headers) -> set[str]:
    return {wish.strip().lower() for wish in (header(headers, b"cache-control") or "").split(",")}


def _owner(exchange: Exchange) -> str:
    principal = exchange.principal
    if principal is None:
        return "cache"
    return f"cache key {principal.name}" if principal.tenant is None else f"cache tenant {principal.tenant}"


def _name(exchange: Exchange, path: str, body: bytes) -> str | None:
    """What is the same for the same request; None for one whose answer must not be given again."""
    try:
        asked = loads_object(body)
    except JSONError:
        return None
    if any(asked.get(member) for member in _CONTINUING):
        return None
    parts: JSONObject = {
        "protocol": exchange.client_protocol,
        "operation": exchange.operation,
        "path": path,
        "model": exchange.model,
        "stream": exchange.stream,
        "route": exchange.route,
        "on_loss": exchange.on_loss,
        "targets": [*sorted(f"{target.provider}/{target.model}" for target in exchange.targets)],
        "headers": [*sorted(_text(pair) for pair in exchange.headers if pair[0].startswith(_MEANINGFUL))],
        "body": _in_order(asked),
    }
    return hashlib.sha256(_VERSION + dumps(parts)).hexdigest()


def _text(pair: tuple[bytes, bytes]) -> str:
    return b": ".join(pair).decode("latin-1")


def _in_order(value: JSONValue) -> JSONValue:
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _unpack(packed: bytes | None) -> _Entry | None:
    if packed is None:
        return None
    try:
        return msgspec.msgpack.decode(packed, type=_Entry)
    except msgspec.DecodeError:
        # written by another version
        return None
