"""The outermost component: one record, one id, one log line and one place where errors become answers."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Final

from asgi_llmgw._types import ASGIApp, Headers, Message, Receive, Scope, Send
from asgi_llmgw.access_log import access_line
from asgi_llmgw.answer import Answer, ClientDisconnected
from asgi_llmgw.asgi import header, headers_of, send_gone
from asgi_llmgw.errors import ErrorKind, GatewayError, RequestError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Outcome, new_request_id
from asgi_llmgw.logs import describe
from asgi_llmgw.protocols import codec
from asgi_llmgw.render import DEFAULT_PROTOCOL, NO_STORE, deny_websocket, request_id_headers, send_error
from asgi_llmgw.stall import SEND_STALL, StallGuard

MAX_HEADER_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
MAX_TARGET: Final = 8 * 1024

_REQUEST_ID: Final = b"x-request-id"
_LENGTH: Final = b"content-length"
_CODING: Final = b"transfer-encoding"
_IS_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_IS_LENGTH: Final = re.compile(rb"[0-9]{1,19}\Z")
_CR, _LF, _NUL = b"\r\n\0"  # numbers, which are found in bytes without a detour over an exception
_CLOSE: Final = (b"connection", b"close")
_BODY_LEFT: Final = frozenset({408, 413})
"""After these there is a body of unknown length that nobody reads: the connection is of no more use."""

_logger: Final = logging.getLogger(__name__)


def stdout_log(line: bytes) -> None:
    """An access log on standard output."""
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


class ContextMiddleware:
    """Gives each request its record and its id, renders what goes wrong below, and writes the access log.

    Requests whose framing or headers could mean different things to different readers are refused, and so are
    WebSockets. No prompt, answer or key is ever logged.

    Args:
        access_log: takes one JSON line for each request; None writes no log. When it raises, the line is counted in
            `dropped_lines` and the request is none the worse.
        new_id: makes request ids.
        clock: seconds that only ever grow.
        trust_request_id: take the client's `x-request-id` where it is short and plain.
        websockets: hand WebSockets on, to a host's app further down.
        wall_clock: seconds since the epoch.
        send_stall: seconds after which a client that takes nothing of its answer counts as gone, or what tells them;
            0 for never.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access_log: Callable[[bytes], None] | None = None,
        new_id: Callable[[], str] = new_request_id,
        clock: Callable[[], float] = time.monotonic,
        trust_request_id: bool = True,
        websockets: bool = False,
        wall_clock: Callable[[], float] = time.time,
        send_stall: float | Callable[[], float] = SEND_STALL,
    ) -> None:
        self._app = app
        self._access_log = access_log
        self._new_id = new_id
        self._clock = clock
        self._trust_request_id = trust_request_id
        self._websockets = websockets
        self._wall_clock = wall_clock
        self._send_stall = send_stall if callable(send_stall) else lambda: send_stall
        self.dropped_lines = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket" and not self._websockets:
                await deny_websocket(scope, send)
            else:
                await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        names = [name for name, _ in headers]
        exchange = self._exchange(scope, headers, names)
        answer = exchange.answer = Answer(send, partial(_change_head, exchange, scope))
        guard = StallGuard(answer, self._send_stall())
        cancelled = True
        try:
            with guard:
                guard.start()
                try:
                    problem = _problem(scope, headers, names)
                    if problem is not None:
                        raise problem
                    await self._app({**scope, SCOPE_KEY: exchange, "headers": list(headers)}, receive, answer.send)
                    if answer.status is None:
                        raise _no_answer(exchange)
                except Exception as error:
                    await _answer_failure(error, scope, exchange, answer)
                cancelled = False
            if cancelled:
                exchange.outcome = "client_disconnected"
                _logger.warning("request %s: the client took nothing of its answer for too long", exchange.request_id)
        finally:
            exchange.outcome = exchange.outcome or _outcome(exchange, answer, cancelled)
            self._log(scope, exchange)
            _let_go(exchange)

    def _exchange(self, scope: Scope, headers: Headers, names: list[bytes]) -> Exchange:
        found = scope.get(SCOPE_KEY)
        if isinstance(found, Exchange):
            return found
        given = header(headers, _REQUEST_ID) if self._trust_request_id and _REQUEST_ID in names else None
        request_id = given if given is not None and _IS_REQUEST_ID.match(given) else self._new_id()
        return Exchange(request_id, headers, self._clock())

    def _log(self, scope: Scope, exchange: Exchange) -> None:
        if self._access_log is None:
            return
        try:
            line = access_line(exchange, scope["method"], self._clock(), self._wall_clock())
            self._access_log(line)
        except Exception:
            # a full disk or a closed pipe is no reason to fail a request that was answered
            self.dropped_lines += 1


def _change_head(exchange: Exchange, scope: Scope, message: Message) -> Message:
    """The answer gets the request's id, and what no cache may keep says so."""
    exchange.status = status = message["status"]
    headers = list(message.get("headers") or ())
    names = dict(headers)
    # without an operation it is a page of the host's own, which may well be kept
    if exchange.operation is not None and NO_STORE[0] not in names:
        headers.append(NO_STORE)
    if status in _BODY_LEFT and _is_http_1(scope):
        headers.append(_CLOSE)
    for ours in request_id_headers(exchange.client_protocol, exchange.request_id):
        if ours[0] in names:
            headers = [pair for pair in headers if pair[0] != ours[0]]
        headers.append(ours)
    return {**message, "headers": headers}


