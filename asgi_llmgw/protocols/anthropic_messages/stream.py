"""Streamed answers.

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

`ping` may stand anywhere. Read generously: blocks that nobody closed are closed, an index may be used again, a delta
without its block opens one, and a second `message_start` (seen from proxies) starts nothing anew.
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    ChoiceEnd,
    Delta,
    Opaque,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    ToolInputDelta,
    UnknownPart,
    UsageUpdate,
    cut,
)
from asgi_llmgw.json import JSONError, JSONObject, as_int, as_list, as_object, as_str, loads, loads_object
from asgi_llmgw.sse import ServerSentEvent

from .deltas import plain_delta
from .errors import error_from
from .response import (
    citation_part,
    decode_arguments,
    decode_service_tier,
    decode_usage,
    finish_reason,
    reasoning_part,
    signature,
    tool_call_part,
)
from .wire import NAME

_DELTA: Final = "content_block_delta"
_IMPLIED: Final = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}


class _Block:
    """An open content block. `index` is that of its part, None for blocks that become a part only when they close."""

    __slots__ = ("citations", "fragments", "index", "kind", "length", "raw", "signature")

    def __init__(self, raw: JSONObject, index: int | None) -> None:
        self.raw = raw
        self.kind = as_str(raw.get("type")) or ""
        self.index = index
        self.length = 0
        self.fragments: list[str] = []
        self.citations: list[JSONObject] = [as_object(item) for item in as_list(raw.get("citations"))]
        self.signature: Opaque | None = None


class MessagesDecoder:
    """Frames of a Messages stream in, events out.

    `plain`: the last of them held one delta and nothing else.
    """

    __slots__ = (
        "_called",
        "_ended",
        "_ending",
        "_events",
        "_next_index",
        "_offset",
        "_open",
        "_started",
        "_usage",
        "plain",
    )

    def __init__(self) -> None:
        self._started = self._ended = self._called = self.plain = False
        self._open: dict[int, _Block] = {}
        self._next_index = 0
        self._offset = 0
        self._usage: JSONObject = {}
        self._ending: JSONObject = {}
        self._events: list[StreamEvent] = []

    def feed(self, frame: ServerSentEvent, /) -> list[StreamEvent]:
        """The events of one frame; nothing after the end."""
        if frame.event == _DELTA:
            more = self._more(frame.data)
            if more is not None:
                self.plain = True
                return [more]
        self.plain = False
        events = self._events = []
        self._read(frame)
        return events

    def more(self, delta: Delta, /) -> None:
        """More of a part, told by frames that were not read."""
        for block in self._open.values():
            if block.index == delta.index:
                block.length += len(delta.fragment if isinstance(delta, ToolInputDelta) else delta.text)

    def _more(self, data: bytes) -> StreamEvent | None:
        """What a delta adds to the part of its block, None for a frame that is not as plain as that."""
        plain = plain_delta(data)
        block = None if plain is None or self._ended else self._open.get(plain.index)
        if plain is None or block is None or block.index is None:
            return None
        delta = plain.delta
        if not delta.words or block.kind != delta.kind:
            return None
        block.length += len(delta.words)
        return delta.make(block.index, delta.words)

    def _read(self, frame: ServerSentEvent) -> None:
        if self._ended or frame.event == "ping":
            return
        try:
            data = loads_object(frame.data)
        except JSONError as exc:
            if frame.data.strip() in (b"", b"[DONE]"):
                return
            self._fault(StreamFault(InvalidUpstreamResponse(f"The upstream sent a frame that is not JSON: {exc}")))
            return
        self._dispatch(as_str(data.get("type")) or frame.event, data)

    def close(self) -> list[StreamEvent]:
        """End of input. A stop reason without `message_stop` is an end; anything less is a fault."""
        events = self._events = []
        if self._ended:
            return events
        if self._ending.get("stop_reason"):
            self._finish()
        else:
            self._fault(cut("The upstream ended its stream early." if self._started else "The upstream sent nothing."))
        return events

    def _dispatch(self, kind: str, data: JSONObject) -> None:
        match kind:
            case "content_block_delta":
                self._delta(_index(data), as_object(data.get("delta")))
            case "content_block_start":
                self._block_start(_index(data), as_object(data.get("content_block")))
            case "content_block_stop":
                self._block_stop(_index(data))
            case "message_start":
                self._message_start(as_object(data.get("message")))
            case "message_delta":
                self._message_delta(data)
            case "message_stop":
                self._ensure_started()
                self._finish()
            case _ if kind == "error" or isinstance(data.get("error"), dict):
                self._fault(StreamFault(error_from(data, status=None)))
            case _:
                return

    def _fault(self, fault: StreamFault) -> None:
        self._ended = True
        self._events.append(fault)

    def _ensure_started(self) -> None:
        if not self._started:
            self._message_start({})

    def _message_start(self, message: JSONObject) -> None:
        if self._started:
            # what was open belongs to an answer that will not go on
            self._close_blocks()
        else:
            self._started = True
            self._events.append(
                ResponseStart(
                    id=as_str(message.get("id")) or "",
                    model=as_str(message.get("model")) or "",
                    service_tier=decode_service_tier(message),
                )
            )
        self._update_usage(as_object(message.get("usage")))

    def _message_delta(self, data: JSONObject) -> None:
        self._ensure_started()
        self._ending |= {key: value for key, value in as_object(data.get("delta")).items() if value is not None}
        self._update_usage(as_object(data.get("usage")))

    def _update_usage(self, usage: JSONObject) -> None:
        """Counts are cumulative: each replaces the one before it, and null says nothing."""
        if None in usage.values():
            usage = {key: value for key, value in usage.items() if value is not None or key not in self._usage}
        if usage:
            self._usage = {**self._usage, **usage}
            self._events.append(UsageUpdate(decode_usage(self._usage)))

    def _finish(self) -> None:
        self._close_blocks()
        self._ended = True
        self._events.append(ChoiceEnd(finish_reason(self._ending, called=self._called)))
        self._events.append(ResponseEnd())

    def _block_start(self, index: int, raw: JSONObject) -> None:
        self._ensure_started()
        self._block_stop(index)
        part: OutputPart | None = None
        match raw.get("type"):
            case "text":
                part = TextPart("")
            case "thinking" | "redacted_thinking":
                part = reasoning_part({**raw, "thinking": "", "signature": ""})
            case "tool_use":
                part = tool_call_part(raw, "")
                self._called = True
            case _:
                pass
        if part is None:
            self._open[index] = _Block(raw, None)
            return
        block = self._open[index] = _Block(raw, self._begin(part))
        block.signature = signature(raw.get("signature"))
        if block.kind == "text":
            self._text(block, as_str(raw.get("text")))
        elif block.kind == "thinking":
            self._thinking(block, as_str(raw.get("thinking")))

    def _delta(self, index: int, delta: JSONObject) -> None:
        kind = as_str(delta.get("type")) or ""
        block = self._open.get(index)
        implied = _IMPLIED.get(kind)
        if implied is not None and (block is None or (block.index is not None and block.kind != implied)):
            self._block_start(index, {"type": implied})
            block = self._open[index]
        if block is None:
            return
        match kind:
            case _ if block.index is None:
                _accumulate(block, delta)
            case "text_delta":
                self._text(block, as_str(delta.get("text")))
            case "thinking_delta":
                self._thinking(block, as_str(delta.get("thinking")))
            case "signature_delta":
                block.signature = signature(delta.get("signature")) or block.signature
            case "input_json_delta" if block.kind == "tool_use":
                fragment = as_str(delta.get("partial_json"))
                if fragment:
                    block.length += len(fragment)
                    self._events.append(ToolInputDelta(block.index, fragment))
            case "citations_delta":
                block.citations.append(as_object(delta.get("citation")))
            case _:
                return

    def _text(self, block: _Block, text: str | None) -> None:
        if text and block.index is not None:
            block.length += len(text)
            self._events.append(TextDelta(block.index, text))

    def _thinking(self, block: _Block, text: str | None) -> None:
        if text and block.index is not None:
            self._events.append(ReasoningDelta(block.index, text))

    def _close_blocks(self) -> None:
        for index in list(self._open):
            self._block_stop(index)

    def _block_stop(self, index: int) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.index is None:
            self._whole(UnknownPart(NAME, _closed(block), block.kind))
            return
        if block.kind == "tool_use" and not block.length:
            self._events.append(ToolInputDelta(block.index, decode_arguments(block.raw.get("input"))))
        self._events.append(PartEnd(block.index, block.signature))
        if block.kind == "text":
            end = self._offset + block.length
            for citation in block.citations:
                self._whole(citation_part(citation, start=self._offset, end=end))
            self._offset = end

    def _begin(self, part: OutputPart) -> int:
        index = self._next_index
        self._next_index += 1
        self._events.append(PartStart(index, part))
        return index

    def _whole(self, part: OutputPart) -> None:
        self._events.append(PartEnd(self._begin(part)))


def _index(data: JSONObject) -> int:
    return as_int(data.get("index")) or 0


def _accumulate(block: _Block, delta: JSONObject) -> None:
    """A delta of a block that only its vendor knows: JSON fragments are its input, other text is added to its field."""
    for key, value in delta.items():
        if key == "type" or value is None:
            continue
        before = block.raw.get(key)
        if key == "partial_json" and isinstance(value, str):
            block.fragments.append(value)
        elif isinstance(before, str) and isinstance(value, str):
            block.raw = {**block.raw, key: before + value}
        else:
            block.raw = {**block.raw, key: value}


def _closed(block: _Block) -> JSONObject:
    text = "".join(block.fragments)
    if not text:
        return block.raw
    try:
        return {**block.raw, "input": loads(text)}
    except JSONError:
        return block.raw
