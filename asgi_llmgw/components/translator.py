"""Makes any ASGI app that speaks one protocol answer in another."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from asgi_llmgw._types import ASGIApp, Headers, Message, Receive, Scope, Send
from asgi_llmgw.asgi import (
    MAX_BODY,
    STREAMING,
    UNCACHED,
    ClientDisconnected,
    path_with_query,
    read_body,
    replay,
    send_gone,
    send_response,
)
from asgi_llmgw.errors import ConfigError, GatewayError, InvalidRequest, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.exchange import Exchange, OnLoss
from asgi_llmgw.ir import Diagnostic, Protocol
from asgi_llmgw.protocols import Profile, RequestHead, codec, upstream_codec
from asgi_llmgw.reasoning.envelope import PROCESS_KEY
from asgi_llmgw.reasoning.turns import Turn, TurnRecorder, missing_turns, pack_turn, turn_of, unpack_turn, with_turns
from asgi_llmgw.render import lost_headers, send_error
from asgi_llmgw.store.base import SideTable
from asgi_llmgw.translate import (
    ReadRequest,
    StreamTranslator,
    Translated,
    read_request,
    translate_response,
    write_request,
)

_log: Final = logging.getLogger("asgi_llmgw.translator")
SIDE_TABLE_TTL: Final = 3600.0
_STREAMS: Final = (b"text/event-stream", b"application/vnd.amazon.eventstream")
_MAX_WHOLE: Final = 64 * 1024 * 1024
_PLAIN: Final = Profile()
_TOLD_IN_PATH: Final[tuple[Protocol, ...]] = ("gemini_generate",)
"""Protocols whose requests name the model in their path."""
_OF_A_STREAM: Final[Headers] = (*STREAMING, (b"content-type", b"text/event-stream; charset=utf-8"))
_OF_AN_ANSWER: Final[Headers] = (*UNCACHED, (b"content-type", b"application/json"))
_OF_THE_BODY: Final = (b"content-length", b"content-type", b"transfer-encoding", b"content-encoding")


def _plain_profile(model: str) -> Profile:
    return _PLAIN


class TranslatorMiddleware:
    """Serve one protocol over an app that speaks another.

    The request is translated on its way down, the answer (whole, streamed or an error) on its way up. Where both are
    the same it steps aside and nothing is touched. What cannot be carried over is told in `x-llmgw-diagnostics`, logged
    at DEBUG, or refused, as `on_loss` says.

    Args:
        app: speaks one of `over`.
        over: the protocols `app` speaks, the preferred one first.
        serve: the protocol of the clients; None takes it from the exchange (`client_protocol`).
        profile_for: facts about a model of the app's.
        on_loss: for requests that carry no policy of their own; None takes it from the exchange.
        max_body: the largest request, in bytes.
        carriers_key: seals the reasoning state that clients carry for other vendors; processes that serve the same
            clients share it.
        side_table: remembers that state for clients of Chat Completions, many of which do not carry it.
        side_table_ttl: for so many seconds.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        over: Protocol | Sequence[Protocol],
        serve: Protocol | None = None,
        profile_for: Callable[[str], Profile] = _plain_profile,
        on_loss: OnLoss | None = None,
        max_body: int = MAX_BODY,
        carriers_key: bytes = PROCESS_KEY,
        side_table: SideTable | None = None,
        side_table_ttl: float = SIDE_TABLE_TTL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._over: tuple[Protocol, ...] = (over,) if isinstance(over, str) else tuple(over)
        if not self._over:
            raise ConfigError("TranslatorMiddleware needs at least one protocol in `over`")
        for name in self._over:
            upstream_codec(name)
        if serve is not None:
            codec(serve)
        self._app = app
        self._serve: Protocol | None = serve
        self._profile_for = profile_for
        self._on_loss: OnLoss | None = on_loss
        self._max_body = max_body
        self._carriers_key = carriers_key
        self._memory = None if side_table is None else _Memory(side_table, side_table_ttl)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        serve = self._serve or exchange.client_protocol or "openai_chat"
        over = serve if serve in self._over else self._over[0]
        exchange.upstream_protocol = over
        exchange.translated = serve != over
        if not exchange.translated:
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
            path = path_with_query(scope) if serve in _TOLD_IN_PATH else ""
            read = read_request(body, source=serve, path=path, carriers_key=self._carriers_key)
            memory = self._memory if serve == "openai_chat" else None
            if memory is not None and (missing := missing_turns(read.request)):
                read = await memory.complete(read, missing, exchange)
            translated = self._request(exchange, read, serve, over)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            await _fail(exchange, send, serve, error)
            return
        answer = _Answer(exchange, send, serve, over, translated, memory, self._carriers_key, self._clock)
        await self._app(_inner_scope(scope, translated), replay(translated.body, receive), answer)
        if not answer.done:
            await answer.finish()

    def _request(self, exchange: Exchange, read: ReadRequest, serve: Protocol, over: Protocol) -> Translated:
        model = exchange.upstream_model
        asked = model or read.request.model
        translated = write_request(read, target=over, model=model, profile=self._profile_for(asked))
        exchange.diagnostics = translated.diagnostics
        if translated.diagnostics:
            for item in translated.diagnostics:
                _log.debug("%s → %s: %s %s %s", serve, over, item.path, item.code, item.detail)
            if (self._on_loss or exchange.on_loss) == "reject":
                _refuse_loss(translated.diagnostics)
        exchange.written = translated.body, RequestHead(asked, read.request.stream)
        return translated


