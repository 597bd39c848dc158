"""Messages, blocks and tools of clients that speak this protocol."""

from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    FileSource,
    MediaPart,
    Message,
    Opaque,
    ReasoningPart,
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
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Profile

from .asking import SCHEMA, TOOL, decode, kept, parts_of, request, said, to_chat
from .samples import OWN, PDF, PNG


@pytest.mark.parametrize(
    ("system", "parts"),
    [
        ("Be brief.", (TextPart("Be brief."),)),
        (
            [
                {"type": "text", "text": "A"},
                {"type": "text", "text": "B", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
            ],
            (TextPart("A"), TextPart("B", cache=CacheMark("5m"))),
        ),
    ],
)
def test_the_system_prompt_is_the_first_message(system: JSONValue, parts: tuple[ir.Part, ...]) -> None:
    """§3.3"""
    assert decode(request(system=system)).messages[0] == Message("system", parts)


@pytest.mark.parametrize("system", [None, "", []])
def test_no_system_prompt_is_no_message(system: JSONValue) -> None:
    assert [message.role for message in decode(request(system=system)).messages] == ["user"]


def test_the_attribution_of_claude_code_goes_to_nobody_but_its_vendor() -> None:
    """C6, clients 9"""
    line: JSONObject = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330; cch=1;"}
    body = request(system=[line, {"type": "text", "text": "You are Claude Code."}])
    assert decode(body).messages[0].parts == (TextPart("You are Claude Code."),)
    chat, translated = to_chat(body)
    assert b"billing" not in translated.body
    assert as_list(chat["messages"])[0] == {"role": "system", "content": "You are Claude Code."}
    assert [(note.path, note.severity) for note in translated.diagnostics] == [("system[0]", "info")]
    back = loads_object(CODEC.encode_request(decode(body), profile=Profile()).body)
    assert back["system"] == body["system"]
    alone = loads_object(CODEC.encode_request(decode(request(system=[line])), profile=Profile()).body)
    assert alone["system"] == [line]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        pytest.param({"type": "text", "text": " a "}, TextPart(" a "), id="text"),
        pytest.param(
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            MediaPart("image", Base64Source(PNG), "image/png"),
            id="image",
        ),
        pytest.param(
            {
                "type": "image",
                "source": {"type": "url", "url": "https://example.com/a.png"},
                "cache_control": {"type": "ephemeral"},
            },
            MediaPart("image", UrlSource("https://example.com/a.png"), cache=CacheMark()),
            id="image by address",
        ),
        pytest.param(
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            MediaPart("image", FileSource("file_1", OWN)),
            id="image file",
        ),
        pytest.param(
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "T",
                "context": "C",
                "citations": {"enabled": True},
            },
            MediaPart("document", Base64Source(PDF), "application/pdf", title="T", context="C", cite=True),
            id="I15 pdf",
        ),
        pytest.param(
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
            MediaPart("document", TextSource("x"), "text/plain"),
            id="plain text",
        ),
        pytest.param(
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
            MediaPart("document", UrlSource("https://example.com/a.pdf"), "application/pdf"),
            id="pdf by address",
        ),
        pytest.param(
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            MediaPart("document", FileSource("file_1", OWN)),
            id="document file",
        ),
        pytest.param(
            {"type": "container_upload", "file_id": "file_1"},
            UnknownPart(OWN, {"type": "container_upload", "file_id": "file_1"}, "container_upload"),
            id="a block of the vendor's own",
        ),
    ],
)
def test_what_a_user_may_show(block: JSONObject, part: ir.Part) -> None:
    """§3.4"""
    assert parts_of("user", block) == (part,)
    assert kept(request(said("user", block))) == []


def test_a_document_in_pieces_is_one_text() -> None:
    """§3.4, I15"""
    pieces: list[JSONValue] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    block: JSONObject = {"type": "document", "source": {"type": "content", "content": pieces}, "title": "T"}
    assert parts_of("user", block) == (MediaPart("document", TextSource("a\n\nb"), "text/plain", title="T"),)
    assert kept(request(said("user", block))) == [("messages[0].content[0].source.content", "info")]
    whole: JSONObject = {"type": "document", "source": {"type": "content", "content": "x"}}
    assert parts_of("user", whole) == (MediaPart("document", TextSource("x"), "text/plain"),)
    image: JSONObject = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    mixed: JSONObject = {"type": "document", "source": {"type": "content", "content": [*pieces[:1], image]}}
    assert parts_of("user", mixed) == (TextPart("a"), MediaPart("image", FileSource("f", OWN)))


