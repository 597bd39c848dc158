"""Chat Completions chunks in, events out.

Written for the service and for all who imitate it: calls without index or id, names that come late, usage in any
chunk, endings that are told twice or never. Calls stay open until their choice ends, because servers interleave their
fragments; text and reasoning close when another kind of part begins.
"""

from __future__ import annotations

import base64
from typing import Final, Literal

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    Base64Source,
    ChoiceEnd,
    CitationPart,
    Delta,
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
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    UsageUpdate,
    cut,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_int, as_list, as_object, as_str, loads
from asgi_llmgw.protocols.openai.errors import error_of
from asgi_llmgw.sse import ServerSentEvent

from .carriers import detail_part, google_signature
from .plain import is_plain
from .response import arguments_text, citation, decode_content, decode_image
from .usage import decode_logprobs, decode_usage
from .wire import finish_in

_DONE: Final = b"[DONE]"
_NO_TEXT: Final = TextPart("")
_SPEECH: Final = frozenset({"role", "content", "refusal"})
"""All that nearly every delta holds."""
_NAMELESS: Final = "unknown_tool"


class _Call:
    """One call of a choice. Nothing is told before its name is known."""

    __slots__ = ("fragments", "id", "index", "kind", "name", "signature", "signed")

    def __init__(self, identifier: str) -> None:
        self.id = identifier
        self.name = ""
        self.kind: Literal["function", "custom"] = "function"
        self.index: int | None = None
        self.fragments: list[str] = []
        self.signature: Opaque | None = None
        self.signed = False


class _Choice:
    """What is open in one choice."""

    __slots__ = (
        "audio",
        "calls",
        "cited",
        "finish",
        "kind",
        "legacy",
        "links",
        "open",
        "order",
        "plain",
        "signature",
        "signatures",
        "transcript",
    )

    def __init__(self) -> None:
        self.kind = ""
        self.open: int | None = None
        self.calls: dict[int, _Call] = {}
        self.order: list[_Call] = []
        self.legacy: _Call | None = None
        self.finish: str | None = None
        self.plain = False
        self.cited = False
        self.links: list[str] = []
        self.signature: Opaque | None = None
        self.signatures: dict[str, Opaque] = {}
        self.audio: list[str] = []
        self.transcript: list[str] = []


