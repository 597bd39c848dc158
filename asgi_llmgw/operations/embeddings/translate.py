"""One vendor's embeddings for the clients of another."""

from __future__ import annotations

import msgspec

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.ir import Diagnostic, Protocol, Usage
from asgi_llmgw.operations.embeddings import gemini, openai
from asgi_llmgw.operations.embeddings.base import EmbeddingsRequest


class EmbeddingsCall(msgspec.Struct, frozen=True):
    """A request in the vendor's words, and what is needed to read its answer.

    Args:
        source: what the client speaks.
        target: what the vendor speaks.
        diagnostics: what is lost of the request.
        kind: the media type of the answer.
    """

    source: Protocol
    target: Protocol
    request: EmbeddingsRequest
    path: str
    body: bytes
    diagnostics: tuple[Diagnostic, ...] = ()
    kind: bytes = b"application/json"

    def answer(self, body: bytes, *, model: str) -> tuple[bytes, Usage | None]:
        """The vendor's answer in the client's words.

        Args:
            model: what the client calls it.

        Raises:
            InvalidUpstreamResponse: it cannot be read, or has not a vector for each text.
        """
        read = gemini.decode_response if self.target == "gemini_generate" else openai.decode_response
        response = read(body)
        if len(response.vectors) != len(self.request.texts):
            raise InvalidUpstreamResponse("the upstream has not sent a vector for each text")
        if self.source == "gemini_generate":
            return gemini.encode_response(response, self.request), response.usage
        return openai.encode_response(response, self.request, model), response.usage


def translate_embeddings(body: bytes, *, source: Protocol, target: Protocol, model: str) -> EmbeddingsCall:
    """A client's request in the words of another vendor.

    Args:
        model: the vendor's name for it.

    Raises:
        InvalidRequest: it cannot be read, or not be said there.
    """
    request = gemini.decode_request(body) if source == "gemini_generate" else openai.decode_request(body)
    if target == "gemini_generate":
        path, written = gemini.encode_request(request, model)
        return EmbeddingsCall(source, target, request, path, written, request.diagnostics)
    written, lost = openai.encode_request(request, model)
    return EmbeddingsCall(source, target, request, openai.PATH, written, (*request.diagnostics, *lost))
