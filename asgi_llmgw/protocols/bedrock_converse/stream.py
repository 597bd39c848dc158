"""Streamed answers.

    messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata

Only calls and what is told whole begin with a `contentBlockStart`. The stream is over when `metadata` has told the
usage; an answer that has stopped is whole without it. Read generously: blocks that nobody closed are closed, and a
delta of another kind begins another block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    ChoiceEnd,
    Delta,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    StreamFault,
    TextDelta,
    ToolInputDelta,
    UsageUpdate,
    cut,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_int, as_object, as_str, loads_object
from asgi_llmgw.sse import ServerSentEvent

from .blocks import CALL, REASONING, TEXT, Block, citation, kinds, opening_part
from .deltas import plain_delta
from .errors import error_from
from .response import citation_part, decode_usage, finish_reason, is_call

_DELTA: Final = "contentBlockDelta"


class ConverseDecoder:
    """Frames of a ConverseStream answer in, events out."""

    __slots__ = ("_called", "_ended", "_next_index", "_offset", "_open", "_started", "_stopped", "plain")

    def __init__(self) -> None:
        self.plain = False
        self._started = self._stopped = self._ended = self._called = False
        self._open: dict[int, Block] = {}
        self._next_index = 0
        self._offset = 0

    def feed(self, frame: ServerSentEvent, /) -> list[StreamEvent]:
        """The events of one frame; nothing after the end."""
        delta = self._plain(frame.data) if frame.event == _DELTA else None
        self.plain = delta is not None
        return [delta] if delta is not None else list(self._read(frame))

    def more(self, delta: Delta, /) -> None:
        """More of a part, told by frames that were not read."""
        for block in self._open.values():
            if block.index == delta.index:
                block.length += len(delta.fragment if isinstance(delta, ToolInputDelta) else delta.text)

    def _plain(self, data: bytes) -> StreamEvent | None:
        """What a delta adds to the part of its block, None for a frame that is not as plain as that."""
        delta = plain_delta(data)
        block = None if delta is None or self._ended else self._open.get(delta.index)
        if delta is None or block is None or block.index is None:
            return None
        told = delta.told(block.kind, block.index)
        if told is not None:
            block.length += len(told.fragment if type(told) is ToolInputDelta else told.text)
        return told

    def close(self) -> Iterator[StreamEvent]:
        """End of input. A stop reason without `metadata` is an end; anything less is a fault."""
        if self._ended:
            return
        self._ended = True
        if self._stopped:
            yield ResponseEnd()
        else:
            yield cut("The upstream ended its stream early." if self._started else "The upstream sent nothing.")

    def _read(self, frame: ServerSentEvent) -> Iterator[StreamEvent]:
        if self._ended:
            return
        try:
            data = loads_object(frame.data)
        except JSONError as exc:
            self._ended = True
            yield StreamFault(InvalidUpstreamResponse(f"The upstream sent a frame that is not JSON: {exc}"))
            return
        match frame.event:
            case "contentBlockDelta" if not self._stopped:
                yield from self._delta(_index(data), as_object(data.get("delta")))
            case "contentBlockStart" if not self._stopped:
                yield from self._start(_index(data), as_object(data.get("start")))
            case "contentBlockStop":
                yield from self._stop(_index(data))
            case "messageStart":
                yield from self._ensure_started()
            case "messageStop" if not self._stopped:
                yield from self._finish(data)
            case "metadata":
                yield from self._metadata(data)
            case "exception":
                self._ended = True
                yield StreamFault(error_from(data, status=None))
            case _:
                return

    def _ensure_started(self) -> Iterator[StreamEvent]:
        if not self._started:
            self._started = True
            yield ResponseStart()

    def _finish(self, data: JSONObject) -> Iterator[StreamEvent]:
        yield from self._ensure_started()
        for index in list(self._open):
            yield from self._stop(index)
        self._stopped = True
        yield ChoiceEnd(finish_reason(data, called=self._called))

    def _metadata(self, data: JSONObject) -> Iterator[StreamEvent]:
        yield from self._ensure_started()
        usage = data.get("usage")
        if isinstance(usage, dict):
            yield UsageUpdate(decode_usage(usage))
        if self._stopped:
            self._ended = True
            yield ResponseEnd()

    def _start(self, index: int, start: JSONObject) -> Iterator[StreamEvent]:
        for kind, value in kinds(start):
            yield from self._begin(index, kind, as_object(value))

    def _begin(self, index: int, kind: str, start: JSONObject) -> Iterator[StreamEvent]:
        yield from self._ensure_started()
        yield from self._stop(index)
        ours = kind == CALL and is_call(start)
        part = opening_part(kind, start, ours=ours)
        self._open[index] = Block(kind, start, None if part is None else self._next_index)
        self._called = self._called or ours
        if part is not None:
            yield PartStart(self._next_index, part)
            self._next_index += 1

    def _delta(self, index: int, delta: JSONObject) -> Iterator[StreamEvent]:
        for kind, value in kinds(delta):
            yield from self._more(index, kind, value)

    def _more(self, index: int, kind: str, value: JSONValue) -> Iterator[StreamEvent]:
        wanted = TEXT if kind == "citation" else kind
        block = self._open.get(index)
        if block is None or block.kind != wanted:
            if wanted == CALL:
                return  # a call without its name is none
            yield from self._begin(index, wanted, {})
            block = self._open[index]
        told = as_object(value)
        match kind:
            case _ if block.index is None:
                block.keep(value)
            case "text":
                yield from self._text(block, block.index, as_str(value))
            case "citation":
                block.citations.append(citation(told))
            case "reasoningContent":
                block.prove(told)
                if thought := as_str(told.get("text")):
                    yield ReasoningDelta(block.index, thought)
            case _:
                if fragment := as_str(told.get("input")):
                    block.length += len(fragment)
                    yield ToolInputDelta(block.index, fragment)

    def _text(self, block: Block, index: int, text: str | None) -> Iterator[StreamEvent]:
        if text:
            block.length += len(text)
            yield TextDelta(index, text)

    def _stop(self, index: int) -> Iterator[StreamEvent]:
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.index is None:
            yield from self._whole(block.whole())
            return
        if block.kind == CALL and not block.length:
            yield ToolInputDelta(block.index, "{}")
        yield PartEnd(block.index, block.state() if block.kind == REASONING else None)
        if block.kind == TEXT:
            end = self._offset + block.length
            for cited in block.citations:
                yield from self._whole(citation_part(cited, start=self._offset, end=end))
            self._offset = end

    def _whole(self, part: OutputPart) -> Iterator[StreamEvent]:
        yield PartStart(self._next_index, part)
        yield PartEnd(self._next_index)
        self._next_index += 1


def _index(data: JSONObject) -> int:
    return as_int(data.get("contentBlockIndex")) or 0
