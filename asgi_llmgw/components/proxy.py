"""One provider as an ASGI app: whatever comes in, in the provider's own protocol, goes to the vendor and back.

Same protocol on both sides means that bytes are forwarded as they are. The vendor's answer is looked at only as far as
a gateway must: is it an error, what did it cost, is it whole. When the client leaves, the call is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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
from asgi_llmgw.ir import Protocol
from asgi_llmgw.passthrough import PassThrough, ask_for_usage, presentable, tells_finish
from asgi_llmgw.protocols import RequestHead, UpstreamCodec, skim_response, upstream_codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.providers.classify import retry_after
from asgi_llmgw.reasoning.bodies import TAKEN_OUT, carries_state, without_foreign_state
from asgi_llmgw.reasoning.envelope import PROCESS_KEY
from asgi_llmgw.render import send_error
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest, UpstreamResponse
from asgi_llmgw.upstream.dressed import dress
from asgi_llmgw.upstream.held import HeldCall
from asgi_llmgw.upstream.sniff import sniff
from asgi_llmgw.upstream.turns import Turns, pieces

MAX_ANSWER: Final = 64 * 1024 * 1024
MAX_STREAM: Final = 32 * 1024 * 1024
"""Some servers take all that is sent and keep it until the client reads: this times the streams is what they need."""
MAX_ERROR: Final = 64 * 1024
DRAIN_SECONDS: Final = 30.0
FINISH_GRACE: Final = 10.0
"""Seconds a stream may go on without data once the answer is finished: some servers only send heartbeats then."""
_WHOLE: Final[Headers] = (*UNCACHED, (b"content-type", b"application/json"))
_ACCEPT: Final = {True: b"text/event-stream", False: b"application/json"}


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
        self._provider = provider
        self._upstream = dress(upstream, provider.envelope, provider.signer)
        self._max_body = max_body
        self._max_answer = max_answer
        self._finish_grace = finish_grace
        self._carriers_key = carriers_key
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange, scope = Exchange.of(scope)
        call = _Call(
            self._provider,
            exchange,
            send,
            max_answer=self._max_answer,
            finish_grace=self._finish_grace,
            carriers_key=self._carriers_key,
            clock=self._clock,
        )
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


class _Call:
    """One request to the vendor."""

    def __init__(
        self,
        provider: Provider,
        exchange: Exchange,
        send: Send,
        *,
        max_answer: int,
        finish_grace: float,
        carriers_key: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._provider = provider
        self._exchange = exchange
        self._send = send
        self._max_answer = max_answer
        self._finish_grace = finish_grace
        self._carriers_key = carriers_key
        self._clock = clock
        self._protocol: Protocol = exchange.upstream_protocol or provider.protocols[0]
        self._codec: UpstreamCodec = upstream_codec(self._protocol)
        self._stream = False
        self._without_usage = False
        self._complete = False
        self._held = HeldCall()
        self.started = False
        self.gone = False

    def prepare(self, path: str, body: bytes) -> UpstreamRequest:
        """The request for the vendor: its path is built from the model alone, never from the client's path."""
        self._provider.check_usable()
        exchange = self._exchange
        head = self._head(path, body)
        self._stream = head.stream
        if exchange.provider is None:
            exchange.provider = self._provider.name
        model = exchange.upstream_model = exchange.upstream_model or head.model
        facts = self._provider.profile_for(model)
        if not exchange.translated and carries_state(body):
            signed = facts.thought_signatures
            cleaned = without_foreign_state(body, self._protocol, self._carriers_key, signed_calls=signed)
            if cleaned is not body:
                body, exchange.diagnostics = cleaned, (*exchange.diagnostics, TAKEN_OUT)
        also = None
        if head.stream and not exchange.translated and facts.stream_usage:
            also = ask_for_usage(self._protocol, body)
            self._without_usage = also is not None
        if exchange.written is None or body is not exchange.written[0] or head.model != model:
            encoded = self._codec.with_model(path, body, model, also)
            path, body = encoded.path, encoded.body
        return UpstreamRequest(
            url=self._provider.url(self._protocol, path, model=model),
            headers=self._provider.request_headers(
                exchange.headers, accept=_ACCEPT[head.stream], credential=exchange.credential
            ),
            body=body,
            stream=head.stream,
            timeouts=self._provider.timeouts,
        )

    def _head(self, path: str, body: bytes) -> RequestHead:
        """Model and stream, unless these very bytes have told them already."""
        exchange = self._exchange
        if exchange.written is not None and body is exchange.written[0]:
            return exchange.written[1]
        if body is exchange.seen_body and exchange.model is not None and self._protocol == exchange.client_protocol:
            return RequestHead(exchange.model, exchange.stream)
        return self._codec.peek(path, body)

    def left(self) -> float | None:
        """The client has left: for how many seconds more tokens are bought for nobody."""
        if self._complete:
            # servers say so as well when the answer has been delivered
            return None
        self.gone = True
        self._exchange.outcome = "client_disconnected"
        return DRAIN_SECONDS if self._provider.on_disconnect == "drain" else 0.0

    async def let_go(self) -> None:
        """Close the call to the vendor although the answer hangs in a `send`."""
        self.gone = True
        await self._held.aclose()

    async def run(self, upstream: Upstream, request: UpstreamRequest) -> None:
        """Make the call and pass the answer on."""
        try:
            async with self._held.open(upstream, request) as response:
                if not 200 <= response.status < 300 or response.status in (204, 205):
                    await self._refused(response)
                elif self._stream:
                    await self._sniff(response)
                else:
                    await self._forward_whole(response)
        except UpstreamError as error:
            await self.fail(error)
        except (ClientDisconnected, OSError):
            # a server that says so when one writes to a client that has gone
            self.gone = True
            self._exchange.outcome = "client_disconnected"

    async def _sniff(self, response: UpstreamResponse) -> None:
        response, streams = await sniff(response)
        await (self._forward_stream(response) if streams else self._forward_whole(response))

    async def _refused(self, response: UpstreamResponse) -> None:
        body = await response.aread(limit=MAX_ERROR)
        if response.status < 400:
            raise InvalidUpstreamResponse(
                f"the upstream answered with status {response.status}", upstream_status=response.status
            )
        error = self._codec.decode_error(response.status, body)
        if error.retry_after is None:
            error.retry_after = retry_after(response.headers)
        if error.failure != "caller_fault" or self._exchange.translated or not presentable(body):
            raise error
        self._exchange.fail(error)
        await self._whole(response.status, body)

    async def _forward_whole(self, response: UpstreamResponse) -> None:
        body, exchange = await response.aread(limit=self._max_answer), self._exchange
        if not exchange.translated:
            exchange.usage, exchange.finish_reason = skim_response(self._protocol, body)
            exchange.first_token = self._clock()
        await self._whole(200, body)

    async def _whole(self, status: int, body: bytes) -> None:
        self.started = True
        headers = [*_WHOLE, (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._finish(body)

    async def _finish(self, body: bytes) -> None:
        self._complete = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _forward_stream(self, response: UpstreamResponse) -> None:
        exchange = self._exchange
        passing = None if exchange.translated else PassThrough(self._protocol, without_usage=self._without_usage)
        last = b""
        try:
            with Deadline() as grace:
                await self._forward_chunks(response, passing, grace)
            if passing is not None:
                last = passing.end()
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
        await self._finish(last)

    async def _forward_chunks(self, response: UpstreamResponse, passing: PassThrough | None, grace: Deadline) -> None:
        """Chunk for chunk; every `await send` waits until the client has taken it.

        The grace ends the waiting for a vendor that has finished its answer and does not say that it is over.
        """
        size = 0
        ends: float | None = None
        clock = grace.loop.time
        limit = min(self._max_answer, MAX_STREAM)
        turns = Turns()
        async for whole in response.aiter_raw():
            if ends is not None:
                grace.after(None)
            size += len(whole)
            if size > limit:
                raise InvalidUpstreamResponse(f"the upstream sent more than {limit} bytes")
            for chunk in pieces(whole):
                shown = chunk if passing is None else passing.forward(chunk)
                if ends is not None:
                    finished = b"data" in chunk
                else:
                    finished = tells_finish(self._protocol, chunk) if passing is None else passing.finished
                if finished:
                    ends = clock() + self._finish_grace
                if passing is not None:
                    self._note(passing)
                if not self.started:
                    await self._start_stream()
                if shown:
                    await self._send({"type": "http.response.body", "body": shown, "more_body": True})
                if turns.took(chunk):
                    await asyncio.sleep(0)
            if ends is not None:
                left = ends - clock()
                if left <= 0:
                    return  # it says so many nothings that there is never anything to wait for
                grace.after(left)

    def _start_stream(self) -> Awaitable[None]:
        return self._start(200, (*STREAMING, (b"content-type", b"text/event-stream; charset=utf-8")))

    def _note(self, passing: PassThrough) -> None:
        """Before the bytes go out: has content come, has the stream broken?"""
        exchange = self._exchange
        if passing.fault is not None and exchange.failure is not passing.fault:
            exchange.fail(passing.fault)
            if not self.started:
                raise passing.fault
        exchange.text_length = passing.text_length
        if passing.content and exchange.first_token is None:
            exchange.first_token = self._clock()

    def _settle(self, passing: PassThrough) -> None:
        self._exchange.usage = passing.usage
        if passing.finish_reason is not None:
            self._exchange.finish_reason = passing.finish_reason.kind

    async def _start(self, status: int, headers: Headers) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def fail(self, error: GatewayError) -> None:
        """Tell the client what went wrong, in the provider's protocol; nothing was sent before."""
        if self.gone:
            return
        self._exchange.fail(error)
        self.started = self._complete = True
        await send_error(self._send, error, self._protocol, request_id=self._exchange.request_id)
