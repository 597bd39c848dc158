"""ContextMiddleware alone: record, id, framing, error rendering and the access log."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import pytest

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.asgi import ClientDisconnected, send_response
from asgi_llmgw.components.context import ContextMiddleware, stdout_log
from asgi_llmgw.errors import GatewayError, LimitError, RequestError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Principal
from asgi_llmgw.ir import Diagnostic, Usage
from asgi_llmgw.json import JSONObject, as_object, loads_object
from asgi_llmgw.testing import FakeClock, RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

CANARY = "sk-canary-0123456789"
Change = Callable[[Exchange], None]


def answering(
    status: int = 200, *, change: Change | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if change is not None:
            change(scope[SCOPE_KEY])
        await send_response(send, status, b"{}", headers=headers)

    return app


def raising(error: BaseException) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the request should have been refused")


class Log:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        self.lines.append(line)

    @property
    def entry(self) -> JSONObject:
        assert len(self.lines) == 1
        assert self.lines[0].endswith(b"\n")
        assert len(self.lines[0].decode().splitlines()) == 1
        return loads_object(self.lines[0])


async def test_hands_on_a_record_in_a_copy_of_the_scope() -> None:
    seen: list[Exchange] = []
    scope = http_scope()
    before = dict(scope)
    await call(ContextMiddleware(answering(change=seen.append), new_id=lambda: "req_1"), scope)
    assert scope == before
    assert seen[0].request_id == "req_1"


async def test_headers_are_copied_before_anything_is_received() -> None:
    """F009: a server that appends trailers to the list it handed out changes nobody's identity."""
    headers = [(b"X-Api-Key", b"mine")]
    seen: list[tuple[tuple[bytes, bytes], ...]] = []
    scope = http_scope(headers=headers)

    async def app(scope_below: Scope, receive: Receive, send: Send) -> None:
        scope["headers"].append((b"authorization", b"Bearer other"))
        await receive()
        seen.append(scope_below[SCOPE_KEY].headers)
        assert scope_below["headers"] == [(b"x-api-key", b"mine")]
        await send_response(send, 200, b"")

    await call(ContextMiddleware(app), scope)
    assert seen == [((b"x-api-key", b"mine"),)]


async def test_headers_may_be_any_iterable_of_pairs() -> None:
    """F018"""
    scope = http_scope()
    scope["headers"] = iter([[bytearray(b"X-Request-Id"), bytearray(b"abc")]])
    answer = await call(ContextMiddleware(answering()), scope)
    assert answer.headers[b"x-request-id"] == b"abc"


async def test_a_scope_with_nothing_optional_in_it_works() -> None:
    """F019"""
    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    answer = await call(ContextMiddleware(answering()), scope)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        pytest.param(b"abc-DEF_1.2", True, id="plain"),
        pytest.param(b"a" * 64, True, id="64_characters"),
        pytest.param(b"a" * 65, False, id="F212-65_characters"),
        pytest.param(b"a b", False, id="F212-space"),
        pytest.param(b"%0d%0aX: y", False, id="F212-percent"),
        pytest.param(b"\x1b[31m", False, id="F212-escape_sequence"),
        pytest.param("\u2028".encode(), False, id="F212-line_separator"),
        pytest.param(b"", False, id="empty"),
    ],
)
async def test_a_request_id_is_taken_only_when_it_is_plain(given: bytes, taken: bool) -> None:
    scope = http_scope(headers=[(b"x-request-id", given)])
    answer = await call(ContextMiddleware(answering(), new_id=lambda: "ours"), scope)
    assert answer.headers[b"x-request-id"] == (given if taken else b"ours")


async def test_a_request_id_is_not_taken_from_clients_that_are_not_trusted() -> None:
    scope = http_scope(headers=[(b"x-request-id", b"theirs")])
    answer = await call(ContextMiddleware(answering(), new_id=lambda: "ours", trust_request_id=False), scope)
    assert answer.headers[b"x-request-id"] == b"ours"


async def test_an_upstreams_request_id_gives_way_to_ours() -> None:
    app = answering(headers=((b"x-request-id", b"upstream"),))
    send = RecordingSend()
    await ContextMiddleware(app, new_id=lambda: "ours")(http_scope(), ScriptedReceive(), send)
    ids = [value for name, value in send.messages[0]["headers"] if name == b"x-request-id"]
    assert ids == [b"ours"]


