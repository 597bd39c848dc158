"""Whole answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import (
    Base64Source,
    ChatResponse,
    Choice,
    CitationPart,
    FinishReason,
    MediaPart,
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

from .errors import error_from
from .wire import FINISH, INCOMPLETE, NAME

_SERVER_CALL: Final = "server_tool_use"


def decode_response(body: bytes) -> ChatResponse:
    """Read a whole answer. It names neither itself nor its model.

    Raises:
        InvalidUpstreamResponse: it is not one.
        UpstreamError: it is an error that came with a good status.
    """
    try:
        answer = loads_object(body)
    except JSONError as exc:
        raise InvalidUpstreamResponse(f"The upstream answered something that is not JSON: {exc}") from None
    content = as_object(as_object(answer.get("output")).get("message")).get("content")
    if not isinstance(content, list):
        if "__type" in answer or isinstance(answer.get("message"), str):
            raise error_from(answer, status=None)
        raise InvalidUpstreamResponse("The upstream answered something that is not a message: it has no content.")
    parts = tuple(_parts(content))
    called = any(isinstance(part, ToolCallPart) for part in parts)
    usage = answer.get("usage")
    return ChatResponse(
        choices=(Choice(parts, finish_reason(answer, called=called)),),
        usage=decode_usage(usage) if isinstance(usage, dict) else None,
        service_tier=decode_service_tier(answer),
    )


def finish_reason(ending: JSONObject, *, called: bool) -> FinishReason:
    """Why it ended; a call in the answer has the last word."""
    raw = as_str(ending.get("stopReason"))
    kind = FINISH.get(raw, "other") if raw else "stop"
    if called and raw not in INCOMPLETE:
        kind = "tool_calls"
    additional = as_object(ending.get("additionalModelResponseFields"))
    return FinishReason(kind, raw=raw, stop_sequence=as_str(additional.get("stop_sequence")))


def decode_usage(raw: JSONObject) -> Usage:
    """Tokens. Amazon counts the cached part of the prompt apart; we count the prompt as a whole.

    https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
    """
    read = as_int(raw.get("cacheReadInputTokens"))
    written = as_int(raw.get("cacheWriteInputTokens"))
    fresh = as_int(raw.get("inputTokens"))
    hour = [
        as_int(detail.get("inputTokens"))
        for detail in map(as_object, as_list(raw.get("cacheDetails")))
        if detail.get("ttl") == "1h"
    ]
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=as_int(raw.get("outputTokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour[0] if hour else None,
        raw=raw,
    )


def decode_service_tier(answer: JSONObject) -> str | None:
    """The tier that served."""
    return as_str(as_object(answer.get("serviceTier")).get("type"))


def is_call(tool_use: JSONObject) -> bool:
    """Whether the client shall run it; what Amazon runs itself is marked."""
    return tool_use.get("type") != _SERVER_CALL


def tool_call_part(tool_use: JSONObject, arguments: str) -> ToolCallPart:
    """A `toolUse` block."""
    return ToolCallPart(as_str(tool_use.get("toolUseId")) or "", as_str(tool_use.get("name")) or "", arguments)


def decode_arguments(value: JSONValue) -> str:
    """A call's input as JSON text."""
    match value:
        case None:
            return "{}"
        case str():
            return value
        case _:
            return dumps_text(value)


def signature(value: JSONValue) -> Opaque | None:
    """What proves a thought; an empty one proves nothing."""
    return Opaque(NAME, "signature", value) if isinstance(value, str) and value else None


def redacted(value: JSONValue) -> Opaque | None:
    """A thought that nobody but the vendor can read, base64 as it came."""
    return Opaque(NAME, "redacted", value) if isinstance(value, str) and value else None


def citation_part(raw: JSONObject, *, start: int, end: int) -> CitationPart:
    """A citation of the text between two offsets of the answer."""
    location = as_object(raw.get("location"))
    quoted = (as_str(as_object(item).get("text")) for item in as_list(raw.get("sourceContent")))
    return CitationPart(
        url=as_str(as_object(location.get("web")).get("url")),
        title=as_str(raw.get("title")),
        start=start,
        end=end,
        quote="".join(text for text in quoted if text) or None,
        protocol=NAME,
        raw=raw,
    )


def image_part(image: JSONObject) -> MediaPart | None:
    """A picture, if its bytes are in it."""
    data = as_str(as_object(image.get("source")).get("bytes"))
    kind = as_str(image.get("format"))
    return MediaPart("image", Base64Source(data), f"image/{kind}" if kind else None) if data else None


def unknown_part(block: JSONObject) -> UnknownPart:
    """A block that no other protocol has."""
    return UnknownPart(NAME, block, next(iter(block), ""))


def _parts(content: list[JSONValue]) -> Iterator[OutputPart]:
    offset = 0
    for block in content:
        if not isinstance(block, dict):
            raise InvalidUpstreamResponse("The upstream answered a message with a content block that is not an object.")
        match block:
            case {"text": str(text)}:
                yield TextPart(text)
                offset += len(text)
            case {"citationsContent": dict(cited)}:
                pieces = (as_str(as_object(item).get("text")) for item in as_list(cited.get("content")))
                words = "".join(piece for piece in pieces if piece)
                yield TextPart(words)
                for citation in as_list(cited.get("citations")):
                    yield citation_part(as_object(citation), start=offset, end=offset + len(words))
                offset += len(words)
            case {"reasoningContent": dict(thought)}:
                told = as_object(thought.get("reasoningText"))
                state = redacted(thought.get("redactedContent")) or signature(told.get("signature"))
                yield ReasoningPart(as_str(told.get("text")) or "", state)
            case {"toolUse": dict(call)} if is_call(call):
                yield tool_call_part(call, decode_arguments(call.get("input")))
            case {"image": dict(image)}:
                yield image_part(image) or unknown_part(block)
            case _:
                yield unknown_part(block)
