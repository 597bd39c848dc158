"""A client of Gemini generateContent."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.answer import Answer, json_event, sse_events
from asgi_llmgw.conformance.cases import Usage
from asgi_llmgw.json import JSONObject, JSONValue, as_int, as_list, as_object, as_str, dumps_text

_FILTERED: Final = frozenset({"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII"})


def read_stream(body: bytes, answer: Answer) -> None:
    """The chunks until the body ends; the one with the finish reason makes the answer complete."""
    for name, data in sse_events(body, answer):
        if name:
            answer.problem(f"an event with the name {name!r}: this protocol has none")
        if data == "[DONE]":
            answer.problem("[DONE]: this protocol has none")
            continue
        chunk = json_event(data, answer)
        if "error" in chunk:
            read_error(chunk, answer)
        else:
            _chunk(chunk, answer)
    answer.terminated = answer.finish is not None


def read_whole(body: JSONObject, answer: Answer) -> None:
    """One `GenerateContentResponse`."""
    if "error" in body:
        read_error(body, answer)
    else:
        _chunk(body, answer)


def read_error(body: JSONObject, answer: Answer) -> None:
    """`{"error": {"code", "message", "status"}}`; over HTTP the code is the status."""
    error = as_object(body.get("error"))
    answer.error = as_str(error.get("message")) or ""
    code = as_int(error.get("code"))
    if not answer.error or code is None or not as_str(error.get("status")):
        answer.problem("an error without code, message or status in error")
    elif answer.status != 200 and code != answer.status:
        answer.problem(f"an error of the code {code} with the HTTP status {answer.status}")


def _chunk(chunk: JSONObject, answer: Answer) -> None:
    for item in as_list(chunk.get("candidates")):
        candidate = as_object(item)
        if as_int(candidate.get("index")) not in (0, None):
            answer.problem("a candidate whose index is not 0")
        for part in as_list(as_object(candidate.get("content")).get("parts")):
            if answer.finish is not None:
                answer.problem("content after the finish reason")
            _part(as_object(part), answer)
        if reason := as_str(candidate.get("finishReason")):
            answer.finish = _finish(reason, answer)
    if "usageMetadata" in chunk:
        answer.usage = _usage(chunk["usageMetadata"])


def _part(part: JSONObject, answer: Answer) -> None:
    if "functionCall" in part:
        call = as_object(part["functionCall"])
        answer.open_call(
            as_str(call.get("name")) or "", dumps_text(as_object(call.get("args"))), as_str(call.get("id")) or ""
        )
    elif part.get("thought") is True:
        answer.add_reasoning(as_str(part.get("text")) or "")
    else:
        answer.add_text(as_str(part.get("text")) or "")


def _finish(reason: str, answer: Answer) -> str:
    """A neutral word: this protocol says STOP after calls too."""
    if reason == "STOP":
        return "tool_calls" if answer.calls else "stop"
    return "length" if reason == "MAX_TOKENS" else "content_filter" if reason in _FILTERED else reason


def _usage(value: JSONValue) -> Usage | None:
    usage = as_object(value)
    prompt, answered = as_int(usage.get("promptTokenCount")), as_int(usage.get("candidatesTokenCount"))
    if prompt is None or answered is None:
        return None
    thoughts = as_int(usage.get("thoughtsTokenCount")) or 0
    return Usage(prompt, answered + thoughts, as_int(usage.get("cachedContentTokenCount")) or 0)
