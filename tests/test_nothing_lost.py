"""What a Chat Completions request says is translated, told about, or refused; it never disappears in silence."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue, dumps, loads_object
from asgi_llmgw.translate import Translated, translate_request

TARGETS: tuple[Protocol, ...] = ("anthropic_messages", "gemini_generate")
PIXEL = "data:image/png;base64,iVBORw0KGgo="
PAPER = "data:application/pdf;base64,JVBERi0xLjQ="
SCHEMA: JSONObject = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FREE_FORM = {"parameters", "schema", "metadata", "logit_bias", "format", "extra_content"}
"""What the client or another vendor fills: there, every name is allowed and carried whole."""

FULL: JSONObject = {
    "model": "smart",
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}], "name": "boss"},
        {
            "role": "user",
            "name": "ada",
            "content": [
                {"type": "text", "text": "Hello", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "5m"}},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}, "cache_control": {"ttl": "5m"}},
                {"type": "file", "file": {"file_data": PAPER, "filename": "paper.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "name": "helper",
            "content": [{"type": "text", "text": "Let me see."}, {"type": "refusal", "refusal": "Not that."}],
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                {"id": "call_2", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "7 degrees"}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "README"},
        {"role": "user", "content": "Well?"},
    ],
    "max_completion_tokens": 100,
    "tools": [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA, "strict": True},
        },
        {"type": "custom", "custom": {"name": "shell", "description": "Runs it.", "format": {"type": "text"}}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [
                {"type": "function", "function": {"name": "weather"}},
                {"type": "custom", "custom": {"name": "shell"}},
            ],
        },
    },
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "city", "description": "A city.", "schema": SCHEMA, "strict": True},
    },
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "audio": {"voice": "alloy", "format": "mp3"},
    "prediction": {"type": "content", "content": "Hello"},
    "reasoning": {"max_tokens": 2048, "exclude": False, "enabled": True},
    "metadata": {"run": "1"},
}
LEGACY: JSONObject = {
    "model": "smart",
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": "7 degrees"},
    ],
    "functions": [{"name": "weather", "description": "Tells it.", "parameters": SCHEMA}],
    "function_call": {"name": "weather"},
    "thinking": {"type": "enabled", "budget_tokens": 2048},
}
CARRIED_WHOLE = ("audio", "prediction", "moderation")
"""Fields only Chat Completions has: told about as one."""


def objects(value: JSONValue, path: str = "") -> Iterator[str]:
    """The path of every object that is not free-form."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            if key not in FREE_FORM:
                yield from objects(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from objects(inner, f"{path}[{index}]")


def at(request: JSONObject, path: str) -> JSONObject:
    """The object at a path."""
    node: JSONValue = request
    for step in path.replace("[", ".[").split(".") if path else ():
        if step.startswith("["):
            assert isinstance(node, list)
            node = node[int(step[1:-1])]
        else:
            assert isinstance(node, dict)
            node = node[step]
    assert isinstance(node, dict)
    return node


def changed(request: JSONObject, path: str, key: str, value: JSONValue) -> JSONObject:
    """A copy with one member set."""
    result = copy.deepcopy(request)
    at(result, path)[key] = value
    return result


def translated(request: JSONObject, target: Protocol) -> Translated | str:
    """The translation, or the parameter it was refused for."""
    try:
        return translate_request(dumps(request), source="openai_chat", target=target)
    except InvalidRequest as refusal:
        return refusal.param or ""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("request_", [FULL, LEGACY], ids=["full", "legacy"])
def test_the_requests_of_these_tests_are_taken_as_they_are(request_: JSONObject, target: Protocol) -> None:
    assert isinstance(translated(request_, target), Translated)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("request_", "path"),
    [
        *(pytest.param(FULL, path, id=path or "the_request") for path in objects(FULL)),
        *(pytest.param(LEGACY, path, id=f"legacy_{path or 'the_request'}") for path in objects(LEGACY)),
    ],
)
def test_an_unknown_member_of_any_object_is_told_about(request_: JSONObject, path: str, target: Protocol) -> None:
    """F049"""
    result = translated(changed(request_, path, "x_unheard_of", "secret sauce"), target)
    assert isinstance(result, Translated)
    assert b"secret sauce" not in result.body
    expected = path if path in CARRIED_WHOLE else f"{path}.x_unheard_of" if path else "x_unheard_of"
    assert expected in {lost.path for lost in result.diagnostics}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("request_", "path", "key", "value"),
    [
        (FULL, "", "function_call", "none"),
        (LEGACY, "", "safety_identifier", "a"),
        (FULL, "", "reasoning_effort", "low"),
        (FULL, "messages[1].content[2].file", "file_id", "file-1"),
    ],
    ids=["two_choices", "two_users", "two_efforts", "two_files"],
)
def test_of_two_ways_to_say_a_thing_the_unused_one_is_told_about(
    request_: JSONObject, path: str, key: str, value: JSONValue, target: Protocol
) -> None:
    unused = {
        "function_call": "function_call",
        "safety_identifier": "user",
        "reasoning_effort": "reasoning.max_tokens",
        "file_id": "messages[1].content[2]",
    }
    result = translated(changed({**request_, "user": "b"}, path, key, value), target)
    told = {result} if isinstance(result, str) else {lost.path for lost in result.diagnostics}
    assert unused[key] in told


