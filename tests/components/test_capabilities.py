"""CapabilitiesMiddleware: what a model is known not to do is not asked of it."""

from __future__ import annotations

from typing import Final

import pytest

from asgi_llmgw import build_app
from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import read_body, send_response
from asgi_llmgw.components.capabilities import CapabilitiesMiddleware
from asgi_llmgw.config import parse_config
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_object, dumps, loads_object
from asgi_llmgw.metadata import ModelFacts
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope

pytestmark = pytest.mark.anyio

PIXEL: Final = "iVBORw0KGgo="
TEXT_ALONE: Final = ModelFacts(input_modalities=("text",))
NO_TOOLS: Final = ModelFacts(tools=False)
NO_SCHEMA: Final = ModelFacts(json_schema=False)
SCHEMA: Final[JSONObject] = {"type": "object", "properties": {}}
PATHS: Final[dict[Protocol, str]] = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate": "/v1beta/models/m:generateContent",
}


def chat(content: object, **fields: object) -> bytes:
    return dumps({"model": "m", "messages": [{"role": "user", "content": content}], **fields})


def gemini(*parts: object, **fields: object) -> bytes:
    return dumps({"contents": [{"role": "user", "parts": [*parts]}], **fields})


FUNCTION: Final[JSONObject] = {"name": "f", "parameters": SCHEMA}
PICTURE: Final[JSONObject] = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
BLOCK: Final[JSONObject] = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
PDF: Final[JSONObject] = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL},
}
NOTE: Final[JSONObject] = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a pdf"}}
RESULT: Final[JSONObject] = {"type": "tool_result", "tool_use_id": "t", "content": [BLOCK]}


