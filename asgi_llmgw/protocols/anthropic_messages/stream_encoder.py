"""Events in, frames of a Messages stream out.

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

Blocks are numbered 0, 1, 2 and never overlap. A block opens with its first content, so that nothing empty is told, and
a block of text closes when the next one opens: what it cites is told after it. The counts of tokens come with the end,
for some vendors tell them last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse
from asgi_llmgw.ir import (
    ChoiceEnd,
    CitationPart,
    Delta,
    Diagnostic,
    FinishReason,
    MediaPart,
    Opaque,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    RefusalPart,
    ResponseEnd,
    ResponseStart,
    Sequencer,
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    UnknownPart,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.json import JSONObject, dumps, dumps_text
from asgi_llmgw.protocols.base import Diagnostics, StreamContext, same_frames
from asgi_llmgw.sse import ServerSentEvent

from .content import text_block
from .errors import encode_stream_error
from .response_encoder import (
    Told,
    call_id,
    call_input,
    citation_of,
    encode_ending,
    encode_usage,
    fresh_tokens,
    head,
    lost_signature,
    other_choice,
    placeholder,
    redacted_of,
    signature_of,
    unknown_block,
)
from .wire import USAGE_TIERS

_PING: Final = ServerSentEvent(b'{"type":"ping"}', "ping")
_STOP: Final = ServerSentEvent(b'{"type":"message_stop"}', "message_stop")
_DELTA: Final = "content_block_delta"
_BEFORE_DELTA: Final = b"event: content_block_delta\ndata: "

Frames = list[ServerSentEvent]


class _Part:
    """The part that is told now. `shown`: its block is open; `fragments` are the arguments of a call so far."""

    __slots__ = ("fragments", "index", "part", "shown")

    def __init__(self, index: int, part: OutputPart) -> None:
        self.index = index
        self.part = part
        self.shown = False
        self.fragments: list[str] = []

    @property
    def path(self) -> str:
        return f"parts[{self.index}]"


class MessagesStreamEncoder:
    """Events of one stream in, frames for the client out."""

    __slots__ = (
        "_before",
        "_block",
        "_choice",
        "_context",
        "_ended",
        "_finish",
        "_going_on",
        "_index",
        "_notes",
        "_others",
        "_part",
        "_sequencer",
        "_start",
        "_started",
        "_told",
        "_usage",
    )

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self._notes = Diagnostics()
        self._sequencer = Sequencer()
        self._start = ResponseStart()
        self._started = self._ended = False
        self._choice: int | None = None
        self._others: set[int] = set()
        self._part: _Part | None = None
        self._block: str | None = None
        self._index = -1
        self._going_on = -1  # the part of which more needs nothing but a delta
        self._before = b""  # what stands before the text of that
        self._told = Told()
        self._finish = FinishReason("other")
        self._usage: Usage | None = None

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What could not be told."""
        return self._notes.items()

    def feed(self, event: StreamEvent, /) -> Iterable[ServerSentEvent]:
        """The frames one event makes."""
        if self._going_on >= 0:
            if type(event) is TextDelta or type(event) is ReasoningDelta:
                if event.index == self._going_on and event.text:
                    return (self._more(event.text),)
            elif type(event) is ToolInputDelta and event.index == self._going_on and event.fragment and self._part:
                self._part.fragments.append(event.fragment)
                return (self._more(event.fragment),)
        if type(event) is UsageUpdate:  # waits for nothing, and comes with every chunk of some vendors
            return self._tell(event)
        if self._ended or not self._ours(event):
            return ()
        frames: Frames = []
        for told in self._sequencer.feed(event):
            frames += self._tell(told)
        return frames

    def more(self, whole: Delta, texts: list[str], /) -> bytes | None:
        """The frames of many deltas of the part that is going on."""
        if whole.index != self._going_on or self._part is None:
            return None
        if type(whole) is ToolInputDelta:
            self._part.fragments.append(whole.fragment)
        return same_frames(_BEFORE_DELTA + self._before, texts, b"}}\n\n")

    def close(self) -> Iterable[ServerSentEvent]:
        """End of events: a stream that was not ended was cut, and is not made to look whole (T9)."""
        if self._ended:
            return ()
        return self._fault(InvalidUpstreamResponse("the upstream ended its stream early"))

    def _ours(self, event: StreamEvent) -> bool:
        """Whether an event belongs to the one answer that is told: the first that begins."""
        if type(event) is PartStart or type(event) is ChoiceEnd:
            if self._choice is None:
                self._choice = event.choice
            if event.choice == self._choice:
                return True
            other_choice(event.choice, self._notes)
            if type(event) is PartStart:
                self._others.add(event.index)
            return False
        if self._others and isinstance(event, (TextDelta, ReasoningDelta, ToolInputDelta, PartEnd)):
            return event.index not in self._others
        return True

    def _tell(self, event: StreamEvent) -> Frames:
        if type(event) is PartStart:
            return self._start_part(event)
        if type(event) is TextDelta:
            return self._say(event.text)
        if type(event) is PartEnd:
            return self._end_part(event)
        if type(event) is ResponseStart:
            self._start = event
        elif type(event) is ChoiceEnd:
            self._finish = event.finish
        elif type(event) is ResponseEnd:
            return self._end()
        elif type(event) is UsageUpdate:
            self._usage = event.usage
        elif type(event) is ReasoningDelta:
            return self._think(event.text)
        elif type(event) is ToolInputDelta:
            return self._argue(event.fragment)
        elif type(event) is StreamFault:
            return self._fault(event.error)
        else:
            assert_never(event)
        return []

    def _begin(self) -> Frames:
        """`message_start`, once. It waits for the first word: counts that are told early are in it."""
        if self._started:
            return []
        self._started = True
        usage: JSONObject = {
            "input_tokens": 0 if self._usage is None else fresh_tokens(self._usage),
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "output_tokens": 1,
        }
        tier = USAGE_TIERS.get(self._start.service_tier or "")
        if tier is not None:
            usage["service_tier"] = tier
        message = head(self._start.id, self._start.model, self._context)
        message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return [_frame({"type": "message_start", "message": message})]

    def _open(self, block: JSONObject, kind: str) -> Frames:
        frames = self._close()
        self._index += 1
        self._block = kind
        frames.append(_frame({"type": "content_block_start", "index": self._index, "content_block": block}))
        if self._index == 0:
            frames.append(_PING)
        return frames

    def _close(self) -> Frames:
        if self._block is None:
            return []
        self._block = None
        return [_frame({"type": "content_block_stop", "index": self._index})]

    def _delta(self, delta: JSONObject) -> ServerSentEvent:
        return _frame({"type": _DELTA, "index": self._index, "delta": delta})

    def _go_on(self, kind: bytes, name: bytes) -> None:
        """From now on the open block needs no more than deltas, which differ in their text alone."""
        before = b'{"type":"%b","index":%d,"delta":{"type":"%b","%b":'
        self._before = before % (_DELTA.encode(), self._index, kind, name)

    def _more(self, text: str) -> ServerSentEvent:
        return ServerSentEvent(b"%b%b}}" % (self._before, dumps(text)), _DELTA)

    def _start_part(self, event: PartStart) -> Frames:
        part = event.part
        self._part = current = _Part(event.index, part)
        frames = self._begin()
        match part:
            case TextPart() | RefusalPart():
                frames += self._say(part.text)
            case ReasoningPart():
                frames += self._think(part.text)
            case ToolCallPart():
                self._told.called = True
                identifier = call_id(part, self._context)
                block: JSONObject = {"type": "tool_use", "id": identifier, "name": part.name, "input": {}}
                frames += [*self._open(block, "tool_use"), self._delta(_json(""))]
                frames += self._argue(part.arguments)
            case CitationPart():
                frames += self._cite(part, current.path)
            case MediaPart():
                self._told.said = True
                frames += self._show_text(placeholder(part, current.path, self._notes))
            case UnknownPart():
                raw = unknown_block(part, current.path, self._notes)
                if raw is not None:
                    frames += [*self._open(raw, "whole"), *self._close()]
            case _:
                assert_never(part)
        return frames

    def _say(self, text: str) -> Frames:
        current = self._part
        if not text or current is None:
            return []
        if isinstance(current.part, RefusalPart):
            self._told.refusal += text
        else:
            self._told.said = True
        if current.shown:
            return [self._more(text)]
        current.shown = True
        if isinstance(current.part, TextPart):
            self._going_on = current.index
        return self._show_text(text)

    def _show_text(self, text: str) -> Frames:
        frames = self._open(text_block(""), "text")
        self._go_on(b"text_delta", b"text")
        return [*frames, self._more(text)]

    def _think(self, text: str) -> Frames:
        current = self._part
        if not text or current is None or not self._context.include_thoughts:
            return []
        if current.shown:
            return [self._more(text)]
        current.shown = True
        self._going_on = current.index
        frames = self._open_thinking()
        self._go_on(b"thinking_delta", b"thinking")
        return [*frames, self._more(text)]

    def _open_thinking(self) -> Frames:
        return self._open({"type": "thinking", "thinking": "", "signature": ""}, "thinking")

    def _argue(self, fragment: str) -> Frames:
        """Arguments go on as they come once they have begun as an object; others wait, to be made one."""
        current = self._part
        if not fragment or current is None or not isinstance(current.part, ToolCallPart):
            return []
        current.fragments.append(fragment)
        if current.shown:
            return [self._more(fragment)]
        begun = "".join(current.fragments)
        if current.part.kind == "custom" or not begun.lstrip().startswith("{"):
            return []
        current.shown = True
        self._going_on = current.index
        self._go_on(b"input_json_delta", b"partial_json")
        return [self._more(begun)]

    def _cite(self, part: CitationPart, path: str) -> Frames:
        citation = citation_of(part, path, self._notes, text_before=self._block == "text")
        return [] if citation is None else [self._delta({"type": "citations_delta", "citation": citation})]

    def _end_part(self, event: PartEnd) -> Frames:
        current = self._part
        self._part = None
        self._going_on = -1
        if current is None:
            return []
        match current.part:
            case ReasoningPart():
                return self._end_reasoning(current, event.opaque or current.part.opaque)
            case ToolCallPart():
                lost_signature(event.opaque or current.part.signature, current.path, self._notes)
                return self._end_call(current, current.part)
            case TextPart() | MediaPart() as part:
                state = event.opaque or part.signature
                if state is not None:
                    lost_signature(state, current.path, self._notes)
            case _:
                pass
        return []

    def _end_reasoning(self, current: _Part, opaque: Opaque | None) -> Frames:
        """A signature comes last, and every thought has one, if only an empty one (R9)."""
        redacted = redacted_of(opaque)
        signature = "" if redacted is not None else signature_of(opaque, current.path, self._notes)
        frames: Frames = []
        if signature and not current.shown:
            frames += self._open_thinking()
            current.shown = True
        if current.shown:
            frames += [self._delta({"type": "signature_delta", "signature": signature}), *self._close()]
        if redacted is not None:
            frames += [*self._open(redacted, "whole"), *self._close()]
        return frames

    def _end_call(self, current: _Part, part: ToolCallPart) -> Frames:
        arguments = "".join(current.fragments)
        given = call_input(part, arguments, current.path, self._notes)
        self._told.broken = self._told.broken or not given.whole
        frames: Frames = []
        if not current.shown and given.value:
            frames.append(self._delta(_json(dumps_text(given.value))))
        return [*frames, *self._close()]

    def _end(self) -> Frames:
        self._ended = True
        usage = encode_usage(self._usage, None, self._notes)
        ending = encode_ending(self._finish, self._told, self._notes)
        last: JSONObject = {"type": "message_delta", "delta": ending, "usage": usage}
        return [*self._begin(), *self._close(), _frame(last), _STOP]

    def _fault(self, error: GatewayError) -> Frames:
        self._ended = True
        self._going_on = -1
        return [encode_stream_error(error)]


def _json(fragment: str) -> JSONObject:
    return {"type": "input_json_delta", "partial_json": fragment}


def _frame(event: JSONObject) -> ServerSentEvent:
    return ServerSentEvent(dumps(event), str(event["type"]))
