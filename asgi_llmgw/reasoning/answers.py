"""Other vendors' reasoning state in an answer, put where the client's protocol has a place for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeVar

import msgspec

from asgi_llmgw import ir
from asgi_llmgw.ir import (
    ChatResponse,
    ChoiceEnd,
    CitationPart,
    Delta,
    MediaPart,
    Opaque,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    StreamEvent,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    accumulate,
    explode,
)
from asgi_llmgw.reasoning.envelope import STANDARD, Envelope, Place, seal

_OWN_CARRIER: Final = ("anthropic_messages", "openai_responses")
_P = TypeVar("_P", bound=ir.Part)


class Carrier(Protocol):
    """Takes the events of one stream and gives those for the client's encoder."""

    def event(self, event: StreamEvent, /) -> Iterable[StreamEvent]: ...

    def delta(self, event: Delta, /) -> Delta:
        """The same for the commonest of events, which stay one."""
        ...


def carrier(source: ir.Protocol, target: ir.Protocol, key: bytes) -> Carrier:
    """For one stream from an upstream of one protocol to a client of another."""
    kind = ItemCarrier if target in _OWN_CARRIER else FieldCarrier
    return kind(source, target, key)


def carry_response(answer: ChatResponse, source: ir.Protocol, target: ir.Protocol, key: bytes) -> ChatResponse:
    """The same for a whole answer."""
    for choice in answer.choices:
        for part in choice.parts:
            if type(part) is ReasoningPart or state_of(part) is not None:
                told = carrier(source, target, key)
                return accumulate(out for event in explode(answer) for out in told.event(event))
    return answer


def state_of(part: ir.Part) -> Opaque | None:
    """The state on a part of any kind."""
    if isinstance(part, (TextPart, ToolCallPart, MediaPart)):
        return part.signature
    return part.opaque if isinstance(part, ReasoningPart) else None


def with_state(part: _P, state: Opaque | None) -> _P:
    """The part with this state instead of what it had."""
    match part:
        case ReasoningPart():
            return msgspec.structs.replace(part, opaque=state)
        case TextPart() | ToolCallPart() | MediaPart():
            return msgspec.structs.replace(part, signature=state)
        case _:
            return part


class _Sealer:
    """What is another vendor's, from the point of view of one client, and the text that carries it."""

    __slots__ = ("_key", "_source", "_target")

    def __init__(self, source: ir.Protocol, target: ir.Protocol, key: bytes) -> None:
        self._source: ir.Protocol = source
        self._target: ir.Protocol = target
        self._key = key

    def _foreign(self, state: Opaque | None) -> Opaque | None:
        """The state, if the client's own protocol cannot say where it has to go back to."""
        if state is None:
            return None
        if self._source == "openai_chat" and state.protocol != self._source:
            return msgspec.structs.replace(state, via=self._source)
        return None if state.protocol == self._target else state

    def _text(self, envelope: Envelope) -> str:
        sealed = seal(envelope, self._key)
        # bytes to Gemini's SDKs, some of which read one alphabet only
        return sealed.translate(STANDARD) if self._target == "gemini_generate" else sealed


class FieldCarrier(_Sealer):
    """For protocols whose encoders have a field for any vendor's state: it stays where it is, sealed.

    A client may join texts, so the state of a text comes behind it and tells its length.
    """

    __slots__ = ("_texts",)

    def __init__(self, source: ir.Protocol, target: ir.Protocol, key: bytes) -> None:
        super().__init__(source, target, key)
        self._texts: dict[int, _Open] = {}

    def event(self, event: StreamEvent, /) -> Iterable[StreamEvent]:
        """One event of the stream."""
        if type(event) is PartStart:
            return (self._start(event),)
        if type(event) is PartEnd:
            return (self._end(event),)
        return (self.delta(event),) if type(event) is TextDelta else (event,)

    def delta(self, event: Delta, /) -> Delta:
        """A piece of a part; of a text, the length is noted."""
        if type(event) is TextDelta:
            text = self._texts.get(event.index)
            if text is not None:
                text.length += len(event.text)
        return event

    def _start(self, event: PartStart) -> StreamEvent:
        part, state = event.part, self._foreign(state_of(event.part))
        if isinstance(part, TextPart):
            self._texts[event.index] = _Open(event.index, event.choice, part, state)
            kept = None
        else:
            kept = None if state is None else self._sealed(state, Envelope(state))
        return event if state is None else PartStart(event.index, with_state(part, kept), event.choice)

    def _end(self, event: PartEnd) -> StreamEvent:
        text = self._texts.pop(event.index, None)
        state = self._foreign(event.opaque) or (None if text is None else text.state)
        if state is None:
            return event
        envelope = Envelope(state) if text is None else Envelope(state, *_place(text), text.length)
        return PartEnd(event.index, self._sealed(state, envelope))

    def _sealed(self, state: Opaque, envelope: Envelope) -> Opaque:
        return msgspec.structs.replace(state, payload=self._text(envelope))


