"""What stands around the text of a delta is written once; every delta is JSON all the same, whatever the text is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.ir import (
    OutputPart,
    PartStart,
    ReasoningDelta,
    ReasoningPart,
    RefusalPart,
    ResponseStart,
    StreamEvent,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
)
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.protocols.openai_chat import CODEC

from .samples import CONTEXT, USAGE

ODD = ["\0", "\u2028", '"\\', "%b%s", "😀", "}}]}", "\r\n", "long " * 5_000]
HARD = st.one_of(st.text(min_size=1), st.sampled_from(ODD))


@pytest.mark.parametrize(
    ("part", "delta", "expected"),
    [
        pytest.param(TextPart(""), TextDelta, lambda text: {"content": text}, id="text"),
        pytest.param(RefusalPart(""), TextDelta, lambda text: {"refusal": text}, id="refusal"),
        pytest.param(ReasoningPart(), ReasoningDelta, lambda text: {"reasoning_content": text}, id="thought"),
        pytest.param(
            ToolCallPart("c", "f", ""),
            ToolInputDelta,
            lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]},
            id="function",
        ),
        pytest.param(
            ToolCallPart("c", "f", "", "custom"),
            ToolInputDelta,
            lambda text: {"tool_calls": [{"index": 0, "custom": {"input": text}}]},
            id="custom",
        ),
    ],
)
@given(text=HARD, choice=st.integers(0, 3), usage=st.booleans())
def test_a_delta_is_the_chunk_it_should_be(
    part: OutputPart,
    delta: Callable[[int, str], StreamEvent],
    expected: Callable[[str], JSONObject],
    text: str,
    choice: int,
    usage: bool,
) -> None:
    encoder = CODEC.stream_encoder(USAGE if usage else CONTEXT)
    for event in (ResponseStart("i", "m", 1), PartStart(5, part, choice)):
        list(encoder.feed(event))
    (frame,) = encoder.feed(delta(5, text))
    chunk: JSONObject = {
        "id": "i",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": choice, "delta": expected(text), "logprobs": None, "finish_reason": None}],
    }
    assert frame.data == dumps(chunk | {"usage": None} if usage else chunk)


@given(text=HARD)
def test_a_delta_of_the_old_form_is_the_chunk_it_should_be(text: str) -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    for event in (ResponseStart(legacy_functions=True), PartStart(0, ToolCallPart("c", "f", ""))):
        list(encoder.feed(event))
    (frame,) = encoder.feed(ToolInputDelta(0, text))
    assert b'"delta":%b,"logprobs"' % dumps({"function_call": {"arguments": text}}) in frame.data
