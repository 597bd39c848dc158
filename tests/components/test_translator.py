from __future__ import annotations

import logging

import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import read_body
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import as_list, as_object, dumps, loads_object
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope
from tests.samples import (
    MESSAGES_OVERLOADED,
    chat_answer,
    chat_request,
    frame,
    gemini_answer,
    messages_answer,
    messages_stream,
)

pytestmark = pytest.mark.anyio

JSON = (b"content-type", b"application/json")
SSE = (b"content-type", b"text/event-stream")


class Vendor:
    """Somebody's ASGI app that speaks one protocol."""

    def __init__(self, *chunks: bytes, status: int = 200, kind: tuple[bytes, bytes] = JSON, end: bool = True) -> None:
        self.chunks, self.status, self.kind, self.end = chunks, status, kind, end
        self.scope: Scope = {}
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.body = await read_body(receive)
        await send({"type": "http.response.start", "status": self.status, "headers": [self.kind]})
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if self.end:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_serves_chat_completions_over_a_messages_app() -> None:
    vendor = Vendor(messages_answer("Hello"))
    answer = await call(
        TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages"), body=chat_request("claude")
    )
    choice = as_object(as_list(as_object(answer.json)["choices"])[0])
    assert as_object(choice["message"])["content"] == "Hello"
    assert as_object(answer.json)["model"] == "claude"
    assert vendor.scope["path"] == "/v1/messages"
    asked = loads_object(vendor.body)
    assert (asked["model"], asked["max_tokens"]) == ("claude", 4096)
    assert dict(vendor.scope["headers"])[b"content-length"] == str(len(vendor.body)).encode()


async def test_an_answer_may_come_in_pieces_of_any_kind() -> None:
    whole = messages_answer("Hello")

    async def in_one(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": memoryview(whole)})

    for vendor in (in_one, Vendor(whole), Vendor(whole[:9], whole[9:]), Vendor(b"", whole)):
        app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
        assert b"Hello" in (await call(app, body=chat_request())).body


async def test_an_answer_beyond_all_bounds_is_a_bad_gateway() -> None:
    vendor = Vendor(*[bytes(22 * 1024 * 1024)] * 3, b"{")
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body=chat_request())
    assert answer.status == 502 and b"too large" in answer.body


async def test_what_the_client_said_of_its_body_is_not_said_of_the_translated_one() -> None:
    vendor = Vendor(messages_answer())
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    told = [(b"Content-Type", b"text/json"), (b"Content-Encoding", b"identity"), (b"x-kept", b"1")]
    await call(app, http_scope(headers=told), chat_request())
    assert [name for name, _ in vendor.scope["headers"]] == [b"x-kept", b"content-type", b"content-length"]


async def test_serves_chat_completions_over_a_gemini_app() -> None:
    vendor = Vendor(gemini_answer("Hello"))
    answer = await call(
        TranslatorMiddleware(vendor, serve="openai_chat", over="gemini_generate"), body=chat_request("gemini-2.5-flash")
    )
    assert b"Hello" in answer.body
    assert vendor.scope["path"] == "/v1beta/models/gemini-2.5-flash:generateContent"


