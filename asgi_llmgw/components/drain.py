"""The end of a process: no new requests, time for those that run, and an honest word for those it cuts off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import anyio

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.answer import Answer
from asgi_llmgw.errors import GatewayError
from asgi_llmgw.exchange import Exchange, Operation
from asgi_llmgw.interrupt import Interrupt
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
    running: set[Interrupt] = field(default_factory=set)

    def cut(self) -> None:
        """End all that runs, each with an error its client can read."""
        for request in list(self.running):
            request.fire()


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
        exchange, scope = Exchange.of(scope)
        if exchange.operation in ALWAYS:
            await self._app(scope, receive, send)
            return
        drain = self._drain
        if drain.draining:
            await _refuse(scope, exchange, send)
            return
        answer, send = exchange.watched(send)
        running = Interrupt()
        drain.running.add(running)
        try:
            with running:
                await self._app(scope, receive, send)
                return
        except asyncio.CancelledError as error:
            if _SERVER_STOPS in str(error):
                with anyio.CancelScope(shield=True):
                    await _cut(scope, exchange, answer, send)
            raise
        finally:
            drain.running.discard(running)
        await _cut(scope, exchange, answer, send)


async def _refuse(scope: Scope, exchange: Exchange, send: Send) -> None:
    """Nothing was begun: the client may try again at once, elsewhere."""
    error = _ending("The gateway is shutting down; try again.")
    exchange.reject(error)
    # HTTP/2 has no such header: there, the server says that it goes away
    closing = str(scope.get("http_version", "1.1")).startswith("1")
    await send_error(
        send,
        error,
        exchange.client_protocol,
        request_id=exchange.request_id,
        extra_headers=((b"connection", b"close"),) if closing else (),
        head=scope["method"] == "HEAD",
    )


async def _cut(scope: Scope, exchange: Exchange, answer: Answer, send: Send) -> None:
    """Say why there is no more; a whole answer that was begun is left unfinished, as nothing can be added to it."""
    if answer.ending:
        return
    error = _ending("The gateway is shutting down and cannot wait for the rest of this answer.")
    with anyio.move_on_after(LAST_WORD):
        if answer.status is None:
            await _refuse(scope, exchange, send)
            return
        exchange.fail(error)
        if answer.streaming or answer.as_array:
            dialect = codec(exchange.client_protocol or DEFAULT_PROTOCOL)
            # the blank line ends a frame that was cut in two
            frame = dialect.frame_newline * 2 + dialect.encode_stream_error(error).encode(dialect.frame_newline)
            await send({"type": "http.response.body", "body": frame, "more_body": False})


def _ending(message: str) -> GatewayError:
    return GatewayError(message, kind="overloaded", code="shutting_down", retry_after=RETRY_AFTER)