async def test_an_anthropic_client_gets_the_id_under_its_own_name_too() -> None:
    def speak(exchange: Exchange) -> None:
        exchange.client_protocol = "anthropic_messages"

    answer = await call(ContextMiddleware(answering(change=speak), new_id=lambda: "ours"))
    assert answer.headers[b"request-id"] == b"ours"


async def test_no_shared_cache_may_keep_an_answer() -> None:
    """F063: unless a component below knows better; a host's own pages are its own affair."""

    def ours(exchange: Exchange) -> None:
        exchange.operation = "chat"

    plain = await call(ContextMiddleware(answering(change=ours)))
    chosen = await call(ContextMiddleware(answering(change=ours, headers=((b"cache-control", b"max-age=5"),))))
    hosts = await call(ContextMiddleware(answering()))
    assert plain.headers[b"cache-control"] == b"private, no-store"
    assert chosen.headers[b"cache-control"] == b"max-age=5"
    assert b"cache-control" not in hosts.headers


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(RequestError("no", kind="not_found"), 404, id="request_error"),
        pytest.param(LimitError("slow down", retry_after=1.2), 429, id="limit_error"),
        pytest.param(UpstreamError("gone", failure="unreachable"), 502, id="upstream_error"),
        pytest.param(ExceptionGroup("tasks", [RequestError("no", kind="conflict")]), 409, id="in_a_task_group"),
    ],
)
async def test_our_errors_are_rendered(error: Exception, status: int) -> None:
    log = Log()
    answer = await call(ContextMiddleware(raising(error), access_log=log, new_id=lambda: "ours"))
    assert answer.status == status
    assert answer.headers[b"x-request-id"] == b"ours"
    assert answer.headers[b"cache-control"] == b"private, no-store"
    assert log.entry["status"] == status
    assert log.entry["outcome"] == ("upstream_error" if status == 502 else "rejected")
    if status == 429:
        assert answer.headers[b"retry-after"] == b"2"


async def test_a_head_request_is_refused_without_a_body() -> None:
    """F108"""
    answer = await call(ContextMiddleware(raising(RequestError("no"))), http_scope("HEAD"))
    assert answer.status == 400
    assert answer.body == b""


