"""What every vendor demands of a request: its own SDK's types, and the rules its service adds to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from anthropic.types.beta import message_create_params
from google.genai import types as gemini
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from pydantic import TypeAdapter

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, as_int, as_list, as_object, as_str, dumps

_TYPES: Final[Mapping[tuple[ir.Protocol, bool], type]] = {
    ("openai_chat", False): completion_create_params.CompletionCreateParamsNonStreaming,
    ("openai_chat", True): completion_create_params.CompletionCreateParamsStreaming,
    ("openai_responses", False): response_create_params.ResponseCreateParamsNonStreaming,
    ("openai_responses", True): response_create_params.ResponseCreateParamsStreaming,
    ("anthropic_messages", False): message_create_params.MessageCreateParamsNonStreaming,
    ("anthropic_messages", True): message_create_params.MessageCreateParamsStreaming,
}
_ADAPTERS: Final = {key: TypeAdapter[object](kind) for key, kind in _TYPES.items()}
_GEMINI: Final = {
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "labels",
    "serviceTier",
}
_SAMPLING: Final = {".temperature", ".top_p", ".top_k"}
"""Anthropic's newest SDK has forgotten them; its service takes them in the version that we speak."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def taken(target: ir.Protocol, body: JSONObject) -> None:
    """The vendor takes this body.

    Raises:
        ValidationError, AssertionError: it does not.
    """
    assert body.get("tools", True), "an empty list of tools"
    assert "tool_choice" not in body or body.get("tools"), "a choice without tools"
    match target:
        case "openai_chat":
            _typed(target, body)
            _chat(body)
        case "openai_responses":
            _typed(target, body)
            _responses(body)
        case "anthropic_messages":
            _typed(target, body)
            _messages(body)
        case "gemini_generate":
            _gemini(body)


def _typed(target: ir.Protocol, body: JSONObject) -> None:
    """Validation drops what the types do not know, and changes what it has to guess at."""
    read = _read(_ADAPTERS[target, body.get("stream") is True].validate_python(body))
    changed = set(_changed(body, read)) - _SAMPLING
    assert not changed, f"the SDK does not know {changed}"


def _read(value: object) -> object:
    """Pydantic looks into an iterable only as far as somebody reads it."""
    if isinstance(value, dict):
        return {key: _read(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_read(inner) for inner in value]
    return value


def _changed(sent: object, read: object, path: str = "") -> Iterator[str]:
    if path.endswith(".input_schema"):
        return  # JSON Schema may have any members
    if isinstance(sent, dict) and isinstance(read, dict):
        for key, value in sent.items():
            yield from _changed(value, read.get(key), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(read, list) and len(sent) == len(read):
        for index, value in enumerate(sent):
            yield from _changed(value, read[index], f"{path}[{index}]")
    elif sent != read:
        yield path


def _objects(body: JSONObject, key: str) -> list[JSONObject]:
    return [as_object(item) for item in as_list(body.get(key))]


def _chat(body: JSONObject) -> None:
    assert "stream_options" not in body or body["stream"] is True
    assert not {"max_tokens", "max_completion_tokens"} <= set(body)
    assert len(as_list(body.get("stop"))) <= 4
    assert "top_logprobs" not in body or body["logprobs"] is True
    for tool in _objects(body, "tools"):
        inner = as_object(tool[as_str(tool["type"]) or ""])
        assert _ID.match(as_str(inner["name"]) or "")
    waiting: list[object] = []
    for message in _objects(body, "messages"):
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting, "an unanswered call"
        waiting += [call["id"] for call in _objects(message, "tool_calls")]
        assert all(_ID.match(str(call)) for call in waiting)
        if message["role"] == "assistant":
            assert message.get("tool_calls", True)
            assert message.get("content") is not None or message.get("tool_calls") or "audio" in message


def _responses(body: JSONObject) -> None:
    """Traps 31, 32"""
    assert (as_int(body.get("max_output_tokens")) or 16) >= 16
    for tool in _objects(body, "tools"):
        if tool["type"] == "function":
            assert isinstance(tool["strict"], bool), "strict is not written out"
            assert _ID.match(as_str(tool["name"]) or "")
    called: list[object] = []
    for item in _objects(body, "input"):
        kind = as_str(item.get("type")) or "message"
        if kind in ("function_call", "custom_tool_call"):
            assert _ID.match(str(item["call_id"]))
            called.append(item["call_id"])
        elif kind in ("function_call_output", "custom_tool_call_output"):
            assert item["call_id"] in called, "a result before its call"


def _messages(body: JSONObject) -> None:
    """Trap 25: and results first in the turn after their calls, all of them."""
    temperature, thinking = body.get("temperature"), as_object(body.get("thinking"))
    assert temperature is None or (isinstance(temperature, int | float) and 0 <= temperature <= 1)
    assert all(str(stop).strip() for stop in as_list(body.get("stop_sequences")))
    assert dumps(body).count(b'"cache_control"') <= 4
    if thinking.get("type") == "enabled":
        assert 1024 <= (as_int(thinking["budget_tokens"]) or 0) < (as_int(body["max_tokens"]) or 0)
        assert temperature in (None, 1) and "top_k" not in body
        assert as_object(body.get("tool_choice")).get("type") in (None, "auto", "none")
    assert as_int(body["max_tokens"])
    waiting: set[object] = set()
    messages = [message for message in _objects(body, "messages") if message["role"] != "system"]
    assert messages[0]["role"] == "user"
    for message in messages:
        blocks = _objects(message, "content") if isinstance(message["content"], list) else []
        assert message["content"], "an empty turn"
        assert all(str(block["text"]).strip() for block in blocks if block["type"] == "text")
        if message["role"] == "user":
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            first = [block["type"] == "tool_result" for block in blocks[: len(results)]]
            assert set(results) == waiting and len(results) == len(waiting) and all(first)
            waiting = set()
        else:
            assert not waiting
            waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
            assert all(_ID.match(str(call)) for call in waiting)
            assert all(isinstance(block["input"], dict) for block in blocks if block["type"] == "tool_use")


def _gemini(body: JSONObject) -> None:
    """google-genai's types forbid what they do not know."""
    unknown = set(body) - _GEMINI
    assert not unknown, f"the service has no {unknown}"
    gemini.GenerationConfig.model_validate(body.get("generationConfig") or {})
    gemini.ToolConfig.model_validate(body.get("toolConfig") or {})
    gemini.Content.model_validate(body.get("systemInstruction") or {})
    for tool in _objects(body, "tools"):
        gemini.Tool.model_validate(tool)
    contents = _objects(body, "contents")
    assert contents
    waiting: list[object] = []
    for content in contents:
        gemini.Content.model_validate(content)
        assert content["role"] in ("user", "model")
        parts = _objects(content, "parts")
        assert parts, "an empty turn"
        answered = [as_object(part["functionResponse"])["name"] for part in parts if "functionResponse" in part]
        assert not waiting or sorted(map(str, answered)) == sorted(map(str, waiting)), "other results than calls"
        waiting = [as_object(part["functionCall"])["name"] for part in parts if "functionCall" in part]
