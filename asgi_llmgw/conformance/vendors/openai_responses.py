"""OpenAI Responses as the vendor sends them, and as it should not."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.script import Script, Vendor, bytewise, cut, named_events, stream, whole
from asgi_llmgw.conformance.vendors.openai_chat import VENDOR as CHAT
from asgi_llmgw.json import JSONObject, JSONValue, dumps_text

_USAGE: Final[JSONObject] = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 25,
}


def _response(status: str, output: list[JSONValue], **more: JSONValue) -> JSONObject:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "vendor-model",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if status in ("in_progress", "failed") else _USAGE,
        "metadata": {},
        **more,
    }


class _Item:
    """One item of the output: its final form, and the events that build it up."""

    def __init__(self, index: int, final: JSONObject, bare: JSONObject, *events: JSONObject) -> None:
        place: JSONObject = {"item_id": final["id"], "output_index": index}
        self.final = final
        self.added: JSONObject = {"type": "response.output_item.added", "output_index": index, "item": bare}
        self.events: list[JSONObject] = [{**event, **place} for event in events]
        self.done: JSONObject = {"type": "response.output_item.done", "output_index": index, "item": final}

    @property
    def all(self) -> list[JSONObject]:
        """Every event of the item, in order."""
        return [self.added, *self.events, self.done]


def _message(index: int, *texts: str, status: str = "completed") -> _Item:
    part: JSONObject = {"type": "output_text", "text": "".join(texts), "annotations": [], "logprobs": []}
    item: JSONObject = {"id": f"msg_{index}", "type": "message", "role": "assistant", "status": status}
    at: JSONObject = {"content_index": 0}
    return _Item(
        index,
        {**item, "content": [part]},
        {**item, "status": "in_progress", "content": []},
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": text, "logprobs": []} for text in texts),
        {"type": "response.output_text.done", **at, "text": "".join(texts), "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
    )


def _call(index: int, call_id: str, name: str, *arguments: str, status: str = "completed") -> _Item:
    item: JSONObject = {"id": f"fc_{index}", "type": "function_call", "call_id": call_id, "name": name}
    text = "".join(arguments)
    deltas: list[JSONObject] = [
        {"type": "response.function_call_arguments.delta", "delta": delta} for delta in arguments
    ]
    return _Item(
        index,
        {**item, "arguments": text, "status": status},
        {**item, "arguments": "", "status": "in_progress"},
        *deltas,
        {"type": "response.function_call_arguments.done", "name": name, "arguments": text},
    )


def _reasoning(index: int, *texts: str) -> _Item:
    part: JSONObject = {"type": "summary_text", "text": "".join(texts)}
    item: JSONObject = {"id": f"rs_{index}", "type": "reasoning"}
    sealed: JSONObject = {"encrypted_content": "c2lnbmF0dXJlIG9mIHRoZSB2ZW5kb3I="}
    at: JSONObject = {"summary_index": 0}
    return _Item(
        index,
        {**item, "summary": [part], **sealed},
        {**item, "summary": []},
        {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}},
        *({"type": "response.reasoning_summary_text.delta", **at, "delta": text} for text in texts),
        {"type": "response.reasoning_summary_text.done", **at, "text": "".join(texts)},
        {"type": "response.reasoning_summary_part.done", **at, "part": part},
    )


def _wire(*events: JSONObject) -> tuple[bytes, ...]:
    """The events with their numbers, after the two that begin every stream."""
    begin: list[JSONObject] = [
        {"type": kind, "response": _response("in_progress", [])}
        for kind in ("response.created", "response.in_progress")
    ]
    return named_events(
        *(dumps_text({**event, "sequence_number": number}) for number, event in enumerate([*begin, *events]))
    )


def _ended(*items: _Item, reason: str = "") -> tuple[bytes, ...]:
    return _ending([event for item in items for event in item.all], items, reason)


def _ending(events: list[JSONObject], items: tuple[_Item, ...], reason: str = "") -> tuple[bytes, ...]:
    """These events, and the end that tells of all the items."""
    status = "incomplete" if reason else "completed"
    return _wire(*events, {"type": f"response.{status}", "response": _final(*items, reason=reason)})


def _final(*items: _Item, reason: str = "") -> JSONObject:
    output: list[JSONValue] = [item.final for item in items]
    if reason:
        return _response("incomplete", output, incomplete_details={"reason": reason})
    return _response("completed", output, completed_at=1760000001)


def _interleaved(first: _Item, second: _Item) -> tuple[bytes, ...]:
    mixed = [event for pair in zip(first.events, second.events, strict=True) for event in pair]
    return _ending([first.added, second.added, *mixed, first.done, second.done], (first, second))


_WEATHER: Final = _call(0, "call_a", "weather", '{"city":', '"Paris"}')
_CLOCK: Final = _call(1, "call_b", "clock", '{"zone":', '"CET"}')
_HALF_TEXT: Final = _message(0, "Hello", ", wor")
_HALF_CALL: Final = _call(0, "call_a", "weather", '{"city":', status="incomplete")
_TOOLS: Final = (
    _message(0, "Let me look."),
    _call(1, "call_a", "weather", '{"city":', '"Paris"}'),
    _call(2, "call_b", "clock", '{"zone":', '"CET"}'),
)
_HELLO: Final = _message(0, "Hello", status="incomplete")
_THINKING: Final = (_message(0, "One."), _reasoning(1, "Let me", " think."), _message(2, "Two."))
_FAILURE: Final[JSONObject] = {"code": "server_error", "message": "The engine failed."}
_ERROR: Final[JSONObject] = {
    "type": "error",
    "error": {"type": "server_error", "code": "server_error", "message": "The engine failed.", "param": None},
}
_FAILED: Final[JSONObject] = {"type": "response.failed", "response": _response("failed", [], error=_FAILURE)}


def _noisy() -> Script:
    pieces = _ended(_message(0, "Hello", ", world."))
    noise = b'event: keepalive\ndata: {"type":"keepalive"}\n\n: ping\n\n'
    unknown = b'event: vendor.note\ndata: {"type":"vendor.note","note":1}\n\n'
    return stream(b": keep-alive\n\n", *pieces[:3], noise, *pieces[3:5], unknown, *pieces[5:])


STREAMS: Final[dict[str, Script]] = {
    "text": stream(*_ended(_message(0, "Hello", ", world."))),
    "parallel-tools": stream(*_ended(*_TOOLS)),
    "interleaved-tools": stream(*_interleaved(_WEATHER, _CLOCK)),
    "arguments-at-once": stream(
        *_ending(
            [event for item in (_WEATHER, _CLOCK) for event in (item.added, item.events[-1], item.done)],
            (_WEATHER, _CLOCK),
        )
    ),
    "cut": cut(*_wire(_HALF_TEXT.added, *_HALF_TEXT.events[:3])),
    "cut-in-tool": cut(*_wire(_HALF_CALL.added, _HALF_CALL.events[0])),
    "ends-early": stream(*_wire(_HALF_TEXT.added, *_HALF_TEXT.events[:3])),
    "length": stream(*_ended(_HELLO, reason="max_output_tokens")),
    "length-in-tool": stream(*_ended(_HALF_CALL, reason="max_output_tokens")),
    "filtered": stream(*_ended(_HELLO, reason="content_filter")),
    "text-reasoning-text": stream(*_ended(*_THINKING)),
    "error-first": stream(*_wire(_ERROR, _FAILED)),
    "error-mid": stream(*_wire(_HELLO.added, *_HELLO.events[:2], _ERROR, _FAILED)),
    "split-characters": bytewise(
        _ended(_message(0, "Grüße, 世界 🌍"), _call(1, "call_a", "weather", '{"city":"東京 🗼"}'))
    ),
    "noise": _noisy(),
    "empty": stream(),
}
_REFUSALS: Final = {name: script for name, script in CHAT.wholes.items() if name.startswith("status-")}


def _answer(*items: _Item, reason: str = "") -> Script:
    return whole(dumps_text(_final(*items, reason=reason)))


VENDOR: Final = Vendor(
    streams={**STREAMS, **_REFUSALS},
    wholes={
        "text": _answer(_message(0, "Hello, world.")),
        "parallel-tools": _answer(*_TOOLS),
        "length": _answer(_HELLO, reason="max_output_tokens"),
        "filtered": _answer(_HELLO, reason="content_filter"),
        "reasoning": _answer(_reasoning(0, "Let me think."), _message(1, "Two.")),
        "empty": whole(""),
        **_REFUSALS,
    },
)
"""The scripts of Responses."""
