"""Chat Completions in tables: its words on the left or right of ours
(https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asgi_llmgw.ir import FinishKind, FinishReason, Protocol, Severity
from asgi_llmgw.json import JSONValue

NAME: Final[Protocol] = "openai_chat"
PATH: Final = "/v1/chat/completions"

FINISH_IN: Final[Mapping[str, FinishKind]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    # servers that let their own names through
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",
    "insufficient_system_resource": "error",
}
FINISH_OUT: Final[Mapping[FinishKind, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "error": "stop",
    "other": "stop",
}

MAX_STOP: Final = 4

EXTENSION_LOSS: Final[Mapping[str, Severity]] = {
    "store": "info",
    "prediction": "info",  # only faster
    "prompt_cache_options": "info",  # only cheaper
    "prompt_cache_retention": "info",
    "web_search_options": "error",  # the answer would be made up instead of looked up
    "user": "info",  # the older name of what `safety_identifier` says
    "stream_options.include_obfuscation": "info",
    "audio": "warning",
}
"""How bad it is to lose a field only Chat has, or one nobody knows; what is not here is a `warning`."""

AUDIO_TYPES_IN: Final[Mapping[str, str]] = {"mp3": "audio/mpeg", "wav": "audio/wav"}
AUDIO_TYPES_OUT: Final[Mapping[str, str]] = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
}


def extension_loss(name: str, value: JSONValue) -> Severity:
    """How bad it is to lose this field of a request."""
    if name == "moderation" and isinstance(value, dict):
        policy = value.get("policy")
        sides = policy.values() if isinstance(policy, dict) else ()
        # the client relies on the block
        return "error" if any(isinstance(side, dict) and side.get("mode") == "block" for side in sides) else "warning"
    return EXTENSION_LOSS.get(name, "warning")


def finish_in(raw: str | None, *, calls: bool) -> FinishReason:
    """What an ending means: a turn with calls asks for their results, unless the limit cut it (or it failed)."""
    kind = FINISH_IN.get(raw, "other") if raw else "stop"
    if calls and kind not in ("length", "error"):
        kind = "tool_calls"
    return FinishReason(kind, raw or None)


def finish_out(kind: FinishKind, *, calls: bool, legacy: bool) -> str:
    """The `finish_reason` of a choice."""
    if kind == "length":
        return "length"
    if calls:
        return "function_call" if legacy else "tool_calls"
    return "stop" if kind == "tool_calls" else FINISH_OUT[kind]
