"""Events in, chunks for a Gemini client out.

Each chunk is a whole response object with what is new. There are no event names, no comments and no last frame: the
vendor's SDKs fail on every one of them. Calls are told whole, and the reasons come together in the last chunk, when the
final usage is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, assert_never

import msgspec

from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse
from asgi_llmgw.ir import (
    ChoiceEnd,
    CitationPart,
    Delta,
    Diagnostic,
    FinishReason,
    MediaPart,
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
)
from asgi_llmgw.ir.events import UsageUpdate
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.protocols.base import Diagnostics, StreamContext, same_frames
from asgi_llmgw.sse import ServerSentEvent

from .answer_parts import SIGNATURE, Carried, call_part, logprobs_result, media_part, shows_thoughts, sign, unknown_part
from .errors import encode_stream_error
from .grounding_encoder import encode_citations
from .response_encoder import encode_usage, finish_members, prompt_feedback, time_of

_HEAD: Final = b'{"candidates":[{"content":{"role":"model","parts":['
_TEXT: Final = _HEAD + b'{"text":'
_TEXT_FRAME: Final = b"data: " + _TEXT
_THOUGHT: Final = b',"thought":true'


class _Candidate:
    """One candidate so far; its parts are told one after the other."""

    __slots__ = (
        "carried",
        "citations",
        "end",
        "finish",
        "index",
        "malformed",
        "part",
        "pieces",
        "said",
        "sequencer",
        "telling",
        "text_end",
        "texts",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.end = b']},"index":%d}]' % index
        self.text_end = b"}" + self.end
        self.telling = -1
        self.sequencer = Sequencer()
        self.carried = Carried()
        self.part: OutputPart | None = None
        self.pieces: list[str] = []
        self.texts: list[str] = []
        self.citations: list[CitationPart] = []
        self.finish: FinishReason | None = None
        self.said = self.malformed = False

    @property
    def path(self) -> str:
        return f"candidates[{self.index}]"


class GeminiStreamEncoder:
    """Events of one stream in, frames for the client out."""

    __slots__ = ("_candidates", "_context", "_ended", "_lost", "_owners", "_shown", "_tail", "_told", "_usage")

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self._shown = shows_thoughts(context)
        self._lost = Diagnostics()
        self._candidates: dict[int, _Candidate] = {}
        self._owners: dict[int, _Candidate] = {}
        self._usage: Usage | None = None
        self._told = b"}"
        self._tail = b"}"
        self._ended = False

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What could not be told."""
        return self._lost.items()

    def feed(self, event: StreamEvent, /) -> Iterable[ServerSentEvent]:
        """The frames one event makes."""
        if self._ended:
            return ()
        if type(event) is TextDelta or type(event) is ReasoningDelta or type(event) is ToolInputDelta:
            candidate = self._owners.get(event.index)
            if candidate is None:
                return ()
            quick = self._more(candidate, event) if candidate.telling == event.index else None
            return self._in_order(candidate, event) if quick is None else quick
        if type(event) is UsageUpdate:
            self._count(event.usage)
            return ()
        if type(event) is PartEnd:
            candidate = self._owners.get(event.index)
            return () if candidate is None else self._in_order(candidate, event)
        if type(event) is PartStart:
            candidate = self._owners[event.index] = self._candidate(event.choice)
            candidate.said = True
            return self._in_order(candidate, event)
        if type(event) is ChoiceEnd:
            return self._in_order(self._candidate(event.choice), event)
        if type(event) is ResponseStart:
            self._begin(event)
            return ()
        if type(event) is ResponseEnd:
            return self._end()
        if type(event) is StreamFault:
            return self._fault(event.error)
        assert_never(event)

    def _more(self, candidate: _Candidate, event: Delta) -> tuple[ServerSentEvent, ...] | None:
        """More of the part that is being told, which is what nearly all events of a stream are; None for a text that
        brings more than itself."""
        if type(event) is ToolInputDelta:
            candidate.pieces.append(event.fragment)
            return ()
        if type(event) is TextDelta:
            if event.logprobs is not None or not event.text or candidate.carried:
                return None
            candidate.texts.append(event.text)
            return (ServerSentEvent(_TEXT + dumps(event.text) + candidate.text_end + self._tail),)
        candidate.pieces.append(event.text)
        if not event.text or not self._shown:
            return ()
        return (ServerSentEvent(_TEXT + dumps(event.text) + _THOUGHT + candidate.text_end + self._tail),)

    def more(self, whole: Delta, texts: list[str], /) -> bytes | None:
        """The frames of many deltas of the part that is being told."""
        candidate = self._owners.get(whole.index)
        if candidate is None or candidate.telling != whole.index or candidate.carried or self._ended:
            return None
        after = candidate.text_end + self._tail + b"\r\n\r\n"
        if type(whole) is TextDelta:
            candidate.texts.append(whole.text)
            return same_frames(_TEXT_FRAME, texts, after)
        if type(whole) is ToolInputDelta:
            candidate.pieces.append(whole.fragment)
            return b""
        candidate.pieces.append(whole.text)
        return same_frames(_TEXT_FRAME, texts, _THOUGHT + after) if self._shown else b""

    def close(self) -> Iterable[ServerSentEvent]:
        """End of events: a stream that was not ended was cut, and is not made to look whole."""
        if self._ended:
            return ()
        return self._fault(InvalidUpstreamResponse("the upstream ended its stream early"))

    def _candidate(self, index: int) -> _Candidate:
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate(index)
        return candidate

    def _begin(self, start: ResponseStart) -> None:
        names: JSONObject = {
            "modelVersion": self._context.model if self._context.model is not None else start.model,
            "responseId": start.id or self._context.new_id(""),
        }
        created = None if start.created is None else time_of(start.created)
        if created is not None:
            names["createTime"] = created
        self._told = self._tail = b"," + dumps(names)[1:]

    def _count(self, usage: Usage) -> None:
        self._usage = usage
        metadata = encode_usage(usage, self._lost)
        self._tail = self._told if metadata is None else b',"usageMetadata":%b%b' % (dumps(metadata), self._told)

    def _in_order(self, candidate: _Candidate, event: StreamEvent) -> Iterator[ServerSentEvent]:
        for told in candidate.sequencer.feed(event):
            if type(told) is TextDelta:
                yield from self._text(candidate, told)
            elif type(told) is PartStart:
                candidate.telling = told.index
                yield from self._start_part(candidate, told.part)
            elif type(told) is PartEnd:
                candidate.telling = -1
                yield from self._end_part(candidate, told)
            elif type(told) is ReasoningDelta:
                yield from self._thought(candidate, told.text)
            elif type(told) is ToolInputDelta:
                candidate.pieces.append(told.fragment)
            elif type(told) is ChoiceEnd:
                candidate.finish = told.finish

    def _chunk(self, candidate: _Candidate, part: JSONObject) -> ServerSentEvent:
        return ServerSentEvent(_HEAD + dumps(part) + candidate.end + self._tail)

    def _text(self, candidate: _Candidate, delta: TextDelta) -> Iterator[ServerSentEvent]:
        if not delta.text and delta.logprobs is None:
            return
        candidate.texts.append(delta.text)
        part: JSONObject = {"text": delta.text}
        if delta.text:
            part = candidate.carried.load(part)
        end = candidate.end
        if delta.logprobs is not None:
            end = b'%b,"logprobsResult":%b}]' % (end[:-2], dumps(logprobs_result(delta.logprobs)))
        yield ServerSentEvent(_HEAD + dumps(part) + end + self._tail)

    def _thought(self, candidate: _Candidate, text: str) -> Iterator[ServerSentEvent]:
        candidate.pieces.append(text)
        if text and self._shown:
            yield self._chunk(candidate, {"text": text, "thought": True})

    def _start_part(self, candidate: _Candidate, part: OutputPart) -> Iterator[ServerSentEvent]:
        candidate.part = part
        candidate.pieces = []
        match part:
            case TextPart() | RefusalPart():
                yield from self._text(candidate, TextDelta(0, part.text))
            case ReasoningPart():
                yield from self._thought(candidate, part.text)
            case ToolCallPart():
                candidate.pieces.append(part.arguments)
            case UnknownPart():
                encoded = unknown_part(part, candidate.path, self._lost)
                if encoded is not None:
                    yield self._chunk(candidate, candidate.carried.load(encoded))
            case CitationPart():
                candidate.citations.append(part)
            case MediaPart():
                pass
            case _:
                assert_never(part)

    def _end_part(self, candidate: _Candidate, end: PartEnd) -> Iterator[ServerSentEvent]:
        self._owners.pop(end.index, None)
        part, candidate.part = candidate.part, None
        match part:
            case TextPart():
                signed = sign({"text": ""}, end.opaque or part.signature)
                if SIGNATURE in signed:
                    yield self._chunk(candidate, signed)
            case ReasoningPart():
                thought = ReasoningPart("".join(candidate.pieces), end.opaque or part.opaque)
                candidate.carried.add(thought)
                shown = bool(thought.text) and self._shown
                signed = sign({"text": "", "thought": True} if shown else {"text": ""}, thought.opaque)
                if SIGNATURE in signed:
                    yield self._chunk(candidate, signed)
            case ToolCallPart():
                arguments = "".join(candidate.pieces)
                whole = msgspec.structs.replace(part, arguments=arguments, signature=end.opaque or part.signature)
                call = call_part(whole, candidate.path, self._context, self._lost)
                if call is None:
                    candidate.malformed = True
                else:
                    yield self._chunk(candidate, candidate.carried.load(call))
            case MediaPart():
                whole_media = msgspec.structs.replace(part, signature=end.opaque or part.signature)
                media = media_part(whole_media, candidate.path, self._lost)
                if media is not None:
                    yield self._chunk(candidate, candidate.carried.load(media))
            case _:
                pass

    def _end(self) -> Iterable[ServerSentEvent]:
        self._ended = True
        candidates = list(self._candidates.values())
        tokens = self._usage.output_tokens if self._usage is not None else None
        if len(candidates) == 1 and not candidates[0].said and not tokens:
            finish = candidates[0].finish
            if finish is not None and finish.kind == "content_filter":
                return (ServerSentEvent(b'{"promptFeedback":%b%b' % (dumps(prompt_feedback(finish)), self._tail)),)
        last = dumps([self._last(candidate) for candidate in candidates])
        return (ServerSentEvent(b'{"candidates":%b%b' % (last, self._tail)),)

    def _last(self, candidate: _Candidate) -> JSONObject:
        """The candidate in the last chunk; SDKs drop a turn from their history if one of its chunks has no part."""
        finish = candidate.finish or FinishReason("other")
        last: JSONObject = {"content": {"role": "model", "parts": [candidate.carried.load({"text": ""})]}}
        last |= finish_members(finish, malformed=candidate.malformed, path=candidate.path, lost=self._lost)
        last["index"] = candidate.index
        last |= encode_citations(candidate.citations, "".join(candidate.texts), candidate.path, self._lost)
        return last

    def _fault(self, error: GatewayError) -> Iterable[ServerSentEvent]:
        self._ended = True
        return (encode_stream_error(error),)
