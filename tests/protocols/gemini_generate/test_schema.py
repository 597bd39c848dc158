from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object
from asgi_llmgw.protocols.gemini_generate import to_gemini_schema

ALLOWED = frozenset(
    {
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "enum",
        "items",
        "minItems",
        "maxItems",
        "properties",
        "required",
        "propertyOrdering",
        "minProperties",
        "maxProperties",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "anyOf",
        "default",
        "example",
    }
)
TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}


def check(schema: JSONValue, depth: int = 0) -> None:
    assert isinstance(schema, dict)
    assert depth < 80
    assert set(schema) <= ALLOWED
    assert schema.get("type", "STRING") in TYPES
    assert all(isinstance(value, str) and value for value in as_list(schema.get("enum")))
    for child in [*as_object(schema.get("properties")).values(), *as_list(schema.get("anyOf"))]:
        check(child, depth + 1)
    if "items" in schema:
        check(schema["items"], depth + 1)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param(
            {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
            {
                "type": "OBJECT",
                "nullable": True,
                "properties": {"a": {"type": "STRING"}},
                "propertyOrdering": ["a"],
            },
            id="J3_nullable_keeps_properties",
        ),
        pytest.param({"enum": [1, 2]}, {"type": "STRING", "enum": ["1", "2"]}, id="J4_P9_numbers_as_text"),
        pytest.param({"const": "x"}, {"type": "STRING", "enum": ["x"]}, id="J4_P9_const"),
        pytest.param({"const": True}, {"type": "STRING", "enum": ["true"]}, id="J4_const_of_another_type"),
        pytest.param({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}, id="enum_with_null"),
        pytest.param({"enum": ["", "a"]}, {"type": "STRING", "enum": ["a"]}, id="empty_value"),
        pytest.param(
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
            id="J4_P9_one_of",
        ),
        pytest.param(
            {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}], "description": "d"},
            {"type": "STRING", "minLength": 1, "description": "d", "nullable": True},
            id="optional_is_nullable",
        ),
        pytest.param({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}, id="union"),
        pytest.param(
            {"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
            {"properties": {"a": {}, "b": {}}, "propertyOrdering": ["a", "b"], "required": ["a", "b"]},
            id="all_of_is_merged",
        ),
        pytest.param({"type": "number", "exclusiveMinimum": 0}, {"type": "NUMBER", "minimum": 0}, id="exclusive"),
        pytest.param({"type": "STRING"}, {"type": "STRING"}, id="upper_case_already"),
        pytest.param({}, {}, id="nothing_is_invented"),
        pytest.param({"items": True}, {"items": {}}, id="true_is_anything"),
    ],
)
def test_schemas_are_said_in_the_subset(schema: JSONObject, expected: JSONObject) -> None:
    assert to_gemini_schema(schema)[0] == expected


def test_references_are_put_in_place() -> None:
    """J1, J12."""
    schema: JSONObject = {
        "$defs": {"p": {"type": "object", "properties": {"x": {"$ref": "#/$defs/n"}}}, "n": {"type": "integer"}},
        "$ref": "#/$defs/p",
        "description": "kept",
    }
    converted, _ = to_gemini_schema(schema)
    assert converted == {
        "type": "OBJECT",
        "description": "kept",
        "properties": {"x": {"type": "INTEGER"}},
        "propertyOrdering": ["x"],
    }


def test_a_cycle_is_cut_and_told() -> None:
    """J1, P9."""
    node: JSONObject = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    converted, lost = to_gemini_schema({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    assert as_object(converted["properties"])["next"] == {"type": "OBJECT"}
    assert [(d.path, d.code) for d in lost] == [("properties.next.$ref", "approximated")]


@pytest.mark.parametrize(
    "word", ["additionalProperties", "patternProperties", "not", "if", "then", "else", "uniqueItems", "multipleOf"]
)
def test_what_gemini_has_no_word_for_is_dropped_and_told(word: str) -> None:
    """J2, J7."""
    converted, lost = to_gemini_schema({"type": "object", "properties": {"a": {word: {}}}})
    check(converted)
    assert [(d.path, d.code, d.severity) for d in lost] == [(f"properties.a.{word}", "dropped", "warning")]


@pytest.mark.parametrize("word", ["$schema", "$id", "examples", "$comment"])
def test_what_only_readers_care_for_is_dropped_quietly(word: str) -> None:
    converted, lost = to_gemini_schema({word: "x"})
    assert converted == {}
    assert [d.severity for d in lost] == ["info"]


def test_a_reference_that_leads_nowhere_is_told() -> None:
    converted, lost = to_gemini_schema({"$ref": "https://example.com/schema"})
    assert converted == {}
    assert [d.code for d in lost] == ["dropped"]


def test_references_that_multiply_come_to_an_end() -> None:
    doubling: dict[str, JSONValue] = {
        f"d{i}": {"properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}, "b": {"$ref": f"#/$defs/d{i + 1}"}}}
        for i in range(30)
    }
    converted, lost = to_gemini_schema({"$defs": doubling, "$ref": "#/$defs/d0"})
    check(converted)
    assert any("too large" in d.detail for d in lost)


def test_all_of_that_refers_to_itself_comes_to_an_end() -> None:
    loop: JSONObject = {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}
    assert to_gemini_schema(loop)[0] == {}


def test_a_deep_schema_is_cut() -> None:
    schema: JSONObject = {"type": "string"}
    for _ in range(60):
        schema = {"type": "array", "items": schema}
    converted, lost = to_gemini_schema(schema)
    check(converted)
    assert lost


WORDS = sorted(ALLOWED | {"$ref", "$defs", "oneOf", "allOf", "const", "not", "exclusiveMinimum", "x-other"})
REFS = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/anyOf/0", "#/nothing", "other"])
LEAVES: st.SearchStrategy[JSONValue] = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["string", "object", "null", "a", ""])
    | REFS
)


def schemas(children: st.SearchStrategy[JSONValue]) -> st.SearchStrategy[JSONValue]:
    return (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS), children, max_size=5)
        | st.dictionaries(st.sampled_from(["a", "b"]), children, max_size=2)
        | st.fixed_dictionaries({"$ref": REFS})
    )


ANY_SCHEMA: st.SearchStrategy[JSONObject] = st.dictionaries(
    st.sampled_from(WORDS), st.recursive(LEAVES, schemas, max_leaves=25), max_size=6
)


@settings(max_examples=150, deadline=None)
@given(ANY_SCHEMA)
def test_any_schema_becomes_one_of_the_subset(schema: JSONObject) -> None:
    """J7: malformed nodes included."""
    converted, _ = to_gemini_schema(schema)
    check(converted)
    assert to_gemini_schema(schema)[0] == converted
