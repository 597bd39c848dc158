"""Content blocks of a client's request, read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from asgi_llmgw.ir import (
    Base64Source,
    FileSource,
    MediaPart,
    ReasoningPart,
    TextPart,
    TextSource,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import dumps_text
from asgi_llmgw.protocols.fields import Fields, invalid, missing, wrong_type

from .kept import Kept, cache_mark
from .response import reasoning_part
from .wire import NAME

ContentPart: TypeAlias = TextPart | MediaPart | UnknownPart


def text_part(block: Fields) -> TextPart:
    """A `text` block."""
    return TextPart(block.required_text("text"), cache_mark(block))


def content_parts(block: Fields, kept: Kept) -> list[ContentPart]:
    """A block that a user may show or a tool may answer with; blocks only the vendor knows stay as they are."""
    kind = block.required_text("type")
    match kind:
        case "text":
            return [text_part(block)]
        case "image":
            return [_image(block)]
        case "document":
            return _document(block, kept)
        case "search_result":
            return [_search_result(block, kept)]
        case _:
            return [UnknownPart(NAME, block.take_all(), kind)]


def tool_call(block: Fields) -> ToolCallPart:
    """A `tool_use` block."""
    arguments = block.raw_object("input")
    if arguments is None:
        raise missing(block.at("input"))
    return ToolCallPart(
        block.required_text("id"),
        block.required_text("name"),
        dumps_text(arguments),
        cache=cache_mark(block),
    )


def tool_result(block: Fields, names: dict[str, str], kept: Kept) -> ToolResultPart:
    """A `tool_result` block; `names` are those of the calls so far, by id."""
    call_id = block.required_text("tool_use_id")
    content = block.value("content")
    parts: list[ContentPart] = []
    if isinstance(content, str):
        parts += [TextPart(content)] if content else []
    elif isinstance(content, list):
        for inner in block.objects("content"):
            found = inner.value("type") == "tool_reference"
            parts += [_tool_found(inner)] if found else content_parts(inner, kept)
    elif content is not None:
        raise wrong_type(block.at("content"), "a string or an array", content)
    return ToolResultPart(call_id, tuple(parts), names.get(call_id), block.flag("is_error"), cache=cache_mark(block))


def _tool_found(block: Fields) -> UnknownPart:
    """A tool that the client's own search has found.

    Other vendors are offered it from the start; a search that seems to have found nothing would hide it there.
    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/tool-search-tool
    """
    words = f"Found the tool {block.required_text('tool_name')}: it can be called now."
    return UnknownPart(NAME, block.take_all(), "tool_reference", words)


def thinking(block: Fields) -> ReasoningPart:
    """A `thinking` or `redacted_thinking` block: what it holds is not touched, not even blanks (R1, trap 21)."""
    if block.value("type") == "redacted_thinking":
        block.required_text("data")
    else:
        block.required_text("thinking")
        block.text("signature")
    return reasoning_part(block.data)


def _image(block: Fields) -> MediaPart:
    source = block.required_object("source")
    cache = cache_mark(block)
    match source.required_text("type"):
        case "base64":
            data = Base64Source(source.required_text("data"))
            return MediaPart("image", data, source.required_text("media_type"), cache=cache)
        case "url":
            return MediaPart("image", UrlSource(source.required_text("url")), cache=cache)
        case "file":
            return MediaPart("image", FileSource(source.required_text("file_id"), NAME), cache=cache)
        case kind:
            raise _unknown_source(source, kind, "'base64', 'url' and 'file'")


def _document(block: Fields, kept: Kept) -> list[ContentPart]:
    source = block.required_object("source")
    media_type: str | None = None
    content: Base64Source | TextSource | UrlSource | FileSource
    match source.required_text("type"):
        case "base64":
            content, media_type = Base64Source(source.required_text("data")), source.required_text("media_type")
        case "text":
            source.take("media_type")  # there is one kind of text only
            content, media_type = TextSource(source.required_text("data")), "text/plain"
        case "url":
            content, media_type = UrlSource(source.required_text("url")), "application/pdf"
        case "file":
            content = FileSource(source.required_text("file_id"), NAME)
        case "content":
            parts = _chunks(source, kept)
            if not all(isinstance(part, TextPart) for part in parts):
                return parts
            text = "\n\n".join(part.text for part in parts if isinstance(part, TextPart))
            content, media_type = TextSource(text), "text/plain"
        case kind:
            raise _unknown_source(source, kind, "'base64', 'text', 'content', 'url' and 'file'")
    return [
        MediaPart(
            "document",
            content,
            media_type,
            title=block.text("title"),
            context=block.text("context"),
            cite=_cite(block),
            cache=cache_mark(block),
        )
    ]


def _chunks(source: Fields, kept: Kept) -> list[ContentPart]:
    """A document in pieces of the client's making, for citations to point at. No other vendor knows the pieces."""
    content = source.value("content")
    if isinstance(content, str):
        return [TextPart(content)]
    kept.keep(source.at("content"), content, "info")
    return [part for inner in source.objects("content") for part in content_parts(inner, kept)]


def _search_result(block: Fields, kept: Kept) -> MediaPart:
    """A document: its text, and before it where the text comes from."""
    kept.keep(block.at("type"), "search_result", "info")
    texts = [inner.text for inner in _texts(block)]
    text = "\n\n".join([f"Source: {block.required_text('source')}", *texts])
    return MediaPart(
        "document",
        TextSource(text),
        "text/plain",
        title=block.text("title"),
        cite=_cite(block),
        cache=cache_mark(block),
    )


def _texts(block: Fields) -> Iterator[TextPart]:
    for inner in block.objects("content"):
        kind = inner.required_text("type")
        if kind != "text":
            raise invalid(inner.at("type"), f"Invalid value: '{kind}'. Supported values are: 'text'.")
        yield text_part(inner)


def _cite(block: Fields) -> bool | None:
    citations = block.object("citations")
    return None if citations is None else citations.flag("enabled")


def _unknown_source(source: Fields, kind: str, supported: str) -> Exception:
    return invalid(source.at("type"), f"Invalid value: '{kind}'. Supported values are: {supported}.")
