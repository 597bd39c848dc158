"""Reads the event streams of operations from a copy: usage, text, an error, and whether the stream was whole.

They have no more in common than that each event is a JSON object; completions, pictures, speech and transcripts have
events of their own (https://platform.openai.com/docs/api-reference/images-streaming,
https://platform.openai.com/docs/api-reference/audio/transcript-text-delta-event).
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import JSONError, JSONObject, as_list, as_object, as_str, dumps, loads_object
from asgi_llmgw.operations.usage import usage_of
from asgi_llmgw.protocols import codec
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder, WholeFrames

_DONE: Final = b"[DONE]"
_LAST: Final = (".done", ".completed")


class OperationTap:
    """Looks at a stream on its way through. It never alters it and never raises.

    Of an event the client gets all or nothing.

    `fault` is what went wrong, `usage` the last that was told, `text_length` how many characters have gone by, and
    `finish_reason` why a completion ended.
    """

    __slots__ = ("_ended", "_frames", "_held", "_lost", "fault", "finish_reason", "text_length", "usage")

    def __init__(self) -> None:
        self._frames = SSEDecoder()
        self._held = WholeFrames()
        self._ended = self._lost = False
        self.fault: UpstreamError | None = None
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.text_length = 0

    def forward(self, chunk: bytes) -> bytes:
        """Look at a chunk, and give what may go on: whole events as they came, so that another can follow them."""
        if self._lost:
            return b""
        try:
            frames = self._held.feed(chunk)
        except UpstreamError as error:
            self.fault = self.fault or error
            self._lost = True
            return b""
        self._feed(frames)
        return frames

    def _feed(self, frames: bytes | None) -> None:
        """Look at frames, or at the end of input."""
        try:
            for frame in self._frames.close() if frames is None else self._frames.feed(frames):
                self._look(frame)
        except UpstreamError as error:
            self.fault = self.fault or error

    def close(self) -> bytes:
        """The stream has ended: was that its end? What is left of it is given if so."""
        rest = self._held.close()
        self._feed(rest)
        self._feed(None)
        if not self._ended and self.fault is None:
            self.fault = InvalidUpstreamResponse("the upstream's stream ended before its end")
        return b"" if self.fault is not None or not rest else rest + b"\n\n"

    def _look(self, frame: ServerSentEvent) -> None:
        if frame.data.strip() == _DONE:
            self._ended = True
            return
        try:
            event = loads_object(frame.data)
        except JSONError:
            return
        kind = as_str(event.get("type")) or ""
        if kind == "error" or isinstance(event.get("error"), dict):
            self.fault = self.fault or codec("openai_chat").decode_error(500, dumps({"error": _error(event)}))
            return
        self.usage = usage_of(event) or self.usage
        self._ended = self._ended or kind.endswith(_LAST)
        self.text_length += len(as_str(event.get("delta")) or "")
        for choice in map(as_object, as_list(event.get("choices"))):
            self.text_length += len(as_str(choice.get("text")) or "")
            finish = as_str(choice.get("finish_reason"))
            if finish is not None:
                self.finish_reason, self._ended = finish, True


def _error(event: JSONObject) -> JSONObject:
    """The error an event tells, whether it holds one or is one."""
    inner = as_object(event.get("error"))
    return inner or {name: value for name, value in event.items() if name != "type"}
