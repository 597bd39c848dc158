"""Server-sent events on bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Lines end at LF, CR or CRLF and at nothing else: U+2028 and its kin are ordinary text inside JSON. Two deliberate
differences from the standard, both for streams that are cut by careless servers: an event without its closing blank
line is still delivered by `close()`, and `retry:` is ignored because we never reconnect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from asgi_llmgw.errors import InvalidUpstreamResponse

MAX_EVENT: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 10  # a number, for `b"\n" in data` takes ten times as long
_CR: Final = 13
BLANK_LINES: Final = (b"\n\n", b"\n\r\n", b"\r\r")
"""How a frame may end; one whose lines end in CR alone and LF mixed is let go with the next."""
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_LEAD: Final = re.compile(rb"(?:event: ([^\r\n]*+)\r?\n)?data: ")
"""What stands before the data of an event that is written as nearly all are."""
_LONGEST: Final = max(map(len, BLANK_LINES))


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: `data` without the field name, several data lines joined by LF; `event` is empty when unnamed."""

    data: bytes
    event: str = ""

    def encode(self, newline: bytes = b"\n") -> bytes:
        """The event as it goes on the wire, closing blank line included.

        Line separators that JavaScript and some SSE readers split at are written as JSON escapes.
        """
        data = self.data if self.data.isascii() else without_separators(self.data)
        if _LF in data:
            data = data.replace(b"\n", newline + b"data: ")
        if self.event:
            return b"event: %b%bdata: %b%b%b" % (self.event.encode(), newline, data, newline, newline)
        return b"data: %b%b%b" % (data, newline, newline)


def without_separators(data: bytes) -> bytes:
    """JSON with its line separators as escapes."""
    data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data.replace(b"\xc2\x85", b"\\u0085")


class Comment(msgspec.Struct, frozen=True):
    """A comment line, which clients ignore and proxies count as traffic."""

    text: str

    def encode(self, newline: bytes = b"\n") -> bytes:
        """The comment as it goes on the wire."""
        return b": %b%b%b" % (self.text.encode(), newline, newline)


