"""From a client's request to the one that a vendor gets, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from typing import Protocol as Interface
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import Diagnostic, Protocol, Usage
from asgi_llmgw.operations import image_edits, images, speech, transcripts
from asgi_llmgw.operations.embeddings.translate import translate_embeddings
from asgi_llmgw.operations.openai import characters_in, pictures_in, usage_in
from asgi_llmgw.operations.table import family, wire

_SAME: Final[Mapping[str, str]] = MappingProxyType({"/v2/rerank": "/v1/rerank"})
"""Paths of Cohere's that others have under OpenAI's version; where that differs a provider's own `paths` say so."""
_QUERY: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "files": frozenset({"after", "limit", "order", "purpose"}),
        "batches": frozenset({"after", "limit"}),
        "caches": frozenset({"pageSize", "pageToken", "updateMask"}),
        "usage": frozenset(
            {
                "start_time",
                "end_time",
                "bucket_width",
                "limit",
                "page",
                "group_by",
                "models",
                "project_ids",
                "user_ids",
                "api_key_ids",
                "batch",
            }
        ),
    }
)
"""What of a query is passed on."""
_FORMS: Final = frozenset(
    {transcripts.TRANSCRIPTIONS, transcripts.TRANSLATIONS, image_edits.EDITS, image_edits.VARIATIONS}
)
"""The paths of operations that are asked for in forms, and that a vendor of Gemini's can be asked for."""


class Translation(Interface):
    """A request in another vendor's words, and how its answer is read."""

    @property
    def path(self) -> str: ...

    @property
    def body(self) -> bytes: ...

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]: ...

    @property
    def kind(self) -> bytes:
        """The media type of what `answer` gives."""
        ...

    def answer(self, body: bytes, /, *, model: str) -> tuple[bytes, Usage | None]:
        """The vendor's answer in the client's words, and what was used.

        Raises:
            UpstreamError: it cannot be read.
        """
        ...


class OperationCall(msgspec.Struct, frozen=True):
    """A request for a vendor.

    Args:
        protocol: what the vendor speaks.
        translation: reads its answer, where that is not the client's protocol.
        operation: what is asked for.
    """

    protocol: Protocol
    path: str
    body: bytes
    translation: Translation | None = None
    operation: str = ""

    def diagnostics(self, refuse: bool) -> tuple[Diagnostic, ...]:
        """What is lost of the request.

        Args:
            refuse: nothing may be.

        Raises:
            InvalidRequest: something is.
        """
        lost = () if self.translation is None else self.translation.diagnostics
        for item in lost:
            if refuse and item.severity != "info":
                raise InvalidRequest(
                    f"{item.path} cannot be carried over to the model's vendor: {item.detail or item.code}",
                    kind="unsupported",
                    param=item.path,
                    code="lossy_translation",
                )
        return lost

    def answer(self, body: bytes, *, model: str) -> tuple[bytes, Usage | None]:
        """The whole answer for the client, and what was used.

        Args:
            model: what the client calls it.

        Raises:
            InvalidUpstreamResponse: the vendor's cannot be read.
        """
        if self.translation is not None:
            body, usage = self.translation.answer(body, model=model)
        else:
            usage = usage_in(body)
        if self.operation == "images":
            usage = msgspec.structs.replace(usage or Usage(), pictures=pictures_in(body))
        return body, usage

    def unread(self) -> Usage | None:
        """What was used for an answer that cannot be looked into; None where that cannot be told."""
        return Usage(characters=characters_in(self.body)) if self.operation == "speech" else None


def held_whole(path: str, source: Protocol, spoken: Sequence[Protocol]) -> bool:
    """Whether a form must be there whole before the vendor can be asked, because it is asked in other words."""
    return path in _FORMS and source not in family(tuple(spoken)) and "gemini_generate" in family(tuple(spoken))


def prepare(
    operation: str,
    source: Protocol,
    spoken: Sequence[Protocol],
    *,
    path: str,
    query: str = "",
    content_type: str = "",
    body: bytes | None,
    model: str | None,
) -> OperationCall:
    """What a vendor is asked.

    Args:
        source: what the client speaks.
        spoken: what the vendor speaks for chat, the preferred one first.
        path: as the endpoint writes it.
        query: the client's; what is not known of it stays here.
        content_type: the client's.
        body: None where it is passed on while it comes.
        model: the vendor's name for it; None where the operation is about none.

    Raises:
        InvalidRequest: the vendor has no such operation, or the request cannot be read.
    """
    spoken = family(tuple(spoken))
    if source not in spoken:
        call = None
        if spoken and body is not None and model is not None:
            call = _translated(
                operation, path, body, content_type=content_type, source=source, target=spoken[0], model=model
            )
        if call is None:
            raise InvalidRequest(
                "The provider of this model has no such operation.", kind="unsupported", code="unsupported_operation"
            )
        return OperationCall(spoken[0], call.path, call.body, call, operation)
    path = _SAME.get(path, path)
    written = wire(operation, source)
    if model is not None and body is not None and written is not None:
        encoded = written.with_model(path, body, model)
        return OperationCall(source, encoded.path, encoded.body, operation=operation)
    pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if _known(operation, pair[0])]
    address = quote(path, safe="/:") + (f"?{urlencode(pairs)}" if pairs else "")
    return OperationCall(source, address, body or b"", operation=operation)


def _translated(
    operation: str, path: str, body: bytes, *, content_type: str, source: Protocol, target: Protocol, model: str
) -> Translation | None:
    """The request in another vendor's words, None where that vendor has none for it."""
    if operation == "embeddings":
        return translate_embeddings(body, source=source, target=target, model=model)
    if target != "gemini_generate":
        return None
    match path:
        case images.PATH:
            return images.translate_images(body, model=model)
        case image_edits.EDITS | image_edits.VARIATIONS:
            return image_edits.translate_image_edit(path, body, content_type=content_type, model=model)
        case speech.PATH:
            return speech.translate_speech(body, model=model)
        case transcripts.TRANSCRIPTIONS | transcripts.TRANSLATIONS:
            return transcripts.translate_transcript(path, body, content_type=content_type, model=model)
        case _:
            return None


def _known(operation: str, name: str) -> bool:
    return name.partition("[")[0] in _QUERY.get(operation, ())
