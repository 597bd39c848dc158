"""ForwardApp alone."""

from __future__ import annotations

import anyio
import pytest

from asgi_llmgw._types import Message
from asgi_llmgw.components.forward import ForwardApp
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.json import as_object
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import (
    Answer,
    FakeResponse,
    FakeUpstream,
    RecordingSend,
    ScriptedReceive,
    call,
    http_scope,
    sse_response,
)
from tests.samples import frame

pytestmark = pytest.mark.anyio

OPENAI = Provider(
    name="openai", base_url="https://openai.example/v1", protocols=("openai_responses",), api_keys=("upstream-key",)
)
QUEUED = frame({"type": "response.queued", "sequence_number": 0, "response": {"id": "resp_1"}}, "response.queued")
STREAM = b"stream=true"


async def get(app: ForwardApp, path: str = "/v1/responses/resp_1", query: bytes = b"", method: str = "GET") -> Answer:
    return await call(app, http_scope(method, path, headers=(), query=query))


def code(answer: Answer) -> object:
    return as_object(as_object(answer.json)["error"])["code"]


async def test_it_finds_out_by_itself_what_is_asked_for() -> None:
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    exchange = Exchange("r", headers=((b"authorization", b"Bearer client-key"), (b"cookie", b"a=b")))
    scope = {**http_scope("GET", "/v1/responses/resp 1/input_items", query=b"limit=2&api_key=x"), SCOPE_KEY: exchange}
    assert (await call(ForwardApp(OPENAI, upstream=upstream), scope)).status == 200
    request = upstream.requests[0]
    assert request.url == "https://openai.example/v1/responses/resp%201/input_items?limit=2"
    headers = dict(request.headers)
    assert headers[b"authorization"] == b"Bearer upstream-key" and b"cookie" not in headers
    assert exchange.provider == "openai"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/responses/../models"),
        ("GET", "/v1/models"),
        ("PUT", "/v1/responses/x"),
    ],
)
async def test_nothing_else_is_forwarded(method: str, path: str) -> None:
    upstream = FakeUpstream([])
    answer = await get(ForwardApp(OPENAI, upstream=upstream), path, method=method)
    assert (answer.status, code(answer)) == (404, "unknown_url")
    assert upstream.requests == []


async def test_a_vendor_without_a_key_is_not_asked() -> None:
    keyless = Provider(name="openai", base_url="https://openai.example/v1", protocols=("openai_responses",))
    answer = await get(ForwardApp(keyless, upstream=FakeUpstream([])))
    assert (answer.status, code(answer)) == (503, "provider_not_configured")


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        pytest.param(FakeResponse([b"x" * 101]), b"", id="whole"),
        pytest.param(sse_response(b"x" * 101), STREAM, id="streamed"),
    ],
)
async def test_an_answer_that_grows_too_large_is_a_bad_gateway(answer: FakeResponse, query: bytes) -> None:
    app = ForwardApp(OPENAI, upstream=FakeUpstream([answer]), max_answer=100)
    assert (await get(app, query=query)).status == 502


@pytest.mark.parametrize("status", [204, 301])
async def test_an_answer_that_is_none_is_a_bad_gateway(status: int) -> None:
    app = ForwardApp(OPENAI, upstream=FakeUpstream([FakeResponse(status=status)]))
    assert (await get(app)).status == 502


async def test_a_vendor_that_cannot_be_reached_is_a_bad_gateway() -> None:
    failure = UpstreamError("no", failure="unreachable")
    assert (await get(ForwardApp(OPENAI, upstream=FakeUpstream([failure])))).status == 502


async def test_a_transport_that_breaks_is_told_in_the_stream() -> None:
    failure = UpstreamError("The connection broke.", failure="unreachable")
    app = ForwardApp(OPENAI, upstream=FakeUpstream([sse_response(QUEUED, failure)]))
    answer = await get(app, query=STREAM)
    assert answer.body.startswith(QUEUED)
    assert b"event: error" in answer.body and b"The connection broke." in answer.body


async def test_the_call_ends_when_the_client_leaves() -> None:
    """The vendor's connection is given back at once."""
    upstream = FakeUpstream([sse_response(QUEUED, anyio.Event())])
    receive = ScriptedReceive()
    send = RecordingSend(on_body=lambda body: receive.disconnect())
    exchange = Exchange("r")
    scope = {**http_scope("GET", "/v1/responses/resp_1", query=STREAM), SCOPE_KEY: exchange}
    with anyio.fail_after(5):
        await ForwardApp(OPENAI, upstream=upstream)(scope, receive, send)
    assert send.body == QUEUED
    assert upstream.open_calls == 0
    assert exchange.outcome == "client_disconnected"


async def test_a_client_that_leaves_before_the_answer_is_not_answered() -> None:
    upstream = FakeUpstream([FakeResponse([anyio.Event()])])
    receive, send = ScriptedReceive(), RecordingSend()
    exchange = Exchange("r")
    scope = {**http_scope("GET", "/v1/responses/resp_1"), SCOPE_KEY: exchange}
    async with anyio.create_task_group() as group:
        group.start_soon(ForwardApp(OPENAI, upstream=upstream), scope, receive, send)
        while not upstream.open_calls:
            await anyio.lowlevel.checkpoint()
        receive.disconnect()
    assert send.status == 499
    assert exchange.outcome == "client_disconnected"


async def test_a_server_that_raises_because_the_client_has_gone_is_understood() -> None:
    async def send(message: Message) -> None:
        raise OSError

    exchange = Exchange("r")
    scope = {**http_scope("GET", "/v1/responses/resp_1"), SCOPE_KEY: exchange}
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    await ForwardApp(OPENAI, upstream=upstream)(scope, ScriptedReceive(), send)
    assert upstream.open_calls == 0
    assert exchange.outcome == "client_disconnected"


async def test_a_request_body_that_ends_early_is_nobodys() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    send = RecordingSend()
    await ForwardApp(OPENAI, upstream=FakeUpstream([]))(http_scope("GET", "/v1/responses/resp_1"), receive, send)
    assert send.status == 499


async def test_what_is_not_http_is_left_alone() -> None:
    await ForwardApp(OPENAI, upstream=FakeUpstream([]))({"type": "lifespan"}, ScriptedReceive(), RecordingSend())
