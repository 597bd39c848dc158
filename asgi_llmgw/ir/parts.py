"""What a message is made of, in words that belong to no vendor.

All values are frozen. `None` means that nobody said anything: it is never a default, and it is never written out.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from asgi_llmgw.json import JSONObject

Protocol: TypeAlias = Literal[
    "openai_chat", "openai_responses", "anthropic_messages", "gemini_generate", "bedrock_converse"
]


class Opaque(msgspec.Struct, frozen=True):
    """State of a vendor's that we carry and never read: a thinking signature, encrypted reasoning, a thought signature.

    It goes back to the protocol it came from, byte for byte, and to no other. `via` is set where that is not the
    vendor's own: servers that speak Chat Completions for many vendors tell the state of each.
    """

    protocol: Protocol
    kind: Literal["signature", "redacted", "encrypted", "thought_signature"]
    payload: str
    id: str | None = None
    via: Protocol | None = None


class CacheMark(msgspec.Struct, frozen=True):
    """A prompt-cache breakpoint after this part. `ttl` is the vendor's own spelling (`5m`, `1h`, `30m`)."""

    ttl: str | None = None


class TextPart(msgspec.Struct, frozen=True):
    """Ordinary text. `signature` is set where a vendor signs answers (Gemini)."""

    text: str
    cache: CacheMark | None = None
    signature: Opaque | None = None
    phase: str | None = None


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    """The bytes themselves, as standard base64 text."""

    data: str


class TextSource(msgspec.Struct, frozen=True, tag="text"):
    """A document that is plain text."""

    text: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """An address the vendor fetches; we never do."""

    url: str


class FileSource(msgspec.Struct, frozen=True, tag="file"):
    """A file that was uploaded to one vendor and means nothing to another."""

    id: str
    protocol: Protocol


MediaSource: TypeAlias = Base64Source | TextSource | UrlSource | FileSource


class MediaPart(msgspec.Struct, frozen=True):
    """A picture, a sound, a film or a document. `media_type` is a MIME type, None where a URL keeps it to itself."""

    kind: Literal["image", "audio", "video", "document"]
    source: MediaSource
    media_type: str | None = None
    detail: str | None = None
    filename: str | None = None
    title: str | None = None
    context: str | None = None
    cite: bool | None = None
    cache: CacheMark | None = None
    signature: Opaque | None = None
    transcript: str | None = None


class ReasoningPart(msgspec.Struct, frozen=True):
    """Thinking the vendor shows (`text`, possibly empty) with the opaque state that proves it."""

    text: str = ""
    opaque: Opaque | None = None


class ToolCallPart(msgspec.Struct, frozen=True):
    """A call the model asks for.

    `arguments` is JSON text exactly as the model wrote it (free text for a `custom` tool): it may be empty or broken.
    An `id` that the vendor did not give is empty; encoders that need one derive it.
    """

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    signature: Opaque | None = None
    cache: CacheMark | None = None


class RefusalPart(msgspec.Struct, frozen=True):
    """The model declines, in words."""

    text: str


class CitationPart(msgspec.Struct, frozen=True):
    """Where the text before it comes from.

    `start` and `end` are character offsets into the whole text of the choice. `raw` is the vendor's own object, which
    only that protocol writes again.
    """

    url: str | None = None
    title: str | None = None
    start: int | None = None
    end: int | None = None
    quote: str | None = None
    protocol: Protocol | None = None
    raw: JSONObject | None = None


class UnknownPart(msgspec.Struct, frozen=True):
    """A part only its own protocol knows: written again there, a diagnostic elsewhere.

    `words` say the same as text, where a tool's result would say nothing to other vendors without them.
    """

    protocol: Protocol
    raw: JSONObject
    kind: str = ""
    words: str = ""


class ToolResultPart(msgspec.Struct, frozen=True):
    """What a tool answered. `name` is filled in by the decoder from the call it belongs to, where it can be found."""

    call_id: str
    content: tuple[TextPart | MediaPart | UnknownPart, ...]
    name: str | None = None
    is_error: bool | None = None
    kind: Literal["function", "custom"] = "function"
    cache: CacheMark | None = None


Part: TypeAlias = (
    TextPart | MediaPart | ReasoningPart | ToolCallPart | ToolResultPart | RefusalPart | CitationPart | UnknownPart
)
OutputPart: TypeAlias = TextPart | MediaPart | ReasoningPart | ToolCallPart | RefusalPart | CitationPart | UnknownPart
