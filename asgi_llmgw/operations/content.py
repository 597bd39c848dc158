"""What a model of Gemini's is given beside text, and what it has made of it: speech, transcripts and edited pictures
have this in common.

https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import Base64Source, MediaPart, TextPart, Usage
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols import codec

MAX_REQUEST: Final = 20_000_000
"""Bytes of a request with files in it that each of the vendors takes
(https://ai.google.dev/gemini-api/docs/file-input-methods; some take more by now)."""
MAX_FORM: Final = MAX_REQUEST * 3 // 4
"""Bytes of a form that has room in such a request: base64 makes four bytes of three."""


def ask(model: str, parts: Sequence[JSONValue], settings: JSONObject) -> tuple[str, bytes]:
    """Path and body of a request for one answer.

    Raises:
        InvalidRequest: it is larger than the vendor takes.
    """
    contents: list[JSONValue] = [{"role": "user", "parts": [*parts]}]
    body = dumps({"contents": contents, **({"generationConfig": settings} if settings else {})})
    if len(body) > MAX_REQUEST:
        raise too_large()
    return f"/v1beta/models/{quote(model, safe='')}:generateContent", body


def inline(media_type: str, content: bytes) -> JSONObject:
    """A file as a part."""
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(content).decode()}}


def too_large() -> InvalidRequest:
    """The error for what this vendor would not take; another target of the model may."""
    return InvalidRequest(
        f"The vendor of this model takes requests of up to {MAX_REQUEST // 1_000_000} MB: a form with files for it has "
        f"{MAX_FORM // 1_000_000} MB at most.",
        kind="unsupported",
        param="file",
        code="upload_too_large",
    )


class Made:
    """One answer, read.

    Args:
        what: it should be, for the messages of errors.

    Raises:
        UpstreamError: it cannot be read, the vendor's policy has stopped it, or it was cut off.
    """

    def __init__(self, body: bytes, what: str) -> None:
        answer = codec("gemini_generate").decode_response(body)
        choice = answer.choices[0]
        if choice.finish.kind == "content_filter":
            raise UpstreamError(
                f"The vendor's policy does not allow {what}.",
                failure="filtered",
                kind="bad_request",
                code="content_filter",
            )
        if choice.finish.kind == "length":
            # it would be again, and nobody is to take a part for the whole
            raise UpstreamError(
                f"This is too much for the model: the vendor has cut {what} off.",
                failure="caller_fault",
                kind="context_too_long",
                code="context_length_exceeded",
            )
        self._parts = choice.parts
        self._finish = choice.finish.kind
        self._what = what
        self.usage: Usage | None = answer.usage

    def text(self) -> str:
        """The text, which may be empty where the model has ended by itself.

        Raises:
            InvalidUpstreamResponse: it did not get as far as that.
        """
        found = "".join(part.text for part in self._parts if isinstance(part, TextPart)).strip()
        if not found and self._finish != "stop":
            raise self._missing()
        return found

    def sounds(self) -> list[tuple[str, str]]:
        """Media type and base64 of what can be heard.

        Raises:
            InvalidUpstreamResponse: there is nothing.
        """
        media = [part for part in self._parts if isinstance(part, MediaPart) and part.kind == "audio"]
        found = [(part.media_type or "", part.source.data) for part in media if isinstance(part.source, Base64Source)]
        if not found:
            raise self._missing()
        return found

    def _missing(self) -> InvalidUpstreamResponse:
        return InvalidUpstreamResponse(f"the upstream has not sent {self._what}")
