"""Content blocks: text, media, tool results, and the cache points between them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
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
from asgi_llmgw.protocols.base import Diagnostics, Profile, unsupported

from .wire import AUDIO_FORMATS, CACHE_TTL, DOCUMENT_FORMATS, IMAGE_FORMATS, NAME, TEXTUAL, VIDEO_FORMATS

_PDF_MAGIC: Final = base64.b64encode(b"%PDF-").rstrip(b"=").decode()[:6]
_NAMELESS: Final = "document"
_NAME_LIMIT: Final = 180
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9\-()\[\]]+")
_EXTENSION: Final = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")


def text_block(text: str) -> JSONObject:
    """A block of text."""
    return {"text": text}


class ContentEncoder:
    """Makes blocks of parts.

    A document is known by its name, which has to be unlike the others of the request and may have few characters.

    Args:
        profile: says where the model takes cache points.
        notes: what is lost.
    """

    def __init__(self, profile: Profile, notes: Diagnostics) -> None:
        self._profile = profile
        self._notes = notes
        self._names: set[str] = set()

    def text(self, part: TextPart, path: str) -> list[JSONObject]:
        """A text block; none for text without a visible character, which is refused there."""
        if part.text.strip():
            return [text_block(part.text)]
        if part.text:
            self._notes.dropped(path, "Blank text is not accepted.", info=True)
        return []

    def unknown(self, part: UnknownPart, path: str) -> list[JSONObject]:
        """A block of our own protocol as it came; nothing of another's."""
        if part.protocol == NAME:
            return [dict(part.raw)]
        self._notes.dropped(path, f"A part of the kind {part.kind!r} means nothing to this vendor.")
        return []

    def media(self, part: MediaPart, path: str) -> list[JSONObject]:
        """An `image`, `document`, `video` or `audio` block.

        Raises:
            InvalidRequest: a type that is not taken, an address on the web, or a file of another vendor's.
        """
        if part.detail is not None:
            self._notes.dropped(f"{path}.detail", info=True)
        media_type = (part.media_type or "").lower().partition(";")[0].strip()
        match part.kind:
            case "document" if not media_type.startswith("image/"):
                return [{"document": self._document(part, media_type, path)}]
            case "image" | "document":
                return [{"image": _media(part, media_type, IMAGE_FORMATS, path)}]
            case "video":
                return [{"video": _media(part, media_type, VIDEO_FORMATS, path)}]
            case "audio":
                return [{"audio": _media(part, media_type, AUDIO_FORMATS, path)}]
            case _:
                assert_never(part.kind)

    def result(self, part: ToolResultPart, call_id: str, path: str) -> list[JSONObject]:
        """A `toolResult` block. Text stays text, JSON or not: some JSON is refused."""
        blocks: list[JSONValue] = []
        for i, inner in enumerate(part.content):
            blocks += self._inside_result(inner, f"{path}.content[{i}]")
        if part.is_error and not blocks:
            blocks.append(text_block("The tool failed without a message."))
        result: JSONObject = {"toolUseId": call_id, "content": blocks}
        if part.is_error:
            result["status"] = "error"
        return [{"toolResult": result}]

    def add(
        self, blocks: list[JSONObject], new: list[JSONObject], mark: CacheMark | None, place: str, path: str
    ) -> None:
        """Put blocks behind others, and after them a cache point if there is a mark."""
        blocks += new
        if mark is None or not blocks or "cachePoint" in blocks[-1]:
            return
        if place in self._profile.cache_points:
            blocks.append({"cachePoint": self.cache_point(mark, path)})
        else:
            self._notes.dropped(f"{path}.cache_control", "The model takes no cache point here.", info=True)

    def cache_point(self, mark: CacheMark, path: str) -> JSONObject:
        """A cache point; lifetimes that do not exist here become the next longer one."""
        ttl = CACHE_TTL.get(mark.ttl or "5m")
        if mark.ttl not in (None, "5m", "1h"):
            self._notes.approximated(f"{path}.cache_control", f"A lifetime of {mark.ttl!r} becomes {ttl or '5m'}.")
        return {"type": "default"} if ttl is None else {"type": "default", "ttl": ttl}

    def _inside_result(self, part: TextPart | MediaPart | UnknownPart, path: str) -> list[JSONObject]:
        match part:
            case TextPart():
                return self.text(part, path)
            case MediaPart(kind="audio"):
                raise unsupported(path, "A tool cannot answer the model with audio.")
            case MediaPart():
                return self.media(part, path)
            case UnknownPart():
                return self.unknown(part, path)
            case _:
                assert_never(part)

    def _document(self, part: MediaPart, media_type: str, path: str) -> JSONObject:
        if isinstance(part.source, TextSource):
            source: JSONObject = {"bytes": base64.b64encode(part.source.text.encode("utf-8", "replace")).decode()}
            kind = DOCUMENT_FORMATS.get(media_type, "txt")
        else:
            source = _source(part, path)
            kind = _document_format(part, media_type, path)
        result: JSONObject = {"format": kind, "name": self._name(part, path), "source": source}
        if part.context:
            result["context"] = part.context
        if part.cite:
            result["citations"] = {"enabled": True}
        return result

    def _name(self, part: MediaPart, path: str) -> str:
        wanted = part.title or part.filename or ""
        stem = _NOT_IN_NAMES.sub(" ", _EXTENSION.sub("", wanted)).strip()[:_NAME_LIMIT].rstrip() or _NAMELESS
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem} {number}"
        self._names.add(name)
        if wanted and name != wanted:
            self._notes.renamed(path, f"The document {wanted!r} is {name!r} for this model.")
        return name


