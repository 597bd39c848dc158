"""The blocks of a stream, from their first delta to the part they become."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Final

from asgi_llmgw.ir import Opaque, OutputPart, ReasoningPart, TextPart
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_object, as_str, loads

from .response import image_part, redacted, signature, tool_call_part, unknown_part

TEXT: Final = "text"
REASONING: Final = "reasoningContent"
CALL: Final = "toolUse"


class Block:
    """An open content block.

    `index` is that of its part, None for a block that becomes a part only when it closes.
    """

    __slots__ = ("_fragments", "_redacted", "_rest", "_signature", "citations", "index", "kind", "length", "start")

    def __init__(self, kind: str, start: JSONObject, index: int | None) -> None:
        self.kind = kind
        self.start = start
        self.index = index
        self.length = 0
        self.citations: list[JSONObject] = []
        self._fragments: list[str] = []
        self._rest: list[JSONValue] = []
        self._signature: list[str] = []
        self._redacted: list[str] = []

    def prove(self, thought: JSONObject) -> None:
        """Take the state that a thought's delta brings; it may come in pieces."""
        self._signature += [text for text in [as_str(thought.get("signature"))] if text]
        self._redacted += [text for text in [as_str(thought.get("redactedContent"))] if text]

    def state(self) -> Opaque | None:
        """The state of the whole thought."""
        return redacted(_joined_bytes(self._redacted)) or signature("".join(self._signature))

    def keep(self, value: JSONValue) -> None:
        """Take a delta of a block that is told whole."""
        told = as_object(value)
        if self.kind == CALL:
            self._fragments.append(as_str(told.get("input")) or "")
        elif isinstance(value, list):
            self._rest += value
        else:
            self.start = {**self.start, **told}

    def whole(self) -> OutputPart:
        """The part of a block that is told whole."""
        if self.kind == "image":
            return image_part(self.start) or unknown_part({self.kind: self.start})
        value = self.start
        if self.kind == CALL:
            value = {**value, "input": _parsed("".join(self._fragments))}
        elif self._rest:
            value = {**value, "content": self._rest}
        return unknown_part({self.kind: value})


def opening_part(kind: str, start: JSONObject, *, ours: bool) -> OutputPart | None:
    """What is known of a part when its block opens; None for what is told whole."""
    match kind:
        case "text":
            return TextPart("")
        case "reasoningContent":
            return ReasoningPart("")
        case "toolUse" if ours:
            return tool_call_part(start, "")
        case _:
            return None


def kinds(members: JSONObject) -> Iterator[tuple[str, JSONValue]]:
    """The members of a union; Amazon pads events with a member `p`, which is none of them."""
    for name, value in members.items():
        if value is not None and name not in ("p", "type"):
            yield name, value


def citation(delta: JSONObject) -> JSONObject:
    """A citation's delta in the form of a whole answer's citation."""
    return {name: value for name, value in delta.items() if name != "p"}


def _parsed(text: str) -> JSONValue:
    try:
        return loads(text) if text else {}
    except JSONError:
        return text


def _joined_bytes(pieces: list[str]) -> str:
    """Several pieces of base64 as one; a single one stays as it is."""
    if len(pieces) < 2:
        return "".join(pieces)
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)
