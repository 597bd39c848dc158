"""Which operation is written how, by which family of vendors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from asgi_llmgw.ir import Protocol
from asgi_llmgw.operations.base import Wire
from asgi_llmgw.operations.gemini import GeminiCacheWire, GeminiWire
from asgi_llmgw.operations.openai import OpenAIWire

_OPENAI: Final = OpenAIWire()
_GEMINI: Final = GeminiWire()

WIRES: Final[Mapping[tuple[str, Protocol], Wire]] = MappingProxyType(
    {
        ("embeddings", "openai_chat"): _OPENAI,
        ("embeddings", "gemini_generate"): _GEMINI,
        ("completions", "openai_chat"): _OPENAI,
        ("images", "openai_chat"): OpenAIWire("dall-e-2"),
        ("speech", "openai_chat"): _OPENAI,
        ("transcriptions", "openai_chat"): OpenAIWire("whisper-1"),
        ("moderations", "openai_chat"): OpenAIWire("omni-moderation-latest"),
        ("rerank", "openai_chat"): _OPENAI,
        ("predict", "gemini_generate"): _GEMINI,
        ("caches", "gemini_generate"): GeminiCacheWire(),
    }
)
"""By the operation and the protocol of its vendors. What names no model (files, batches) is not among them."""

SERVED_BY: Final[Mapping[Protocol, tuple[Protocol, ...]]] = MappingProxyType(
    {"openai_chat": ("openai_chat", "openai_responses"), "gemini_generate": ("gemini_generate",)}
)
"""What a vendor speaks that has the operations of a protocol."""


@cache
def wire(operation: str | None, protocol: Protocol) -> Wire | None:
    """How an operation is written in a protocol; None where it is not one of these."""
    return WIRES.get((operation or "", protocol))


def default_model(operation: str | None) -> str | None:
    """What OpenAI takes where a form names no model."""
    found = wire(operation, "openai_chat")
    return found.default_model if isinstance(found, OpenAIWire) else None


def family(spoken: tuple[Protocol, ...]) -> tuple[Protocol, ...]:
    """In which protocols a vendor has operations, told from what it speaks for chat; the preferred one first."""
    found = {name: None for protocol in spoken for name, speakers in SERVED_BY.items() if protocol in speakers}
    return tuple(found)
