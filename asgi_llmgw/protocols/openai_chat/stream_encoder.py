"""Events in, Chat Completions chunks out.

The SDKs' stream helpers add the chunks up key by key: role, ids and names are sent once, lists carry an `index` on each
entry or come in one chunk only, calls are numbered 0, 1, 2 within their choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from asgi_llmgw.errors import GatewayError, InvalidUpstreamResponse
from asgi_llmgw.ir import (
    Base64Source,
    ChoiceEnd,
    CitationPart,
    Delta,
    Diagnostic,
    MediaPart,
    Opaque,
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
    Usage,
    UsageUpdate,
)
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.base import Diagnostics, StreamContext, same_frames
from asgi_llmgw.protocols.openai.errors import encode_stream_error
from asgi_llmgw.protocols.openai.words import SERVICE_TIERS
from asgi_llmgw.sse import ServerSentEvent

from .carriers import detail_entries, google_extra
from .response import encode_audio, encode_citation, encode_image
from .usage import encode_logprobs, encode_usage
from .wire import finish_out

_DONE: Final = ServerSentEvent(b"[DONE]")
_NO_FINISH: Final = b',"logprobs":null,"finish_reason":null}]'


class _Choice:
    """What was said in one choice so far."""

    __slots__ = ("audio", "calls", "delta", "details", "images", "notes", "refused", "signature")

    def __init__(self, opening: bytes, number: int) -> None:
        self.delta = b'%b{"index":%d,"delta":' % (opening, number)
        self.calls = 0
        self.details = 0
        self.images = 0
        self.audio = False
        self.refused = False
        self.notes: list[JSONValue] = []
        self.signature: JSONObject | None = None


class _Part:
    """An open part. Its deltas differ in their text alone: `before` and `after` are what stands around it, `around` is
    the same on the wire."""

    __slots__ = ("after", "around", "before", "call", "choice", "part", "said", "signed", "text")

    def __init__(self, part: TextPart | RefusalPart | ReasoningPart | ToolCallPart, choice: _Choice) -> None:
        self.part = part
        self.choice = choice
        self.before = self.after = b""
        self.around = b"", b""
        self.call = -1
        self.said = False
        self.signed = False
        self.text: list[str] = []

    def delta(self, text: str) -> tuple[ServerSentEvent]:
        """More of its text."""
        return (ServerSentEvent(b"%b%b%b" % (self.before, dumps(text), self.after)),)


class ChatStreamEncoder:
    """Events of one stream in, frames for the client out."""

    __slots__ = (
        "_choices",
        "_closing",
        "_context",
        "_diagnostics",
        "_ended",
        "_legacy",
        "_opening",
        "_parts",
        "_usage",
    )

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self._diagnostics = Diagnostics()
        self._choices: dict[int, _Choice] = {}
        self._parts: dict[int, _Part] = {}
        self._usage: Usage | None = None
        self._legacy = self._ended = False
        self._closing = b',"usage":null}' if context.include_usage else b"}"
        self._opening = b""

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What could not be told."""
        return self._diagnostics.items()

    def feed(self, event: StreamEvent, /) -> Iterable[ServerSentEvent]:
        """The frames one event makes."""
        if self._ended:
            return ()
        if type(event) is TextDelta:
            return self._text(event)
        if type(event) is UsageUpdate:
            self._usage = event.usage
            return ()
        if type(event) is PartStart:
            return self._start_part(event)
        if type(event) is PartEnd:
            return self._end_part(event)
        if type(event) is ToolInputDelta:
            return self._arguments(self._parts.get(event.index), event.fragment)
        if type(event) is ReasoningDelta:
            return self._reasoning(self._parts.get(event.index), event.text)
        if type(event) is ResponseStart:
            self._begin(event)
            return ()
        if type(event) is ChoiceEnd:
            return self._end_choice(event)
        if type(event) is ResponseEnd:
            return self._end()
        if type(event) is StreamFault:
            return self._fault(event.error)
        assert_never(event)

    def more(self, whole: Delta, texts: list[str], /) -> bytes | None:
        """The frames of many deltas of one part."""
        part = self._parts.get(whole.index)
        if part is None or self._ended or (type(whole) is ToolInputDelta and part.call < 0):
            return None
        if type(whole) is ReasoningDelta:
            if not self._context.include_thoughts:
                return b""
            part.text.append(whole.text)
        before, after = part.around
        return same_frames(before, texts, after)

    def close(self) -> Iterable[ServerSentEvent]:
        """End of events: a stream that was not ended was cut, and is not made to look whole."""
        if self._ended:
            return ()
        return self._fault(InvalidUpstreamResponse("the upstream ended its stream early"))

    def _begin(self, start: ResponseStart) -> None:
        self._legacy = start.legacy_functions
        head: JSONObject = {
            "id": start.id or self._context.new_id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": start.created if start.created is not None else int(self._context.clock()),
            "model": self._context.model if self._context.model is not None else start.model,
        }
        tier = SERVICE_TIERS.get(start.service_tier or "")
        if tier is not None:
            head["service_tier"] = tier
        if start.system_fingerprint is not None:
            head["system_fingerprint"] = start.system_fingerprint
        self._opening = dumps(head)[:-1] + b',"choices":['

    def _delta(self, choice: _Choice, delta: JSONObject, logprobs: JSONObject | None = None) -> ServerSentEvent:
        if logprobs is None:
            return ServerSentEvent(choice.delta + dumps(delta) + _NO_FINISH + self._closing)
        end = b',"logprobs":%b,"finish_reason":null}]' % dumps(logprobs)
        return ServerSentEvent(choice.delta + dumps(delta) + end + self._closing)

    def _text(self, event: TextDelta) -> Iterable[ServerSentEvent]:
        part = self._parts.get(event.index)
        if part is None:
            return ()
        if event.logprobs is None:
            return part.delta(event.text)
        refusal = isinstance(part.part, RefusalPart)
        logprobs = encode_logprobs(event.logprobs, refusal=refusal)
        return (self._delta(part.choice, {"refusal" if refusal else "content": event.text}, logprobs),)

    def _reasoning(self, part: _Part | None, text: str) -> Iterable[ServerSentEvent]:
        if part is None or not text or not self._context.include_thoughts:
            return ()
        part.text.append(text)
        return part.delta(text)

    def _arguments(self, part: _Part | None, fragment: str) -> Iterable[ServerSentEvent]:
        if part is None or not fragment or part.call < 0:
            return ()
        part.said = True
        return part.delta(fragment)

    def _open_part(
        self,
        index: int,
        part: TextPart | RefusalPart | ReasoningPart | ToolCallPart,
        choice: _Choice,
        before: bytes,
        after: bytes = b"}",
    ) -> _Part:
        """The part with what stands around the text in its deltas."""
        opened = self._parts[index] = _Part(part, choice)
        opened.before = choice.delta + before
        opened.after = after + _NO_FINISH + self._closing
        opened.around = b"data: " + opened.before, opened.after + b"\n\n"
        return opened

    def _open_choice(self, number: int, *, call_first: bool) -> tuple[_Choice, list[ServerSentEvent]]:
        """The choice, and the chunk with the role when this is its first word."""
        choice = self._choices.get(number)
        if choice is not None:
            return choice, []
        choice = self._choices[number] = _Choice(self._opening, number)
        role: JSONObject = {"role": "assistant", "content": None if call_first else "", "refusal": None}
        return choice, [self._delta(choice, role)]

    def _start_part(self, event: PartStart) -> Iterable[ServerSentEvent]:
        part = event.part
        choice, frames = self._open_choice(event.choice, call_first=isinstance(part, ToolCallPart))
        match part:
            case TextPart():
                opened = self._open_part(event.index, part, choice, b'{"content":')
                frames += opened.delta(part.text) if part.text else ()
            case RefusalPart():
                choice.refused = True
                opened = self._open_part(event.index, part, choice, b'{"refusal":')
                frames += opened.delta(part.text) if part.text else ()
            case ReasoningPart():
                opened = self._open_part(event.index, part, choice, b'{"reasoning_content":')
                frames += self._reasoning(opened, part.text)
            case ToolCallPart():
                frames += self._start_call(event.index, part, choice)
            case CitationPart():
                note = encode_citation(part)
                if note is None:
                    self._diagnostics.dropped(f"parts[{event.index}]", "a citation without an address")
                else:
                    choice.notes.append(note)
            case MediaPart():
                frames += self._media(event.index, part, choice)
            case UnknownPart():
                self._diagnostics.dropped(f"parts[{event.index}]", f"{part.protocol} {part.kind}".strip())
            case _:
                assert_never(part)
        return frames

    def _start_call(self, index: int, part: ToolCallPart, choice: _Choice) -> Iterable[ServerSentEvent]:
        if self._legacy:
            opened = self._open_part(index, part, choice, b'{"function_call":{"arguments":', b"}}")
            if choice.calls:
                self._diagnostics.dropped(f"parts[{index}]", "the functions form has one call only")
                return []
            opened.call, choice.calls = 0, 1
            frames = [self._delta(choice, {"function_call": {"name": part.name, "arguments": ""}})]
        else:
            text = b'"custom":{"input":' if part.kind == "custom" else b'"function":{"arguments":'
            before = b'{"tool_calls":[{"index":%d,%b' % (choice.calls, text)
            opened = self._open_part(index, part, choice, before, b"}}]}")
            opened.call = choice.calls
            choice.calls += 1
            call: JSONObject = {"index": opened.call, "id": part.id or self._context.new_id("call_")}
            if part.kind == "custom":
                call |= {"type": "custom", "custom": {"name": part.name, "input": ""}}
            else:
                call |= {"type": "function", "function": {"name": part.name, "arguments": ""}}
            extra = google_extra(part.signature)
            if extra is not None:
                call["extra_content"] = extra
                opened.signed = True
            frames = [self._delta(choice, {"tool_calls": [call]})]
        return [*frames, *self._arguments(opened, part.arguments)]

    def _media(self, index: int, part: MediaPart, choice: _Choice) -> Iterable[ServerSentEvent]:
        if part.kind == "image" and (image := encode_image(part, choice.images)) is not None:
            choice.images += 1
            return [self._delta(choice, {"images": [image]})]
        if part.kind == "audio" and not choice.audio and isinstance(part.source, Base64Source):
            choice.audio = True
            return [self._delta(choice, {"audio": encode_audio(part, part.source, self._context)})]
        self._diagnostics.dropped(f"parts[{index}]", f"{part.kind} output")
        return []

    def _end_part(self, event: PartEnd) -> Iterable[ServerSentEvent]:
        opened = self._parts.pop(event.index, None)
        if opened is None:
            return ()
        match opened.part:
            case ToolCallPart():
                return self._end_call(opened, event.opaque)
            case ReasoningPart():
                return self._end_reasoning(opened, event.opaque or opened.part.opaque)
            case TextPart():
                signature = google_extra(event.opaque or opened.part.signature)
                opened.choice.signature = signature or opened.choice.signature
            case RefusalPart():
                pass
        return ()

    def _end_call(self, opened: _Part, opaque: Opaque | None) -> Iterable[ServerSentEvent]:
        frames: list[ServerSentEvent] = []
        if isinstance(opened.part, ToolCallPart) and opened.part.kind == "function" and not opened.said:
            frames += self._arguments(opened, "{}")
        extra = google_extra(opaque)
        if extra is not None and not opened.signed and opened.call >= 0 and not self._legacy:
            call: JSONObject = {"index": opened.call, "extra_content": extra}
            frames.append(self._delta(opened.choice, {"tool_calls": [call]}))
        return frames

    def _end_reasoning(self, opened: _Part, opaque: Opaque | None) -> Iterable[ServerSentEvent]:
        """State comes last and brings its text along, so that the entry means something without the deltas."""
        if opaque is None or not self._context.include_thoughts:
            return ()
        entries = detail_entries(ReasoningPart("".join(opened.text), opaque), opened.choice.details)
        opened.choice.details += len(entries)
        return (self._delta(opened.choice, {"reasoning_details": entries}),)

    def _end_choice(self, event: ChoiceEnd) -> Iterable[ServerSentEvent]:
        choice, frames = self._open_choice(event.choice, call_first=False)
        finish = event.finish
        if finish.kind in ("error", "other"):
            self._diagnostics.approximated(f"choices[{event.choice}].finish_reason", finish.raw or finish.kind)
        if finish.kind == "content_filter" and finish.detail and not choice.refused:
            frames.append(self._delta(choice, {"refusal": finish.detail}))
        if choice.notes:
            frames.append(self._delta(choice, {"annotations": choice.notes}))
        if choice.signature is not None:
            frames.append(self._delta(choice, {"extra_content": choice.signature}))
        reason = finish_out(finish.kind, calls=choice.calls > 0, legacy=self._legacy)
        end = b'{},"logprobs":null,"finish_reason":%b}]' % dumps(reason)
        frames.append(ServerSentEvent(choice.delta + end + self._closing))
        return frames

    def _end(self) -> Iterable[ServerSentEvent]:
        self._ended = True
        if self._context.include_usage and self._usage is not None:
            usage = encode_usage(self._usage, self._diagnostics)
            if usage is not None:
                return (ServerSentEvent(b'%b],"usage":%b}' % (self._opening, dumps(usage))), _DONE)
        return (_DONE,)

    def _fault(self, error: GatewayError) -> Iterable[ServerSentEvent]:
        self._ended = True
        return (encode_stream_error(error),)
