"""Whole answers for a client, and what a stream of the same answer says in the same words."""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

from asgi_llmgw.ir import (
    ChatResponse,
    CitationPart,
    FinishReason,
    MediaPart,
    Opaque,
    OutputPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    UnknownPart,
    Usage,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, dumps, loads
from asgi_llmgw.protocols.base import Diagnostics, EncodedResponse, StreamContext, safe_tool_call_id

from .content import text_block
from .wire import NAME, USAGE_TIERS

_NOT_TOLD: Final = "The vendor did not tell; a number is required, so it is 0."
_TOLD_AS_IT_IS: Final = ("model_context_window_exceeded", "pause_turn")


class Told(msgspec.Struct):
    """What an answer has told so far, as far as its ending depends on it.

    `broken`: the arguments of a call cannot be read, so it counts as one that was cut short.
    """

    called: bool = False
    broken: bool = False
    said: bool = False
    refusal: str = ""


def encode_response(response: ChatResponse, context: StreamContext) -> EncodedResponse:
    """The answer as a client reads it. There is one choice in it: this protocol cannot ask for more."""
    notes = Diagnostics()
    first = response.choices[0] if response.choices else None
    for choice in response.choices[1:]:
        other_choice(choice.index, notes)
    writer = _Writer(context, notes)
    for i, part in enumerate(first.parts if first is not None else ()):
        writer.add(part, f"parts[{i}]")
    finish = first.finish if first is not None else FinishReason("other")
    message = head(response.id, response.model, context)
    message["content"] = [*writer.blocks]
    message |= encode_ending(finish, writer.told, notes)
    message["usage"] = encode_usage(response.usage, response.service_tier, notes)
    return EncodedResponse(dumps(message), notes.items())


def head(id: str, model: str, context: StreamContext) -> JSONObject:
    """The first members of a message, all that is known before its content."""
    return {
        "id": id if id.startswith("msg_") else context.new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model if context.model is None else context.model,
    }


def encode_ending(finish: FinishReason, told: Told, notes: Diagnostics) -> JSONObject:
    """`stop_reason` with its company. A turn with calls asks for their results whatever the vendor's word for it (P3,
    T5), but never if one of them may be incomplete (S10)."""
    reason = _stop_reason(finish, told, notes)
    ending: JSONObject = {
        "stop_reason": reason,
        "stop_sequence": finish.stop_sequence if reason == "stop_sequence" else None,
    }
    if reason == "refusal":
        explanation = finish.detail or told.refusal or None
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": explanation}
    return ending


def _stop_reason(finish: FinishReason, told: Told, notes: Diagnostics) -> str:
    kind = finish.kind
    if told.broken and kind != "length":
        notes.approximated("finish_reason", "A call whose arguments cannot be read counts as cut short.")
        return "max_tokens"
    if kind == "length":
        return finish.raw if finish.raw in _TOLD_AS_IT_IS else "max_tokens"
    if kind == "error" or kind == "other":
        notes.approximated("finish_reason", f"{finish.raw or kind!r} has no name here.")
    if kind == "content_filter":
        return "refusal"
    if told.called:
        return "tool_use"
    if told.refusal and not told.said:
        return "refusal"
    if kind == "stop" and (finish.stop_sequence is not None or finish.raw == "stop_sequence"):
        return "stop_sequence"
    return "end_turn"


def encode_usage(usage: Usage | None, service_tier: str | None, notes: Diagnostics) -> JSONObject:
    """Tokens. Two numbers must be there; the cached part of the prompt is counted apart (U11)."""
    usage = usage or Usage()
    if usage.input_tokens is None:
        notes.defaulted("usage.input_tokens", _NOT_TOLD)
    if usage.output_tokens is None:
        notes.defaulted("usage.output_tokens", _NOT_TOLD)
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    result: JSONObject = {
        "input_tokens": fresh_tokens(usage),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens or 0,
    }
    longer = usage.cache_write_1h_tokens
    if longer is not None:
        result["cache_creation"] = {
            "ephemeral_5m_input_tokens": max((written or 0) - longer, 0),
            "ephemeral_1h_input_tokens": longer,
        }
    if usage.reasoning_tokens is not None:
        result["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    tier = USAGE_TIERS.get(service_tier or "")
    if tier is not None:
        result["service_tier"] = tier
    return result


def fresh_tokens(usage: Usage) -> int:
    """The part of the prompt that was not cached."""
    fresh = (usage.input_tokens or 0) - (usage.cache_read_tokens or 0) - (usage.cache_write_tokens or 0)
    return fresh if fresh > 0 else 0


def other_choice(index: int, notes: Diagnostics) -> None:
    """Say that there was another answer."""
    notes.dropped(f"choices[{index}]", "There is one answer in this protocol.")


class CallInput(msgspec.Struct, frozen=True):
    """The arguments of a call as the object that is required; `whole`: they could be read."""

    value: JSONObject
    whole: bool = True


def call_input(part: ToolCallPart, arguments: str, path: str, notes: Diagnostics) -> CallInput:
    """What a call is given: nothing is an empty object, and what is not an object becomes its member `input`."""
    if part.kind == "custom":
        notes.approximated(path, "A free text is the member `input` of an object.", info=True)
        return CallInput({"input": arguments})
    if not arguments.strip():
        return CallInput({})
    value: JSONValue
    try:
        value = loads(arguments)
    except JSONError:
        notes.approximated(f"{path}.arguments", "The arguments are not JSON.")
        return CallInput({"input": arguments}, whole=False)
    if isinstance(value, dict):
        return CallInput(value)
    notes.approximated(f"{path}.arguments", "Arguments that are not an object are its member `input`.")
    return CallInput({"input": value})


def call_id(part: ToolCallPart, context: StreamContext) -> str:
    """The id of a call, in the alphabet that is allowed here (I1)."""
    return safe_tool_call_id(part.id) if part.id else context.new_id("toolu_")


def signature_of(opaque: Opaque | None, path: str, notes: Diagnostics) -> str:
    """What proves a thought; empty where this vendor has not signed it: a signature is never made up (R3)."""
    match opaque:
        case None:
            return ""
        case Opaque(protocol="anthropic_messages", kind="signature", payload=payload):
            return payload
        case _:
            lost_signature(opaque, path, notes)
            return ""


def redacted_of(opaque: Opaque | None) -> JSONObject | None:
    """The block of a thought nobody may read."""
    if opaque is not None and opaque.protocol == NAME and opaque.kind == "redacted":
        return {"type": "redacted_thinking", "data": opaque.payload}
    return None


def citation_of(part: CitationPart, path: str, notes: Diagnostics, *, text_before: bool) -> JSONObject | None:
    """A citation on the text before it; others' name their sources in a way that cannot be said here."""
    if part.raw is not None and part.protocol == NAME and text_before:
        return part.raw
    notes.dropped(path, "The citation has no form here.")
    return None


def unknown_block(part: UnknownPart, path: str, notes: Diagnostics) -> JSONObject | None:
    """A block of our own protocol as it came; nothing of another's."""
    if part.protocol == NAME:
        return part.raw
    notes.dropped(path, f"{part.protocol} {part.kind}".strip())
    return None


def placeholder(part: MediaPart, path: str, notes: Diagnostics) -> str:
    """Text in the place of what cannot be shown."""
    if part.transcript:
        notes.approximated(path, "Speech is told as its transcript.")
        return part.transcript
    notes.dropped(path, f"The answer holds {part.kind} content, which this protocol cannot carry.")
    return f"[{part.kind}]"


def lost_signature(opaque: Opaque | None, path: str, notes: Diagnostics) -> None:
    """Say that the state on a text, a call or a picture is lost: only thoughts have a place for it."""
    if opaque is not None:
        notes.dropped(f"{path}.signature", "State of another vendor's has no place here yet.", info=True)


class _Writer:
    """Parts as blocks."""

    def __init__(self, context: StreamContext, notes: Diagnostics) -> None:
        self.blocks: list[JSONObject] = []
        self.told = Told()
        self._context = context
        self._notes = notes

    def add(self, part: OutputPart, path: str) -> None:
        """Take one part."""
        match part:
            case TextPart():
                if part.text:
                    self._text(part.text)
                    self.told.said = True
                lost_signature(part.signature, path, self._notes)
            case RefusalPart():
                self._text(part.text)
                self.told.refusal += part.text
            case ReasoningPart():
                self._reasoning(part, path)
            case ToolCallPart():
                self._call(part, path)
            case CitationPart():
                self._cite(part, path)
            case MediaPart():
                self.told.said = True
                self._text(placeholder(part, path, self._notes))
                lost_signature(part.signature, path, self._notes)
            case UnknownPart():
                block = unknown_block(part, path, self._notes)
                self.blocks += [] if block is None else [dict(block)]
            case _:
                assert_never(part)

    def _text(self, text: str) -> None:
        """Empty text is no block: clients that send it back are refused."""
        if text:
            self.blocks.append(text_block(text))

    def _reasoning(self, part: ReasoningPart, path: str) -> None:
        text = part.text if self._context.include_thoughts else ""
        redacted = redacted_of(part.opaque)
        signature = "" if redacted is not None else signature_of(part.opaque, path, self._notes)
        if text or signature:
            self.blocks.append({"type": "thinking", "thinking": text, "signature": signature})
        if redacted is not None:
            self.blocks.append(redacted)

    def _call(self, part: ToolCallPart, path: str) -> None:
        given = call_input(part, part.arguments, path, self._notes)
        lost_signature(part.signature, path, self._notes)
        self.told.called = True
        self.told.broken = self.told.broken or not given.whole
        identifier = call_id(part, self._context)
        self.blocks.append({"type": "tool_use", "id": identifier, "name": part.name, "input": given.value})

    def _cite(self, part: CitationPart, path: str) -> None:
        block = self.blocks[-1] if self.blocks and self.blocks[-1].get("type") == "text" else None
        citation = citation_of(part, path, self._notes, text_before=block is not None)
        if block is not None and citation is not None:
            citations = block.setdefault("citations", [])
            if isinstance(citations, list):
                citations.append(citation)