def test_a_search_result_is_a_document_that_names_its_source() -> None:
    """I15: the text reaches every vendor"""
    block: JSONObject = {
        "type": "search_result",
        "source": "https://example.com",
        "title": "T",
        "content": [{"type": "text", "text": "x"}],
        "citations": {"enabled": True},
    }
    (part,) = parts_of("user", block)
    assert part == MediaPart(
        "document", TextSource("Source: https://example.com\n\nx"), "text/plain", title="T", cite=True
    )


def test_what_an_assistant_said() -> None:
    """R1 R8, trap 21: thinking is kept byte for byte, blanks and empty texts too."""
    assert parts_of(
        "assistant",
        {"type": "thinking", "thinking": " Hm\n", "signature": "c2ln"},
        {"type": "thinking", "thinking": "", "signature": "ZW1wdHk="},
        {"type": "thinking", "thinking": "unsigned", "signature": ""},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "Look:"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"b": 1, "a": [2.5]}},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
    ) == (
        ReasoningPart(" Hm\n", Opaque(OWN, "signature", "c2ln")),
        ReasoningPart("", Opaque(OWN, "signature", "ZW1wdHk=")),
        ReasoningPart("unsigned"),
        ReasoningPart("", Opaque(OWN, "redacted", "ZGF0YQ==")),
        TextPart("Look:"),
        ToolCallPart("toolu_1", "look", '{"b":1,"a":[2.5]}'),
        UnknownPart(
            OWN, {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}, "server_tool_use"
        ),
    )


def test_citations_in_the_history_are_kept_with_their_place() -> None:
    """§3.13"""
    cited: JSONObject = {"type": "web_search_result_location", "url": "https://example.com", "cited_text": "x"}
    first: JSONObject = {"type": "text", "text": "ab", "citations": None}
    second: JSONObject = {"type": "text", "text": "cde", "citations": [cited]}
    *_, citation = parts_of("assistant", first, second)
    assert citation == ir.CitationPart(url="https://example.com", start=2, end=5, quote="x", protocol=OWN, raw=cited)


def test_results_come_before_the_rest_of_a_users_message() -> None:
    """I2, §3.8: two messages, and each result knows the name of its call."""
    call: JSONObject = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result: JSONObject = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}
    body = request(
        {"role": "user", "content": "Hi"}, said("assistant", call), said("user", {"type": "text", "text": "b"}, result)
    )
    assert decode(body).messages[2:] == (
        Message("tool", (ToolResultPart("toolu_1", (TextPart("seen"),), "look"),)),
        Message("user", (TextPart("b"),)),
    )


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({}, ()),
        ({"content": ""}, ()),
        ({"content": "x"}, (TextPart("x"),)),
        ({"content": [{"type": "text", "text": "x"}]}, (TextPart("x"),)),
        (
            {"content": [{"type": "browser_state", "url": "x"}]},
            (UnknownPart(OWN, {"type": "browser_state", "url": "x"}, "browser_state"),),
        ),
    ],
)
def test_what_a_tool_answered(content: JSONObject, parts: tuple[TextPart | UnknownPart, ...]) -> None:
    """§3.8"""
    block: JSONObject = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, **content}
    message = decode(request(said("user", block))).messages[0]
    assert message == Message("tool", (ToolResultPart("toolu_1", parts, is_error=True),))


def test_a_tool_that_a_search_found_is_named() -> None:
    """C11: to others the search seemed to have found nothing."""
    found: JSONObject = {"type": "tool_reference", "tool_name": "mcp__ide__executeCode"}
    body = request(said("user", {"type": "tool_result", "tool_use_id": "toolu_1", "content": [found]}))
    words = "Found the tool mcp__ide__executeCode: it can be called now."
    part = UnknownPart(OWN, found, "tool_reference", words)
    assert decode(body).messages == (Message("tool", (ToolResultPart("toolu_1", (part,)),)),)
    assert kept(body) == []


