"""What the clients ask: the same few prompts in each of the four protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from asgi_llmgw.conformance.cases import FAILED_TOOL, Prompt
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue

SCHEMA: Final[JSONObject] = {
    "type": "object",
    "properties": {
        "level": {"type": "integer", "enum": [1, 2]},
        "mode": {"const": "fast"},
        "when": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        "note": {"type": ["string", "null"]},
        "tree": {"$ref": "#/$defs/node"},
    },
    "required": ["level"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/node"}},
            "required": ["name"],
        }
    },
}
"""What real tools have and Gemini's subset of OpenAPI has not."""

_MAX_TOKENS: Final = 4096
_THINKING_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request as a client sends it."""

    path: str
    body: JSONObject
    headers: Mapping[str, str]


def client_request(
    protocol: Protocol, *, model: str, prompt: Prompt, text: str, stream: bool, key: str
) -> ClientRequest:
    """One prompt in one protocol; `text` is what the user says."""
    match protocol:
        case "openai_chat":
            return _chat(model, prompt, text, stream, key)
        case "openai_responses":
            return _responses(model, prompt, text, stream, key)
        case "anthropic_messages":
            return _anthropic(model, prompt, text, stream, key)
        case "gemini_generate":
            return _gemini(model, prompt, text, stream, key)
        case "bedrock_converse":
            raise ValueError("no client speaks Converse")


def _tools(prompt: Prompt) -> tuple[tuple[str, JSONObject], ...]:
    """The tools a prompt offers, each with its schema."""
    weather: JSONObject = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    clock: JSONObject = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
    match prompt:
        case "tools":
            return (("weather", weather), ("clock", clock))
        case "tool-error":
            return (("weather", weather),)
        case "schema":
            return (("configure", SCHEMA),)
        case _:
            return ()


def _chat(model: str, prompt: Prompt, text: str, stream: bool, key: str) -> ClientRequest:
    messages: list[JSONValue] = [{"role": "user", "content": text}]
    if prompt == "tool-error":
        function: JSONObject = {"name": "weather", "arguments": '{"city":"Paris"}'}
        call: JSONObject = {"id": "call_1", "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": FAILED_TOOL},
        ]
    body: JSONObject = {"model": model, "messages": messages}
    if prompt == "thinking":
        body["reasoning_effort"] = "low"
    tools: list[JSONValue] = [
        {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}
        for name, schema in _tools(prompt)
    ]
    if tools:
        body["tools"] = tools
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return ClientRequest("/v1/chat/completions", body, {"authorization": f"Bearer {key}"})


def _responses(model: str, prompt: Prompt, text: str, stream: bool, key: str) -> ClientRequest:
    items: list[JSONValue] = [{"role": "user", "content": [{"type": "input_text", "text": text}]}]
    if prompt == "tool-error":
        items += [
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": FAILED_TOOL},
        ]
    body: JSONObject = {"model": model, "input": items, "store": False}
    if prompt == "thinking":
        body |= {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    tools: list[JSONValue] = [
        {"type": "function", "name": name, "description": name, "parameters": schema, "strict": False}
        for name, schema in _tools(prompt)
    ]
    if tools:
        body["tools"] = tools
    if stream:
        body["stream"] = True
    return ClientRequest("/v1/responses", body, {"authorization": f"Bearer {key}"})


def _anthropic(model: str, prompt: Prompt, text: str, stream: bool, key: str) -> ClientRequest:
    messages: list[JSONValue] = [{"role": "user", "content": text}]
    if prompt == "tool-error":
        call: JSONObject = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
        result: JSONObject = {"type": "tool_result", "tool_use_id": "toolu_1", "content": FAILED_TOOL, "is_error": True}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    body: JSONObject = {"model": model, "max_tokens": _MAX_TOKENS, "messages": messages}
    if prompt == "thinking":
        body["thinking"] = {"type": "enabled", "budget_tokens": _THINKING_TOKENS}
    tools: list[JSONValue] = [
        {"name": name, "description": name, "input_schema": schema} for name, schema in _tools(prompt)
    ]
    if tools:
        body["tools"] = tools
    if stream:
        body["stream"] = True
    return ClientRequest("/v1/messages", body, {"x-api-key": key, "anthropic-version": "2023-06-01"})


def _gemini(model: str, prompt: Prompt, text: str, stream: bool, key: str) -> ClientRequest:
    contents: list[JSONValue] = [{"role": "user", "parts": [{"text": text}]}]
    if prompt == "tool-error":
        call: JSONObject = {"name": "weather", "args": {"city": "Paris"}}
        result: JSONObject = {"name": "weather", "response": {"error": FAILED_TOOL}}
        contents += [
            {"role": "model", "parts": [{"functionCall": call}]},
            {"role": "user", "parts": [{"functionResponse": result}]},
        ]
    body: JSONObject = {"contents": contents}
    if prompt == "thinking":
        thinking: JSONObject = {"includeThoughts": True, "thinkingBudget": _THINKING_TOKENS}
        body["generationConfig"] = {"thinkingConfig": thinking}
    declarations: list[JSONValue] = [
        {"name": name, "description": name, "parametersJsonSchema": schema} for name, schema in _tools(prompt)
    ]
    if declarations:
        body["tools"] = [{"functionDeclarations": declarations}]
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return ClientRequest(f"/v1beta/models/{model}:{method}", body, {"x-goog-api-key": key})
