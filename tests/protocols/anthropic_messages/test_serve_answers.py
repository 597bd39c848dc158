"""Whole answers for clients of this protocol."""

from __future__ import annotations

import msgspec
import pytest

from asgi_llmgw import ir
from asgi_llmgw.ir import (
    ChatResponse,
    Choice,
    CitationPart,
    FinishReason,
    MediaPart,
    Opaque,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    UnknownPart,
    Usage,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_object, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC

from .samples import OWN
from .serving import CONTEXT, sdk_answer

CALL = ToolCallPart("call_1", "look", '{"a":1}')


def answer(*parts: ir.OutputPart, finish: FinishReason | None = None, **fields: object) -> ChatResponse:
    choice = Choice(parts, finish or FinishReason("stop"))
    return msgspec.structs.replace(ChatResponse((choice,), usage=Usage(9, 3)), **fields)


def body_of(*parts: ir.OutputPart, finish: FinishReason | None = None, **fields: object) -> JSONObject:
    encoded = CODEC.encode_response(answer(*parts, finish=finish, **fields), context=CONTEXT)
    sdk_answer(encoded.body)
    return loads_object(encoded.body)


def notes_of(*parts: ir.OutputPart, finish: FinishReason | None = None, **fields: object) -> list[tuple[str, str, str]]:
    encoded = CODEC.encode_response(answer(*parts, finish=finish, **fields), context=CONTEXT)
    return [(note.path, note.code, note.severity) for note in encoded.diagnostics]


def test_an_answer_in_full() -> None:
    """§2.3"""
    assert body_of(TextPart("Hi"), id="chatcmpl-1", model="gpt-4o") == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "smart",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "output_tokens": 3,
        },
    }


@pytest.mark.parametrize(
    ("finish", "parts", "reason"),
    [
        pytest.param(FinishReason("stop"), (TextPart("a"),), "end_turn", id="natural end"),
        pytest.param(FinishReason("length"), (TextPart("a"),), "max_tokens", id="T6 token limit"),
        pytest.param(
            FinishReason("length", "model_context_window_exceeded"), (), "model_context_window_exceeded", id="full"
        ),
        pytest.param(FinishReason("length", "pause_turn"), (), "pause_turn", id="paused"),
        pytest.param(FinishReason("length", "MAX_TOKENS"), (CALL,), "max_tokens", id="S10 limit after a call"),
        pytest.param(FinishReason("tool_calls"), (CALL,), "tool_use", id="calls"),
        pytest.param(FinishReason("stop", "STOP"), (TextPart("a"), CALL), "tool_use", id="P3 T1 T5 stop with calls"),
        pytest.param(FinishReason("tool_calls"), (TextPart("a"),), "end_turn", id="calls without a call"),
        pytest.param(FinishReason("content_filter"), (TextPart("a"),), "refusal", id="T7 policy"),
        pytest.param(FinishReason("stop"), (RefusalPart("No."),), "refusal", id="refusal in words"),
        pytest.param(FinishReason("stop"), (TextPart("a"), RefusalPart("No.")), "end_turn", id="text and refusal"),
        pytest.param(FinishReason("stop", "stop_sequence"), (), "stop_sequence", id="a stop sequence untold"),
        pytest.param(FinishReason("error", "MALFORMED_FUNCTION_CALL"), (), "end_turn", id="failed"),
        pytest.param(FinishReason("other", "LANGUAGE"), (TextPart("a"),), "end_turn", id="unknown"),
    ],
)
def test_how_an_answer_ends(finish: FinishReason, parts: tuple[ir.OutputPart, ...], reason: str) -> None:
    """§3.16"""
    assert body_of(*parts, finish=finish)["stop_reason"] == reason


def test_the_stop_sequence_that_was_hit_is_named() -> None:
    """§3.16"""
    body = body_of(TextPart("a"), finish=FinishReason("stop", stop_sequence="END"))
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "END")


def test_an_ending_without_a_name_is_said_to_be_approximated() -> None:
    assert notes_of(TextPart("a"), finish=FinishReason("other", "LANGUAGE")) == [
        ("finish_reason", "approximated", "warning")
    ]


def test_a_policy_stop_is_explained() -> None:
    """§2.3"""
    body = body_of(finish=FinishReason("content_filter", detail="Not allowed."))
    assert body["stop_details"] == {"type": "refusal", "category": None, "explanation": "Not allowed."}
    assert body["content"] == []


@pytest.mark.parametrize(
    ("arguments", "given", "reason"),
    [
        pytest.param('{"a":1}', {"a": 1}, "tool_use", id="an object"),
        pytest.param("", {}, "tool_use", id="I8 nothing"),
        pytest.param("[1]", {"input": [1]}, "tool_use", id="I8 an array"),
        pytest.param('{"a":', {"input": '{"a":'}, "max_tokens", id="S10 cut short"),
        pytest.param('{"n":123456789012345678901}', {"n": 123456789012345678901}, "tool_use", id="big integers stay"),
    ],
)
def test_the_input_of_a_call_is_an_object(arguments: str, given: JSONValue, reason: str) -> None:
    body = body_of(ToolCallPart("call_1", "look", arguments), finish=FinishReason("tool_calls"))
    assert body["content"] == [{"type": "tool_use", "id": "call_1", "name": "look", "input": given}]
    assert body["stop_reason"] == reason


