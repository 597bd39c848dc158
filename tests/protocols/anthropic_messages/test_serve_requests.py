"""Requests of clients that speak this protocol."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    ChatRequest,
    FileSource,
    MediaPart,
    Message,
    Opaque,
    Reasoning,
    ReasoningPart,
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
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.translate import Translated, translate_request

from .samples import OWN, PDF, PNG

SCHEMA: JSONObject = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOL: JSONObject = {"name": "look", "description": "Looks.", "input_schema": SCHEMA}


def request(*messages: JSONObject, **fields: JSONValue) -> JSONObject:
    spoken: list[JSONValue] = [*messages] or [{"role": "user", "content": "Hi"}]
    return {"model": "claude", "max_tokens": 100, "messages": spoken, **fields}


def decode(body: JSONObject) -> ChatRequest:
    return CODEC.decode_request("/v1/messages", dumps(body))


def said(role: str, *blocks: JSONObject) -> JSONObject:
    return {"role": role, "content": [*blocks]}


def parts_of(role: str, *blocks: JSONObject) -> tuple[ir.Part, ...]:
    return decode(request(said(role, *blocks))).messages[0].parts


def kept(body: JSONObject) -> list[tuple[str, str]]:
    return [(extension.path, extension.loss) for extension in decode(body).extensions]


def refusal(body: JSONObject) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(body)
    assert caught.value.status == 400
    return caught.value


def to_chat(body: JSONObject) -> tuple[JSONObject, Translated]:
    translated = translate_request(dumps(body), source=OWN, target="openai_chat")
    return loads_object(translated.body), translated


def test_a_plain_request() -> None:
    """§2.3"""
    assert decode(request()) == ChatRequest("claude", (Message("user", (TextPart("Hi"),)),), max_output_tokens=100)


def test_the_settings() -> None:
    """§3.2"""
    decoded = decode(
        request(
            stream=True,
            temperature=0.5,
            top_p=0.9,
            top_k=5,
            stop_sequences=["END"],
            metadata={"user_id": '{"device_id":"1"}'},
            service_tier="standard_only",
            cache_control={"type": "ephemeral", "ttl": "1h"},
        )
    )
    assert decoded.stream and decoded.include_usage is None
    assert decoded.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=5, stop=("END",))
    assert (decoded.end_user, decoded.service_tier) == ('{"device_id":"1"}', "default")
    assert decoded.cache == CacheMark("1h")
    assert decoded.extensions == ()


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
            {"content": [{"type": "tool_reference", "tool_name": "look"}]},
            (UnknownPart(OWN, {"type": "tool_reference", "tool_name": "look"}, "tool_reference"),),
        ),
    ],
)
def test_what_a_tool_answered(content: JSONObject, parts: tuple[TextPart | UnknownPart, ...]) -> None:
    """§3.8"""
    block: JSONObject = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, **content}
    message = decode(request(said("user", block))).messages[0]
    assert message == Message("tool", (ToolResultPart("toolu_1", parts, is_error=True),))


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


@pytest.mark.parametrize(
    ("thinking", "config", "expected"),
    [
        pytest.param(None, None, None, id="unsaid"),
        pytest.param(None, {"effort": "high"}, Reasoning("high"), id="effort"),
        pytest.param(
            {"type": "enabled", "budget_tokens": 2048}, None, Reasoning(budget_tokens=2048, visible=True), id="budget"
        ),
        pytest.param(
            {"type": "enabled", "budget_tokens": 500, "display": "omitted"},
            None,
            Reasoning(budget_tokens=500, visible=False),
            id="C5 clients-8 a small budget, unseen",
        ),
        pytest.param({"type": "adaptive"}, None, Reasoning(budget_tokens=-1), id="left to the model"),
        pytest.param(
            {"type": "adaptive", "display": "summarized"}, {"effort": "max"}, Reasoning("max", visible=True), id="max"
        ),
        pytest.param({"type": "disabled"}, None, Reasoning("none"), id="off"),
        pytest.param({"type": "disabled"}, {"effort": "low"}, Reasoning("none"), id="off with an effort"),
        pytest.param({"type": "between_tools"}, None, Reasoning("none"), id="between tools"),
    ],
)
def test_how_much_the_model_thinks(thinking: JSONValue, config: JSONValue, expected: Reasoning | None) -> None:
    """§3.9"""
    assert decode(request(thinking=thinking, output_config=config)).reasoning == expected


@pytest.mark.parametrize(
    "thinking",
    [
        {"type": "adaptive"},
        {"type": "adaptive", "display": "omitted"},
        {"type": "disabled"},
        {"type": "between_tools"},
    ],
)
@pytest.mark.parametrize("effort", [None, "high"])
def test_newer_models_are_told_to_think_as_the_client_said(thinking: JSONObject, effort: str | None) -> None:
    """Law 3, and nothing is said to be lost."""
    body = request(thinking=thinking)
    if effort is not None:
        body["output_config"] = {"effort": effort}
    encoded = CODEC.encode_request(decode(body), profile=Profile(thinking="adaptive"))
    again = loads_object(encoded.body)
    assert (again["thinking"], again.get("output_config")) == (thinking, body.get("output_config"))
    assert encoded.diagnostics == ()


@pytest.mark.parametrize("place", ["output_config", "output_format"])
def test_the_form_of_the_answer(place: str) -> None:
    """§3.11"""
    form: JSONObject = {"type": "json_schema", "schema": SCHEMA}
    fields: JSONObject = {"output_config": {"format": form}} if place == "output_config" else {"output_format": form}
    assert decode(request(**fields)).response_format == ResponseFormat("json_schema", SCHEMA)


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


@pytest.mark.parametrize(
    ("fields", "loss"),
    [
        ({"container": "container_1"}, "error"),
        ({"mcp_servers": [{"type": "url", "name": "x", "url": "https://example.com"}]}, "error"),
        ({"thread": {"id": "t"}}, "error"),
        ({"max_tokens": 0}, "error"),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}, "info"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "warning"),
        ({"diagnostics": {"previous_message_id": "msg_1"}}, "info"),
        ({"speed": "standard"}, "info"),
        ({"speed": "fast"}, "warning"),
        ({"safeguards": {"a": 1}}, "warning"),
        ({"inference_geo": "us"}, "warning"),
        ({"never_heard_of": 0}, "warning"),
    ],
)
def test_what_only_this_protocol_has_is_kept(fields: JSONObject, loss: str) -> None:
    """§3.2, C7: it goes back to its vendor, and others are told or refuse."""
    body = request(**fields)
    (name,) = fields
    assert kept(body) == [(name, loss)]
    assert loads_object(CODEC.encode_request(decode(body), profile=Profile()).body)[name] == fields[name]
    if loss == "error":
        with pytest.raises(InvalidRequest) as caught:
            to_chat(body)
        assert caught.value.param == name
    else:
        assert name in [note.path for note in to_chat(body)[1].diagnostics]


@pytest.mark.parametrize("nothing", [{"mcp_servers": []}, {"container": None}, {"context_management": {}}])
def test_an_empty_wish_is_none(nothing: JSONObject) -> None:
    assert kept(request(**nothing)) == []


FULL = request(
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                "citations": {"enabled": True},
            },
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {"type": "text", "text": "Look"},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "x"}]},
        ],
    },
    {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
    system=[{"type": "text", "text": "Be brief."}],
    tools=[TOOL],
    tool_choice={"type": "tool", "name": "look"},
    thinking={"type": "enabled", "budget_tokens": 2048},
    output_config={"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    metadata={"user_id": "u1"},
    cache_control={"type": "ephemeral"},
)
_FREE_FORM = {"schema", "input_schema", "input"}


def objects(value: JSONValue, path: str = "") -> Iterator[tuple[str, JSONObject]]:
    """Every object of a request whose members the protocol names."""
    if isinstance(value, dict):
        yield path, value
        for name, inner in value.items():
            if name not in _FREE_FORM:
                yield from objects(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from objects(inner, f"{path}[{i}]")


@pytest.mark.parametrize("place", [path for path, _ in objects(FULL)])
def test_a_member_nobody_knows_is_kept_wherever_it_stands(place: str) -> None:
    """§3.2, T22: nothing is lost in silence."""
    body = copy.deepcopy(FULL)
    before = kept(body)
    dict(objects(body))[place]["never_heard_of"] = "x"
    name = f"{place}.never_heard_of" if place else "never_heard_of"
    assert [item for item in kept(body) if item not in before] == [(name, "warning")]
    encoded = CODEC.encode_request(decode(body), profile=Profile())
    assert b"never_heard_of" in encoded.body or name in [note.path for note in encoded.diagnostics]


def test_a_full_request_has_nothing_unknown() -> None:
    assert kept(FULL) == [("messages[0].content[3].type", "info")]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "x"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b"}]}]},
            "messages[0].content[0].input",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "gopher"}}]}]},
            "messages[0].content[0].source.type",
        ),
        ({"messages": [{"role": "system", "content": [{"type": "image"}]}]}, "messages[0].content[0].type"),
        ({"system": 1}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"name": "look"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool", "name": "other"}}, "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive", "display": "all"}}, "thinking.display"),
        ({"output_config": {"effort": "most"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(change: JSONObject, param: str) -> None:
    assert refusal({**request(tools=[TOOL]), **change}).param == param


def test_a_decisive_member_given_twice_is_refused() -> None:
    """X1"""
    body = b'{"model":"a","model":"b","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
    with pytest.raises(InvalidRequest):
        CODEC.decode_request("/v1/messages", body)


CLAUDE_CODE = request(
    {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "", "signature": "c2ln"},
            {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"q": "a"}},
            {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"q": "b"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "A"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "B"}]},
        ],
    },
    {"role": "system", "content": "Mind the time.", "output_config": {}},
    stream=True,
    max_tokens=64000,
    system=[
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    tools=[{**TOOL, "name": "Read", "defer_loading": False, "eager_input_streaming": True}],
    thinking={"type": "adaptive", "display": "omitted"},
    output_config={"effort": "high"},
    context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    metadata={"user_id": '{"device_id":"0123","account_uuid":"","session_id":"4567"}'},
)


@pytest.mark.parametrize("target", ["openai_chat", "gemini_generate"])
def test_claude_code_can_talk_to_other_vendors(target: ir.Protocol) -> None:
    """clients 6-9: nothing that matters to it is lost, and no signature of one vendor reaches another."""
    translated = translate_request(dumps(CLAUDE_CODE), source=OWN, target=target, profile=Profile(mid_system="user"))
    assert b"c2ln" not in translated.body and b"billing" not in translated.body
    losses = {note.path for note in translated.diagnostics if note.severity != "info"}
    assert losses <= {"messages[4]"}, losses
    assert translated.stream_context is not None and not translated.stream_context.include_thoughts


def test_claude_code_talks_to_its_own_vendor_as_before() -> None:
    """Law 3, trap 22"""
    encoded = CODEC.encode_request(decode(CLAUDE_CODE), profile=Profile(thinking="adaptive", mid_system="system"))
    assert encoded.diagnostics == ()
    again = loads_object(encoded.body)
    for name in CLAUDE_CODE:
        if name != "messages":
            assert again[name] == CLAUDE_CODE[name], name
