"""Folding a stream into an answer, telling an answer as a stream, and the grammar between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from tests.strategies import responses, tellings

START = ir.ResponseStart(id="r", model="m")
STOP = ir.ChoiceEnd(ir.FinishReason("stop", "stop"))
SECOND_STOP = ir.ChoiceEnd(ir.FinishReason("stop"), 1)
END = ir.ResponseEnd()
TEXT = ir.PartStart(0, ir.TextPart(""))
SECOND = ir.PartStart(1, ir.TextPart(""), 1)
CALL = ir.PartStart(0, ir.ToolCallPart("c", "f", ""))
THOUGHT = ir.PartStart(0, ir.ReasoningPart())
SIGNATURE = ir.Opaque("anthropic_messages", "signature", "c2ln")


@given(responses())
def test_an_answer_told_and_folded_is_the_same_answer(response: ir.ChatResponse) -> None:
    """Law 5"""
    assert ir.accumulate(ir.check_stream(ir.explode(response))) == response


@given(st.data(), responses())
def test_however_parts_interleave_the_answer_is_the_same(data: st.DataObject, response: ir.ChatResponse) -> None:
    """Law 8"""
    assert ir.accumulate(ir.check_stream(data.draw(tellings(response)))) == response


def test_a_stream_without_its_end_is_an_answer_so_far() -> None:
    accumulator = ir.Accumulator()
    for event in (START, TEXT, ir.TextDelta(0, "hel"), ir.PartEnd(0), ir.PartStart(1, ir.TextPart("x"))):
        accumulator.feed(event)
    (choice,) = accumulator.result().choices
    assert choice.parts == (ir.TextPart("hel"), ir.TextPart("x"))
    assert choice.finish == ir.FinishReason("other")


def test_what_the_start_of_a_part_knew_comes_before_its_deltas() -> None:
    events: list[ir.StreamEvent] = [
        START,
        ir.PartStart(0, ir.ToolCallPart("c", "f", '{"a"')),
        ir.ToolInputDelta(0, ":1}"),
        ir.PartEnd(0),
    ]
    (choice,) = ir.accumulate(events).choices
    assert choice.parts == (ir.ToolCallPart("c", "f", '{"a":1}'),)


@pytest.mark.parametrize(
    ("part", "signed"),
    [
        (ir.TextPart("t"), ir.TextPart("t", signature=SIGNATURE)),
        (ir.ReasoningPart("t"), ir.ReasoningPart("t", SIGNATURE)),
        (ir.ToolCallPart("c", "f", "{}"), ir.ToolCallPart("c", "f", "{}", signature=SIGNATURE)),
        (ir.RefusalPart("t"), ir.RefusalPart("t")),
        (
            ir.MediaPart("image", ir.Base64Source("aGk=")),
            ir.MediaPart("image", ir.Base64Source("aGk="), signature=SIGNATURE),
        ),
        (ir.CitationPart(url="u"), ir.CitationPart(url="u")),
        (ir.UnknownPart("gemini_generate", {}), ir.UnknownPart("gemini_generate", {})),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_late_signature_belongs_to_its_part(part: ir.OutputPart, signed: ir.OutputPart) -> None:
    (choice,) = ir.accumulate([START, ir.PartStart(0, part), ir.PartEnd(0, SIGNATURE)]).choices
    assert choice.parts == (signed,)


def test_a_part_that_ends_without_a_signature_keeps_the_one_it_began_with() -> None:
    events: list[ir.StreamEvent] = [START, ir.PartStart(0, ir.ReasoningPart("t", SIGNATURE)), ir.PartEnd(0)]
    (choice,) = ir.accumulate(events).choices
    assert choice.parts == (ir.ReasoningPart("t", SIGNATURE),)


def test_the_last_usage_wins() -> None:
    """F153"""
    first, last = ir.Usage(input_tokens=1, output_tokens=1), ir.Usage(input_tokens=1, output_tokens=9)
    answer = ir.accumulate([START, ir.UsageUpdate(first), ir.UsageUpdate(last), END])
    assert answer.usage == last
    assert last.total_tokens == 10
    assert ir.Usage(input_tokens=1).total_tokens is None


def test_a_fault_is_raised_by_the_fold() -> None:
    """F149"""
    fault = ir.cut()
    with pytest.raises(InvalidUpstreamResponse) as caught:
        ir.accumulate([START, TEXT, fault])
    assert caught.value is fault.error
    assert isinstance(fault.error, UpstreamError)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([ir.cut()], id="a fault alone"),
        pytest.param([START, ir.cut()], id="a fault after the start"),
        pytest.param([START, TEXT, ir.TextDelta(0, "x"), ir.cut()], id="a fault inside a part"),
        pytest.param([START, STOP, END], id="no parts"),
        pytest.param([START, END], id="no choices"),
        pytest.param([START, TEXT, ir.PartEnd(0), ir.UsageUpdate(ir.Usage()), STOP, END], id="usage in between"),
        pytest.param(
            [START, TEXT, SECOND, ir.PartEnd(0), STOP, ir.TextDelta(1, "x"), ir.PartEnd(1), SECOND_STOP, END],
            id="one choice ends before the other",
        ),
    ],
)
def test_the_grammar_allows(events: list[ir.StreamEvent]) -> None:
    """Law 4"""
    assert list(ir.check_stream(events)) == events


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing"),
        pytest.param([START], id="no end"),
        pytest.param([START, TEXT, ir.PartEnd(0), STOP], id="no end after the choice"),
        pytest.param([TEXT, ir.PartEnd(0), STOP, END], id="no start"),
        pytest.param([START, START, STOP, END], id="two starts"),
        pytest.param([START, STOP, END, END], id="two ends"),
        pytest.param([START, ir.cut(), END], id="an end after a fault"),
        pytest.param([START, STOP, END, ir.cut()], id="a fault after the end"),
        pytest.param([START, ir.PartStart(1, ir.TextPart("")), ir.PartEnd(1), STOP, END], id="a gap in the indices"),
        pytest.param([START, TEXT, TEXT, ir.PartEnd(0), STOP, END], id="an index used twice"),
        pytest.param([START, ir.TextDelta(0, "x"), STOP, END], id="a delta without a part"),
        pytest.param([START, TEXT, ir.PartEnd(0), ir.TextDelta(0, "x"), STOP, END], id="a delta after its part"),
        pytest.param([START, TEXT, ir.ToolInputDelta(0, "x"), ir.PartEnd(0), STOP, END], id="input for text"),
        pytest.param([START, TEXT, ir.ReasoningDelta(0, "x"), ir.PartEnd(0), STOP, END], id="reasoning for text"),
        pytest.param([START, CALL, ir.TextDelta(0, "x"), ir.PartEnd(0), STOP, END], id="text for a call"),
        pytest.param([START, THOUGHT, ir.TextDelta(0, "x"), ir.PartEnd(0), STOP, END], id="text for reasoning"),
        pytest.param([START, ir.PartEnd(0), STOP, END], id="the end of no part"),
        pytest.param([START, TEXT, ir.PartEnd(0), ir.PartEnd(0), STOP, END], id="a part that ends twice"),
        pytest.param([START, TEXT, STOP, ir.PartEnd(0), END], id="a choice that ends with an open part"),
        pytest.param([START, TEXT, ir.PartEnd(0), END], id="a choice that never ends"),
        pytest.param([START, STOP, STOP, END], id="a choice that ends twice"),
        pytest.param([START, STOP, TEXT, ir.PartEnd(0), END], id="a part after its choice"),
    ],
)
def test_the_grammar_forbids(events: list[ir.StreamEvent]) -> None:
    """Law 4"""
    with pytest.raises(ir.StreamGrammarError):
        list(ir.check_stream(events))


def test_the_public_names_of_the_representation_are_sorted_and_complete() -> None:
    assert list(ir.__all__) == sorted(ir.__all__)
    assert all(hasattr(ir, name) for name in ir.__all__)
