"""Streams from Anthropic, well formed and otherwise."""

from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.ir import (
    CitationPart,
    FinishReason,
    Opaque,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningPart,
    StreamEvent,
    StreamFault,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    UnknownPart,
    UsageUpdate,
    accumulate,
    check_stream,
)
from asgi_llmgw.json import JSONObject

from .samples import OWN, STOP, closed, decode_stream, delta, ending, frames, opened, start, texts

TEXT: JSONObject = {"type": "text", "text": ""}
TOOL: JSONObject = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
THINKING: JSONObject = {"type": "thinking", "thinking": "", "signature": ""}


def stream(*events: JSONObject) -> list[StreamEvent]:
    return list(check_stream(decode_stream(frames(*events))))


def parts(*events: JSONObject) -> tuple[OutputPart, ...]:
    return accumulate(stream(start(), *events, ending("end_turn"), STOP)).choices[0].parts


def finish(*events: JSONObject) -> FinishReason:
    return accumulate(stream(*events)).choices[0].finish


def fault(events: list[StreamEvent]) -> StreamFault:
    last = events[-1]
    assert isinstance(last, StreamFault)
    return last


def test_text_arrives_as_it_is_told() -> None:
    events = stream(start(), opened(TEXT), delta(type="text_delta", text="Hé"), closed(), ending("end_turn"), STOP)
    assert [type(event).__name__ for event in events] == [
        "ResponseStart",
        "PartStart",
        "TextDelta",
        "PartEnd",
        "UsageUpdate",
        "ChoiceEnd",
        "ResponseEnd",
    ]
    assert texts(events) == "Hé"
    assert events[0] == ir.ResponseStart(id="msg_1", model="claude")


def test_the_signature_comes_with_the_end_of_the_thinking() -> None:
    """R9, T13"""
    assert parts(
        opened(THINKING),
        delta(type="thinking_delta", thinking="Hm"),
        delta(type="signature_delta", signature="c2ln"),
        closed(),
        opened({"type": "redacted_thinking", "data": "ZGF0YQ=="}, 1),
        closed(1),
        opened(TEXT, 2),
        delta(2, type="text_delta", text="x"),
        closed(2),
    ) == (
        ReasoningPart("Hm", Opaque(OWN, "signature", "c2ln")),
        ReasoningPart("", Opaque(OWN, "redacted", "ZGF0YQ==")),
        TextPart("x"),
    )


def test_hidden_thinking_keeps_its_signature() -> None:
    """R1: `display: omitted` sends no text."""
    events = (opened(THINKING), delta(type="signature_delta", signature="c2ln"), closed())
    assert parts(*events) == (ReasoningPart("", Opaque(OWN, "signature", "c2ln")),)


def test_parallel_calls_keep_their_own_arguments() -> None:
    """S1, S2, S4, S8: also when their fragments interleave."""
    second: JSONObject = {**TOOL, "id": "u"}
    assert parts(
        opened(TOOL, 0),
        opened(second, 1),
        delta(0, type="input_json_delta", partial_json=""),
        delta(0, type="input_json_delta", partial_json='{"a"'),
        delta(1, type="input_json_delta", partial_json='{"b":'),
        delta(0, type="input_json_delta", partial_json=":1}"),
        delta(1, type="input_json_delta", partial_json="2}"),
        closed(0),
        closed(1),
    ) == (ToolCallPart("t", "f", '{"a":1}'), ToolCallPart("u", "f", '{"b":2}'))


@pytest.mark.parametrize(
    ("events", "arguments"),
    [
        pytest.param((opened(TOOL), closed()), "{}", id="S15_nothing"),
        pytest.param((opened(TOOL), delta(type="input_json_delta", partial_json=""), closed()), "{}", id="empty"),
        pytest.param((opened({**TOOL, "input": {"a": 1}}), closed()), '{"a":1}', id="S12_whole_at_the_start"),
        pytest.param(
            (opened({**TOOL, "input": {"a": 1}}), delta(type="input_json_delta", partial_json='{"a":2}'), closed()),
            '{"a":2}',
            id="fragments_win",
        ),
    ],
)
def test_arguments_however_they_come(events: tuple[JSONObject, ...], arguments: str) -> None:
    assert parts(*events) == (ToolCallPart("t", "f", arguments),)


