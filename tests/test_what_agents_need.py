"""What coding agents and editors do that a gateway must not stumble over."""

from __future__ import annotations

import pytest

from asgi_llmgw import build_app, translate_request
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps, loads_object
from asgi_llmgw.providers.catalog import CATALOG
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope
from tests.samples import chat_answer, messages_answer

pytestmark = pytest.mark.anyio

HELLO: JSONObject = {"role": "user", "content": "Hello"}


def gateway(kind: str, answer: bytes) -> tuple[FakeUpstream, object]:
    upstream = FakeUpstream([FakeResponse([answer])])
    config = parse_config(
        {
            "keys": [{"name": "agent", "key": "an-agents-key"}],
            "providers": {"vendor": {"kind": kind, "api_key": "upstream-key"}},
            "models": {"smart": {"targets": ["vendor/the-model"]}},
        },
        environ={},
    )
    return upstream, build_app(config, upstream=upstream, access_log=None)


async def ask(app: object, path: str, body: JSONObject, *headers: tuple[bytes, bytes]) -> int:
    given = headers or ((b"authorization", b"Bearer an-agents-key"),)
    scope = http_scope(path=path, headers=((b"content-type", b"application/json"), *given))
    return (await call(app, scope, dumps(body))).status  # type: ignore[arg-type]


async def test_feature_flags_reach_the_vendor_that_defined_them_and_no_other() -> None:
    """C1."""
    headers = ((b"x-api-key", b"an-agents-key"), (b"anthropic-beta", b"claude-code-20250219,new-thing-2026"))
    body: JSONObject = {"model": "smart", "max_tokens": 9, "messages": [HELLO]}
    upstream, app = gateway("anthropic", messages_answer())
    assert await ask(app, "/v1/messages", body, *headers) == 200
    assert dict(upstream.requests[0].headers)[b"anthropic-beta"] == b"claude-code-20250219,new-thing-2026"
    upstream, app = gateway("openai", chat_answer())
    assert await ask(app, "/v1/messages", body, *headers) == 200
    assert b"anthropic-beta" not in dict(upstream.requests[0].headers)


def test_no_feature_flag_is_ever_sent_by_ourselves() -> None:
    """C2: a flag that outlives its feature breaks every request."""
    assert all(b"beta" not in name for row in CATALOG.values() for name, _ in row.headers)


async def test_a_body_of_responses_at_the_path_of_chat_is_understood() -> None:
    """C10: Cursor sends flat tools and `input`, and expects chat back."""
    upstream, app = gateway("openai", chat_answer())
    tool: JSONObject = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
    body: JSONObject = {"model": "smart", "input": [{"role": "user", "content": "Hello"}], "tools": [tool]}
    assert await ask(app, "/v1/chat/completions", body) == 200
    sent = loads_object(upstream.requests[0].body)
    assert as_object(as_list(sent["messages"])[0])["role"] == "user"
    assert as_object(as_object(as_list(sent["tools"])[0])["function"])["name"] == "look_up"


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"])
async def test_a_key_is_taken_from_wherever_clients_put_it(name: bytes) -> None:
    """C12."""
    _, app = gateway("openai", chat_answer())
    value = b"Bearer an-agents-key" if name == b"authorization" else b"an-agents-key"
    assert await ask(app, "/v1/chat/completions", {"model": "smart", "messages": [HELLO]}, (name, value)) == 200


async def test_gemini_cli_gets_parts_of_the_shape_it_insists_on() -> None:
    """C13: every chunk is a whole JSON object with a candidate, and the last one tells the finish."""
    _, app = gateway("openai", chat_answer("Hi there"))
    scope = http_scope(
        path="/v1beta/models/smart:generateContent",
        headers=((b"content-type", b"application/json"), (b"x-goog-api-key", b"an-agents-key")),
    )
    body: JSONObject = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    answer = await call(app, scope, dumps(body))  # type: ignore[arg-type]
    candidate = as_object(as_list(as_object(answer.json)["candidates"])[0])
    assert as_object(candidate["content"]) == {"role": "model", "parts": [{"text": "Hi there"}]}
    assert candidate["finishReason"] == "STOP"


async def test_reasoning_text_of_former_turns_is_not_stripped_on_the_way_through() -> None:
    """R11: some vendors want it back in a tool loop."""
    upstream, app = gateway("deepseek", chat_answer())
    turn: JSONObject = {"role": "assistant", "content": "Hi", "reasoning_content": "I was greeted."}
    assert await ask(app, "/v1/chat/completions", {"model": "smart", "messages": [HELLO, turn, HELLO]}) == 200
    assert b'"reasoning_content":"I was greeted."' in upstream.requests[0].body


PATTERN = r"^(?!x)\0[a-z]+$"


@pytest.mark.parametrize("target", ["openai_responses", "anthropic_messages", "gemini_generate"])
def test_patterns_in_schemas_are_not_rewritten(target: Protocol) -> None:
    """J8: what breaks one vendor's grammar is right for the others."""
    schema: JSONObject = {"type": "object", "properties": {"a": {"type": "string", "pattern": PATTERN}}}
    tool: JSONObject = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = dumps({"model": "m", "messages": [HELLO], "tools": [tool]})
    assert dumps(PATTERN) in translate_request(body, source="openai_chat", target=target).body


@pytest.mark.parametrize("target", ["openai_responses", "anthropic_messages", "gemini_generate"])
def test_a_result_with_an_empty_key_is_carried_whole(target: Protocol) -> None:
    """I14."""
    call_: JSONObject = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[JSONObject] = [
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call_]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"": "nothing"}'},
    ]
    tool: JSONObject = {"type": "function", "function": {"name": "f"}}
    body = dumps({"model": "m", "messages": messages, "tools": [tool]})
    sent = translate_request(body, source="openai_chat", target=target).body.decode()
    assert '{"":"nothing"}' in sent or r"{\"\": \"nothing\"}" in sent


def test_an_address_only_the_vendor_can_fetch_is_passed_to_it() -> None:
    """I17."""
    image: JSONObject = {"type": "image_url", "image_url": {"url": "gs://bucket/cat.png"}}
    body = dumps({"model": "m", "messages": [{"role": "user", "content": [image]}]})
    assert b"gs://bucket/cat.png" in translate_request(body, source="openai_chat", target="gemini_generate").body
