"""One provider as an ASGI app for the operations beside chat: embeddings, pictures, speech, moderations and the like.

The request goes to the vendor as it came, with the vendor's name for the model in it; a JSON answer comes back as it
is, an event stream event for event, and everything else (speech, files) byte for byte while it comes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import (
    MAX_BODY,
    STREAMING,
    UNCACHED,
    ClientDisconnected,
    header,
    read_body,
    route_path,
    send_gone,
    send_response,
    while_connected,
)
from asgi_llmgw.errors import GatewayError, InvalidRequest, InvalidUpstreamResponse, RequestError, UpstreamError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.operations.calls import OperationCall, held_whole, prepare
from asgi_llmgw.operations.content import MAX_FORM, too_large
from asgi_llmgw.operations.openai import usage_in
from asgi_llmgw.operations.stream import OperationTap
from asgi_llmgw.passthrough import presentable
from asgi_llmgw.protocols import codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.render import lost_headers
from asgi_llmgw.routing.endpoints import Endpoint, match_endpoint
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest, UpstreamResponse
from asgi_llmgw.upstream.dressed import dress
from asgi_llmgw.upstream.turns import Turns, pieces
from asgi_llmgw.vendor_call import VendorCall

_MAX_ANSWER: Final = 64 * 1024 * 1024
_MAX_FILE: Final = 1024 * 1024 * 1024
_JSON: Final = b"application/json"
_EVENTS: Final = b"text/event-stream"
_TYPE: Final = re.compile(rb"[\x20-\x7e]{1,128}\Z")
_NOT_DONE: Final = frozenset({403, 404, 405, 501})
_SCOPES: Final = (b"insufficient permissions", b"issing scopes")
_SAFE: Final = (b"x-content-type-options", b"nosniff")


class RelayApp:
    """Pass operations on to one provider.

    The exchange says which of the provider's models is meant (`upstream_model`), and has the body where that is passed
    on while it comes (`upload`). A provider that has no such operation leaves the request to the next target.

    Args:
        provider: who is called, and how.
        upstream: what makes the calls.
        max_body: the largest request, in bytes; uploads have a limit of their own.
        max_answer: the largest answer that is JSON or a stream of events, in bytes.
        max_file: the largest other one.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        upstream: Upstream,
        max_body: int = MAX_BODY,
        max_answer: int = _MAX_ANSWER,
        max_file: int = _MAX_FILE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._upstream = dress(upstream, provider.envelope, provider.signer)
        self._max_body = max_body
        self._max_answer = max_answer
        self._max_file = max_file
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange.get_or_create(scope)
        call = _Call(exchange, send, max_answer=self._max_answer, max_file=self._max_file, clock=self._clock)
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
            request = await self._request(exchange, call, scope, body)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            if exchange.upload is not None and exchange.upload.gone:
                exchange.outcome = "client_disconnected"
                await send_gone(send)
                return
            await call.fail(error)
            return
        await while_connected(receive, call.run(self._upstream, request), left=call.left, let_go=call.let_go)
        if call.gone and not call.started:
            await send_gone(send)

    async def _request(self, exchange: Exchange, call: _Call, scope: Scope, body: bytes) -> UpstreamRequest:
        """The vendor's request; its path is written anew from what was understood of the client's."""
        endpoint = match_endpoint(scope["method"], route_path(scope), exchange.headers)
        if not isinstance(endpoint, Endpoint):
            raise RequestError("This operation is not served here.", kind="not_found", code="unknown_url")
        provider, upload = self._provider, exchange.upload
        provider.check_usable()
        query = bytes(scope.get("query_string") or b"").decode("latin-1")
        model = exchange.upstream_model = exchange.upstream_model or None
        kept = header(exchange.headers, b"content-type") or ""
        if upload is not None and held_whole(endpoint.path, endpoint.protocol, provider.protocols):
            held = await upload.whole(limit=MAX_FORM, expected=exchange.model)
            if held is None:
                raise too_large()
            body, upload = held, None
        call.made = made = prepare(
            endpoint.operation,
            endpoint.protocol,
            provider.protocols,
            path=endpoint.path,
            query=query,
            content_type=kept,
            body=None if upload is not None else body,
            model=model,
        )
        exchange.provider = provider.name
        exchange.upstream_protocol = made.protocol
        exchange.translated = made.translation is not None
        exchange.diagnostics = made.diagnostics(exchange.on_loss == "reject")
        headers = provider.request_headers(exchange.headers, accept=b"*/*", credential=exchange.credential)
        if upload is not None:
            form = (b"content-type", kept.encode("latin-1"))
            headers = (*(pair for pair in headers if pair[0] != b"content-type"), form)
        return UpstreamRequest(
            method=scope["method"],
            url=provider.url(made.protocol, made.path, model=model or ""),
            headers=headers,
            body=made.body,
            pieces=None if upload is None else upload.pieces(model, expected=exchange.model),
            length=None if upload is None else upload.length(model),
            stream=exchange.stream,
            timeouts=provider.timeouts,
        )


