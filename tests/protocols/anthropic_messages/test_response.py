"""Whole answers from Anthropic."""

from __future__ import annotations

import msgspec
import pytest

from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import (
    ChatResponse,
    CitationPart,
    FinishKind,
    FinishReason,
    Opaque,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    UnknownPart,
    Usage,
)
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.anthropic_messages import CODEC

from .samples import OWN


def decode(*content: JSONValue, **fields: JSONValue) -> ChatResponse:
    message: JSONObject = {"id": "msg_1", "type": "message", "model": "claude", "content": [*content], **fields}
    return CODEC.decode_response(dumps(message))


def finish(*content: JSONValue, **fields: JSONValue) -> FinishReason:
    return decode(*content, **fields).choices[0].finish


TOOL_USE: JSONObject = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


def test_every_kind_of_block_has_its_part() -> None:
    """T24, R7, R8"""
    search: JSONObject = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    response = decode(
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "thinking", "thinking": "", "signature": "b"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "One. "},
        search,
        {"type": "text", "text": "Two."},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": [12345678901234567890]}},
    )
    assert (response.id, response.model) == ("msg_1", "claude")
    assert response.choices[0].parts == (
        ReasoningPart("Hm.", Opaque(OWN, "signature", "c2ln")),
        ReasoningPart("", Opaque(OWN, "signature", "b")),
        ReasoningPart("", Opaque(OWN, "redacted", "ZGF0YQ==")),
        TextPart("One. "),
        UnknownPart(OWN, search, "server_tool_use"),
        TextPart("Two."),
        ToolCallPart("toolu_1", "f", '{"b":1,"a":[12345678901234567890]}'),
    )


def test_citations_tell_where_the_cited_text_stands_in_the_whole_answer() -> None:
    raw: JSONObject = {
        "type": "web_search_result_location",
        "url": "https://example.com",
        "title": "T",
        "cited_text": "é",
        "encrypted_index": "x",
    }
    response = decode({"type": "text", "text": "Oné "}, {"type": "text", "text": "two", "citations": [raw]})
    citation = response.choices[0].parts[2]
    assert citation == CitationPart("https://example.com", "T", 4, 7, "é", OWN, raw)


@pytest.mark.parametrize("value", [{}, None])
def test_a_call_without_arguments_has_an_empty_object(value: JSONValue) -> None:
    """I8"""
    assert decode({**TOOL_USE, "input": value}).choices[0].parts == (ToolCallPart("toolu_1", "f", "{}"),)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("something_new", "other"),
        (None, "stop"),
    ],
)
def test_endings(raw: str | None, kind: FinishKind) -> None:
    """T6, T7"""
    assert finish({"type": "text", "text": "x"}, stop_reason=raw) == FinishReason(kind, raw)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        pytest.param("end_turn", "tool_calls", id="T5"),
        pytest.param(None, "tool_calls", id="no_reason"),
        pytest.param("max_tokens", "length", id="S10_the_call_may_be_incomplete"),
        pytest.param("refusal", "content_filter", id="refused_in_the_middle"),
    ],
)
def test_a_call_makes_the_ending_tool_calls_unless_it_may_be_incomplete(raw: str | None, kind: FinishKind) -> None:
    assert finish(TOOL_USE, stop_reason=raw).kind == kind


def test_the_stop_sequence_and_the_explanation_of_a_refusal_are_kept() -> None:
    assert finish(stop_reason="stop_sequence", stop_sequence="END").stop_sequence == "END"
    details: JSONObject = {"type": "refusal", "category": None, "explanation": "Not this."}
    assert finish(stop_reason="refusal", stop_details=details).detail == "Not this."


def test_no_content_at_all_is_an_answer() -> None:
    assert decode(stop_reason="stop_sequence").choices[0].parts == ()


def test_the_whole_prompt_is_counted_once() -> None:
    """U11"""
    raw: JSONObject = {
        "input_tokens": 3,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15},
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 2},
        "service_tier": "standard",
    }
    response = decode(usage=raw)
    assert response.usage == Usage(
        input_tokens=123,
        output_tokens=7,
        cache_read_tokens=100,
        cache_write_tokens=20,
        cache_write_1h_tokens=15,
        reasoning_tokens=2,
        raw=raw,
    )
    assert response.service_tier == "default"


@pytest.mark.parametrize("odd", [True, "3", 1.5, [], {}])
def test_one_count_that_is_no_number_does_not_cost_the_others(odd: JSONValue) -> None:
    raw: JSONObject = {
        "input_tokens": 3.0,
        "output_tokens": odd,
        "cache_read_input_tokens": 2,
        "cache_creation_input_tokens": None,
        "cache_creation": {"ephemeral_1h_input_tokens": odd},
        "output_tokens_details": {"thinking_tokens": 2.0},
    }
    expected = Usage(input_tokens=5, cache_read_tokens=2, reasoning_tokens=2, raw=raw)
    assert decode(usage=raw).usage == expected
    assert decode(usage={**raw, "cache_creation": odd}).usage == msgspec.structs.replace(
        expected, raw={**raw, "cache_creation": odd}
    )


def test_what_is_not_reported_is_not_zero() -> None:
    usage = decode(usage={"output_tokens": 1}).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens, usage.reasoning_tokens) == (None, None, None)
    assert decode().usage is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"{}", id="no_content"),
        pytest.param(b'{"content":"text"}', id="content_is_text"),
        pytest.param(b'{"content":["text"]}', id="block_is_text"),
    ],
)
def test_what_is_no_message_cannot_be_read(body: bytes) -> None:
    with pytest.raises(InvalidUpstreamResponse):
        CODEC.decode_response(body)


def test_an_error_with_a_good_status_is_an_error() -> None:
    """F16"""
    with pytest.raises(UpstreamError) as caught:
        CODEC.decode_response(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    assert (caught.value.failure, caught.value.kind, caught.value.upstream_status) == ("overloaded", "overloaded", 529)
