"""Gemini generateContent."""

from __future__ import annotations

from asgi_llmgw.framing import JSONArrayFramer

from .codec import CODEC, GeminiGenerateCodec
from .schema import to_gemini_schema
from .tools import gemini_tool_name

__all__ = ("CODEC", "GeminiGenerateCodec", "JSONArrayFramer", "gemini_tool_name", "to_gemini_schema")
