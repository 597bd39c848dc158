"""The last requests of a process."""

from __future__ import annotations

import anyio
import pytest

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.drain import Drain, DrainMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Operation
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import as_object
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

SSE = [(b"content-type", b"text/event-stream")]


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send_response(send, 200, b"hello")


def scope_of(protocol: Protocol, *, operation: Operation = "chat", http_version: str = "1.1") -> Scope:
    exchange = Exchange("req_1", client_protocol=protocol, operation=operation)
    return {**http_scope(), "http_version": http_version, SCOPE_KEY: exchange}


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [("openai_chat", "service_unavailable"), ("anthropic_messages", "overloaded_error"), ("gemini_generate", 503)],
)
async def test_new_requests_are_refused_in_their_dialect(protocol: Protocol, kind: object) -> None:
    """F202."""
    answer = await call(DrainMiddleware(hello, drain=Drain(draining=True)), scope_of(protocol))
    assert answer.status in (503, 529)
    error = as_object(as_object(answer.json)["error"])
    assert "shutting down" in str(error["message"])
    assert kind in (error.get("type"), error.get("code"), error.get("status")) or error["code"] == "shutting_down"
    assert answer.headers[b"connection"] == b"close"
    assert answer.headers[b"retry-after"] == b"1"


async def test_http2_has_no_connection_header() -> None:
    answer = await call(DrainMiddleware(hello, drain=Drain(draining=True)), scope_of("openai_chat", http_version="2"))
    assert answer.status == 503
    assert b"connection" not in answer.headers


@pytest.mark.parametrize("operation", ["health", "ready", "metrics"])
async def test_who_watches_is_served_to_the_last(operation: Operation) -> None:
    scope = scope_of("openai_chat", operation=operation)
    assert (await call(DrainMiddleware(hello, drain=Drain(draining=True)), scope)).body == b"hello"


async def test_other_scopes_pass_through() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await DrainMiddleware(app, drain=Drain(draining=True))({"type": "websocket"}, ScriptedReceive(), RecordingSend())
    assert seen == ["websocket"]


async def cut_off(app: ASGIApp, begun: anyio.Event, scope: Scope, send: Send | None = None) -> RecordingSend:
    """What a client gets whose request is cut off once this has happened."""
    drain, recorded = Drain(), RecordingSend()
    async with anyio.create_task_group() as group:
        group.start_soon(DrainMiddleware(app, drain=drain), scope, ScriptedReceive(), send or recorded)
        await begun.wait()
        assert len(drain.running) == 1
        drain.cut()
    assert not drain.running
    return recorded


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("openai_chat", b'data: {"error":'),
        ("anthropic_messages", b"event: error\ndata: "),
        ("openai_responses", b"event: error\n"),
        ("gemini_generate", b'data: {"error":'),
    ],
)
async def test_a_stream_that_is_cut_off_ends_with_an_error_event(protocol: Protocol, expected: bytes) -> None:
    """F202, F203, K3: never a silent cut."""
    begun, settled = anyio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        await send({"type": "http.response.body", "body": b"data: half a fr", "more_body": True})
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            settled.append(True)

    scope = scope_of(protocol)
    send = await cut_off(app, begun, scope)
    assert send.finished and settled
    tail = send.body.replace(b"\r\n", b"\n").removeprefix(b"data: half a fr\n\n")
    assert tail.startswith(expected) and b"shutting down" in tail
    assert (scope[SCOPE_KEY].outcome, scope[SCOPE_KEY].failure.code) == ("rejected", "shutting_down")


async def test_a_request_that_is_cut_off_before_its_answer_gets_a_whole_error() -> None:
    begun = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await anyio.sleep_forever()

    send = await cut_off(app, begun, scope_of("anthropic_messages"))
    assert send.finished and send.status in (503, 529)
    assert as_object(send.json)["type"] == "error"


async def test_a_whole_answer_that_is_cut_off_stays_unfinished() -> None:
    """Nobody shall take half of it for all."""
    begun = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        begun.set()
        await anyio.sleep_forever()

    send = await cut_off(app, begun, scope_of("openai_chat"))
    assert not send.finished and send.body == b"{"


async def test_an_answer_that_is_complete_gets_nothing_more() -> None:
    begun = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, 200, b"hello")
        begun.set()
        await anyio.sleep_forever()

    send = await cut_off(app, begun, scope_of("openai_chat"))
    assert send.finished and send.body == b"hello"


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_llmgw.components.drain.LAST_WORD", 0.0)
    begun = anyio.Event()

    async def stalled(message: object) -> None:
        begun.set()
        await anyio.sleep_forever()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})

    with anyio.fail_after(5):
        await cut_off(app, begun, scope_of("openai_chat"), stalled)
