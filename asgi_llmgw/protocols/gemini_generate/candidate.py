"""One candidate of an answer, as it grows chunk by chunk.

Gemini has no deltas: each chunk brings new parts. Neighbouring unsigned texts of one kind are one part to us; a signed
part is never joined to another, because the vendor checks a signature at the very part it came with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    Base64Source,
    ChoiceEnd,
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
    StreamEvent,
    TextDelta,
    TextPart,
    TokenLogprob,
    ToolCallPart,
    ToolInputDelta,
    UnknownPart,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_bool, as_float, as_list, as_object, as_str, dumps_text

from .arguments import PartialArguments
from .grounding import Grounding
from .wire import FINISH, FINISH_NUMBERS, PROTOCOL, UNSAID, media_kind

_KINDS: Final = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse", "functionResponse", "fileData")


class Indices:
    """Numbers the parts of an answer in the order in which they begin, over all its candidates."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def take(self) -> int:
        """The next one."""
        self._next += 1
        return self._next - 1


class Candidate:
    """Reads the parts of one candidate into events.

    Args:
        choice: its index.
        indices: numbers the parts of the whole answer.
        response_id: what the ids of calls without one are made from.
    """

    __slots__ = (
        "_call",
        "_calls",
        "_detail",
        "_grounding",
        "_indices",
        "_late",
        "_logprobs",
        "_open",
        "_response_id",
        "_text",
        "_thinking",
        "choice",
        "finish",
    )

    def __init__(self, choice: int, indices: Indices, response_id: str) -> None:
        self.choice = choice
        self.finish: str | None = None
        self._detail: str | None = None
        self._indices = indices
        self._response_id = response_id
        self._open: int | None = None
        self._thinking = False
        self._call: PartialArguments | None = None
        self._late: Opaque | None = None
        self._calls = 0
        self._text: list[str] = []
        self._grounding = Grounding()
        self._logprobs: list[TokenLogprob] = []

    def feed(self, candidate: JSONObject) -> Iterator[StreamEvent]:
        """The events of what is new in one chunk.

        Raises:
            InvalidUpstreamResponse: it is not a candidate.
        """
        if "logprobsResult" in candidate:
            self._logprobs += _logprobs(as_object(candidate["logprobsResult"]))
        parts = as_object(candidate.get("content")).get("parts")
        if parts is not None and not isinstance(parts, list):
            raise InvalidUpstreamResponse("the upstream sent a candidate whose parts are not an array")
        for part in parts or []:
            if not isinstance(part, dict):
                raise InvalidUpstreamResponse("the upstream sent a part that is not an object")
            yield from self._part(part)
        # seen on chunks in the middle too, with more parts after it: only the end of the body ends the answer
        if "finishReason" in candidate:
            self.finish = enum_name(candidate["finishReason"], FINISH_NUMBERS) or self.finish
            self._detail = as_str(candidate.get("finishMessage")) or self._detail
        if "groundingMetadata" in candidate or "citationMetadata" in candidate:
            self._grounding.feed(candidate)

    def more(self, text: str, *, thinking: bool) -> TextDelta | ReasoningDelta | None:
        """More of the text that is open; None if this is not that, or something waits to be told with it."""
        index = self._open
        if index is None or self._thinking != thinking or self._call is not None or self._logprobs or not text:
            return None
        if thinking:
            return ReasoningDelta(index, text)
        self._text.append(text)
        return TextDelta(index, text)

    def said(self, delta: Delta) -> None:
        """Take note of what was told of the open text, if it is this one's."""
        if delta.index == self._open and type(delta) is TextDelta:
            self._text.append(delta.text)

    def close(self, block: FinishReason | None = None) -> Iterator[StreamEvent]:
        """The events of its end: what is open closes, then the citations, then the reason."""
        yield from self._close()
        for citation in self._grounding.citations("".join(self._text)):
            yield from self._whole(citation)
        yield ChoiceEnd(self._reason(block), self.choice)

    def diagnostics(self) -> Iterator[Diagnostic]:
        """What of it has no place in an answer."""
        yield from self._grounding.diagnostics(self.choice)
        if self._logprobs:
            yield Diagnostic(f"candidates[{self.choice}].logprobsResult", "dropped", "info", "there is no text with it")

    def _reason(self, block: FinishReason | None) -> FinishReason:
        if self.finish is None:
            return block or FinishReason("tool_calls" if self._calls else "other")
        kind = FINISH.get(self.finish, "other")
        if self._calls and kind != "length":
            kind = "tool_calls"
        return FinishReason(kind, self.finish, detail=self._detail)

    def _part(self, part: JSONObject) -> Iterator[StreamEvent]:
        signature = _signature(part)
        if isinstance(call := part.get("functionCall"), dict):
            yield from self._function_call(call, signature)
        elif isinstance(media := part.get("inlineData"), dict):
            yield from self._whole(_media(media, signature))
        elif "text" in part or (signature is not None and _kind(part) is None):
            text = as_str(part.get("text")) or ""
            yield from self._some_text(text, signature, thinking=as_bool(part.get("thought")) is True)
        elif part:
            yield from self._whole(UnknownPart(PROTOCOL, part, _kind(part) or next(iter(part))))

    def _some_text(self, text: str, signature: Opaque | None, *, thinking: bool) -> Iterator[StreamEvent]:
        if not text and signature is None:
            yield from self._rest_of_logprobs()
            return
        index = self._open
        if index is None or signature is not None or self._call is not None or self._thinking != thinking:
            yield from self._close()
            self._open = index = self._indices.take()
            self._thinking = thinking
            yield PartStart(index, ReasoningPart() if thinking else TextPart(""), self.choice)
        if thinking and text:
            yield ReasoningDelta(index, text)
        elif text:
            self._text.append(text)
            yield TextDelta(index, text, self._take_logprobs())
        if signature is not None:
            yield PartEnd(index, signature)
            self._open = None

    def _function_call(self, call: JSONObject, signature: Opaque | None) -> Iterator[StreamEvent]:
        name = as_str(call.get("name")) or ""
        arguments = call.get("args")
        if name:
            yield from self._close()
            self._call = PartialArguments(as_object(arguments))
            self._open = self._indices.take()
            call_id = as_str(call.get("id")) or self._call_id(name)
            yield PartStart(self._open, ToolCallPart(call_id, name, "", signature=signature), self.choice)
            self._calls += 1
        elif self._call is None:
            if arguments is not None or "partialArgs" in call:
                raise InvalidUpstreamResponse("the upstream sent a function call without a name")
            return
        else:
            self._late = signature or self._late
        self._call.feed(call.get("partialArgs"))
        if as_bool(call.get("willContinue")) is not True:
            yield from self._close()

    def _call_id(self, name: str) -> str:
        """The same for the same answer however it is cut into chunks, and different for each of its calls."""
        seed = f"{self._response_id}\n{self.choice}\n{self._calls}\n{name}"
        return "call_" + hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    def _whole(self, part: OutputPart) -> Iterator[StreamEvent]:
        yield from self._close()
        index = self._indices.take()
        yield PartStart(index, part, self.choice)
        yield PartEnd(index)

    def _close(self) -> Iterator[StreamEvent]:
        """End what is open; the closing empty call of streamed arguments may be missing, so it is not waited for."""
        if self._open is None:
            return
        yield from self._rest_of_logprobs()
        if self._call is not None:
            yield ToolInputDelta(self._open, dumps_text(self._call.result()))
        yield PartEnd(self._open, self._late)
        self._open = self._call = self._late = None

    def _rest_of_logprobs(self) -> Iterator[StreamEvent]:
        if self._logprobs and self._open is not None and self._call is None and not self._thinking:
            yield TextDelta(self._open, "", self._take_logprobs())

    def _take_logprobs(self) -> tuple[TokenLogprob, ...] | None:
        taken = tuple(self._logprobs)
        self._logprobs.clear()
        return taken or None


