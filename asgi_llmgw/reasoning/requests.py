"""Reasoning state that comes back with a client's history: given back to the parts, and to the vendor, it came from."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

from asgi_llmgw.ir import (
    ChatRequest,
    Diagnostic,
    MediaPart,
    Message,
    Opaque,
    Part,
    Protocol,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from asgi_llmgw.protocols.base import safe_tool_call_id
from asgi_llmgw.reasoning.answers import state_of, with_state
from asgi_llmgw.reasoning.envelope import MARK, Envelope, open_envelope

_UNKNOWN: Final = "State of unknown origin is sent to nobody."


def restore_state(request: ChatRequest, source: Protocol, key: bytes) -> tuple[ChatRequest, tuple[Diagnostic, ...]]:
    """The request as if every client kept every vendor's state.

    What a client brings in the fields of its own protocol is that vendor's. In fields that name another vendor it has
    to be sealed, but for Chat Completions, which has no state of its own and many conventions for that of others.
    """
    if not _brings_state(request):
        return request, ()
    lost: list[Diagnostic] = []
    messages = tuple(
        _restore(message, f"messages[{index}]", source, key, lost)
        if message.role == "assistant" and any(state_of(part) is not None for part in message.parts)
        else message
        for index, message in enumerate(request.messages)
    )
    return msgspec.structs.replace(request, messages=messages), tuple(lost)


def _brings_state(request: ChatRequest) -> bool:
    return any(
        state_of(part) is not None
        for message in request.messages
        if message.role == "assistant"
        for part in message.parts
    )


def addressed_to(request: ChatRequest, target: Protocol) -> tuple[ChatRequest, tuple[Diagnostic, ...]]:
    """The request without state that came through another protocol than the target's, whosever it is."""
    if not _brings_state(request):
        return request, ()
    lost: list[Diagnostic] = []
    messages = tuple(
        _addressed(message, f"messages[{index}]", target, lost) if message.role == "assistant" else message
        for index, message in enumerate(request.messages)
    )
    return msgspec.structs.replace(request, messages=messages) if lost else request, tuple(lost)


def _addressed(message: Message, path: str, target: Protocol, lost: list[Diagnostic]) -> Message:
    parts: list[Part] = []
    for index, part in enumerate(message.parts):
        state = state_of(part)
        if state is not None and state.via not in (None, target):
            lost.append(Diagnostic(f"{path}.content[{index}]", "dropped", "info", "state of another vendor"))
            part = with_state(part, None)
        if part != ReasoningPart():
            parts.append(part)
    return msgspec.structs.replace(message, parts=tuple(parts))


def _restore(message: Message, path: str, source: Protocol, key: bytes, lost: list[Diagnostic]) -> Message:
    turn = _Turn()
    for index, part in enumerate(message.parts):
        state = state_of(part)
        envelope = None if state is None else open_envelope(state.payload, key)
        if state is None or (envelope is None and _own(state, source)):
            turn.add(part)
        elif envelope is None:
            lost.append(Diagnostic(f"{path}.content[{index}]", "dropped", "info", _UNKNOWN))
            if not isinstance(part, ReasoningPart) or part.text:
                turn.add(with_state(part, None))
        else:
            turn.give(envelope, part)
    return msgspec.structs.replace(message, parts=turn.parts())


def _own(state: Opaque, source: Protocol) -> bool:
    """Whether a client that speaks `source` may bring this state as it is."""
    return not state.payload.startswith(MARK) and source in (state.protocol, "openai_chat")


class _Turn:
    """The parts of one message, with the places that state may belong to.

    Each part has a slot of its own, so that a text can be parted without moving the others.
    """

    def __init__(self) -> None:
        self._slots: list[list[Part]] = []
        self._texts: list[int] = []
        self._media: int | None = None
        self._calls: list[int] = []
        self._waiting: list[tuple[int, Envelope]] = []

    def add(self, part: Part) -> None:
        """Take a part as it is."""
        match part:
            case TextPart(signature=None) if part.text:
                self._texts.append(len(self._slots))
            case MediaPart():
                self._media = len(self._slots)
            case ToolCallPart():
                self._calls.append(len(self._slots))
            case _:
                pass
        self._slots.append([part])

    def give(self, envelope: Envelope, part: Part) -> None:
        """Put state where it stood; `part` brought it."""
        state, carried = envelope.opaque, isinstance(part, ReasoningPart)
        if not state.payload:
            self.add(with_state(part, None))  # a thought that came without proof
        elif envelope.place in ("text", "empty"):
            if not carried:
                self.add(with_state(part, None))
            self._sign_text(envelope)
        elif envelope.place == "reasoning" or not carried:
            self.add(with_state(part, state))
        elif envelope.place == "call":
            # the call may come later
            self._waiting.append((len(self._slots), envelope))
        elif self._media is not None:
            self._slots[self._media] = [with_state(one, state) for one in self._slots[self._media]]
        else:
            self._sign_nothing(envelope)

    def parts(self) -> tuple[Part, ...]:
        """All parts, each call with its state: known by its id, or where ids were changed the next one, or the last."""
        known: dict[str, int] = {}
        for index in reversed(self._calls):
            known |= {
                safe_tool_call_id(part.id): index for part in self._slots[index] if isinstance(part, ToolCallPart)
            }
        for position, envelope in self._waiting:
            found = known.get(safe_tool_call_id(envelope.call_id))
            if found is None and self._calls:
                following = bisect_left(self._calls, position)
                found = self._calls[min(following, len(self._calls) - 1)]
            if found is None:
                self._sign_nothing(envelope)
            else:
                self._slots[found] = [with_state(part, envelope.opaque) for part in self._slots[found]]
        return tuple(part for slot in self._slots for part in slot)

    def _sign_text(self, envelope: Envelope) -> None:
        """The last text without a signature; alone again, if a client has joined it to others."""
        if envelope.place == "empty" or not self._texts:
            self._sign_nothing(envelope)
            return
        found = self._texts.pop()
        (part,) = self._slots[found]
        cut = len(part.text) - envelope.length if isinstance(part, TextPart) else 0
        if isinstance(part, TextPart) and cut > 0:
            before = msgspec.structs.replace(part, text=part.text[:cut])
            part = msgspec.structs.replace(part, text=part.text[cut:])
            self._slots[found] = [before, with_state(part, envelope.opaque)]
        else:
            self._slots[found] = [with_state(part, envelope.opaque)]

    def _sign_nothing(self, envelope: Envelope) -> None:
        """A place for state that has lost its own, or never had words."""
        self._slots.append([TextPart("", signature=envelope.opaque)])
