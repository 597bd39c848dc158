"""Embeddings in words that belong to no vendor."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from asgi_llmgw.ir import Diagnostic, Usage

Encoding: TypeAlias = Literal["float", "base64"]
Vector: TypeAlias = tuple[float, ...]


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """Texts to be embedded.

    Args:
        texts: each becomes a vector, in this order.
        many: the client sent a list, and gets one even where it has one element.
        dimensions: how long the vectors shall be; None leaves it to the model.
        task: what they are for, in Gemini's words (`RETRIEVAL_QUERY`).
        title: of the text, for retrieval.
        encoding: how the client wants its vectors written.
        diagnostics: what of the client's request has no place here.
    """

    texts: tuple[str, ...]
    many: bool = True
    dimensions: int | None = None
    task: str | None = None
    title: str | None = None
    encoding: Encoding = "float"
    diagnostics: tuple[Diagnostic, ...] = ()


class EmbeddingsResponse(msgspec.Struct, frozen=True):
    """Their vectors, in the order of the texts. `usage` is None where the vendor did not say."""

    vectors: tuple[Vector, ...]
    usage: Usage | None = None
