"""Content blocks: text, pictures and documents."""

from __future__ import annotations

import base64
import binascii
from typing import Final, assert_never

from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    FileSource,
    MediaPart,
    TextPart,
    TextSource,
    ToolResultPart,
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.base import Diagnostics, unsupported

from .wire import CACHE_TTL, IMAGE_TYPES, NAME

_PDF_MAGIC: Final = base64.b64encode(b"%PDF-").rstrip(b"=").decode()[:6]
_TEXTUAL: Final = ("text/", "application/json", "application/xml", "application/javascript")


def text_block(text: str) -> JSONObject:
    """A block of text."""
    return {"type": "text", "text": text}


def cache_control(mark: CacheMark, path: str, notes: Diagnostics) -> JSONObject:
    """A cache breakpoint; lifetimes that do not exist here become the next longer one."""
    result: JSONObject = {"type": "ephemeral"}
    if mark.ttl is not None:
        ttl = CACHE_TTL.get(mark.ttl)
        if ttl != mark.ttl:
            notes.approximated(path, f"A lifetime of {mark.ttl!r} becomes {ttl or 'the default'}.")
        if ttl is not None:
            result["ttl"] = ttl
    return result


def with_cache(block: JSONObject, mark: CacheMark | None, path: str, notes: Diagnostics) -> JSONObject:
    """The block, with its cache breakpoint if it has one."""
    if mark is not None:
        block["cache_control"] = cache_control(mark, f"{path}.cache_control", notes)
    return block


def encode_text(part: TextPart, path: str, notes: Diagnostics) -> JSONObject | None:
    """A text block, or None for text without a visible character, which is refused there."""
    if not part.text.strip():
        if part.text:
            notes.dropped(path, "Blank text is not accepted.", info=True)
        return None
    return with_cache(text_block(part.text), part.cache, path, notes)


def encode_unknown(part: UnknownPart, path: str, notes: Diagnostics) -> JSONObject | None:
    """A block of our own protocol as it came; nothing of another's."""
    if part.protocol == NAME:
        return dict(part.raw)
    notes.dropped(path, f"A part of the kind {part.kind!r} means nothing to this vendor.")
    return None


def encode_media(part: MediaPart, path: str, notes: Diagnostics) -> JSONObject:
    """An `image` or `document` block.

    Raises:
        InvalidRequest: sound, film, a type of picture or document that is not taken, or a file of another vendor's.
    """
    if part.detail is not None:
        notes.dropped(f"{path}.detail", info=True)
    match part.kind:
        case "audio" | "video":
            raise unsupported(path, f"The model takes no {part.kind}.")
        case "document" if part.media_type is None or not part.media_type.startswith("image/"):
            block = _document(part, path)
        case "image" | "document":
            block = {"type": "image", "source": _image_source(part, path)}
        case _:
            assert_never(part.kind)
    return with_cache(block, part.cache, path, notes)


def encode_result(part: ToolResultPart, call_id: str, path: str, notes: Diagnostics) -> JSONObject:
    """A `tool_result` block."""
    blocks: list[JSONValue] = []
    for i, inner in enumerate(part.content):
        block = _result_block(inner, f"{path}.content[{i}]", notes)
        if block is not None:
            blocks.append(block)
    if part.is_error and not blocks:
        blocks.append(text_block("The tool failed without a message."))
    result: JSONObject = {"type": "tool_result", "tool_use_id": call_id}
    if blocks:
        result["content"] = blocks
    if part.is_error is not None:
        result["is_error"] = part.is_error
    return with_cache(result, part.cache, path, notes)


def _result_block(part: TextPart | MediaPart | UnknownPart, path: str, notes: Diagnostics) -> JSONObject | None:
    match part:
        case TextPart():
            return encode_text(part, path, notes)
        case MediaPart():
            return encode_media(part, path, notes)
        case UnknownPart():
            return encode_unknown(part, path, notes)
        case _:
            assert_never(part)


def _image_source(part: MediaPart, path: str) -> JSONObject:
    match part.source:
        case UrlSource(url=url):
            return {"type": "url", "url": url}
        case FileSource():
            return _file_source(part.source, path)
        case Base64Source(data=data):
            media_type = (part.media_type or "").lower()
            media_type = "image/jpeg" if media_type == "image/jpg" else media_type
            if media_type not in IMAGE_TYPES:
                raise unsupported(path, f"The model takes JPEG, PNG, GIF and WebP pictures, not {media_type!r}.")
            return {"type": "base64", "media_type": media_type, "data": data}
        case TextSource():
            raise unsupported(path, "A picture cannot be plain text.")
        case _:
            assert_never(part.source)


def _document(part: MediaPart, path: str) -> JSONObject:
    result: JSONObject = {"type": "document", "source": _document_source(part, path)}
    title = part.title or part.filename
    if title:
        result["title"] = title
    if part.context:
        result["context"] = part.context
    if part.cite is not None:
        result["citations"] = {"enabled": part.cite}
    return result


def _document_source(part: MediaPart, path: str) -> JSONObject:
    media_type = (part.media_type or "").lower().partition(";")[0].strip()
    match part.source:
        case UrlSource(url=url):
            return {"type": "url", "url": url}
        case FileSource():
            return _file_source(part.source, path)
        case TextSource(text=text):
            return {"type": "text", "media_type": "text/plain", "data": text}
        case Base64Source(data=data):
            if media_type == "application/pdf" or (not media_type and data.startswith(_PDF_MAGIC)):
                return {"type": "base64", "media_type": "application/pdf", "data": data}
            if media_type.startswith(_TEXTUAL):
                return {"type": "text", "media_type": "text/plain", "data": _decoded_text(data, path)}
            raise unsupported(path, f"The model takes PDF and plain text documents, not {media_type!r}.")
        case _:
            assert_never(part.source)


def _file_source(source: FileSource, path: str) -> JSONObject:
    if source.protocol != NAME:
        raise unsupported(path, "The file was uploaded to another vendor.")
    return {"type": "file", "file_id": source.id}


def _decoded_text(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise unsupported(path, "The document is not base64 of UTF-8 text.") from None
