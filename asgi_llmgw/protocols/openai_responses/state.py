"""Where opaque state of reasoning travels in Responses: `encrypted_content` of reasoning items.

OpenAI's own goes bare. Another vendor's is wrapped, so that it is known again when the client sends it back, and never
taken for OpenAI's.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

import msgspec

from asgi_llmgw.ir import CitationPart, Opaque, Part, ReasoningPart, TextPart, ToolCallPart
from asgi_llmgw.json import JSONError, as_object, dumps, loads

from .wire import NAME

_MARK: Final = "llmgw1."


def wrap(opaque: Opaque) -> str:
    """The `encrypted_content` that carries this state."""
    if opaque.protocol == NAME and opaque.kind == "encrypted":
        return opaque.payload
    return _MARK + base64.urlsafe_b64encode(dumps(opaque)).rstrip(b"=").decode()


def wrap_signature(signature: Opaque, call_id: str) -> str:
    """The same for a signature that stands on a call: it finds its call by the call's id."""
    return wrap(msgspec.structs.replace(signature, id=call_id))


def unwrap(content: str, identifier: str | None) -> Opaque:
    """The state in an `encrypted_content`; what we did not wrap is OpenAI's."""
    if content.startswith(_MARK):
        text = content[len(_MARK) :]
        try:
            value = loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return msgspec.convert(as_object(value), Opaque)
        except (ValueError, JSONError, msgspec.ValidationError):
            pass
    return Opaque(NAME, "encrypted", content, identifier)


def place_signatures(parts: Iterable[Part]) -> list[Part]:
    """Give signatures that travelled in an item of their own back to the call, or the text, they belong to."""
    placed = list(parts)
    calls = {part.id for part in placed if isinstance(part, ToolCallPart)}
    signatures: dict[str, Opaque] = {}
    rest: list[Part] = []
    for part in placed:
        opaque = part.opaque if isinstance(part, ReasoningPart) and not part.text else None
        if opaque is None or opaque.kind != "thought_signature":
            rest.append(part)
        elif opaque.id in calls:
            signatures[opaque.id or ""] = msgspec.structs.replace(opaque, id=None)
        elif not _sign_text(rest, opaque):
            rest.append(part)
    return [
        msgspec.structs.replace(part, signature=signatures[part.id])
        if isinstance(part, ToolCallPart) and part.id in signatures
        else part
        for part in rest
    ]


def _sign_text(parts: list[Part], signature: Opaque) -> bool:
    """Put a signature on the text at the end, its sources apart; false if there is none."""
    at = next((at for at in range(len(parts) - 1, -1, -1) if not isinstance(parts[at], CitationPart)), None)
    last = parts[at] if at is not None else None
    if at is None or not isinstance(last, TextPart) or last.signature is not None:
        return False
    parts[at] = msgspec.structs.replace(last, signature=signature)
    return True
