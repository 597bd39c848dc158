from __future__ import annotations

import time
from collections.abc import Mapping

import anyio
import pytest

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.components.dispatch import HOLD_FRAMES, CommitGuard, DispatchApp
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Target
from asgi_llmgw.json import as_object, dumps, loads_object
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.routing.health import Health
from asgi_llmgw.routing.policy import Balancer
from asgi_llmgw.routing.retry import Retries, RetryPolicy
from asgi_llmgw.testing import (
    FakeResponse,
    FakeUpstream,
    RecordingSend,
    ScriptedReceive,
    call,
    http_scope,
    sse_response,
)
from tests.samples import (
    CHAT_ERROR,
    CHAT_ROLE,
    MESSAGES_OVERLOADED,
    chat_answer,
    chat_chunk,
    chat_request,
    chat_stream,
    frame,
    messages_answer,
    messages_stream,
)

pytestmark = pytest.mark.anyio

OVERLOADED = FakeResponse([dumps(CHAT_ERROR)], status=503)


def openai(upstream: FakeUpstream, name: str = "first") -> ASGIApp:
    provider = Provider(name=name, base_url="https://a.example/v1", protocols=("openai_chat",), auth="none")
    return TranslatorMiddleware(ProxyApp(provider, upstream=upstream), over=provider.protocols)


def anthropic(upstream: FakeUpstream, name: str = "second") -> ASGIApp:
    provider = Provider(name=name, base_url="https://b.example", protocols=("anthropic_messages",), auth="none")
    return TranslatorMiddleware(ProxyApp(provider, upstream=upstream), over=provider.protocols)


def exchange_for(*targets: tuple[str, str]) -> Exchange:
    return Exchange("req_1", client_protocol="openai_chat", targets=tuple(Target(*target) for target in targets))


def one_round() -> Retries:
    """Every target is tried once."""
    return Retries(Balancer(Health(clock=time.monotonic)), RetryPolicy(attempts=1))


