"""One part after the other, for protocols whose streams cannot interleave."""

from __future__ import annotations

from collections.abc import Iterator

from asgi_llmgw.ir.events import (
    ChoiceEnd,
    PartEnd,
    PartStart,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolInputDelta,
)


class Sequencer:
    """Puts interleaved parts in a row, in the order of their start.

    The part that began first is told at once; the events of others wait until it has ended, and so does the end of a
    choice. Memory is what waits.
    """

    __slots__ = ("_ends", "_open", "_waiting")

    def __init__(self) -> None:
        self._open: int | None = None
        self._ends: list[StreamEvent] = []
        self._waiting: dict[int, list[StreamEvent]] = {}

    def feed(self, event: StreamEvent) -> Iterator[StreamEvent]:
        """What can be told now."""
        match event:
            case PartStart() if self._open is None:
                self._open = event.index
                yield event
            case PartStart():
                self._waiting[event.index] = [event]
            case TextDelta() | ReasoningDelta() | ToolInputDelta() | PartEnd() if event.index != self._open:
                self._waiting[event.index].append(event)
            case PartEnd():
                yield event
                yield from self._next()
            case ChoiceEnd() if self._open is not None:
                self._ends.append(event)
            case _:
                yield event

    def _next(self) -> Iterator[StreamEvent]:
        """The parts that waited: those that are complete whole, and the first that is not as far as it has come."""
        self._open = None
        while self._waiting and self._open is None:
            index = next(iter(self._waiting))
            events = self._waiting.pop(index)
            if not isinstance(events[-1], PartEnd):
                self._open = index
            yield from events
        if self._open is None:
            yield from self._ends
            self._ends.clear()
