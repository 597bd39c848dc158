"""Reading a stream, whoever forwards it: what it tells, and what is to be known of it when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias, final

import msgspec

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import (
    ChoiceEnd,
    Delta,
    FinishReason,
    PartStart,
    Protocol,
    ReasoningPart,
    ResponseEnd,
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.ir.events import ReasoningDelta, ToolInputDelta
from asgi_llmgw.protocols import upstream_codec, whole_frames
from asgi_llmgw.refrain import Passing, Refrain
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder, blank_line


@final
class Ping(msgspec.Struct, frozen=True):
    """The upstream says no more than that it is still there."""


Heard: TypeAlias = StreamEvent | Ping

_PING: Final = Ping()
_ONLY_PING: Final[list[Heard]] = [_PING]
_NO_DELTA: Final = TextDelta(0, "")


class StreamObserver:
    """What a stream has told so far, whoever forwards it.

    Attributes:
        usage: tokens, the last report wins; None while nothing was reported.
        finish_reason: how the first choice ended.
        fault: the error the stream broke with.
        content: something a user would see has come.
        ended: the stream is whole.
        text_length: characters of text, reasoning and tool input so far, for an estimate where usage is missing.
    """

    __slots__ = ("content", "ended", "fault", "finish_reason", "text_length", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.fault: UpstreamError | None = None
        self.content = False
        self.ended = False
        self.text_length = 0

    @property
    def over(self) -> bool:
        """Nothing more is to be told: the stream has ended, or broken."""
        return self.ended or self.fault is not None

    def observe(self, event: StreamEvent) -> None:
        """Take note of one event."""
        if type(event) is TextDelta or type(event) is ReasoningDelta:
            self.text_length += len(event.text)
            self.content = True
            return
        if type(event) is UsageUpdate:  # some vendors send one with every word
            self.usage = event.usage
            return
        if type(event) is ToolInputDelta:
            self.text_length += len(event.fragment)
        elif type(event) is PartStart:
            if not isinstance(event.part, (TextPart, ReasoningPart)):
                self.content = True
        elif type(event) is ChoiceEnd:
            if self.finish_reason is None:
                self.finish_reason = event.finish
        elif type(event) is ResponseEnd:
            self.ended = self.content = True
        elif type(event) is StreamFault:
            self.fault = event.error


class StreamReader(StreamObserver):
    """Reads whole frames of an event stream; broken framing becomes a `StreamFault`.

    Args:
        protocol: what the stream speaks.
        passing: what of its frames is passed on, for a `Refrain`.
    """

    __slots__ = ("_blank", "_decoder", "_frames", "_held", "_like", "_refrain")

    def __init__(self, protocol: Protocol, *, passing: Passing | None = None) -> None:
        super().__init__()
        self._held = whole_frames(protocol)
        self._frames = SSEDecoder()
        self._decoder = upstream_codec(protocol).stream_decoder()
        self._refrain = Refrain(passing)
        self._like: Delta = _NO_DELTA
        self._blank = b""

    def _again(self, frames: bytes, start: int) -> tuple[int, list[str]]:
        """How many bytes from here on tell deltas like the last one, `_like`, and their texts."""
        taken, texts, _ = self._refrain.again(frames, start)
        return taken, texts

    def _read_on(self, frames: bytes, start: int) -> tuple[int, list[Heard]]:
        """How many bytes the frame is that starts here, or all frames if none is learnt, and what is told."""
        refrain = self._refrain
        blank = self._blank = self._blank or blank_line(frames)
        place = frames.find(blank, start)
        end = place + len(blank)
        heard: list[Heard] = []
        try:
            if place < 0 or (not refrain.learns and end < len(frames)):
                end = len(frames)
                self._blank = b""  # the next ones may end otherwise
                refrain.missed()
                self._hear_all(self._frames.feed(frames[start:]), heard)
                return end - start, heard
            frame = frames[start:end]
            told = self._frames.feed_frame(frame, blank)
            if len(told) == 1:
                self._hear(told[0], heard)
                if refrain.learns:
                    self._learn(frame, heard)
            elif told:
                refrain.missed()
                self._hear_all(told, heard)
        except UpstreamError as error:
            heard.append(self._observed(StreamFault(error)))
            refrain.lost()
        return end - start, heard

    def _hear(self, frame: ServerSentEvent, heard: list[Heard]) -> None:
        """Add what this frame tells."""
        if frame.event == "ping":
            heard.append(_PING)
        for event in self._decoder.feed(frame):
            self.observe(event)
            heard.append(event)

    def _hear_all(self, frames: Iterable[ServerSentEvent], heard: list[Heard]) -> None:
        for frame in frames:
            if self.ended or self.fault is not None:
                return
            self._hear(frame, heard)

    def _learn(self, frame: bytes, told: list[Heard]) -> None:
        """Expect a frame again that told one delta and nothing else, its part's beginning apart."""
        delta = told[-1] if told else None
        if type(delta) is ReasoningDelta or (type(delta) is TextDelta and delta.logprobs is None):
            text = delta.text
        elif type(delta) is ToolInputDelta:
            text = delta.fragment
        else:
            if told != _ONLY_PING:
                self._refrain.lost()
            return
        alone = len(told) == 1 or (len(told) == 2 and type(told[0]) is PartStart)
        if alone and self._decoder.plain:
            self._like = delta
            self._refrain.learn(frame, text)
        else:
            self._refrain.missed()

    def _read_end(self, error: UpstreamError | None) -> list[Heard]:
        """What the end of input tells; `error` has brought it about, if it is not a good one."""
        heard: list[Heard] = []
        if not self.over:
            try:
                self._hear_all(self._frames.close(), heard)
            except UpstreamError as broken:
                heard.append(self._observed(StreamFault(broken)))
        if error is not None and heard and isinstance(heard[-1], StreamFault):
            # half a frame cannot be read because the transport broke, which is what is to be told
            heard[-1] = self._observed(StreamFault(error))
        if self.fault is None:
            for event in self._decoder.close():
                cause = error if isinstance(event, StreamFault) else None
                heard.append(self._observed(event if cause is None else StreamFault(cause)))
        return heard

    def _observed(self, event: StreamEvent) -> StreamEvent:
        self.observe(event)
        return event
