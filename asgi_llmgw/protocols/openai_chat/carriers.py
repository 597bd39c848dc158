"""Where the state of reasoning travels in Chat Completions: conventions of vendors, for the protocol has no field.

Read: `reasoning_details` (OpenRouter), `thinking_blocks` (LiteLLM), `extra_content.google.thought_signature` (Google's
own layer, https://ai.google.dev/gemini-api/docs/thought-signatures), `extra_content.anthropic.signature` (any-llm) and
plain text in `reasoning_content` or `reasoning`. Written: `reasoning_content`, `reasoning_details` and Google's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from asgi_llmgw.ir import Opaque, Part, Protocol, ReasoningPart, TextPart, ToolCallPart
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, as_str

from .wire import NAME

_FORMAT_PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "anthropic-claude-v1": "anthropic_messages",
    "openai-responses-v1": "openai_responses",
    "google-gemini-v1": "gemini_generate",
    "amazon-bedrock-converse-v1": "bedrock_converse",
}
_PROTOCOL_FORMATS: Final[Mapping[Protocol, str]] = {
    **{protocol: name for name, protocol in _FORMAT_PROTOCOLS.items()},
    NAME: "unknown",
}


def google_signature(value: JSONObject) -> Opaque | None:
    """The thought signature on a tool call or a message."""
    payload = as_str(as_object(as_object(value.get("extra_content")).get("google")).get("thought_signature"))
    return Opaque("gemini_generate", "thought_signature", payload) if payload else None


def google_extra(signature: Opaque | None) -> JSONObject | None:
    """`extra_content` for a thought signature; None for what is not one."""
    if signature is None or signature.protocol != "gemini_generate":
        return None
    return {"google": {"thought_signature": signature.payload}}


def is_own(state: Opaque | None) -> bool:
    """Whether this state came over Chat Completions, whichever vendor's it is."""
    return state is not None and NAME in (state.protocol, state.via)


def detail_part(detail: JSONObject) -> ReasoningPart | None:
    """One entry of `reasoning_details`, or one Anthropic thinking block."""
    protocol = _FORMAT_PROTOCOLS.get(as_str(detail.get("format")) or "", NAME)
    identifier = as_str(detail.get("id"))
    signature = as_str(detail.get("signature"))
    match detail.get("type"):
        case "reasoning.text":
            opaque = Opaque(protocol, "signature", signature) if signature else None
            return ReasoningPart(as_str(detail.get("text")) or "", opaque)
        case "reasoning.summary":
            return ReasoningPart(as_str(detail.get("summary")) or "")
        case "reasoning.encrypted":
            data = as_str(detail.get("data"))
            return ReasoningPart("", _encrypted(protocol, data, identifier)) if data else None
        case "thinking":
            opaque = Opaque("anthropic_messages", "signature", signature) if signature else None
            return ReasoningPart(as_str(detail.get("thinking")) or "", opaque)
        case "redacted_thinking":
            data = as_str(detail.get("data"))
            return ReasoningPart("", Opaque("anthropic_messages", "redacted", data)) if data else None
        case _:
            return None


def _encrypted(protocol: Protocol, data: str, identifier: str | None) -> Opaque:
    if protocol in ("anthropic_messages", "bedrock_converse"):
        return Opaque(protocol, "redacted", data)
    if protocol == "gemini_generate":
        return Opaque(protocol, "thought_signature", data, identifier)
    return Opaque(protocol, "encrypted", data, identifier)


def reasoning_parts(message: JSONObject) -> list[ReasoningPart]:
    """The reasoning of a whole message, each thought once although vendors tell it in several fields."""
    plain = as_str(message.get("reasoning_content")) or as_str(message.get("reasoning")) or ""
    details = as_list(message.get("reasoning_details")) or as_list(message.get("thinking_blocks"))
    parts: list[ReasoningPart] = []
    for detail in details:
        part = detail_part(as_object(detail))
        if part is not None:
            _append(parts, part)
    if plain and not any(part.text for part in parts):
        return _with_plain(parts, plain)
    return parts


