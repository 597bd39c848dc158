"""One provider as an ASGI app: whatever comes in, in the provider's own protocol, goes to the vendor and back.

Same protocol on both sides means that bytes are forwarded as they are. The vendor's answer is looked at only as far as
a gateway must: is it an error, what did it cost, is it whole. When the client leaves, the call is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from asgi_llmgw._types import Headers, Receive, Scope, Send
from asgi_llmgw.asgi import (
    MAX_BODY,
    STREAMING,
    UNCACHED,
    ClientDisconnected,
    path_with_query,
    read_body,
    send_gone,
    while_connected,
)
from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.interrupt import Deadline
from asgi_llmgw.passthrough import PassThrough, ask_for_usage, presentable, tells_finish
from asgi_llmgw.protocols import RequestHead, UpstreamCodec, skim_response, upstream_codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.reasoning.bodies import TAKEN_OUT, carries_state, without_foreign_state
from asgi_llmgw.reasoning.envelope import PROCESS_KEY
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest, UpstreamResponse
from asgi_llmgw.upstream.dressed import dress
from asgi_llmgw.upstream.sniff import sniff
from asgi_llmgw.upstream.turns import Turns, pieces
from asgi_llmgw.vendor_call import VendorCall

MAX_ANSWER: Final = 64 * 1024 * 1024
MAX_STREAM: Final = 32 * 1024 * 1024
"""Some servers take all that is sent and keep it until the client reads: this times the streams is what they need."""
DRAIN_SECONDS: Final = 30.0
FINISH_GRACE: Final = 10.0
"""Seconds a stream may go on without data once the answer is finished: some servers only send heartbeats then."""
_WHOLE: Final[Headers] = (*UNCACHED, (b"content-type", b"application/json"))
_STREAM: Final[Headers] = (*STREAMING, (b"content-type", b"text/event-stream; charset=utf-8"))
_ACCEPT: Final = {True: b"text/event-stream", False: b"application/json"}


@dataclass(frozen=True, slots=True)
class _Settings:
    """What all calls to one provider have in common."""

    provider: Provider
    max_answer: int
    finish_grace: float
    carriers_key: bytes
    clock: Callable[[], float]


class ProxyApp:
    """Forward requests to one provider.

    Used alone it serves the provider's own protocol. In a stack the exchange says which of the provider's models to ask
    for (`upstream_model`) and whether a translator above reads the answer (`translated`).

    Args:
        provider: who is called, and how.
        upstream: what makes the calls.
        max_body: the largest request, in bytes.
        max_answer: the largest answer, in bytes; a stream that grows over it (or `MAX_STREAM`) is ended with an error
            event.
        finish_grace: seconds a stream may go on without data after the answer's finish.
        carriers_key: tells the reasoning state that clients carry for other vendors, and that this one must not get.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        upstream: Upstream,
        max_body: int = MAX_BODY,
        max_answer: int = MAX_ANSWER,
        finish_grace: float = FINISH_GRACE,
        carriers_key: bytes = PROCESS_KEY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = _Settings(provider, max_answer, finish_grace, carriers_key, clock)
        self._upstream = dress(upstream, provider.envelope, provider.signer)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange, scope = Exchange.of(scope)
        call = _Call(self._settings, exchange, send)
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
            request = call.prepare(path_with_query(scope), body)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            await call.fail(error)
            return
        await while_connected(receive, call.run(self._upstream, request), left=call.left, let_go=call.let_go)
        if call.gone and not call.started:
            await send_gone(send)


