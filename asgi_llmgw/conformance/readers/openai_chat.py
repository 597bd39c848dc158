"""A client of Chat Completions."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.answer import Answer, json_event, sse_events
from asgi_llmgw.conformance.cases import Usage
from asgi_llmgw.json import JSONObject, JSONValue, as_int, as_list, as_object, as_str

_REASONING: Final = ("reasoning_content", "reasoning")
_DONE: Final = "[DONE]"


def read_stream(body: bytes, answer: Answer) -> None:
    """The chunks until `[DONE]`, or until the body ends."""
    ids: set[str] = set()
    for _, data in sse_events(body, answer):
        if answer.terminated:
            answer.problem("an event after [DONE]")
        elif data == _DONE:
            answer.terminated = True
        else:
            chunk = json_event(data, answer)
            if "error" in chunk:
                read_error(chunk, answer)
            elif chunk.get("object") == "chat.completion.chunk":
                ids.add(as_str(chunk.get("id")) or "")
                _chunk(chunk, answer)
            elif "choices" in chunk:
                answer.problem("a chunk whose object is not chat.completion.chunk")
    if "" in ids or len(ids) > 1:
        answer.problem("the chunks have no id, or more than one")


def read_whole(body: JSONObject, answer: Answer) -> None:
    """A `chat.completion`."""
    if "error" in body:
        read_error(body, answer)
        return
    if body.get("object") != "chat.completion" or not as_str(body.get("id")):
        answer.problem("object is not chat.completion, or there is no id")
    choice = as_object(next(iter(as_list(body.get("choices"))), None))
    message = as_object(choice.get("message"))
    for name in _REASONING:
        answer.add_reasoning(as_str(message.get(name)) or "")
        if answer.reasoning:
            break
    answer.add_text(as_str(message.get("content")) or "")
    for item in as_list(message.get("tool_calls")):
        call = as_object(item)
        function = as_object(call.get("function"))
        if not as_str(call.get("id")) or not isinstance(function.get("arguments"), str):
            answer.problem("a tool call without an id, or whose arguments are no string")
        answer.open_call(
            as_str(function.get("name")) or "", as_str(function.get("arguments")) or "", as_str(call.get("id")) or ""
        )
    answer.finish = as_str(choice.get("finish_reason"))
    answer.usage = _usage(body.get("usage"))


def read_error(body: JSONObject, answer: Answer) -> None:
    """`{"error": {"message", "type", "param", "code"}}`."""
    error = as_object(body.get("error"))
    answer.error = as_str(error.get("message")) or ""
    if not answer.error or not as_str(error.get("type")):
        answer.problem("an error without message or type in error")


def _chunk(chunk: JSONObject, answer: Answer) -> None:
    choices = as_list(chunk.get("choices"))
    usage = _usage(chunk.get("usage"))
    if usage is not None:
        answer.usage = usage
        if choices:
            answer.problem("usage on a chunk that has choices")
    for item in choices:
        choice = as_object(item)
        if as_int(choice.get("index")) != 0:
            answer.problem("a choice whose index is not 0")
        _delta(as_object(choice.get("delta")), answer)
        if finish := as_str(choice.get("finish_reason")):
            if answer.finish is not None:
                answer.problem("two finish reasons")
            answer.finish = finish


def _delta(delta: JSONObject, answer: Answer) -> None:
    if as_str(delta.get("role")) is not None and (answer.order or answer.finish):
        answer.problem("the role again, after content")
    calls = as_list(delta.get("tool_calls"))
    texts = [as_str(delta.get(name)) or "" for name in ("content", *_REASONING)]
    if answer.finish is not None and (calls or any(texts)):
        answer.problem("content after the finish reason")
    answer.add_reasoning(texts[1] or texts[2])
    answer.add_text(texts[0])
    for item in calls:
        _fragment(as_object(item), answer)


def _fragment(fragment: JSONObject, answer: Answer) -> None:
    index = as_int(fragment.get("index"))
    call_id, function = as_str(fragment.get("id")) or "", as_object(fragment.get("function"))
    name, arguments = as_str(function.get("name")) or "", as_str(function.get("arguments")) or ""
    if index is None or index < 0 or index > len(answer.calls):
        answer.problem(f"a tool call at the index {index}, where {len(answer.calls)} is next")
    elif index == len(answer.calls):
        if not call_id:
            answer.problem("a tool call that begins without an id")
        answer.open_call(name, arguments, call_id)
    else:
        known = answer.calls[index]
        if call_id and call_id != known.id:
            answer.problem(f"two tool calls at the index {index}")
        elif call_id or name:
            answer.problem("id or name of a tool call again")
        known.arguments += arguments


def _usage(value: JSONValue) -> Usage | None:
    usage = as_object(value)
    prompt, completion = as_int(usage.get("prompt_tokens")), as_int(usage.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    cached = as_int(as_object(usage.get("prompt_tokens_details")).get("cached_tokens"))
    return Usage(prompt, completion, cached or 0)