def _outcome(exchange: Exchange, answer: Answer, cancelled: bool) -> Outcome:
    """How it ended, if nobody below said so. Servers cancel requests whose client has gone."""
    if isinstance(exchange.failure, UpstreamError):
        return "upstream_error"
    if answer.finished:
        return "completed" if (answer.status or 500) < 400 else "rejected"
    return "client_disconnected" if cancelled else "rejected"


async def _answer_failure(error: Exception, scope: Scope, exchange: Exchange, answer: Answer) -> None:
    """Answer for what escaped, as long as there is somebody to answer."""
    leaf = _leaf(error)
    try:
        if isinstance(leaf, ClientDisconnected):
            exchange.outcome = exchange.outcome or "client_disconnected"
            if answer.status is None:
                await send_gone(answer.send)
            return
        if isinstance(leaf, GatewayError):
            told = leaf
        else:
            _logger.error("request %s failed: %s", exchange.request_id, describe(error))
            told = GatewayError("The gateway failed to answer this request.", code="internal_error")
        if not answer.finished:
            if exchange.outcome is None:
                exchange.fail(told)
            await _send_failure(told, scope, exchange, answer)
    except ClientDisconnected:
        exchange.outcome = "client_disconnected"


async def _send_failure(told: GatewayError, scope: Scope, exchange: Exchange, answer: Answer) -> None:
    """The error in full before the answer began, as an event inside a stream, else not at all.

    A whole answer that broke off is left unfinished: the server then cuts the connection, and no client takes the
    part it got for all of it.
    """
    if answer.status is None:
        await send_error(
            answer.send,
            told,
            exchange.client_protocol,
            request_id=exchange.request_id,
            extra_headers=_closing(scope, told),
            head=scope["method"] == "HEAD",
        )
    elif answer.streaming:
        dialect = codec(exchange.client_protocol or DEFAULT_PROTOCOL)
        # the blank line ends a frame that was cut in two
        frame = dialect.frame_newline * 2 + dialect.encode_stream_error(told).encode(dialect.frame_newline)
        await answer.send({"type": "http.response.body", "body": frame, "more_body": False})


def _let_go(exchange: Exchange) -> None:
    """Undo the circles of a request that is over, which would wait for the garbage collector, with its body.

    The answer knows the record and the record the answer; and what an error remembers of where it was raised leads back
    to the record that it stands in.
    """
    exchange.answer = None
    error: BaseException | None = exchange.failure
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _leaf(error: Exception) -> Exception:
    """The one exception inside task groups' wrappings; a group of several is a bug as a whole."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _no_answer(exchange: Exchange) -> Exception:
    if exchange.outcome == "client_disconnected":
        return ClientDisconnected()
    return RuntimeError("the app returned without an answer")


def _problem(scope: Scope, headers: Headers, names: list[bytes]) -> RequestError | None:
    """What makes this request unfit to be read any further."""
    if len(headers) > MAX_HEADERS:
        return _unfit(f"The request has more than {MAX_HEADERS} headers.", "headers_too_large")
    joined = b"".join(chain.from_iterable(headers))
    if len(joined) > MAX_HEADER_BYTES:
        return _unfit(f"The request's headers are larger than {MAX_HEADER_BYTES} bytes.", "headers_too_large")
    raw_path = scope.get("raw_path") or str(scope["path"]).encode("utf-8", "replace")
    if len(raw_path) + len(scope.get("query_string") or b"") > MAX_TARGET:
        return _unfit(f"The path and its query are longer than {MAX_TARGET} bytes.", "headers_too_large")
    if _CR in joined or _LF in joined or _NUL in joined:
        return _unfit("A header of the request contains a control character.", code="invalid_header")
    lengths, codings = names.count(_LENGTH), names.count(_CODING)
    if lengths and codings:
        return _unfit("The request has both Content-Length and Transfer-Encoding.")
    if lengths and (lengths > 1 or not _IS_LENGTH.match(headers[names.index(_LENGTH)][1])):
        return _unfit("The request's Content-Length is not one decimal number.")
    if codings and (codings > 1 or headers[names.index(_CODING)][1].strip().lower() != b"chunked"):
        return _unfit("The request's Transfer-Encoding is not understood; only chunked is.")
    return None


def _unfit(message: str, kind: ErrorKind = "bad_request", *, code: str | None = None) -> RequestError:
    return RequestError(message, kind=kind, code=code or ("invalid_framing" if kind == "bad_request" else kind))


def _closing(scope: Scope, error: GatewayError) -> Headers:
    """Where one request ends and the next begins is unknown after bad framing."""
    return (_CLOSE,) if error.code == "invalid_framing" and _is_http_1(scope) else ()


def _is_http_1(scope: Scope) -> bool:
    """Later versions have no `connection` header."""
    return str(scope.get("http_version", "1.1")).startswith("1")