FIELDS: dict[str, JSONValue] = {
    "max_completion_tokens": 77,
    "max_tokens": 77,
    "temperature": 0.5,
    "top_p": 0.5,
    "n": 2,
    "stop": "END",
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 3,
    "seed": 7,
    "stream": True,
    "tools": [{"type": "function", "function": {"name": "other"}}],
    "tool_choice": "none",
    "parallel_tool_calls": False,
    "functions": [{"name": "other"}],
    "function_call": "none",
    "response_format": {"type": "json_object"},
    "reasoning_effort": "high",
    "verbosity": "low",
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "mp3"},
    "prediction": {"type": "content", "content": "Hello"},
    "web_search_options": {"search_context_size": "low"},
    "service_tier": "priority",
    "store": True,
    "metadata": {"run": "1"},
    "user": "u1",
    "safety_identifier": "s1",
    "prompt_cache_key": "k1",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "moderation": {"model": "omni-moderation-latest", "policy": {"input": {"mode": "block"}}},
}
"""Every optional field of a Chat Completions request, with a value that is not its default."""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("field", FIELDS)
def test_every_known_field_has_an_effect_or_is_told_about(field: str, target: Protocol) -> None:
    """F049"""
    plain: JSONObject = {
        "model": "smart",
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    }
    if field == "functions":
        del plain["tools"]
    before = translated(plain, target)
    after = translated({**plain, field: FIELDS[field]}, target)
    assert isinstance(before, Translated)
    if isinstance(after, str):
        assert after.split(".")[0].split("[")[0] == field
        return
    name = "user" if field == "safety_identifier" else field
    told = any(lost.path.startswith(name) for lost in after.diagnostics)
    assert (after.body, after.path) != (before.body, before.path) or told


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("switch", [{"thinking": {"type": "enabled"}}, {"reasoning": {"enabled": True}}])
def test_thinking_that_is_only_switched_on_is_asked_for(switch: JSONObject, target: Protocol) -> None:
    plain: JSONObject = {"model": "smart", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9000}
    before, after = translated(plain, target), translated({**plain, **switch}, target)
    assert isinstance(before, Translated)
    assert isinstance(after, Translated)
    assert loads_object(after.body) != loads_object(before.body)


MEMBERS: list[tuple[str, str, JSONValue, str]] = [
    ("messages[0]", "name", "someone", "messages[0].name"),
    ("messages[1]", "name", "someone", "messages[1].name"),
    ("messages[1].content[0]", "prompt_cache_breakpoint", {"mode": "explicit", "ttl": "24h"}, "messages[1].content[0]"),
    ("messages[1].content[1].image_url", "detail", "high", "detail"),
    ("messages[1].content[2].file", "filename", "other.pdf", "messages[1].content[2].filename"),
    ("messages[2]", "refusal", "Nor that.", ""),
    ("messages[2].tool_calls[0].function", "arguments", "[1]", "messages[2].content[2].arguments"),
    ("messages[2].tool_calls[1].custom", "input", "pwd", ""),
    ("messages[3]", "content", "8 degrees", ""),
    ("tools[0].function", "description", "Tells more.", ""),
    ("tools[0].function", "parameters", {"type": "object", "properties": {"x": {"type": "integer"}}}, ""),
    ("tools[0].function", "strict", False, "strict"),
    ("tools[1].custom", "description", "Runs more.", ""),
    (
        "tools[1].custom",
        "format",
        {"type": "grammar", "grammar": {"syntax": "lark", "definition": "a"}},
        "tools[1].format",
    ),
    ("tool_choice.allowed_tools", "mode", "required", ""),
    ("response_format.json_schema", "name", "town", "response_format.name"),
    ("response_format.json_schema", "description", "A town.", "response_format.description"),
    ("response_format.json_schema", "strict", False, "response_format.strict"),
    ("response_format.json_schema", "schema", {"type": "object", "properties": {"x": {"type": "integer"}}}, ""),
    ("reasoning", "exclude", True, "reasoning"),
    ("reasoning", "max_tokens", 4096, "reasoning"),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("path", "key", "value", "told"), [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in MEMBERS]
)
def test_every_known_member_has_an_effect_or_is_told_about(
    path: str, key: str, value: JSONValue, told: str, target: Protocol
) -> None:
    request = {**FULL, "max_completion_tokens": 8000}
    before, after = translated(request, target), translated(changed(request, path, key, value), target)
    assert isinstance(before, Translated)
    assert isinstance(after, Translated)
    paths = {lost.path for lost in (*before.diagnostics, *after.diagnostics)}
    assert loads_object(before.body) != loads_object(after.body) or (told and any(told in path for path in paths))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["api_base", "base_url", "api_key", "extra_headers", "extra_body", "__proto__"])
def test_fields_that_steer_other_gateways_go_nowhere(name: str, target: Protocol) -> None:
    """F049: neither into the address nor into the body."""
    value: JSONValue = {"authorization": "https://evil.example"} if name.startswith("extra") else "https://evil.example"
    plain: JSONObject = {"model": "smart", "messages": [{"role": "user", "content": "Hello"}]}
    before, after = translated(plain, target), translated({**plain, name: value}, target)
    assert isinstance(before, Translated)
    assert isinstance(after, Translated)
    assert (after.path, after.body) == (before.path, before.body)
    assert name in {lost.path for lost in after.diagnostics}
