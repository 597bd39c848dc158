"""Media in a Gemini client's request."""

from __future__ import annotations

import base64
import re
from typing import Final

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import Base64Source, Extension, FileSource, MediaPart, MediaSource, TextSource, UrlSource
from asgi_llmgw.protocols.fields import invalid

from .fields import GeminiFields
from .media import standard_base64
from .wire import PROTOCOL, RESOLUTION_IN, guess_media_type, media_kind

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")
_FILES: Final = re.compile(r"(?:https://generativelanguage\.googleapis\.com/[^/]+/)?files/|gs://")
_VIDEOS: Final = re.compile(r"https?://(?:(?:www|m)\.)?(?:youtube\.com|youtu\.be)/")
_INLINE: Final = frozenset({"data", "mimeType", "displayName"})
_FILE: Final = frozenset({"fileUri", "mimeType", "displayName"})


def decode_inline(blob: GeminiFields, detail: str | None, lost: list[Extension]) -> MediaPart:
    """`inlineData`: text as text, everything else as the bytes it is.

    Raises:
        InvalidRequest: the data is not base64.
    """
    media_type = blob.text("mimeType") or None
    data = standard_base64(blob.required_text("data"))
    if not _BASE64.match(data) or len(data) % 4:
        raise invalid(blob.at("data"), f"Invalid '{blob.at('data')}': not base64.")
    lost += blob.others(_INLINE)
    source: MediaSource = Base64Source(data)
    if media_type is not None and media_type.lower().startswith("text/"):
        try:
            source = TextSource(base64.b64decode(data).decode())
        except ValueError:
            pass
    kind = media_kind((media_type or "").lower())
    return MediaPart(kind, source, media_type, detail=_seen(kind, detail), filename=blob.text("displayName") or None)


def decode_file(file: GeminiFields, detail: str | None, lost: list[Extension]) -> MediaPart:
    """`fileData`: a file the vendor keeps, or an address it fetches.

    Raises:
        InvalidRequest: there is no address.
    """
    uri = file.required_text("fileUri")
    media_type = file.text("mimeType") or None
    lost += file.others(_FILE)
    kind = media_kind((media_type or guess_media_type(uri) or "").lower())
    if media_type is None and _VIDEOS.match(uri):
        kind = "video"
    source: MediaSource = FileSource(uri, PROTOCOL) if _FILES.match(uri) else UrlSource(uri)
    return MediaPart(kind, source, media_type, detail=_seen(kind, detail), filename=file.text("displayName") or None)


def resolution(value: str | None, path: str) -> str | None:
    """The detail a `mediaResolution` asks for.

    Raises:
        InvalidRequest: it is none.
    """
    if value is None:
        return None
    if value not in RESOLUTION_IN:
        raise InvalidRequest(f"Invalid value: '{value}' is not a resolution.", param=path, code="invalid_value")
    return RESOLUTION_IN[value]


def _seen(kind: str, detail: str | None) -> str | None:
    return detail if kind != "audio" else None
