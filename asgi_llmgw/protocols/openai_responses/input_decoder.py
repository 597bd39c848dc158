"""The input items of a Responses request, read into turns.

One turn of the assistant is many items here: its thoughts, its words and its calls. Results may stand anywhere after
their calls; they are put behind the turn that asked for them.
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.ir import (
    Extension,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from asgi_llmgw.json import dumps_text
from asgi_llmgw.protocols.fields import Fields, invalid, missing, wrong_type

from .parts import ContentDecoder
from .tools import ToolDecoder
from .wire import CALL_TYPES, ITEM_FIELDS, NAME, RESULT_TYPES, STATE_FIELDS, flat_name

_ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
}
_LOST_CONTEXT: Final = frozenset({"item_reference", "compaction", "compaction_summary"})
"""Items that stand for turns which lie at the vendor, or which only it can read."""
_QUIET: Final = "internal_chat_message_metadata_passthrough"


class InputDecoder:
    """Reads the items in order.

    Args:
        tools: takes the tools that stand among the items.
        stateful: earlier turns lie at the vendor, so a call may be missing here.
    """

    __slots__ = ("_assistant", "_content", "_names", "_stateful", "_tools", "_turns", "extensions")

    def __init__(self, tools: ToolDecoder, *, stateful: bool) -> None:
        self._tools = tools
        self._stateful = stateful
        self._content = ContentDecoder()
        self._turns: list[tuple[Role, list[Part]]] = []
        self._assistant: list[Part] | None = None
        self._names: dict[str, tuple[str, list[Part]]] = {}
        self.extensions = self._content.extensions

    def decode(self, fields: Fields) -> tuple[Message, ...]:
        """All of `input`.

        Raises:
            InvalidRequest: it cannot be read, or a result has no call.
        """
        value = fields.data.get("input")
        if isinstance(value, str):
            return (Message("user", (TextPart(value),)),)
        if value is not None and not isinstance(value, list):
            raise wrong_type("input", "a string or an array", value)
        if not value:
            if any(fields.has(key) for key in STATE_FIELDS):
                return ()
            raise missing("input")
        for item in fields.objects("input"):
            self._item(item)
        return tuple(Message(role, tuple(parts)) for role, parts in self._turns)

    def _item(self, item: Fields) -> None:
        kind = item.text("type") or "message"
        known = ITEM_FIELDS.get(kind)
        for key, value in item.data.items() if known is not None else ():
            if known is not None and key not in known and value is not None:
                self.extensions.append(Extension(NAME, item.at(key), value, "info" if key == _QUIET else "warning"))
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._said(self._reasoning(item))
        elif kind in CALL_TYPES:
            self._call(item, kind)
        elif kind in RESULT_TYPES:
            self._result(item, kind)
        elif kind == "additional_tools":
            self._tools.add(item.objects("tools"))
        else:
            if kind in _LOST_CONTEXT:
                self.extensions.append(Extension(NAME, item.path, item.data, "error"))
            self._said(UnknownPart(NAME, item.data, kind))

    def _message(self, item: Fields) -> None:
        role = item.required_text("role")
        if role not in _ROLES:
            names = ", ".join(repr(name) for name in _ROLES)
            raise invalid(item.at("role"), f"Invalid value: '{role}'. Supported values are: {names}.")
        if not item.has("content"):
            raise missing(item.at("content"))
        parts = self._content.content(item, "content", phase=item.text("phase"))
        if role == "assistant":
            for part in parts:
                if not isinstance(part, TextPart) or part.text:
                    self._said(part)
        else:
            self._assistant = None
            self._turns.append((_ROLES[role], parts))

    def _said(self, part: Part) -> None:
        """Something of the assistant's; neighbours are one turn."""
        if self._assistant is None:
            self._assistant = []
            self._turns.append(("assistant", self._assistant))
        self._assistant.append(part)

    def _reasoning(self, item: Fields) -> ReasoningPart:
        summary = [part.required_text("text") for part in item.objects("summary")]
        content = [part.text("text") or "" for part in item.objects("content")]
        encrypted = item.text("encrypted_content")
        text = "\n\n".join(filter(None, summary or content))
        return ReasoningPart(text, Opaque(NAME, "encrypted", encrypted, item.text("id")) if encrypted else None)

    def _call(self, item: Fields, kind: str) -> None:
        identifier = item.required_text("call_id")
        name = flat_name(item.text("namespace"), item.required_text("name"))
        if kind == "custom_tool_call":
            part = ToolCallPart(identifier, name, item.text("input") or "", "custom")
        else:
            value = item.data.get("arguments")
            arguments = dumps_text(value) if isinstance(value, dict) else item.text("arguments") or ""
            part = ToolCallPart(identifier, name, arguments)
        self._said(part)
        if self._assistant is not None:
            self._names[identifier] = (name, self._assistant)

    def _result(self, item: Fields, kind: str) -> None:
        identifier = item.required_text("call_id")
        name, turn = self._names.get(identifier, (None, None))
        if name is None and not self._stateful:
            raise invalid(item.path, f"No tool call found for function call output with call_id {identifier}.")
        result = ToolResultPart(
            identifier,
            self._content.result(item),
            name,
            kind="custom" if kind == "custom_tool_call_output" else "function",
        )
        place = self._place(turn)
        if place == len(self._turns):
            self._assistant = None
        self._turns.insert(place, ("tool", [result]))

    def _place(self, turn: list[Part] | None) -> int:
        """Behind the turn that asked, and behind the results that are there already."""
        if turn is None:
            return len(self._turns)
        # from behind: the turn is one of the last, and histories are long
        place = next(index for index in reversed(range(len(self._turns))) if self._turns[index][1] is turn) + 1
        while place < len(self._turns) and self._turns[place][0] == "tool":
            place += 1
        return place
