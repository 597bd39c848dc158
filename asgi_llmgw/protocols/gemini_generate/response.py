"""Answers: one object or a stream of objects of the same shape, so one reader serves both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import cast

import msgspec

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    ChatResponse,
    Choice,
    Delta,
    Diagnostic,
    FinishReason,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    TextPart,
    Usage,
    UsageUpdate,
    accumulate,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_int, as_list, as_object, as_str, loads
from asgi_llmgw.protocols.plain import only_these

from .candidate import Candidate, Indices, enum_name
from .chunk import OTHERWISE, read_text_chunk, text_answer
from .errors import error_of
from .wire import BLOCK_NUMBERS, FINISH, MODALITY_NUMBERS, SERVICE_TIER_IN, UNSAID


class _Counts(msgspec.Struct, rename="camel", gc=False):
    """The counts of `usageMetadata`."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    total_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None

    @classmethod
    def of(cls, metadata: JSONObject) -> _Counts:
        """All of them at once, since they are read in every chunk; one by one where one is no plain integer."""
        try:
            return msgspec.convert(metadata, _Counts)
        except msgspec.ValidationError:
            return cls(*map(as_int, map(metadata.get, cls.__struct_encode_fields__)))


def decode_response(body: bytes) -> ChatResponse:
    """A whole answer; the array a stream without `alt=sse` is, is read as one answer too.

    Raises:
        UpstreamError: an error in an answer of status 200.
        InvalidUpstreamResponse: not an answer at all.
    """
    plain = _text_answer(body)
    if plain is not None:
        return plain
    try:
        value = loads(body)
    except JSONError as exc:
        raise InvalidUpstreamResponse(f"the upstream's answer is not JSON: {exc}") from None
    return accumulate(_events(value if isinstance(value, list) else [value]))


def _text_answer(body: bytes) -> ChatResponse | None:
    """The answer, if it is a text and nothing else."""
    answer = only_these(text_answer, body)
    if answer is None:
        return None
    (candidate,) = answer.candidates
    (part,) = candidate.content.parts
    reason = candidate.finish_reason
    if not part.text or part.thought or reason in UNSAID:
        return None
    metadata = cast(JSONObject, answer.usage_metadata)
    finish = FinishReason(FINISH.get(reason, "other"), reason)
    return ChatResponse(
        choices=(Choice((TextPart(part.text),), finish, candidate.index),),
        id=answer.response_id,
        model=answer.model_version,
        created=_seconds(answer.create_time) if answer.create_time else None,
        usage=read_usage(metadata),
        service_tier=_service_tier(metadata),
    )


def _events(chunks: list[JSONValue]) -> Iterator[StreamEvent]:
    reader = ResponseReader()
    for chunk in chunks:
        yield from reader.feed(chunk)
    if not reader.answered:
        raise InvalidUpstreamResponse("the upstream answered without a candidate")
    yield from reader.close()


class ResponseReader:
    """Reads response objects into events; what is wrong with them is raised."""

    __slots__ = ("_block", "_candidates", "_indices", "_started", "_usage")

    def __init__(self) -> None:
        self._candidates: dict[int, Candidate] = {}
        self._indices = Indices()
        self._block: FinishReason | None = None
        self._started: ResponseStart | None = None
        self._usage: Usage | None = None

    @property
    def answered(self) -> bool:
        """Whether anything was said: a candidate, or that the prompt is blocked."""
        return bool(self._candidates) or self._block is not None

    @property
    def finished(self) -> bool:
        """Whether every candidate told why it ended, so that the end of the body is the end of the answer."""
        if self._block is not None:
            return True
        return bool(self._candidates) and all(c.finish is not None for c in self._candidates.values())

    def feed(self, chunk: JSONValue) -> Iterator[StreamEvent]:
        """The events of one response object.

        Raises:
            UpstreamError: it is an error.
            InvalidUpstreamResponse: it is nothing we know.
        """
        if not isinstance(chunk, dict):
            raise InvalidUpstreamResponse("the upstream sent something that is not an object")
        if isinstance(error := chunk.get("error"), dict):
            raise error_of(200, error)
        if self._started is None:
            self._started = _start(chunk)
            yield self._started
        candidates = chunk.get("candidates")
        if candidates is not None and not isinstance(candidates, list):
            raise InvalidUpstreamResponse("the upstream sent candidates that are not an array")
        for position, candidate in enumerate(candidates or []):
            if not isinstance(candidate, dict):
                raise InvalidUpstreamResponse("the upstream sent a candidate that is not an object")
            index = as_int(candidate.get("index"))
            yield from self._candidate(position if index is None else index).feed(candidate)
        if "promptFeedback" in chunk:
            self._block = _block(as_object(chunk["promptFeedback"])) or self._block
        usage = self._count(as_object(chunk.get("usageMetadata")))
        if usage is not None:
            yield usage

    def more(self, data: bytes) -> Sequence[StreamEvent] | None:
        """The events of a chunk that goes on with an open text, and maybe counts tokens; None for any other chunk."""
        try:
            chunk = read_text_chunk(data)
        except OTHERWISE:
            return None
        said = chunk.candidates[0]
        candidate = self._candidates.get(said.index)
        if candidate is None:
            return None
        part = said.content.parts[0]
        delta = candidate.more(part.text, thinking=part.thought)
        if delta is None:
            return None
        usage = self._count(cast(JSONObject, chunk.usage_metadata)) if chunk.usage_metadata else None
        return (delta,) if usage is None else (delta, usage)

    def said(self, delta: Delta) -> None:
        """An open text has gone on."""
        for candidate in self._candidates.values():
            candidate.said(delta)

    def _count(self, metadata: JSONObject) -> UsageUpdate | None:
        """The tokens so far, None where nothing new is told of them."""
        if self._usage is not None and self._usage.raw == metadata:
            return None
        usage = read_usage(metadata, self._usage)
        if usage is None:
            return None
        self._usage = usage
        return UsageUpdate(usage)

    def close(self) -> Iterator[StreamEvent]:
        """The events of the end: a blocked prompt is one choice without a word."""
        if not self._candidates:
            self._candidate(0)
        diagnostics: list[Diagnostic] = []
        for candidate in self._candidates.values():
            yield from candidate.close(self._block)
            diagnostics.extend(candidate.diagnostics())
        yield ResponseEnd(tuple(diagnostics))

    def _candidate(self, index: int) -> Candidate:
        candidate = self._candidates.get(index)
        if candidate is None:
            response_id = self._started.id if self._started is not None else ""
            candidate = self._candidates[index] = Candidate(index, self._indices, response_id)
        return candidate


