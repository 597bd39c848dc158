"""Reasoning state of one vendor, carried by clients that speak another vendor's protocol.

Vendors prove their models' thoughts with state that nobody else can read: signatures, encrypted reasoning. It has to
come back byte for byte to where it came from, and must go nowhere else. Most clients send back what they find in the
fields their own protocol has for it, so another vendor's state travels there, sealed: what comes back is known to be
ours, whose it is and where it belonged. Text that does not verify is not ours.

A sealed text is base64, in either alphabet and with or without padding, since SDKs read and write these fields as
bytes: a mark, a MAC over all that follows it, and JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final, Literal, TypeAlias

import msgspec

from asgi_llmgw.ir import Opaque

MARK: Final = "LLMGWstate01"
"""How every sealed text begins. These letters mean the same bytes in both alphabets of base64."""
_MARK_BYTES: Final = base64.b64decode(MARK)
_MAC_BYTES: Final = 16
STANDARD: Final = str.maketrans("-_", "+/")
"""From the one alphabet of base64 to the other."""

PROCESS_KEY: Final = secrets.token_bytes(32)
"""The key where none is configured: it lives as long as this process, and nobody else has it."""

Place: TypeAlias = Literal["reasoning", "call", "text", "empty", "media"]


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """State and where it stood: on a thought, a call, a text (`empty`: one without a word) or a picture.

    `call_id` is the call's; `length` is that of the text, whose neighbours a client may have joined to it.
    """

    opaque: Opaque
    place: Place = "reasoning"
    call_id: str = ""
    length: int = 0


_decoder: Final = msgspec.json.Decoder(Envelope)
_encoder: Final = msgspec.json.Encoder()


def seal(state: Opaque | Envelope, key: bytes) -> str:
    """The text that carries this state through a client."""
    envelope = state if isinstance(state, Envelope) else Envelope(state)
    data = _encoder.encode(envelope)
    # a whole number of base64 groups needs no padding, which some clients lose
    data += b" " * (-(_MAC_BYTES + len(data)) % 3)
    return base64.urlsafe_b64encode(_MARK_BYTES + _mac(data, key) + data).decode()


def unseal(text: str, key: bytes) -> Opaque | None:
    """The state inside; None for what was not sealed with this key."""
    envelope = open_envelope(text, key)
    return None if envelope is None else envelope.opaque


def open_envelope(text: str, key: bytes) -> Envelope | None:
    """The same with the place of the state."""
    if not text.startswith(MARK):
        return None
    standard = text.translate(STANDARD).rstrip("=")
    try:
        raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    mac, data = raw[len(_MARK_BYTES) :][:_MAC_BYTES], raw[len(_MARK_BYTES) + _MAC_BYTES :]
    if not hmac.compare_digest(mac, _mac(data, key)):
        return None
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _mac(data: bytes, key: bytes) -> bytes:
    return hmac.digest(key, _MARK_BYTES + data, hashlib.sha256)[:_MAC_BYTES]
