"""Reading a stream, whoever forwards it: what it tells, and what is to be known of it when it is over."""

from __future__ import annotations

from typing import TypeAlias, final

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
from asgi_llmgw.refrain import Refrain
from asgi_llmgw.sse import SSEDecoder, blank_line


@final
class Ping(msgspec.Struct, frozen=True):
    """The upstream says no more than that it is still there."""


Heard: TypeAlias = StreamEvent | Ping

_PING = Ping()


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
    """

    __slots__ = ("_decoder", "_frames", "_held", "_like", "_refrain")

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self._held = whole_frames(protocol)
        self._frames = SSEDecoder()
        self._decoder = upstream_codec(protocol).stream_decoder()
        self._refrain = Refrain()
        self._like: Delta = TextDelta(0, "")

    def _again(self, frames: bytes, start: int) -> tuple[int, list[str]]:
        """How many bytes from here on tell deltas like the last one, `_like`, and their texts."""
        return self._refrain.again(frames, start) if self._frames.idle else (0, [])

    def _read_on(self, frames: bytes, start: int) -> tuple[int, list[Heard]]:
        """How many bytes the frame is that starts here, and what it tells."""
        end = -1
        if self._refrain.learns:
            # if not all frames end alike, these are several, and nothing is learnt
            blank = blank_line(frames)
            end = frames.find(blank, start) + len(blank)
        end = end if end > start else len(frames)
        return end - start, self._read_in_full(frames[start:end])

    def _read_in_full(self, frames: bytes | None) -> list[Heard]:
        """What these frames tell, or the end of input."""
        heard: list[Heard] = []
        count = 0
        try:
            for frame in self._frames.close() if frames is None else self._frames.feed_frame(frames):
                if self.over:
                    break
                if frame.event == "ping":
                    heard.append(_PING)
                    continue
                count += 1
                for event in self._decoder.feed(frame):
                    self.observe(event)
                    heard.append(event)
        except UpstreamError as error:
            heard.append(self._observed(StreamFault(error)))
        if count and self._refrain.learns:
            self._learn(frames if count == 1 else None, heard)
        return heard

    def _learn(self, frame: bytes | None, told: list[Heard]) -> None:
        """Expect a frame again that told one delta and nothing else, its part's beginning apart."""
        delta = told[-1] if told else None
        if type(delta) is ToolInputDelta:
            text = delta.fragment
        elif type(delta) is ReasoningDelta or (type(delta) is TextDelta and delta.logprobs is None):
            text = delta.text
        else:
            self._refrain.lost()
            return
        alone = len(told) == 1 or (len(told) == 2 and type(told[0]) is PartStart)
        if alone and frame is not None and self._frames.idle and self._decoder.plain:
            self._like = delta
            self._refrain.learn(frame, text)
        else:
            self._refrain.missed()

    def _read_end(self, error: UpstreamError | None) -> list[Heard]:
        """What the end of input tells; `error` has brought it about, if it is not a good one."""
        heard = [] if self.over else self._read_in_full(None)
        if self.fault is None:
            for event in self._decoder.close():
                cause = error if isinstance(event, StreamFault) else None
                heard.append(self._observed(event if cause is None else StreamFault(cause)))
        return heard

    def _observed(self, event: StreamEvent) -> StreamEvent:
        self.observe(event)
        return event
