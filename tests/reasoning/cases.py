"""Answers that hold reasoning state, and what has to stand in the request after them."""

from __future__ import annotations

from typing import NamedTuple

from asgi_llmgw.ir import Protocol, explode
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols import StreamContext, codec
from tests.samples import frame as sse_frame

SIGNING: tuple[Protocol, ...] = ("anthropic_messages", "openai_responses", "gemini_generate")
SIGNATURE = "EqQBCgIYAhIMH+4/aA=="
REDACTED = "EvEBCoYBGAIi/redacted=="
ENCRYPTED = "gAAAAABo-encrypted_1=="
THOUGHT = "CiwBjz1rX+/thought=="
FINAL = "CkEBjz1rX/final+text=="
USAGE: JSONObject = {"input_tokens": 9, "output_tokens": 3}


class Upstream(NamedTuple):
    """An answer that holds state and a call, and what has to stand in the next request."""

    answer: bytes
    replayed: list[JSONObject]
    secrets: tuple[str, ...]


def claude(*blocks: JSONObject) -> bytes:
    message: JSONObject = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "usage": USAGE}
    return dumps({**message, "content": [*blocks], "stop_reason": "tool_use", "stop_sequence": None})


def gpt(*items: JSONObject) -> bytes:
    head: JSONObject = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt"}
    counts: JSONObject = {**USAGE, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 0}}
    return dumps({**head, "output": [*items], "usage": counts})


def many(*calls: JSONObject, **fields: JSONValue) -> bytes:
    """A server that speaks Chat Completions for many vendors."""
    message: JSONObject = {"role": "assistant", "content": None, "tool_calls": [*calls], **fields}
    choice: JSONObject = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def gemini(*parts: JSONObject) -> bytes:
    candidate: JSONObject = {"content": {"role": "model", "parts": [*parts]}, "finishReason": "STOP", "index": 0}
    return dumps({"candidates": [candidate], "modelVersion": "gemini", "responseId": "r"})


THINK: JSONObject = {"type": "thinking", "thinking": "I need\n the weather. ", "signature": SIGNATURE}
REDACT: JSONObject = {"type": "redacted_thinking", "data": REDACTED}
TOOL_USE: JSONObject = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
REASON: JSONObject = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "The weather."}],
    "encrypted_content": ENCRYPTED,
}
SENT_REASON: JSONObject = {key: value for key, value in REASON.items() if key != "id"}
SILENT: JSONObject = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAAAABo-silent=="}
SENT_SILENT: JSONObject = {key: value for key, value in SILENT.items() if key != "id"}
FUNCTION: JSONObject = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Oslo"}',
    "status": "completed",
}
SENT_FUNCTION: JSONObject = {key: value for key, value in FUNCTION.items() if key not in ("id", "status")}
CALL: JSONObject = {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Oslo"}}}
SECOND: JSONObject = {"functionCall": {"id": "call_2", "name": "weather", "args": {"city": "Rome"}}}

CLAUDE_DETAIL: JSONObject = {
    "type": "reasoning.text",
    "text": "The weather.",
    "signature": SIGNATURE,
    "format": "anthropic-claude-v1",
    "index": 0,
}
SUMMARY_DETAIL: JSONObject = {
    "type": "reasoning.summary",
    "summary": "The weather.",
    "format": "openai-responses-v1",
    "index": 0,
}
ENCRYPTED_DETAIL: JSONObject = {
    "type": "reasoning.encrypted",
    "data": ENCRYPTED,
    "format": "openai-responses-v1",
    "id": "rs_1",
    "index": 1,
}
TOOL_CALL: JSONObject = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
}
GOOGLE_CALL: JSONObject = {**TOOL_CALL, "extra_content": {"google": {"thought_signature": THOUGHT}}}

UPSTREAMS: dict[str, tuple[Protocol, Upstream]] = {
    "claude_thinks": (
        "anthropic_messages",
        Upstream(claude(THINK, TOOL_USE), [THINK, TOOL_USE], (SIGNATURE,)),
    ),
    "claude_redacts": (
        "anthropic_messages",
        Upstream(claude(THINK, REDACT, TOOL_USE), [THINK, REDACT, TOOL_USE], (SIGNATURE, REDACTED)),
    ),
    "gpt_summarises": ("openai_responses", Upstream(gpt(REASON, FUNCTION), [SENT_REASON, SENT_FUNCTION], (ENCRYPTED,))),
    "gpt_is_silent": (
        "openai_responses",
        Upstream(gpt(SILENT, FUNCTION), [SENT_SILENT, SENT_FUNCTION], ("gAAAAABo-silent==",)),
    ),
    "gemini_signs_a_call": (
        "gemini_generate",
        Upstream(
            gemini({**CALL, "thoughtSignature": THOUGHT}, SECOND),
            [{**CALL, "thoughtSignature": THOUGHT}, SECOND],
            (THOUGHT,),
        ),
    ),
    "gemini_signs_its_last_words": (
        "gemini_generate",
        Upstream(
            gemini({"text": "Sunny."}, {"text": "", "thoughtSignature": FINAL}),
            [{"text": "Sunny."}, {"text": "", "thoughtSignature": FINAL}],
            (FINAL,),
        ),
    ),
    "claude_behind_another": (
        "openai_chat",
        Upstream(many(TOOL_CALL, reasoning_details=[CLAUDE_DETAIL]), [CLAUDE_DETAIL, TOOL_CALL], (SIGNATURE,)),
    ),
    "gpt_behind_another": (
        "openai_chat",
        Upstream(
            many(TOOL_CALL, reasoning_details=[SUMMARY_DETAIL, ENCRYPTED_DETAIL]),
            [SUMMARY_DETAIL, ENCRYPTED_DETAIL, TOOL_CALL],
            (ENCRYPTED,),
        ),
    ),
    "gemini_behind_another": ("openai_chat", Upstream(many(GOOGLE_CALL), [GOOGLE_CALL], (THOUGHT,))),
}


def as_stream(protocol: Protocol, answer: bytes) -> bytes:
    """The answer as its own vendor streams it."""
    if protocol == "gemini_generate":
        return sse_frame(loads_object(answer))
    vendor = codec(protocol)
    encoder = vendor.stream_encoder(StreamContext())
    frames = [frame for event in explode(vendor.decode_response(answer)) for frame in encoder.feed(event)]
    return b"".join(frame.encode(vendor.frame_newline) for frame in [*frames, *encoder.close()])


def turn_of(body: bytes, protocol: Protocol) -> list[JSONValue]:
    """What the assistant said, in a request to the vendor."""
    data = loads_object(body)
    if protocol == "openai_responses":
        items = as_list(data["input"])
        return [item for item in items if as_object(item).get("type") in ("reasoning", "function_call")]
    turns = as_list(data["contents" if protocol == "gemini_generate" else "messages"])
    said = next(turn for turn in map(as_object, turns) if turn["role"] in ("model", "assistant"))
    if protocol == "openai_chat":
        return [*as_list(said.get("reasoning_details")), *as_list(said.get("tool_calls"))]
    return as_list(said["parts" if protocol == "gemini_generate" else "content"])
