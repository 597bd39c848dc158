"""Whole answers for a Gemini client (https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, assert_never

from asgi_llmgw.ir import (
    ChatResponse,
    Choice,
    CitationPart,
    FinishReason,
    MediaPart,
    OutputPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    UnknownPart,
    Usage,
)
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.base import Diagnostics, EncodedResponse, StreamContext

from .answer_parts import (
    Carried,
    call_part,
    logprobs_result,
    media_part,
    shows_thoughts,
    sign,
    thought_parts,
    unknown_part,
)
from .grounding_encoder import encode_citations
from .wire import BLOCKS, FINISH, FINISH_OUT, MALFORMED_CALL, OTHER_FINISH

_MALFORMED: Final = "The model called a function with arguments that are not a JSON object."


def encode_response(response: ChatResponse, context: StreamContext) -> EncodedResponse:
    """The answer as a Gemini client reads it."""
    lost = Diagnostics()
    body: JSONObject = {}
    block = block_reason(response)
    if block is not None:
        body["promptFeedback"] = block
    else:
        body["candidates"] = [_candidate(choice, context, lost) for choice in response.choices]
    usage = None if response.usage is None else encode_usage(response.usage, lost)
    if usage is not None:
        body["usageMetadata"] = usage
    body["modelVersion"] = context.model if context.model is not None else response.model
    body["responseId"] = response.id or context.new_id("")
    created = None if response.created is None else time_of(response.created)
    if created is not None:
        body["createTime"] = created
    return EncodedResponse(dumps(body), lost.items())


def block_reason(response: ChatResponse) -> JSONObject | None:
    """`promptFeedback`, where the answer is that there is none: filtered, nothing said and nothing thought."""
    if len(response.choices) != 1:
        return None
    (choice,) = response.choices
    silent = not choice.parts and not (response.usage is not None and response.usage.output_tokens)
    return prompt_feedback(choice.finish) if silent and choice.finish.kind == "content_filter" else None


def prompt_feedback(finish: FinishReason) -> JSONObject:
    """Why a prompt was blocked."""
    feedback: JSONObject = {"blockReason": finish.raw if finish.raw in BLOCKS else "SAFETY"}
    if finish.detail:
        feedback["blockReasonMessage"] = finish.detail
    return feedback


def finish_members(finish: FinishReason, *, malformed: bool, path: str, lost: Diagnostics) -> JSONObject:
    """`finishReason` and `finishMessage` of a candidate."""
    raw = finish.raw or ""
    name = FINISH_OUT[finish.kind]
    ours = finish.kind in ("content_filter", "error") and FINISH.get(raw) == finish.kind
    if ours or (finish.kind == "other" and raw in OTHER_FINISH):
        name = raw
    elif finish.kind in ("error", "other"):
        lost.approximated(f"{path}.finishReason", raw or finish.kind)
    detail = finish.detail
    if malformed:
        lost.dropped(path, "a call whose arguments are not an object")
        if finish.kind != "length":
            name, detail = MALFORMED_CALL, _MALFORMED
    return {"finishReason": name, "finishMessage": detail} if detail else {"finishReason": name}


def encode_usage(usage: Usage, lost: Diagnostics) -> JSONObject | None:
    """`usageMetadata`: what is known, and nothing where neither of the two counts is."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    if usage.cache_write_tokens:
        lost.dropped("usage.cache_write_tokens", "Gemini has no such count", info=True)
    tools, thoughts = usage.tool_input_tokens, usage.reasoning_tokens
    prompt = None if usage.input_tokens is None else max(usage.input_tokens - (tools or 0), 0)
    answer = None if usage.output_tokens is None else max(usage.output_tokens - (thoughts or 0), 0)
    total = usage.total_tokens
    metadata: JSONObject = {}
    # written out, because it is told again in every chunk of some streams
    if prompt is not None:
        metadata["promptTokenCount"] = prompt
    if usage.cache_read_tokens is not None:
        metadata["cachedContentTokenCount"] = usage.cache_read_tokens
    if answer is not None:
        metadata["candidatesTokenCount"] = answer
    if thoughts is not None:
        metadata["thoughtsTokenCount"] = thoughts
    if tools is not None:
        metadata["toolUsePromptTokenCount"] = tools
    if total is not None:
        metadata["totalTokenCount"] = total
    heard, seen, spoken = usage.audio_input_tokens, usage.image_input_tokens, usage.audio_output_tokens
    if heard is not None or seen is not None:
        metadata["promptTokensDetails"] = _details(("AUDIO", heard), ("IMAGE", seen))
    if spoken is not None:
        metadata["candidatesTokensDetails"] = _details(("AUDIO", spoken))
    return metadata


def _details(*counts: tuple[str, int | None]) -> list[JSONValue]:
    return [{"modality": modality, "tokenCount": count} for modality, count in counts if count is not None]


def _candidate(choice: Choice, context: StreamContext, lost: Diagnostics) -> JSONObject:
    writer = _PartsWriter(f"candidates[{choice.index}]", context, lost)
    for part in choice.parts:
        writer.add(part)
    content: JSONObject = {"role": "model"}
    parts = writer.finish()
    if parts:
        content["parts"] = list[JSONValue](parts)
    candidate: JSONObject = {"content": content}
    candidate |= finish_members(choice.finish, malformed=writer.malformed, path=writer.path, lost=lost)
    candidate["index"] = choice.index
    candidate |= encode_citations(writer.citations, "".join(writer.texts), writer.path, lost)
    if choice.logprobs is not None:
        candidate["logprobsResult"] = logprobs_result(choice.logprobs)
    return candidate


class _PartsWriter:
    """Collects the parts of one candidate."""

    def __init__(self, path: str, context: StreamContext, lost: Diagnostics) -> None:
        self.path = path
        self.texts: list[str] = []
        self.citations: list[CitationPart] = []
        self.malformed = False
        self._context = context
        self._lost = lost
        self._parts: list[JSONObject] = []
        self._carried = Carried()

    def add(self, part: OutputPart) -> None:
        """Take one part."""
        encoded: JSONObject | None = None
        match part:
            case TextPart():
                self.texts.append(part.text)
                signed = sign({"text": part.text}, part.signature)
                encoded = signed if part.text or len(signed) > 1 else None
            case RefusalPart():
                self.texts.append(part.text)
                encoded = {"text": part.text} if part.text else None
            case ReasoningPart():
                self._parts += thought_parts(part, shown=shows_thoughts(self._context))
                self._carried.add(part)
            case ToolCallPart():
                encoded = call_part(part, self.path, self._context, self._lost)
                self.malformed = self.malformed or encoded is None
            case MediaPart():
                encoded = media_part(part, self.path, self._lost)
            case UnknownPart():
                encoded = unknown_part(part, self.path, self._lost)
            case CitationPart():
                self.citations.append(part)
            case _:
                assert_never(part)
        if encoded is not None:
            self._parts.append(self._carried.load(encoded))

    def finish(self) -> list[JSONObject]:
        """All parts; state that found none to stand on gets an empty text."""
        if self._carried:
            self._parts.append(self._carried.load({"text": ""}))
        return self._parts


def time_of(seconds: int) -> str | None:
    """Seconds since the epoch as the vendor writes a time; None beyond the calendar."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None