def test_an_empty_fragment_is_nothing() -> None:
    """S8"""
    events = stream(
        start(), opened(TOOL), delta(type="input_json_delta", partial_json=""), closed(), ending("tool_use"), STOP
    )
    assert [event.fragment for event in events if isinstance(event, ToolInputDelta)] == ["{}"]


def test_citations_follow_the_text_they_belong_to() -> None:
    raw: JSONObject = {"type": "char_location", "cited_text": "x", "document_title": "D"}
    assert parts(
        opened(TEXT),
        delta(type="text_delta", text="One "),
        closed(),
        opened({**TEXT, "citations": []}, 1),
        delta(1, type="citations_delta", citation=raw),
        delta(1, type="text_delta", text="two"),
        closed(1),
    ) == (TextPart("One "), TextPart("two"), CitationPart(None, "D", 4, 7, "x", OWN, raw))


def test_blocks_of_the_vendors_own_are_kept_whole() -> None:
    """F156, C7"""
    server: JSONObject = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found: JSONObject = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]}
    assert parts(
        opened(server),
        delta(type="input_json_delta", partial_json='{"query":'),
        delta(type="input_json_delta", partial_json='"q"}'),
        closed(),
        opened(found, 1),
        closed(1),
        opened({"type": "compaction", "content": None}, 2),
        delta(2, type="compaction_delta", content="Sum"),
        delta(2, type="compaction_delta", content="mary"),
        closed(2),
    ) == (
        UnknownPart(OWN, {**server, "input": {"query": "q"}}, "server_tool_use"),
        UnknownPart(OWN, found, "web_search_tool_result"),
        UnknownPart(OWN, {"type": "compaction", "content": "Summary"}, "compaction"),
    )


def test_pings_and_the_unknown_are_passed_over() -> None:
    """F156, F8"""
    raw = (
        b"event: ping\ndata: {broken\n\n"
        + frames({"type": "ping"}, start(), {"type": "new_event", "x": 1}, opened(TEXT))
        + frames(delta(type="new_delta", x=1), delta(type="text_delta", text="x"), closed(7), closed())
        + b": comment\n\ndata: [DONE]\n\n"
        + frames(ending("end_turn"), STOP)
    )
    assert accumulate(check_stream(decode_stream(raw))).choices[0].parts == (TextPart("x"),)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param((opened(TEXT), delta(type="text_delta", text="x")), id="never_closed"),
        pytest.param((delta(type="text_delta", text="x"), closed()), id="never_opened"),
        pytest.param((opened({"type": "text", "text": "x"}), closed()), id="whole_at_the_start"),
    ],
)
def test_careless_blocks_are_read_all_the_same(events: tuple[JSONObject, ...]) -> None:
    """F156"""
    assert parts(*events) == (TextPart("x"),)


def test_an_index_may_be_used_again() -> None:
    """F156, T14: with and without the stop between."""
    one = (opened(TEXT), delta(type="text_delta", text="a"))
    two = (opened(TOOL), delta(type="input_json_delta", partial_json="{}"), closed())
    expected = (TextPart("a"), ToolCallPart("t", "f", "{}"))
    assert parts(*one, closed(), *two) == expected
    assert parts(*one, *two) == expected


def test_a_delta_never_lands_in_a_block_of_another_kind() -> None:
    """T15"""
    assert parts(opened(THINKING), delta(type="text_delta", text="x"), closed()) == (ReasoningPart(), TextPart("x"))


def test_a_second_message_start_starts_nothing_anew() -> None:
    """F156"""
    again: JSONObject = {"type": "message_start", "message": {"id": "other", "model": "m"}}
    events = stream(start(), opened(TEXT), again, opened(TEXT), closed(), ending("end_turn"), STOP)
    assert sum(isinstance(event, ir.ResponseStart) for event in events) == 1
    assert accumulate(events).id == "msg_1"


def test_a_stream_without_its_start_gets_one() -> None:
    assert texts(stream(delta(type="text_delta", text="x"), ending("end_turn"), STOP)) == "x"
    assert finish(STOP) == FinishReason("stop")


