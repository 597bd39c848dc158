"""Events of a Responses stream in, our events out.

What the deltas said counts; where a server sends none, the `done` events and the items in them are believed, and in the
end the response object. Parts open with their first word, so an empty item is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from asgi_llmgw.ir import (
    ChoiceEnd,
    Delta,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    RefusalPart,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    UnknownPart,
    UsageUpdate,
    cut,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_int, as_list, as_object, as_str, loads
from asgi_llmgw.protocols.openai.tokens import decode_tokens
from asgi_llmgw.sse import ServerSentEvent

from .errors import error_of_event, error_of_response
from .parts import citation
from .response_decoder import decode_call, decode_reasoning, decode_whole, text_of
from .usage import decode_usage
from .wire import CALL_TYPES, finish_in

_DONE = b"[DONE]"
_REFUSAL = "response.refusal"
_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDINGS = {"response.completed": "completed", "response.incomplete": "incomplete"}


class _Text:
    """A part of a message's content."""

    __slots__ = ("closed", "index", "notes", "offset", "said")

    def __init__(self) -> None:
        self.index: int | None = None
        self.said = self.closed = False
        self.notes = 0
        self.offset = 0


class _Item:
    """An item of the output, as far as it has come."""

    __slots__ = ("closed", "contents", "id", "index", "kind", "phase", "said", "thought")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.id: str | None = None
        self.phase: str | None = None
        self.index: int | None = None
        self.said = self.closed = False
        self.contents: dict[int, _Text] = {}
        self.thought: tuple[str, int] | None = None


