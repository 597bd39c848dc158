"""Streams of Chat Completions, written."""

from __future__ import annotations

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import (
    ChatResponse,
    Choice,
    ChoiceEnd,
    CitationPart,
    FinishReason,
    Opaque,
    OutputPart,
    PartEnd,
    PartStart,
    ReasoningPart,
    RefusalPart,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    StreamFault,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    UnknownPart,
    Usage,
    cut,
    explode,
)
from asgi_llmgw.json import as_list, as_object, loads_object
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.protocols.openai_chat import CODEC
from asgi_llmgw.sse import ServerSentEvent

from .samples import CONTEXT, DONE, USAGE, chunks, deltas, encode_stream

GOOGLE = Opaque("gemini_generate", "thought_signature", "sig")


def told(
    *parts: OutputPart,
    finish: str = "stop",
    usage: Usage | None = None,
    legacy: bool = False,
    context: StreamContext = CONTEXT,
) -> list[ServerSentEvent]:
    """The frames of an answer with these parts."""
    choice = Choice(parts, FinishReason(finish))  # type: ignore[arg-type]
    response = ChatResponse((choice,), id="i", model="m", created=1, usage=usage, legacy_functions=legacy)
    return encode_stream(explode(response), context)


def test_text_stream_is_the_services_own_sequence() -> None:
    frames = told(TextPart("Hi"))
    assert deltas(frames) == [{"role": "assistant", "content": "", "refusal": None}, {"content": "Hi"}, {}]
    assert [as_object(as_list(data["choices"])[0])["finish_reason"] for data in chunks(frames)] == [None, None, "stop"]
    assert frames[-1] == DONE
    for data in chunks(frames):
        assert (data["id"], data["object"], data["created"], data["model"]) == ("i", "chat.completion.chunk", 1, "m")


def test_missing_id_model_and_time_are_filled() -> None:
    """T21."""
    parts: list[StreamEvent] = [
        ResponseStart(),
        PartStart(0, TextPart("")),
        PartEnd(0),
        ChoiceEnd(FinishReason("stop")),
        ResponseEnd(),
    ]
    data = chunks(encode_stream(parts, StreamContext(model="alias", clock=lambda: 7.9, new_id=lambda p: p + "z")))[0]
    assert (data["id"], data["created"], data["model"]) == ("chatcmpl-z", 7, "alias")


def test_first_item_being_a_call_makes_content_null() -> None:
    frames = told(ToolCallPart("x", "f", '{"a":1}'))
    assert deltas(frames) == [
        {"role": "assistant", "content": None, "refusal": None},
        {"tool_calls": [{"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]},
        {},
    ]


def test_interleaved_calls_are_numbered_without_gaps() -> None:
    """S4, trap 9: the numbers count calls, not parts."""
    frames = encode_stream(
        [
            ResponseStart(),
            PartStart(0, TextPart("a")),
            PartStart(1, ToolCallPart("x", "f", "")),
            PartStart(2, ToolCallPart("y", "g", "")),
            ToolInputDelta(2, "2"),
            ToolInputDelta(1, "1"),
            PartEnd(0),
            PartEnd(1),
            PartEnd(2),
            ChoiceEnd(FinishReason("stop")),
            ResponseEnd(),
        ]
    )
    entries = [as_object(entry) for delta in deltas(frames) for entry in as_list(delta.get("tool_calls"))]
    assert [entry["index"] for entry in entries] == [0, 1, 1, 0]
    assert as_object(as_list(chunks(frames)[-1]["choices"])[0])["finish_reason"] == "tool_calls"


def test_call_without_arguments_gets_an_empty_object() -> None:
    """S15, I8."""
    assert {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]} in deltas(told(ToolCallPart("x", "f", "")))


def test_call_without_an_id_gets_one() -> None:
    entry = as_object(as_list(deltas(told(ToolCallPart("", "f", "{}")))[1]["tool_calls"])[0])
    assert entry["id"] == "call_new"


def test_custom_call_is_told_as_custom() -> None:
    frames = told(ToolCallPart("x", "run", "ls", "custom"))
    assert deltas(frames)[1:3] == [
        {"tool_calls": [{"index": 0, "id": "x", "type": "custom", "custom": {"name": "run", "input": ""}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "ls"}}]},
    ]


def test_legacy_client_gets_one_function_call() -> None:
    frames = told(ToolCallPart("x", "f", "{}"), ToolCallPart("y", "g", "{}"), legacy=True)
    assert deltas(frames)[1:] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        {},
    ]
    assert as_object(as_list(chunks(frames)[-1]["choices"])[0])["finish_reason"] == "function_call"


def test_length_beats_the_call() -> None:
    """S10, S13."""
    frames = told(ToolCallPart("x", "f", '{"a'), finish="length")
    assert as_object(as_list(chunks(frames)[-1]["choices"])[0])["finish_reason"] == "length"


def test_google_signature_stands_in_the_first_chunk_of_its_call() -> None:
    entries = [
        as_object(entry)
        for delta in deltas(told(ToolCallPart("x", "f", "{}", signature=GOOGLE)))
        for entry in as_list(delta.get("tool_calls"))
    ]
    assert entries[0]["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert "extra_content" not in entries[1]


def test_reasoning_has_neither_role_nor_content() -> None:
    opaque = Opaque("anthropic_messages", "signature", "sig")
    frames = told(ReasoningPart("hm", opaque), TextPart("a"))
    assert deltas(frames)[1:4] == [
        {"reasoning_content": "hm"},
        {
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "signature": "sig",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                }
            ]
        },
        {"content": "a"},
    ]