def read_usage(metadata: JSONObject, before: Usage | None = None) -> Usage | None:
    """The tokens, None where no count is told (Vertex sends the object without counts at first).

    Args:
        metadata: the object in this chunk.
        before: what was read from the chunk before.
    """
    counts = _Counts.of(metadata)
    prompt, answer, total = counts.prompt_token_count, counts.candidates_token_count, counts.total_token_count
    thoughts, tools = counts.thoughts_token_count, counts.tool_use_prompt_token_count
    if prompt is None and answer is None and thoughts is None and total is None:
        return None
    # counts of zero are left out, so one of the two being there makes the other a zero; with both absent the total
    # tells, unless it says nothing of an answer at all (Gemma)
    output = None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0)
    if output is None and total is not None and prompt is not None:
        output = max(total - prompt - (tools or 0), 0) or None
    heard, spoken, seen, painted = _of_media(metadata, before)
    return Usage(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=output,
        cache_read_tokens=counts.cached_content_token_count,
        reasoning_tokens=thoughts,
        tool_input_tokens=tools,
        audio_input_tokens=heard,
        audio_output_tokens=spoken,
        image_input_tokens=seen,
        image_output_tokens=painted,
        raw=metadata,
    )


def _of_media(metadata: JSONObject, before: Usage | None) -> tuple[int | None, int | None, int | None, int | None]:
    """Tokens of sound heard and spoken, and of pictures seen and made; chunks repeat them, so they are read once."""
    given, made = metadata.get("promptTokensDetails"), metadata.get("candidatesTokensDetails")
    if before is not None and before.raw is not None:
        known = before.raw.get
        if known("promptTokensDetails") == given and known("candidatesTokensDetails") == made:
            heard, spoken = before.audio_input_tokens, before.audio_output_tokens
            return heard, spoken, before.image_input_tokens, before.image_output_tokens
    if given is None and made is None:
        return None, None, None, None
    heard, spoken = _by_modality(given, "AUDIO"), _by_modality(made, "AUDIO")
    return heard, spoken, _by_modality(given, "IMAGE"), _by_modality(made, "IMAGE")


def _by_modality(details: JSONValue, modality: str) -> int | None:
    for detail in map(as_object, as_list(details)):
        if enum_name(detail.get("modality"), MODALITY_NUMBERS) == modality:
            return as_int(detail.get("tokenCount"))
    return None


def _start(chunk: JSONObject) -> ResponseStart:
    return ResponseStart(
        id=as_str(chunk.get("responseId")) or "",
        model=as_str(chunk.get("modelVersion")) or "",
        created=_seconds(as_str(chunk.get("createTime"))),
        service_tier=_service_tier(as_object(chunk.get("usageMetadata"))),
    )


def _service_tier(metadata: JSONObject) -> str | None:
    tier = as_str(metadata.get("serviceTier"))
    return None if tier is None else SERVICE_TIER_IN.get(tier.lower(), tier)


def _seconds(time: str | None) -> int | None:
    try:
        return None if time is None else int(datetime.fromisoformat(time).timestamp())
    except (ValueError, OverflowError):
        return None


def _block(feedback: JSONObject) -> FinishReason | None:
    reason = enum_name(feedback.get("blockReason"), BLOCK_NUMBERS)
    if reason is None:
        return None
    return FinishReason("content_filter", reason, detail=as_str(feedback.get("blockReasonMessage")))