class Vendor:
    """Answers with the body it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append(await read_body(receive, headers=scope["headers"], limit=10_000))
        await send_response(send, 200, b"{}")


def scope_of(client: Protocol) -> Scope:
    exchange = Exchange("req_1", client_protocol=client, model="m")
    exchange.upstream_model = "x-1"
    return {**http_scope(path=PATHS[client]), SCOPE_KEY: exchange}


@pytest.mark.parametrize(
    ("facts", "client", "body", "param", "words"),
    [
        pytest.param(
            NO_TOOLS,
            "openai_chat",
            chat("x", tools=[{"type": "function", "function": FUNCTION}]),
            "tools",
            "calls no tools",
            id="tools_chat",
        ),
        pytest.param(
            NO_TOOLS,
            "anthropic_messages",
            chat("x", max_tokens=5, tools=[{"name": "f", "input_schema": SCHEMA}]),
            "tools",
            "calls no tools",
            id="tools_messages",
        ),
        pytest.param(
            NO_TOOLS,
            "gemini_generate",
            gemini({"text": "x"}, tools=[{"functionDeclarations": [FUNCTION]}]),
            "tools",
            "calls no tools",
            id="tools_gemini",
        ),
        pytest.param(
            NO_TOOLS,
            "openai_responses",
            dumps({"model": "m", "input": "x", "tools": [{"type": "function", **FUNCTION}]}),
            "tools",
            "calls no tools",
            id="tools_responses",
        ),
        pytest.param(TEXT_ALONE, "openai_chat", chat([PICTURE]), "messages", "takes no images", id="image_chat"),
        pytest.param(
            TEXT_ALONE,
            "anthropic_messages",
            chat([BLOCK], max_tokens=5),
            "messages",
            "takes no images",
            id="image_messages",
        ),
        pytest.param(
            TEXT_ALONE,
            "anthropic_messages",
            chat([RESULT], max_tokens=5),
            "messages",
            "takes no images",
            id="image_of_a_tool",
        ),
        pytest.param(
            TEXT_ALONE, "anthropic_messages", chat([PDF], max_tokens=5), "messages", "takes no PDF documents", id="pdf"
        ),
        pytest.param(
            TEXT_ALONE,
            "gemini_generate",
            gemini({"inlineData": {"mimeType": "audio/mp3", "data": PIXEL}}),
            "contents",
            "takes no audio",
            id="audio_gemini",
        ),
        pytest.param(
            TEXT_ALONE,
            "openai_responses",
            dumps(
                {
                    "model": "m",
                    "input": [
                        {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/y"}]}
                    ],
                }
            ),
            "input",
            "takes no images",
            id="image_responses",
        ),
        pytest.param(
            NO_SCHEMA,
            "openai_chat",
            chat("x", response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}),
            "response_format",
            "keeps to no JSON Schema",
            id="schema_chat",
        ),
        pytest.param(
            NO_SCHEMA,
            "gemini_generate",
            gemini({"text": "x"}, generationConfig={"responseMimeType": "application/json", "responseSchema": SCHEMA}),
            "generationConfig.responseSchema",
            "keeps to no JSON Schema",
            id="schema_gemini",
        ),
    ],
)
async def test_what_a_model_does_not_do_is_refused_by_the_field_s_name(
    facts: ModelFacts, client: Protocol, body: bytes, param: str, words: str
) -> None:
    vendor = Vendor()
    app = CapabilitiesMiddleware(vendor, facts_for=lambda model: facts)
    scope = scope_of(client)
    answer = await call(app, scope, body)
    assert (answer.status, vendor.bodies) == (400, [])
    assert f"The model 'x-1' {words}." in as_object(loads_object(answer.body)["error"])["message"]  # type: ignore[operator]
    failure = Exchange.get_or_create(scope).failure
    assert failure is not None
    assert (failure.kind, failure.param, failure.code) == ("unsupported", param, "unsupported_capability")


@pytest.mark.parametrize(
    ("facts", "client", "body"),
    [
        pytest.param(NO_TOOLS, "openai_chat", chat("my tools"), id="the_word_alone"),
        pytest.param(NO_TOOLS, "openai_chat", chat("x", tools=[]), id="no_tool"),
        pytest.param(TEXT_ALONE, "openai_chat", chat("an image of a pdf"), id="the_word_image"),
        pytest.param(TEXT_ALONE, "anthropic_messages", chat([NOTE], max_tokens=5), id="a_note"),
        pytest.param(NO_SCHEMA, "openai_chat", chat("x", response_format={"type": "json_object"}), id="json"),
        pytest.param(NO_TOOLS, "openai_chat", b'{"tools":', id="no_json"),
        pytest.param(ModelFacts(), "openai_chat", chat([PICTURE]), id="nothing_known"),
        pytest.param(ModelFacts(input_modalities=("text", "image")), "openai_chat", chat([PICTURE]), id="it_does"),
    ],
)
async def test_everything_else_goes_through_as_it_is(facts: ModelFacts, client: Protocol, body: bytes) -> None:
    vendor = Vendor()
    answer = await call(CapabilitiesMiddleware(vendor, facts_for=lambda model: facts), scope_of(client), body)
    assert (answer.status, vendor.bodies) == (200, [body])


ANSWER: Final = dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "x",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A cat."}}],
    }
)


async def test_the_next_target_is_asked_instead() -> None:
    """F177: capabilities are looked at before a request is written for another vendor."""
    upstream = FakeUpstream([FakeResponse([ANSWER])])
    document = {
        "providers": {"deepseek": {"api_key": "k"}, "openai": {"api_key": "k"}},
        "models": {"smart": {"targets": ["deepseek/deepseek-chat", "openai/gpt-4o"]}},
    }
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    answer = await call(gateway, http_scope(), chat([PICTURE]).replace(b'"m"', b'"smart"'))
    assert answer.status == 200
    assert [request.url for request in upstream.requests] == ["https://api.openai.com/v1/chat/completions"]


async def test_where_there_is_no_other_the_client_is_told() -> None:
    upstream = FakeUpstream([])
    document = {
        "providers": {"mine": {"protocol": "openai_chat", "base_url": "https://mine.example/v1"}},
        "models": {"smart": {"targets": ["mine/x"]}},
        "metadata": {"mine/*": {"tools": False}},
    }
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    body = chat("x", tools=[{"type": "function", "function": FUNCTION}]).replace(b'"m"', b'"smart"')
    answer = await call(gateway, http_scope(), body)
    error = as_object(loads_object(answer.body)["error"])
    assert (answer.status, error["param"], error["code"]) == (400, "tools", "unsupported_capability")
    assert error["message"] == "The model 'x' calls no tools."