def _refuse_loss(diagnostics: tuple[Diagnostic, ...]) -> None:
    for item in diagnostics:
        if item.severity != "info":
            raise InvalidRequest(
                f"{item.path} cannot be carried over to the model's own protocol: {item.detail or item.code}",
                kind="unsupported",
                param=item.path,
                code="lossy_translation",
            )


def _inner_scope(scope: Scope, translated: Translated) -> Scope:
    """The scope of the request as the inner app would have got it from a client of its own protocol."""
    path, _, query = translated.path.partition("?")
    headers = [pair for pair in scope.get("headers") or () if pair[0].lower() not in _OF_THE_BODY]
    headers += (b"content-type", b"application/json"), (b"content-length", b"%d" % len(translated.body))
    return {
        **scope,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
    }


class _Memory:
    """What is remembered of clients' turns."""

    def __init__(self, table: SideTable, ttl: float) -> None:
        self._table = table
        self._ttl = ttl

    async def complete(self, read: ReadRequest, missing: tuple[str, ...], exchange: Exchange) -> ReadRequest:
        """The request with the state that the client did not send back, as far as it is remembered."""
        turns: dict[str, Turn] = {}
        for name in missing:
            found = await self._table.get(_owner(exchange), name)
            turn = None if found is None else unpack_turn(found)
            if turn is not None:
                turns[name] = turn
        return ReadRequest(with_turns(read.request, turns), read.diagnostics)

    async def keep(self, turn: Turn, exchange: Exchange) -> None:
        """Remember a turn."""
        await self._table.put(_owner(exchange), turn.name, pack_turn(turn), ttl=self._ttl)


def _owner(exchange: Exchange) -> str:
    return exchange.principal.name if exchange.principal is not None else ""