class _Call(VendorCall):
    """One request to the vendor."""

    def __init__(self, settings: _Settings, exchange: Exchange, send: Send) -> None:
        protocol = exchange.upstream_protocol or settings.provider.protocols[0]
        super().__init__(exchange, send, protocol=protocol, clock=settings.clock)
        self._settings = settings
        self._codec: UpstreamCodec = upstream_codec(protocol)
        self._stream = False
        self._without_usage = False

    def prepare(self, path: str, body: bytes) -> UpstreamRequest:
        """The request for the vendor: its path is built from the model alone, never from the client's path."""
        provider, exchange, protocol = self._settings.provider, self.exchange, self.protocol
        provider.check_usable()
        head = self._head(path, body)
        stream = self._stream = head.stream
        if exchange.provider is None:
            exchange.provider = provider.name
        model = exchange.upstream_model = exchange.upstream_model or head.model
        facts = provider.profile_for(model)
        if not exchange.translated and carries_state(body):
            key, signed = self._settings.carriers_key, facts.thought_signatures
            cleaned = without_foreign_state(body, protocol, key, signed_calls=signed)
            if cleaned is not body:
                body, exchange.diagnostics = cleaned, (*exchange.diagnostics, TAKEN_OUT)
        also = ask_for_usage(protocol, body) if stream and not exchange.translated and facts.stream_usage else None
        self._without_usage = also is not None
        written = exchange.written
        if also is not None or written is None or body is not written[0] or head.model != model:
            encoded = self._codec.with_model(path, body, model, also)
            path, body = encoded.path, encoded.body
        return UpstreamRequest(
            url=provider.url(protocol, path, model=model),
            headers=provider.request_headers(exchange.headers, accept=_ACCEPT[stream], credential=exchange.credential),
            body=body,
            stream=stream,
            timeouts=provider.timeouts,
        )

    def _head(self, path: str, body: bytes) -> RequestHead:
        """Model and stream, unless these very bytes have told them already."""
        exchange = self.exchange
        written = exchange.written
        if written is not None and body is written[0]:
            return written[1]
        if body is exchange.seen_body and exchange.model is not None and self.protocol == exchange.client_protocol:
            return RequestHead(exchange.model, exchange.stream)
        return self._codec.peek(path, body)

    def left(self) -> float | None:
        """The client has left: for how many seconds more tokens are bought for nobody."""
        patience = super().left()
        return DRAIN_SECONDS if patience == 0.0 and self._settings.provider.on_disconnect == "drain" else patience

    def answered(self, response: UpstreamResponse) -> Awaitable[None]:
        if response.status != 200 and not _has_an_answer(response.status):
            return self._refused(response)
        return self._sniff(response) if self._stream else self._forward_whole(response)

    async def _sniff(self, response: UpstreamResponse) -> None:
        answer, streams = await sniff(response)
        await (self._forward_stream(answer) if streams else self._forward_whole(answer))

    async def _refused(self, response: UpstreamResponse) -> None:
        error, body = await self.refusal(response, self.protocol)
        if error.failure != "caller_fault" or self.exchange.translated or not presentable(body):
            raise error
        self.exchange.fail(error)
        await self._whole(response.status, body)

    async def _forward_whole(self, response: UpstreamResponse) -> None:
        body, exchange = await response.aread(limit=self._settings.max_answer), self.exchange
        if not exchange.translated:
            exchange.usage, exchange.finish_reason = skim_response(self.protocol, body)
            exchange.first_token = self.clock()
        await self._whole(200, body)

    async def _whole(self, status: int, body: bytes) -> None:
        self.started = True
        headers = [*_WHOLE, (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        self.complete = True
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def _forward_stream(self, response: UpstreamResponse) -> None:
        exchange = self.exchange
        passing = None if exchange.translated else PassThrough(self.protocol, without_usage=self._without_usage)
        last = b""
        try:
            with Deadline() as grace:
                await self._forward_chunks(response, passing, grace)
            if passing is not None:
                last = passing.end()
                exchange.text_length = passing.text_length
                self._note(passing)
        except UpstreamError as error:
            if not self.started:
                raise
            exchange.fail(error)
            if passing is not None:
                last = passing.end(error)
                if passing.fault is None:
                    exchange.forgive()
        finally:
            if passing is not None:
                self._settle(passing)
        if not self.started:
            if not last:
                raise InvalidUpstreamResponse("the upstream sent an empty stream")
            await self._start_stream()
        self.complete = True
        await self.send({"type": "http.response.body", "body": last, "more_body": False})

    async def _forward_chunks(self, response: UpstreamResponse, passing: PassThrough | None, grace: Deadline) -> None:
        """Chunk for chunk; every `await send` waits until the client has taken it.

        The grace ends the waiting for a vendor that has finished its answer and does not say that it is over.
        """
        size = 0
        ends: float | None = None
        clock, send, exchange = grace.loop.time, self.send, self.exchange
        limit = min(self._settings.max_answer, MAX_STREAM)
        turns = Turns()
        async for whole in response.aiter_raw():
            if ends is not None:
                grace.after(None)
            size += len(whole)
            if size > limit:
                raise InvalidUpstreamResponse(f"the upstream sent more than {limit} bytes")
            for chunk in pieces(whole):
                if passing is None:
                    shown, finished = chunk, tells_finish(self.protocol, chunk)
                else:
                    shown, finished = passing.forward(chunk), passing.finished
                    exchange.text_length = passing.text_length
                    if passing.fault is not None or exchange.first_token is None:
                        self._note(passing)
                if ends is not None:
                    finished = b"data" in chunk
                if finished:
                    ends = clock() + self._settings.finish_grace
                if not self.started:
                    await self._start_stream()
                if shown:
                    await send({"type": "http.response.body", "body": shown, "more_body": True})
                if turns.took(chunk):
                    await asyncio.sleep(0)
            if ends is not None:
                left = ends - clock()
                if left <= 0:
                    return  # it says so many nothings that there is never anything to wait for
                grace.after(left)

    async def _start_stream(self) -> None:
        self.started = True
        await self.send({"type": "http.response.start", "status": 200, "headers": list(_STREAM)})

    def _note(self, passing: PassThrough) -> None:
        """Before the bytes go out: has content come, has the stream broken?"""
        exchange, fault = self.exchange, passing.fault
        if fault is not None and exchange.failure is not fault:
            exchange.fail(fault)
            if not self.started:
                raise fault
        if exchange.first_token is None and passing.content:
            exchange.first_token = self.clock()

    def _settle(self, passing: PassThrough) -> None:
        self.exchange.usage = passing.usage
        if passing.finish_reason is not None:
            self.exchange.finish_reason = passing.finish_reason.kind


def _has_an_answer(status: int) -> bool:
    return 200 <= status < 300 and status not in (204, 205)
