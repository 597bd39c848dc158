"""Streams from the vendor: every event is a whole response object with what is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import Delta, StreamEvent, StreamFault, cut
from asgi_llmgw.json import JSONError, loads
from asgi_llmgw.sse import ServerSentEvent

from .response import ResponseReader


class GeminiStreamDecoder:
    """Frames in, events out. There is no last frame: the answer ends with the body, if it told why.

    `plain`: the last chunk held a piece of text, and maybe counts of tokens.
    """

    __slots__ = ("_done", "_reader", "plain")

    def __init__(self) -> None:
        self._reader = ResponseReader()
        self._done = self.plain = False

    def feed(self, frame: ServerSentEvent, /) -> Sequence[StreamEvent]:
        """The events of one frame; a broken one is a fault, after which there is nothing more."""
        if self._done:
            return ()
        more = self._reader.more(frame.data)
        self.plain = more is not None
        return tuple(self._general(frame.data)) if more is None else more

    def more(self, delta: Delta, /) -> None:
        """More of a text, told by chunks that were not read."""
        self._reader.said(delta)

    def _general(self, data: bytes) -> Iterator[StreamEvent]:
        # no Gemini server ends its streams with this, but servers that imitate it do
        if data.strip() in (b"", b"[DONE]"):
            return
        try:
            value = loads(data)
            for chunk in value if isinstance(value, list) else [value]:
                yield from self._reader.feed(chunk)
        except JSONError:
            self._done = True
            yield StreamFault(InvalidUpstreamResponse("the upstream sent an event that is not JSON"))
        except UpstreamError as error:
            self._done = True
            yield StreamFault(error)

    def close(self) -> Iterable[StreamEvent]:
        """The end of the body: the end of the answer if every candidate finished, a fault otherwise."""
        if self._done:
            return ()
        self._done = True
        return self._reader.close() if self._reader.finished else (cut(),)
