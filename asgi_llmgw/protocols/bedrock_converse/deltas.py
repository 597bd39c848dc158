"""The frames that nearly all of a stream consists of, read in one step: what Amazon puts into a delta, and no more.

A frame that is anything else is read in the general way, which knows what to make of it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from asgi_llmgw.ir import Delta, ReasoningDelta, TextDelta, ToolInputDelta


class _Words(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """More words of one kind of block."""

    text: str = ""
    input: str = ""


class _Members(msgspec.Struct, forbid_unknown_fields=True):
    text: str = ""
    reasoning: _Words | None = msgspec.field(name="reasoningContent", default=None)
    call: _Words | None = msgspec.field(name="toolUse", default=None)


class PlainDelta(msgspec.Struct, forbid_unknown_fields=True):
    """A delta of the content block `index`; `p` is what Amazon pads it with."""

    index: int = msgspec.field(name="contentBlockIndex")
    delta: _Members
    p: str = ""

    def told(self, kind: str, part: int) -> Delta | None:
        """What it adds to a part whose block is of this kind; None where that is nothing, or not all."""
        match kind, self.delta:
            case "text", _Members(text=text, reasoning=None, call=None) if text:
                return TextDelta(part, text)
            case "toolUse", _Members(text="", reasoning=None, call=_Words(input=fragment)) if fragment:
                return ToolInputDelta(part, fragment)
            case "reasoningContent", _Members(text="", reasoning=_Words(text=text), call=None) if text:
                return ReasoningDelta(part, text)
            case _:
                return None


_decode: Final = msgspec.json.Decoder(PlainDelta).decode


def plain_delta(data: bytes) -> PlainDelta | None:
    """The delta, None for any other frame."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError):
        return None
