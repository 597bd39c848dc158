"""The frames of a stream: Amazon's messages as they are, or the server-sent events an envelope has made of them."""

from __future__ import annotations

from collections.abc import Iterator

from asgi_llmgw.envelopes.converse import frame_of
from asgi_llmgw.eventstream import EventStreamFramer
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder


class ConverseFrames:
    """Bytes in, frames out; the chunks may be cut anywhere.

    A message of Amazon's begins with its length, and so with a zero, and text does not.
    """

    __slots__ = ("_events", "_messages")

    def __init__(self) -> None:
        self._messages: EventStreamFramer | None = None
        self._events: SSEDecoder | None = None

    @property
    def idle(self) -> bool:
        """Whether what has come ends with the end of an event."""
        return self._messages is None and (self._events is None or self._events.idle)

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The frames that this chunk completes.

        Raises:
            InvalidUpstreamResponse: it cannot be read.
        """
        if self._messages is None and self._events is None and chunk:
            if chunk.startswith(b"\0"):
                self._messages = EventStreamFramer()
            else:
                self._events = SSEDecoder()
        if self._messages is not None:
            return [frame_of(message) for message in self._messages.feed(chunk)]
        return [] if self._events is None else self._events.feed(chunk)

    def close(self) -> Iterator[ServerSentEvent]:
        """End of input.

        Raises:
            InvalidUpstreamResponse: the last message is not whole.
        """
        if self._messages is not None:
            self._messages.close()
        elif self._events is not None:
            yield from self._events.close()