class ChatStreamDecoder:
    """Frames of one upstream stream in, events out; broken input becomes a `StreamFault`."""

    __slots__ = ("_choices", "_chunk", "_ended", "_events", "_next", "_started")

    def __init__(self) -> None:
        self._started = self._ended = False
        self._choices: dict[int, _Choice] = {}
        self._next = 0
        self._events: list[StreamEvent] = []
        self._chunk: JSONObject = {}

    def feed(self, frame: ServerSentEvent, /) -> list[StreamEvent]:
        """The events one frame tells. What comes after the end is ignored."""
        if self._ended:
            return []
        events = self._events = []
        data = frame.data
        if data.strip() == _DONE:
            self._complete()
            return events
        try:
            chunk = loads(data)
        except JSONError:
            self._fault(StreamFault(InvalidUpstreamResponse("the upstream sent a stream event that is not JSON")))
            return events
        if not isinstance(chunk, dict):
            self._fault(StreamFault(InvalidUpstreamResponse("the upstream sent a stream event that is not an object")))
        elif chunk.get("error") or frame.event == "error":
            self._fault(StreamFault(error_of(200, chunk)))
        else:
            self._chunk = chunk
            self._read(chunk)
        return events

    @property
    def plain(self) -> bool:
        """Whether the last chunk held one delta and nothing else that counts."""
        return is_plain(self._chunk)

    def more(self, delta: Delta, /) -> None:
        """More of a part, told by chunks that were not read."""
        if type(delta) is ToolInputDelta:
            for choice in self._choices.values():
                for call in choice.order:
                    if call.index == delta.index:
                        call.fragments.append(delta.fragment)

    def close(self) -> list[StreamEvent]:
        """End of input: complete if every choice has told its ending, else cut."""
        if self._ended:
            return []
        events = self._events = []
        if self._choices and all(choice.finish is not None for choice in self._choices.values()):
            self._complete()
        else:
            self._fault(cut())
        return events

    def _fault(self, fault: StreamFault) -> None:
        self._ended = True
        self._events.append(fault)

    def _read(self, chunk: JSONObject) -> None:
        choices = as_list(chunk.get("choices"))
        if not self._started:
            # Azure begins with a chunk that has nothing but filter results
            if not choices and not chunk.get("id"):
                return
            self._start(chunk, choices)
        for position, value in enumerate(choices):
            choice = as_object(value)
            if choice.get("error"):
                self._fault(StreamFault(error_of(200, choice)))
                return
            self._choice(choice, position)
        links = chunk.get("citations")
        if links and self._choices:
            next(iter(self._choices.values())).links = [link for link in as_list(links) if isinstance(link, str)]
        usage = chunk.get("usage")
        if usage is None and "x_groq" in chunk:
            usage = as_object(chunk["x_groq"]).get("usage")
        if usage:
            told = decode_usage(usage)
            if told is not None:
                self._events.append(UsageUpdate(told))

    def _start(self, chunk: JSONObject, choices: list[JSONValue]) -> None:
        self._started = True
        self._events.append(
            ResponseStart(
                id=as_str(chunk.get("id")) or "",
                model=as_str(chunk.get("model")) or "",
                created=as_int(chunk.get("created")),
                service_tier=as_str(chunk.get("service_tier")) or None,
                system_fingerprint=as_str(chunk.get("system_fingerprint")) or None,
                legacy_functions=any(map(_names_function, choices)),
            )
        )

    def _choice(self, choice: JSONObject, position: int) -> None:
        number = as_int(choice.get("index"))
        if number is None:
            number = position
        state = self._choices.get(number)
        if state is None:
            state = self._choices[number] = _Choice()
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if isinstance(delta, dict) and delta:
            self._delta(number, state, delta, choice.get("logprobs"))
        finish = choice.get("finish_reason")
        if finish and isinstance(finish, str):
            state.finish = finish

    def _delta(self, number: int, state: _Choice, delta: JSONObject, logprobs: JSONValue) -> None:
        more = not delta.keys() <= _SPEECH
        if more:
            self._reasoning(number, state, delta)
        self._text(number, state, delta.get("content"), logprobs)
        if delta.get("refusal") or logprobs is not None:
            self._refusal(number, state, as_str(delta.get("refusal")) or "", logprobs)
        if more:
            self._calls(number, state, delta)
            self._extras(number, state, delta)

    def _refusal(self, number: int, state: _Choice, text: str, logprobs: JSONValue) -> None:
        tokens = decode_logprobs(logprobs, "refusal") if logprobs is not None else None
        if text or tokens:
            index = self._enter(number, state, "refusal", RefusalPart(""))
            self._events.append(TextDelta(index, text, tokens))

    def _text(self, number: int, state: _Choice, content: JSONValue, logprobs: JSONValue) -> None:
        tokens = decode_logprobs(logprobs, "content") if logprobs is not None else None
        if isinstance(content, list):
            for part in decode_content(content):
                self._content_part(number, state, part)
            return
        if content or tokens:
            index = self._enter(number, state, "text", _NO_TEXT)
            self._events.append(TextDelta(index, as_str(content) or "", tokens))

    def _content_part(self, number: int, state: _Choice, part: OutputPart) -> None:
        match part:
            case TextPart():
                self._events.append(TextDelta(self._enter(number, state, "text", TextPart("")), part.text))
            case ReasoningPart():
                self._reason(number, state, part.text)
            case _:
                self._whole(number, state, part)

    def _enter(self, number: int, state: _Choice, kind: str, part: OutputPart) -> int:
        """The open part of this kind; another kind is closed first."""
        if state.open is not None and state.kind == kind:
            return state.open
        self._leave(state)
        state.kind = kind
        state.open = self._begin(number, part)
        return state.open

    def _leave(self, state: _Choice, opaque: Opaque | None = None) -> None:
        if state.open is not None:
            self._events.append(PartEnd(state.open, opaque))
            state.open = None

    def _begin(self, number: int, part: OutputPart) -> int:
        index = self._next
        self._next += 1
        self._events.append(PartStart(index, part, number))
        return index

    def _whole(self, number: int, state: _Choice, part: OutputPart) -> None:
        self._leave(state)
        self._events.append(PartEnd(self._begin(number, part)))

    def _reason(self, number: int, state: _Choice, text: str) -> None:
        if text:
            index = self._enter(number, state, "reasoning", ReasoningPart())
            self._events.append(ReasoningDelta(index, text))

    def _reasoning(self, number: int, state: _Choice, delta: JSONObject) -> None:
        plain = as_str(delta.get("reasoning_content")) or as_str(delta.get("reasoning"))
        if plain:
            state.plain = True
            self._reason(number, state, plain)
        for value in as_list(delta.get("reasoning_details")) or as_list(delta.get("thinking_blocks")):
            part = detail_part(as_object(value))
            if part is None:
                continue
            if part.text and not state.plain:
                self._reason(number, state, part.text)
            if part.opaque is not None:
                self._state(number, state, part.opaque)

    def _state(self, number: int, state: _Choice, opaque: Opaque) -> None:
        """Opaque state closes the thought it belongs to; one that has none stands for itself."""
        if opaque.kind == "thought_signature" and opaque.id:
            signature = Opaque(opaque.protocol, opaque.kind, opaque.payload)
            call = next((call for call in state.order if call.id == opaque.id), None)
            if call is None:
                state.signatures[opaque.id] = signature
            else:
                call.signature = call.signature or signature
            return
        if opaque.kind != "redacted" and state.open is not None and state.kind == "reasoning":
            self._leave(state, opaque)
        else:
            self._whole(number, state, ReasoningPart("", opaque))

    def _calls(self, number: int, state: _Choice, delta: JSONObject) -> None:
        entries = as_list(delta.get("tool_calls"))
        for position, value in enumerate(entries):
            entry = as_object(value)
            call = self._find_call(state, entry, position, len(entries))
            function = as_object(entry.get("function"))
            custom = as_object(entry.get("custom"))
            signature = google_signature(entry)
            if signature is not None and call.signature is None:
                call.signature = signature
            if custom and not function.get("name") and (custom.get("name") or call.kind == "custom"):
                call.kind = "custom"
                self._call_delta(number, state, call, as_str(custom.get("name")), as_str(custom.get("input")) or "")
            else:
                arguments = arguments_text(function.get("arguments"))
                self._call_delta(number, state, call, as_str(function.get("name")), arguments)
        legacy = as_object(delta.get("function_call"))
        if legacy:
            name, arguments = as_str(legacy.get("name")), arguments_text(legacy.get("arguments"))
            if state.legacy is None and (name or arguments):
                state.legacy = _Call("")
                state.order.append(state.legacy)
            if state.legacy is not None:
                self._call_delta(number, state, state.legacy, name, arguments)

    def _find_call(self, state: _Choice, entry: JSONObject, position: int, count: int) -> _Call:
        """The call an entry continues, or a new one: servers leave out the index, the id, or use one index for all."""
        identifier = as_str(entry.get("id")) or ""
        name = as_object(entry.get("function")).get("name") or as_object(entry.get("custom")).get("name")
        index = as_int(entry.get("index"))
        if index is not None:
            call = state.calls.get(index)
        elif identifier:
            call = None
        elif count > 1:
            call = state.order[position] if position < len(state.order) and not name else None
        else:
            call = state.order[-1] if state.order else None
        if identifier and (call is None or (call.id and call.id != identifier)):
            call = next((known for known in state.order if known.id == identifier), None)
        elif call is not None and not identifier and name and call.name and _is_another(call, name):
            call = None
        if call is None:
            call = _Call(identifier)
            call.signature = state.signatures.get(identifier)
            state.order.append(call)
        elif identifier and not call.id and call.index is None:
            call.id = identifier
        if index is not None:
            state.calls[index] = call
        return call

    def _call_delta(self, number: int, state: _Choice, call: _Call, name: str | None, fragment: str) -> None:
        if name and not call.name:
            call.name = name
        if fragment:
            call.fragments.append(fragment)
        if call.index is not None:
            if fragment:
                self._events.append(ToolInputDelta(call.index, fragment))
        elif call.name:
            self._open_call(number, state, call)

    def _open_call(self, number: int, state: _Choice, call: _Call) -> None:
        self._leave(state)
        call.index = self._begin(number, ToolCallPart(call.id, call.name, "", call.kind, call.signature))
        call.signed, call.signature = call.signature is not None, None
        self._events += (ToolInputDelta(call.index, fragment) for fragment in call.fragments)

    def _extras(self, number: int, state: _Choice, delta: JSONObject) -> None:
        signature = google_signature(delta)
        if signature is not None:
            state.signature = signature
        for note in as_list(delta.get("annotations")):
            state.cited = True
            self._events.append(PartEnd(self._begin(number, citation(as_object(note)))))
        for value in as_list(delta.get("images")):
            image = decode_image(as_object(value))
            if image is not None:
                self._whole(number, state, image)
        audio = as_object(delta.get("audio"))
        if audio:
            state.audio.append(as_str(audio.get("data")) or "")
            state.transcript.append(as_str(audio.get("transcript")) or "")

    def _complete(self) -> None:
        """The end: whatever is open is closed now, for it was the vendor who said that this is all."""
        if not self._choices:
            self._fault(cut("the upstream's stream has no answer in it"))
            return
        for number in sorted(self._choices):
            self._end_choice(number, self._choices[number])
        self._events.append(ResponseEnd())
        self._ended = True

    def _end_choice(self, number: int, state: _Choice) -> None:
        if state.open is not None:
            takes = state.signature is not None and state.kind == "text"
            self._leave(state, state.signature if takes else None)
            if takes:
                state.signature = None
        for call in state.order:
            if call.index is None and (call.id or call.name or call.fragments):
                call.name = call.name or _NAMELESS
                self._open_call(number, state, call)
            if call.index is not None:
                if call.signature is None and not call.signed:
                    call.signature, state.signature = state.signature, None
                self._events.append(PartEnd(call.index, call.signature))
        if state.signature is not None:
            self._whole(number, state, ReasoningPart("", state.signature))
        data = _join_base64(state.audio) if state.audio else ""
        if data:
            self._whole(number, state, MediaPart("audio", Base64Source(data), transcript="".join(state.transcript)))
        if not state.cited:
            for link in state.links:
                self._whole(number, state, CitationPart(url=link))
        calls = any(call.index is not None for call in state.order)
        self._events.append(ChoiceEnd(finish_in(state.finish, calls=calls), number))


def _names_function(choice: JSONValue) -> bool:
    delta = as_object(as_object(choice).get("delta"))
    return "function_call" in delta and bool(as_object(delta["function_call"]).get("name"))


def _is_another(call: _Call, name: JSONValue) -> bool:
    """A name where one is known: another call, unless a server says the same name with each fragment."""
    if name != call.name:
        return True
    try:
        loads("".join(call.fragments))
    except JSONError:
        return False
    return True


def _join_base64(pieces: list[str]) -> str:
    """Each piece is base64 of its own, padding included."""
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except ValueError:
        return "".join(pieces)