class ResponsesStreamDecoder:
    """Frames of one upstream stream in, events out; broken input becomes a `StreamFault`.

    `plain`: the last of them was a delta, and deltas hold nothing else that counts.
    """

    __slots__ = ("_calls", "_ended", "_events", "_items", "_last", "_length", "_next", "_started", "plain")

    def __init__(self) -> None:
        self._started = self._ended = self._calls = self.plain = False
        self._items: dict[int, _Item] = {}
        self._last = 0
        self._length = 0
        self._next = 0
        self._events: list[StreamEvent] = []

    def feed(self, frame: ServerSentEvent, /) -> Sequence[StreamEvent]:
        """The events one frame tells. What comes after the end is ignored."""
        if self._ended or frame.data.strip() == _DONE:
            return []
        try:
            data = loads(frame.data)
        except JSONError:
            return self._broken("the upstream sent a stream event that is not JSON")
        if not isinstance(data, dict):
            return self._broken("the upstream sent a stream event that is not an object")
        kind = as_str(data.get("type")) or frame.event
        self.plain = kind.endswith(".delta") and not kind.startswith(_REFUSAL)
        self._event(kind, data)
        events, self._events = self._events, []
        return events

    def more(self, delta: Delta, /) -> None:
        """More of a part, told by frames that were not read."""
        if type(delta) is TextDelta:
            self._length += len(delta.text)

    def close(self) -> list[StreamEvent]:
        """End of input: without the response object the stream was cut."""
        if self._ended:
            return []
        self._ended = True
        return [cut()]

    def _broken(self, reason: str) -> list[StreamEvent]:
        self._ended = True
        return [cut(reason)]

    def _fault(self, fault: StreamFault) -> None:
        self._ended = True
        self._events.append(fault)

    def _event(self, kind: str, data: JSONObject) -> None:
        if kind == "response.output_text.delta":
            self._word(kind, data, as_str(data.get("delta")))
        elif kind in _BEGINNINGS:
            self._start(as_object(data.get("response")))
        elif kind in _ENDINGS:
            self._end(as_object(data.get("response")), _ENDINGS[kind])
        elif kind in ("response.failed", "response.cancelled"):
            self._fail(as_object(data.get("response")))
        elif kind == "error" or (not kind.startswith("response.") and data.get("error")):
            self._fault(StreamFault(error_of_event(data)))
        else:
            self._inside(kind, data)

    def _inside(self, kind: str, data: JSONObject) -> None:
        _, _, rest = kind.partition(".")
        name, _, step = rest.rpartition(".")
        match name:
            case "output_item":
                self._item_event(step, data)
            case "output_text" | "refusal" if step in ("delta", "done"):
                self._word(kind, data, as_str(data.get("delta")))
            case "output_text.annotation":
                self._annotation(data)
            case "content_part" if step == "done":
                self._content_done(data, as_object(data.get("part")))
            case "function_call_arguments" | "custom_tool_call_input":
                self._arguments(name, step, data)
            case "reasoning_summary_text" | "reasoning_text" if step == "delta":
                self._thought(name, data)
            case _:
                pass

    def _start(self, response: JSONObject) -> None:
        if self._started:
            return
        self._started = True
        self._events.append(
            ResponseStart(
                id=as_str(response.get("id")) or "",
                model=as_str(response.get("model")) or "",
                created=as_int(response.get("created_at")),
                service_tier=as_str(response.get("service_tier")) or None,
            )
        )

    def _item(self, data: JSONObject, kind: str) -> _Item:
        """The item an event is about; servers that forget to announce it are forgiven."""
        self._start({})
        place = as_int(data.get("output_index"))
        place = self._last if place is None else place
        item = self._items.get(place)
        if item is None:
            item = self._items[place] = _Item(kind)
        self._last = place
        return item

    def _begin(self, part: OutputPart) -> int:
        index = self._next
        self._next += 1
        self._events.append(PartStart(index, part))
        return index

    def _whole(self, part: OutputPart) -> None:
        self._events.append(PartEnd(self._begin(part)))

    def _item_event(self, step: str, data: JSONObject) -> None:
        value = as_object(data.get("item"))
        kind = as_str(value.get("type")) or "message"
        item = self._item(data, kind)
        if not item.said and item.index is None and not item.contents:
            item.kind = kind
        item.id = as_str(value.get("id")) or item.id
        item.phase = as_str(value.get("phase")) or item.phase
        if step == "added":
            self._open_call(item, value)
        elif step == "done":
            self._finish(item, value)

    def _word(self, kind: str, data: JSONObject, delta: str | None) -> None:
        item = self._item(data, "message")
        if item.kind != "message" or item.closed:
            return
        text = item.contents.setdefault(as_int(data.get("content_index")) or 0, _Text())
        refusal = kind.startswith(_REFUSAL)
        if kind.endswith(".delta"):
            tokens = decode_tokens(data.get("logprobs")) or None
            self._say(item, text, delta or "", refusal=refusal, logprobs=data.get("logprobs") if tokens else None)
            return
        whole = as_str(data.get("refusal" if refusal else "text")) or ""
        if not text.said:
            self._say(item, text, whole, refusal=refusal, logprobs=data.get("logprobs"))

    def _say(self, item: _Item, text: _Text, words: str, *, refusal: bool, logprobs: JSONValue) -> None:
        tokens = decode_tokens(logprobs) or None
        if text.closed or not (words or tokens):
            return
        if text.index is None:
            text.offset = self._length
            text.index = self._begin(RefusalPart("") if refusal else TextPart("", phase=item.phase))
        text.said = True
        if not refusal:
            self._length += len(words)
        self._events.append(TextDelta(text.index, words, tokens))

    def _annotation(self, data: JSONObject) -> None:
        item = self._item(data, "message")
        if item.kind != "message" or item.closed:
            return
        text = item.contents.setdefault(as_int(data.get("content_index")) or 0, _Text())
        if text.said and not text.closed:  # a source follows its text; of one that comes first the end will tell
            text.notes += 1
            self._whole(citation(as_object(data.get("annotation")), text.offset))

    def _content_done(self, data: JSONObject, part: JSONObject) -> None:
        item = self._item(data, "message")
        if item.kind == "message" and not item.closed and part.get("type") in ("output_text", "refusal"):
            self._close_text(item, as_int(data.get("content_index")) or 0, part)

    def _close_text(self, item: _Item, place: int, part: JSONObject) -> None:
        """The part is complete: say what no delta said."""
        text = item.contents.setdefault(place, _Text())
        if text.closed:
            return
        refusal = part.get("type") == "refusal"
        if not text.said:
            words = as_str(part.get("refusal" if refusal else "text")) or ""
            self._say(item, text, words, refusal=refusal, logprobs=part.get("logprobs"))
        for note in as_list(part.get("annotations"))[text.notes :]:
            self._whole(citation(as_object(note), text.offset))
        if text.index is not None:
            self._events.append(PartEnd(text.index))
        text.closed = True

    def _open_call(self, item: _Item, value: JSONObject) -> None:
        if item.kind in CALL_TYPES and item.index is None and not item.closed and value.get("name"):
            self._calls = True
            call = decode_call(value)
            item.index = self._begin(ToolCallPart(call.id, call.name, "", call.kind))

    def _arguments(self, name: str, step: str, data: JSONObject) -> None:
        item = self._item(data, "function_call" if name == "function_call_arguments" else "custom_tool_call")
        if item.index is None or item.closed or item.kind not in CALL_TYPES:
            return
        if step == "delta":
            fragment = as_str(data.get("delta")) or ""
        else:
            fragment = "" if item.said else text_of(data.get("arguments") or data.get("input"))
        if fragment:
            item.said = True
            self._events.append(ToolInputDelta(item.index, fragment))

    def _thought(self, name: str, data: JSONObject) -> None:
        item = self._item(data, "reasoning")
        words = as_str(data.get("delta"))
        if item.kind != "reasoning" or item.closed or not words:
            return
        place = as_int(data.get("summary_index" if name == "reasoning_summary_text" else "content_index")) or 0
        if item.thought is not None and item.thought[0] != name:
            return
        if item.index is None:
            item.index = self._begin(ReasoningPart())
        elif item.thought != (name, place):
            words = "\n\n" + words
        item.thought = (name, place)
        item.said = True
        self._events.append(ReasoningDelta(item.index, words))

    def _finish(self, item: _Item, value: JSONObject) -> None:
        """The item is complete: say what no event said, and close what is open."""
        if item.closed:
            return
        match item.kind:
            case "message":
                self._finish_message(item, value)
            case "reasoning":
                self._finish_reasoning(item, value)
            case "function_call" | "custom_tool_call":
                self._open_call(item, value)
                if item.index is not None:
                    arguments = "" if item.said else decode_call(value).arguments
                    self._events += [ToolInputDelta(item.index, arguments)] if arguments else []
                    self._events.append(PartEnd(item.index))
            case _:
                if value:
                    self._whole(decode_whole(value))
        item.closed = True

    def _finish_message(self, item: _Item, value: JSONObject) -> None:
        for place, content in enumerate(as_list(value.get("content"))):
            part = as_object(content)
            if part.get("type") in ("output_text", "refusal"):
                self._close_text(item, place, part)
            else:
                self._whole(UnknownPart("openai_responses", part, as_str(part.get("type")) or ""))
        for place in item.contents:
            self._close_text(item, place, {})

    def _finish_reasoning(self, item: _Item, value: JSONObject) -> None:
        thought = decode_reasoning(value)
        if item.index is None:
            if not thought.text and thought.opaque is None:
                return
            item.index = self._begin(ReasoningPart())
            if thought.text:
                self._events.append(ReasoningDelta(item.index, thought.text))
        self._events.append(PartEnd(item.index, thought.opaque))

    def _settle(self, response: JSONObject) -> None:
        """Finish what is not finished, with the items of the response object where they are the same ones."""
        self._start(response)
        output = [as_object(item) for item in as_list(response.get("output"))]
        told = bool(self._items)
        known = {item.id for item in self._items.values()}
        for place, value in enumerate(output):
            kind = as_str(value.get("type")) or "message"
            item = self._items.get(place)
            if item is not None and not item.closed and item.kind == kind:
                self._finish(item, value)
            elif item is None and (not told or (value.get("id") and value.get("id") not in known)):
                item = self._items[place] = _Item(kind)
                item.phase = as_str(value.get("phase"))
                self._finish(item, value)
        for item in self._items.values():
            self._finish(item, {})

    def _end(self, response: JSONObject, status: str) -> None:
        self._settle(response)
        usage = decode_usage(response.get("usage"))
        finish = finish_in({**response, "status": status}, calls=self._calls)
        self._ended = True
        self._events.append(ChoiceEnd(finish))
        if usage is not None:
            self._events.append(UsageUpdate(usage))
        self._events.append(ResponseEnd())

    def _fail(self, response: JSONObject) -> None:
        usage = decode_usage(response.get("usage"))
        if usage is not None and self._started:
            self._events.append(UsageUpdate(usage))
        self._fault(StreamFault(error_of_response(response)))
