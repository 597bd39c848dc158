"""Requests of Responses, written."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    ChatRequest,
    CitationPart,
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
    TextSource,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UrlSource,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.openai_responses import CODEC
from tests.protocols.openai_responses.samples import PATH, call, decode, encode, encode_turns, lost, output, user

LOOK_UP = Tool("look_up", "Looks it up.", {"type": "object"})
ASSISTANT = Message("assistant", (ToolCallPart("a", "look_up", "{}"),))


def request(*messages: Message, **fields: object) -> ChatRequest:
    return ChatRequest("m", messages or (user(),), **fields)  # type: ignore[arg-type]


def said(*parts: Part) -> list[JSONObject]:
    """The items of a turn of the assistant's."""
    return encode_turns(Message("assistant", parts))


def test_nothing_is_kept_at_the_vendor_and_the_state_comes_back() -> None:
    """clients 12, C8"""
    assert encode(request(stream=True)) == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "stream": True,
    }


def test_system_messages_stay_where_they_are() -> None:
    turns = encode_turns(
        Message("system", (TextPart("a"),)), user(), Message("developer", (TextPart("b"), TextPart("c")))
    )
    assert [turn["role"] for turn in turns] == ["system", "user", "developer"]
    assert turns[2]["content"] == [{"type": "input_text", "text": "b"}, {"type": "input_text", "text": "c"}]
    body = encode(request(Message("system", (TextPart("a"),))), Profile(system_role="developer"))
    assert as_object(as_list(body["input"])[0])["role"] == "developer"


def test_a_turn_of_the_assistant_is_many_items_in_their_order() -> None:
    """I13: no `role` on calls. Thoughts go before what they led to, without the id under which nothing is kept."""
    own = Opaque("openai_responses", "encrypted", "state", "rs_1")
    items = said(
        ReasoningPart("Hm.", own),
        ToolCallPart("a", "look_up", ""),
        ReasoningPart("", own),
        TextPart("One", phase="commentary"),
        TextPart(" two", phase="commentary"),
        CitationPart("https://example.com"),
        TextPart("three", phase="final_answer"),
        ToolCallPart("b", "patch", "*** Begin", "custom"),
    )
    assert items == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "state"},
        {"type": "function_call", "call_id": "a", "name": "look_up", "arguments": "{}"},
        {"type": "reasoning", "summary": [], "encrypted_content": "state"},
        {"type": "message", "role": "assistant", "content": "One two", "phase": "commentary"},
        {"type": "message", "role": "assistant", "content": "three", "phase": "final_answer"},
        {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "*** Begin"},
    ]


def test_a_refusal_has_an_id_that_stays_the_same() -> None:
    """Trap 22: the same history is the same bytes."""
    (first,), (second,) = said(RefusalPart("No.")), said(RefusalPart("No."))
    assert first == second
    assert first["content"] == [{"type": "refusal", "refusal": "No."}]


@pytest.mark.parametrize(
    "opaque",
    [None, Opaque("anthropic_messages", "signature", "x"), Opaque("gemini_generate", "thought_signature", "x")],
)
def test_thoughts_of_others_stay_away(opaque: Opaque | None) -> None:
    """R12: another vendor's state is never sent."""
    assert said(ReasoningPart("Hm.", opaque), TextPart("a")) == [
        {"type": "message", "role": "assistant", "content": "a"}
    ]


def test_media_are_parts_of_messages_and_of_results() -> None:
    """I7 I15: nothing is dropped in silence; results may hold pictures here."""
    media = (
        MediaPart("image", Base64Source("aGk="), "image/png", detail="low"),
        MediaPart("image", UrlSource("https://example.com/a.png"), detail="odd"),
        MediaPart("image", FileSource("file-1", "openai_chat")),
        MediaPart("document", Base64Source("aGk="), "application/pdf"),
        MediaPart("document", UrlSource("https://example.com/a.pdf")),
        MediaPart("document", FileSource("file-2", "openai_responses")),
        MediaPart("document", TextSource("plain")),
        MediaPart("document", Base64Source("aGk="), "text/markdown"),
    )
    parts: list[JSONValue] = [
        {"type": "input_image", "detail": "low", "image_url": "data:image/png;base64,aGk="},
        {"type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "detail": "auto", "file_id": "file-1"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_text", "text": "plain"},
        {"type": "input_text", "text": "hi"},
    ]
    said_by_user, _, result = encode_turns(
        Message("user", media), ASSISTANT, Message("tool", (ToolResultPart("a", media, "look_up"),))
    )
    assert said_by_user["content"] == parts
    assert result == output("a", parts)