def test_reasoning_can_be_left_out() -> None:
    frames = told(ReasoningPart("hm"), TextPart("a"), context=StreamContext(include_thoughts=False))
    assert all("reasoning_content" not in delta for delta in deltas(frames))


def test_annotations_come_in_one_chunk_before_the_finish() -> None:
    """Trap 10."""
    frames = told(TextPart("a"), CitationPart("http://a", "A", 0, 1), CitationPart("http://b"))
    notes = [as_list(delta["annotations"]) for delta in deltas(frames) if "annotations" in delta]
    assert [len(note) for note in notes] == [2]
    assert "annotations" in deltas(frames)[-2]


def test_usage_is_told_in_a_last_chunk_when_asked_for() -> None:
    """U1, U9, trap 29."""
    frames = told(TextPart("a"), usage=Usage(3, 2, reasoning_tokens=1), context=USAGE)
    *before, last = chunks(frames)
    assert all(data["usage"] is None for data in before)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_usage_is_never_told_unasked() -> None:
    """U2, trap 29."""
    assert all("usage" not in data for data in chunks(told(TextPart("a"), usage=Usage(3, 2))))


def test_choices_have_a_role_and_an_ending_each() -> None:
    response = ChatResponse(
        (Choice((TextPart("a"),), FinishReason("stop")), Choice((TextPart("b"),), FinishReason("length"), 1))
    )
    frames = encode_stream(explode(response))
    for choice in (0, 1):
        assert [delta for delta in deltas(frames, choice) if "role" in delta] == [
            {"role": "assistant", "content": "", "refusal": None}
        ]
    assert [as_object(choice)["index"] for data in chunks(frames) for choice in as_list(data["choices"])][-1] == 1


def test_refusal_is_told_in_its_own_field() -> None:
    assert {"refusal": "no"} in deltas(told(RefusalPart("no")))


def test_explanation_of_a_filter_becomes_the_refusal() -> None:
    """T7."""
    end = ChoiceEnd(FinishReason("content_filter", detail="policy"))
    frames = encode_stream([ResponseStart(), end, ResponseEnd()])
    assert {"refusal": "policy"} in deltas(frames)


def test_fault_is_an_error_chunk_and_nothing_after_it() -> None:
    """F147: neither finish nor [DONE]."""
    error = UpstreamError("full", failure="overloaded", kind="overloaded")
    start: list[StreamEvent] = [ResponseStart(), PartStart(0, TextPart("")), TextDelta(0, "a")]
    frames = encode_stream([*start, StreamFault(error)])
    assert loads_object(frames[-1].data) == {
        "error": {"message": "full", "type": "server_error", "param": None, "code": "overloaded"}
    }
    assert b'"finish_reason":"' not in b"".join(frame.data for frame in frames)


def test_stream_that_was_not_ended_closes_with_an_error() -> None:
    """T9."""
    frames = encode_stream([ResponseStart(), PartStart(0, TextPart("a"))])
    assert "error" in loads_object(frames[-1].data)
    assert DONE not in frames


@pytest.mark.parametrize("last", [ResponseEnd(), cut()])
def test_nothing_is_said_after_the_end(last: ResponseEnd | StreamFault) -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    list(encoder.feed(ResponseStart()))
    assert list(encoder.feed(last))
    assert not list(encoder.feed(PartStart(0, TextPart("a"))))
    assert not list(encoder.close())


def test_what_has_no_place_is_a_diagnostic() -> None:
    encoder = CODEC.stream_encoder(CONTEXT)
    list(encoder.feed(ResponseStart()))
    list(encoder.feed(PartStart(0, UnknownPart("anthropic_messages", {}, "server_tool_use"))))
    assert [(item.path, item.code) for item in encoder.diagnostics] == [("parts[0]", "dropped")]


def test_sdk_adds_up_everything_a_stream_can_hold() -> None:
    """Traps 8 to 10."""
    response = ChatResponse(
        (
            Choice(
                (
                    ReasoningPart("hm", Opaque("openai_responses", "encrypted", "data", "rs_1")),
                    TextPart("Hello \u2028 \U0001f600"),
                    CitationPart("http://a", "A", 0, 5),
                    ToolCallPart("x", "f", '{"a":1}', signature=GOOGLE),
                    ToolCallPart("y", "g", ""),
                ),
                FinishReason("tool_calls"),
            ),
        ),
        id="i",
        model="m",
        created=1,
        usage=Usage(3, 2),
    )
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for data in chunks(encode_stream(explode(response), USAGE)):
        state.handle_chunk(ChatCompletionChunk.model_validate(data, strict=True))
    message = state.get_final_completion().choices[0].message
    assert message.role == "assistant"
    assert message.content == "Hello \u2028 \U0001f600"
    found = as_object(message.model_dump(mode="json"))
    assert [as_object(as_object(call)["function"])["arguments"] for call in as_list(found["tool_calls"])] == [
        '{"a":1}',
        "{}",
    ]
    assert len(as_list(found["reasoning_details"])) == 2
