"""One provider as an app for realtime sessions: frames go to the vendor and back as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import quote

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import ClientDisconnected, send_gone, while_connected
from asgi_llmgw.components.realtime.relay import SEND_STALL, Relay
from asgi_llmgw.components.realtime.socket import SOCKET_KEY, TOO_BIG, ClientSocket
from asgi_llmgw.errors import GatewayError, InvalidRequest, RequestError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import Usage
from asgi_llmgw.protocols import codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.providers.classify import retry_after
from asgi_llmgw.render import send_error
from asgi_llmgw.upstream.websocket import MAX_FRAME, Closed, RealtimeUpstream, Refusal, SocketRequest, UpstreamSocket

FIRST_WORD: Final = 2.0
"""Seconds in which a vendor says that the session stands, or that it does not. Some wait for the client to begin."""
OPERATION: Final = "realtime"

_ACCEPTED: Final = 101
_NOT_THERE: Final = frozenset({404, 405, 426, 501})
_SUBPROTOCOLS: Final = ("realtime", "openai-beta.realtime-v1")
"""What of the client's offer the vendor hears of."""
_OPENAI: Final = frozenset({"openai_chat", "openai_responses"})
_NOT_SENT: Final = (b"content-type", b"accept")


class RealtimeApp:
    """Connect sessions to one provider. The client is accepted once the vendor has said its first good word.

    It takes the GET requests that `HandshakeMiddleware` makes of WebSockets. Behind `DispatchApp` a vendor that refuses
    leaves the session to the next key or target, and so does one that has no realtime sessions.

    Args:
        provider: who is called, and how.
        upstream: what connects to it.
        max_frame: the largest message in either direction, in bytes.
        first_word: seconds in which the vendor may say its first word; afterwards the client is accepted without it.
        send_stall: seconds after which a side that takes nothing counts as gone.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        upstream: RealtimeUpstream,
        max_frame: int = MAX_FRAME,
        first_word: float = FIRST_WORD,
        send_stall: float = SEND_STALL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._upstream = upstream
        self._max_frame = max_frame
        self._first_word = first_word
        self._send_stall = send_stall
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange.get_or_create(scope)
        socket = scope.get(SOCKET_KEY)
        session = _Session(exchange, send, clock=self._clock)
        try:
            if not isinstance(socket, ClientSocket):
                raise RequestError("Realtime sessions are WebSockets.", kind="method_not_allowed")
            request = self._request(exchange, socket)
        except GatewayError as error:
            await session.fail(error)
            return

        def relay(vendor: UpstreamSocket) -> Relay:
            return Relay(vendor, socket, exchange, max_frame=self._max_frame, send_stall=self._send_stall)

        work = session.run(self._upstream, request, socket, relay, first_word=self._first_word)
        await while_connected(receive, work, left=session.left, let_go=session.let_go)
        if session.gone and not session.begun:
            await send_gone(send)

    def _request(self, exchange: Exchange, socket: ClientSocket) -> SocketRequest:
        provider = self._provider
        model = exchange.upstream_model or exchange.model or ""
        exchange.provider, exchange.upstream_model = provider.name, model
        if not _OPENAI & set(provider.protocols) or not provider.does(OPERATION):
            raise _unsupported()
        provider.check_usable()
        headers = provider.request_headers(exchange.headers, credential=exchange.credential)
        return SocketRequest(
            url=provider.url("openai_chat", f"/v1/realtime?model={quote(model, safe='')}", model=model),
            headers=tuple(pair for pair in headers if pair[0] not in _NOT_SENT),
            subprotocols=tuple(name for name in _SUBPROTOCOLS if name in socket.offered),
            max_frame=self._max_frame,
            timeouts=provider.timeouts,
        )


class _Session:
    """One session, from the handshake with the vendor to the end of both connections."""

    def __init__(self, exchange: Exchange, send: Send, *, clock: Callable[[], float]) -> None:
        self._exchange = exchange
        self._send = send
        self._clock = clock
        self._held = AsyncExitStack()
        self.begun = False
        self.gone = False

    def left(self) -> float | None:
        """The client has left: a session that has begun hears of it by itself."""
        if self.begun:
            return None
        self.gone = True
        self._exchange.outcome = "client_disconnected"
        return 0.0

    async def let_go(self) -> None:
        """Close the connection to the vendor although the session hangs in a `send`."""
        await self._held.aclose()

    async def run(
        self,
        upstream: RealtimeUpstream,
        request: SocketRequest,
        socket: ClientSocket,
        between: Callable[[UpstreamSocket], Relay],
        *,
        first_word: float,
    ) -> None:
        """Hold the session until one side leaves."""
        try:
            async with self._held:
                answer = await self._held.enter_async_context(upstream.connect(request))
                if isinstance(answer, Refusal):
                    raise _refused(answer)
                async with between(answer) as relay:
                    await relay.first_word(first_word)
                    # a browser that offers something hangs up where nothing of it is chosen
                    chosen = answer.subprotocol or OPERATION
                    socket.chosen = chosen if chosen in socket.offered else None
                    await self._begin()
                    await relay.run()
        except ClientDisconnected:
            self._exchange.outcome = "client_disconnected"
        except GatewayError as error:
            if not self.begun:
                await self.fail(error)
                return
            self._exchange.fail(error)
            if error.kind == "request_too_large":
                socket.farewell = Closed(TOO_BIG)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self) -> None:
        """The client is accepted: from here on there is no other target."""
        exchange = self._exchange
        exchange.stream = True
        exchange.usage = Usage(input_tokens=0, output_tokens=0)
        exchange.first_token = self._clock()
        await self._send({"type": "http.response.start", "status": _ACCEPTED, "headers": []})
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})
        self.begun = True

    async def fail(self, error: GatewayError) -> None:
        """Tell the client what went wrong; nothing was sent before."""
        self._exchange.fail(error)
        self.begun = True
        protocol = self._exchange.client_protocol
        await send_error(self._send, error, protocol, request_id=self._exchange.request_id)


def _unsupported() -> InvalidRequest:
    return InvalidRequest(
        "The provider of this model has no realtime sessions.", kind="unsupported", code="unsupported_operation"
    )


def _refused(refusal: Refusal) -> GatewayError:
    """What a refused handshake means. That a server knows no such address says nothing against its other answers."""
    error = codec("openai_chat").decode_error(refusal.status, refusal.body)
    if refusal.status < 400 or (refusal.status in _NOT_THERE and error.code != "model_not_found"):
        return _unsupported()
    if error.retry_after is None:
        error.retry_after = retry_after(refusal.headers)
    return error