def enum_name(value: JSONValue, numbers: dict[int, str]) -> str | None:
    """The name of an enum value, which may come as a number; None where it says nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return numbers.get(value, f"{value}") if value else None
    name = as_str(value)
    return None if name is None or name in UNSAID else name


def _kind(part: JSONObject) -> str | None:
    return next((name for name in _KINDS if name in part), None)


def _signature(part: JSONObject) -> Opaque | None:
    payload = as_str(part.get("thoughtSignature"))
    return Opaque(PROTOCOL, "thought_signature", payload) if payload else None


def _media(media: JSONObject, signature: Opaque | None) -> MediaPart:
    media_type = as_str(media.get("mimeType"))
    source = Base64Source(as_str(media.get("data")) or "")
    return MediaPart(media_kind(media_type or ""), source, media_type, signature=signature)


def _logprobs(result: JSONObject) -> Iterator[TokenLogprob]:
    rivals = as_list(result.get("topCandidates"))
    for position, chosen in enumerate(as_list(result.get("chosenCandidates"))):
        top = as_object(rivals[position]).get("candidates") if position < len(rivals) else None
        yield _token(as_object(chosen), tuple(_token(as_object(rival)) for rival in as_list(top)))


def _token(token: JSONObject, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    text = as_str(token.get("token")) or ""
    return TokenLogprob(text, as_float(token.get("logProbability")) or 0.0, tuple(text.encode()), top)
