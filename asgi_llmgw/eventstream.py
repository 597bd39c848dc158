"""Amazon's binary event stream, read: bytes in, messages out.

A message is a prelude (its length, the length of its headers, a checksum of both), the headers, the payload and a
checksum of everything before (https://smithy.io/2.0/aws/amazon-eventstream.html). Nothing of a message is believed,
its length included, before the checksum that covers it is right.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from asgi_llmgw.errors import InvalidUpstreamResponse

MAX_MESSAGE: Final = 16 * 1024 * 1024
_MAX_HEADERS: Final = 128 * 1024
_PRELUDE: Final = struct.Struct("!III")
_CHECKSUM: Final = struct.Struct("!I")
_LENGTH: Final = struct.Struct("!H")
_NUMBERS: Final = {2: struct.Struct("!b"), 3: struct.Struct("!h"), 4: struct.Struct("!i"), 5: struct.Struct("!q")}
_BYTES, _TEXT, _TIMESTAMP, _UUID = 6, 7, 8, 9

HeaderValue: TypeAlias = bool | int | str | bytes


class EventStreamMessage(msgspec.Struct, frozen=True):
    """One message. Timestamps are milliseconds since the epoch, UUIDs their sixteen bytes."""

    headers: Mapping[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """A header that holds text; empty where it is missing or something else."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class EventStreamFramer:
    """Bytes in, messages out; the chunks may be cut anywhere.

    Args:
        max_message: the most bytes one message may have.
    """

    __slots__ = ("_buffer", "_headers", "_max_message", "_raw_headers", "_total")

    def __init__(self, *, max_message: int = MAX_MESSAGE) -> None:
        self._max_message = max_message
        self._buffer = bytearray()
        self._total = 0
        # nearly all messages of a stream have the headers of the one before
        self._raw_headers = b""
        self._headers: Mapping[str, HeaderValue] = {}

    def feed(self, chunk: bytes) -> list[EventStreamMessage]:
        """The messages that this chunk completes.

        Raises:
            InvalidUpstreamResponse: a checksum is wrong, a message is too large, or its parts do not fit together.
        """
        self._buffer += chunk
        messages: list[EventStreamMessage] = []
        start = 0
        while len(self._buffer) - start >= _PRELUDE.size:
            if not self._total:
                self._total = self._length(start)
            if len(self._buffer) - start < self._total:
                break
            messages.append(self._message(bytes(memoryview(self._buffer)[start : start + self._total])))
            start += self._total
            self._total = 0
        del self._buffer[:start]
        return messages

    def close(self) -> None:
        """End of input.

        Raises:
            InvalidUpstreamResponse: a message was not complete.
        """
        if self._buffer:
            raise InvalidUpstreamResponse("the upstream's stream ended inside a message")

    def _length(self, start: int) -> int:
        total, headers, checksum = _PRELUDE.unpack_from(self._buffer, start)
        if zlib.crc32(memoryview(self._buffer)[start : start + 8]) != checksum:
            raise InvalidUpstreamResponse("the upstream sent a message whose prelude is damaged")
        if total > self._max_message or headers > _MAX_HEADERS:
            raise InvalidUpstreamResponse(f"the upstream sent a message of more than {self._max_message} bytes")
        if total < _PRELUDE.size + headers + _CHECKSUM.size:
            raise _malformed()
        return int(total)

    def _message(self, data: bytes) -> EventStreamMessage:
        """A whole message whose length is known to be right."""
        (checksum,) = _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)
        if zlib.crc32(memoryview(data)[: -_CHECKSUM.size]) != checksum:
            raise InvalidUpstreamResponse("the upstream sent a message that is damaged")
        _, length, _ = _PRELUDE.unpack_from(data)
        end = _PRELUDE.size + length
        raw = data[_PRELUDE.size : end]
        if raw != self._raw_headers:
            try:
                self._headers, self._raw_headers = _headers(raw), raw
            except (struct.error, IndexError, UnicodeDecodeError):
                raise _malformed() from None
        return EventStreamMessage(self._headers, data[end : -_CHECKSUM.size])


def _headers(data: bytes) -> dict[str, HeaderValue]:
    found: dict[str, HeaderValue] = {}
    position = 0
    while position < len(data):
        name_end = position + 1 + data[position]
        name = data[position + 1 : name_end].decode()
        found[name], position = _value(data, name_end + 1, data[name_end])
    if position != len(data):
        raise _malformed()
    return found


def _value(data: bytes, position: int, kind: int) -> tuple[HeaderValue, int]:
    """A header's value and where it ends."""
    if kind in (0, 1):
        return kind == 0, position
    if kind in _NUMBERS or kind == _TIMESTAMP:
        number = _NUMBERS[5 if kind == _TIMESTAMP else kind]
        return int(number.unpack_from(data, position)[0]), position + number.size
    if kind == _UUID:
        return data[position : position + 16], position + 16
    if kind not in (_BYTES, _TEXT):
        raise _malformed()
    (length,) = _LENGTH.unpack_from(data, position)
    position += _LENGTH.size
    value = data[position : position + length]
    return (value.decode() if kind == _TEXT else value), position + length


def _malformed() -> InvalidUpstreamResponse:
    return InvalidUpstreamResponse("the upstream sent a message whose parts do not fit together")
