"""JSON Schema, cut down to what Anthropic and Amazon compile into a grammar (for answers and strict tools).

https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs,
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html. Keywords outside the subset move into the
`description`, where the model still reads them, as the vendor's own SDKs do.
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.json import JSONObject, JSONValue, dumps_text

_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_KEPT: Final = frozenset({"$ref", "type", "enum", "const", "title", "description", "required", "default"})
_DROPPED: Final = frozenset({"$schema", "$id", "$comment"})
_MAX_OPTIONAL: Final = 24
_MAX_UNIONS: Final = 16


class NotExpressible(ValueError):
    """The schema needs something that has no counterpart: recursion, references to elsewhere, schemas without type."""


def cut_schema(schema: JSONObject) -> JSONObject:
    """The nearest schema in the subset.

    Raises:
        NotExpressible: there is none.
    """
    if _recursive(schema):
        raise NotExpressible("the schema is recursive")
    cutter = _Cutter()
    result = cutter.cut(schema)
    if cutter.optional > _MAX_OPTIONAL or cutter.unions > _MAX_UNIONS:
        raise NotExpressible("the schema has too many optional or union-typed parameters")
    return result


def fits(schema: JSONObject) -> bool:
    """Whether the schema is in the subset as it stands."""
    try:
        return cut_schema(schema) == schema
    except NotExpressible:
        return False


class _Cutter:
    def __init__(self) -> None:
        self.optional = 0
        self.unions = 0

    def cut(self, schema: JSONValue) -> JSONObject:
        if not isinstance(schema, dict):
            raise NotExpressible("a schema that is not an object")
        result: JSONObject = {}
        moved: JSONObject = {}
        for key, value in schema.items():
            if key in _DROPPED:
                continue
            kept, word = self._keyword(key, value)
            if kept is None:
                moved[key] = value
            else:
                result[word] = kept
        if "$ref" in result:
            return result
        self._check_shape(result)
        if result.get("type") == "object" or "properties" in result:
            self._close_object(result, moved)
        return _described(result, moved)

    def _keyword(self, key: str, value: JSONValue) -> tuple[JSONValue, str]:
        """The keyword's value inside the subset and its name there; None where it has no place."""
        match key, value:
            case ("$ref", str()) if not value.startswith("#"):
                raise NotExpressible("a reference to another document")
            case ("const", None) | ("default", None):
                return None, key
            case _ if key in _KEPT:
                return value, key
            case (("properties" | "$defs" | "definitions"), dict()):
                return {name: self.cut(inner) for name, inner in value.items()}, key
            case ("items", dict()):
                return self.cut(value), key
            case (("anyOf" | "oneOf"), list()):
                self.unions += 1
                return [self.cut(inner) for inner in value], "anyOf"
            case ("allOf", list()):
                return [self.cut(inner) for inner in value], key
            case ("format", str()) if value in _FORMATS:
                return value, key
            case ("minItems", int()) if value in (0, 1):
                return value, key
            case _:
                return None, key

    def _check_shape(self, result: JSONObject) -> None:
        words = result.get("type")
        if isinstance(words, list):
            self.unions += 1
        known = words if isinstance(words, list) else [words]
        if "type" in result and not all(isinstance(word, str) and word in _TYPES for word in known):
            raise NotExpressible("an unknown type")
        if not any(key in result for key in ("type", "anyOf", "allOf", "enum", "const", "properties")):
            raise NotExpressible("a schema that allows anything")

    def _close_object(self, result: JSONObject, moved: JSONObject) -> None:
        if isinstance(moved.get("additionalProperties"), bool):
            del moved["additionalProperties"]
        properties = result.setdefault("properties", {})
        required = result.get("required")
        if isinstance(properties, dict):
            names = required if isinstance(required, list) else []
            self.optional += sum(name not in names for name in properties)
        result["additionalProperties"] = False


def _described(result: JSONObject, moved: JSONObject) -> JSONObject:
    if not moved:
        return result
    note = "{" + ", ".join(f"{key}: {dumps_text(value)}" for key, value in moved.items()) + "}"
    before = result.get("description")
    return {**result, "description": f"{before}\n\n{note}" if isinstance(before, str) and before else note}


def _recursive(schema: JSONObject) -> bool:
    """Whether following the references from some place leads back to it."""
    targets: dict[str, set[str]] = {"#": _references(schema)}
    for group in ("$defs", "definitions"):
        definitions = schema.get(group)
        if isinstance(definitions, dict):
            targets.update({f"#/{group}/{name}": _references(inner) for name, inner in definitions.items()})
    return any(_leads_back(name, targets) for name in targets if name != "#") or "#" in targets["#"]


def _leads_back(name: str, targets: dict[str, set[str]]) -> bool:
    seen: set[str] = set()
    front = set(targets[name])
    while front:
        if name in front or "#" in front:
            return True
        seen |= front
        front = {follower for step in front for follower in targets.get(step, ())} - seen
    return False


def _references(schema: JSONValue) -> set[str]:
    found: set[str] = set()
    level: list[JSONValue] = [schema]
    while level:
        node = level.pop()
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                found.add(reference)
            level.extend(node.values())
        elif isinstance(node, list):
            level.extend(node)
    return found
