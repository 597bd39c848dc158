"""Pictures and files in Responses, both ways."""

from __future__ import annotations

import base64

from asgi_llmgw.ir import Base64Source, FileSource, MediaPart, TextSource, UrlSource
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.base import Diagnostics, unsupported
from asgi_llmgw.protocols.data_urls import data_url, source_of_url
from asgi_llmgw.protocols.fields import Fields, missing

from .wire import NAME

_DETAILS = ("auto", "low", "high", "original")


def decode_image(part: Fields) -> MediaPart:
    """An `input_image` part."""
    detail = part.text("detail")
    identifier = part.text("file_id")
    if identifier is not None:
        return MediaPart("image", FileSource(identifier, NAME), detail=detail)
    source, media_type = source_of_url(part.required_text("image_url"), part.at("image_url"))
    return MediaPart("image", source, media_type, detail=detail)


def decode_file(part: Fields) -> MediaPart:
    """An `input_file` part: what it is, its media type tells, or else its name."""
    filename, detail = part.text("filename"), part.text("detail")
    identifier, url, data = part.text("file_id"), part.text("file_url"), part.text("file_data")
    if identifier is not None:
        return MediaPart("document", FileSource(identifier, NAME), detail=detail, filename=filename)
    if url is not None:
        return MediaPart("document", UrlSource(url), _type_of_name(url), detail=detail, filename=filename)
    if data is None:
        raise missing(part.at("file_data"))
    source, media_type = source_of_url(data, part.at("file_data"))
    if isinstance(source, UrlSource) and "://" not in data:
        source, media_type = Base64Source(data), None
    kind = "image" if (media_type or "").startswith("image/") else "document"
    media_type = media_type or _type_of_name(filename)
    if kind == "image":
        return MediaPart("image", source, media_type, detail=detail, filename=filename)
    return MediaPart("document", source, media_type, detail=detail, filename=filename)


def decode_audio(part: Fields) -> MediaPart:
    """An `input_audio` part, which some servers take as Chat Completions has it."""
    audio = part.required_object("input_audio")
    form = audio.required_text("format").lower()
    media_type = "audio/mpeg" if form == "mp3" else f"audio/{form}"
    return MediaPart("audio", Base64Source(audio.required_text("data")), media_type)


def _type_of_name(name: str | None) -> str | None:
    return "application/pdf" if name is not None and name.lower().endswith(".pdf") else None


def encode_media(part: MediaPart, path: str, diagnostics: Diagnostics) -> JSONObject:
    """A content part of a user's message or of a tool's result.

    Raises:
        InvalidRequest: Responses has no part for this.
    """
    if part.cache is not None:
        diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
    match part.kind:
        case "image":
            return _encode_image(part, path)
        case "document":
            return _encode_document(part, path, diagnostics)
        case "audio" | "video":
            raise unsupported(path, f"Responses takes no {part.kind} in messages")


def _file_id(source: FileSource, path: str) -> str:
    if source.protocol not in (NAME, "openai_chat"):
        raise unsupported(path, "a file uploaded to another vendor cannot be read here")
    return source.id


def _encode_image(part: MediaPart, path: str) -> JSONObject:
    image: JSONObject = {"type": "input_image", "detail": part.detail if part.detail in _DETAILS else "auto"}
    match part.source:
        case UrlSource(url):
            image["image_url"] = url
        case Base64Source(data):
            image["image_url"] = data_url(part.media_type or "image/png", data)
        case FileSource():
            image["file_id"] = _file_id(part.source, path)
        case TextSource():
            raise unsupported(path, "a picture is not text")
    return image


def _encode_document(part: MediaPart, path: str, diagnostics: Diagnostics) -> JSONObject:
    if part.cite:
        diagnostics.dropped(f"{path}.citations", "the answer will not cite this document")
    if part.context is not None:
        diagnostics.dropped(f"{path}.context", "documents have no context field")
    if part.title is not None and part.title != part.filename:
        diagnostics.dropped(f"{path}.title", "documents have no title field", info=True)
    match part.source:
        case TextSource(text):
            return {"type": "input_text", "text": text}
        case FileSource():
            return {"type": "input_file", "file_id": _file_id(part.source, path)}
        case UrlSource(url):
            return {"type": "input_file", "file_url": url}
        case Base64Source(data):
            return _document_bytes(part, data, path, diagnostics)


def _document_bytes(part: MediaPart, data: str, path: str, diagnostics: Diagnostics) -> JSONObject:
    media_type = (part.media_type or "").partition(";")[0].strip().lower()
    if media_type.startswith("text/"):
        try:
            return {"type": "input_text", "text": base64.b64decode(data, validate=True).decode()}
        except ValueError:
            raise unsupported(path, "a text document must be base64 of UTF-8") from None
    filename = part.filename or part.title
    if filename is None:
        filename = "document.pdf" if media_type == "application/pdf" else "document"
        diagnostics.defaulted(f"{path}.filename", "Responses wants a file name")
    return {"type": "input_file", "filename": filename, "file_data": data_url(part.media_type, data)}
