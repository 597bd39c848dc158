"""The end of a process: no new requests, time for those that run, and an honest word for those it cuts off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import anyio

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.errors import GatewayError
from asgi_llmgw.exchange import Exchange, Operation
from asgi_llmgw.protocols import codec
from asgi_llmgw.render import DEFAULT_PROTOCOL, send_error

ALWAYS: Final[frozenset[Operation]] = frozenset({"health", "ready", "metrics", "status"})
"""The operations that are served to the last."""
RETRY_AFTER: Final = 1.0
"""Seconds after which a refused client may come back: to another process, or to the one that replaces this."""
LAST_WORD: Final = 2.0
"""Seconds for telling a client that its answer is cut off."""

_SERVER_STOPS: Final = "graceful shutdown"
"""What uvicorn says when it cancels a request because it stops; others do so because the client has gone."""


@dataclass(eq=False, slots=True)
class Drain:
    """Whether requests are refused, and the requests that run; one for each gateway."""

    draining: bool = False
    running: set[asyncio.Timeout] = field(default_factory=set)

    def cut(self) -> None:
        """End all that runs, each with an error its client can read."""
        for limit in list(self.running):
            if not limit.expired():
                limit.reschedule(0)


class _Cut(Exception):
    """The request was ended because the process ends."""


class DrainMiddleware:
    """Refuses requests once the process is about to end, and tells the clients of those it must cut off.

    Args:
        drain: says when; the middleware of each configuration has the same.
    """

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange.get_or_create(scope)
        if exchange.operation in ALWAYS:
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, scope, exchange)
        if self._drain.draining:
            await answer.refuse()
            return
        try:
            await self._run(exchange.within(scope), receive, answer)
        except _Cut:
            await answer.cut()
        except asyncio.CancelledError as error:
            if _SERVER_STOPS in str(error):
                with anyio.CancelScope(shield=True):
                    await answer.cut()
            raise

    async def _run(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """
        Raises:
            _Cut: the process does not wait for it any longer.
        """
        limit = asyncio.timeout(None)
        running = self._drain.running
        try:
            async with limit:
                running.add(limit)
                try:
                    await self._app(scope, receive, answer)
                finally:
                    running.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise _Cut from None


class _Answer:
    """A `send` that knows how far the answer got."""

    __slots__ = ("_exchange", "_scope", "_send", "finished", "started", "streaming")

    def __init__(self, send: Send, scope: Scope, exchange: Exchange) -> None:
        self._send = send
        self._scope = scope
        self._exchange = exchange
        self.started = False
        self.streaming = False
        self.finished = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = message.get("headers") or ()
            self.streaming = any(name == b"content-type" and b"text/event-stream" in value for name, value in headers)
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)

    async def refuse(self) -> None:
        """Nothing was begun: the client may try again at once, elsewhere."""
        error = _ending("The gateway is shutting down; try again.")
        self._exchange.reject(error)
        # HTTP/2 has no such header: there, the server says that it goes away
        closing = str(self._scope.get("http_version", "1.1")).startswith("1")
        await send_error(
            self._send,
            error,
            self._exchange.client_protocol,
            request_id=self._exchange.request_id,
            extra_headers=((b"connection", b"close"),) if closing else (),
            head=self._scope["method"] == "HEAD",
        )

    async def cut(self) -> None:
        """Say why there is no more; a whole answer that was begun is left unfinished, as nothing can be added to it."""
        if self.finished:
            return
        error = _ending("The gateway is shutting down and cannot wait for the rest of this answer.")
        exchange = self._exchange
        with anyio.move_on_after(LAST_WORD):
            if not self.started:
                await self.refuse()
                return
            exchange.fail(error)
            if self.streaming:
                dialect = codec(exchange.client_protocol or DEFAULT_PROTOCOL)
                # the blank line ends a frame that was cut in two
                frame = dialect.frame_newline * 2 + dialect.encode_stream_error(error).encode(dialect.frame_newline)
                await self._send({"type": "http.response.body", "body": frame, "more_body": False})


def _ending(message: str) -> GatewayError:
    return GatewayError(message, kind="overloaded", code="shutting_down", retry_after=RETRY_AFTER)