class _Open:
    """A part that is being told: its new number, and the state that will follow it."""

    __slots__ = ("choice", "index", "length", "part", "state")

    def __init__(self, index: int, choice: int, part: OutputPart, state: Opaque | None) -> None:
        self.index = index
        self.choice = choice
        self.part = part
        self.state = state
        text = part.text if isinstance(part, (TextPart, ReasoningPart)) else ""
        self.length = len(text)


class ItemCarrier(_Sealer):
    """For protocols that keep state on thoughts alone: a thought of its own carries what stood on a call or a text.

    It stands in front of a call, and behind a text and its sources, where vendors tell it last.
    """

    __slots__ = ("_next", "_open", "_waiting")

    def __init__(self, source: ir.Protocol, target: ir.Protocol, key: bytes) -> None:
        super().__init__(source, target, key)
        self._next = 0
        self._open: dict[int, _Open] = {}
        self._waiting: list[tuple[int, Envelope]] = []

    def event(self, event: StreamEvent, /) -> Iterable[StreamEvent]:
        """One event of the stream."""
        if type(event) is PartStart:
            return self._start(event)
        if type(event) is PartEnd:
            return self._end(event)
        if type(event) is ChoiceEnd and self._waiting:
            return (*self._flush(), event)
        if type(event) is TextDelta or type(event) is ReasoningDelta or type(event) is ToolInputDelta:
            return (self.delta(event),)
        return (event,)

    def delta(self, event: Delta, /) -> Delta:
        """A piece of a part, moved to where that is now; the length of words is noted."""
        part = self._open[event.index]
        if type(event) is not ToolInputDelta:
            part.length += len(event.text)
        return event if event.index == part.index else msgspec.structs.replace(event, index=part.index)

    def _start(self, event: PartStart) -> list[StreamEvent]:
        part = event.part
        told: list[StreamEvent] = []
        if self._waiting and not isinstance(part, CitationPart):
            told += self._flush()
        state = self._foreign(state_of(part))
        if state is not None:
            part = with_state(part, None)
            if isinstance(part, ToolCallPart):
                told += self._carry(event.choice, Envelope(state, "call", part.id))
                state = None
        opened = self._open[event.index] = _Open(self._next, event.choice, part, state)
        self._next += 1
        told.append(PartStart(opened.index, part, event.choice))
        return told

    def _end(self, event: PartEnd) -> tuple[PartEnd]:
        opened = self._open.pop(event.index)
        state = self._foreign(event.opaque) or opened.state
        if state is None and self._unproven(opened, event.opaque):
            state = Opaque(self._source, "signature", "")
        if state is None:
            return (PartEnd(opened.index, event.opaque),)
        if isinstance(opened.part, ReasoningPart):
            return (PartEnd(opened.index, self._own(Envelope(state), shown=opened.length > 0)),)
        place, call_id = _place(opened)
        self._waiting.append((opened.choice, Envelope(state, place, call_id, opened.length)))
        return (PartEnd(opened.index),)

    def _unproven(self, opened: _Open, late: Opaque | None) -> bool:
        """Whether these are words nobody vouches for. The client's own vendor refuses them, so they are marked too."""
        return (
            late is None and opened.length > 0 and isinstance(opened.part, ReasoningPart) and opened.part.opaque is None
        )

    def _flush(self) -> Iterator[StreamEvent]:
        waiting, self._waiting = self._waiting, []
        for choice, envelope in waiting:
            yield from self._carry(choice, envelope)

    def _carry(self, choice: int, envelope: Envelope) -> Iterator[StreamEvent]:
        yield PartStart(self._next, ReasoningPart(), choice)
        yield PartEnd(self._next, self._own(envelope, shown=False))
        self._next += 1

    def _own(self, envelope: Envelope, *, shown: bool) -> Opaque:
        """The state as the client's protocol names such things; `shown`: there are words with it."""
        sealed = self._text(envelope)
        if self._target == "openai_responses":
            return Opaque(self._target, "encrypted", sealed)
        return Opaque(self._target, "signature" if shown else "redacted", sealed)


def _place(opened: _Open) -> tuple[Place, str]:
    match opened.part:
        case ToolCallPart(id=call_id):
            return "call", call_id
        case MediaPart():
            return "media", ""
        case _:
            return ("text" if opened.length else "empty"), ""
