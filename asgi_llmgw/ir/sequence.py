"""One part after the other, for protocols whose streams cannot interleave."""

from __future__ import annotations

from collections.abc import Sequence

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

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        """What can be told now."""
        if type(event) is PartStart:
            if self._open is not None:
                self._waiting[event.index] = [event]
                return ()
            self._open = event.index
        elif type(event) is PartEnd:
            if event.index == self._open:
                return self._next(event)
            self._waiting[event.index].append(event)
            return ()
        elif type(event) is ChoiceEnd:
            if self._open is not None:
                self._ends.append(event)
                return ()
        elif (
            type(event) is TextDelta or type(event) is ReasoningDelta or type(event) is ToolInputDelta
        ) and event.index != self._open:
            self._waiting[event.index].append(event)
            return ()
        return (event,)

    def _next(self, end: PartEnd) -> Sequence[StreamEvent]:
        """The end of a part and the parts that waited for it: those that are complete whole, and the first that is not
        as far as it has come."""
        self._open = None
        told: list[StreamEvent] = [end]
        while self._waiting and self._open is None:
            index = next(iter(self._waiting))
            events = self._waiting.pop(index)
            if not isinstance(events[-1], PartEnd):
                self._open = index
            told += events
        if self._open is None and self._ends:
            told += self._ends
            self._ends = []
        return told
