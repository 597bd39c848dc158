"""Forwarding without translating: the bytes that come are the bytes that go.

Two things a forwarder may add, both only where they would otherwise be missing: the request for usage in a Chat
Completions stream (what it brings is taken out again), and at the end an error event or the terminator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import Protocol, ReasoningDelta, TextDelta
from asgi_llmgw.json import JSONError, as_object, loads, loads_object, members, with_members
from asgi_llmgw.protocols import scrub, upstream_codec
from asgi_llmgw.refrain import Refrain, first_frame
from asgi_llmgw.sse import BLANK_LINES, ServerSentEvent, WholeFrames
from asgi_llmgw.translate import UsageTap

_EMPTY_USAGE: Final = (b',"usage":null', b', "usage": null')
_DONE: Final = b"[DONE]"
_TERMINATOR: Final[Mapping[Protocol, bytes]] = {"openai_chat": b"data: [DONE]\n\n"}
_NO_CHOICES: Final = (b'"choices":[]', b'"choices": []')
_FINISH: Final[Mapping[Protocol, re.Pattern[bytes]]] = {
    "openai_chat": re.compile(rb'"finish_reason": ?"[^"]'),
    "anthropic_messages": re.compile(rb'"stop_reason": ?"[^"]'),
}
_FINISH_NAMES: Final[Mapping[Protocol, tuple[bytes, bytes]]] = {
    "openai_chat": (b'"finish_reason":"', b'"finish_reason": "'),
    "anthropic_messages": (b'"stop_reason":"', b'"stop_reason": "'),
}
"""Looking for bytes is much quicker than the pattern, and nearly always enough."""


def tells_finish(protocol: Protocol, chunk: bytes) -> bool:
    """Whether an answer is finished in these bytes of a stream, as far as can be seen without reading them.

    True is never wrong: an unescaped quote cannot stand inside a JSON string. Protocols whose streams end with their
    bytes alone are never finished before.
    """
    names = _FINISH_NAMES.get(protocol)
    if names is None or (names[0] not in chunk and names[1] not in chunk):
        return False
    return _FINISH[protocol].search(chunk) is not None


def presentable(body: bytes) -> bool:
    """Whether a vendor's own words about the client's mistake may be shown as they are.

    Every protocol has them in an `error` object; some vendors that imitate one do not, and clients would find nothing.
    """
    try:
        told = loads_object(body).get("error")
        text = body.decode()
    except ValueError:
        return False
    return isinstance(told, dict) and scrub(text) == text


def is_event_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Some servers forget the content type of a stream; none calls one JSON or HTML."""
    kind = next((value for name, value in headers if name == b"content-type"), b"").lower()
    return not kind.startswith((b"application/json", b"text/html"))


def ask_for_usage(protocol: Protocol, body: bytes) -> bytes | None:
    """The same streamed request with usage asked for; None where it was asked for already, or comes anyway.

    https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options
    """
    if protocol != "openai_chat":
        return None
    raw = members(body).get("stream_options")
    options = as_object(loads(bytes(raw))) if raw is not None else {}
    if options.get("include_usage") is not None:
        return None
    return with_members(body, {"stream_options": {**options, "include_usage": True}})


def hide_usage(frame: ServerSentEvent) -> ServerSentEvent | None:
    """A frame without the usage the client did not ask for; None where nothing is left of it."""
    data = frame.data
    if b'"usage"' not in data:
        return frame
    for empty in _EMPTY_USAGE:
        # an unescaped quote cannot stand inside a JSON string, so this is a member and never a piece of text
        data = data.replace(empty, b"")
    if any(mark in data for mark in _NO_CHOICES):
        try:
            chunk = loads_object(data)
        except JSONError:
            return frame
        if chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict):
            return None
    return frame if data == frame.data else ServerSentEvent(data, frame.event)


class PassThrough(UsageTap):
    """A stream on its way through: the tap that reads it, and the little that may be added.

    Args:
        protocol: what the stream speaks.
        without_usage: take out the usage that the client did not ask for.
    """

    __slots__ = ("_done", "_held", "_protocol", "_refrain", "_told", "_without_usage")

    def __init__(self, protocol: Protocol, *, without_usage: bool = False) -> None:
        super().__init__(protocol)
        self._protocol: Protocol = protocol
        self._without_usage = without_usage
        self._done = False
        self._held = WholeFrames()
        self._refrain = Refrain()
        self._told: list[object] = []

    def forward(self, chunk: bytes) -> bytes:
        """What the client gets for this chunk: the same bytes, unless usage must be taken out.

        Of a frame it gets all or nothing: a part of one would be of no use to it, and if the rest never comes, what
        is told then could not be read behind it.
        """
        out = b""
        while chunk:
            taken, length = self._refrain.again(chunk) if self._between_frames() else (0, 0)
            if taken:
                self.text_length += length
                if taken == len(chunk) and not out:
                    return self._without_empty_usage(chunk)
                out += self._without_empty_usage(chunk[:taken])
            else:
                taken = first_frame(chunk) if self._refrain.learns else len(chunk)
                out += self._read(chunk[:taken])
            chunk = chunk[taken:]
        self._done = self._done or _DONE in out
        return out

    def _between_frames(self) -> bool:
        return self._frames.idle and not self._held and not self.ended and self.fault is None

    def _without_empty_usage(self, frames: bytes) -> bytes:
        if self._without_usage:
            for empty in _EMPTY_USAGE:
                if empty in frames:
                    frames = frames.replace(empty, b"")
        return frames

    def _read(self, piece: bytes) -> bytes:
        """Read what is not known yet, and learn from a frame that told one text and nothing else."""
        whole = self._refrain.learns and self._between_frames()
        if self._without_usage:
            self._told = []
            out = self._shown_frames(piece)
        else:
            self._told = [*self._events(piece)]
            out = self._held.feed(piece)
        match self._told:
            case []:
                pass
            case [(TextDelta() | ReasoningDelta()) as told] if whole and self._between_frames():
                self._refrain.learn(piece, told.text)
            case _:
                self._refrain.lost()
        return out

    def end(self, error: UpstreamError | None = None) -> bytes:
        """What the client still gets when the upstream's bytes have ended: an error event if they ended too early.

        Args:
            error: why the transport broke, if it did.
        """
        out = b""
        if self._without_usage:
            out = b"".join(self._shown(frame) for frame in self._frames.close())
        told = self.fault
        self.close(error)
        held = self._held.close()
        if self.fault is None:
            return self._terminated(out + held)
        if self.fault is told:
            return out + held
        protocol = upstream_codec(self._protocol)
        return out + protocol.encode_stream_error(self.fault).encode(protocol.frame_newline)

    def _terminated(self, rest: bytes) -> bytes:
        """The rest of a good stream, with the terminator that its protocol has and the vendor may have left out."""
        terminator = _TERMINATOR.get(self._protocol)
        if terminator is None or self._done or _DONE in rest or self.finish_reason is None:
            return rest
        return rest + (b"\n\n" if rest and not rest.endswith(BLANK_LINES) else b"") + terminator

    def _shown_frames(self, chunk: bytes) -> bytes:
        out = bytearray()
        try:
            for frame in self._frames.feed(chunk):
                out += self._shown(frame)
        except UpstreamError as error:
            self.fault = error
        return bytes(out)

    def _shown(self, frame: ServerSentEvent) -> bytes:
        told = self._decoder.feed(frame)
        self._told += told
        for event in told:
            self.observe(event)
        kept = hide_usage(frame)
        return kept.encode() if kept is not None else b""