def test_a_failed_tool_is_seen_to_have_failed() -> None:
    """P7 I7"""
    call: JSONObject = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result: JSONObject = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "boom", "is_error": True}
    chat, _ = to_chat(
        request(said("user", {"type": "text", "text": "Hi"}), said("assistant", call), said("user", result))
    )
    assert as_object(as_list(chat["messages"])[-1])["content"] == '{"error":"boom"}'


def test_cache_marks_and_the_end_user_are_not_lost_in_silence() -> None:
    """P8"""
    marked: JSONObject = {"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}
    chat, translated = to_chat(request(system=[marked], metadata={"user_id": "u1"}))
    assert chat["safety_identifier"] == "u1"
    assert [note.path for note in translated.diagnostics] == ["messages[0].content[0].cache"]


def test_tools() -> None:
    """§3.5, J9"""
    tools: list[JSONValue] = [
        {**TOOL, "strict": True, "cache_control": {"type": "ephemeral"}},
        {"type": "custom", "name": "bare", "input_schema": {"type": "object"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ]
    assert decode(request(tools=tools)).tools == (
        Tool("look", "Looks.", SCHEMA, True, CacheMark()),
        Tool("bare", None, {"type": "object"}),
        ServerTool(OWN, "web_search_20250305", {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}),
    )


def test_how_tools_are_loaded_is_the_vendors_business() -> None:
    """clients 9"""
    body = request(
        tools=[{**TOOL, "defer_loading": True, "eager_input_streaming": True, "input_examples": [{"q": "x"}]}]
    )
    assert kept(body) == [
        ("tools[0].defer_loading", "info"),
        ("tools[0].eager_input_streaming", "info"),
        ("tools[0].input_examples", "warning"),
    ]
    again = loads_object(CODEC.encode_request(decode(body), profile=Profile()).body)
    assert again["tools"] == body["tools"]


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any"}, ToolChoice("required"), None),
        ({"type": "tool", "name": "look"}, ToolChoice("required", ("look",)), None),
        ({"type": "none"}, ToolChoice("none"), None),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto"), False),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required"), True),
    ],
)
def test_the_choice_of_a_tool(choice: JSONObject, expected: ToolChoice, parallel: bool | None) -> None:
    """§3.6 I11"""
    decoded = decode(request(tools=[TOOL], tool_choice=choice))
    assert (decoded.tool_choice, decoded.parallel_tool_calls) == (expected, parallel)


def test_system_messages_stay_where_they_are() -> None:
    """clients 7: as a string or in blocks, with wishes for the turn."""
    body = request(
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Be kind.", "output_config": {"effort": "low"}},
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    )
    assert [(message.role, message.parts) for message in decode(body).messages[1:]] == [
        ("system", (TextPart("Be kind."),)),
        ("system", (TextPart("Be brief."),)),
    ]
    assert kept(body) == [("messages[1].output_config", "info")]


def test_a_system_message_for_one_turn_is_gone_in_the_next() -> None:
    note: JSONObject = {"role": "system", "content": "Now.", "clear_at": "next_user_message"}
    spoken: JSONObject = {"role": "user", "content": "Hi"}
    assert [message.role for message in decode(request(spoken, note)).messages] == ["user", "system"]
    body = request(spoken, note, {"role": "assistant", "content": "a"}, spoken)
    assert [message.role for message in decode(body).messages] == ["user", "assistant", "user"]
    assert kept(body) == [("messages[1].clear_at", "info"), ("messages[1].content", "info")]


def test_tools_that_come_in_the_middle_are_tools() -> None:
    """clients 6: mid-conversation tool changes"""
    added: JSONObject = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": TOOL}}
    removed: JSONObject = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "old"}}
    body = request({"role": "user", "content": "Hi"}, said("system", added, removed))
    decoded = decode(body)
    assert [message.role for message in decoded.messages] == ["user"]
    assert decoded.tools == (Tool("look", "Looks.", SCHEMA),)
    assert kept(body) == [("messages[1].content[0]", "warning"), ("messages[1].content[1]", "warning")]