@pytest.mark.parametrize(
    "part",
    [
        MediaPart("audio", Base64Source("aGk="), "audio/wav"),
        MediaPart("video", UrlSource("https://example.com/a.mp4")),
        MediaPart("image", FileSource("f", "anthropic_messages")),
        MediaPart("document", FileSource("f", "gemini_generate")),
        MediaPart("document", Base64Source("/w=="), "text/plain"),
    ],
)
def test_media_responses_has_no_part_for_are_refused(part: MediaPart) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(request(Message("user", (TextPart("a"), part))))
    assert (caught.value.param, caught.value.kind) == ("messages[0].content[1]", "unsupported")


def test_a_picture_of_the_assistants_follows_the_results() -> None:
    picture = MediaPart("image", Base64Source("aGk="), "image/png")
    turns = encode_turns(
        Message("assistant", (picture, ToolCallPart("a", "look_up", "{}"))),
        Message("tool", (ToolResultPart("a", (TextPart("done"),)),)),
        user(),
    )
    assert [turn.get("role", turn["type"]) for turn in turns] == [
        "function_call",
        "function_call_output",
        "user",
        "user",
    ]


def test_a_failed_result_says_so() -> None:
    """P7: the flag is not dropped in silence."""
    failed = ToolResultPart("a", (TextPart("boom"),), "look_up", is_error=True)
    turn = Message("tool", (failed,))
    assert encode_turns(ASSISTANT, turn)[1] == output("a", '{"error":"boom"}')
    assert lost(request(ASSISTANT, turn)) == {"messages[1].content[0].is_error": "approximated"}


def test_ids_and_names_that_do_not_fit_are_changed_alike_everywhere() -> None:
    """I1"""
    long = "toolu_" + "x" * 80
    name = "my.tool"
    asked = request(
        Message("assistant", (ToolCallPart(long, name, "{}"),)),
        Message("tool", (ToolResultPart(long, (TextPart("done"),), name),)),
        tools=(Tool(name),),
        tool_choice=ToolChoice("required", (name,)),
    )
    body = encode(asked)
    first, second = (as_object(item) for item in as_list(body["input"]))
    assert first["call_id"] == second["call_id"]
    assert len(str(first["call_id"])) <= 64
    safe = CODEC.tool_name(name)
    assert (
        first["name"] == safe == as_object(body["tool_choice"])["name"] == as_object(as_list(body["tools"])[0])["name"]
    )


def test_calls_without_ids_meet_their_results() -> None:
    """I6: per name, in order."""
    calls = Message(
        "assistant", (ToolCallPart("", "a", "{}"), ToolCallPart("", "b", "{}"), ToolCallPart("", "a", "{}"))
    )
    results = [Message("tool", (ToolResultPart("", (TextPart(name),), name),)) for name in ("b", "a", "a")]
    items = encode_turns(calls, *results)
    ids = [item["call_id"] for item in items]
    assert ids[3:] == [ids[1], ids[0], ids[2]]


def test_tools_are_flat_and_say_that_they_are_not_strict() -> None:
    """Trap 31"""
    grammar: JSONObject = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    body = encode(
        request(
            tools=(
                LOOK_UP,
                Tool("b", strict=True),
                CustomTool("c", "d", grammar),
                ServerTool("openai_responses", "web_search", {"type": "web_search"}),
            ),
            parallel_tool_calls=False,
        )
    )
    assert body["tools"] == [
        {
            "type": "function",
            "name": "look_up",
            "description": "Looks it up.",
            "parameters": {"type": "object"},
            "strict": False,
        },
        {"type": "function", "name": "b", "parameters": None, "strict": True},
        {
            "type": "custom",
            "name": "c",
            "description": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
        },
        {"type": "web_search"},
    ]
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("required", ("look_up",)), {"type": "function", "name": "look_up"}),
        (ToolChoice("required", ("c",)), {"type": "custom", "name": "c"}),
        (
            ToolChoice("auto", ("look_up", "c")),
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "look_up"}, {"type": "custom", "name": "c"}],
            },
        ),
    ],
)
def test_the_choice_of_a_tool(choice: ToolChoice, expected: JSONValue) -> None:
    """I11"""
    assert encode(request(tools=(LOOK_UP, CustomTool("c")), tool_choice=choice))["tool_choice"] == expected


def test_a_choice_without_tools_is_left_out() -> None:
    """I12"""
    assert "tool_choice" not in encode(request(tool_choice=ToolChoice("auto"), parallel_tool_calls=True))


def test_a_model_that_cannot_be_forced_is_asked() -> None:
    asked = request(tools=(LOOK_UP,), tool_choice=ToolChoice("required"))
    profile = Profile(forced_tool_choice=False)
    assert encode(asked, profile)["tool_choice"] == "auto"
    assert lost(asked, profile) == {"tool_choice": "approximated"}