class _Answer:
    """The inner app's `send`: takes its answer and gives the client's. `done`: all of it, and nothing more is taken."""

    __slots__ = (
        "_asked",
        "_carriers_key",
        "_clock",
        "_exchange",
        "_memory",
        "_over",
        "_recorder",
        "_send",
        "_serve",
        "_started",
        "_status",
        "_stream",
        "_whole",
        "done",
    )

    def __init__(
        self,
        exchange: Exchange,
        send: Send,
        serve: Protocol,
        over: Protocol,
        asked: Translated,
        memory: _Memory | None,
        carriers_key: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._serve: Protocol = serve
        self._over: Protocol = over
        self._asked = asked
        self._memory = memory
        self._carriers_key = carriers_key
        self._clock = clock
        self._status = 200
        self._stream: StreamTranslator | None = None
        self._recorder: TurnRecorder | None = None
        self._whole = bytearray()
        self._started = False
        self.done = False

    def __call__(self, message: Message) -> Awaitable[None]:
        if self._stream is not None and not self.done and message["type"] == "http.response.body":
            return self._take(self._stream, message.get("body", b""), more=message.get("more_body", False))
        return self._begin(message)

    async def _begin(self, message: Message) -> None:
        """The start, and the pieces of an answer that is no stream."""
        if self.done:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._status == 200 and _content_type(message).startswith(_STREAMS):
                self._recorder = TurnRecorder() if self._memory is not None else None
                self._stream = StreamTranslator(
                    source=self._over,
                    target=self._serve,
                    context=self._asked.stream_context,
                    tool_names=self._asked.tool_names,
                    carriers_key=self._carriers_key,
                    recorder=self._recorder,
                )
        elif message["type"] == "http.response.body":
            body: bytes | bytearray = message.get("body", b"")
            more = message.get("more_body", False)
            if more or self._whole:
                self._whole += body
                body = self._whole
            if len(body) > _MAX_WHOLE:
                await self.fail(InvalidUpstreamResponse("the upstream's answer is too large"))
            elif not more:
                await self._give_whole(bytes(body))

    async def _take(self, stream: StreamTranslator, chunk: bytes, *, more: bool) -> None:
        try:
            out = stream.feed(chunk)
            if not more:
                failure = self._exchange.failure
                out += stream.close(failure if isinstance(failure, UpstreamError) else None)
                if stream.fault is None and failure is not None:
                    self._exchange.forgive()
        finally:
            self._settle(stream)
        if stream.ended and self._recorder is not None:
            # before the client hears of the end, and may come back
            turn, self._recorder = self._recorder.turn(), None
            if turn is not None and self._memory is not None:
                await self._memory.keep(turn, self._exchange)
        if stream.fault is not None:
            self._exchange.fail(stream.fault)
            if not self._started:
                await self.fail(stream.fault)
                return
            more = False
        if not self._started and (out or not more):
            self._started = True
            headers = [*_OF_A_STREAM, *lost_headers(self._exchange)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if out or not more:
            self.done = not more
            await self._send({"type": "http.response.body", "body": out, "more_body": more})

    def _settle(self, stream: StreamTranslator) -> None:
        exchange = self._exchange
        if exchange.first_token is None and stream.content:
            exchange.first_token = self._clock()
        exchange.text_length = stream.text_length
        if stream.usage is not None:
            exchange.usage = stream.usage
        if stream.finish_reason is not None:
            exchange.finish_reason = stream.finish_reason.kind

    async def _give_whole(self, body: bytes) -> None:
        exchange, status = self._exchange, self._status
        if status == 499:
            self.done = True
            await send_gone(self._send)
            return
        if not 200 <= status < 300:
            await self.fail(exchange.failure or upstream_codec(self._over).decode_error(status, body))
            return
        try:
            translated = translate_response(
                body,
                source=self._over,
                target=self._serve,
                tool_names=self._asked.tool_names,
                context=self._asked.stream_context,
                carriers_key=self._carriers_key,
            )
        except UpstreamError as error:
            await self.fail(error)
            return
        exchange.first_token = self._clock()
        exchange.diagnostics += translated.diagnostics
        answer = translated.answer
        if answer is not None:
            exchange.usage = answer.usage
            if answer.choices:
                exchange.finish_reason = answer.choices[0].finish.kind
            if self._memory is not None and (turn := turn_of(answer)) is not None:
                await self._memory.keep(turn, exchange)
        self._started = self.done = True
        await send_response(self._send, 200, translated.body, headers=(*_OF_AN_ANSWER, *lost_headers(self._exchange)))

    async def fail(self, error: GatewayError) -> None:
        """Answer with an error in the client's protocol; nothing was sent before."""
        self._started = self.done = True
        await _fail(self._exchange, self._send, self._serve, error)

    async def finish(self) -> None:
        """The inner app has returned: if it forgot the end of its answer, say so."""
        if self._exchange.outcome == "client_disconnected":
            return
        if self._stream is not None:
            await self._take(self._stream, b"", more=False)
        else:
            await self.fail(InvalidUpstreamResponse("the upstream ended its answer early"))


async def _fail(exchange: Exchange, send: Send, protocol: Protocol, error: GatewayError) -> None:
    """Answer with an error in the client's protocol, and note it."""
    exchange.fail(error)
    await send_error(send, error, protocol, request_id=exchange.request_id)


def _content_type(message: Message) -> bytes:
    headers: Headers = message.get("headers") or ()
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.lower()
    return b""