def _media(part: MediaPart, media_type: str, formats: Mapping[str, str], path: str) -> JSONObject:
    kind = formats.get(media_type)
    if kind is None and isinstance(part.source, UrlSource) and not media_type:
        kind = _by_name(part.source.url, formats)
    # what cannot be brought at all is said first
    source = _source(part, path)
    if kind is None:
        taken = ", ".join(sorted(set(formats.values())))
        raise unsupported(path, f"The vendor takes {part.kind} as {taken}, not as {media_type!r}.")
    return {"format": kind, "source": source}


def _source(part: MediaPart, path: str) -> JSONObject:
    match part.source:
        case Base64Source(data=data) if data:
            return {"bytes": data}
        case UrlSource(url=url) if url.startswith("s3://"):
            return {"s3Location": {"uri": url}}
        case UrlSource():
            raise unsupported(path, "The vendor takes the bytes themselves or an address in S3, none on the web.")
        case FileSource():
            raise unsupported(path, "The file was uploaded to another vendor.")
        case Base64Source() | TextSource():
            raise unsupported(path, f"This is no {part.kind}.")
        case _:
            assert_never(part.source)


def _document_format(part: MediaPart, media_type: str, path: str) -> str:
    if media_type in DOCUMENT_FORMATS:
        return DOCUMENT_FORMATS[media_type]
    if media_type.startswith(TEXTUAL):
        return "txt"
    if not media_type:
        if isinstance(part.source, Base64Source) and part.source.data.startswith(_PDF_MAGIC):
            return "pdf"
        named = part.source.url if isinstance(part.source, UrlSource) else part.filename or ""
        kind = _by_name(named, {**DOCUMENT_FORMATS, "text/plain": "txt"})
        if kind is not None:
            return kind
    raise unsupported(path, f"The vendor takes PDF, office and text documents, not {media_type!r}.")


def _by_name(name: str, formats: Mapping[str, str]) -> str | None:
    """The format that the end of a name tells."""
    ending = name.rpartition(".")[2].lower()
    ending = {"jpg": "jpeg", "htm": "html", "3gp": "three_gp"}.get(ending, ending)
    return ending if ending in formats.values() else None
