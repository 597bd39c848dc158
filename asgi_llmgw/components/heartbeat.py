"""Keeps the line to a client open while a model thinks: proxies on the way cut what is silent for a minute.

A heartbeat is a comment of the event stream, which every reader of such streams skips. It goes out between frames only.
When a vendor is slow to accept a request, the stream is opened for it before the vendor has answered. From then on an
error can no longer have a status of its own, and is told inside the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.answer import ClientDisconnected, is_event_stream
from asgi_llmgw.asgi import ABANDONED_AFTER, STREAMING
from asgi_llmgw.errors import ConfigError, InvalidUpstreamResponse
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import codec
from asgi_llmgw.render import DEFAULT_PROTOCOL

HEARTBEAT_SECONDS: Final = 15.0

_COMMENT: Final = b": keep-alive\n\n"
_SPOKEN: Final[dict[Protocol, bytes]] = {"gemini_generate": b"\r\n\r\n"}
"""Google's SDK takes a comment for the first line of an error, and skips blank lines."""

_HEAD: Final[Message] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [*STREAMING, (b"content-type", b"text/event-stream; charset=utf-8")],
}
_BETWEEN_FRAMES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class HeartbeatMiddleware:
    """Send a comment into event streams that have been silent for a while.

    Args:
        app: answers the requests; the router stands before this component, so that it is known who wants a stream.
        seconds: the silence that is borne, before the first byte too.

    Raises:
        ConfigError: `seconds` is not positive.
    """

    def __init__(self, app: ASGIApp, *, seconds: float = HEARTBEAT_SECONDS) -> None:
        if seconds <= 0:
            raise ConfigError(f"the seconds between heartbeats must be positive, got {seconds}")
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = scope.get(SCOPE_KEY)
        if scope["type"] != "http" or not isinstance(exchange, Exchange) or not exchange.stream:
            await self._app(scope, receive, send)
            return
        beating = _Beating(send, exchange, self._seconds)
        try:
            await self._app(scope, receive, beating.send)
        finally:
            await beating.stop()


class _Beating:
    """A `send` with a heart. Nothing but two assignments is done for each message that passes."""

    def __init__(self, send: Send, exchange: Exchange, seconds: float) -> None:
        self._send = send
        self._exchange = exchange
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._tick)
        self._beat: asyncio.Task[None] | None = None
        self._last = self._loop.time()
        self._sending = False
        self._started = False
        self._opened = False
        self._quiet = False
        self._refused = False

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if self._beat is not None:
            await asyncio.wait((self._beat,))
        self._sending = True
        try:
            await (self._into_open_stream(message) if self._opened else self._pass(message))
        finally:
            self._sending = False
            self._last = self._loop.time()

    async def stop(self) -> None:
        """The answer is over, or given up."""
        self._timer.cancel()
        if self._beat is not None:
            self._beat.cancel()
            # a server may never give the comment back; the request does not wait for that
            await asyncio.wait((self._beat,), timeout=ABANDONED_AFTER)

    def _pass(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self._started = True
            # a whole answer has no place for comments
            self._quiet = not _is_stream(message)
        else:
            body: bytes = message.get("body", b"")
            self._quiet = not body.endswith(_BETWEEN_FRAMES) if body else self._quiet
        return self._send(message)

    async def _into_open_stream(self, message: Message) -> None:
        """The client has its 200 already: a stream goes on, and anything else becomes an event that says so."""
        if message["type"] == "http.response.start":
            self._refused = not _is_stream(message)
            if self._refused and message["status"] < 400 and self._exchange.failure is None:
                self._exchange.fail(InvalidUpstreamResponse("the upstream did not answer with a stream"))
        elif not self._refused:
            await self._pass(message)
        elif not message.get("more_body", False):
            await self._send({"type": "http.response.body", "body": self._error_frame(), "more_body": False})

    def _error_frame(self) -> bytes:
        dialect, failure = codec(self._exchange.client_protocol or DEFAULT_PROTOCOL), self._exchange.failure
        return b"" if failure is None else dialect.encode_stream_error(failure).encode(dialect.frame_newline)

    def _tick(self) -> None:
        rest = self._last + self._seconds - self._loop.time()
        if rest <= 0:
            rest = self._seconds
            if not self._sending and not self._quiet and self._beat is None:
                self._beat = self._loop.create_task(self._send_beat())
        self._timer = self._loop.call_later(rest, self._tick)

    async def _send_beat(self) -> None:
        try:
            if not self._started:
                self._started = self._opened = True
                await self._send(_HEAD)
            comment = _SPOKEN.get(self._exchange.client_protocol or DEFAULT_PROTOCOL, _COMMENT)
            await self._send({"type": "http.response.body", "body": comment, "more_body": True})
        except (ClientDisconnected, OSError):
            # the next message of the answer will find out
            pass
        finally:
            self._last = self._loop.time()
            self._beat = None


def _is_stream(message: Message) -> bool:
    return message["status"] < 400 and is_event_stream(message.get("headers") or ())
