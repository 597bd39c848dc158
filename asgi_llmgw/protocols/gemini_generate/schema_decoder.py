"""Gemini's schemas as JSON Schema: the way back from `schema`.

https://ai.google.dev/api/caching#Schema. Types lose their capitals, `nullable` becomes a union with null, and
`propertyOrdering` becomes the order of the properties. Words that mean nothing special stay as they are.
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, as_str
from asgi_llmgw.protocols.fields import invalid, wrong_type

from .fields import camel

_TYPES: Final = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_CAPITAL: Final = frozenset(_TYPES[1:])
_RENAMED: Final = {"ref": "$ref", "defs": "$defs", "example": "examples"}
_COUNTS: Final = frozenset({"minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"})
_ONE: Final = frozenset({"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"})
_SEVERAL: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})


def from_gemini_schema(schema: JSONObject, path: str) -> JSONObject:
    """A schema of the OpenAPI subset as JSON Schema; `path` is where it stands in the request.

    Raises:
        InvalidRequest: a type that is none.
    """
    node: JSONObject = {}
    for name, value in schema.items():
        key = camel(name)
        key = _RENAMED.get(key, key)
        if value is None and key not in ("default", "const"):
            continue
        node[key] = _member(key, value, f"{path}.{name}")
    return _ordered(_nullable(node))


def plain_json_schema(schema: JSONObject) -> JSONObject:
    """JSON Schema as the client wrote it, but for types in capitals, which some clients write there too."""
    return as_object(_small(schema))


def _member(key: str, value: JSONValue, path: str) -> JSONValue:
    if key == "type":
        return _type(value, path)
    if key == "examples":
        return [value]
    if key in _COUNTS and isinstance(value, str) and value.isdecimal() and len(value) < 16:
        # 64-bit numbers are texts in the vendor's JSON
        return int(value)
    if key in _NAMED and isinstance(value, dict):
        return {name: _child(child, f"{path}.{name}") for name, child in value.items()}
    if key in _SEVERAL and isinstance(value, list):
        return [_child(child, f"{path}[{index}]") for index, child in enumerate(value)]
    return _child(value, path) if key in _ONE else value


def _child(value: JSONValue, path: str) -> JSONValue:
    return from_gemini_schema(value, path) if isinstance(value, dict) else value


def _type(value: JSONValue, path: str) -> JSONValue:
    if isinstance(value, list):
        return [_type(item, path) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_TYPES):
        value = _TYPES[value]
    if not isinstance(value, str):
        raise wrong_type(path, "the name of a type", value)
    if value.upper() not in _TYPES:
        raise invalid(path, f"Invalid value: '{value}' is not the name of a type.")
    return None if value.upper() == _TYPES[0] else value.lower()


def _nullable(node: JSONObject) -> JSONObject:
    if node.get("type", "") is None:
        del node["type"]
    if node.get("format") == "enum":
        # only says that `enum` is there
        del node["format"]
    if node.pop("nullable", None) is not True:
        return node
    kind = node.get("type")
    if isinstance(kind, str) and kind != "null":
        node["type"] = [kind, "null"]
    if isinstance(node.get("anyOf"), list):
        node["anyOf"] = [*as_list(node["anyOf"]), {"type": "null"}]
    if isinstance(node.get("enum"), list) and None not in as_list(node["enum"]):
        node["enum"] = [*as_list(node["enum"]), None]
    return node


def _ordered(node: JSONObject) -> JSONObject:
    ordering = node.pop("propertyOrdering", None)
    properties = node.get("properties")
    if isinstance(ordering, list) and isinstance(properties, dict):
        first = [name for item in ordering if (name := as_str(item)) is not None and name in properties]
        node["properties"] = {name: properties[name] for name in dict.fromkeys([*first, *properties])}
    return node


def _small(value: JSONValue, *, named: bool = False) -> JSONValue:
    """`named`: the members are schemas under names of the user's, which may be `type` as well."""
    if not isinstance(value, dict):
        return value
    small: JSONObject = {}
    for key, item in value.items():
        if named:
            small[key] = _small(item)
        elif key == "type":
            small[key] = [_small_type(kind) for kind in item] if isinstance(item, list) else _small_type(item)
        elif key in _NAMED:
            small[key] = _small(item, named=True)
        elif key in _SEVERAL and isinstance(item, list):
            small[key] = [_small(child) for child in item]
        else:
            small[key] = _small(item) if key in _ONE else item
    return small


def _small_type(value: JSONValue) -> JSONValue:
    return value.lower() if isinstance(value, str) and value in _CAPITAL else value
