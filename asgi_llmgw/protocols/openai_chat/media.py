"""Pictures, sounds and files in Chat Completions, both ways."""

from __future__ import annotations

import base64

from asgi_llmgw.ir import Base64Source, FileSource, MediaPart, TextSource, UrlSource
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.base import Diagnostics, unsupported
from asgi_llmgw.protocols.data_urls import data_url, source_of_url
from asgi_llmgw.protocols.fields import Fields

from .wire import AUDIO_TYPES_IN, AUDIO_TYPES_OUT, NAME


def decode_image(part: Fields) -> MediaPart:
    """An `image_url` part; the address stands in an object, with some clients alone."""
    value = part.value("image_url")
    image = part if isinstance(value, str) else part.required_object("image_url")
    key = "image_url" if isinstance(value, str) else "url"
    source, media_type = source_of_url(image.required_text(key), image.at(key))
    return MediaPart("image", source, media_type, detail=image.text("detail"))


def decode_audio(part: Fields) -> MediaPart:
    """An `input_audio` part."""
    audio = part.required_object("input_audio")
    form = audio.required_text("format").lower()
    return MediaPart("audio", Base64Source(audio.required_text("data")), AUDIO_TYPES_IN.get(form, f"audio/{form}"))


def decode_file(part: Fields) -> MediaPart:
    """A `file` part."""
    file = part.required_object("file")
    filename = file.text("filename")
    identifier = file.text("file_id")
    if identifier is not None:
        return MediaPart("document", FileSource(identifier, NAME), filename=filename)
    data = file.required_text("file_data")
    source, media_type = source_of_url(data, file.at("file_data"))
    if isinstance(source, UrlSource) and "://" not in data:
        source, media_type = Base64Source(data), None
    kind = (media_type or "").partition("/")[0]
    match kind:
        case "image":
            return MediaPart("image", source, media_type, filename=filename)
        case "audio":
            return MediaPart("audio", source, media_type, filename=filename)
        case "video":
            return MediaPart("video", source, media_type, filename=filename)
        case _:
            return MediaPart("document", source, media_type or _type_of_name(filename), filename=filename)


def decode_video(part: Fields) -> MediaPart:
    """A `video_url` part, as OpenRouter and vLLM have it."""
    source, media_type = source_of_url(part.required_object("video_url").required_text("url"), part.at("video_url.url"))
    return MediaPart("video", source, media_type)


def _type_of_name(filename: str | None) -> str | None:
    return "application/pdf" if filename is not None and filename.lower().endswith(".pdf") else None


def encode_media(part: MediaPart, path: str, diagnostics: Diagnostics) -> JSONObject:
    """A content part of a user message.

    Raises:
        InvalidRequest: Chat Completions has no part for this.
    """
    if part.cache is not None:
        diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
    match part.kind:
        case "image":
            return _encode_image(part, path)
        case "audio":
            return _encode_audio(part, path)
        case "document":
            return _encode_document(part, path, diagnostics)
        case "video":
            raise unsupported(path, "Chat Completions has no video parts")


def image_url(part: MediaPart) -> str | None:
    """The address of a picture, None for a file at a vendor."""
    match part.source:
        case UrlSource(url):
            return url
        case Base64Source(data):
            return data_url(part.media_type or "image/png", data)
        case TextSource() | FileSource():
            return None


def _encode_image(part: MediaPart, path: str) -> JSONObject:
    url = image_url(part)
    if url is None:
        raise unsupported(path, "Chat Completions takes pictures by URL or as bytes, not by file id")
    image: JSONObject = {"url": url}
    if part.detail in ("auto", "low", "high", "original"):
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _encode_audio(part: MediaPart, path: str) -> JSONObject:
    form = AUDIO_TYPES_OUT.get((part.media_type or "").partition(";")[0].strip().lower())
    if not isinstance(part.source, Base64Source) or form is None:
        raise unsupported(path, "Chat Completions takes sound as wav or mp3 bytes only")
    return {"type": "input_audio", "input_audio": {"data": part.source.data, "format": form}}


def _encode_document(part: MediaPart, path: str, diagnostics: Diagnostics) -> JSONObject:
    if part.cite:
        diagnostics.dropped(f"{path}.citations", "the answer will not cite this document")
    if part.context is not None:
        diagnostics.dropped(f"{path}.context", "documents have no context field")
    if part.title is not None and part.title != part.filename:
        diagnostics.dropped(f"{path}.title", "documents have no title field", info=True)
    match part.source:
        case TextSource(text):
            return {"type": "text", "text": text}
        case FileSource(identifier, protocol):
            if protocol not in (NAME, "openai_responses"):
                raise unsupported(path, "a file uploaded to another vendor cannot be read here")
            return {"type": "file", "file": {"file_id": identifier}}
        case UrlSource():
            raise unsupported(path, "Chat Completions does not fetch documents: send the bytes")
        case Base64Source(data):
            return _document_bytes(part, data, path, diagnostics)


def _document_bytes(part: MediaPart, data: str, path: str, diagnostics: Diagnostics) -> JSONObject:
    media_type = (part.media_type or "").partition(";")[0].strip().lower()
    if media_type.startswith("text/"):
        try:
            return {"type": "text", "text": base64.b64decode(data, validate=True).decode()}
        except ValueError:
            raise unsupported(path, "a text document must be base64 of UTF-8") from None
    filename = part.filename or part.title
    if filename is None:
        filename = "document.pdf" if media_type == "application/pdf" else "document"
        diagnostics.defaulted(f"{path}.filename", "Chat Completions wants a file name")
    return {"type": "file", "file": {"filename": filename, "file_data": data_url(part.media_type, data)}}
