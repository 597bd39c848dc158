"""Conversations on their way to Anthropic."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    CitationPart,
    FileSource,
    MediaPart,
    Message,
    Opaque,
    ReasoningPart,
    RefusalPart,
    TextPart,
    TextSource,
    Tool,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import JSONObject

from .samples import OWN, PDF, PNG, assistant, body_of, call, chat, encode, notes_of, result, shape, system, turns, user

TOOLS = (Tool("look"),)


def test_leading_system_messages_become_system_blocks_in_order() -> None:
    body = body_of(chat(system("One."), Message("developer", (TextPart("Two."),)), user("Hi")))
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert shape(body) == ["user: text"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("hoist", ["user: text", "assistant: text", "user: text text"], id="hoist"),
        pytest.param("user", ["user: text", "assistant: text", "user: text text text"], id="user"),
        pytest.param("system", ["user: text", "assistant: text", "user: text text text"], id="illegal_place"),
    ],
)
def test_later_system_messages_follow_the_profile(mode: str, expected: list[str]) -> None:
    request = chat(user("a"), assistant("b"), user("c"), system("Rule."), user("d"))
    body, notes = encode(request, mid_system=mode)
    assert shape(body) == expected
    assert ("system" in body) == (mode == "hoist")
    if mode != "hoist":
        assert {"type": "text", "text": "<system>\nRule.\n</system>"} in turns(body)[-1][1]
    if mode != "system":
        assert ("messages[3]", "approximated") in {(n.path, n.code) for n in notes}


def test_a_later_system_message_stays_where_the_model_takes_it() -> None:
    request = chat(user("a"), system("Rule."), assistant("b"), user("c"), system("Other."))
    body = body_of(request, mid_system="system")
    assert shape(body) == ["user: text", "system: text", "assistant: text", "user: text", "system: text"]


def test_a_system_message_never_stands_between_a_call_and_its_result() -> None:
    """I2, I4"""
    request = chat(user("a"), assistant(call("c")), system("Rule."), result("c"), tools=TOOLS)
    assert shape(body_of(request, mid_system="system")) == [
        "user: text",
        "assistant: tool_use",
        "user: tool_result",
        "system: text",
    ]
    assert shape(body_of(request, mid_system="user"))[-1] == "user: tool_result text"


def test_neighbours_of_one_role_are_joined() -> None:
    body = body_of(chat(user("a"), user("b"), assistant("c"), assistant("d"), user("e")))
    assert shape(body) == ["user: text text", "assistant: text text", "user: text"]


def test_results_come_first_in_one_message_in_the_order_of_the_calls() -> None:
    """I2, I3, I4: results out of order, in several messages, with text before them."""
    request = chat(
        user("a"),
        assistant("t", call("one"), call("two")),
        user("before"),
        result("two", "2"),
        result("one", "1"),
        user("after"),
        tools=TOOLS,
    )
    role, blocks = turns(body_of(request))[2]
    assert role == "user"
    assert [block.get("tool_use_id") or block.get("text") for block in blocks] == ["one", "two", "before", "after"]


def test_a_result_is_moved_to_its_call_past_other_turns() -> None:
    """I2"""
    request = chat(user("a"), assistant(call("c")), user("x"), assistant("y"), result("c"), user("z"), tools=TOOLS)
    assert shape(body_of(request)) == [
        "user: text",
        "assistant: tool_use",
        "user: tool_result text",
        "assistant: text",
        "user: text",
    ]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        pytest.param((user("a"), assistant(call("c"))), "messages[1].content[0]", id="call_without_result"),
        pytest.param((user("a"), result("c")), "messages[1].content[0]", id="result_without_call"),
        pytest.param((user("a"), result("c"), assistant(call("c"))), "messages[1].content[0]", id="result_before_call"),
        pytest.param((), "messages", id="no_messages"),
    ],
)
def test_refuses_conversations_the_vendor_would_refuse(messages: tuple[Message, ...], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(chat(tools=TOOLS, messages=messages))
    assert caught.value.param == param
    assert caught.value.kind == "bad_request"


def test_the_last_of_several_results_counts() -> None:
    """I5"""
    body, notes = encode(chat(user("a"), assistant(call("c")), result("c", "old"), result("c", "new"), tools=TOOLS))
    assert turns(body)[2][1][0]["content"] == [{"type": "text", "text": "new"}]
    assert ("messages[3].content[0]", "dropped") in {(n.path, n.code) for n in notes}


def test_an_id_of_another_vendors_is_replaced_in_call_and_result_alike() -> None:
    """I1"""
    raw = "call|" + "x" * 500
    _, (_, calls), (_, results) = turns(body_of(chat(user("a"), assistant(call(raw)), result(raw), tools=TOOLS)))
    assert calls[0]["id"] == results[0]["tool_use_id"]
    assert str(calls[0]["id"]).startswith("call_") and len(str(calls[0]["id"])) <= 64


def test_calls_without_ids_get_some_and_keep_their_results() -> None:
    """I1, I6: matched by name and order."""
    answers = tuple(ToolResultPart("", (TextPart(text),), name=name) for text, name in (("B", "b"), ("1", "a")))
    messages = (user("x"), assistant(call("", "a"), call("", "b")), Message("tool", answers))
    _, (_, calls), (_, results) = turns(body_of(chat(*messages, tools=(Tool("a"), Tool("b")))))
    ids = [block["id"] for block in calls]
    assert len(set(ids)) == 2 and all(ids)
    assert [block["tool_use_id"] for block in results] == ids
    assert [block["content"] for block in results] == [[{"type": "text", "text": t}] for t in ("1", "B")]


def test_an_id_used_twice_is_made_unique() -> None:
    """I1"""
    once = (assistant(call("c")), result("c"))
    blocks = turns(body_of(chat(user("a"), *once, *once, tools=TOOLS)))
    assert blocks[1][1][0]["id"] == "c"
    assert blocks[3][1][0]["id"] != "c"
    assert blocks[4][1][0]["tool_use_id"] == blocks[3][1][0]["id"]


@pytest.mark.parametrize(
    ("arguments", "kind", "expected"),
    [
        pytest.param("", "function", {}, id="I8_empty"),
        pytest.param("{}", "function", {}, id="object"),
        pytest.param('{"b": 1, "a": 12345678901234567890}', "function", {"b": 1, "a": 12345678901234567890}, id="kept"),
        pytest.param("[1]", "function", {"input": [1]}, id="I8_not_an_object"),
        pytest.param('{"a"', "function", {"input": '{"a"'}, id="I8_broken"),
        pytest.param("*** Begin", "custom", {"input": "*** Begin"}, id="custom"),
    ],
)
def test_arguments_become_an_object(arguments: str, kind: str, expected: object) -> None:
    part = ToolCallPart("c", "look", arguments, kind="custom" if kind == "custom" else "function")
    assert turns(body_of(chat(user("a"), assistant(part), result("c"), tools=TOOLS)))[1][1][0]["input"] == expected


def test_a_result_keeps_its_error_flag_media_and_json_text() -> None:
    """I7, J6"""
    content = (TextPart('{"$ref": "#/x"}'), MediaPart("image", Base64Source(PNG), "image/png"))
    answer = Message("tool", (ToolResultPart("c", content, is_error=True, cache=CacheMark()),))
    block = turns(body_of(chat(user("a"), assistant(call("c")), answer, tools=TOOLS)))[2][1][0]
    assert block == {
        "type": "tool_result",
        "tool_use_id": "c",
        "content": [
            {"type": "text", "text": '{"$ref": "#/x"}'},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ],
        "is_error": True,
        "cache_control": {"type": "ephemeral"},
    }


def test_an_empty_result_has_no_content_but_an_empty_failure_says_something() -> None:
    request = chat(user("a"), assistant(call("c"), call("d")), result("c", ""), result("d", "", is_error=True))
    first, second = turns(body_of(request))[2][1]
    assert "content" not in first
    assert second["content"]


def test_blank_text_is_left_out_and_empty_turns_with_it() -> None:
    body = body_of(chat(user("a", "", " \n"), assistant(""), user("b")))
    assert shape(body) == ["user: text text"]


@pytest.mark.parametrize("first", [assistant("Hello."), system("Only this.")])
def test_the_first_message_is_made_the_users(first: Message) -> None:
    body, notes = encode(chat(first))
    assert turns(body)[0][0] == "user"
    assert ("messages[0]", "defaulted") in {(n.path, n.code) for n in notes}


def test_a_prefill_loses_its_trailing_white_space() -> None:
    assert turns(body_of(chat(user("a"), assistant("So \n"))))[-1][1] == [{"type": "text", "text": "So"}]


def test_signed_thinking_goes_back_as_it_came() -> None:
    """R1: also when the text is empty."""
    parts = (
        ReasoningPart("Hm. ", Opaque(OWN, "signature", "a+/=")),
        ReasoningPart("", Opaque(OWN, "signature", "b")),
        ReasoningPart("", Opaque(OWN, "redacted", "ZGF0YQ")),
    )
    assert turns(body_of(chat(user("a"), assistant(*parts, "b"), user("c"))))[1][1] == [
        {"type": "thinking", "thinking": "Hm. ", "signature": "a+/="},
        {"type": "thinking", "thinking": "", "signature": "b"},
        {"type": "redacted_thinking", "data": "ZGF0YQ"},
        {"type": "text", "text": "b"},
    ]


@pytest.mark.parametrize(
    "opaque",
    [None, Opaque("gemini_generate", "thought_signature", "x"), Opaque("openai_responses", "encrypted", "x")],
    ids=["unsigned", "gemini", "openai"],
)
def test_thinking_of_others_is_dropped_and_never_signed(opaque: Opaque | None) -> None:
    """R2, R3"""
    request = chat(user("a"), assistant(ReasoningPart("Hm.", opaque), "b"), user("c"))
    body, notes = encode(request)
    assert shape(body)[1] == "assistant: text"
    assert [(n.path, n.code, n.severity) for n in notes if n.code == "dropped"] == [
        ("messages[1].content[0]", "dropped", "info")
    ]


def test_a_refusal_in_the_history_is_text() -> None:
    assert turns(body_of(chat(user("a"), assistant(RefusalPart("No.")), user("b"))))[1][1][0]["text"] == "No."


def test_own_citations_are_put_back_and_others_dropped() -> None:
    raw: JSONObject = {"type": "char_location", "cited_text": "x", "document_index": 0}
    parts = (TextPart("A."), CitationPart(protocol=OWN, raw=dict(raw)), CitationPart(url="https://example.com"))
    body, notes = encode(chat(user("a"), assistant(*parts), user("b")))
    assert turns(body)[1][1] == [{"type": "text", "text": "A.", "citations": [raw]}]
    assert ("messages[1].content[2]", "dropped") in {(n.path, n.code) for n in notes}


def test_own_unknown_parts_are_written_again_and_others_dropped() -> None:
    raw: JSONObject = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    parts = (UnknownPart(OWN, dict(raw)), UnknownPart("gemini_generate", {"x": 1}, "executableCode"))
    body, notes = encode(chat(user("a"), assistant(*parts, "b"), user("c")))
    assert turns(body)[1][1][0] == raw
    assert ("messages[1].content[1]", "dropped") in {(n.path, n.code) for n in notes}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        pytest.param(
            MediaPart("image", Base64Source(PNG), "image/jpg"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}},
            id="misspelt_jpeg",
        ),
        pytest.param(
            MediaPart("image", UrlSource("https://example.com/x")),
            {"type": "image", "source": {"type": "url", "url": "https://example.com/x"}},
            id="image_url",
        ),
        pytest.param(
            MediaPart("document", Base64Source(PDF), None, filename="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
            id="I15_pdf_without_a_type",
        ),
        pytest.param(
            MediaPart("document", Base64Source("IyBIw6k="), "text/markdown; charset=utf-8", cite=False),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "# Hé"},
                "citations": {"enabled": False},
            },
            id="I16_text_file",
        ),
        pytest.param(
            MediaPart("document", TextSource("x"), context="c"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "context": "c"},
            id="text_document",
        ),
        pytest.param(
            MediaPart("document", FileSource("file_1", OWN)),
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            id="own_file",
        ),
        pytest.param(
            MediaPart("document", Base64Source(PNG), "image/png"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            id="a_picture_sent_as_a_file",
        ),
    ],
)
def test_media(part: MediaPart, expected: object) -> None:
    assert turns(body_of(chat(Message("user", (part,)))))[0][1] == [expected]


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(MediaPart("audio", Base64Source("AA=="), "audio/wav"), id="audio"),
        pytest.param(MediaPart("video", UrlSource("https://example.com/x")), id="video"),
        pytest.param(MediaPart("image", Base64Source("AA=="), "image/tiff"), id="tiff"),
        pytest.param(MediaPart("image", FileSource("f", "openai_responses")), id="foreign_file"),
        pytest.param(MediaPart("document", Base64Source("AA=="), "application/zip"), id="zip"),
        pytest.param(MediaPart("document", Base64Source("/w=="), "text/plain"), id="text_that_is_not_utf8"),
    ],
)
def test_refuses_media_the_model_cannot_take(part: MediaPart) -> None:
    """I15: never dropped in silence."""
    with pytest.raises(InvalidRequest) as caught:
        body_of(chat(Message("user", (TextPart("x"), part))))
    assert (caught.value.kind, caught.value.param) == ("unsupported", "messages[0].content[1]")


def test_a_picture_by_the_assistant_is_shown_in_the_next_user_message() -> None:
    picture = MediaPart("image", Base64Source(PNG), "image/png")
    request = chat(user("a"), assistant("b", picture, call("c")), result("c"), user("d"), tools=TOOLS)
    assert shape(body_of(request))[1:] == ["assistant: text tool_use", "user: tool_result image text"]
    assert ("messages[1].content[1]", "approximated") in notes_of(request)


def test_speech_by_the_assistant_goes_back_as_its_transcript() -> None:
    speech = MediaPart("audio", Base64Source("AA=="), "audio/wav", transcript="Hello.")
    assert turns(body_of(chat(user("a"), assistant(speech), user("b"))))[1][1] == [{"type": "text", "text": "Hello."}]


def test_names_of_messages_are_dropped_aloud() -> None:
    assert ("messages[0].name", "dropped") in notes_of(chat(Message("user", (TextPart("a"),), name="Ann")))
