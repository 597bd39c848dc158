"""Events in, events of a Responses stream out.

The output is a row of items, one open at a time. An item is done when the next one begins or the answer ends, because
only then is it known whether it was cut; so the words of an answer make one message, however many parts they came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, assert_never

from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import (
    Base64Source,
    ChatResponse,
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
    explode,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_str, dumps
from asgi_llmgw.protocols.base import Diagnostics, EncodedResponse, StreamContext
from asgi_llmgw.sse import ServerSentEvent, without_separators

from .echo import response_object
from .errors import error_event, response_error
from .items import CallItem, Event, GrowingItem, MessageItem, OutputItem, ReasoningItem, WholeItem
from .tools import namespaces
from .usage import encode_usage
from .wire import NAME, PHASES, finish_out

_EMPTY_DELTA: Final = b'"delta":""'
_NUMBER: Final = b'{"sequence_number":'


class ResponseTeller:
    """Makes the bodies of the events, and with them the response object, in `response`.

    `flowing` is the part, and its item, of which nothing but more deltas are expected.
    """

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self.diagnostics = Diagnostics()
        self.response: JSONObject = {}
        self.ended = False
        self.flowing: tuple[int, GrowingItem] | None = None
        self._namespaces = namespaces(context.request)
        self._sequencer = Sequencer()
        self._choice: int | None = None
        self._elsewhere: set[int] = set()
        self._output: list[JSONValue] = []
        self._item: OutputItem | None = None
        self._part: OutputPart | None = None
        self._thought: ReasoningItem | None = None
        self._said = 0
        self._refused = False
        self._finish = FinishReason("other")
        self._usage: Usage | None = None

    @property
    def place(self) -> int:
        """The place of the open item in the output."""
        return len(self._output)

    def feed(self, event: StreamEvent) -> Iterator[Event]:
        """What one event makes known."""
        if self.ended or not self._concerns(event):
            return
        for ready in self._sequencer.feed(event):
            yield from self._tell(ready)

    def _concerns(self, event: StreamEvent) -> bool:
        """There is one choice here; the first is it."""
        if type(event) is PartStart or type(event) is ChoiceEnd:
            if self._choice is None:
                self._choice = event.choice
            if event.choice == self._choice:
                return True
            if type(event) is PartStart:
                self._elsewhere.add(event.index)
            self.diagnostics.dropped(f"choices[{event.choice}]", "Responses has one choice only")
            return False
        if self._elsewhere and isinstance(event, (TextDelta, ReasoningDelta, ToolInputDelta, PartEnd)):
            return event.index not in self._elsewhere
        return True

    def _tell(self, event: StreamEvent) -> Iterable[Event]:
        if type(event) is TextDelta:
            return self._text(event)
        if type(event) is UsageUpdate:
            self.count(event.usage)
            return ()
        if type(event) is ToolInputDelta:
            return self._arguments(event.fragment, event.index)
        if type(event) is ReasoningDelta:
            return self._reasoning(event.text, event.index)
        if type(event) is PartStart:
            return self._begin(event.index, event.part)
        if type(event) is PartEnd:
            return self._end_part(event.opaque)
        if type(event) is ChoiceEnd:
            return self._end_choice(event.finish)
        if type(event) is ResponseStart:
            return self._start(event)
        if type(event) is ResponseEnd:
            return self._end()
        if type(event) is StreamFault:
            return self.fail(event.error)
        assert_never(event)

    def count(self, usage: Usage) -> None:
        """The tokens so far."""
        self._usage = usage

    def _start(self, start: ResponseStart) -> Iterator[Event]:
        self.response = response_object(start, self._context)
        yield {"type": "response.created", "response": self.response}
        yield {"type": "response.in_progress", "response": self.response}

    def _placed(self, item: OutputItem, events: Iterable[Event]) -> Iterator[Event]:
        place = len(self._output)
        for event in events:
            kind = event.pop("type")
            yield {"type": kind, "item_id": item.id, "output_index": place, **event}

    def _open(self, item: OutputItem) -> Iterator[Event]:
        """A new item, behind the one before it."""
        yield from self._done("completed")
        self._item = item
        yield {
            "type": "response.output_item.added",
            "output_index": len(self._output),
            "item": item.item("in_progress"),
        }

    def _done(self, status: str) -> Iterator[Event]:
        item = self._item
        if item is None:
            return
        yield from self._placed(item, item.close())
        final = item.item(status)
        yield {"type": "response.output_item.done", "output_index": len(self._output), "item": final}
        self._output.append(final)
        if isinstance(item, MessageItem):
            self._said += item.length
        self._item = None

    def _begin(self, index: int, part: OutputPart) -> Iterator[Event]:
        self._part, self._thought = part, None
        match part:
            case TextPart() | RefusalPart():
                if part.text:
                    yield from self._words(part.text, None)
            case ReasoningPart():
                yield from self._reasoning(part.text, index)
            case ToolCallPart():
                yield from self._call(index, part)
            case CitationPart():
                yield from self._cite(index, part)
            case MediaPart():
                yield from self._media(index, part)
            case UnknownPart():
                if part.protocol == NAME and as_str(part.raw.get("id")) and as_str(part.raw.get("type")):
                    yield from self._open(WholeItem(part.raw))
                else:
                    self.diagnostics.dropped(f"parts[{index}]", f"{part.protocol} {part.kind}".strip())
            case _:
                assert_never(part)

    def _text(self, event: TextDelta) -> Iterator[Event]:
        if event.text or event.logprobs:
            yield from self._words(event.text, event)
            if self.flowing is None and isinstance(self._item, MessageItem):
                self.flowing = event.index, self._item

    def _words(self, text: str, event: TextDelta | None) -> Iterator[Event]:
        part = self._part
        phase = part.phase if isinstance(part, TextPart) and part.phase in PHASES else None
        item = self._item
        if not isinstance(item, MessageItem) or (isinstance(part, TextPart) and item.phase != phase):
            item = MessageItem(self._context.new_id("msg_"), phase)
            yield from self._open(item)
        refusal = isinstance(part, RefusalPart)
        self._refused = self._refused or refusal
        yield from self._placed(item, item.begin("refusal" if refusal else "output_text"))
        yield from self._placed(item, item.text(text, event.logprobs if event is not None else None))

    def _think(self) -> Iterator[Event]:
        """Each part is an item of its own; it opens when there is something to tell."""
        part = self._part
        if self._thought is None:
            opaque = part.opaque if isinstance(part, ReasoningPart) else None
            known = opaque.id if opaque is not None and opaque.protocol == NAME else None
            self._thought = ReasoningItem(known or self._context.new_id("rs_"))
            yield from self._open(self._thought)

    def _reasoning(self, text: str, index: int) -> Iterator[Event]:
        if not text or not self._context.include_thoughts:
            return
        yield from self._think()
        if self._thought is not None:
            yield from self._placed(self._thought, self._thought.text(text))
            self.flowing = index, self._thought

    def _call(self, index: int, part: ToolCallPart) -> Iterator[Event]:
        call_id = part.id or self._context.new_id("call_")
        kind = "ctc_" if part.kind == "custom" else "fc_"
        item = CallItem(self._context.new_id(kind), part, call_id, self._namespaces.get(part.name))
        yield from self._open(item)
        yield from self._arguments(part.arguments, index)

    def _arguments(self, fragment: str, index: int) -> Iterator[Event]:
        item = self._item
        if fragment and isinstance(item, CallItem):
            yield from self._placed(item, item.text(fragment))
            self.flowing = index, item

    def _cite(self, index: int, part: CitationPart) -> Iterator[Event]:
        item = self._item
        if isinstance(item, MessageItem) and item.has_text and (part.url is not None or part.protocol == NAME):
            yield from self._placed(item, item.cite(part, self._said))
        else:
            self.diagnostics.dropped(f"parts[{index}]", "a citation of no text, or without an address")

    def _media(self, index: int, part: MediaPart) -> Iterator[Event]:
        if part.kind != "image" or not isinstance(part.source, Base64Source):
            self.diagnostics.dropped(f"parts[{index}]", f"{part.kind} output")
            return
        picture: JSONObject = {
            "type": "image_generation_call",
            "id": self._context.new_id("ig_"),
            "status": "completed",
            "result": part.source.data,
        }
        if part.media_type is not None:
            picture["output_format"] = part.media_type.partition("/")[2]
        yield from self._open(WholeItem(picture))

    def _end_part(self, opaque: Opaque | None) -> Iterator[Event]:
        part, item = self._part, self._item
        self.flowing = None
        match part:
            case ReasoningPart():
                proof = opaque or part.opaque
                if proof is not None and proof.protocol != NAME:
                    self._lost(proof)
                elif proof is not None:
                    yield from self._think()
                    if self._thought is not None:
                        self._thought.prove(proof)
            case ToolCallPart():
                if isinstance(item, CallItem):
                    yield from self._placed(item, item.close())
                self._lost(opaque or part.signature)
            case TextPart():
                self._lost(opaque or part.signature)
            case _:
                pass

    def _lost(self, opaque: Opaque | None) -> None:
        if opaque is not None:
            self.diagnostics.dropped("encrypted_content", f"state of {opaque.protocol}", info=True)

    def _end_choice(self, finish: FinishReason) -> Iterator[Event]:
        self._finish = finish
        if finish.kind == "content_filter" and finish.detail and not self._refused:
            self._part = RefusalPart("")
            yield from self._words(finish.detail, None)
        yield from self._done("completed" if finish.kind in ("stop", "tool_calls", "other") else "incomplete")
        if finish.kind == "other":
            self.diagnostics.approximated("status", finish.raw or finish.kind)

    def _end(self) -> Iterator[Event]:
        finish = self._finish
        if finish.kind == "error":
            message = finish.detail or "The model ended its answer with an error."
            yield from self.fail(UpstreamError(message, failure="transient", kind="server_error"))
            return
        self.ended = True
        status, reason = finish_out(finish)
        self.response |= {"status": status, "output": self._output}
        self.response["usage"] = encode_usage(self._usage, self.diagnostics)
        if reason is None:
            self.response["completed_at"] = int(self._context.clock())
        else:
            self.response["incomplete_details"] = {"reason": reason}
        yield {"type": f"response.{status}", "response": self.response}

    def fail(self, error: GatewayError) -> Iterator[Event]:
        """The answer broke. A call that is not complete is not told again, or a client might run it."""
        self.ended = True
        self.flowing = None
        if not self.response:
            self.response = response_object(ResponseStart(), self._context)
        if isinstance(self._item, (MessageItem, ReasoningItem)):
            if isinstance(self._item, MessageItem):
                self._item.abandon()
            self._output.append(self._item.item("incomplete"))
        self.response |= {"status": "failed", "error": response_error(error), "output": self._output}
        if self._usage is not None:
            self.response["usage"] = encode_usage(self._usage, self.diagnostics)
        yield error_event(error)
        yield {"type": "response.failed", "response": self.response}


class _Flow:
    """The short way for what nearly all frames are: one more delta of the part that the last one belonged to.

    `opening` and `closing` are what stands around its text, `kind` is the name of the event; `before` is what its
    frames begin with on the wire, up to their number.
    """

    __slots__ = ("before", "closing", "index", "kind", "opening", "words")

    def __init__(self, index: int, item: GrowingItem, place: int) -> None:
        self.index = index
        self.words = item.words
        delta = item.delta
        self.kind = as_str(delta.pop("type")) or ""
        common = dumps({"type": self.kind, "item_id": item.id, "output_index": place, **delta})
        # what is inside a string has its quotes escaped, so this is found once
        before, _, self.closing = common.partition(_EMPTY_DELTA)
        self.opening = b',%b"delta":' % before[1:]
        self.before = b"event: %b\ndata: %b" % (self.kind.encode(), _NUMBER)


class ResponsesStreamEncoder:
    """Events of one stream in, frames for the client out."""

    __slots__ = ("_flow", "_flowing", "_number", "_teller")

    def __init__(self, context: StreamContext) -> None:
        self._teller = ResponseTeller(context)
        self._number = 0
        self._flowing: tuple[int, GrowingItem] | None = None
        self._flow: _Flow | None = None

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What could not be told."""
        return self._teller.diagnostics.items()

    def feed(self, event: StreamEvent, /) -> Iterable[ServerSentEvent]:
        """The frames one event makes."""
        flow = self._flow
        if flow is not None:
            text = ""
            if type(event) is TextDelta:
                text = event.text if event.index == flow.index and event.logprobs is None else ""
            elif type(event) is ReasoningDelta:
                text = event.text if event.index == flow.index else ""
            elif type(event) is ToolInputDelta:
                text = event.fragment if event.index == flow.index else ""
            elif type(event) is UsageUpdate:
                self._teller.count(event.usage)
                return ()
            if text:
                flow.words.append(text)
                data = b"%b%d%b%b%b" % (_NUMBER, self._number, flow.opening, dumps(text), flow.closing)
                self._number += 1
                return (ServerSentEvent(data, flow.kind),)
        frames = self._frames(self._teller.feed(event))
        if self._flowing is not self._teller.flowing:
            self._flowing = self._teller.flowing
            self._flow = None if self._flowing is None else _Flow(*self._flowing, self._teller.place)
        return frames

    def more(self, whole: Delta, texts: list[str], /) -> bytes | None:
        """The frames of many deltas of the part that the last one belonged to."""
        flow = self._flow
        if flow is None or flow.index != whole.index:
            return None
        flow.words += texts
        before, opening, closing = flow.before, flow.opening, flow.closing + b"\n\n"
        numbered = enumerate(texts, self._number)
        frames = b"".join([b"%b%d%b%b%b" % (before, n, opening, dumps(text), closing) for n, text in numbered])
        self._number += len(texts)
        return frames if frames.isascii() else without_separators(frames)

    def close(self) -> Iterable[ServerSentEvent]:
        """End of events: a stream that was not ended was cut, and is not made to look whole."""
        self._flow = None
        if self._teller.ended:
            return []
        return self._frames(self._teller.fail(InvalidUpstreamResponse("the upstream ended its stream early")))

    def _frames(self, events: Iterable[Event]) -> list[ServerSentEvent]:
        frames: list[ServerSentEvent] = []
        for event in events:
            kind = as_str(event["type"]) or ""
            # written at once: the response object in it goes on changing
            frames.append(ServerSentEvent(dumps({"sequence_number": self._number, **event}), kind))
            self._number += 1
        return frames


def encode_response(response: ChatResponse, context: StreamContext) -> EncodedResponse:
    """A whole answer: what a stream of it would have ended with."""
    teller = ResponseTeller(context)
    for event in explode(response):
        for _ in teller.feed(event):
            pass
    return EncodedResponse(dumps(teller.response), teller.diagnostics.items())
