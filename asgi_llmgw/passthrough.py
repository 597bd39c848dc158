"""Forwarding without translating: the bytes that come are the bytes that go.

Two things a forwarder may add, both only where they would otherwise be missing: the request for usage in a Chat
Completions stream (what it brings is taken out again), and at the end an error event or the terminator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_object, loads, loads_object, members
from asgi_llmgw.protocols import scrub, upstream_codec
from asgi_llmgw.sse import BLANK_LINES, SSEDecoder, each_frame
from asgi_llmgw.streams import StreamReader

_ASKED_FOR_USAGE: Final[JSONObject] = {"stream_options": {"include_usage": True}}
_DONE: Final = b"[DONE]"
_TERMINATOR: Final[Mapping[Protocol, bytes]] = {"openai_chat": b"data: [DONE]\n\n"}
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
    for name in _FINISH_NAMES.get(protocol, ()):
        place = chunk.find(name)
        if place >= 0 and _FINISH[protocol].search(chunk, place) is not None:
            return True
    return False


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


def ask_for_usage(protocol: Protocol, body: bytes) -> JSONObject | None:
    """The members with which a streamed request asks for usage; None where it asks already, or usage comes anyway.

    https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options
    """
    if protocol != "openai_chat":
        return None
    raw = members(body).get("stream_options")
    if raw is None:
        return _ASKED_FOR_USAGE
    options = as_object(loads(raw))
    if options.get("include_usage") is not None:
        return None
    return {"stream_options": {**options, "include_usage": True}}


def hide_usage(frames: bytes) -> bytes:
    """Whole frames without the usage the client did not ask for: without the member, or the frame that has no other."""
    shown = _without_empty_usage(frames)
    if b'"choices":[]' not in shown and b'"choices": []' not in shown:
        return shown
    return b"".join([frame for frame in each_frame(shown) if not _tells_only_usage(frame)])


def _without_empty_usage(frames: bytes) -> bytes:
    # an unescaped quote cannot stand inside a JSON string, so this is a member and never a piece of text
    shown = frames.replace(b',"usage":null', b"")
    return shown if shown != frames else frames.replace(b', "usage": null', b"")


def _tells_only_usage(frame: bytes) -> bool:
    if b'"usage"' not in frame:
        return False
    try:
        (event,) = SSEDecoder().feed(frame)
        chunk = loads_object(event.data)
    except ValueError:  # no event, or none that is JSON
        return False
    return chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)


class PassThrough(StreamReader):
    """A stream on its way through: it is read, and the little that may be added is.

    Args:
        protocol: what the stream speaks.
        without_usage: take out the usage that the client did not ask for.

    Attributes:
        finished: what `tells_finish` tells of a chunk has been told by one of them.
    """

    __slots__ = ("_lost", "_protocol", "_without_usage", "finished")

    def __init__(self, protocol: Protocol, *, without_usage: bool = False) -> None:
        super().__init__(protocol, passing=_without_empty_usage if without_usage else None)
        self._protocol: Protocol = protocol
        self._without_usage = without_usage
        self.finished = False
        self._lost: UpstreamError | None = None

    def forward(self, chunk: bytes) -> bytes:
        """What the client gets for this chunk: the same bytes, unless usage must be taken out.

        Of a frame it gets all or nothing: a part of one would be of no use to it, and if the rest never comes, what
        is told then could not be read behind it.
        """
        if self._lost is not None:
            return b""
        try:
            frames = self._held.feed(chunk)
        except UpstreamError as error:
            self.fault = self._lost = error
            return b""
        return self._passed(frames)

    def _passed(self, frames: bytes) -> bytes:
        """Look at frames, run by run, and give what the client gets of them."""
        again, hides = self._refrain.again, self._without_usage
        shown: list[bytes] = []
        start, size = 0, len(frames)
        while start < size:
            taken, texts, passed = again(frames, start)
            if taken:
                self.text_length += sum(map(len, texts))
            elif self.ended or self.fault is not None:  # and then nothing comes again
                passed = hide_usage(frames[start:]) if hides else b""
                taken = size
            else:
                taken, _ = self._read_on(frames, start)
                frame = frames[start : start + taken]
                self.finished = self.finished or tells_finish(self._protocol, frame)
                passed = hide_usage(frame) if hides else frame
            shown.append(passed)
            start += taken
        return b"".join(shown) if hides else frames

    def end(self, error: UpstreamError | None = None) -> bytes:
        """What the client still gets when the upstream's bytes have ended: an error event if they ended too early.

        Args:
            error: why the transport broke, if it did.
        """
        told = self.fault if self._lost is None else None
        rest = self._passed(self._rest())
        done = self.ended or _DONE in rest  # without its blank line it has not been read yet
        self._read_end(error)
        if self.fault is None:
            return rest if done else self._terminated(rest)
        if self.fault is told:
            return rest
        protocol = upstream_codec(self._protocol)
        return protocol.encode_stream_error(self.fault).encode(protocol.frame_newline)

    def _rest(self) -> bytes:
        try:
            return self._held.close()
        except UpstreamError as error:
            self.fault = error
            return b""

    def _terminated(self, rest: bytes) -> bytes:
        """The rest of a good stream, with the terminator that its protocol has and the vendor may have left out."""
        terminator = _TERMINATOR.get(self._protocol)
        if terminator is None or self.finish_reason is None:
            return rest
        return rest + (b"\n\n" if rest and not rest.endswith(BLANK_LINES) else b"") + terminator
