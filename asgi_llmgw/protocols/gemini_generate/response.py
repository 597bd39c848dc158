"""Answers: one object or a stream of objects of the same shape, so one reader serves both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    ChatResponse,
    Diagnostic,
    FinishReason,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    Usage,
    UsageUpdate,
    accumulate,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_int, as_list, as_object, as_str, loads

from .candidate import Candidate, enum_name
from .errors import error_of
from .wire import BLOCK_NUMBERS, MODALITY_NUMBERS, SERVICE_TIER_IN


def decode_response(body: bytes) -> ChatResponse:
    """A whole answer; the array a stream without `alt=sse` is, is read as one answer too.

    Raises:
        UpstreamError: an error in an answer of status 200.
        InvalidUpstreamResponse: not an answer at all.
    """
    try:
        value = loads(body)
    except JSONError as exc:
        raise InvalidUpstreamResponse(f"the upstream's answer is not JSON: {exc}") from None
    return accumulate(_events(value if isinstance(value, list) else [value]))


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
        self._indices = itertools.count()
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
        metadata = as_object(chunk.get("usageMetadata"))
        if self._usage is not None and self._usage.raw == metadata:
            return
        usage = read_usage(metadata)
        if usage is not None:
            self._usage = usage
            yield UsageUpdate(usage)

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


def read_usage(metadata: JSONObject) -> Usage | None:
    """The tokens, None where no count is told (Vertex sends the object without counts at first)."""
    prompt = as_int(metadata.get("promptTokenCount"))
    tools = as_int(metadata.get("toolUsePromptTokenCount"))
    answer = as_int(metadata.get("candidatesTokenCount"))
    thoughts = as_int(metadata.get("thoughtsTokenCount"))
    total = as_int(metadata.get("totalTokenCount"))
    if prompt is None and answer is None and thoughts is None and total is None:
        return None
    # counts of zero are left out, so one of the two being there makes the other a zero; with both absent the total
    # tells, unless it says nothing of an answer at all (Gemma)
    output = None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0)
    if output is None and total is not None and prompt is not None:
        output = max(total - prompt - (tools or 0), 0) or None
    return Usage(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=output,
        cache_read_tokens=as_int(metadata.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        tool_input_tokens=tools,
        audio_input_tokens=_by_modality(metadata, "promptTokensDetails", "AUDIO"),
        audio_output_tokens=_by_modality(metadata, "candidatesTokensDetails", "AUDIO"),
        image_input_tokens=_by_modality(metadata, "promptTokensDetails", "IMAGE"),
        raw=metadata,
    )


def _by_modality(metadata: JSONObject, field: str, modality: str) -> int | None:
    for detail in map(as_object, as_list(metadata.get(field))):
        if enum_name(detail.get("modality"), MODALITY_NUMBERS) == modality:
            return as_int(detail.get("tokenCount"))
    return None


def _start(chunk: JSONObject) -> ResponseStart:
    tier = as_str(as_object(chunk.get("usageMetadata")).get("serviceTier"))
    return ResponseStart(
        id=as_str(chunk.get("responseId")) or "",
        model=as_str(chunk.get("modelVersion")) or "",
        created=_seconds(as_str(chunk.get("createTime"))),
        service_tier=None if tier is None else SERVICE_TIER_IN.get(tier.lower(), tier),
    )


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