def test_a_free_text_is_the_input_of_its_call() -> None:
    """§3.5"""
    body = body_of(ToolCallPart("call_1", "sh", "ls", "custom"), finish=FinishReason("tool_calls"))
    assert body["content"] == [{"type": "tool_use", "id": "call_1", "name": "sh", "input": {"input": "ls"}}]


def test_thinking_always_has_a_signature() -> None:
    """P6, §3.10, R3"""
    body = body_of(
        ReasoningPart("a", Opaque(OWN, "signature", "c2ln")),
        ReasoningPart("b"),
        ReasoningPart("c", Opaque("gemini_generate", "thought_signature", "x")),
        ReasoningPart("", Opaque(OWN, "redacted", "ZGF0YQ==")),
        ReasoningPart("", Opaque("openai_responses", "encrypted", "x")),
    )
    assert body["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "c2ln"},
        {"type": "thinking", "thinking": "b", "signature": ""},
        {"type": "thinking", "thinking": "c", "signature": ""},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
    ]


def test_state_of_other_vendors_is_said_to_be_lost() -> None:
    """R5"""
    foreign = Opaque("gemini_generate", "thought_signature", "x")
    assert notes_of(
        ReasoningPart("c", foreign),
        TextPart("d", signature=foreign),
        ToolCallPart("call_1", "look", "{}", signature=foreign),
        finish=FinishReason("tool_calls"),
    ) == [(f"parts[{i}].signature", "dropped", "info") for i in range(3)]


def test_texts_stay_apart_and_empty_ones_are_left_out() -> None:
    """T24, I2: an empty text would be refused when it comes back"""
    assert body_of(TextPart("a"), TextPart(""), TextPart("b"))["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


def test_citations_stand_on_their_text() -> None:
    """§3.13"""
    cited: JSONObject = {"type": "page_location", "cited_text": "x"}
    body = body_of(TextPart("a"), CitationPart(protocol=OWN, raw=cited), CitationPart(protocol=OWN, raw=cited))
    assert body["content"] == [{"type": "text", "text": "a", "citations": [cited, cited]}]
    assert notes_of(CitationPart(protocol=OWN, raw=cited)) == [("parts[0]", "dropped", "warning")]
    assert notes_of(TextPart("a"), CitationPart(url="https://example.com")) == [("parts[1]", "dropped", "warning")]


def test_what_only_another_vendor_knows_is_left_out() -> None:
    own: JSONObject = {"type": "container_upload", "file_id": "file_1"}
    assert body_of(UnknownPart(OWN, own), UnknownPart("openai_chat", {"type": "x"}, "x"))["content"] == [own]
    assert notes_of(UnknownPart("openai_chat", {"type": "x"}, "x")) == [("parts[0]", "dropped", "warning")]


def test_speech_is_told_as_its_transcript() -> None:
    speech = MediaPart("audio", ir.Base64Source("aGk="), transcript="Hello")
    assert body_of(speech)["content"] == [{"type": "text", "text": "Hello"}]


def test_there_is_one_answer() -> None:
    """§3.2"""
    choices = tuple(Choice((TextPart(text),), FinishReason("stop"), i) for i, text in enumerate("ab"))
    encoded = CODEC.encode_response(ChatResponse(choices, usage=Usage(1, 1)), context=CONTEXT)
    assert loads_object(encoded.body)["content"] == [{"type": "text", "text": "a"}]
    assert [(note.path, note.code) for note in encoded.diagnostics] == [("choices[1]", "dropped")]


def test_cached_tokens_are_counted_apart() -> None:
    """U11, trap 28"""
    usage = Usage(100, 20, cache_read_tokens=60, cache_write_tokens=30, cache_write_1h_tokens=10, reasoning_tokens=7)
    body = body_of(TextPart("a"), usage=usage, service_tier="priority")
    assert body["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "output_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
        "output_tokens_details": {"thinking_tokens": 7},
        "service_tier": "priority",
    }
    again = CODEC.decode_response(CODEC.encode_response(answer(usage=usage), context=CONTEXT).body).usage
    assert again is not None and msgspec.structs.replace(again, raw=None) == usage


def test_counts_that_contradict_each_other_do_not_go_below_zero() -> None:
    body = body_of(TextPart("a"), usage=Usage(10, 1, cache_read_tokens=60))
    assert as_object(body["usage"])["input_tokens"] == 0


def test_counts_nobody_told_are_zero_and_said_to_be() -> None:
    """§3.17"""
    assert as_object(body_of(TextPart("a"), usage=None)["usage"])["output_tokens"] == 0
    assert notes_of(TextPart("a"), usage=None) == [
        ("usage.input_tokens", "defaulted", "info"),
        ("usage.output_tokens", "defaulted", "info"),
    ]
