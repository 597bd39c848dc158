from __future__ import annotations

import anyio
import pytest

from asgi_llmgw.components.count_tokens import CountTokensApp
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Target
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_int, as_object, dumps, loads_object
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import FakeResponse, FakeUpstream, RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

HELLO: JSONObject = {"role": "user", "content": "Hello"}
BODY = dumps({"model": "smart", "messages": [HELLO]})
CLAUDE = Provider(
    name="claude",
    base_url="https://claude.example",
    protocols=("anthropic_messages",),
    auth="x-api-key",
    api_keys=("upstream-key",),
)
GEMINI = Provider(name="gemini", base_url="https://gemini.example", protocols=("gemini_generate",), auth="none")
OPENAI = Provider(name="openai", base_url="https://openai.example/v1", protocols=("openai_chat",), auth="none")


BOTH = Provider(
    name="both", base_url="https://both.example/v1", protocols=("openai_chat", "openai_responses"), auth="none"
)


def counting(*answers: FakeResponse | BaseException) -> tuple[CountTokensApp, FakeUpstream]:
    upstream = FakeUpstream(list(answers))
    providers = {provider.name: provider for provider in (CLAUDE, GEMINI, OPENAI, BOTH)}
    return CountTokensApp(providers=providers, upstreams=dict.fromkeys(providers, upstream)), upstream


def exchange(provider: str, protocol: Protocol = "anthropic_messages") -> Exchange:
    return Exchange("r", client_protocol=protocol, targets=(Target(provider, "the/model"),))


async def test_asks_the_vendor_that_can_count() -> None:
    app, upstream = counting(FakeResponse([b'{"input_tokens":17}']))
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("claude")}, BODY)
    assert answer.json == {"input_tokens": 17}
    assert b"x-llmgw-token-count" not in answer.headers
    asked = upstream.requests[0]
    assert asked.url == "https://claude.example/v1/messages/count_tokens"
    assert loads_object(asked.body)["model"] == "the/model"
    assert dict(asked.headers)[b"x-api-key"] == b"upstream-key"


async def test_asks_gemini_by_path() -> None:
    app, upstream = counting(FakeResponse([b'{"totalTokens":5}']))
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("gemini", "gemini_generate")}, b'{"contents":[]}')
    assert answer.json == {"totalTokens": 5}
    assert upstream.requests[0].url == "https://gemini.example/v1beta/models/the%2Fmodel:countTokens"


async def test_asks_a_vendor_of_another_protocol_in_its_own_words() -> None:
    """C4: Claude Code before Gemini."""
    app, upstream = counting(FakeResponse([b'{"totalTokens":21}']))
    tool: JSONObject = {"name": "look_up", "input_schema": {"type": "object"}}
    body = dumps({"model": "smart", "system": "Be short.", "tools": [tool], "messages": [HELLO]})
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("gemini")}, body)
    assert answer.json == {"input_tokens": 21}
    assert b"x-llmgw-token-count" not in answer.headers
    asked = as_object(loads_object(upstream.requests[0].body)["generateContentRequest"])
    assert asked["model"] == "models/the/model"
    assert {"contents", "systemInstruction", "tools"} <= asked.keys()


async def test_asks_anthropic_for_a_gemini_clients_count() -> None:
    app, upstream = counting(FakeResponse([b'{"input_tokens":8}']))
    body = dumps({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]})
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("claude", "gemini_generate")}, body)
    assert answer.json == {"totalTokens": 8}
    asked = loads_object(upstream.requests[0].body)
    assert asked.keys() == {"model", "messages"}


async def test_answers_in_the_shape_of_responses() -> None:
    app, upstream = counting(FakeResponse([b'{"object":"response.input_tokens","input_tokens":7}']))
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("both", "openai_responses")}, BODY)
    assert answer.json == {"object": "response.input_tokens", "input_tokens": 7}
    assert upstream.requests[0].url == "https://both.example/v1/responses/input_tokens"
    estimated = await call(app, {**http_scope(), SCOPE_KEY: exchange("openai", "openai_responses")}, BODY)
    assert as_object(estimated.json)["object"] == "response.input_tokens"
    assert estimated.headers[b"x-llmgw-token-count"] == b"estimate"


@pytest.mark.parametrize(
    "upstream_answer",
    [
        FakeResponse([b'{"error":{}}'], status=404),
        FakeResponse([b"<html>"]),
        FakeResponse([b"{}"]),
        UpstreamError("Gone.", failure="unreachable"),
    ],
)
async def test_always_answers(upstream_answer: FakeResponse | BaseException) -> None:
    """C3, C4: an estimate, marked as one."""
    app, _ = counting(upstream_answer)
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("claude")}, BODY)
    assert answer.status == 200
    assert answer.headers[b"x-llmgw-token-count"] == b"estimate"
    assert (as_int(as_object(answer.json)["input_tokens"]) or 0) > 0


async def test_estimates_where_nobody_counts() -> None:
    """C3."""
    app, upstream = counting(FakeResponse([b"{}"]))
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("openai")}, BODY)
    assert answer.headers[b"x-llmgw-token-count"] == b"estimate"
    assert upstream.requests == []


async def test_bad_bodies_are_refused_in_shape() -> None:
    app, _ = counting(FakeResponse([b"{}"]))
    answer = await call(app, {**http_scope(), SCOPE_KEY: exchange("openai")}, b"{")
    assert answer.status == 400
    assert as_object(answer.json)["type"] == "error"


async def test_a_client_that_leaves_closes_the_call() -> None:
    app, upstream = counting(FakeResponse([anyio.Event()]))
    receive = ScriptedReceive(BODY)
    async with anyio.create_task_group() as group:
        group.start_soon(app, {**http_scope(), SCOPE_KEY: exchange("claude")}, receive, RecordingSend())
        while not upstream.open_calls:
            await anyio.lowlevel.checkpoint()
        receive.disconnect()
    assert upstream.open_calls == 0
