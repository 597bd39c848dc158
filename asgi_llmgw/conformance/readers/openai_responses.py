"""A client of Responses."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.answer import Answer, json_event, sse_events
from asgi_llmgw.conformance.cases import Usage
from asgi_llmgw.conformance.readers.openai_chat import read_error
from asgi_llmgw.json import JSONObject, JSONValue, as_int, as_list, as_object, as_str

_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")
_DELTAS: Final = {
    "response.output_text.delta": "message",
    "response.refusal.delta": "message",
    "response.function_call_arguments.delta": "function_call",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}


class _Reader:
    """One stream: which items are open, and what their deltas said."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._number = -1
        self._items: dict[int, JSONObject] = {}
        self._closed: set[int] = set()
        self._said: dict[int, str] = {}

    def event(self, event: JSONObject) -> None:
        """The next event."""
        answer, kind = self._answer, as_str(event.get("type")) or ""
        if answer.terminated:
            answer.problem("an event after the end of the response")
        self._numbered(event)
        if kind == "error":
            _error(event, answer)
        elif kind in _ENDS:
            self._end(kind, as_object(event.get("response")))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._item(kind, event)
        elif kind in _DELTAS:
            self._delta(kind, event)
        elif kind not in ("response.created", "response.in_progress") and self._number == 0:
            answer.problem(f"a stream that begins with {kind}")

    def _numbered(self, event: JSONObject) -> None:
        number = as_int(event.get("sequence_number"))
        if number is None or number <= self._number:
            if (as_str(event.get("type")) or "").startswith("response."):
                self._answer.problem("sequence_number is missing, or does not rise")
        else:
            self._number = number

    def _item(self, kind: str, event: JSONObject) -> None:
        answer, index, item = self._answer, as_int(event.get("output_index")), as_object(event.get("item"))
        if index is None:
            answer.problem(f"{kind} without output_index")
        elif kind.endswith("added"):
            if index != len(self._items):
                answer.problem(f"an item is added at {index}, where {len(self._items)} is next")
            self._items[index] = item
        elif index not in self._items or index in self._closed:
            answer.problem(f"an item is done at {index}, where none is open")
        else:
            self._closed.add(index)
            if item.get("id") != self._items[index].get("id"):
                answer.problem("an item whose id changes")
            if index in self._said and self._said[index] != _words(item):
                answer.problem(f"item {index} is not what its deltas said")

    def _delta(self, kind: str, event: JSONObject) -> None:
        answer, index = self._answer, as_int(event.get("output_index"))
        if index is None or index not in self._items or index in self._closed:
            answer.problem(f"{kind} for the item {index}, which is not open")
            return
        if self._items[index].get("type") != _DELTAS[kind]:
            answer.problem(f"{kind} for an item of the type {self._items[index].get('type')}")
        if event.get("item_id") != self._items[index].get("id"):
            answer.problem("a delta whose item_id is not the item's")
        self._said[index] = self._said.get(index, "") + (as_str(event.get("delta")) or "")

    def _end(self, kind: str, response: JSONObject) -> None:
        answer = self._answer
        if len(self._closed) < len(self._items) and kind != "response.failed":
            answer.problem("the response ends while an item is open")
        if kind == "response.failed":
            answer.error = as_str(as_object(response.get("error")).get("message")) or answer.error
            if not answer.error:
                answer.problem("a failed response without an error")
            return
        told = [as_str(as_object(item).get("id")) for item in as_list(response.get("output"))]
        if told != [as_str(self._items[index].get("id")) for index in sorted(self._items)]:
            answer.problem("the output at the end is not the items that were added")
        answer.terminated = True
        _response(response, answer)

    def settle(self) -> None:
        """What a client shows of an answer that did not come to its end."""
        if not self._answer.terminated:
            for index, said in sorted(self._said.items()):
                item = self._items[index]
                if item.get("type") == "message":
                    self._answer.add_text(said)
                elif item.get("type") == "function_call" and index in self._closed:
                    self._answer.open_call(as_str(item.get("name")) or "", said)


def read_stream(body: bytes, answer: Answer) -> None:
    """The events until the response ends, or the body does."""
    reader = _Reader(answer)
    for name, data in sse_events(body, answer):
        if data == "[DONE]":
            continue  # the official clients take it for an end and so may we
        event = json_event(data, answer)
        if name != event.get("type"):
            answer.problem("events whose name is not their type" if name else "events without their names")
        reader.event(event)
    reader.settle()


def read_whole(body: JSONObject, answer: Answer) -> None:
    """A `response`."""
    if body.get("object") != "response" and as_object(body.get("error")):
        read_error(body, answer)
    else:
        _response(body, answer)


def _response(body: JSONObject, answer: Answer) -> None:
    if body.get("object") != "response" or not as_str(body.get("id")):
        answer.problem("object is not response, or there is no id")
    for value in as_list(body.get("output")):
        item = as_object(value)
        match item.get("type"):
            case "message":
                answer.add_text(_words(item))
            case "reasoning":
                answer.add_reasoning(_words(item))
            case "function_call":
                name, call_id = as_str(item.get("name")) or "", as_str(item.get("call_id")) or ""
                answer.open_call(name, _words(item), call_id)
                if not call_id:
                    answer.problem("a function call without a call_id")
    reason = as_str(as_object(body.get("incomplete_details")).get("reason"))
    if body.get("status") == "incomplete":
        answer.finish = "length" if reason == "max_output_tokens" else reason
    elif body.get("status") == "completed":
        answer.finish = "tool_calls" if answer.calls else "stop"
    elif body.get("status") == "failed":
        answer.error = as_str(as_object(body.get("error")).get("message")) or "failed"
    answer.usage = _usage(body.get("usage"))


def _words(item: JSONObject) -> str:
    """What an item says: its texts, or its arguments."""
    if item.get("type") == "function_call":
        return as_str(item.get("arguments")) or ""
    parts = as_list(item.get("summary")) + as_list(item.get("content"))
    return "".join(as_str(as_object(part).get(key)) or "" for part in parts for key in ("text", "refusal"))


def _error(event: JSONObject, answer: Answer) -> None:
    """The service says it nested, its types say it flat."""
    nested = as_object(event.get("error"))
    answer.error = as_str(nested.get("message")) or as_str(event.get("message")) or ""
    if not answer.error:
        answer.problem("an error without a message")


def _usage(value: JSONValue) -> Usage | None:
    usage = as_object(value)
    prompt, answered = as_int(usage.get("input_tokens")), as_int(usage.get("output_tokens"))
    if prompt is None or answered is None:
        return None
    cached = as_int(as_object(usage.get("input_tokens_details")).get("cached_tokens"))
    return Usage(prompt, answered, cached or 0)
