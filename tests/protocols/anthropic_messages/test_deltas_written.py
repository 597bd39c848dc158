"""What stands before the text of a delta is written once; every delta is JSON all the same, whatever the text is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.ir import (
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    ResponseStart,
    StreamEvent,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
)
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.sse import ServerSentEvent

from .serving import CONTEXT

ODD = ["\0", "\u2028", '"\\', "%b%s", "😀", "}}", "\r\n", "long " * 5_000]
HARD = st.one_of(st.text(min_size=1), st.sampled_from(ODD))
DELTAS = pytest.mark.parametrize(
    ("part", "delta", "kind", "name"),
    [
        pytest.param(TextPart(""), TextDelta, "text_delta", "text", id="text"),
        pytest.param(ReasoningPart(), ReasoningDelta, "thinking_delta", "thinking", id="thought"),
        pytest.param(ToolCallPart("c", "f", ""), ToolInputDelta, "input_json_delta", "partial_json", id="call"),
    ],
)


@DELTAS
@given(text=HARD)
def test_a_delta_is_the_frame_it_should_be(
    part: OutputPart, delta: Callable[[int, str], StreamEvent], kind: str, name: str, text: str
) -> None:
    """The second block, and its second delta: the first opens it."""
    encoder = CODEC.stream_encoder(CONTEXT)
    before: list[StreamEvent] = [
        ResponseStart("i", "m"),
        PartStart(0, TextPart("Before.")),
        PartEnd(0),
        PartStart(1, part),
        delta(1, "{"),
    ]
    for event in before:
        list(encoder.feed(event))
    frame: JSONObject = {"type": "content_block_delta", "index": 1, "delta": {"type": kind, name: text}}
    assert list(encoder.feed(delta(1, text))) == [ServerSentEvent(dumps(frame), "content_block_delta")]


@DELTAS
def test_a_part_that_has_ended_goes_on_no_more(
    part: OutputPart, delta: Callable[[int, str], StreamEvent], kind: str, name: str
) -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    for event in (ResponseStart("i", "m"), PartStart(0, part), delta(0, "{"), PartEnd(0), PartStart(1, part)):
        list(encoder.feed(event))
    data = b"".join(frame.data for frame in encoder.feed(delta(1, "{")))
    assert b'"index":1,"delta":{"type":"%b"' % kind.encode() in data
