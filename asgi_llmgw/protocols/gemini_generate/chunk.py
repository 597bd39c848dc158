"""The short way for what nearly all chunks and answers are: one candidate with one piece of text, and the tokens.

It is taken only for what holds these members and no others; all else goes the general way.
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


class _Ended(_Candidate, forbid_unknown_fields=True, gc=False, kw_only=True):
    finish_reason: str = msgspec.field(name="finishReason")


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename="camel", kw_only=True):
    usage_metadata: dict[str, int | str | list[dict[str, int | str]]] = {}
    model_version: str = ""
    create_time: str = ""
    response_id: str = ""


class TextChunk(_Body, forbid_unknown_fields=True, gc=False, rename="camel", kw_only=True):
    """A chunk with a piece of text."""

    candidates: tuple[_Candidate]


class TextAnswer(_Body, forbid_unknown_fields=True, gc=False, rename="camel", kw_only=True):
    """A whole answer with a text."""

    candidates: tuple[_Ended]


read_text_chunk: Final = msgspec.json.Decoder(TextChunk).decode
"""Reads a chunk of text; raises one of `OTHERWISE` for any other."""

OTHERWISE: Final = (msgspec.DecodeError, ValueError)

text_answer: Final = msgspec.json.Decoder(TextAnswer)