class SSEDecoder:
    """Bytes in, events out; the chunks may be cut anywhere.

    Args:
        max_event: the most bytes one event may have before its end is seen.

    Attributes:
        idle: what has come ends with the end of an event.
    """

    __slots__ = (
        "_buffer",
        "_data",
        "_event",
        "_lead",
        "_max_event",
        "_name",
        "_scanned",
        "_size",
        "_started",
        "idle",
    )

    def __init__(self, *, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._buffer = bytearray()
        self._scanned = 0
        self._data: list[bytes] = []
        self._size = 0
        self._event = ""
        self._lead, self._name = b"data: ", ""
        self._started = False
        self.idle = True

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that this chunk completes.

        Raises:
            InvalidUpstreamResponse: an event is larger than `max_event`.
        """
        # a guess: an event that holds other line ends goes the general way
        newline = b"\r\n" if _CR in chunk else b"\n"
        if len(chunk) > self._max_event:
            return list(self._by_lines(chunk))
        separator = newline * 2
        events: list[ServerSentEvent] = []
        if not self.idle:
            head, found, chunk = chunk.partition(separator)
            events.extend(self._by_lines(head + found))
        blocks = chunk.split(separator)
        rest = blocks.pop()
        for block in blocks:
            if block.startswith(self._lead) or self._learn_lead(block):
                data = block[len(self._lead) :]
                if _LF not in data and _CR not in data:
                    self._started = True
                    events.append(ServerSentEvent(data, self._name))
                    continue
            events.extend(self._by_lines(block + separator))
        if rest:
            events.extend(self._by_lines(rest))
        return events

    def feed_frame(self, frame: bytes, blank: bytes) -> list[ServerSentEvent]:
        """The same for what is nearly always one frame, and ends with this blank line.

        Raises:
            InvalidUpstreamResponse: an event is larger than `max_event`.
        """
        if self.idle and (frame.startswith(self._lead) or self._learn_lead(frame)):
            data = frame[len(self._lead) : -len(blank)]
            if _LF not in data and _CR not in data and len(frame) <= self._max_event:
                self._started = True
                return [ServerSentEvent(data, self._name)]
        return self.feed(frame)

    def _learn_lead(self, block: bytes) -> bool:
        """Note what stands before the data of this event: many events in a row have the same name.

        That is `event` and `data` on a line each, or `data` alone; False for anything else.
        """
        found = _LEAD.match(block)
        if found is None:
            return False
        self._lead = found[0]
        self._name = (found[1] or b"").decode("utf-8", "replace")
        return True

    def _by_lines(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """The general way, for everything that does not come as whole plain events."""
        self._buffer += chunk
        yield from self._lines(at_end=False)
        self.idle = not (self._buffer or self._data or self._event)
        if len(self._buffer) + self._size > self._max_event:
            raise InvalidUpstreamResponse(f"the upstream sent an event of more than {self._max_event} bytes")

    def close(self) -> Iterator[ServerSentEvent]:
        """End of input: the event that was not closed by a blank line, if there is one."""
        yield from self._lines(at_end=True)
        if self._buffer:
            self._line(self._without_mark(bytes(self._buffer)))
            self._buffer.clear()
        yield from self._dispatch()

    def _lines(self, *, at_end: bool) -> Iterator[ServerSentEvent]:
        buffer = self._buffer
        if buffer.find(b"\r", self._scanned) >= 0:
            text = bytes(buffer)
            # the LF of a CRLF may be in the next chunk
            tail = b"\r" if text.endswith(b"\r") and not at_end else b""
            lines = text.removesuffix(tail).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        elif buffer.find(b"\n", self._scanned) >= 0:
            tail = b""
            lines = bytes(buffer).split(b"\n")
        else:
            self._scanned = len(buffer)
            return
        rest = lines.pop()
        self._scanned = len(rest)
        self._buffer = bytearray(rest + tail)
        if lines:
            lines[0] = self._without_mark(lines[0])
        for line in lines:
            if line:
                self._line(line)
            else:
                yield from self._dispatch()

    def _without_mark(self, line: bytes) -> bytes:
        if self._started:
            return line
        self._started = True
        return line.removeprefix(_BOM)

    def _line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1  # the line itself counts, or empty lines would be endless
            if self._size > self._max_event:
                raise InvalidUpstreamResponse(f"the upstream sent an event of more than {self._max_event} bytes")
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")

    def _dispatch(self) -> Iterator[ServerSentEvent]:
        data, event = self._data, self._event
        if data:
            self._data = []
            self._size = 0
            self._event = ""
            yield ServerSentEvent(data[0] if len(data) == 1 else b"\n".join(data), event)
        else:
            self._event = ""


def blank_line(frames: bytes) -> bytes:
    """How these frames end, if all of them end alike as nearly always."""
    return b"\r\n\r\n" if _CR in frames else b"\n\n"


def each_frame(frames: bytes) -> Iterator[bytes]:
    """One frame after the other, each with its blank line."""
    start = 0
    for blank in _BLANK_LINE.finditer(frames):
        yield frames[start : blank.end()]
        start = blank.end()
    if start < len(frames):
        yield frames[start:]


class WholeFrames:
    """Cuts bytes on their way where a frame ends: of each frame all goes on, or nothing yet.

    However small the pieces are, each byte is looked at a few times only.

    Args:
        max_event: the most bytes of a frame that are held.
    """

    __slots__ = ("_held", "_max_event")

    def __init__(self, *, max_event: int = MAX_EVENT) -> None:
        self._held = bytearray()
        self._max_event = max_event

    def __bool__(self) -> bool:
        """Whether a part of a frame is held."""
        return bool(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """All that has come, up to the last blank line; the rest is held.

        Raises:
            InvalidUpstreamResponse: a frame is larger than `max_event`. It is not held any longer.
        """
        if not self._held and chunk.endswith(BLANK_LINES):
            return chunk
        # a blank line may have begun with the last bytes that are held
        overlap = bytes(self._held[1 - _LONGEST :])
        window = overlap + chunk
        blanks = BLANK_LINES if _CR in window else BLANK_LINES[:1]
        end = max([place + len(blank) for blank in blanks if (place := window.rfind(blank)) >= 0], default=0)
        if not end:
            self._held += chunk
            if len(self._held) > self._max_event:
                self._held.clear()
                raise InvalidUpstreamResponse(f"the upstream sent an event of more than {self._max_event} bytes")
            return b""
        cut = end - len(overlap)
        out = bytes(self._held) + chunk[:cut]
        self._held = bytearray(chunk[cut:])
        return out

    def close(self) -> bytes:
        """The part of a frame that is held when nothing more comes."""
        rest = bytes(self._held)
        self._held.clear()
        return rest
