"""OpenAI Chat Completions, for clients and for upstreams."""

from __future__ import annotations

from typing import Final

from .codec import OpenAIChatCodec

CODEC: Final = OpenAIChatCodec()

__all__ = ("CODEC", "OpenAIChatCodec")
