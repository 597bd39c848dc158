"""The short way to tell deltas tells what the long way tells."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.ir import (
    ChatResponse,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    RefusalPart,
    ResponseStart,
    StreamEvent,
    TextDelta,
    TextPart,
    TokenLogprob,
    ToolCallPart,
    ToolInputDelta,
)
from asgi_llmgw.json import dumps
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.protocols.openai_responses import CODEC
from asgi_llmgw.protocols.openai_responses.stream_encoder import ResponseTeller
from asgi_llmgw.sse import ServerSentEvent
from tests.protocols.openai_responses.samples import counting
from tests.strategies import responses, tellings

TEXT, REFUSAL, THOUGHT = TextPart(""), RefusalPart(""), ReasoningPart()
CALL = ToolCallPart('call_"delta":""', "f", "")
CUSTOM = ToolCallPart("call_1", "f", "", kind="custom")
ODD = ("", '"\\\n\0', "\U0001f600\u2028", "long " * 2_000)


def short_way(events: Iterable[StreamEvent], context: StreamContext) -> list[ServerSentEvent]:
    encoder = CODEC.stream_encoder(context)
    return [frame for event in events for frame in encoder.feed(event)]


def long_way(events: Iterable[StreamEvent], context: StreamContext) -> list[ServerSentEvent]:
    """Each body written by itself."""
    teller, frames = ResponseTeller(context), list[ServerSentEvent]()
    for event in events:
        for body in teller.feed(event):
            frames.append(ServerSentEvent(dumps({"sequence_number": len(frames), **body}), str(body["type"])))
    return frames


@settings(max_examples=60)
@given(data=st.data(), response=responses(), thoughts=st.booleans())
def test_any_stream_is_told_alike_on_both_ways(data: st.DataObject, response: ChatResponse, thoughts: bool) -> None:
    events = data.draw(tellings(response))
    one, other = (way(events, counting(include_thoughts=thoughts)) for way in (short_way, long_way))
    assert one == other


@pytest.mark.parametrize(
    ("part", "delta"),
    [
        pytest.param(TEXT, TextDelta, id="text"),
        pytest.param(REFUSAL, TextDelta, id="refusal"),
        pytest.param(THOUGHT, ReasoningDelta, id="thought"),
        pytest.param(CALL, ToolInputDelta, id="call"),
        pytest.param(CUSTOM, ToolInputDelta, id="custom_call"),
    ],
)
def test_deltas_of_each_kind_are_told_alike_on_both_ways(
    part: OutputPart, delta: type[TextDelta | ReasoningDelta | ToolInputDelta]
) -> None:
    """Also beside another part, whose deltas wait, and for a second part, which is another item."""
    both: list[StreamEvent] = [delta(index, word) for word in ("a", *ODD, "b") for index in (0, 1)]
    opened: list[StreamEvent] = [ResponseStart("r", "m"), PartStart(0, part), PartStart(1, part)]
    events = [*opened, *both, PartEnd(0), delta(1, "c"), delta(1, "d"), PartEnd(1)]
    assert short_way(events, counting()) == long_way(events, counting())


def test_a_text_with_log_probabilities_is_told_alike_on_both_ways() -> None:
    tokens = (TokenLogprob("a", -0.5),)
    words: list[StreamEvent] = [TextDelta(0, "a"), TextDelta(0, "b", tokens), TextDelta(0, "c"), TextDelta(0, "d", ())]
    events = [ResponseStart("r", "m"), PartStart(0, TEXT), *words, PartEnd(0)]
    assert short_way(events, counting()) == long_way(events, counting())
