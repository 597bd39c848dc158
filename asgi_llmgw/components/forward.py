"""One provider as an ASGI app for what is not chat: method, path, query and bytes go to the vendor as they are.

It is for operations whose request and answer nobody needs to understand on the way: stored responses, compaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import (
    MAX_BODY,
    STREAMING,
    UNCACHED,
    ClientDisconnected,
    read_body,
    route_path,
    send_gone,
    send_response,
    while_connected,
)
from asgi_llmgw.errors import GatewayError, InvalidRequest, InvalidUpstreamResponse, RequestError, UpstreamError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONError, loads_object, replace_model
from asgi_llmgw.passthrough import PassThrough, is_event_stream, presentable
from asgi_llmgw.protocols import codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.reasoning.bodies import carries_state, without_foreign_state
from asgi_llmgw.reasoning.envelope import PROCESS_KEY
from asgi_llmgw.routing.endpoints import Endpoint, match_endpoint
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest, UpstreamResponse
from asgi_llmgw.upstream.dressed import dress
from asgi_llmgw.upstream.turns import Turns, pieces
from asgi_llmgw.vendor_call import VendorCall

_MAX_ANSWER: Final = 64 * 1024 * 1024
_SERVED: Final = frozenset({"stored_response", "compact"})
_QUERY: Final = frozenset(
    {"include", "stream", "starting_after", "include_obfuscation", "after", "before", "limit", "order"}
)
"""What of a query is passed on (https://platform.openai.com/docs/api-reference/responses)."""


class ForwardApp:
    """Forward what is asked of stored responses, and compactions, to one provider.

    The exchange says which of the provider's models is meant, where the body names one (`upstream_model`). Behind
    `DispatchApp` a provider that does not speak the client's protocol leaves the request to the next target.

    Args:
        provider: who is called, and how.
        upstream: what makes the calls.
        max_body: the largest request, in bytes.
        max_answer: the largest answer, in bytes.
        carriers_key: tells the reasoning state that clients carry for other vendors, and that this one must not get.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        upstream: Upstream,
        max_body: int = MAX_BODY,
        max_answer: int = _MAX_ANSWER,
        carriers_key: bytes = PROCESS_KEY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._upstream = dress(upstream, provider.envelope, provider.signer)
        self._max_body = max_body
        self._max_answer = max_answer
        self._carriers_key = carriers_key
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange.get_or_create(scope)
        call = _Call(exchange, send, max_answer=self._max_answer, clock=self._clock)
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
            request = self._request(exchange, call, scope, body)
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

    def _request(self, exchange: Exchange, call: _Call, scope: Scope, body: bytes) -> UpstreamRequest:
        """The vendor's request; its path is written anew from what was understood of the client's."""
        endpoint = match_endpoint(scope["method"], route_path(scope), exchange.headers)
        if not isinstance(endpoint, Endpoint) or endpoint.operation not in _SERVED:
            raise RequestError("This operation is not served here.", kind="not_found", code="unknown_url")
        call.protocol = endpoint.protocol
        call.priced = endpoint.operation == "compact"
        provider = self._provider
        if endpoint.protocol not in provider.protocols or not provider.does(endpoint.operation):
            raise InvalidRequest(
                "The provider of this model has no such operation: it does not speak Responses itself.",
                kind="unsupported",
                code="unsupported_operation",
            )
        provider.check_usable()
        exchange.provider, exchange.upstream_model = provider.name, exchange.upstream_model or None
        exchange.upstream_protocol = endpoint.protocol
        query = _query(scope)
        exchange.stream = stream = ("stream", "true") in query
        path = quote(endpoint.path) + (f"?{urlencode(query)}" if query else "")
        accept = b"text/event-stream" if stream else b"application/json"
        return UpstreamRequest(
            method=scope["method"],
            url=provider.url(endpoint.protocol, path),
            headers=provider.request_headers(exchange.headers, accept=accept, credential=exchange.credential),
            body=self._body(exchange, endpoint.protocol, body) if call.priced else body,
            stream=stream,
            timeouts=provider.timeouts,
        )

    def _body(self, exchange: Exchange, protocol: Protocol, body: bytes) -> bytes:
        if carries_state(body):
            body = without_foreign_state(body, protocol, self._carriers_key)
        return replace_model(body, exchange.upstream_model) if exchange.upstream_model else body


def _query(scope: Scope) -> list[tuple[str, str]]:
    pairs = parse_qsl(bytes(scope.get("query_string") or b"").decode("latin-1"), keep_blank_values=True)
    return [(name, value) for name, value in pairs if name.partition("[")[0] in _QUERY]


class _Call(VendorCall):
    """One request to the vendor."""

    def __init__(self, exchange: Exchange, send: Send, *, max_answer: int, clock: Callable[[], float]) -> None:
        super().__init__(exchange, send, protocol=exchange.client_protocol or "openai_responses", clock=clock)
        self._max_answer = max_answer
        self.priced = False

    def answered(self, response: UpstreamResponse) -> Awaitable[None]:
        if response.status != 200:
            return self._refused(response)
        streams = self.exchange.stream and is_event_stream(response.headers)
        return self._forward_stream(response) if streams else self._forward_whole(response)

    async def _refused(self, response: UpstreamResponse) -> None:
        error, body = await self.refusal(response, self.protocol)
        if response.status in (404, 409) and not self.priced:
            # what is missing is the response or its state, and no other vendor has it
            error.failure, error.kind = "caller_fault", "not_found" if response.status == 404 else "conflict"
        if error.failure != "caller_fault" or not presentable(body):
            raise error
        self.exchange.fail(error)
        await self._whole(response.status, body)

    async def _forward_whole(self, response: UpstreamResponse) -> None:
        body = await response.aread(limit=self._max_answer)
        if self.priced:
            self.exchange.usage = codec(self.protocol).decode_response(body).usage
            self.exchange.first_token = self.clock()
        else:
            try:
                loads_object(body)
            except JSONError:
                raise InvalidUpstreamResponse("the upstream's answer is not a JSON object") from None
        await self._whole(200, body)

    async def _whole(self, status: int, body: bytes) -> None:
        self.started = self.complete = True
        await send_response(self.send, status, body, headers=(*UNCACHED, (b"content-type", b"application/json")))

    async def _forward_stream(self, response: UpstreamResponse) -> None:
        """Event for event, from any one on; the tap is for the end alone: a stream that is cut ends with an error.

        What the stream tells (usage, the failure of the stored response) belongs to the request that made it.
        """
        headers = (*STREAMING, (b"content-type", b"text/event-stream; charset=utf-8"))
        passing = PassThrough(self.protocol)
        size = 0
        turns = Turns()
        last = b""
        try:
            async for whole in response.aiter_raw():
                size += len(whole)
                if size > self._max_answer:
                    raise InvalidUpstreamResponse(f"the upstream sent more than {self._max_answer} bytes")
                for chunk in pieces(whole):
                    if out := passing.forward(chunk):
                        await self.pass_on(out, headers, more=True)
                    if turns.took(chunk):
                        await asyncio.sleep(0)
            last = passing.end() if size else b""
            if not self.started and passing.fault is not None:
                raise passing.fault
        except UpstreamError as error:
            if not self.started:
                raise
            self.exchange.fail(error)
            last = passing.end(error)
        self.complete = True
        await self.pass_on(last, headers, more=False)
