"""How a Gemini stream is framed for clients that do not ask for server-sent events (no `alt=sse`)."""

from __future__ import annotations

from asgi_llmgw.sse import ServerSentEvent


class JSONArrayFramer:
    """Frames in, the pieces of one JSON array out; the content type is `application/json`.

    An error is an element like any other, the last one.
    """

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def feed(self, frame: ServerSentEvent) -> bytes:
        """One more element."""
        before = b",\r\n" if self._begun else b"["
        self._begun = True
        return before + frame.data

    def close(self) -> bytes:
        """The end of the array."""
        return b"]" if self._begun else b"[]"
