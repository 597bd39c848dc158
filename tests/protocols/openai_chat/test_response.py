"""Whole answers of Chat Completions."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import (
    Base64Source,
    ChatResponse,
    Choice,
    CitationPart,
    FinishReason,
    MediaPart,
    Opaque,
    OutputPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    TokenLogprob,
    ToolCallPart,
    UnknownPart,
    Usage,
    accumulate,
    explode,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.protocols.openai_chat import CODEC

from .samples import CONTEXT, USAGE, encode_stream, events


def read(message: JSONValue, finish: JSONValue = "stop", **fields: JSONValue) -> ChatResponse:
    choice: JSONObject = {"index": 0, "message": message, "finish_reason": finish}
    return CODEC.decode_response(dumps({"id": "1", "model": "m", "created": 1, "choices": [choice], **fields}))


def parts(message: JSONObject) -> tuple[OutputPart, ...]:
    return read({"role": "assistant", **message}).choices[0].parts


def written(*content: OutputPart, finish: str = "stop", detail: str | None = None, legacy: bool = False) -> JSONObject:
    """The one choice of an answer with these parts."""
    choice = Choice(content, FinishReason(finish, detail=detail))  # type: ignore[arg-type]
    encoded = CODEC.encode_response(ChatResponse((choice,), legacy_functions=legacy), context=CONTEXT)
    ChatCompletion.model_validate_json(encoded.body, strict=True)
    return as_object(as_list(loads_object(encoded.body)["choices"])[0])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":{}}',
        b'{"choices":[1]}',
        b'{"choices":[{"index":0}]}',
        b'{"choices":[{"message":{"content":"cut',
    ],
)
def test_answer_that_is_none_is_an_upstream_fault(data: bytes) -> None:
    """F130."""
    with pytest.raises(InvalidUpstreamResponse):
        CODEC.decode_response(data)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "no", "code": 429}, "rate_limited"),
        ({"message": "no", "code": "content_filter", "status": 400}, "bad_request"),
        ({"message": "no"}, "server_error"),
        ("text", "server_error"),
    ],
)
def test_error_in_a_good_answer_is_an_error(error: JSONValue, kind: str) -> None:
    """F131."""
    with pytest.raises(UpstreamError) as caught:
        CODEC.decode_response(dumps({"error": error}))
    assert caught.value.kind == kind


def test_placeholders_and_empty_texts_are_nothing() -> None:
    assert (
        parts(
            {
                "content": "",
                "refusal": "",
                "annotations": None,
                "reasoning": None,
                "tool_calls": None,
                "audio": {"data": "", "expires_at": 0, "id": "", "transcript": ""},
                "function_call": {"arguments": "", "name": ""},
            }
        )
        == ()
    )


def test_call_without_an_id_is_kept() -> None:
    """T21."""
    call: JSONValue = {"id": "", "function": {"name": "f", "arguments": {"a": 1}}, "custom": {"name": "", "input": ""}}
    assert parts({"tool_calls": [call]}) == (ToolCallPart("", "f", '{"a":1}'),)


def test_legacy_call_is_a_call() -> None:
    response = read({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call")
    assert response.choices[0].parts == (ToolCallPart("", "f", "{}"),)
    assert response.legacy_functions


def test_lists_of_parts_are_read() -> None:
    thinking: JSONValue = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert parts({"content": [thinking, {"type": "text", "text": "a"}, {"type": "odd"}]}) == (
        ReasoningPart("hm"),
        TextPart("a"),
        UnknownPart("openai_chat", {"type": "odd"}, "odd"),
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, (3, 2)),
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, (35, 74)),
        ({"prompt_tokens": -5, "completion_tokens": 10**18}, (None, None)),
        ({"prompt_tokens": 2.0, "completion_tokens": "7"}, (2, None)),
    ],
)
def test_counts_one_can_believe_are_taken(raw: JSONValue, expected: tuple[int | None, int | None]) -> None:
    """F140; Google's layer tells thoughts in the total alone."""
    usage = read({"content": "a"}, usage=raw).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == expected


def test_shares_of_the_usage_are_read() -> None:
    """U11."""
    usage = read(
        {"content": "a"},
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2, "audio_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 4, "rejected_prediction_tokens": 5},
        },
    ).usage
    assert usage is not None
    assert (usage.cache_read_tokens, usage.cache_write_tokens, usage.audio_input_tokens) == (1, 2, 3)
    assert (usage.reasoning_tokens, usage.rejected_prediction_tokens, usage.audio_output_tokens) == (4, 5, None)


def test_required_fields_are_always_there() -> None:
    """T21, T22."""
    data = loads_object(CODEC.encode_response(ChatResponse((Choice((), FinishReason("stop")),)), context=CONTEXT).body)
    assert data == {
        "id": "chatcmpl-new",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    }


def test_alias_replaces_the_vendors_model() -> None:
    response = ChatResponse((Choice((TextPart("a"),), FinishReason("stop")),), model="vendor")
    encoded = CODEC.encode_response(response, context=StreamContext(model="alias"))
    assert loads_object(encoded.body)["model"] == "alias"


def test_all_texts_are_told() -> None:
    """T24."""
    assert as_object(written(TextPart("a"), TextPart("b"))["message"])["content"] == "ab"


def test_call_makes_content_null_and_the_ending_tool_calls() -> None:
    """P3, T5."""
    choice = written(ToolCallPart("", "f", ""))
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [{"id": "call_new", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("other", "stop"),
    ],
)
def test_endings_without_calls(kind: str, reason: str) -> None:
    """T6, T7."""
    assert written(TextPart("a"), finish=kind)["finish_reason"] == reason


