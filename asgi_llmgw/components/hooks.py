"""Calls what a host has plugged in, once for each request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, cast

import anyio

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.asgi import MAX_BODY, ClientDisconnected, read_body, replay, send_gone
from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.exchange import Exchange, Outcome
from asgi_llmgw.hooks import Hooks
from asgi_llmgw.logs import describe
from asgi_llmgw.protocols import codec
from asgi_llmgw.render import DEFAULT_PROTOCOL, send_error
from asgi_llmgw.sse import SSEDecoder

END_SECONDS: Final = 10.0
"""How long `on_end` may take, all hooks together."""
MAX_ANSWER: Final = 64 * 1024 * 1024

_logger: Final = logging.getLogger(__name__)


class HooksMiddleware:
    """Let hooks see and change requests, answers and events, and tell them of the end.

    Requests pass the hooks in their order, answers in the reverse order.

    Args:
        app: limits and answers the requests; the router stands before this component.
        hooks: what is plugged in.
        max_body: the largest request, in bytes.
    """

    def __init__(self, app: ASGIApp, *, hooks: Sequence[Hooks], max_body: int = MAX_BODY) -> None:
        self._app = app
        self._max_body = max_body
        self._before = [hook for hook in hooks if _overrides(hook, "before_request")]
        self._ends = [hook for hook in hooks if _overrides(hook, "on_end")]
        self._responses = [hook for hook in reversed(hooks) if _overrides(hook, "on_response")]
        self._events = [hook for hook in reversed(hooks) if _overrides(hook, "on_event")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        answer = _Answer(send, exchange, self._responses, self._events)
        try:
            await self._answer(answer, scope, receive, send)
        finally:
            if self._ends:
                exchange.outcome = exchange.outcome or answer.outcome()
                await self._end(exchange)

    async def _answer(self, answer: _Answer, scope: Scope, receive: Receive, send: Send) -> None:
        exchange, scope = Exchange.of(scope)
        try:
            receive = await self._changed(exchange, receive)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            await answer.refuse(error)
            return
        if not (self._responses or self._events or self._ends):
            # what no hook looks at passes by without a detour
            await self._app(scope, receive, send)
            return
        with answer.scope:
            await self._app(scope, receive, answer)
        if answer.refusal is not None:
            await answer.refuse(answer.refusal)

    async def _changed(self, exchange: Exchange, receive: Receive) -> Receive:
        if not self._before or exchange.upload is not None:
            return receive
        body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
        for hook in self._before:
            body = await hook.before_request(exchange, body)
        return replay(body, receive)

    async def _end(self, exchange: Exchange) -> None:
        with anyio.move_on_after(END_SECONDS, shield=True):
            for hook in self._ends:
                try:
                    await hook.on_end(exchange)
                except Exception as error:
                    _logger.error("on_end of %s failed: %s", type(hook).__name__, describe(error))


class _Answer:
    """A `send` that shows the answer to the hooks.

    What they refuse is not asked for any further: `scope` is cancelled, and `refusal` says why.
    """

    def __init__(self, send: Send, exchange: Exchange, responses: list[Hooks], events: list[Hooks]) -> None:
        self._send = send
        self._exchange = exchange
        self._responses = responses
        self._events = events
        self._start: Message | None = None
        self._body = bytearray()
        self._frames: SSEDecoder | None = None
        self._newline = b"\n"
        self._whole = False
        self._started = False
        self._finished = False
        self._status = 500
        self.scope = anyio.CancelScope()
        self.refusal: GatewayError | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif not self._finished and self.refusal is None:
            more = bool(message.get("more_body", False))
            body = cast(bytes, message.get("body", b""))
            if self._whole:
                await self._collect(body, more=more)
            elif self._frames is not None:
                await self._pass_events(self._frames, body, more=more)
            else:
                await self._pass(message)

    async def refuse(self, error: GatewayError) -> None:
        """Tell the client what a hook has said: instead of the answer, or as the last event of a stream."""
        exchange = self._exchange
        if self._finished:
            return
        if not self._started:
            self._finished = True
            exchange.reject(error)
            await send_error(self._send, error, exchange.client_protocol, request_id=exchange.request_id)
            return
        exchange.fail(error)
        frame = codec(exchange.client_protocol or DEFAULT_PROTOCOL).encode_stream_error(error).encode(self._newline)
        await self._pass({"type": "http.response.body", "body": frame, "more_body": False})

    def outcome(self) -> Outcome | None:
        """How it ended, as far as that can be seen from here."""
        if isinstance(self._exchange.failure, UpstreamError):
            return "upstream_error"
        if not self._finished:
            return None
        return "completed" if self._status < 400 else "rejected"

    async def _begin(self, message: Message) -> None:
        self._status = message["status"]
        good = 200 <= self._status < 300
        kind = next((value for name, value in message.get("headers") or () if name == b"content-type"), b"")
        streamed = kind.startswith(b"text/event-stream")
        if good and streamed and self._events:
            self._frames = SSEDecoder()
            self._newline = codec(self._exchange.client_protocol or DEFAULT_PROTOCOL).frame_newline
        elif good and not streamed and self._responses and kind.startswith(b"application/json"):
            # its length is known once the hooks have had it
            self._whole, self._start = True, message
            return
        await self._pass(message)

    async def _collect(self, body: bytes, *, more: bool) -> None:
        self._body += body
        if len(self._body) > MAX_ANSWER:
            raise InvalidUpstreamResponse("the upstream's answer is too large")
        if more or self._start is None:
            return
        changed = bytes(self._body)
        try:
            for hook in self._responses:
                changed = await hook.on_response(self._exchange, changed)
        except GatewayError as error:
            self._stop(error)
            return
        headers = [(name, value) for name, value in self._start.get("headers") or () if name != b"content-length"]
        headers.append((b"content-length", str(len(changed)).encode()))
        await self._pass({**self._start, "headers": headers})
        await self._pass({"type": "http.response.body", "body": changed, "more_body": False})

    async def _pass_events(self, decoder: SSEDecoder, body: bytes, *, more: bool) -> None:
        frames = list(decoder.feed(body))
        if not more:
            frames += decoder.close()
        out = bytearray()
        if not frames and (body.startswith(b":") or not body.strip()):
            # a sign of life, which is no event
            out += body
        for frame in frames:
            changed = frame
            try:
                for hook in self._events:
                    seen = hook.on_event(self._exchange, changed)
                    if seen is None:
                        break
                    changed = seen
                else:
                    out += changed.encode(self._newline)
            except GatewayError as error:
                await self._flush(out, more=True)
                self._stop(error)
                return
        await self._flush(out, more=more)

    def _stop(self, error: GatewayError) -> None:
        self.refusal = error
        self.scope.cancel()

    async def _flush(self, out: bytearray, *, more: bool) -> None:
        if out or not more:
            await self._pass({"type": "http.response.body", "body": bytes(out), "more_body": more})

    async def _pass(self, message: Message) -> None:
        self._started = True
        if message["type"] == "http.response.body":
            self._finished = not message.get("more_body", False)
        await self._send(message)


def _overrides(hook: Hooks, name: str) -> bool:
    return getattr(type(hook), name) is not getattr(Hooks, name)
