"""The frames that nearly all of a stream consists of, read in one step: what Anthropic puts into a delta, and no more.

A frame that is anything else is read in the general way, which knows what to make of it.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from asgi_llmgw.ir import Delta, ReasoningDelta, TextDelta, ToolInputDelta


class _Delta(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, gc=False):
    """More words of a block of this kind, and what they are to us."""

    kind: ClassVar[str]
    make: ClassVar[type[Delta]]
    words: str


class _Text(_Delta, tag="text_delta"):
    words: str = msgspec.field(name="text")
    kind = "text"
    make = TextDelta


class _Thinking(_Delta, tag="thinking_delta"):
    words: str = msgspec.field(name="thinking")
    kind = "thinking"
    make = ReasoningDelta


class _Input(_Delta, tag="input_json_delta"):
    words: str = msgspec.field(name="partial_json")
    kind = "tool_use"
    make = ToolInputDelta


class PlainDelta(msgspec.Struct, forbid_unknown_fields=True):
    """A delta of the content block `index`."""

    type: Literal["content_block_delta"]
    index: int
    delta: _Text | _Thinking | _Input


_decode: Final = msgspec.json.Decoder(PlainDelta).decode


def plain_delta(data: bytes) -> PlainDelta | None:
    """The delta, None for any other frame."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError):
        return None