def test_sampling_and_the_form_of_the_answer() -> None:
    body = encode(
        request(
            max_output_tokens=50,
            sampling=Sampling(temperature=0.5, top_p=0.9, logprobs=True, top_logprobs=2),
            response_format=ResponseFormat("json_schema", {"type": "object"}, strict=True),
            verbosity="low",
            reasoning=Reasoning("high", visible=True),
            service_tier="standard",
            end_user="u",
            metadata={"a": "b"},
            prompt_cache_key="k",
        )
    )
    expected: JSONObject = {
        "max_output_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_logprobs": 2,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "text": {
            "format": {"type": "json_schema", "name": "response", "schema": {"type": "object"}, "strict": True},
            "verbosity": "low",
        },
        "reasoning": {"effort": "high", "summary": "auto"},
        "service_tier": "default",
        "safety_identifier": "u",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
    }
    assert {key: body[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 5}, {"max_output_tokens": "clamped"}),
        ({"sampling": Sampling(stop=("x",))}, {"stop": "dropped"}),
        ({"sampling": Sampling(seed=1)}, {"seed": "dropped"}),
        ({"sampling": Sampling(top_k=1)}, {"top_k": "dropped"}),
        ({"sampling": Sampling(presence_penalty=0.1)}, {"presence_penalty": "dropped"}),
        ({"sampling": Sampling(frequency_penalty=0.1)}, {"frequency_penalty": "dropped"}),
        ({"sampling": Sampling(logit_bias={"1": 2})}, {"logit_bias": "dropped"}),
        ({"sampling": Sampling(logprobs=False, top_logprobs=1)}, {"top_logprobs": "dropped"}),
        ({"reasoning": Reasoning(budget_tokens=2000)}, {"reasoning.budget_tokens": "approximated"}),
        ({"service_tier": "warp"}, {"service_tier": "dropped"}),
        ({"end_user": "x" * 65}, {"safety_identifier": "approximated"}),
        ({"cache": CacheMark()}, {"cache": "dropped"}),
        ({"modalities": ("TEXT", "IMAGE")}, {"modalities": "dropped"}),
        ({"tools": (Tool("a", cache=CacheMark()),)}, {"tools[0].cache": "dropped"}),
        ({"extensions": (Extension("openai_chat", "x", 1),)}, {"x": "dropped"}),
        ({"candidates": 1}, {}),
    ],
)
def test_what_responses_lacks_is_said(fields: dict[str, object], expected: dict[str, str]) -> None:
    assert lost(request(**fields)) == expected


def test_too_few_tokens_are_raised_to_the_least() -> None:
    """Trap 32"""
    assert encode(request(max_output_tokens=1))["max_output_tokens"] == 16


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"candidates": 2}, "n"),
        ({"modalities": ("text", "audio")}, "modalities"),
        ({"tools": (ServerTool("anthropic_messages", "bash_20250124", {}),)}, "tools[0]"),
        ({"tools": (Tool("a.b"), Tool("a.b"), Tool(CODEC.tool_name("a.b")))}, "tools[2].name"),
        ({"tools": (LOOK_UP,), "tool_choice": ToolChoice("required", ("x",))}, "tool_choice"),
        ({"extensions": (Extension("gemini_generate", "cachedContent", "x", "error"),)}, "cachedContent"),
    ],
)
def test_what_would_be_answered_wrongly_is_refused(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(request(**fields))
    assert (caught.value.param, caught.value.kind) == (param, "unsupported")


def test_what_only_responses_has_goes_back_where_it_was() -> None:
    fields: dict[str, JSONValue] = {
        "store": True,
        "previous_response_id": "resp_1",
        "truncation": "auto",
        "include": ["file_search_call.results"],
        "reasoning": {"effort": "low", "summary": "detailed", "context": "all_turns"},
        "stream": True,
        "stream_options": {"include_obfuscation": False},
        "tools": [{"type": "tool_search"}],
        "input": [
            {"type": "item_reference", "id": "msg_1"},
            {"role": "user", "content": "Hi"},
            {"type": "odd", "id": "x"},
        ],
        "made_up": {"a": 1},
    }
    written = CODEC.encode_request(decode(**fields), profile=Profile())
    again = CODEC.decode_request(PATH, written.body)
    assert again == decode(**fields)
    assert written.diagnostics == ()


def test_the_same_request_is_the_same_bytes() -> None:
    """Trap 22 J10: prompt caches live on it."""
    asked = decode(input=[call("a"), output("a")], tools=[{"type": "function", "name": "look_up"}])
    bodies = {CODEC.encode_request(asked, profile=Profile()).body for _ in range(3)}
    assert len(bodies) == 1
    assert dumps(encode(asked)) in bodies
