"""Requests of Chat Completions, written; and what they cannot say."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    ChatRequest,
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
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import as_list, as_object
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.openai_chat import CODEC

from .samples import encode, losses, user

PATH = "/v1/chat/completions"
PNG = MediaPart("image", Base64Source("AAAA"), "image/png")


def request(*messages: Message, **changes: object) -> ChatRequest:
    return msgspec.structs.replace(ChatRequest("m", messages or (user(),)), **changes)


def refused(asked: ChatRequest, profile: Profile | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.encode_request(asked, profile=profile or Profile())
    return caught.value


def test_nothing_is_written_that_was_not_said() -> None:
    assert encode(request()) == {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def test_profile_names_the_limit_and_the_system_role() -> None:
    asked = request(Message("developer", (TextPart("a"),)), max_output_tokens=5)
    assert encode(asked)["max_completion_tokens"] == 5
    older = encode(asked, Profile(max_tokens_field="max_tokens", system_role="system"))
    assert older["max_tokens"] == 5
    assert older["messages"] == [{"role": "system", "content": "a"}]


def test_streams_always_ask_for_usage_where_it_is_known() -> None:
    """U2, U3."""
    assert encode(request(stream=True))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in encode(request(stream=True), Profile(stream_usage=False))


def test_calls_of_one_turn_that_came_in_pieces_stand_before_their_results() -> None:
    """Between calls and their results nothing else is taken."""
    first = Message("assistant", (TextPart("Let me see."), ToolCallPart("a", "f", "{}")))
    second = Message("assistant", (TextPart("And that."), ToolCallPart("b", "g", "{}")))
    results = Message("tool", (ToolResultPart("a", (TextPart("1"),)), ToolResultPart("b", (TextPart("2"),))))
    _, turn, *rest = (
        as_object(message) for message in as_list(encode(request(user(), first, second, results))["messages"])
    )
    assert [as_object(call)["id"] for call in as_list(turn["tool_calls"])] == ["a", "b"]
    assert turn["content"] == [{"type": "text", "text": "Let me see."}, {"type": "text", "text": "And that."}]
    assert [message["role"] for message in rest] == ["tool", "tool"]


def test_what_is_said_after_an_answered_call_is_a_message_of_its_own() -> None:
    call = Message("assistant", (ToolCallPart("a", "f", "{}"),))
    result = Message("tool", (ToolResultPart("a", (TextPart("1"),)),))
    told = encode(request(user(), call, result, Message("assistant", (TextPart("One."),))))["messages"]
    assert [as_object(message)["role"] for message in as_list(told)] == ["user", "assistant", "tool", "assistant"]


def test_top_k_is_dropped_aloud() -> None:
    assert losses(request(sampling=Sampling(top_k=3))) == {"top_k": "dropped"}


def test_sampling_is_dropped_for_models_that_take_none() -> None:
    asked = request(sampling=Sampling(temperature=1.0, top_p=0.5))
    assert "temperature" not in encode(asked, Profile(sampling=False))
    assert losses(asked, Profile(sampling=False)) == {"temperature": "dropped", "top_p": "dropped"}


def test_five_stop_sequences_are_too_many() -> None:
    error = refused(request(sampling=Sampling(stop=tuple("abcde"))))
    assert (error.kind, error.param) == ("unsupported", "stop")


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "none"), (1024, "minimal"), (4096, "low"), (12288, "medium"), (24576, "high"), (31999, "xhigh"), (-1, None)],
)
def test_budget_becomes_an_effort(budget: int, effort: str | None) -> None:
    assert encode(request(reasoning=Reasoning(budget_tokens=budget))).get("reasoning_effort") == effort


def test_pictures_in_results_follow_after_all_results_of_the_turn() -> None:
    """I7, I2."""
    calls = (ToolCallPart("a", "f", "{}"), ToolCallPart("b", "g", "{}"))
    data = encode(
        request(
            Message("assistant", calls),
            Message("tool", (ToolResultPart("a", (TextPart("see"), PNG), "f"),)),
            Message("tool", (ToolResultPart("b", (PNG,), "g"),)),
            user("so?"),
        )
    )
    messages = [as_object(message) for message in as_list(data["messages"])]
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "user", "user"]
    assert messages[1]["content"] == "see"
    assert [as_object(part)["type"] for part in as_list(messages[3]["content"])] == [
        "text",
        "image_url",
        "text",
        "image_url",
    ]


def test_failed_result_stays_visible() -> None:
    """P7, I7."""
    asked = request(Message("tool", (ToolResultPart("a", (TextPart("boom"),), is_error=True),)))
    assert as_object(as_list(encode(asked)["messages"])[0])["content"] == '{"error":"boom"}'
    assert "messages[0].content[0].is_error" in losses(asked)


def test_foreign_ids_and_names_are_made_safe_alike_in_calls_results_tools_and_choices() -> None:
    """I1."""
    name, identifier = "mcp.server/tool", "x" * 80
    data = encode(
        request(
            Message("assistant", (ToolCallPart(identifier, name, "{}"),)),
            Message("tool", (ToolResultPart(identifier, (TextPart("ok"),), name),)),
            tools=(Tool(name),),
            tool_choice=ToolChoice("required", (name,)),
        )
    )
    call = as_object(as_list(as_object(as_list(data["messages"])[0])["tool_calls"])[0])
    result = as_object(as_list(data["messages"])[1])
    assert call["id"] == result["tool_call_id"]
    assert len(str(call["id"])) <= 64
    tool = as_object(as_object(as_list(data["tools"])[0])["function"])
    assert tool["name"] == as_object(call["function"])["name"]
    assert as_object(as_object(data["tool_choice"])["function"])["name"] == tool["name"]


def test_calls_without_ids_still_meet_their_results() -> None:
    """I6."""
    data = encode(
        request(
            Message("assistant", (ToolCallPart("", "f", "{}"), ToolCallPart("", "f", "{}"), ToolCallPart("", "g", ""))),
            Message("tool", (ToolResultPart("", (), "g"), ToolResultPart("", (), "f"), ToolResultPart("", (), "f"))),
        )
    )
    messages = [as_object(message) for message in as_list(data["messages"])]
    ids = [as_object(call)["id"] for call in as_list(messages[0]["tool_calls"])]
    assert len(set(map(str, ids))) == 3
    assert [message["tool_call_id"] for message in messages[1:]] == [ids[2], ids[0], ids[1]]


def test_two_names_that_become_one_are_refused() -> None:
    clash = CODEC.encode_request(request(tools=(Tool("a.b"),)), profile=Profile()).diagnostics[0].detail
    assert refused(request(tools=(Tool("a.b"), Tool(clash)))).param == "tools[1].name"


def test_absent_strict_stays_absent() -> None:
    """Trap 31."""
    assert encode(request(tools=(Tool("f", parameters={"type": "object"}),)))["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    ]


def test_reasoning_and_foreign_state_are_dropped_aloud() -> None:
    """R12."""
    opaque = Opaque("anthropic_messages", "signature", "secret-state")
    thought = Message("assistant", (ReasoningPart("hm", opaque), TextPart("a")))
    assert losses(request(thought)) == {"messages[0].content[0]": "dropped"}
    assert b"secret-state" not in CODEC.encode_request(request(thought), profile=Profile()).body


def test_cache_marks_are_dropped_aloud() -> None:
    """P8."""
    asked = request(Message("system", (TextPart("a", CacheMark("1h")),)), tools=(Tool("f", cache=CacheMark()),))
    assert losses(asked) == {"messages[0].content[0].cache": "dropped", "tools[0].cache": "dropped"}


def test_text_documents_become_text() -> None:
    asked = Message("user", (MediaPart("document", TextSource("read me"), "text/plain"),))
    assert as_object(as_list(encode(request(asked))["messages"])[0])["content"] == "read me"


@pytest.mark.parametrize(
    "part",
    [
        MediaPart("video", UrlSource("https://a/b.mp4")),
        MediaPart("document", UrlSource("https://a/b.pdf"), "application/pdf"),
        MediaPart("document", FileSource("file_1", "anthropic_messages")),
        MediaPart("image", FileSource("file_1", "anthropic_messages")),
        MediaPart("audio", Base64Source("AAAA"), "audio/ogg"),
        MediaPart("audio", UrlSource("https://a/b.mp3"), "audio/mpeg"),
    ],
)
def test_media_without_a_place_is_refused_and_never_dropped(part: MediaPart) -> None:
    """I15."""
    error = refused(request(Message("user", (TextPart("x"), part))))
    assert (error.kind, error.param) == ("unsupported", "messages[0].content[1]")


@pytest.mark.parametrize(
    "asked",
    [
        request(tools=(ServerTool("anthropic_messages", "web_search_20250305", {}),)),
        request(tools=(Tool("f"),), tool_choice=ToolChoice("required", ("g",))),
        request(modalities=("text", "audio")),
        request(extensions=(Extension("openai_responses", "previous_response_id", "r", "error"),)),
        request(Message("system", (PNG,))),
    ],
)
def test_what_would_change_the_answer_is_refused(asked: ChatRequest) -> None:
    """I9, I10."""
    assert refused(asked).kind == "unsupported"


def test_tool_choice_without_tools_is_dropped() -> None:
    """I12."""
    asked = request(tool_choice=ToolChoice("auto"), parallel_tool_calls=False)
    assert encode(asked).keys() == {"model", "messages"}
    assert losses(asked) == {"tool_choice": "dropped", "parallel_tool_calls": "dropped"}


def test_model_that_cannot_be_forced_is_asked() -> None:
    asked = request(tools=(Tool("f"),), tool_choice=ToolChoice("required"))
    assert encode(asked, Profile(forced_tool_choice=False))["tool_choice"] == "auto"


def test_schema_gets_the_name_it_must_have() -> None:
    asked = request(response_format=ResponseFormat("json_schema", {"type": "object"}))
    assert encode(asked)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "response", "schema": {"type": "object"}},
    }
    assert losses(asked) == {"response_format.name": "defaulted"}


def test_long_identifiers_are_hashed() -> None:
    long = request(end_user="u" * 200)
    assert len(str(encode(long)["safety_identifier"])) == 64
    assert losses(long) == {"safety_identifier": "approximated"}


def test_extensions_of_others_are_dropped_aloud_and_our_own_written() -> None:
    asked = request(
        stream=True,
        extensions=(
            Extension("gemini_generate", "safetySettings", []),
            Extension("openai_chat", "store", True, "info"),
            Extension("openai_chat", "stream_options.include_obfuscation", False, "info"),
        ),
    )
    data = encode(asked)
    assert data["store"] is True
    assert data["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert losses(asked) == {"safetySettings": "dropped"}


def test_assistants_picture_follows_as_the_users() -> None:
    data = encode(request(user("draw"), Message("assistant", (PNG,)), user("again")))
    roles = [as_object(message)["role"] for message in as_list(data["messages"])]
    assert roles == ["user", "assistant", "user", "user"]


def test_blocks_of_other_vendors_are_dropped_aloud() -> None:
    block = UnknownPart("anthropic_messages", {"type": "server_tool_use"}, "server_tool_use")
    assert losses(request(Message("assistant", (block, TextPart("a"))))) == {"messages[0].content[0]": "dropped"}


def test_same_request_makes_the_same_bytes() -> None:
    """J10, trap 22."""
    asked = request(
        Message("assistant", (ToolCallPart("", "f!", ""),)),
        tools=(Tool("f!"), Tool("g")),
        metadata={"b": "1", "a": "2"},
    )
    first = CODEC.encode_request(asked, profile=Profile())
    assert CODEC.encode_request(asked, profile=Profile()) == first


names = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.floats(0, 2, allow_nan=False)
texts = st.builds(TextPart, text)
pictures = st.one_of(
    st.builds(lambda data: MediaPart("image", Base64Source(data), "image/png"), st.just("AAAA")),
    st.builds(lambda name: MediaPart("image", UrlSource(f"https://a/{name}"), detail="low"), names),
)
schemas = st.fixed_dictionaries({"type": st.just("object"), "title": text})
calls = st.builds(
    lambda identifier, name, custom, arguments: ToolCallPart(
        identifier, name, arguments, "custom" if custom else "function"
    ),
    names,
    names,
    st.booleans(),
    text,
)


@st.composite
def turns(draw: st.DrawFn) -> tuple[Message, ...]:
    """A conversation this protocol can express: calls with different ids, each answered."""
    said = [Message("system", (draw(texts),)), Message("user", (draw(texts),), draw(st.none() | names))]
    several: tuple[Part, ...] = (draw(texts), draw(pictures), draw(texts))
    said.append(Message("user", several))
    asked = draw(st.lists(calls, max_size=3, unique_by=lambda call: call.id))
    answer: tuple[Part, ...] = (*draw(st.lists(texts, max_size=1)), *asked)
    if not answer:
        answer = (RefusalPart(draw(text)),)
    said.append(Message("assistant", answer))
    said += [Message("tool", (ToolResultPart(call.id, (draw(texts),), call.name),)) for call in asked]
    return tuple(said)


requests = st.builds(
    ChatRequest,
    model=names,
    messages=turns(),
    max_output_tokens=st.none() | st.integers(1, 10**6),
    candidates=st.none() | st.integers(1, 5),
    sampling=st.builds(
        Sampling,
        temperature=st.none() | numbers,
        top_p=st.none() | numbers,
        seed=st.none() | st.integers(-(2**63), 2**63),
        presence_penalty=st.none() | numbers,
        frequency_penalty=st.none() | numbers,
        stop=st.lists(text, max_size=4).map(tuple),
        logit_bias=st.none() | st.just({"50256": -100}),
        logprobs=st.none() | st.booleans(),
    ),
    tools=st.lists(
        st.one_of(
            st.builds(Tool, names, st.none() | text, st.none() | schemas, st.none() | st.booleans()),
            st.builds(CustomTool, names, st.none() | text),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda tool: tool.name,
    ).map(tuple),
    tool_choice=st.none() | st.sampled_from([ToolChoice("auto"), ToolChoice("none"), ToolChoice("required")]),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.one_of(
        st.none(),
        st.just(ResponseFormat("json_object")),
        st.builds(ResponseFormat, st.just("json_schema"), schemas, names, st.none() | text, st.none() | st.booleans()),
    ),
    reasoning=st.none() | st.builds(Reasoning, effort=st.sampled_from(["none", "low", "high", "max"])),
    verbosity=st.none() | st.sampled_from(["low", "high"]),
    service_tier=st.none() | st.sampled_from(["auto", "flex"]),
    end_user=st.none() | names,
    metadata=st.none() | st.dictionaries(names, text, max_size=2),
    prompt_cache_key=st.none() | names,
    extensions=st.just(()) | st.just((Extension("openai_chat", "store", True, "info"),)),
)


@settings(max_examples=150, deadline=None)
@given(requests)
def test_what_chat_can_say_survives_the_wire(asked: ChatRequest) -> None:
    """decode(encode(x)) == x."""
    encoded = CODEC.encode_request(asked, profile=Profile())
    assert encoded.diagnostics == ()
    assert CODEC.decode_request(encoded.path, encoded.body) == asked


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | text,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "model",
                        "messages",
                        "role",
                        "content",
                        "type",
                        "tools",
                        "stream",
                        "tool_calls",
                        "function",
                        "text",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
    ).map(lambda value: msgspec.json.encode(value))
)
def test_junk_is_refused_and_nothing_else_happens(data: bytes) -> None:
    try:
        CODEC.decode_request(PATH, data)
    except InvalidRequest as error:
        assert error.status == 400
