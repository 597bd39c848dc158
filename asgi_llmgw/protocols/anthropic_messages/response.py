"""Whole answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, cast

import msgspec

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    ChatResponse,
    Choice,
    CitationPart,
    FinishKind,
    FinishReason,
    Opaque,
    OutputPart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    UnknownPart,
    Usage,
)
from asgi_llmgw.json import (
    JSONError,
    JSONObject,
    JSONValue,
    as_int,
    as_list,
    as_object,
    as_str,
    dumps_text,
    loads_object,
)
from asgi_llmgw.protocols.plain import only_these

from .errors import error_from
from .wire import FINISH, INCOMPLETE, NAME, SERVICE_TIER_IN


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]  # a tag could be missing
    text: str
    citations: None = None


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An answer that is one text; the members without a name here are read by nobody."""

    content: tuple[_Text]
    usage: dict[str, object]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: None = None
    type: str = ""
    role: str = ""
    container: object = None
    context_management: object = None


_plain: Final = msgspec.json.Decoder(_Plain)


class _Written(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class _Made(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Counts(msgspec.Struct, gc=False):
    """What is read of `usage`."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _Written | None = None
    output_tokens_details: _Made | None = None

    @classmethod
    def of(cls, raw: JSONObject) -> _Counts:
        """All of them at once; one by one where one is no plain integer."""
        try:
            return msgspec.convert(raw, cls)
        except msgspec.ValidationError:
            return cls(
                as_int(raw.get("input_tokens")),
                as_int(raw.get("output_tokens")),
                as_int(raw.get("cache_read_input_tokens")),
                as_int(raw.get("cache_creation_input_tokens")),
                _Written(as_int(as_object(raw.get("cache_creation")).get("ephemeral_1h_input_tokens"))),
                _Made(as_int(as_object(raw.get("output_tokens_details")).get("thinking_tokens"))),
            )


def decode_response(body: bytes) -> ChatResponse:
    """Read a whole answer.

    Raises:
        InvalidUpstreamResponse: it is not one.
        UpstreamError: it is an error that came with a good status.
    """
    plain = only_these(_plain, body)
    if plain is None:
        return _decode_response(body)
    usage = cast(JSONObject, plain.usage)
    finish = FinishReason(_kind(plain.stop_reason), plain.stop_reason, plain.stop_sequence)
    return ChatResponse(
        choices=(Choice((TextPart(plain.content[0].text),), finish),),
        id=plain.id,
        model=plain.model,
        usage=decode_usage(usage),
        service_tier=_service_tier(usage),
    )


def _decode_response(body: bytes) -> ChatResponse:
    try:
        message = loads_object(body)
    except JSONError as exc:
        raise InvalidUpstreamResponse(f"The upstream answered something that is not JSON: {exc}") from None
    content = message.get("content")
    if not isinstance(content, list):
        if "error" in message:
            raise error_from(message, status=None)
        raise InvalidUpstreamResponse("The upstream answered something that is not a message: it has no content.")
    parts = tuple(_parts(content))
    called = any(isinstance(part, ToolCallPart) for part in parts)
    finish = finish_reason(message, called=called)
    usage = message.get("usage")
    return ChatResponse(
        choices=(Choice(parts, finish),),
        id=as_str(message.get("id")) or "",
        model=as_str(message.get("model")) or "",
        usage=decode_usage(usage) if isinstance(usage, dict) else None,
        service_tier=decode_service_tier(message),
    )


def finish_reason(ending: JSONObject, *, called: bool) -> FinishReason:
    """Why it ended, from `stop_reason`, `stop_sequence` and `stop_details`; a call in the answer has the last word."""
    raw = as_str(ending.get("stop_reason"))
    kind = _kind(raw)
    if called and raw not in INCOMPLETE:
        kind = "tool_calls"
    return FinishReason(
        kind,
        raw=raw,
        stop_sequence=as_str(ending.get("stop_sequence")),
        detail=as_str(as_object(ending.get("stop_details")).get("explanation")),
    )


def _kind(raw: str | None) -> FinishKind:
    return FINISH.get(raw, "other") if raw else "stop"


def decode_usage(raw: JSONObject) -> Usage:
    """Tokens. Anthropic counts the cached part of the prompt apart; we count the prompt as a whole."""
    counts = _Counts.of(raw)
    read, written, fresh = counts.cache_read_input_tokens, counts.cache_creation_input_tokens, counts.input_tokens
    longer, made = counts.cache_creation, counts.output_tokens_details
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=counts.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=None if longer is None else longer.ephemeral_1h_input_tokens,
        reasoning_tokens=None if made is None else made.thinking_tokens,
        raw=raw,
    )


def decode_service_tier(message: JSONObject) -> str | None:
    """The tier that served, which Anthropic keeps in the usage."""
    return _service_tier(as_object(message.get("usage")))


def _service_tier(usage: JSONObject) -> str | None:
    tier = as_str(usage.get("service_tier"))
    return None if tier is None else SERVICE_TIER_IN.get(tier, tier)


def decode_arguments(value: JSONValue) -> str:
    """A call's input as JSON text."""
    match value:
        case None:
            return "{}"
        case str():
            return value
        case _:
            return dumps_text(value)


def reasoning_part(block: JSONObject) -> ReasoningPart:
    """A `thinking` or `redacted_thinking` block."""
    if block.get("type") == "redacted_thinking":
        return ReasoningPart("", Opaque(NAME, "redacted", as_str(block.get("data")) or ""))
    return ReasoningPart(as_str(block.get("thinking")) or "", signature(block.get("signature")))


def signature(value: JSONValue) -> Opaque | None:
    """What proves a thinking block; an empty one proves nothing."""
    return Opaque(NAME, "signature", value) if isinstance(value, str) and value else None


def citation_part(raw: JSONObject, *, start: int, end: int) -> CitationPart:
    """A citation of the text between two offsets of the answer."""
    return CitationPart(
        url=as_str(raw.get("url")),
        title=as_str(raw.get("title")) or as_str(raw.get("document_title")),
        start=start,
        end=end,
        quote=as_str(raw.get("cited_text")),
        protocol=NAME,
        raw=raw,
    )


def _parts(content: list[JSONValue]) -> Iterator[OutputPart]:
    offset = 0
    for block in content:
        if not isinstance(block, dict):
            raise InvalidUpstreamResponse("The upstream answered a message with a content block that is not an object.")
        match block.get("type"):
            case "text":
                text = as_str(block.get("text")) or ""
                yield TextPart(text)
                for citation in as_list(block.get("citations")):
                    yield citation_part(as_object(citation), start=offset, end=offset + len(text))
                offset += len(text)
            case "thinking" | "redacted_thinking":
                yield reasoning_part(block)
            case "tool_use":
                yield tool_call_part(block, decode_arguments(block.get("input")))
            case kind:
                yield UnknownPart(NAME, block, kind if isinstance(kind, str) else "")


def tool_call_part(block: JSONObject, arguments: str) -> ToolCallPart:
    """A `tool_use` block."""
    return ToolCallPart(as_str(block.get("id")) or "", as_str(block.get("name")) or "", arguments)
