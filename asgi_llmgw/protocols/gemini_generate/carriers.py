"""Other vendors' reasoning state on its way through a Gemini client.

Gemini clients send back every `thoughtSignature`, and with it nothing of the thoughts themselves. So the reasoning of
another vendor travels whole inside the signature of the part that follows it, marked as ours, and is taken out again
here: Gemini itself never sees it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final

import msgspec

from asgi_llmgw.ir import Opaque, ReasoningPart
from asgi_llmgw.protocols.base import STATE_MARK

from .media import standard_base64
from .wire import PROTOCOL, SKIP_SIGNATURE

_MARK: Final = STATE_MARK + b" "
_MARKED: Final = base64.b64encode(STATE_MARK).decode()
_decoder: Final = msgspec.json.Decoder(list[ReasoningPart])
_encoder: Final = msgspec.json.Encoder()


def is_foreign(part: ReasoningPart) -> bool:
    """Whether there is state in it that another vendor wants back."""
    return part.opaque is not None and part.opaque.protocol != PROTOCOL


def pack(parts: Iterable[ReasoningPart]) -> str:
    """A `thoughtSignature` that holds these parts."""
    return base64.b64encode(_MARK + _encoder.encode(list(parts))).decode()


def unpack(signature: str) -> list[ReasoningPart] | None:
    """The parts inside a signature of ours; None for the vendor's own."""
    text = standard_base64(signature)
    if not text.startswith(_MARKED):
        return None
    try:
        data = base64.b64decode(text, validate=True)
        return _decoder.decode(data.removeprefix(_MARK)) if data.startswith(_MARK) else None
    except (binascii.Error, ValueError, RecursionError):
        return None


def own_signature(payload: str) -> Opaque:
    """The vendor's signature in the spelling it gave it: SDKs send it back as base64url, which is the same bytes."""
    spelled = payload if payload == SKIP_SIGNATURE else standard_base64(payload)
    return Opaque(PROTOCOL, "thought_signature", spelled)
