"""Requests of Responses, read."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    CustomTool,
    FileSource,
    MediaPart,
    Message,
    Opaque,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    ServerTool,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import JSONValue
from asgi_llmgw.protocols import codec
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.openai_responses import CODEC
from tests.protocols.openai_responses.samples import (
    PATH,
    body,
    call,
    decode,
    decode_items,
    losses,
    message,
    output,
    user,
)

FUNCTION: JSONValue = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}


def refused(**fields: JSONValue) -> InvalidRequest:
    """The error these fields make."""
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    return caught.value


def test_a_text_is_what_the_user_says() -> None:
    assert decode().messages == (user(),)


def test_instructions_are_the_first_system_message() -> None:
    assert decode(instructions="Be brief.").messages == (Message("system", (TextPart("Be brief."),)), user())


def test_messages_have_every_role_and_kind_of_part() -> None:
    mark: JSONValue = {"mode": "explicit", "ttl": "30m"}
    turns = decode_items(
        {"role": "developer", "content": "Hi"},
        message("system", {"type": "input_text", "text": "a", "prompt_cache_breakpoint": mark}),
        message(
            "user",
            {"type": "input_text", "text": "b"},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
            {"type": "input_image", "file_id": "file-1"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "aGk="},
            {"type": "input_file", "file_url": "https://example.com/b.pdf"},
        ),
        message(
            "assistant",
            {"type": "output_text", "text": "c"},
            {"type": "refusal", "refusal": "no"},
            phase="final_answer",
        ),
    )
    assert turns == (
        Message("developer", (TextPart("Hi"),)),
        Message("system", (TextPart("a", CacheMark("30m")),)),
        Message(
            "user",
            (
                TextPart("b"),
                MediaPart("image", Base64Source("aGk="), "image/png", detail="low"),
                MediaPart("image", FileSource("file-1", "openai_responses")),
                MediaPart("document", Base64Source("aGk="), "application/pdf", filename="a.pdf"),
                MediaPart("document", UrlSource("https://example.com/b.pdf"), "application/pdf"),
            ),
        ),
        Message("assistant", (TextPart("c", phase="final_answer"), RefusalPart("no"))),
    )


def test_neighbouring_items_of_the_assistant_are_one_turn() -> None:
    turns = decode_items(
        {"role": "user", "content": "Hello"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "e",
        },
        message("assistant", {"type": "output_text", "text": "Let me see."}),
        call("call_1", arguments='{"a":1}', id="fc_1", status="completed"),
        {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "*** Begin"},
        output("call_1"),
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "ok"}]},
        message("assistant", {"type": "output_text", "text": "Done."}),
    )
    assert turns == (
        user(),
        Message(
            "assistant",
            (
                ReasoningPart("Hm.", Opaque("openai_responses", "encrypted", "e", "rs_1")),
                TextPart("Let me see."),
                ToolCallPart("call_1", "look_up", '{"a":1}'),
                ToolCallPart("call_2", "patch", "*** Begin", "custom"),
            ),
        ),
        Message("tool", (ToolResultPart("call_1", (TextPart("done"),), "look_up"),)),
        Message("tool", (ToolResultPart("call_2", (TextPart("ok"),), "patch", kind="custom"),)),
        Message("assistant", (TextPart("Done."),)),
    )


def test_a_result_goes_behind_the_turn_that_asked_for_it() -> None:
    """I2: the user may have spoken before the tool was done."""
    turns = decode_items(call("a"), call("b"), {"role": "user", "content": "Hello"}, output("a"), output("b"))
    assert [turn.role for turn in turns] == ["assistant", "tool", "tool", "user"]


def test_a_result_may_hold_pictures_and_files() -> None:
    picture: JSONValue = {"type": "input_image", "image_url": "https://example.com/a.png"}
    (_, turn) = decode_items(call("a"), output("a", [picture]))
    assert turn.parts == (
        ToolResultPart("a", (MediaPart("image", UrlSource("https://example.com/a.png")),), "look_up"),
    )


def test_a_result_without_its_call_is_refused_unless_the_vendor_keeps_the_turns() -> None:
    """C9: an orphan is refused here; with `previous_response_id` its call lies at the vendor."""
    assert refused(input=[output("a")]).param == "input[0]"
    request = decode(input=[output("a")], previous_response_id="resp_1")
    assert request.messages == (Message("tool", (ToolResultPart("a", (TextPart("done"),)),)),)


def test_reasoning_without_a_summary_is_its_content() -> None:
    (turn,) = decode_items({"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}], "summary": []})
    assert turn.parts == (ReasoningPart("Hm."),)


def test_items_of_the_vendors_own_are_kept() -> None:
    item: JSONValue = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    (turn,) = decode_items(item)
    assert turn == Message(
        "assistant",
        (
            UnknownPart(
                "openai_responses", {"type": "web_search_call", "id": "ws_1", "status": "completed"}, "web_search_call"
            ),
        ),
    )


@pytest.mark.parametrize("kind", ["item_reference", "compaction"])
def test_items_that_stand_for_other_turns_are_refused_elsewhere(kind: str) -> None:
    """clients 25: the AI SDK refers to stored items unless told not to store."""
    request = decode(input=[{"role": "user", "content": "Hi"}, {"type": kind, "id": "x"}])
    assert losses(request) == {"input[1]": "error"}
    with pytest.raises(InvalidRequest) as caught:
        codec("openai_chat").encode_request(request, profile=Profile())
    assert caught.value.param == "input[1]"


def test_tools_are_flat_and_strict_unless_they_say_otherwise() -> None:
    """Trap 31: silence means strict here, and not strict elsewhere."""
    request = decode(
        tools=[
            FUNCTION,
            {"type": "function", "name": "b", "description": "B", "parameters": {}, "strict": False},
            {"type": "web_search"},
        ]
    )
    assert request.tools == (
        Tool("look_up", None, {"type": "object"}, True),
        Tool("b", "B", {}, None),
        ServerTool("openai_responses", "web_search", {"type": "web_search"}),
    )


def test_the_grammar_of_a_custom_tool_is_put_in_the_common_words() -> None:
    """clients 13: Codex's `apply_patch`."""
    form: JSONValue = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    request = decode(tools=[{"type": "custom", "name": "apply_patch", "description": "d", "format": form}])
    grammar: dict[str, JSONValue] = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    assert request.tools == (CustomTool("apply_patch", "d", grammar),)


