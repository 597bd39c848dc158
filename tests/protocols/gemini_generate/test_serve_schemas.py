from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw.json import JSONObject, JSONValue, as_object
from asgi_llmgw.protocols.gemini_generate import to_gemini_schema
from asgi_llmgw.protocols.gemini_generate.schema_decoder import from_gemini_schema, plain_json_schema


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": 6, "properties": {"a": {"type": 1}}}, {"type": "object", "properties": {"a": {"type": "string"}}}),
        ({"type": "TYPE_UNSPECIFIED", "title": "x"}, {"title": "x"}),
        ({"type": "INTEGER", "nullable": True}, {"type": ["integer", "null"]}),
        ({"type": "INTEGER", "nullable": False}, {"type": "integer"}),
        (
            {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        (
            {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": True},
            {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
        ),
        (
            {"type": "ARRAY", "items": {"type": "OBJECT"}, "minItems": "1", "max_items": 3},
            {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 3},
        ),
        ({"example": "x", "description": None}, {"examples": ["x"]}),
        (
            {"defs": {"a": {"type": "STRING"}}, "ref": "#/$defs/a", "additionalProperties": {"type": "NULL"}},
            {
                "$defs": {"a": {"type": "string"}},
                "$ref": "#/$defs/a",
                "additionalProperties": {"type": "null"},
            },
        ),
        (
            {"properties": {"my_key": {"type": "STRING"}, "type": {"type": "STRING"}}, "default": {"a_b": 1}},
            {"properties": {"my_key": {"type": "string"}, "type": {"type": "string"}}, "default": {"a_b": 1}},
        ),
    ],
)
def test_schemas_of_the_subset_become_json_schema(schema: JSONObject, expected: JSONObject) -> None:
    """§3.5, J3"""
    assert from_gemini_schema(schema, "s") == expected


def test_the_ordering_of_properties_becomes_their_order() -> None:
    properties: JSONObject = {"a": {"type": "STRING"}, "b": {"type": "STRING"}, "c": {"type": "STRING"}}
    schema = from_gemini_schema({"properties": properties, "propertyOrdering": ["c", "b", "x"]}, "s")
    assert list(as_object(schema["properties"])) == ["c", "b", "a"]
    assert "propertyOrdering" not in schema


def test_json_schema_stays_as_it_was_written() -> None:
    """J9"""
    schema: JSONObject = {
        "type": ["object", "null"],
        "properties": {"type": {"const": "STRING"}, "b": {"anyOf": [{"type": "integer"}]}},
        "enum": ["STRING"],
        "x-own": {"type": "STRING"},
        "propertyOrdering": ["b"],
    }
    assert plain_json_schema(schema) == schema


def test_types_in_capitals_are_wrong_in_json_schema_too() -> None:
    """Clients 17"""
    schema: JSONObject = {
        "type": "OBJECT",
        "properties": {"type": {"type": ["STRING", "NULL"]}, "b": {"items": [{"type": "INTEGER"}]}},
        "$defs": {"c": {"anyOf": [{"type": "BOOLEAN"}]}},
    }
    assert plain_json_schema(schema) == {
        "type": "object",
        "properties": {"type": {"type": ["string", "null"]}, "b": {"items": [{"type": "integer"}]}},
        "$defs": {"c": {"anyOf": [{"type": "boolean"}]}},
    }


def _object(properties: dict[str, JSONObject]) -> JSONObject:
    members: JSONValue = {**properties}
    return {"type": "OBJECT", "properties": members, "propertyOrdering": list[JSONValue](properties)}


LEAF: st.SearchStrategy[JSONObject] = st.fixed_dictionaries(
    {"type": st.sampled_from(["STRING", "INTEGER", "NUMBER", "BOOLEAN"])},
    optional={"nullable": st.just(True), "description": st.text(max_size=5), "title": st.text(max_size=5)},
)
SCHEMAS: st.SearchStrategy[JSONObject] = st.recursive(
    LEAF,
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("ARRAY"), "items": inner}, optional={"minItems": st.integers(0, 9)})
        | st.dictionaries(st.sampled_from(["a", "b_c", "type"]), inner, min_size=1, max_size=3).map(_object)
    ),
    max_leaves=6,
)


@given(schema=SCHEMAS)
@settings(max_examples=60, deadline=None)
def test_what_the_subset_says_survives_both_ways(schema: JSONObject) -> None:
    """Law 3"""
    again, lost = to_gemini_schema(from_gemini_schema(schema, "s"))
    assert (again, lost) == (schema, ())
