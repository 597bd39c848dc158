"""Requests of Chat Completions, read."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    CustomTool,
    Extension,
    FileSource,
    MediaPart,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    Sampling,
    ServerTool,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UrlSource,
)
from asgi_llmgw.json import JSONObject, JSONValue, loads_object
from asgi_llmgw.protocols.openai_chat import CODEC

from .samples import HELLO, body, decode, decode_messages

PATH = "/v1/chat/completions"
WEATHER: JSONValue = {"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}
CALL: JSONValue = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"a":1}'}}


def refused(data: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode_request(PATH, data)
    return caught.value


def test_peek_reads_model_and_stream() -> None:
    head = CODEC.peek(PATH, body(stream=True))
    assert (head.model, head.stream) == ("m", True)


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b'{"messages":[]}', "model"),
        (b'{"model":7}', "model"),
        (b'{"model":null}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream":1}', "stream"),
        (b'{"model":"cheap","model":"dear"}', "model"),
        (b'{"model":"m","stream":false,"stream":true}', "stream"),
        (b'{"model":"m","max_tokens":1,"max_tokens":9}', "max_tokens"),
        (b'{"model":"m","\\u006dodel":"n"}', "model"),
    ],
)
def test_peek_refuses_what_two_readers_could_read_differently(data: bytes, param: str) -> None:
    """F034."""
    with pytest.raises(InvalidRequest) as caught:
        CODEC.peek(PATH, data)
    assert caught.value.param == param


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"model":"m"', b"\xff"])
def test_body_that_is_no_object_is_refused(data: bytes) -> None:
    for read in (CODEC.peek, CODEC.decode_request):
        with pytest.raises(InvalidRequest):
            read(PATH, data)
    with pytest.raises(InvalidRequest):
        CODEC.with_model(PATH, data, "n")


def test_with_model_keeps_every_other_byte() -> None:
    data = b'{"model":"m", "seed": 12345678901234567890123, "x": {"b" : 1.0,"a":"\\u00e9"}}'
    encoded = CODEC.with_model("/openai/v1/chat/completions", data, "n")
    assert encoded.path == PATH
    assert loads_object(encoded.body)["model"] == "n"
    assert b'{"b" : 1.0,"a":"\\u00e9"}' in encoded.body
    assert b"12345678901234567890123" in encoded.body
    assert CODEC.with_model(PATH, data, "m").body == data


def test_sampling_and_limits_are_read() -> None:
    request = decode(
        temperature=0.5,
        top_p=1,
        seed=1.0,
        stop="END",
        n=2,
        max_completion_tokens=10,
        logprobs=True,
        top_logprobs=3,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        logit_bias={"5": 1},
        top_k=4,
    )
    assert request.sampling == Sampling(0.5, 1.0, 4, 1, 0.1, -0.1, ("END",), {"5": 1}, True, 3)
    assert (request.candidates, request.max_output_tokens) == (2, 10)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"n": True}, "n"),
        ({"n": 0}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"stop": [1]}, "stop[0]"),
        ({"stop": 1}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].name"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "x", "type": "magic"}]}]},
            "messages[0].tool_calls[0].type",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [WEATHER], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "web"}}, "tool_choice.type"),
        ({"reasoning_effort": "lots"}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"stream_options": 1}, "stream_options"),
        ({"metadata": []}, "metadata"),
    ],
)
def test_mistake_names_its_place(fields: JSONObject, param: str) -> None:
    assert refused(body(**fields)).param == param


def test_empty_messages_have_the_vendors_code() -> None:
    assert refused(body(messages=[])).code == "empty_array"


def test_null_counts_as_absent() -> None:
    plain = decode()
    assert decode(temperature=None, tools=None, tool_choice=None, stop=None, response_format=None, echo=None) == plain


@pytest.mark.parametrize(
    ("options", "expected"),
    [(None, False), ({}, False), ({"include_usage": True}, True), ({"include_usage": False}, False)],
)
def test_usage_in_streams_is_told_when_asked_for(options: JSONValue, expected: bool) -> None:
    assert decode(stream=True, stream_options=options).include_usage is expected


def test_system_and_developer_messages_stand_anywhere() -> None:
    messages = decode_messages(
        {"role": "system", "content": "a"},
        {"role": "user", "content": "b", "name": "bob"},
        {"role": "developer", "content": [{"type": "text", "text": "c"}]},
    )
    assert messages == (
        Message("system", (TextPart("a"),)),
        Message("user", (TextPart("b"),), "bob"),
        Message("developer", (TextPart("c"),)),
    )


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
            MediaPart("image", UrlSource("https://a/b.png"), detail="low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            MediaPart("image", Base64Source("AAAA"), "image/png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;name=x;base64,_-8"}},
            MediaPart("image", Base64Source("/+8="), "image/png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg%3E"}},
            MediaPart("image", Base64Source("PHN2Zz4="), "image/svg+xml"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            MediaPart("audio", Base64Source("AAAA"), "audio/mpeg"),
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
            MediaPart("document", Base64Source("AAAA"), "application/pdf", filename="a.pdf"),
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/markdown,hi", "filename": "a.md"}},
            MediaPart("document", Base64Source("aGk="), "text/markdown", filename="a.md"),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, MediaPart("document", FileSource("file-1", "openai_chat"))),
    ],
)
def test_media_parts_are_read(part: JSONValue, expected: MediaPart) -> None:
    """I15, I16: data URLs with parameters, without base64, and in the alphabet of URLs."""
    assert decode_messages({"role": "user", "content": [part]})[0].parts == (expected,)


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:image/png;base64,%%%", "data:image/png;base64,A"])
def test_unreadable_data_url_is_refused(url: str) -> None:
    """I16."""
    error = refused(body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]))
    assert error.param == "messages[0].content[0].image_url.url"


def test_calls_and_results_meet_and_results_are_named() -> None:
    messages = decode_messages(
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    )
    assert messages[0].parts == (ToolCallPart("c1", "w", '{"a":1}'),)
    assert messages[1].parts == (ToolResultPart("c1", (TextPart("sunny"),), "w"),)


def test_custom_calls_are_read() -> None:
    call: JSONValue = {"id": "c", "type": "custom", "custom": {"name": "run", "input": "ls"}}
    assert decode_messages({"role": "assistant", "tool_calls": [call]})[0].parts == (
        ToolCallPart("c", "run", "ls", "custom"),
    )


def test_legacy_functions_become_tools_calls_and_results() -> None:
    request = decode(
        functions=[{"name": "w", "parameters": {"type": "object"}}],
        function_call={"name": "w"},
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "w", "arguments": "{}"}},
            {"role": "function", "name": "w", "content": "sunny"},
        ],
    )
    assert request.legacy_functions
    assert request.tools == (Tool("w", parameters={"type": "object"}),)
    assert request.tool_choice == ToolChoice("required", ("w",))
    call, result = request.messages[0].parts[0], request.messages[1].parts[0]
    assert isinstance(call, ToolCallPart)
    assert isinstance(result, ToolResultPart)
    assert call.id == result.call_id != ""


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"reasoning_content": "hm"}, ReasoningPart("hm")),
        ({"reasoning": "hm"}, ReasoningPart("hm")),
        (
            {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
            ReasoningPart("hm", Opaque("anthropic_messages", "signature", "s")),
        ),
        (
            {"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]},
            ReasoningPart("", Opaque("anthropic_messages", "redacted", "d")),
        ),
        (
            {
                "reasoning": "hm",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1"}
                ],
            },
            ReasoningPart("hm", Opaque("anthropic_messages", "signature", "s")),
        ),
        (
            {
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "hm", "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "d", "id": "rs_1", "format": "openai-responses-v1"},
                ]
            },
            ReasoningPart("hm", Opaque("openai_responses", "encrypted", "d", "rs_1")),
        ),
        (
            {"reasoning_content": "hm", "extra_content": {"anthropic": {"signature": "s"}}},
            ReasoningPart("hm", Opaque("anthropic_messages", "signature", "s")),
        ),
    ],
)
def test_reasoning_is_read_from_every_convention(extra: JSONObject, expected: Part) -> None:
    message: JSONValue = {"role": "assistant", "content": "a", **extra}
    assert decode_messages(message)[0].parts == (expected, TextPart("a"))


def test_google_signatures_go_to_calls_and_texts() -> None:
    """R5."""
    extra: JSONValue = {"google": {"thought_signature": "s"}}
    signature = Opaque("gemini_generate", "thought_signature", "s")
    assert isinstance(CALL, dict)
    on_call = decode_messages({"role": "assistant", "tool_calls": [{**CALL, "extra_content": extra}]})
    assert on_call[0].parts == (ToolCallPart("c1", "w", '{"a":1}', signature=signature),)
    on_message = decode_messages({"role": "assistant", "content": "a", "extra_content": extra})
    assert on_message[0].parts == (TextPart("a", signature=signature),)
    beside_call = decode_messages({"role": "assistant", "tool_calls": [CALL], "extra_content": extra})
    assert beside_call == on_call


def test_cache_marks_are_read_from_parts_messages_and_tools() -> None:
    mark: JSONValue = {"type": "ephemeral", "ttl": "1h"}
    assert isinstance(WEATHER, dict)
    request = decode(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
            {"role": "user", "content": "b", "cache_control": {"type": "ephemeral"}},
            {
                "role": "user",
                "content": [{"type": "text", "text": "c", "prompt_cache_breakpoint": {"mode": "explicit"}}],
            },
        ],
        tools=[{**WEATHER, "cache_control": mark}],
    )
    assert [message.parts for message in request.messages] == [
        (TextPart("a", CacheMark("1h")),),
        (TextPart("b", CacheMark()),),
        (TextPart("c", CacheMark()),),
    ]
    assert request.tools == (Tool("w", parameters={"type": "object"}, cache=CacheMark("1h")),)


def test_refusal_of_the_assistant_is_read() -> None:
    messages = decode_messages({"role": "assistant", "content": None, "refusal": "no"})
    assert messages[0].parts == (RefusalPart("no"),)


def test_tools_of_every_kind_are_read() -> None:
    custom: JSONValue = {"type": "custom", "custom": {"name": "run", "format": {"type": "text"}}}
    strict: JSONValue = {"type": "function", "function": {"name": "s", "description": "d", "strict": True}}
    assert decode(tools=[custom, strict, {"type": "web_search"}]).tools == (
        CustomTool("run", format={"type": "text"}),
        Tool("s", "d", strict=True),
        ServerTool("openai_chat", "web_search", {"type": "web_search"}),
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "w"}}, ToolChoice("required", ("w",))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [WEATHER]}},
            ToolChoice("auto", ("w",)),
        ),
    ],
)
def test_tool_choices_are_read(choice: JSONValue, expected: ToolChoice) -> None:
    """I11."""
    assert decode(tools=[WEATHER], tool_choice=choice).tool_choice == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "low"}, Reasoning("low")),
        ({"reasoning": {"effort": "high", "exclude": True}}, Reasoning("high", visible=False)),
        ({"reasoning": {"max_tokens": 1024}}, Reasoning(budget_tokens=1024)),
        ({"thinking": {"type": "disabled"}}, Reasoning("none")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning(budget_tokens=2048)),
        ({"include_reasoning": True}, Reasoning(visible=True)),
    ],
)
def test_reasoning_settings_are_read(fields: JSONObject, expected: Reasoning) -> None:
    assert decode(**fields).reasoning == expected


def test_schema_of_the_answer_is_read() -> None:
    form: JSONValue = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }
    assert decode(response_format=form).response_format == ResponseFormat(
        "json_schema", {"type": "object"}, "n", strict=True
    )


@pytest.mark.parametrize(
    ("name", "value", "loss"),
    [
        ("store", True, "info"),
        ("prediction", {"type": "content", "content": "x"}, "info"),
        ("web_search_options", {}, "error"),
        ("moderation", {"policy": {"input": {"mode": "block"}}}, "error"),
        ("moderation", {"policy": {"input": {"mode": "score"}}}, "warning"),
        ("audio", {"voice": "alloy", "format": "wav"}, "warning"),
        ("never_heard_of", 1, "warning"),
    ],
)
def test_fields_of_this_protocol_alone_are_kept_with_what_their_loss_means(
    name: str, value: JSONValue, loss: str
) -> None:
    assert decode(**{name: value}).extensions == (Extension("openai_chat", name, value, loss),)  # type: ignore[arg-type]


def test_unknown_message_field_is_not_silent() -> None:
    request = decode(messages=[*HELLO, {"role": "user", "content": "x", "mood": "good"}])
    assert request.extensions == (Extension("openai_chat", "messages[1].mood", "good"),)


def test_end_user_is_the_safety_identifier_or_the_user() -> None:
    assert decode(user="u").end_user == "u"
    both = decode(user="u", safety_identifier="s")
    assert both.end_user == "s"
    assert both.extensions == (Extension("openai_chat", "user", "u", "info"),)