def test_counts_replace_each_other() -> None:
    """U5, U6, U7: never added; null says nothing."""
    events = stream(
        start(input_tokens=9, cache_read_input_tokens=90, cache_creation=None, output_tokens=1),
        ending("end_turn", {"input_tokens": 11, "cache_read_input_tokens": None, "output_tokens": 5}),
        STOP,
    )
    updates = [event.usage for event in events if isinstance(event, UsageUpdate)]
    assert [(usage.input_tokens, usage.output_tokens) for usage in updates] == [(99, 1), (101, 5)]
    assert updates[-1].raw == {
        "input_tokens": 11,
        "cache_read_input_tokens": 90,
        "cache_creation": None,
        "output_tokens": 5,
    }


def test_how_it_ended_is_told_once_all_is_told() -> None:
    """T5, T7, S10"""
    details: JSONObject = {"type": "refusal", "explanation": "No."}
    assert finish(start(), ending("refusal", stop_details=details), STOP) == FinishReason(
        "content_filter", "refusal", detail="No."
    )
    assert finish(start(), opened(TOOL), closed(), ending("end_turn"), STOP).kind == "tool_calls"
    assert finish(start(), opened(TOOL), closed(), ending("max_tokens"), STOP).kind == "length"
    assert finish(start(), ending("stop_sequence", stop_sequence="END"), STOP).stop_sequence == "END"


def test_done_without_a_reason_is_an_end() -> None:
    """T8"""
    assert finish(start(), opened(TEXT), closed(), STOP) == FinishReason("stop")
    assert finish(start(), opened(TOOL), closed(), STOP) == FinishReason("tool_calls")


def test_bytes_that_end_after_the_reason_are_an_end() -> None:
    assert finish(start(), opened(TEXT), closed(), ending("end_turn")).raw == "end_turn"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param((), id="nothing"),
        pytest.param((start(),), id="start"),
        pytest.param((start(), opened(TEXT), delta(type="text_delta", text="x")), id="T9_in_a_block"),
        pytest.param((start(), opened(TEXT), closed()), id="T9_between_blocks"),
        pytest.param((start(), opened(TEXT), closed(), ending(None)), id="T4_no_reason"),
    ],
)
def test_bytes_that_end_too_early_are_a_fault(events: tuple[JSONObject, ...]) -> None:
    """T9"""
    error = fault(stream(*events)).error
    assert (error.failure, error.kind) == ("invalid_response", "upstream_invalid_response")


@pytest.mark.parametrize(
    ("word", "failure", "status"),
    [
        ("overloaded_error", "overloaded", 529),
        ("api_error", "transient", 500),
        ("rate_limit_error", "rate_limit", 429),
        ("invalid_request_error", "caller_fault", 400),
        ("authentication_error", "credential", 401),
        ("brand_new_error", "transient", 500),
    ],
)
def test_an_error_event_is_a_fault(word: str, failure: str, status: int) -> None:
    """F14"""
    event: JSONObject = {"type": "error", "error": {"type": word, "message": "M"}}
    error = fault(stream(start(), opened(TEXT), event)).error
    assert (error.failure, error.upstream_status) == (failure, status)


@pytest.mark.parametrize("data", [b"{", b"[1]", b'"x"', b'{"type":"message_delta"}}', b"\xff"])
def test_a_frame_that_cannot_be_read_is_a_fault(data: bytes) -> None:
    events = list(check_stream(decode_stream(frames(start()), b"event: message_delta\ndata: " + data + b"\n\n")))
    assert fault(events).error.failure == "invalid_response"


def test_nothing_follows_the_end() -> None:
    """T10"""
    whole = frames(start(), opened(TEXT), closed(), ending("end_turn"), STOP)
    assert decode_stream(whole, whole) == decode_stream(whole)
    broken = frames(start()) + b"data: {\n\n"
    assert len(decode_stream(broken, whole)) == len(decode_stream(broken)) == 2


def test_indices_are_dense_in_the_order_of_appearance() -> None:
    """S5"""
    events = stream(
        start(), opened(TEXT, 5), closed(5), opened(TOOL, 9), closed(9), opened(TEXT, 2), closed(2), ending("x"), STOP
    )
    assert [event.index for event in events if isinstance(event, PartStart)] == [0, 1, 2]
    assert [event.index for event in events if isinstance(event, PartEnd)] == [0, 1, 2]
