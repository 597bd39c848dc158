"""The short way for what nearly all frames of a stream are: one more delta of the part that the last one belonged to.

It is taken only for a frame that holds what OpenAI puts into a delta and nothing else, and only where the general way
would tell the same; every other frame goes the general way, and so does the first delta of each part.
"""

from __future__ import annotations

from typing import Final

import msgspec

from asgi_llmgw.ir import Delta, TextDelta


class _Frame(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A frame of a delta; the members are in OpenAI's order, in which they are found fastest."""

    type: str
    sequence_number: int = 0
    item_id: str = ""
    output_index: int
    content_index: int = 0
    summary_index: int = 0
    delta: str
    logprobs: list[None] | None = None
    obfuscation: str = ""


_decode: Final = msgspec.json.Decoder(_Frame).decode
_OTHERWISE: Final = (msgspec.DecodeError, ValueError)


class Flow:
    """The part that the last delta belonged to.

    Args:
        make: what a delta of it is to us.
        index: the part.
        kind: the type of its deltas.
        output: the place of its item.
        content: the place in the item's content.
        summary: the place in the item's summary.
    """

    __slots__ = ("_content", "_index", "_kind", "_length", "_make", "_output", "_summary")

    def __init__(
        self,
        make: type[Delta],
        index: int,
        kind: str,
        output: int,
        *,
        content: int = 0,
        summary: int = 0,
    ) -> None:
        self._make = make
        self._index = index
        self._kind = kind
        self._output = output
        self._content = content
        self._summary = summary
        self._length = 0

    def more(self, data: bytes) -> Delta | None:
        """What the frame adds to the part; None where it is not plainly the next delta of it."""
        try:
            delta = _decode(data)
        except _OTHERWISE:
            return None
        words = delta.delta
        if (
            not words
            or delta.logprobs
            or delta.type != self._kind
            or delta.output_index != self._output
            or delta.content_index != self._content
            or delta.summary_index != self._summary
        ):
            return None
        self._length += len(words)
        return self._make(self._index, words)

    @property
    def text_length(self) -> int:
        """Characters this way has added to the text of the answer."""
        return self._length if self._make is TextDelta else 0
