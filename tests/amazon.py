"""Amazon's event stream, written: the other side of what the package reads."""

from __future__ import annotations

import base64
import struct
import zlib

from asgi_llmgw.json import JSONObject, dumps


def header(name: str, value: bytes, kind: int = 7) -> bytes:
    """One header: text (7) and bytes (6) have their length before them, the others do not."""
    length = struct.pack("!H", len(value)) if kind in (6, 7) else b""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + length + value


def message(payload: bytes = b"", *headers: bytes, **texts: str) -> bytes:
    """A message with its checksums; `texts` are headers whose names begin with a colon."""
    told = b"".join((*headers, *(header(f":{key.replace('_', '-')}", text.encode()) for key, text in texts.items())))
    prelude = struct.pack("!II", 16 + len(told) + len(payload), len(told))
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + told + payload
    return whole + struct.pack("!I", zlib.crc32(whole))


def chunk(event: JSONObject | bytes) -> bytes:
    """An event of Claude's, as Bedrock sends it."""
    data = event if isinstance(event, bytes) else dumps(event)
    payload = dumps({"bytes": base64.b64encode(data).decode(), "p": "abcdef"})
    return message(payload, message_type="event", event_type="chunk", content_type="application/json")


def exception(name: str, text: str) -> bytes:
    """What ends a stream that fails."""
    return message(
        dumps({"message": text}), message_type="exception", exception_type=name, content_type="application/json"
    )
