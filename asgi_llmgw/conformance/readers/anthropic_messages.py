"""A client of Anthropic Messages."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.answer import Answer, ReadCall, json_event, sse_events
from asgi_llmgw.conformance.cases import Usage
from asgi_llmgw.json import JSONObject, as_int, as_list, as_object, as_str, dumps_text

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_DELTA_OF: Final = {
    "text_delta": "text",
    "citations_delta": "text",
    "input_json_delta": "tool_use",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
}
_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


class _Reader:
    """One stream: which blocks are open, and what has been told of the usage."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._started = False
        self._blocks: list[str] = []
        self._open: set[int] = set()
        self._calls: dict[int, ReadCall] = {}
        self._usage: dict[str, int] = {}

    def event(self, event: JSONObject) -> None:
        """The next event."""
        answer, kind = self._answer, as_str(event.get("type"))
        if answer.terminated:
            answer.problem("an event after message_stop")
        if kind == "error":
            read_error(event, answer)
        elif kind == "message_start":
            if self._started:
                answer.problem("two message_start")
            self._started = True
            self._count(as_object(as_object(event.get("message")).get("usage")))
        elif kind == "message_delta":
            delta = as_object(event.get("delta"))
            if self._open:
                answer.problem("message_delta while a block is open")
            answer.finish = _finish(as_str(delta.get("stop_reason")))
            self._count(as_object(event.get("usage")))
        elif kind == "message_stop":
            answer.terminated = True
        elif kind is not None and kind.startswith("content_block_"):
            if not self._started:
                answer.problem(f"{kind} before message_start")
            self._block(kind, as_int(event.get("index")), event)

    def _block(self, kind: str, index: int | None, event: JSONObject) -> None:
        answer = self._answer
        if index is None:
            answer.problem(f"{kind} without an index")
        elif kind == "content_block_start":
            if index != len(self._blocks):
                answer.problem(f"a block starts at the index {index}, where {len(self._blocks)} is next")
            self._start(index, as_object(event.get("content_block")))
        elif index not in self._open:
            answer.problem(f"{kind} for the index {index}, where no block is open")
        elif kind == "content_block_stop":
            self._open.discard(index)
        else:
            self._delta(index, as_object(event.get("delta")))

    def _start(self, index: int, block: JSONObject) -> None:
        kind = as_str(block.get("type")) or ""
        self._blocks += [""] * (index + 1 - len(self._blocks))
        self._blocks[index] = kind
        self._open.add(index)
        if kind == "tool_use":
            self._calls[index] = self._answer.open_call(
                as_str(block.get("name")) or "", id=as_str(block.get("id")) or ""
            )
            if not self._calls[index].id:
                self._answer.problem("a tool_use block without an id")
        elif kind == "thinking":
            _check_thinking(block, self._answer)
            self._answer.add_reasoning(as_str(block.get("thinking")) or "")
        elif kind == "text":
            self._answer.add_text(as_str(block.get("text")) or "")

    def _delta(self, index: int, delta: JSONObject) -> None:
        kind = as_str(delta.get("type")) or ""
        if _DELTA_OF.get(kind) != self._blocks[index]:
            self._answer.problem(f"{kind} for a block of the type {self._blocks[index]}")
        elif kind == "text_delta":
            self._answer.add_text(as_str(delta.get("text")) or "")
        elif kind == "thinking_delta":
            self._answer.add_reasoning(as_str(delta.get("thinking")) or "")
        elif kind == "input_json_delta":
            self._calls[index].arguments += as_str(delta.get("partial_json")) or ""

    def _count(self, usage: JSONObject) -> None:
        """What is told later replaces what was told before."""
        self._usage |= {name: count for name in _COUNTS if (count := as_int(usage.get(name))) is not None}
        self._answer.usage = _usage(self._usage)


def read_stream(body: bytes, answer: Answer) -> None:
    """The events until the body ends."""
    reader = _Reader(answer)
    for name, data in sse_events(body, answer):
        event = json_event(data, answer)
        if name != event.get("type"):
            answer.problem("events whose name is not their type" if name else "events without their names")
        reader.event(event)


def read_whole(body: JSONObject, answer: Answer) -> None:
    """A `message`."""
    if body.get("type") == "error":
        read_error(body, answer)
        return
    if body.get("type") != "message" or body.get("role") != "assistant" or not as_str(body.get("id")):
        answer.problem("type is not message, role is not assistant, or there is no id")
    for item in as_list(body.get("content")):
        block = as_object(item)
        match block.get("type"):
            case "text":
                answer.add_text(as_str(block.get("text")) or "")
            case "thinking":
                _check_thinking(block, answer)
                answer.add_reasoning(as_str(block.get("thinking")) or "")
            case "tool_use":
                answer.open_call(
                    as_str(block.get("name")) or "", dumps_text(block.get("input")), as_str(block.get("id")) or ""
                )
    answer.finish = _finish(as_str(body.get("stop_reason")))
    usage = as_object(body.get("usage"))
    answer.usage = _usage({name: count for name in _COUNTS if (count := as_int(usage.get(name))) is not None})


def read_error(body: JSONObject, answer: Answer) -> None:
    """`{"type": "error", "error": {"type", "message"}}`."""
    error = as_object(body.get("error"))
    answer.error = as_str(error.get("message")) or ""
    if body.get("type") != "error" or not answer.error or not as_str(error.get("type")):
        answer.problem("an error without type error, or without message or type in error")


def _finish(reason: str | None) -> str | None:
    return _FINISH.get(reason, reason) if reason is not None else None


def _check_thinking(block: JSONObject, answer: Answer) -> None:
    if not isinstance(block.get("signature"), str):
        answer.problem("a thinking block without the field signature")


def _usage(counts: dict[str, int]) -> Usage | None:
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    read = counts.get("cache_read_input_tokens", 0)
    whole = counts["input_tokens"] + read + counts.get("cache_creation_input_tokens", 0)
    return Usage(whole, counts["output_tokens"], read)
