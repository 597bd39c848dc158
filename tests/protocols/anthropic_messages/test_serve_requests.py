"""Requests of clients that speak this protocol."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    CacheMark,
    ChatRequest,
    Message,
    Reasoning,
    ResponseFormat,
    Sampling,
    TextPart,
)
from asgi_llmgw.json import JSONObject, JSONValue, dumps, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.translate import translate_request

from .asking import SCHEMA, TOOL, decode, kept, refusal, request, to_chat
from .samples import OWN


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


@pytest.mark.parametrize("name", ["model.", "[model]", "", "system.x", "tools[0].name", "messages[0].role"])
def test_a_strange_name_changes_nothing_else(name: str) -> None:
    """X1: what is said twice in two spellings is said once."""
    body = request(system="S", tools=[TOOL])
    plain = loads_object(CODEC.encode_request(decode(body), profile=Profile()).body)
    encoded = CODEC.encode_request(decode({**body, name: "x"}), profile=Profile())
    assert loads_object(encoded.body) == plain


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
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "gopher"}}]}]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "search_result", "content": [{"type": "image"}]}]}]},
            "messages[0].content[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": 1}]}]},
            "messages[0].content[0].content",
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