class _Call(VendorCall):
    """One request to the vendor."""

    def __init__(
        self, exchange: Exchange, send: Send, *, max_answer: int, max_file: int, clock: Callable[[], float]
    ) -> None:
        super().__init__(exchange, send, protocol=exchange.client_protocol or "openai_chat", clock=clock)
        self._max_answer = max_answer
        self._max_file = max_file
        self.made: OperationCall | None = None

    def answered(self, response: UpstreamResponse) -> Awaitable[None]:
        bad = not 200 <= response.status < 300 or response.status in (204, 205)
        return self._refused(response) if bad else self._forward(response)

    async def failed(self, error: GatewayError) -> None:
        upload = self.exchange.upload
        if upload is not None and upload.gone:
            self.leave()
        elif not self.started:
            # why an upload broke off is known better where it was read
            await self.fail((upload.failure if upload is not None else None) or error)

    async def _refused(self, response: UpstreamResponse) -> None:
        spoken = self.exchange.upstream_protocol or self.protocol
        error, body = await self.refusal(response, spoken)
        if response.status in (404, 409) and not self.exchange.upstream_model:
            # what is missing lies at this vendor, or nowhere
            error.failure, error.kind = "caller_fault", "not_found" if response.status == 404 else "conflict"
        elif _not_done(response.status, error, body):
            raise self._cannot(error)
        if error.failure != "caller_fault" or spoken != self.protocol or not presentable(body):
            raise error
        self.exchange.fail(error)
        await self._whole(response.status, body)

    def _cannot(self, error: UpstreamError) -> RequestError:
        """The vendor does not do this, with this model or for our key. It says nothing of what else it does.

        Nobody may take a model from the clients that chat with it by asking it for something else.
        """
        if not self.exchange.upstream_model:
            return RequestError("The vendor does not let the gateway do this.", kind="forbidden")
        return InvalidRequest(
            f"The vendor of this model does not do this with it: {error.message}",
            kind="unsupported",
            code="unsupported_operation",
        )

    async def _forward(self, response: UpstreamResponse) -> None:
        kind = next((value for name, value in response.headers if name == b"content-type"), _JSON)
        if self.exchange.translated:
            await self._forward_json(response)
        elif kind.lower().startswith(_EVENTS):
            await self._forward_events(response)
        elif kind.lower().startswith(_JSON) and self.exchange.operation != "files":
            await self._forward_json(response)
        else:
            await self._forward_bytes(response, kind)

    async def _forward_json(self, response: UpstreamResponse) -> None:
        body = await response.aread(limit=self._max_answer)
        made, kind = self.made, _JSON
        if made is not None:
            if made.translation is not None:
                kind = made.translation.kind
                # it is paid for, whether or not the client can be given it
                self.exchange.usage = usage_in(body)
            body, self.exchange.usage = made.answer(body, model=self.exchange.model or "")
        self.exchange.first_token = self.clock()
        await self._whole(200, body, kind)

    async def _whole(self, status: int, body: bytes, kind: bytes = _JSON) -> None:
        self.started = self.complete = True
        safe = () if kind == _JSON else (_SAFE,)
        headers = (*UNCACHED, (b"content-type", kind), *safe, *lost_headers(self.exchange))
        await send_response(self.send, status, body, headers=headers)

    async def _forward_bytes(self, response: UpstreamResponse, kind: bytes) -> None:
        """What cannot be looked into. If it breaks, it is left unfinished, and the server cuts the connection."""
        length = [pair for pair in response.headers if pair[0] == b"content-length" and pair[1].isdigit()]
        told = kind if _TYPE.match(kind) else b"application/octet-stream"
        headers = (*UNCACHED, (b"content-type", told), _SAFE, *length)
        size = 0
        if self.made is not None:
            self.exchange.usage = self.made.unread()
        try:
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > self._max_file:
                    raise InvalidUpstreamResponse(f"the upstream sent more than {self._max_file} bytes")
                await self.pass_on(chunk, headers, more=True)
        except UpstreamError as error:
            if self.started:
                self.exchange.fail(error)
            raise
        self.complete = True
        await self.pass_on(b"", headers, more=False)

    async def _forward_events(self, response: UpstreamResponse) -> None:
        """Event for event: what is told after a stream that broke is an event of its own."""
        headers = (*STREAMING, (b"content-type", b"text/event-stream; charset=utf-8"))
        tap, turns = OperationTap(), Turns()
        exchange = self.exchange
        size = 0
        last = b""
        try:
            async for whole in response.aiter_raw():
                size += len(whole)
                if size > self._max_answer:
                    raise InvalidUpstreamResponse(f"the upstream sent more than {self._max_answer} bytes")
                for chunk in pieces(whole):
                    out = tap.forward(chunk)
                    self._note(tap)
                    if out:
                        await self.pass_on(out, headers, more=True)
                    if turns.took(chunk):
                        await asyncio.sleep(0)
            last = tap.close()
            if tap.fault is not None and exchange.failure is not tap.fault:
                raise tap.fault
        except UpstreamError as error:
            if not self.started:
                raise
            exchange.fail(error)
            dialect = codec(self.protocol)
            last += dialect.encode_stream_error(error).encode(dialect.frame_newline)
        finally:
            exchange.usage, exchange.finish_reason = tap.usage, tap.finish_reason
        self.complete = True
        await self.pass_on(last, headers, more=False)

    def _note(self, tap: OperationTap) -> None:
        """Before the bytes go out: has content come, has the stream broken?"""
        self.exchange.text_length = tap.text_length
        if tap.fault is not None and self.exchange.failure is not tap.fault:
            if not self.started:
                raise tap.fault
            self.exchange.fail(tap.fault)


def _not_done(status: int, error: UpstreamError, body: bytes) -> bool:
    """Whether a refusal is about the operation. OpenAI says 401 as well where a key is good for others only."""
    if status == 401:
        return any(word in body for word in _SCOPES)
    return status in _NOT_DONE or error.failure == "model_access"
