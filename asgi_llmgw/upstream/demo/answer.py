"""What the demo provider says: always the same to the same request, and never more than its own words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from asgi_llmgw.json import JSONObject, JSONValue, as_float, as_int, as_list, as_object, as_str, dumps_text
from asgi_llmgw.upstream.demo.prompt import Prompt

ECHO: Final = 120
_DEPTH: Final = 16
_WORD: Final = re.compile(r"\s*\S+")
_FORMATS: Final = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, in words of which each is one token.

    Args:
        call: the tool's name and its arguments, instead of words.
        output_words: what the answer costs.
    """

    words: tuple[str, ...]
    finish: Literal["stop", "length", "tool_calls"]
    output_words: int
    call: tuple[str, JSONObject] | None = None

    @property
    def text(self) -> str:
        return "".join(self.words)


def answer(prompt: Prompt) -> Answer:
    """The answer to a request."""
    called = None if prompt.tool_result is not None else _tool_for(prompt)
    if called is not None:
        name, arguments = called
        return Answer((), "tool_calls", 1 + len(dumps_text(arguments).split()), (name, arguments))
    words = tuple(_WORD.findall(_text(prompt)))
    if prompt.max_words is not None and len(words) > prompt.max_words:
        kept = words[: max(prompt.max_words, 0)]
        return Answer(kept, "length", len(kept))
    return Answer(words, "stop", len(words))


def _text(prompt: Prompt) -> str:
    if prompt.schema is not None:
        return dumps_text(example(prompt.schema))
    if prompt.tool_result is not None:
        return f"This is the demo provider of asgi-llmgw. The tool answered: {_short(prompt.tool_result)}"
    return f"This is the demo provider of asgi-llmgw: no model was asked. You said: {_short(prompt.said)}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= ECHO else text[:ECHO].rstrip() + "…"


def _tool_for(prompt: Prompt) -> tuple[str, JSONObject] | None:
    """The tool to call: the one the user names, or any if one must be called."""
    named = [tool for tool in prompt.tools if tool.name in prompt.said]
    chosen = named or (prompt.tools if prompt.must_call else ())
    if not chosen:
        return None
    return chosen[0].name, as_object(example({"type": "object", **chosen[0].schema}))


def example(schema: JSONObject) -> JSONValue:
    """The smallest value that a JSON Schema, or Gemini's dialect of it, accepts. Patterns are not tried."""
    return _example(schema, schema, _DEPTH)


def _example(schema: JSONObject, root: JSONObject, depth: int) -> JSONValue:
    if depth == 0:
        return None
    if "const" in schema:
        return schema["const"]
    if values := as_list(schema.get("enum")):
        return values[0]
    reference = as_str(schema.get("$ref"))
    if reference is not None:
        return _example(_resolve(reference, root), root, depth - 1)
    for union in ("anyOf", "oneOf"):
        if options := as_list(schema.get(union)):
            return _example(as_object(options[0]), root, depth - 1)
    if parts := as_list(schema.get("allOf")):
        return _example(_merged([schema, *map(as_object, parts)], root), root, depth - 1)
    match _type(schema):
        case "object":
            properties = as_object(schema.get("properties"))
            required = [name for name in as_list(schema.get("required")) if isinstance(name, str)]
            return {name: _example(as_object(properties.get(name)), root, depth - 1) for name in required}
        case "array":
            item = _example(as_object(schema.get("items")), root, depth - 1)
            return [item] * (as_int(schema.get("minItems")) or 0)
        case "integer":
            return _integer(schema)
        case "number":
            return _number(schema)
        case "boolean":
            return False
        case "string":
            return _string(schema)
        case _:
            return None


def _type(schema: JSONObject) -> str:
    kinds = [kind.lower() for kind in (as_list(schema.get("type")) or [schema.get("type")]) if isinstance(kind, str)]
    if not kinds and "properties" in schema:
        return "object"
    return next((kind for kind in kinds if kind != "null"), "null" if kinds else "string")


def _number(schema: JSONObject) -> float:
    """The number nearest to zero, as far as the limits are told."""
    least, most = as_float(schema.get("minimum")), as_float(schema.get("maximum"))
    above, below = as_float(schema.get("exclusiveMinimum")), as_float(schema.get("exclusiveMaximum"))
    if above is not None and above >= 0:
        return (above + below) / 2 if below is not None else above + 1
    if below is not None and below <= 0:
        return (above + below) / 2 if above is not None else below - 1
    return min(max(0.0, least or 0.0), most if most is not None else math.inf)


def _integer(schema: JSONObject) -> int:
    """The same in steps."""
    step = as_int(schema.get("multipleOf")) or 1
    least, most = as_float(schema.get("minimum")), as_float(schema.get("maximum"))
    above, below = as_float(schema.get("exclusiveMinimum")), as_float(schema.get("exclusiveMaximum"))
    steps = 0
    if least is not None:
        steps = max(steps, math.ceil(least / step))
    if above is not None:
        steps = max(steps, math.floor(above / step) + 1)
    if most is not None:
        steps = min(steps, math.floor(most / step))
    if below is not None:
        steps = min(steps, math.ceil(below / step) - 1)
    return steps * step


def _string(schema: JSONObject) -> str:
    text = _FORMATS.get(as_str(schema.get("format")) or "", "demo")
    text = text.ljust(as_int(schema.get("minLength")) or 0, "x")
    most = as_int(schema.get("maxLength"))
    return text if most is None else text[:most]


def _merged(schemas: Sequence[JSONObject], root: JSONObject) -> JSONObject:
    """What all of them say together, as far as an example needs it."""
    merged: JSONObject = {}
    properties: JSONObject = {}
    required: list[JSONValue] = []
    for schema in schemas:
        reference = as_str(schema.get("$ref"))
        whole = schema if reference is None else _resolve(reference, root)
        merged |= {key: value for key, value in whole.items() if key != "allOf"}
        properties |= as_object(whole.get("properties"))
        required += as_list(whole.get("required"))
    return {**merged, "properties": properties, "required": required} if properties else merged


def _resolve(reference: str, root: JSONObject) -> JSONObject:
    found: JSONValue = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = as_object(found).get(name.replace("~1", "/").replace("~0", "~"))
    return as_object(found)
