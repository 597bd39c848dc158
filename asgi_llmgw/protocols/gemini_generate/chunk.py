"""The short way for what nearly all chunks are: one candidate with one more piece of text, and the tokens so far.

It is taken only for a chunk that holds these members and no others; every other chunk goes the general way.
"""

from __future__ import annotations

from typing import Final

import msgspec


class _Part(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: str
    thought: bool = False


class _Content(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    parts: tuple[_Part]
    role: str = ""


class _Candidate(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: _Content
    index: int = 0


class TextChunk(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename="camel"):
    """A chunk with a piece of text."""

    candidates: tuple[_Candidate]
    usage_metadata: dict[str, int | str | list[dict[str, int | str]]] = {}
    model_version: str = ""
    create_time: str = ""
    response_id: str = ""


read_text_chunk: Final = msgspec.json.Decoder(TextChunk).decode
"""Reads a chunk of text; raises one of `OTHERWISE` for any other."""

OTHERWISE: Final = (msgspec.DecodeError, ValueError)
