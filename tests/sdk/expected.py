"""What a recorded answer says, read from its bytes by a few naive lines that share nothing with the codecs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.sdk.recorded import recorded


@dataclass
class Expected:
    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    refusal: str = ""


def expected(folder: str, name: str) -> Expected:
    """The text and the tool calls of an exchange."""
    _, kind, body = recorded(folder, name)
    if kind == b"application/json":
        return _WHOLE[folder](json.loads(body))
    values = [
        json.loads(line[5:])
        for line in body.decode().replace("\r\n", "\n").split("\n")
        if line.startswith("data:") and line[5:].strip() != "[DONE]"
    ]
    return _STREAM[folder](iter(values))


def _chat(answer: Any) -> Expected:
    message = answer["choices"][0]["message"]
    calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls") or []]
    return Expected(message.get("content") or "", calls, message.get("refusal") or "")


def _chat_stream(chunks: Iterator[Any]) -> Expected:
    found = Expected()
    calls: dict[object, list[str]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            found.text += choice["delta"].get("content") or ""
            found.refusal += choice["delta"].get("refusal") or ""
            for call in choice["delta"].get("tool_calls") or []:
                slot = calls.setdefault(call.get("index", call.get("id")), ["", ""])
                slot[0] += call["function"].get("name") or ""
                slot[1] += call["function"].get("arguments") or ""
    found.calls = [(name, json.loads(arguments or "{}")) for name, arguments in calls.values()]
    return found


def _messages(answer: Any) -> Expected:
    blocks = answer["content"]
    return Expected(
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
    )


def _messages_stream(events: Iterator[Any]) -> Expected:
    found = Expected()
    calls: dict[int, list[str]] = {}
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            calls[event["index"]] = [event["content_block"]["name"], ""]
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            found.text += delta.get("text", "")
            if event["index"] in calls:
                calls[event["index"]][1] += delta.get("partial_json", "")
    found.calls = [(name, json.loads(arguments or "{}")) for name, arguments in calls.values()]
    return found


def _gemini(answer: Any) -> Expected:
    return _gemini_stream(iter([answer]))


def _gemini_stream(chunks: Iterator[Any]) -> Expected:
    found = Expected()
    for chunk in chunks:
        for part in chunk["candidates"][0].get("content", {}).get("parts", []):
            if "functionCall" in part:
                found.calls.append((part["functionCall"]["name"], part["functionCall"].get("args", {})))
            elif not part.get("thought"):
                found.text += part.get("text", "")
    return found


def _responses(answer: Any) -> Expected:
    items = answer["output"]
    return Expected(
        "".join(part["text"] for item in items for part in item.get("content") or [] if part["type"] == "output_text"),
        [(item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"],
    )


def _responses_stream(events: Iterator[Any]) -> Expected:
    return _responses(next(event["response"] for event in events if event["type"] == "response.completed"))


_WHOLE = {
    "openai_chat": _chat,
    "openai_compat": _chat,
    "openai_compat_responses": _responses,
    "anthropic_messages": _messages,
    "gemini_generate": _gemini,
}
_STREAM = {
    "openai_chat": _chat_stream,
    "openai_compat": _chat_stream,
    "openai_compat_responses": _responses_stream,
    "anthropic_messages": _messages_stream,
    "gemini_generate": _gemini_stream,
}