@pytest.mark.parametrize(
    "error",
    [
        ValueError(CANARY),
        KeyError(CANARY),
        RecursionError(),
        ExceptionGroup("two", [ValueError(CANARY), OSError("/srv/secret/path")]),
        UnicodeDecodeError("utf-8", b"\xff" + CANARY.encode(), 0, 1, "invalid"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_bug_is_told_without_its_details(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """F220, F209: no class names, no paths, no messages; the log has the stack but not the values."""
    log = Log()
    with caplog.at_level(logging.DEBUG):
        answer = await call(ContextMiddleware(raising(error), access_log=log, new_id=lambda: "ours"))
    assert answer.status == 500
    told = answer.body.decode()
    for secret in (CANARY, type(error).__name__, "/", "Traceback", "File"):
        assert secret not in told
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert type(error).__name__ in record.getMessage()
    assert "in app" in record.getMessage()
    assert CANARY not in caplog.text
    assert CANARY.encode() not in log.lines[0]
    assert as_object(log.entry["error"])["kind"] == "server_error"


async def test_a_clients_long_text_does_not_come_back_whole() -> None:
    """F220: error bodies stay below 4 KiB."""
    answer = await call(ContextMiddleware(raising(RequestError("x" * 65_536, param="y" * 65_536))))
    assert answer.status == 400
    assert len(answer.body) <= 4096


async def test_an_app_that_forgets_to_answer_is_a_500() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    answer = await call(ContextMiddleware(silent))
    assert answer.status == 500


async def test_a_client_that_left_before_the_answer_closes_the_books() -> None:
    log = Log()
    answer = await call(ContextMiddleware(raising(ClientDisconnected()), access_log=log))
    assert answer.status == 499
    assert log.entry["level"] == "info"
    assert log.entry["outcome"] == "client_disconnected"
    assert log.entry["error"] is None


async def test_a_server_that_raises_from_send_is_a_client_that_left(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()

    async def broken(message: Message) -> None:
        raise OSError("client disconnected")

    await ContextMiddleware(answering(), access_log=log)(http_scope(), ScriptedReceive(), broken)
    assert log.entry["outcome"] == "client_disconnected"
    assert caplog.records == []


async def test_a_client_that_leaves_before_its_error_is_no_error_of_ours() -> None:
    log = Log()

    async def broken(message: Message) -> None:
        raise OSError("client disconnected")

    await ContextMiddleware(raising(RequestError("no")), access_log=log)(http_scope(), ScriptedReceive(), broken)
    assert log.entry["outcome"] == "client_disconnected"


async def test_an_app_may_return_without_an_answer_when_the_client_has_left() -> None:
    log = Log()

    async def leaving(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_KEY].outcome = "client_disconnected"

    answer = await call(ContextMiddleware(leaving, access_log=log))
    assert answer.status == 499
    assert log.entry["outcome"] == "client_disconnected"


async def test_a_record_that_is_there_already_is_kept() -> None:
    exchange = Exchange("req_outer", principal=Principal("host"))
    answer = await call(ContextMiddleware(answering()), {**http_scope(), SCOPE_KEY: exchange})
    assert answer.headers[b"x-request-id"] == b"req_outer"
    assert exchange.status == 200


def test_a_log_line_goes_to_standard_output_at_once(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    stdout_log(b'{"event":"request"}\n')
    assert capfdbinary.readouterr().out == b'{"event":"request"}\n'


def breaking_off(content_type: bytes, error: Exception) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
        await send({"type": "http.response.body", "body": b'data: {"a', "more_body": True})
        raise error

    return app


async def test_an_error_inside_a_stream_becomes_an_event_and_never_a_second_answer() -> None:
    send = RecordingSend()
    log = Log()
    app = breaking_off(b"text/event-stream", ValueError(CANARY))
    await ContextMiddleware(app, access_log=log)(http_scope(), ScriptedReceive(), send)
    assert send.finished
    assert send.status == 200
    assert send.chunks[1].startswith(b"\n\ndata: ")
    assert b"error" in send.chunks[1]
    assert CANARY.encode() not in send.body
    assert log.entry["outcome"] == "rejected"


async def test_a_whole_answer_that_breaks_off_is_left_unfinished() -> None:
    """The server cuts the connection, so that no client takes a part for the whole."""
    send = RecordingSend()
    log = Log()
    await ContextMiddleware(breaking_off(b"application/json", RequestError("no")), access_log=log)(
        http_scope(), ScriptedReceive(), send
    )
    assert not send.finished
    assert len(send.messages) == 2
    assert log.entry["outcome"] == "rejected"


async def test_an_error_after_the_end_changes_nothing_for_the_client() -> None:
    log = Log()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, 200, b"{}")
        raise ValueError

    answer = await call(ContextMiddleware(app, access_log=log))
    assert answer.status == 200
    assert log.entry["outcome"] == "completed"


async def test_the_access_log_tells_the_whole_story() -> None:
    log = Log()
    clock = FakeClock(100.0)

    def work(exchange: Exchange) -> None:
        exchange.endpoint, exchange.client_protocol = "/v1/chat/completions", "openai_chat"
        exchange.principal = Principal("team-a")
        exchange.model, exchange.route, exchange.stream = "smart-1", "smart-*", True
        exchange.provider, exchange.upstream_model, exchange.attempts = "claude", "claude-sonnet-4-5", 2
        exchange.usage = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4, reasoning_tokens=3)
        exchange.cost = 2106
        exchange.finish_reason = "stop"
        clock.advance(0.25)
        exchange.first_token = clock()
        clock.advance(0.75)
        exchange.diagnostics = (Diagnostic("a", "dropped"), Diagnostic("b", "dropped"))

    app = answering(change=work)
    await call(
        ContextMiddleware(app, access_log=log, new_id=lambda: "ours", clock=clock, wall_clock=lambda: 1_700_000_000.5)
    )
    entry = log.entry
    head = {"time": "2023-11-14T22:13:20.500Z", "level": "info", "event": "request", "request_id": "ours"}
    asked = {"method": "POST", "endpoint": "/v1/chat/completions", "api_key": "team-a", "protocol": "openai_chat"}
    went = {"model": "smart-1", "route": "smart-*", "provider": "claude", "upstream_model": "claude-sonnet-4-5"}
    ended = {"attempts": 2, "status": 200, "outcome": "completed", "stream": True, "finish_reason": "stop"}
    tokens = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cached_tokens": 4,
        "reasoning_tokens": 3,
        "cost_usd": 0.002106,
        "cache": None,
    }
    rest = {"duration_ms": 1000.0, "ttft_ms": 250.0, "error": None, "diagnostics": 2, "diagnostic_codes": ["dropped"]}
    assert entry == head | asked | went | ended | tokens | rest


async def test_a_clients_texts_are_cut_and_escaped_in_the_log_and_its_secrets_are_not_there() -> None:
    """F209, F212, F215: one line, without prompts and header values."""
    log = Log()

    def hostile(exchange: Exchange) -> None:
        exchange.model = "evil\r\n\x1b[31m\u2028\u2029\x85\ud800" + "m" * 1000
        exchange.principal = Principal("\ud800\n")
        exchange.diagnostics = (Diagnostic("a", "dropped", detail=CANARY),)

    scope = http_scope("X" * 10_000, headers=[(b"authorization", CANARY.encode()), (b"user-agent", CANARY.encode())])
    await call(ContextMiddleware(answering(change=hostile), access_log=log), scope, {"prompt": CANARY})
    model = log.entry["model"]
    assert isinstance(model, str) and len(model) <= 256
    assert log.entry["api_key"] == "?\n"
    assert len(log.lines[0]) < 2000
    assert CANARY.encode() not in log.lines[0]
    assert b"\x1b" not in log.lines[0]


async def test_an_upstreams_failure_is_named_in_the_log() -> None:
    log = Log()
    error = UpstreamError("no", failure="rate_limit", kind="rate_limited", code="slow")
    await call(ContextMiddleware(raising(error), access_log=log))
    assert log.entry["error"] == {"kind": "rate_limited", "code": "slow", "failure": "rate_limit"}


async def test_a_stream_whose_upstream_failed_is_not_called_completed() -> None:
    log = Log()

    def fail(exchange: Exchange) -> None:
        exchange.failure = UpstreamError("cut", failure="unreachable")

    await call(ContextMiddleware(answering(change=fail), access_log=log))
    assert log.entry["outcome"] == "upstream_error"
    assert log.entry["level"] == "error"


async def test_an_outcome_set_below_stays() -> None:
    log = Log()

    def leave(exchange: Exchange) -> None:
        exchange.outcome = "client_disconnected"

    await call(ContextMiddleware(answering(change=leave), access_log=log))
    assert log.entry["outcome"] == "client_disconnected"


async def test_a_log_that_fails_is_counted_and_nothing_else() -> None:
    """F219"""

    def full(line: bytes) -> None:
        raise OSError("no space left on device")

    app = ContextMiddleware(answering(), access_log=full)
    answer = await call(app)
    assert answer.status == 200
    assert app.dropped_lines == 1


async def test_a_cancelled_request_is_logged_too() -> None:
    log = Log()
    started = anyio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(ContextMiddleware(waits, access_log=log), http_scope(), ScriptedReceive(), RecordingSend())
        await started.wait()
        group.cancel_scope.cancel()
    assert log.entry["outcome"] == "client_disconnected"
    assert log.entry["status"] is None


async def test_a_websocket_is_denied_before_it_is_accepted() -> None:
    """F020, F081"""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await ContextMiddleware(never)({"type": "websocket", "path": "/"}, ScriptedReceive(), send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_not_http_passes_straight_through(kind: str) -> None:
    """WebSockets only where a host's app further down wants them."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope: Scope = {"type": kind}
    await ContextMiddleware(app, websockets=True)(scope, ScriptedReceive(), RecordingSend())
    assert seen[0] is scope


async def test_an_error_is_a_gateway_error_even_without_a_kind() -> None:
    answer = await call(ContextMiddleware(raising(GatewayError("something"))))
    assert answer.status == 500
