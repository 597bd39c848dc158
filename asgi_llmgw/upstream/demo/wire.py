"""The demo provider's answers as each vendor would send them, whole and as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asgi_llmgw.json import JSONObject, JSONValue, dumps, dumps_text
from asgi_llmgw.sse import ServerSentEvent
from asgi_llmgw.upstream.demo.answer import Answer
from asgi_llmgw.upstream.demo.prompt import Prompt

CREATED: Final = 1_767_225_600
_STOP_REASON: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_FINISH_REASON: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}


def chat(prompt: Prompt, answer: Answer) -> JSONObject:
    """A Chat Completions answer."""
    message: JSONObject = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.call is not None:
        message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [_chat_call(prompt, answer)]}
    choice: JSONObject = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
    return {**_chat_head(prompt, "chat.completion"), "choices": [choice], "usage": _chat_usage(prompt, answer)}


def chat_stream(prompt: Prompt, answer: Answer) -> Iterator[bytes]:
    """The frames of a streamed Chat Completions answer."""
    head = _chat_head(prompt, "chat.completion.chunk")

    def frame(delta: JSONObject, finish: str | None = None) -> bytes:
        choice: JSONObject = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**head, "choices": [choice], **({"usage": None} if prompt.include_usage else {})})

    if answer.call is None:
        yield frame({"role": "assistant", "content": "", "refusal": None})
        for word in answer.words:
            yield frame({"content": word})
    else:
        call = {"index": 0, **_chat_call(prompt, answer)}
        function: JSONObject = {"name": answer.call[0], "arguments": ""}
        yield frame({"role": "assistant", "content": None, "tool_calls": [{**call, "function": function}]})
        for piece in _pieces(answer.call[1]):
            yield frame({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield frame({}, answer.finish)
    if prompt.include_usage:
        yield _data({**head, "choices": [], "usage": _chat_usage(prompt, answer)})
    yield ServerSentEvent(b"[DONE]").encode()


def messages(prompt: Prompt, answer: Answer) -> JSONObject:
    """An Anthropic Messages answer."""
    block: JSONObject = {"type": "text", "text": answer.text}
    if answer.call is not None:
        block = {**_tool_use(prompt, answer.call[0]), "input": answer.call[1]}
    return {
        **_message_head(prompt),
        "content": [block],
        "stop_reason": _STOP_REASON[answer.finish],
        "stop_sequence": None,
        "usage": {"input_tokens": prompt.words, "output_tokens": answer.output_words},
    }


def messages_stream(prompt: Prompt, answer: Answer) -> Iterator[bytes]:
    """The frames of a streamed Anthropic Messages answer."""
    usage: JSONObject = {"input_tokens": prompt.words, "output_tokens": 1}
    start: JSONObject = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield _event("message_start", {"message": {**_message_head(prompt), **start}})
    if answer.call is None:
        block: JSONObject = {"type": "text", "text": ""}
        deltas: list[JSONObject] = [{"type": "text_delta", "text": word} for word in answer.words]
    else:
        name, arguments = answer.call
        block = {**_tool_use(prompt, name), "input": {}}
        # the vendor's first fragment is empty, and the only one where there are no arguments
        pieces = ["", *(_pieces(arguments) if arguments else ())]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    yield _event("content_block_start", {"index": 0, "content_block": block})
    yield _event("ping", {})
    for delta in deltas:
        yield _event("content_block_delta", {"index": 0, "delta": delta})
    yield _event("content_block_stop", {"index": 0})
    end: JSONObject = {"stop_reason": _STOP_REASON[answer.finish], "stop_sequence": None}
    yield _event("message_delta", {"delta": end, "usage": {"output_tokens": answer.output_words}})
    yield _event("message_stop", {})


def gemini(prompt: Prompt, answer: Answer) -> JSONObject:
    """A generateContent answer."""
    return _gemini_chunk(prompt, answer, _gemini_parts(answer), answer.output_words, finish=True)


def gemini_stream(prompt: Prompt, answer: Answer) -> Iterator[bytes]:
    """The frames of a streamed generateContent answer; the last word brings the reason of the end."""
    for count, word in enumerate(answer.words[:-1], start=1):
        yield _data(_gemini_chunk(prompt, answer, [{"text": word}], count, finish=False), b"\r\n")
    last: list[JSONValue] = [{"text": "".join(answer.words[-1:])}]
    if answer.call is not None:
        last = _gemini_parts(answer)
    yield _data(_gemini_chunk(prompt, answer, last, answer.output_words, finish=True), b"\r\n")


def _chat_head(prompt: Prompt, kind: str) -> JSONObject:
    return {"id": f"chatcmpl-demo{prompt.turns}", "object": kind, "created": CREATED, "model": prompt.model}


def _chat_call(prompt: Prompt, answer: Answer) -> JSONObject:
    name, arguments = answer.call or ("", {})
    function: JSONObject = {"name": name, "arguments": dumps_text(arguments)}
    return {"id": f"call_demo{prompt.turns}", "type": "function", "function": function}


def _chat_usage(prompt: Prompt, answer: Answer) -> JSONObject:
    return {
        "prompt_tokens": prompt.words,
        "completion_tokens": answer.output_words,
        "total_tokens": prompt.words + answer.output_words,
    }


def _message_head(prompt: Prompt) -> JSONObject:
    return {"id": f"msg_demo{prompt.turns}", "type": "message", "role": "assistant", "model": prompt.model}


def _tool_use(prompt: Prompt, name: str) -> JSONObject:
    return {"type": "tool_use", "id": f"toolu_demo{prompt.turns}", "name": name}


def _gemini_parts(answer: Answer) -> list[JSONValue]:
    if answer.call is None:
        return [{"text": answer.text}]
    return [{"functionCall": {"name": answer.call[0], "args": answer.call[1]}}]


def _gemini_chunk(prompt: Prompt, answer: Answer, parts: list[JSONValue], words: int, *, finish: bool) -> JSONObject:
    candidate: JSONObject = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finishReason"] = _FINISH_REASON[answer.finish]
    usage: JSONObject = {
        "promptTokenCount": prompt.words,
        "candidatesTokenCount": words,
        "totalTokenCount": prompt.words + words,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": prompt.model,
        "responseId": f"demo{prompt.turns}",
    }


def _pieces(arguments: JSONObject) -> Iterator[str]:
    """Tool arguments as they dribble in: cut where no JSON ends."""
    text = dumps_text(arguments)
    for start in range(0, len(text), 8):
        yield text[start : start + 8]


def _data(value: JSONObject, newline: bytes = b"\n") -> bytes:
    return ServerSentEvent(dumps(value)).encode(newline)


def _event(name: str, value: JSONObject) -> bytes:
    return ServerSentEvent(dumps({"type": name, **value}), name).encode()
