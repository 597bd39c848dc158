"""Reasoning state that comes back with a client's history: given back to the parts, and to the vendor, it came from."""

from __future__ import annotations

from typing import Final

import msgspec

from asgi_llmgw.carried_answers import state_of, with_state
from asgi_llmgw.carriers import MARK, Envelope, open_envelope
from asgi_llmgw.ir import (
    ChatRequest,
    Diagnostic,
    MediaPart,
    Message,
    Opaque,
    Part,
    Protocol,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from asgi_llmgw.protocols.base import safe_tool_call_id

_UNKNOWN: Final = "State of unknown origin is sent to nobody."


def restore_state(request: ChatRequest, source: Protocol, key: bytes) -> tuple[ChatRequest, tuple[Diagnostic, ...]]:
    """The request as if every client kept every vendor's state.

    What a client brings in the fields of its own protocol is that vendor's. In fields that name another vendor it has
    to be sealed, but for Chat Completions, which has no state of its own and many conventions for that of others.
    """
    lost: list[Diagnostic] = []
    messages = tuple(
        _restore(message, f"messages[{index}]", source, key, lost)
        if message.role == "assistant" and any(state_of(part) is not None for part in message.parts)
        else message
        for index, message in enumerate(request.messages)
    )
    return msgspec.structs.replace(request, messages=messages), tuple(lost)


def addressed_to(request: ChatRequest, target: Protocol) -> ChatRequest:
    """The request without state that came through another protocol than the target's, whosever it is."""
    messages = tuple(_addressed(message, target) for message in request.messages)
    if all(after is before for after, before in zip(messages, request.messages, strict=True)):
        return request
    return msgspec.structs.replace(request, messages=messages)


def _addressed(message: Message, target: Protocol) -> Message:
    states = [state_of(part) for part in message.parts] if message.role == "assistant" else []
    astray = [state is not None and state.via not in (None, target) for state in states]
    if not any(astray):
        return message
    parts = [with_state(part, None) if gone else part for part, gone in zip(message.parts, astray, strict=True)]
    return msgspec.structs.replace(message, parts=tuple(part for part in parts if part != ReasoningPart()))


def _restore(message: Message, path: str, source: Protocol, key: bytes, lost: list[Diagnostic]) -> Message:
    parts: list[Part] = []
    calls: list[tuple[int, Envelope]] = []
    for index, part in enumerate(message.parts):
        state = state_of(part)
        envelope = None if state is None else open_envelope(state.payload, key)
        if state is None or (envelope is None and _own(state, source)):
            parts.append(part)
        elif envelope is None:
            lost.append(Diagnostic(f"{path}.content[{index}]", "dropped", "info", _UNKNOWN))
            if not isinstance(part, ReasoningPart) or part.text:
                parts.append(with_state(part, None))
        elif not envelope.opaque.payload:
            parts.append(with_state(part, None))  # a thought that came without proof
        elif envelope.place in ("text", "empty"):
            if not isinstance(part, ReasoningPart):
                parts.append(with_state(part, None))
            _sign_last(parts, envelope)
        elif envelope.place == "reasoning" or not isinstance(part, ReasoningPart):
            parts.append(with_state(part, envelope.opaque))
        elif envelope.place == "call":
            calls.append((len(parts), envelope))
        else:
            _sign_last(parts, envelope)
    for position, envelope in calls:
        _sign_call(parts, position, envelope)
    return msgspec.structs.replace(message, parts=tuple(parts))


def _own(state: Opaque, source: Protocol) -> bool:
    """Whether a client that speaks `source` may bring this state as it is."""
    return not state.payload.startswith(MARK) and source in (state.protocol, "openai_chat")


def _sign_call(parts: list[Part], position: int, envelope: Envelope) -> None:
    """The call it stood on, known by its id; where ids were changed the next one, or the last."""
    calls = {index: part for index, part in enumerate(parts) if isinstance(part, ToolCallPart)}
    wanted = safe_tool_call_id(envelope.call_id)
    found = next((index for index, part in calls.items() if safe_tool_call_id(part.id) == wanted), None)
    if found is None:
        found = next((index for index in calls if index >= position), None)
    if found is None:
        found = max(calls, default=None)
    if found is None:
        parts.append(TextPart("", signature=envelope.opaque))
    else:
        parts[found] = with_state(parts[found], envelope.opaque)


def _sign_last(parts: list[Part], envelope: Envelope) -> None:
    """What it stood on, which is the last of its kind; a text alone again that a client has joined to others."""
    found = next((index for index in reversed(range(len(parts))) if _takes(parts[index], envelope)), None)
    if found is None or envelope.place == "empty":
        parts.append(TextPart("", signature=envelope.opaque))
        return
    part = parts[found]
    cut = len(part.text) - envelope.length if isinstance(part, TextPart) else 0
    if isinstance(part, TextPart) and cut > 0:
        before = msgspec.structs.replace(part, text=part.text[:cut])
        after = msgspec.structs.replace(part, text=part.text[cut:], signature=envelope.opaque)
        parts[found : found + 1] = [before, after]
    else:
        parts[found] = with_state(part, envelope.opaque)


def _takes(part: Part, envelope: Envelope) -> bool:
    if envelope.place == "media":
        return isinstance(part, MediaPart)
    return isinstance(part, TextPart) and part.signature is None and bool(part.text)