def test_namespaces_are_flattened_and_calls_in_the_history_with_them() -> None:
    """clients 13"""
    request = decode(
        tools=[{"type": "namespace", "name": "mail", "tools": [{**FUNCTION, "name": "send"}]}],  # type: ignore[dict-item]
        input=[call("a", "send", namespace="mail"), output("a")],
    )
    assert [tool.name for tool in request.tools if isinstance(tool, Tool)] == ["mail__send"]
    assert request.messages[0].parts == (ToolCallPart("a", "mail__send", "{}"),)
    assert losses(request) == {"namespaces": "info"}


def test_tools_may_stand_among_the_items() -> None:
    """clients 13: newer Codex has no `tools`, but an item that holds them."""
    tools: JSONValue = [{"type": "custom", "name": "exec"}, {"type": "namespace", "name": "ns", "tools": [FUNCTION]}]
    request = decode(input=[{"type": "additional_tools", "tools": tools}, {"role": "user", "content": "Hello"}])
    assert [tool.name for tool in request.tools if not isinstance(tool, ServerTool)] == ["exec", "ns__look_up"]
    assert request.messages == (user(),)


def test_ways_of_finding_tools_are_no_loss_elsewhere() -> None:
    """clients 13: `tool_search` and deferred tools; elsewhere all tools are offered plainly."""
    request = decode(tools=[{"type": "tool_search"}, {**FUNCTION, "defer_loading": True}])  # type: ignore[dict-item]
    assert losses(request) == {"tools[0]": "info", "tools[1].defer_loading": "info"}


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "look_up"}, ToolChoice("required", ("look_up",))),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look_up"}]},
            ToolChoice("auto", ("look_up",)),
        ),
    ],
)
def test_the_choice_of_a_tool(value: JSONValue, choice: ToolChoice) -> None:
    """I11"""
    assert decode(tools=[FUNCTION], tool_choice=value).tool_choice == choice


