"""Media on their way to Gemini."""

from __future__ import annotations

import base64
import re
from typing import Final, assert_never

from asgi_llmgw.ir import Base64Source, FileSource, MediaPart, TextSource, UrlSource
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.base import Diagnostics, unsupported

from .wire import BASE64_MAGIC, PROTOCOL, guess_media_type

_FETCHED: Final = ("https://", "http://", "gs://")
_SPACE: Final = re.compile(r"\s+")
_TO_STANDARD: Final = str.maketrans("-_", "+/")


def encode_media(media: MediaPart, path: str, lost: Diagnostics) -> JSONObject:
    """The part, without its signature.

    Raises:
        InvalidRequest: Gemini cannot be given this medium.
    """
    for name in ("title", "context", "transcript"):
        if getattr(media, name) is not None:
            lost.dropped(f"{path}.{name}", "Gemini has no place for it")
    if media.cite:
        lost.dropped(f"{path}.citations", "Gemini does not cite documents")
    if media.filename is not None:
        lost.dropped(f"{path}.filename", "Gemini has no place for it", info=True)
    source = media.source
    match source:
        case Base64Source():
            data = standard_base64(source.data)
            return _inline(_media_type(media, data, path), data)
        case TextSource():
            data = base64.b64encode(source.text.encode("utf-8", "replace")).decode()
            return _inline(media.media_type or "text/plain", data)
        case UrlSource():
            if not source.url.startswith(_FETCHED):
                raise unsupported(path, "Gemini fetches media from https, http and gs addresses only.")
            return _file(source.url, media.media_type or guess_media_type(source.url))
        case FileSource():
            if source.protocol != PROTOCOL:
                raise unsupported(path, "The file was uploaded to another vendor; send its content instead.")
            return _file(source.id, media.media_type)
        case _:
            assert_never(source)


def standard_base64(data: str) -> str:
    """Standard base64 with its padding, from either alphabet."""
    if data.isascii() and not len(data) % 4 and "-" not in data and "_" not in data and "\n" not in data:
        return data
    bare = _SPACE.sub("", data).translate(_TO_STANDARD).rstrip("=")
    return bare + "=" * (-len(bare) % 4)


def _media_type(media: MediaPart, data: str, path: str) -> str:
    """What the client said, else what the first bytes or the file's name tell."""
    found = media.media_type or next((name for magic, name in BASE64_MAGIC if data.startswith(magic)), None)
    found = found or guess_media_type(media.filename or "")
    if found is None:
        raise unsupported(path, "Gemini needs the media type of this content.")
    return found


def _inline(media_type: str, data: str) -> JSONObject:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _file(uri: str, media_type: str | None) -> JSONObject:
    data: JSONObject = {"fileUri": uri}
    if media_type is not None:
        data["mimeType"] = media_type
    return {"fileData": data}
