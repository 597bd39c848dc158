"""OpenAI Responses, for clients and for upstreams."""

from __future__ import annotations

from typing import Final

from .codec import OpenAIResponsesCodec

CODEC: Final = OpenAIResponsesCodec()

__all__ = ("CODEC", "OpenAIResponsesCodec")