def test_the_choice_of_a_vendors_tool_is_refused_elsewhere() -> None:
    request = decode(tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})
    assert (request.tool_choice, losses(request)) == (None, {"tool_choice": "error"})


def test_the_form_of_the_answer_and_how_much_is_said() -> None:
    schema: JSONValue = {"type": "object"}
    request = decode(
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        max_output_tokens=20,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=2,
    )
    assert request.response_format == ResponseFormat("json_schema", {"type": "object"}, "n", None, True)
    assert request.verbosity == "low"
    assert request.reasoning == Reasoning("high", None, True)
    assert request.max_output_tokens == 20
    assert (request.sampling.logprobs, request.sampling.top_logprobs) == (True, 2)
    assert request.extensions == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"store": True}, {"store": "info"}),
        ({"store": False, "background": False, "truncation": "disabled"}, {}),
        ({"previous_response_id": "resp_1"}, {"previous_response_id": "error"}),
        ({"conversation": "conv_1"}, {"conversation": "error"}),
        ({"background": True}, {"background": "error"}),
        ({"prompt": {"id": "pmpt_1"}}, {"prompt": "error"}),
        ({"truncation": "auto"}, {"truncation": "warning"}),
        ({"moderation": {"policy": {"input": {"mode": "block"}}}}, {"moderation": "error"}),
        ({"moderation": {"model": "m"}}, {"moderation": "warning"}),
        ({"include": ["file_search_call.results"]}, {"include": "info"}),
        ({"stream_options": {"include_obfuscation": False}}, {"stream_options.include_obfuscation": "info"}),
        ({"client_metadata": {"a": "b"}}, {"client_metadata": "info"}),
        ({"whatever": 1}, {"whatever": "warning"}),
        ({"text": {"whatever": 1}}, {"text.whatever": "warning"}),
        ({"reasoning": {"context": "all_turns"}}, {"reasoning.context": "info"}),
    ],
)
def test_what_only_responses_has_is_kept_and_said(fields: dict[str, JSONValue], expected: dict[str, str]) -> None:
    assert losses(decode(**fields)) == expected


def test_unknown_things_inside_others_are_said_too() -> None:
    request = decode(
        input=[
            message("user", {"type": "input_text", "text": "a", "odd": 1}, even=2),
            call("c", caller={"type": "x"}),
            output("c"),
            message("user", {"type": "input_text", "text": "b"}, internal_chat_message_metadata_passthrough={"a": 1}),
        ]
    )
    assert losses(request) == {
        "input[0].even": "warning",
        "input[0].content[0].odd": "warning",
        "input[1].caller": "warning",
        "input[3].internal_chat_message_metadata_passthrough": "info",
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [message("user", {"type": "hologram"})]}, "input[0].content[0].type"),
        ({"model": None}, "model"),
        ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "poem"}}}, "text.format.type"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ],
)
def test_a_request_that_cannot_be_read_names_the_field(fields: dict[str, JSONValue], param: str) -> None:
    assert refused(**fields).param == param


def test_a_decisive_member_given_twice_is_refused() -> None:
    """X1: readers differ in which of the two they take."""
    text = b'{"model":"a","input":"x","model":"b"}'
    for read in (CODEC.peek, CODEC.decode_request):
        with pytest.raises(InvalidRequest) as caught:
            read(PATH, text)
        assert caught.value.param == "model"


def test_model_and_stream_are_known_without_reading_the_rest() -> None:
    head = CODEC.peek(PATH, body(stream=True, input=[{"nonsense": 1}]))
    assert (head.model, head.stream) == ("m", True)
    assert CODEC.with_model(PATH, b'{"model": "m", "input": 1.0}', "n").body == b'{"model": "n", "input": 1.0}'
