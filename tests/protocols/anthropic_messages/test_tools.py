"""Tools, tool choice, and the schemas both need."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import AnyTool, CacheMark, CustomTool, ServerTool, Tool, ToolChoice
from asgi_llmgw.json import JSONObject, as_list, as_object
from asgi_llmgw.protocols.anthropic_messages import tool_name
from asgi_llmgw.protocols.schema import NotExpressible, cut_schema, fits

from .samples import OWN, assistant, body_of, call, chat, encode, notes_of, result, turns, user

F, G, H = Tool("f"), Tool("g"), Tool("h")
CLOSED: JSONObject = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def tools_of(*tools: AnyTool, **profile: object) -> list[JSONObject]:
    return [as_object(tool) for tool in as_list(body_of(chat(tools=tools), **profile)["tools"])]


def test_a_tool_keeps_its_schema_as_the_client_wrote_it() -> None:
    """J9, J10"""
    schema: JSONObject = {"$schema": "x", "type": "object", "properties": {"b": {"exclusiveMinimum": 1}, "a": {}}}
    assert tools_of(Tool("f", "Does.", schema, cache=CacheMark("30m"))) == [
        {
            "name": "f",
            "description": "Does.",
            "input_schema": schema,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        }
    ]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(None, {"type": "object", "properties": {}}, id="J5_none"),
        pytest.param({}, {"type": "object", "properties": {}}, id="J5_empty"),
        pytest.param({"properties": {"a": {}}}, {"properties": {"a": {}}, "type": "object"}, id="no_type"),
        pytest.param({"type": ["object", "null"]}, {"type": "object"}, id="nullable"),
        pytest.param({"type": "OBJECT"}, {"type": "object"}, id="upper_case"),
    ],
)
def test_the_schema_of_a_tool_is_always_an_object(parameters: JSONObject | None, expected: JSONObject) -> None:
    assert tools_of(Tool("f", parameters=parameters))[0]["input_schema"] == expected


def test_refuses_a_tool_whose_parameters_are_no_object() -> None:
    with pytest.raises(InvalidRequest) as caught:
        tools_of(Tool("f", parameters={"type": "string"}))
    assert caught.value.param == "tools[0].parameters"


def test_strict_is_kept_where_the_schema_allows_it() -> None:
    loose: JSONObject = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}
    tools = (Tool("f", parameters=CLOSED, strict=True), Tool("g", parameters=loose, strict=True), Tool("h"))
    body, notes = encode(chat(tools=tools))
    assert [as_object(tool).get("strict") for tool in as_list(body["tools"])] == [True, None, None]
    assert [(n.path, n.code) for n in notes if n.path.startswith("tools")] == [("tools[1].strict", "dropped")]


def test_at_most_twenty_tools_are_strict() -> None:
    tools = tools_of(*(Tool(f"f{i}", parameters=CLOSED, strict=True) for i in range(22)))
    assert [tool.get("strict") for tool in tools] == [True] * 20 + [None] * 2


def test_a_free_text_tool_is_a_function_with_one_string() -> None:
    request = chat(tools=(CustomTool("patch", "Patches.", {"type": "grammar", "syntax": "lark"}),))
    assert as_list(body_of(request)["tools"])[0] == {
        "name": "patch",
        "description": "Patches.",
        "input_schema": {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]},
    }
    assert {("tools[0]", "approximated"), ("tools[0].format", "dropped")} <= notes_of(request)


def test_own_server_tools_pass_and_others_are_refused() -> None:
    """I9, I10"""
    own = ServerTool(OWN, "web_search_20250305", {"type": "web_search_20250305", "name": "web_search"})
    assert tools_of(own) == [own.raw]
    with pytest.raises(InvalidRequest) as caught:
        tools_of(F, ServerTool("openai_chat", "web_search", {"type": "web_search"}))
    assert (caught.value.kind, caught.value.param) == ("unsupported", "tools[1]")


def test_a_name_out_of_alphabet_is_the_same_everywhere() -> None:
    name = "mcp.files/read" + "x" * 200
    request = chat(
        user("a"),
        assistant(call("c", name)),
        result("c"),
        tools=(Tool(name),),
        tool_choice=ToolChoice("required", (name,)),
    )
    body = body_of(request)
    wire = tool_name(name)
    assert len(wire) == 128 and "." not in wire
    assert as_object(as_list(body["tools"])[0])["name"] == wire
    assert turns(body)[1][1][0]["name"] == wire
    assert body["tool_choice"] == {"type": "tool", "name": wire}
    assert ("tools[0].name", "renamed") in notes_of(request)


def test_refuses_two_tools_with_one_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        tools_of(Tool("a.b"), Tool(tool_name("a.b")))
    assert caught.value.param == "tools[1].name"


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        pytest.param(None, None, None, id="absent_stays_absent"),
        pytest.param(None, True, None, id="parallel_is_the_default"),
        pytest.param(None, False, {"type": "auto", "disable_parallel_tool_use": True}, id="not_parallel"),
        pytest.param(ToolChoice("auto"), None, {"type": "auto"}, id="auto"),
        pytest.param(ToolChoice("none"), False, {"type": "none"}, id="none"),
        pytest.param(ToolChoice("required"), None, {"type": "any"}, id="required"),
        pytest.param(
            ToolChoice("required", ("g",)),
            False,
            {"type": "tool", "name": "g", "disable_parallel_tool_use": True},
            id="named",
        ),
    ],
)
def test_tool_choice(choice: ToolChoice | None, parallel: bool | None, expected: object) -> None:
    """I11"""
    body = body_of(chat(tools=(F, G), tool_choice=choice, parallel_tool_calls=parallel))
    assert body.get("tool_choice") == expected
    assert len(as_list(body["tools"])) == 2


@pytest.mark.parametrize(("mode", "word"), [("auto", "auto"), ("required", "any")])
def test_allowed_tools_are_the_only_ones_sent(mode: str, word: str) -> None:
    choice = ToolChoice("required" if mode == "required" else "auto", ("h", "f"))
    body, notes = encode(chat(tools=(F, G, H), tool_choice=choice))
    assert [as_object(tool)["name"] for tool in as_list(body["tools"])] == ["f", "h"]
    assert body["tool_choice"] == {"type": word}
    assert ("tool_choice", "approximated") in {(n.path, n.code) for n in notes}


def test_refuses_the_choice_of_a_tool_that_is_not_there() -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(chat(tools=(F,), tool_choice=ToolChoice("required", ("x",))))
    assert caught.value.param == "tool_choice"


def test_a_choice_without_tools_is_dropped() -> None:
    """I12"""
    request = chat(tool_choice=ToolChoice("required"))
    assert "tool_choice" not in body_of(request)
    assert ("tool_choice", "dropped") in notes_of(request)


def test_called_tools_are_declared_when_none_is_offered() -> None:
    """I12: a compacted conversation keeps its calls and offers no tools."""
    body = body_of(chat(user("a"), assistant(call("c", "f")), result("c")))
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "none"}


def test_a_forced_choice_becomes_auto_where_the_model_refuses_it() -> None:
    request = chat(tools=(F, G), tool_choice=ToolChoice("required", ("f",)))
    body, notes = encode(request, forced_tool_choice=False)
    assert body["tool_choice"] == {"type": "auto"}
    assert len(as_list(body["tools"])) == 2
    assert ("tool_choice", "approximated") in {(n.path, n.code) for n in notes}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param(
            {"type": "integer", "minimum": 1, "description": "A number."},
            {"type": "integer", "description": "A number.\n\n{minimum: 1}"},
            id="limits_move_into_the_description",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {"type": "string", "format": "x"}}, "additionalProperties": True},
            {
                "type": "object",
                "properties": {"a": {"type": "string", "description": '{format: "x"}'}},
                "additionalProperties": False,
            },
            id="objects_are_closed",
        ),
        pytest.param(
            {"oneOf": [{"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            id="J4_one_of",
        ),
        pytest.param(
            {"$schema": "x", "type": "array", "items": {"type": "string", "format": "date"}, "minItems": 1},
            {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 1},
            id="kept",
        ),
        pytest.param(
            {"type": "array", "items": {"enum": [1, "a", None]}, "minItems": 2},
            {"type": "array", "items": {"enum": [1, "a", None]}, "description": "{minItems: 2}"},
            id="J4_enum",
        ),
        pytest.param(
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {}}}},
            {
                "$ref": "#/$defs/A",
                "$defs": {"A": {"type": "object", "properties": {}, "additionalProperties": False}},
            },
            id="J1_definitions",
        ),
    ],
)
def test_schemas_are_cut_to_the_subset(schema: JSONObject, expected: JSONObject) -> None:
    assert cut_schema(schema) == expected
    assert fits(expected)


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}}, id="J1_recursive"),
        pytest.param({"type": "object", "properties": {"a": {"$ref": "#"}}}, id="J1_root_in_itself"),
        pytest.param(
            {
                "type": "object",
                "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"anyOf": [{"$ref": "#/$defs/A"}]}},
            },
            id="J1_a_longer_way_round",
        ),
        pytest.param({"$ref": "https://example.com/x.json"}, id="another_document"),
        pytest.param({"type": "object", "properties": {"a": True}}, id="boolean_schema"),
        pytest.param({"type": "object", "properties": {"a": {}}}, id="anything"),
        pytest.param({"type": "thing"}, id="J7_unknown_type"),
        pytest.param({"type": [["string"]]}, id="J7_malformed_type"),
        pytest.param({"type": {"a": 1}}, id="J7_type_is_an_object"),
        pytest.param(
            {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(25)}}, id="too_many_optional"
        ),
    ],
)
def test_schemas_without_a_counterpart_are_told_apart(schema: JSONObject) -> None:
    with pytest.raises(NotExpressible):
        cut_schema(schema)
    assert not fits(schema)
