"""The frames that nearly all of a stream consists of, read in one step: what Anthropic puts into a delta, and no more.

A frame that is anything else is read in the general way, which knows what to make of it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec


class PlainText(msgspec.Struct, tag_field="type", tag="text_delta", forbid_unknown_fields=True, gc=False):
    """More of a text."""

    text: str


class PlainThought(msgspec.Struct, tag_field="type", tag="thinking_delta", forbid_unknown_fields=True, gc=False):
    """More of a thought."""

    thinking: str


class PlainInput(msgspec.Struct, tag_field="type", tag="input_json_delta", forbid_unknown_fields=True, gc=False):
    """More of what a tool is called with."""

    partial_json: str


class PlainDelta(msgspec.Struct, forbid_unknown_fields=True):
    """A delta of the content block `index`."""

    type: Literal["content_block_delta"]
    index: int
    delta: PlainText | PlainThought | PlainInput


_decode: Final = msgspec.json.Decoder(PlainDelta).decode


def plain_delta(data: bytes) -> PlainDelta | None:
    """The delta, None for any other frame."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError):
        return None