async def test_streams_are_translated_while_they_run() -> None:
    vendor = Vendor(*messages_stream("Hel", "lo"), kind=SSE)
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    send = RecordingSend()
    exchange = Exchange("r")
    body = dumps(chat_request(stream=True, stream_options={"include_usage": True}))
    await app({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(body), send)
    assert any(b"Hel" in chunk for chunk in send.chunks) and any(b"lo" in chunk for chunk in send.chunks)
    assert send.body.endswith(b"data: [DONE]\n\n")
    assert exchange.usage is not None and exchange.usage.input_tokens == 9
    assert exchange.finish_reason == "stop"
    assert b"content-length" not in send.headers


async def test_the_same_protocol_is_not_touched() -> None:
    vendor = Vendor(chat_answer())
    body = b'{"model":"x",   "messages":[{"role":"user","content":"hi"}]}'
    answer = await call(TranslatorMiddleware(vendor, over="openai_chat"), body=body)
    assert (vendor.body, answer.body) == (body, chat_answer())


async def test_prefers_the_clients_own_protocol_among_several() -> None:
    vendor = Vendor(chat_answer())
    over: tuple[Protocol, ...] = ("anthropic_messages", "openai_chat")
    answer = await call(TranslatorMiddleware(vendor, over=over), body=chat_request())
    assert answer.body == chat_answer()


async def test_losses_are_counted_in_a_header_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    vendor = Vendor(messages_answer())
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    with caplog.at_level(logging.DEBUG, "asgi_llmgw.translator"):
        answer = await call(app, body=chat_request(seed=7, logit_bias={"50256": -100}))
    assert answer.headers[b"x-llmgw-diagnostics"].startswith(b"2; codes=dropped")
    assert "seed" in caplog.text and "Hello" not in caplog.text


async def test_a_policy_of_allow_says_nothing() -> None:
    app = TranslatorMiddleware(Vendor(messages_answer()), serve="openai_chat", over="anthropic_messages")
    scope = {**http_scope(), SCOPE_KEY: Exchange("r", on_loss="allow")}
    answer = await call(app, scope, chat_request(seed=7))
    assert answer.status == 200 and b"x-llmgw-diagnostics" not in answer.headers


async def test_a_policy_of_reject_names_the_field() -> None:
    vendor = Vendor(messages_answer())
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages", on_loss="reject")
    answer = await call(app, body=chat_request(seed=7))
    error = as_object(as_object(answer.json)["error"])
    assert (answer.status, error["param"], error["code"]) == (400, "seed", "lossy_translation")
    assert vendor.body == b""


async def test_errors_are_told_in_the_clients_protocol() -> None:
    """F18, F17."""
    vendor = Vendor(dumps(MESSAGES_OVERLOADED), status=529)
    answer = await call(
        TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages"), body=chat_request()
    )
    assert answer.status == 503
    assert as_object(as_object(answer.json)["error"])["message"] == "Overloaded"


async def test_an_upstream_error_on_a_stream_request_is_an_http_error() -> None:
    """F13."""
    vendor = Vendor(
        dumps({"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too large"}}),
        status=400,
    )
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body=chat_request(stream=True))
    assert answer.status == 400
    assert b"max_tokens: too large" in answer.body


async def test_an_error_event_before_any_output_is_an_http_error() -> None:
    """F14, F146."""
    vendor = Vendor(frame(MESSAGES_OVERLOADED, "error"), kind=SSE)
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body=chat_request(stream=True))
    assert answer.status == 503


async def test_an_error_event_after_output_ends_the_stream_without_a_terminator() -> None:
    """F147."""
    vendor = Vendor(*messages_stream("Hel")[:4], frame(MESSAGES_OVERLOADED, "error"), kind=SSE)
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body=chat_request(stream=True))
    assert b"Hel" in answer.body and b'"error"' in answer.body
    assert b"[DONE]" not in answer.body and b'"finish_reason":"stop"' not in answer.body


async def test_a_cut_stream_is_an_error_event() -> None:
    """T9, P4, F149."""
    vendor = Vendor(*messages_stream("Hel")[:4], kind=SSE)
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body=chat_request(stream=True))
    assert b'"error"' in answer.body and b"[DONE]" not in answer.body


async def test_an_app_that_forgets_its_end_does_not_leave_the_client_hanging() -> None:
    app = TranslatorMiddleware(
        Vendor(*messages_stream("Hel")[:4], kind=SSE, end=False), serve="openai_chat", over="anthropic_messages"
    )
    assert b'"error"' in (await call(app, body=chat_request(stream=True))).body
    app = TranslatorMiddleware(Vendor(b"{", end=False), serve="openai_chat", over="anthropic_messages")
    assert (await call(app, body=chat_request())).status == 502


async def test_an_empty_translation_emits_nothing() -> None:
    """F2, F8: a ping alone never shows as upstream bytes."""
    vendor = Vendor(*messages_stream("Hi")[:1], frame({"type": "ping"}, "ping"), *messages_stream("Hi")[1:], kind=SSE)
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body=chat_request(stream=True))
    assert b"message_start" not in answer.body and b'"ping"' not in answer.body


async def test_unreadable_answers_are_bad_gateways() -> None:
    """F130."""
    for body in (b"<html>", b"", b"[]", b"null"):
        app = TranslatorMiddleware(Vendor(body), serve="openai_chat", over="anthropic_messages")
        assert (await call(app, body=chat_request())).status == 502, body


async def test_unreadable_requests_are_refused_before_the_app_is_called() -> None:
    vendor = Vendor(messages_answer())
    app = TranslatorMiddleware(vendor, serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body={"model": "m", "messages": "hi"})
    assert answer.status == 400
    assert as_object(as_object(answer.json)["error"])["param"] == "messages"
    assert vendor.scope == {}


async def test_other_scopes_pass_through() -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    app = TranslatorMiddleware(inner, over="anthropic_messages")
    await app({"type": "lifespan"}, ScriptedReceive(), RecordingSend())
    assert seen == ["lifespan"]


def test_needs_a_protocol() -> None:
    with pytest.raises(ConfigError):
        TranslatorMiddleware(Vendor(), over=())