def test_legacy_answer_has_one_function_call() -> None:
    choice = written(ToolCallPart("x", "f", "{}"), ToolCallPart("y", "g", "{}"), legacy=True)
    assert choice["finish_reason"] == "function_call"
    assert as_object(choice["message"])["function_call"] == {"name": "f", "arguments": "{}"}


def test_explanation_of_a_filter_becomes_the_refusal() -> None:
    """T7."""
    choice = written(TextPart("a"), finish="content_filter", detail="policy")
    assert as_object(choice["message"])["refusal"] == "policy"


def test_reasoning_state_and_media_have_their_places() -> None:
    google = Opaque("gemini_generate", "thought_signature", "s")
    message = as_object(
        written(
            ReasoningPart("hm", Opaque("anthropic_messages", "signature", "sig")),
            ReasoningPart("", Opaque("anthropic_messages", "redacted", "blob")),
            TextPart("a", signature=google),
            MediaPart("image", Base64Source("AAAA"), "image/png"),
            MediaPart("audio", Base64Source("AAAA"), transcript="hi"),
        )["message"]
    )
    assert message["reasoning_content"] == "hm"
    assert [as_object(entry)["index"] for entry in as_list(message["reasoning_details"])] == [0, 1]
    assert message["extra_content"] == {"google": {"thought_signature": "s"}}
    assert as_object(as_list(message["images"])[0])["image_url"] == {"url": "data:image/png;base64,AAAA"}
    assert as_object(message["audio"])["transcript"] == "hi"


def test_what_has_no_place_is_a_diagnostic() -> None:
    odd = (UnknownPart("anthropic_messages", {}), CitationPart(quote="q"), MediaPart("video", Base64Source("AAAA")))
    encoded = CODEC.encode_response(ChatResponse((Choice(odd, FinishReason("stop")),)), context=CONTEXT)
    assert [(item.path, item.code) for item in encoded.diagnostics] == [
        (f"choices[0].parts[{index}]", "dropped") for index in range(3)
    ]


names = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
counts = st.none() | st.integers(0, 10**9)
states = st.one_of(
    st.none(),
    st.builds(Opaque, st.just("anthropic_messages"), st.just("signature"), text),
    st.builds(Opaque, st.just("openai_responses"), st.just("encrypted"), text, names),
)
google = st.none() | st.builds(Opaque, st.just("gemini_generate"), st.just("thought_signature"), text)
tokens = st.builds(
    TokenLogprob,
    text,
    st.floats(-50, 0),
    st.lists(st.integers(0, 255), max_size=3).map(tuple),
    st.just(()) | st.just((TokenLogprob("x", -1.0, (120,)),)),
)
calls = st.builds(ToolCallPart, names, names, text, st.just("function"), google) | st.builds(
    ToolCallPart, names, names, text, st.just("custom")
)


@st.composite
def choices(draw: st.DrawFn, index: int) -> Choice:
    """One answer in the order this protocol has: thought, text, refusal, calls."""
    told: list[OutputPart] = []
    if draw(st.booleans()):
        told.append(ReasoningPart(draw(text), draw(states)))
    logprobs = None
    if draw(st.booleans()):
        told.append(TextPart(draw(text)))
        logprobs = draw(st.none() | st.lists(tokens, min_size=1, max_size=3).map(tuple))
    elif draw(st.booleans()):
        told.append(RefusalPart(draw(text)))
    asked = draw(st.lists(calls, max_size=2, unique_by=lambda call: call.id))
    told += asked
    kind = "length" if draw(st.booleans()) else ("tool_calls" if asked else "stop")
    return Choice(tuple(told), FinishReason(kind, kind), index, logprobs)  # type: ignore[arg-type]


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Counts, some of them not reported."""
    return Usage(
        input_tokens=draw(st.integers(0, 10**9)),
        output_tokens=draw(st.integers(0, 10**9)),
        cache_read_tokens=draw(counts),
        cache_write_tokens=draw(counts),
        reasoning_tokens=draw(counts),
        audio_input_tokens=draw(counts),
        audio_output_tokens=draw(counts),
        image_input_tokens=draw(counts),
        accepted_prediction_tokens=draw(counts),
        rejected_prediction_tokens=draw(counts),
    )


@st.composite
def responses(draw: st.DrawFn) -> ChatResponse:
    """One or two answers."""
    return ChatResponse(
        choices=draw(st.tuples(choices(0)) | st.tuples(choices(0), choices(1))),
        id=draw(names),
        model=draw(names),
        created=draw(st.integers(0, 2**40)),
        usage=draw(st.none() | usages()),
        service_tier=draw(st.sampled_from([None, "default", "flex"])),
        system_fingerprint=draw(st.none() | names),
    )


def without_raw(response: ChatResponse) -> ChatResponse:
    if response.usage is None:
        return response
    return msgspec.structs.replace(response, usage=msgspec.structs.replace(response.usage, raw=None))


@settings(max_examples=150, deadline=None)
@given(responses())
def test_what_chat_can_answer_survives_the_wire(response: ChatResponse) -> None:
    """decode(encode(x)) == x, whole and as a stream; and the two agree."""
    encoded = CODEC.encode_response(response, context=CONTEXT)
    assert encoded.diagnostics == ()
    ChatCompletion.model_validate_json(encoded.body, strict=True)
    assert without_raw(CODEC.decode_response(encoded.body)) == response
    streamed = accumulate(events(encode_stream(explode(response), USAGE)))
    assert without_raw(streamed) == response
