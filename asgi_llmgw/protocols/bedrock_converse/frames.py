"""A stream on its way: Amazon's messages as they are, or the server-sent events an envelope has made of them."""

from __future__ import annotations

from asgi_llmgw.envelopes.converse import ConverseStream
from asgi_llmgw.sse import WholeFrames


class ConverseFrames:
    """Bytes in, whole server-sent events out; the chunks may be cut anywhere.

    A message of Amazon's begins with its length, and so with a zero, and text does not.
    """

    __slots__ = ("_events", "_messages")

    def __init__(self) -> None:
        self._messages: ConverseStream | None = None
        self._events: WholeFrames | None = None

    def feed(self, chunk: bytes) -> bytes:
        """The events that this chunk completes.

        Raises:
            InvalidUpstreamResponse: it cannot be read.
        """
        if self._messages is None and self._events is None and chunk:
            if chunk.startswith(b"\0"):
                self._messages = ConverseStream()
            else:
                self._events = WholeFrames()
        if self._messages is not None:
            return self._messages.feed(chunk)
        return b"" if self._events is None else self._events.feed(chunk)

    def close(self) -> bytes:
        """What is left when nothing more comes.

        Raises:
            InvalidUpstreamResponse: the last message is not whole.
        """
        if self._messages is not None:
            return self._messages.close()
        return b"" if self._events is None else self._events.close()
