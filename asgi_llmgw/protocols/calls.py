"""Tool calls and their results, matched.

Anthropic and Amazon want every call answered in the user message that follows it, all of one turn's answers in one
message and in the order of the calls (https://docs.anthropic.com/en/docs/build-with-claude/tool-use). Clients of other
protocols spread results over messages, repeat ids, or have none.
"""

from __future__ import annotations

from collections import deque

import msgspec

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import Message, ToolCallPart, ToolResultPart
from asgi_llmgw.protocols.base import Diagnostics, safe_tool_call_id


class Answer(msgspec.Struct, frozen=True):
    """A result and where it stood."""

    part: ToolResultPart
    path: str


class Call(msgspec.Struct):
    """A call, the id it has on the wire, and its answer once it is found."""

    id: str
    name: str
    path: str
    answer: Answer | None = None


class CallBook:
    """All calls of a conversation by where they stand, each with its one answer.

    Raises:
        InvalidRequest: a call without a result, or a result without a call.
    """

    def __init__(self, messages: tuple[Message, ...], notes: Diagnostics) -> None:
        self._notes = notes
        self._at: dict[tuple[int, int], Call] = {}
        self._by_id: dict[str, list[Call]] = {}
        self._waiting: dict[tuple[str, str | None], deque[Call]] = {}
        for m, message in enumerate(messages):
            for p, part in enumerate(message.parts):
                if isinstance(part, ToolCallPart) and message.role == "assistant":
                    self._note_call(part, m, p)
                elif isinstance(part, ToolResultPart):
                    self._note_answer(part, f"messages[{m}].content[{p}]")
        for call in self._at.values():
            if call.answer is None:
                raise InvalidRequest(f"The call of the tool {call.name!r} has no result.", param=call.path)

    def call(self, message: int, part: int) -> Call:
        """The call at this place."""
        return self._at[message, part]

    def _note_call(self, part: ToolCallPart, m: int, p: int) -> None:
        same = self._by_id.setdefault(part.id, [])
        path = f"messages[{m}].content[{p}]"
        # a repeated id is refused there; what stands in for it depends on what came before alone, so it never changes
        raw = f"{m}/{p}" if not part.id else part.id if not same else f"{part.id}/{len(same)}"
        wire_id = safe_tool_call_id(raw)
        if wire_id != part.id:
            self._notes.renamed(f"{path}.id", "The id does not fit this vendor, or is used twice.")
        call = Call(wire_id, part.name, path)
        same.append(call)
        for name in (None,) if part.id else (None, part.name):
            self._waiting.setdefault((part.id, name), deque()).append(call)
        self._at[m, p] = call

    def _note_answer(self, part: ToolResultPart, path: str) -> None:
        waiting = self._waiting.get((part.call_id, None if part.call_id else part.name))
        if waiting is None:
            raise InvalidRequest("A tool result answers no call of this conversation.", param=path)
        while len(waiting) > 1 and waiting[0].answer is not None:
            waiting.popleft()
        call = waiting[0]
        if call.answer is not None:
            self._notes.dropped(path, "The call has several results: the last one counts.")
        call.answer = Answer(part, path)
