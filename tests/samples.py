"""Small requests, answers and streams of each protocol, as the vendors send them."""

from __future__ import annotations

from asgi_llmgw.json import JSONObject, JSONValue, dumps


def chat_request(model: str = "smart", **fields: JSONValue) -> JSONObject:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


def chat_answer(text: str = "Hi there", **fields: JSONValue) -> bytes:
    answer: JSONObject = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        **fields,
    }
    return dumps(answer)


def frame(value: JSONValue, event: str = "") -> bytes:
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + dumps(value) + b"\n\n"


def chat_chunk(delta: JSONObject, finish: str | None = None, **fields: JSONValue) -> bytes:
    return frame(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
            **fields,
        }
    )


DONE = b"data: [DONE]\n\n"
CHAT_ROLE = chat_chunk({"role": "assistant", "content": "", "refusal": None})
CHAT_USAGE = frame(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }
)


def chat_stream(*words: str, usage: bool = False) -> list[bytes]:
    chunks = [CHAT_ROLE, *(chat_chunk({"content": word}) for word in words), chat_chunk({}, "stop")]
    return [*chunks, *([CHAT_USAGE] if usage else []), DONE]


CHAT_ERROR: JSONObject = {
    "error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}
}


def messages_answer(text: str = "Hi there") -> bytes:
    return dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 3},
        }
    )


def messages_stream(*words: str) -> list[bytes]:
    message: JSONObject = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    deltas: list[JSONObject] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words
    ]
    events: list[JSONObject] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    return [frame(event, str(event["type"])) for event in events]


MESSAGES_OVERLOADED: JSONObject = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def gemini_answer(text: str = "Hi there") -> bytes:
    return dumps(
        {
            "candidates": [
                {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}
            ],
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12},
            "modelVersion": "gemini-2.5-flash",
            "responseId": "resp-1",
        }
    )


def responses_answer(text: str = "Hi there") -> bytes:
    part: JSONObject = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message: JSONObject = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return dumps(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "completed",
            "model": "gpt-4o-2024-08-06",
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": 9,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 12,
            },
        }
    )