async def run(apps: Mapping[str, ASGIApp], exchange: Exchange, body: object) -> RecordingSend:
    send = RecordingSend()
    app = DispatchApp(providers=apps, retries=one_round())
    await app({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(dumps(body)), send)
    return send


TWO = (("first", "gpt-4o"), ("second", "claude-sonnet-4-5"))


async def test_falls_back_before_the_first_byte() -> None:
    """D1, F137, F177: each target in its own protocol, from the untouched original."""
    first, second = FakeUpstream([OVERLOADED]), FakeUpstream([FakeResponse([messages_answer("From b")])])
    exchange = exchange_for(*TWO)
    send = await run({"first": openai(first), "second": anthropic(second)}, exchange, chat_request())
    assert send.status == 200
    assert b"From b" in send.body
    assert loads_object(first.requests[0].body)["model"] == "gpt-4o"
    assert loads_object(second.requests[0].body)["model"] == "claude-sonnet-4-5"
    assert (exchange.provider, exchange.attempts, exchange.failure) == ("second", 2, None)


async def test_falls_back_on_an_error_hidden_in_a_good_stream() -> None:
    """F16, F146, D3: the role chunk alone does not commit."""
    first = FakeUpstream([sse_response(CHAT_ROLE, frame(CHAT_ERROR))])
    second = FakeUpstream([sse_response(*messages_stream("From ", "b"))])
    exchange = exchange_for(*TWO)
    send = await run({"first": openai(first), "second": anthropic(second)}, exchange, chat_request(stream=True))
    assert send.status == 200
    assert b"From " in send.body and b"server had an error" not in send.body
    assert send.body.endswith(b"data: [DONE]\n\n")


async def test_falls_back_from_a_translated_stream_that_is_overloaded() -> None:
    """F16."""
    first = FakeUpstream([sse_response(frame(MESSAGES_OVERLOADED, "error"))])
    second = FakeUpstream([sse_response(*chat_stream("From a"))])
    exchange = exchange_for(("second", "claude"), ("first", "gpt-4o"))
    send = await run({"first": openai(second), "second": anthropic(first)}, exchange, chat_request(stream=True))
    assert b"From a" in send.body


async def test_does_not_fall_back_after_the_first_content() -> None:
    """F168: a second answer after the first word would be a wrong answer."""
    first = FakeUpstream([sse_response(CHAT_ROLE, chat_chunk({"content": "Hel"}), frame(CHAT_ERROR))])
    second = FakeUpstream([sse_response(*messages_stream("never"))])
    exchange = exchange_for(*TWO)
    send = await run({"first": openai(first), "second": anthropic(second)}, exchange, chat_request(stream=True))
    assert second.requests == []
    assert b"Hel" in send.body and b'"error"' in send.body and b"[DONE]" not in send.body
    assert exchange.outcome == "upstream_error"


async def test_the_clients_own_mistake_is_not_tried_elsewhere() -> None:
    """F138."""
    refusal = dumps({"error": {"message": "Bad", "type": "invalid_request_error", "param": "n", "code": None}})
    first = FakeUpstream([FakeResponse([refusal], status=400)])
    second = FakeUpstream([FakeResponse([messages_answer()])])
    exchange = exchange_for(*TWO)
    send = await run({"first": openai(first), "second": anthropic(second)}, exchange, chat_request())
    assert (send.status, send.body) == (400, refusal)
    assert second.requests == []
    assert exchange.outcome == "rejected"


async def test_a_target_that_cannot_express_the_request_is_skipped() -> None:
    """F177: several answers at once are Chat's alone."""
    first = FakeUpstream([FakeResponse([messages_answer()])])
    second = FakeUpstream([FakeResponse([chat_answer("From a")])])
    exchange = exchange_for(("second", "claude"), ("first", "gpt-4o"))
    apps = {"first": openai(second), "second": anthropic(first)}
    send = await run(apps, exchange, chat_request(n=2))
    assert first.requests == []
    assert b"From a" in send.body


async def test_when_all_fail_the_last_error_is_told() -> None:
    """F170, D11."""
    first = FakeUpstream([OVERLOADED])
    second = FakeUpstream([UpstreamError("Too slow.", failure="timeout", kind="upstream_timeout")])
    exchange = exchange_for(*TWO)
    send = await run({"first": openai(first), "second": anthropic(second)}, exchange, chat_request())
    assert send.status == 504
    assert as_object(as_object(send.json)["error"])["message"] == "Too slow."
    assert exchange.outcome == "upstream_error"


async def test_all_keys_dead_is_a_bad_gateway_and_never_401() -> None:
    """D11."""
    refused = FakeResponse([dumps({"error": {"message": "bad key", "code": "invalid_api_key"}})], status=401)
    exchange = exchange_for(("first", "gpt-4o"))
    send = await run({"first": openai(FakeUpstream([refused]))}, exchange, chat_request())
    assert send.status in (502, 503)


async def test_a_client_that_left_is_not_tried_elsewhere() -> None:
    """F113."""
    gate = anyio.Event()
    first, second = FakeUpstream([FakeResponse([gate])]), FakeUpstream([FakeResponse([messages_answer()])])
    exchange = exchange_for(*TWO)
    receive, send = ScriptedReceive(dumps(chat_request())), RecordingSend()
    app = DispatchApp(providers={"first": openai(first), "second": anthropic(second)})
    async with anyio.create_task_group() as group:
        group.start_soon(app, {**http_scope(), SCOPE_KEY: exchange}, receive, send)
        while not first.open_calls:
            await anyio.lowlevel.checkpoint()
        receive.disconnect()
    assert second.requests == []
    assert exchange.outcome == "client_disconnected"
    assert send.status == 499


async def test_no_targets_is_an_unknown_model() -> None:
    send = await run({"first": openai(FakeUpstream([OVERLOADED]))}, exchange_for(), chat_request())
    assert send.status == 404


async def test_works_over_any_asgi_app() -> None:
    async def teapot(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": chat_answer("From an app")})

    answer = await call(
        DispatchApp(providers={"app": teapot}),
        {**http_scope(), SCOPE_KEY: exchange_for(("app", "m"))},
        chat_request(),
    )
    assert b"From an app" in answer.body


async def test_the_start_is_let_go_after_a_while_without_content() -> None:
    """D15: the client sees the head of the answer although the model still thinks."""
    gate = anyio.Event()
    upstream = FakeUpstream([sse_response(CHAT_ROLE, gate, *chat_stream("Hi")[1:])])
    app = DispatchApp(providers={"first": openai(upstream)}, hold_seconds=0.001)
    body = dumps(chat_request(stream=True, stream_options={"include_usage": True}))
    started = anyio.Event()
    send = RecordingSend(lambda chunk: started.set())
    scope = {**http_scope(), SCOPE_KEY: exchange_for(("first", "gpt-4o"))}
    async with anyio.create_task_group() as group:
        group.start_soon(app, scope, ScriptedReceive(body), send)
        with anyio.fail_after(5):
            await started.wait()
        assert send.body == CHAT_ROLE
        gate.set()
    assert send.body == b"".join(chat_stream("Hi"))


async def test_holds_a_bounded_number_of_frames() -> None:
    send = RecordingSend()
    guard = CommitGuard(send, Exchange("r"))
    await guard({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(HOLD_FRAMES - 1):
        await guard({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
    assert send.messages == []
    await guard({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
    assert len(send.messages) == HOLD_FRAMES + 1
    guard.stop()


async def test_holds_a_bounded_number_of_bytes() -> None:
    send = RecordingSend()
    guard = CommitGuard(send, Exchange("r"))
    await guard({"type": "http.response.start", "status": 200, "headers": []})
    await guard({"type": "http.response.body", "body": b"x" * 300_000, "more_body": True})
    assert send.started
    guard.stop()


async def test_an_answer_that_has_content_before_its_start_is_not_held() -> None:
    send, exchange = RecordingSend(), Exchange("r", first_token=1.0)
    guard = CommitGuard(send, exchange)
    await guard({"type": "http.response.start", "status": 200, "headers": []})
    assert guard.committed and send.started


@pytest.mark.parametrize(("status", "fails"), [(503, False), (200, True)])
async def test_what_may_not_be_shown_is_held_whatever_has_come_before(status: int, fails: bool) -> None:
    send, exchange = RecordingSend(), Exchange("r", first_token=1.0)
    if fails:
        exchange.fail(UpstreamError("It broke.", failure="transient"))
    guard = CommitGuard(send, exchange)
    await guard({"type": "http.response.start", "status": status, "headers": []})
    await guard({"type": "http.response.body", "body": b"No.", "more_body": False})
    assert not guard.committed and send.messages == []
    guard.stop()


def test_needs_a_provider() -> None:
    with pytest.raises(ConfigError):
        DispatchApp(providers={})


async def test_a_chunk_does_not_overtake_what_was_held() -> None:
    """The timer lets the start go while the upstream goes on."""
    gate, sending = anyio.Event(), anyio.Event()
    seen: list[object] = []

    async def slow(message: Message) -> None:
        sending.set()
        await gate.wait()
        seen.append(message.get("body", "start"))

    guard = CommitGuard(slow, Exchange("r"))

    async def go_on() -> None:
        await guard({"type": "http.response.body", "body": b"next", "more_body": True})

    await guard({"type": "http.response.start", "status": 200, "headers": []})
    await guard({"type": "http.response.body", "body": b"held", "more_body": True})
    async with anyio.create_task_group() as group:
        group.start_soon(guard.commit)
        await sending.wait()
        group.start_soon(go_on)
        await anyio.lowlevel.checkpoint()
        gate.set()
    assert seen == ["start", b"held", b"next"]
