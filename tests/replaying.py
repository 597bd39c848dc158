"""What clients make of an answer, and how they send it back with their next request: as the vendors' SDKs do."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue, as_int, as_list, as_object, as_str, dumps, loads, loads_object
from asgi_llmgw.sse import SSEDecoder

GEMINI_PATH = "/v1beta/models/m:generateContent"
RESULT = "22 degrees"


def next_request(client: Protocol, answer: bytes, *, streamed: bool) -> bytes:
    """The request with which a client goes on: its question, the answer as it has it, and the results of the calls."""
    match client:
        case "anthropic_messages":
            return _messages(_message_of_stream(answer) if streamed else loads_object(answer))
        case "openai_responses":
            return _responses(_last(answer) if streamed else loads_object(answer))
        case "gemini_generate":
            return _gemini(_events(answer) if streamed else [loads_object(answer)])
        case "openai_chat":
            return _chat(_chat_message_of_stream(answer) if streamed else _chat_message(loads_object(answer)))
        case "bedrock_converse":
            raise AssertionError("no client speaks it")


def without_conventions(body: bytes) -> bytes:
    """The same from a client of Chat Completions that sends back the fields of the standard and no others."""
    data = loads_object(body)
    for message in map(as_object, as_list(data["messages"])):
        for key in ("reasoning_details", "reasoning_content", "extra_content"):
            message.pop(key, None)
        for call in map(as_object, as_list(message.get("tool_calls"))):
            call.pop("extra_content", None)
    return dumps(data)


def _events(stream: bytes) -> list[JSONObject]:
    decoder = SSEDecoder()
    frames = [*decoder.feed(stream), *decoder.close()]
    return [loads_object(frame.data) for frame in frames if frame.data != b"[DONE]"]


def _messages(message: JSONObject) -> bytes:
    blocks = as_list(message["content"])
    results: list[JSONValue] = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": RESULT}
        for block in map(as_object, blocks)
        if block["type"] == "tool_use"
    ]
    turns: list[JSONValue] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": [*results, {"type": "text", "text": "Go on."}]},
    ]
    return dumps({"model": "m", "max_tokens": 4096, "messages": turns})


def _message_of_stream(stream: bytes) -> JSONObject:
    blocks: list[JSONObject] = []
    for event in _events(stream):
        delta = as_object(event.get("delta"))
        match event["type"]:
            case "content_block_start":
                blocks.append(as_object(event["content_block"]))
            case "content_block_delta":
                block = blocks[as_int(event["index"]) or 0]
                for kind, key in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
                    if kind in delta:
                        block[key] = (as_str(block.get(key)) or "") + (as_str(delta[kind]) or "")
                if "signature" in delta:
                    block["signature"] = delta["signature"]
            case "content_block_stop" if "json" in blocks[-1]:
                blocks[-1]["input"] = loads((as_str(blocks[-1].pop("json")) or "{}").encode())
            case _:
                pass
    return {"content": [*blocks]}


def _responses(response: JSONObject) -> bytes:
    items = as_list(response["output"])
    results: list[JSONValue] = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": RESULT}
        for item in map(as_object, items)
        if item["type"] == "function_call"
    ]
    question: JSONObject = {"role": "user", "content": "Weather?"}
    return dumps({"model": "m", "input": [question, *items, *results, {"role": "user", "content": "Go on."}]})


def _last(stream: bytes) -> JSONObject:
    return as_object(_events(stream)[-1]["response"])


def _gemini(chunks: Iterable[JSONObject]) -> bytes:
    parts: list[JSONValue] = []
    for chunk in chunks:
        for candidate in map(as_object, as_list(chunk.get("candidates"))):
            for part in map(as_object, as_list(as_object(candidate.get("content")).get("parts"))):
                signature = as_str(part.get("thoughtSignature"))
                if signature is not None:
                    # bytes to the SDK, which writes them in the other alphabet
                    part["thoughtSignature"] = base64.urlsafe_b64encode(base64.b64decode(signature)).decode()
                parts.append(part)
    results: list[JSONValue] = [
        {"functionResponse": {"id": call["id"], "name": call["name"], "response": {"output": RESULT}}}
        for call in (as_object(part.get("functionCall")) for part in map(as_object, parts))
        if call
    ]
    contents: list[JSONValue] = [
        {"role": "user", "parts": [{"text": "Weather?"}]},
        {"role": "model", "parts": parts},
        {"role": "user", "parts": [*results, {"text": "Go on."}]},
    ]
    return dumps({"contents": contents})


def _chat(message: JSONObject) -> bytes:
    results: list[JSONValue] = [
        {"role": "tool", "tool_call_id": call["id"], "content": RESULT}
        for call in map(as_object, as_list(message.get("tool_calls")))
    ]
    question: JSONObject = {"role": "user", "content": "Weather?"}
    return dumps({"model": "m", "messages": [question, message, *results, {"role": "user", "content": "Go on."}]})


def _chat_message(answer: JSONObject) -> JSONObject:
    return as_object(as_object(as_list(answer["choices"])[0])["message"])


def _chat_message_of_stream(stream: bytes) -> JSONObject:
    """Deltas added up: texts joined, lists by their `index`."""
    message: JSONObject = {}
    for event in _events(stream):
        for choice in map(as_object, as_list(event.get("choices"))):
            _add(message, as_object(choice.get("delta")))
    for call in map(as_object, as_list(message.get("tool_calls"))):
        call.pop("index")
    return message


def _add(whole: JSONObject, delta: JSONObject) -> None:
    for key, value in delta.items():
        before = whole.get(key)
        if isinstance(value, list):
            entries = whole[key] = as_list(before)
            for entry in map(as_object, value):
                known = next((e for e in map(as_object, entries) if e.get("index") == entry.get("index")), None)
                if known is None:
                    entries.append(entry)
                else:
                    _add(known, {name: inner for name, inner in entry.items() if name != "index"})
        elif isinstance(value, dict) and isinstance(before, dict):
            _add(before, value)
        elif isinstance(value, str) and isinstance(before, str):
            whole[key] = before + value
        elif value is not None or key not in whole:
            whole[key] = value