def _append(parts: list[ReasoningPart], part: ReasoningPart) -> None:
    """OpenAI's encrypted state belongs to the summary before it."""
    last = parts[-1] if parts else None
    if (
        last is not None
        and last.opaque is None
        and not part.text
        and part.opaque is not None
        and part.opaque.protocol in ("openai_responses", NAME)
    ):
        parts[-1] = ReasoningPart(last.text, part.opaque)
    elif part.text or part.opaque is not None:
        parts.append(part)


def _with_plain(parts: Sequence[ReasoningPart], plain: str) -> list[ReasoningPart]:
    """The text that stands in a field of its own goes to the first part that can have one."""
    for index, part in enumerate(parts):
        if part.opaque is not None and part.opaque.kind in ("signature", "encrypted"):
            return [*parts[:index], ReasoningPart(plain, part.opaque), *parts[index + 1 :]]
    return [ReasoningPart(plain), *parts]


def anthropic_signature(message: JSONObject) -> Opaque | None:
    """`extra_content.anthropic.signature` of a message."""
    payload = as_str(as_object(as_object(message.get("extra_content")).get("anthropic")).get("signature"))
    return Opaque("anthropic_messages", "signature", payload) if payload else None


def place_signatures(message: JSONObject, parts: Sequence[Part]) -> list[Part]:
    """Give the signatures that stand on the message to the parts they belong to."""
    placed = _place_anthropic(anthropic_signature(message), _place_by_id(parts))
    signature = google_signature(message)
    if signature is None:
        return placed
    for index in range(len(placed) - 1, -1, -1):
        part = placed[index]
        if isinstance(part, TextPart):
            placed[index] = msgspec.structs.replace(part, signature=signature)
            return placed
    for index, part in enumerate(placed):
        if isinstance(part, ToolCallPart):
            placed[index] = msgspec.structs.replace(part, signature=part.signature or signature)
            return placed
    return [*placed, ReasoningPart("", signature)]


def _place_by_id(parts: Sequence[Part]) -> list[Part]:
    """OpenRouter keeps Gemini's signature of a call in a detail with the id of the call."""
    calls = {part.id for part in parts if isinstance(part, ToolCallPart) and part.id}
    signatures: dict[str, Opaque] = {}
    rest: list[Part] = []
    for part in parts:
        opaque = part.opaque if isinstance(part, ReasoningPart) else None
        if opaque is not None and opaque.kind == "thought_signature" and opaque.id in calls:
            signatures[opaque.id or ""] = Opaque(opaque.protocol, opaque.kind, opaque.payload)
        else:
            rest.append(part)
    if not signatures:
        return rest
    return [
        msgspec.structs.replace(part, signature=part.signature or signatures.get(part.id))
        if isinstance(part, ToolCallPart)
        else part
        for part in rest
    ]


def _place_anthropic(signature: Opaque | None, parts: list[Part]) -> list[Part]:
    if signature is None:
        return parts
    for index, part in enumerate(parts):
        if isinstance(part, ReasoningPart):
            if part.opaque is None:
                parts[index] = ReasoningPart(part.text, signature)
            return parts
    return [ReasoningPart("", signature), *parts]


def detail_entries(part: ReasoningPart, first_index: int) -> list[JSONValue]:
    """The `reasoning_details` of one part. Each has its `index`, without which SDKs cannot add streams up."""
    opaque = part.opaque
    if opaque is None:
        return [{"type": "reasoning.text", "text": part.text, "format": "unknown", "index": first_index}]
    form = _PROTOCOL_FORMATS[opaque.protocol]
    if opaque.kind == "signature":
        return [
            {
                "type": "reasoning.text",
                "text": part.text,
                "signature": opaque.payload,
                "format": form,
                "index": first_index,
            }
        ]
    entries: list[JSONValue] = []
    if part.text:
        entries.append({"type": "reasoning.summary", "summary": part.text, "format": form, "index": first_index})
    entries.append(
        {
            "type": "reasoning.encrypted",
            "data": opaque.payload,
            "format": form,
            **({"id": opaque.id} if opaque.id is not None else {}),
            "index": first_index + len(entries),
        }
    )
    return entries


def all_details(parts: Iterable[ReasoningPart]) -> list[JSONValue]:
    """The `reasoning_details` of a message; none where plain text says it all."""
    told = list(parts)
    if all(part.opaque is None for part in told):
        return []
    entries: list[JSONValue] = []
    for part in told:
        entries.extend(detail_entries(part, len(entries)))
    return entries
