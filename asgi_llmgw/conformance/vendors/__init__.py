"""What vendors send, protocol by protocol and case by case."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.script import Script, Vendor
from asgi_llmgw.conformance.vendors import anthropic_messages, gemini_generate, openai_chat, openai_responses
from asgi_llmgw.ir import Protocol

VENDORS: Final[dict[Protocol, Vendor]] = {
    "openai_chat": openai_chat.VENDOR,
    "openai_responses": openai_responses.VENDOR,
    "anthropic_messages": anthropic_messages.VENDOR,
    "gemini_generate": gemini_generate.VENDOR,
}
"""The scripts of each protocol."""

__all__ = ("VENDORS", "Script", "Vendor")
