"""What must have reached the vendor of what a client asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from asgi_llmgw.conformance.cases import FAILED_TOOL
from asgi_llmgw.conformance.upstream import Asked
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps_text

_SNAKE: Final = re.compile("_([a-z])")
_GEMINI_KEYWORDS: Final = frozenset(
    {
        *("type", "format", "title", "description", "nullable", "enum", "example", "default", "anyOf"),
        *("items", "maxItems", "minItems", "minLength", "maxLength", "pattern", "minimum", "maximum"),
        *("properties", "required", "minProperties", "maxProperties", "propertyOrdering"),
    }
)
"""https://ai.google.dev/api/caching#Schema"""


def check_tool_error(client: Protocol, asked: Asked) -> Iterator[str]:
    """The failed tool's words reach the vendor; where the client could say that it failed, so does that."""
    result = next((found for found in _objects(_body(asked)) if _is_result(found)), None)
    if result is None:
        yield f"the tool's result did not reach the vendor: {FAILED_TOOL!r}"
        return
    marked = result.get("is_error") is True or "error" in dumps_text(result).replace("is_error", "").lower()
    if client in ("anthropic_messages", "gemini_generate") and not marked:
        yield "the tool's failure reached the vendor as an ordinary result"
    if client == asked.protocol == "anthropic_messages" and result.get("is_error") is not True:
        yield "is_error did not reach the vendor"


def check_schema(asked: Asked) -> Iterator[str]:
    """The tool's schema reached the vendor, in words it understands and without losing what it allows."""
    body = _body(asked)
    for name in ("parameters", "input_schema", "parametersJsonSchema"):
        schema = next((as_object(found[name]) for found in _objects(body) if _is_schema(found.get(name))), None)
        if schema is None:
            continue
        if asked.protocol == "gemini_generate" and name == "parameters":
            yield from _foreign_to_gemini(schema)
        yield from _lost(as_object(schema.get("properties")))
        return
    yield "the tool's schema did not reach the vendor"


def _body(asked: Asked) -> JSONObject:
    """What was asked; Gemini takes its members in two spellings, of which one is enough here."""
    return as_object(_camel(asked.body)) if asked.protocol == "gemini_generate" else asked.body


def _camel(value: JSONValue) -> JSONValue:
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if isinstance(value, dict):
        return {_SNAKE.sub(lambda found: found[1].upper(), key): _camel(item) for key, item in value.items()}
    return value


def _is_schema(value: JSONValue) -> bool:
    return "level" in as_object(as_object(value).get("properties"))


def _lost(properties: JSONObject) -> Iterator[str]:
    level, mode = as_object(properties.get("level")), as_object(properties.get("mode"))
    if [str(value) for value in as_list(level.get("enum"))] != ["1", "2"]:
        yield f"the enum of numbers became {dumps_text(level)}"
    if mode.get("const") != "fast" and as_list(mode.get("enum")) != ["fast"]:
        yield f"the const became {dumps_text(mode)}"
    when, note = as_object(properties.get("when")), as_object(properties.get("note"))
    if len(as_list(when.get("oneOf")) or as_list(when.get("anyOf"))) != 2:
        yield f"the oneOf became {dumps_text(when)}"
    if "string" not in dumps_text(note).lower():
        yield f"the type of string or null became {dumps_text(note)}"
    tree = as_object(properties.get("tree"))
    if "$ref" not in tree and "name" not in as_object(tree.get("properties")):
        yield f"the recursive $ref became {dumps_text(tree)}"


def _foreign_to_gemini(schema: JSONObject) -> Iterator[str]:
    for key, value in schema.items():
        if key not in _GEMINI_KEYWORDS:
            yield f"Gemini knows no {key} in parameters"
        elif key == "type" and not isinstance(value, str):
            yield "Gemini takes one type in parameters, not a list"
        elif key == "enum" and not all(isinstance(item, str) for item in as_list(value)):
            yield "Gemini takes strings alone for enum in parameters"
        elif key == "properties":
            for inner in as_object(value).values():
                yield from _foreign_to_gemini(as_object(inner))
        elif key == "items":
            yield from _foreign_to_gemini(as_object(value))
        elif key == "anyOf":
            for inner in as_list(value):
                yield from _foreign_to_gemini(as_object(inner))


def _is_result(found: JSONObject) -> bool:
    kind = found.get("type")
    named = kind in ("tool_result", "function_call_output") or found.get("role") == "tool"
    response = found.get("functionResponse")
    return (named or response is not None) and FAILED_TOOL in dumps_text(found)


def _objects(value: JSONValue) -> Iterator[JSONObject]:
    """Every object in a value, the outer ones first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)
