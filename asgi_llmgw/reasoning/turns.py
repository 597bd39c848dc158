"""Turns with reasoning state, remembered for clients that send back no more than the standard fields.

Many clients of Chat Completions keep a call's id, name and arguments, and nothing of what a vendor wants back with it.
A turn is remembered under the id of its first call, and recognised by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Message,
    Opaque,
    OutputPart,
    Part,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    StreamEvent,
    TextPart,
    ToolCallPart,
    explode,
)
from asgi_llmgw.reasoning.answers import state_of, with_state


class TurnItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A thought, a call (by its id), or the text where there is neither; `signature` is the call's or the text's."""

    thought: ReasoningPart | None = None
    call_id: str | None = None
    signature: Opaque | None = None


class Turn(msgspec.Struct, frozen=True):
    """What the assistant thought, said and called, in this order; its words are not in it."""

    items: tuple[TurnItem, ...]

    @property
    def name(self) -> str:
        """The id of its first call; empty if there is none."""
        return next((item.call_id for item in self.items if item.call_id), "")


_decoder: Final = msgspec.json.Decoder(Turn)
_encoder: Final = msgspec.json.Encoder()


def pack_turn(turn: Turn) -> bytes:
    """The turn as a store keeps it."""
    return _encoder.encode(turn)


def unpack_turn(data: bytes) -> Turn | None:
    """The turn again; None for what is not one."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return None


class TurnRecorder:
    """Takes note of the state in a stream's first choice, and of nothing else."""

    __slots__ = ("_items", "_parts", "_stateful", "_thoughts")

    def __init__(self) -> None:
        self._parts: dict[int, OutputPart] = {}
        self._thoughts: dict[int, list[str]] = {}
        self._items: dict[int, TurnItem] = {}
        self._stateful = False

    def observe(self, event: StreamEvent) -> None:
        """Take note of one event."""
        if type(event) is ReasoningDelta:
            if event.index in self._thoughts:
                self._thoughts[event.index].append(event.text)
        elif type(event) is PartStart:
            part = event.part
            if event.choice == 0 and isinstance(part, (TextPart, ToolCallPart, ReasoningPart)):
                self._parts[event.index] = part
                if type(part) is ReasoningPart:
                    self._thoughts[event.index] = [part.text]
        elif type(event) is PartEnd:
            ended = self._parts.pop(event.index, None)
            if ended is not None:
                self._note(event.index, ended, event.opaque or state_of(ended))

    def turn(self) -> Turn | None:
        """The turn, as far as its parts have ended; None if no vendor wants any of it back, or nothing would tell it
        from others."""
        if not self._stateful:
            return None
        turn = Turn(tuple([item for _, item in sorted(self._items.items())]))
        return turn if turn.name else None

    def _note(self, index: int, part: OutputPart, state: Opaque | None) -> None:
        self._stateful = self._stateful or state is not None
        if type(part) is ReasoningPart:
            self._items[index] = TurnItem(ReasoningPart("".join(self._thoughts[index]), state))
        else:
            self._items[index] = TurnItem(None, part.id if type(part) is ToolCallPart else None, state)


def turn_of(answer: ChatResponse) -> Turn | None:
    """The turn in a whole answer."""
    if not any(type(part) is ToolCallPart for choice in answer.choices for part in choice.parts):
        return None
    recorder = TurnRecorder()
    for event in explode(answer):
        recorder.observe(event)
    return recorder.turn()


def missing_turns(request: ChatRequest) -> tuple[str, ...]:
    """The names of turns that came back with calls and without any state."""
    if request.talk is not None:
        return ()
    return tuple(name for message in request.messages if (name := _missing(message)))


def with_turns(request: ChatRequest, turns: Mapping[str, Turn]) -> ChatRequest:
    """The request with the state of the turns that are remembered."""
    if not turns:
        return request
    messages = tuple(
        _completed(message, turns[name]) if (name := _missing(message)) in turns else message
        for message in request.messages
    )
    return msgspec.structs.replace(request, messages=messages)


def _missing(message: Message) -> str:
    if message.role != "assistant" or any(state_of(part) is not None for part in message.parts):
        return ""
    return next((part.id for part in message.parts if isinstance(part, ToolCallPart)), "")


def _completed(message: Message, turn: Turn) -> Message:
    """The message in the turn's order: its words where words were, each thought where it was thought."""
    calls = {part.id: part for part in message.parts if isinstance(part, ToolCallPart)}
    words = [part for part in message.parts if not isinstance(part, (ToolCallPart, ReasoningPart))]
    parts: list[Part] = []
    for item in turn.items:
        if item.thought is not None:
            parts.append(item.thought)
        elif item.call_id is not None:
            call = calls.pop(item.call_id, None)
            parts += [] if call is None else [with_state(call, item.signature)]
        else:
            parts += words
            words = []
            _sign_words(parts, item.signature)
    return msgspec.structs.replace(message, parts=(*parts, *words, *calls.values()))


def _sign_words(parts: list[Part], signature: Opaque | None) -> None:
    """The text's signature, if it has one: on the text itself, or on an empty one."""
    if signature is None:
        return
    last = parts[-1] if parts else None
    if isinstance(last, TextPart) and last.signature is None:
        parts[-1] = with_state(last, signature)
    else:
        parts.append(TextPart("", signature=signature))
