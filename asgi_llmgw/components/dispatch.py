"""Tries the targets of a request in order until one of them has something to say.

Nothing reaches the client before an attempt has proved itself: the start of its answer is held until the first content
has come (the commit). Until then a failure goes to the next target; afterwards it goes to the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, cast

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.asgi import MAX_BODY, ClientDisconnected, read_body, replay, send_gone
from asgi_llmgw.errors import ConfigError, GatewayError, InvalidUpstreamResponse, RequestError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Target
from asgi_llmgw.render import send_error

HOLD_FRAMES: Final = 64
HOLD_BYTES: Final = 256 * 1024
HOLD_SECONDS: Final = 5.0


class DispatchApp:
    """Send a request to its targets, in order, each attempt built from the untouched original.

    Args:
        providers: for each provider's name the app that serves the clients over it.
        max_body: the largest request, in bytes.
        hold_seconds: how long the start of an answer is held back once the upstream has accepted the request.
    """

    def __init__(
        self, *, providers: Mapping[str, ASGIApp], max_body: int = MAX_BODY, hold_seconds: float = HOLD_SECONDS
    ) -> None:
        if not providers:
            raise ConfigError("DispatchApp needs at least one provider")
        self._providers = dict(providers)
        self._max_body = max_body
        self._hold_seconds = hold_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange.get_or_create(scope)
        scope = {**scope, SCOPE_KEY: exchange}
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            await self._answer_error(exchange, send, error)
            return
        failure = await self._try_all(exchange, scope, body, receive, send)
        if failure is not None:
            await self._answer_error(exchange, send, failure)

    async def _try_all(
        self, exchange: Exchange, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> GatewayError | None:
        """The error of the last attempt, None when the client has been answered (or has left)."""
        failure: GatewayError = RequestError(
            "No target is configured for this model.", kind="model_not_found", param="model"
        )
        for target in exchange.targets:
            app = self._providers.get(target.provider)
            if app is None:
                continue
            _begin(exchange, target)
            guard = CommitGuard(send, exchange, hold_seconds=self._hold_seconds)
            try:
                await app(scope, replay(body, receive), guard)
            finally:
                guard.stop()
            if guard.committed:
                return None
            if exchange.outcome == "client_disconnected":
                await send_gone(send)
                return None
            failure = exchange.failure or InvalidUpstreamResponse("the upstream gave no answer")
            if not _worth_another(failure):
                return None if await guard.commit_refusal() else failure
        return failure

    async def _answer_error(self, exchange: Exchange, send: Send, error: GatewayError) -> None:
        exchange.fail(error)
        await send_error(send, error, exchange.client_protocol, request_id=exchange.request_id)


def _begin(exchange: Exchange, target: Target) -> None:
    """A new attempt: nothing of the last one is left."""
    exchange.provider = target.provider
    exchange.upstream_model = target.model
    exchange.upstream_protocol = None
    exchange.attempts += 1
    exchange.forgive()
    exchange.usage = None
    exchange.finish_reason = None
    exchange.first_token = None
    exchange.diagnostics = ()


def _worth_another(failure: GatewayError) -> bool:
    """Another target may do better: the vendor failed, or this one cannot express the request."""
    return failure.retryable or failure.kind == "unsupported"


class CommitGuard:
    """A `send` that holds the start of an answer back until the attempt is known to be good.

    It lets go when content has come (`exchange.first_token`), when an answer without failure is whole, when it holds
    `HOLD_FRAMES` messages or `HOLD_BYTES` bytes, or `hold_seconds` after the start. What a failed attempt had sent so
    far is kept until it is known whether the client will see it.
    """

    def __init__(self, send: Send, exchange: Exchange, *, hold_seconds: float = HOLD_SECONDS) -> None:
        self._send = send
        self._exchange = exchange
        self._hold_seconds = hold_seconds
        self._held: list[Message] = []
        self._bytes = 0
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None
        self._flushed = False
        self.committed = False

    async def __call__(self, message: Message) -> None:
        # committed is not enough: what was held may be on its way still
        if not self._flushed:
            async with self._lock:
                if await self._hold(message):
                    return
        await self._send(message)

    async def _hold(self, message: Message) -> bool:
        if self.committed:
            return False
        self._held.append(message)
        if message["type"] == "http.response.start":
            if message["status"] < 400:
                self._timer = asyncio.get_running_loop().call_later(self._hold_seconds, self._time_is_up)
            return True
        self._bytes += len(cast(bytes, message.get("body", b"")))
        if self._exchange.failure is None and self._ready(message):
            await self._flush()
        return True

    def _ready(self, message: Message) -> bool:
        if self._held[0]["status"] >= 400:
            return False
        return (
            self._exchange.first_token is not None
            or not message.get("more_body", False)
            or len(self._held) > HOLD_FRAMES
            or self._bytes > HOLD_BYTES
        )

    async def commit(self) -> None:
        """Let the client see what is held."""
        async with self._lock:
            if self._held and not self.committed:
                await self._flush()

    async def commit_refusal(self) -> bool:
        """Let the client see the error the attempt answered with; False if it did not get as far as an answer."""
        whole = bool(self._held) and not self._held[-1].get("more_body", False)
        if not whole or self._held[0]["status"] < 400:
            return False
        await self.commit()
        return True

    def stop(self) -> None:
        """The attempt is over: no timer outlives it."""
        if self._timer is not None:
            self._timer.cancel()

    def _time_is_up(self) -> None:
        if not self.committed and self._exchange.failure is None:
            self._late = asyncio.get_running_loop().create_task(self.commit())

    async def _flush(self) -> None:
        self.committed = True
        self.stop()
        held, self._held = self._held, []
        for message in held:
            await self._send(message)
        self._flushed = True
