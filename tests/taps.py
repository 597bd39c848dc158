"""The general way alone: a stream read frame by frame, to hold every shorter way against it."""

from __future__ import annotations

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.protocols import PROTOCOLS, upstream_codec, whole_frames
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.streams import StreamObserver


class UsageTap(StreamObserver):
    """Reads a stream in full. It never raises."""

    def __init__(self, protocol: ir.Protocol) -> None:
        super().__init__()
        self._unwrapped = None if protocol in PROTOCOLS else whole_frames(protocol)
        self._frames = SSEDecoder()
        self._decoder = upstream_codec(protocol).stream_decoder()
        self.events: list[ir.StreamEvent] = []

    def feed(self, chunk: bytes | None) -> None:
        """A chunk, or the end of input."""
        if self.over:
            return
        try:
            if self._unwrapped is not None:
                chunk = self._unwrapped.close() or None if chunk is None else self._unwrapped.feed(chunk)
            for frame in self._frames.close() if chunk is None else self._frames.feed(chunk):
                for event in () if self.over else self._decoder.feed(frame):
                    self._hear(event)
        except UpstreamError as error:
            self._hear(ir.StreamFault(error))

    def close(self) -> None:
        """The stream has ended."""
        self.feed(None)
        for event in self._decoder.close() if self.fault is None else ():
            self._hear(event)

    def _hear(self, event: ir.StreamEvent) -> None:
        self.observe(event)
        self.events.append(event)
