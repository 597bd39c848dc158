"""JSON Schema cut down to the OpenAPI subset that `parameters` and `responseSchema` take.

https://ai.google.dev/api/caching#Schema. Nothing is invented: a node that says nothing about its type stays without
one. What cannot be said is named in a diagnostic.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from asgi_llmgw.ir import Diagnostic
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, as_str, dumps_text
from asgi_llmgw.protocols.base import Diagnostics

_TYPES: Final = frozenset({"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"})
_TEXTS: Final = ("title", "description", "format", "pattern")
_COUNTS: Final = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")
_HANDLED: Final = frozenset(
    {
        *_TEXTS,
        *_COUNTS,
        "type",
        "nullable",
        "const",
        "enum",
        "items",
        "properties",
        "required",
        "propertyOrdering",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "definitions",
        "default",
        "example",
    }
)
_SILENT: Final = frozenset({"$schema", "$id", "$comment", "$anchor", "examples", "deprecated", "readOnly", "writeOnly"})
"""Words that only a reader cares about: losing them changes no value that fits."""

_MAX_DEPTH: Final = 32
_MAX_NODES: Final = 5_000


def to_gemini_schema(schema: JSONObject) -> tuple[JSONObject, tuple[Diagnostic, ...]]:
    """The schema in Gemini's words, and what it lost; paths are relative to the schema (`properties.name`)."""
    lost = Diagnostics()
    return gemini_schema(schema, "", lost), lost.items()


def gemini_schema(schema: JSONObject, path: str, lost: Diagnostics) -> JSONObject:
    """The schema in Gemini's words; `path` is where it stands in the request."""
    return _Converter(schema, lost).convert(schema, path, ())


class _Converter:
    def __init__(self, root: JSONObject, lost: Diagnostics) -> None:
        self.root = root
        self.lost = lost
        self.nodes = 0

    def convert(self, node: JSONValue, path: str, refs: tuple[str, ...], depth: int = 0) -> JSONObject:
        self.nodes += 1
        if depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            self.lost.approximated(path or "schema", "the schema is too deep or too large and is cut here")
            return {"type": "OBJECT"}
        if not isinstance(node, dict):
            if node is not True:
                self.lost.dropped(path or "schema", "a schema that is not an object")
            return {}
        resolved, refs = self._resolve(node, path, refs)
        if resolved is None:
            return {"type": "OBJECT"}
        node, refs = self._merge_all_of(resolved, path, refs)
        for name in node:
            if name not in _HANDLED:
                self.lost.dropped(_at(path, name), info=name in _SILENT)
        result: JSONObject = {}
        self._type(node, result, path)
        self._texts_and_bounds(node, result, path)
        self._values(node, result, path)
        self._children(node, result, path, refs, depth)
        self._alternatives(node, result, path, refs, depth)
        return result

    def _resolve(self, node: JSONObject, path: str, refs: tuple[str, ...]) -> tuple[JSONObject | None, tuple[str, ...]]:
        """Put what a `$ref` points to in its place; None where that would go on for ever."""
        while (ref := as_str(node.get("$ref"))) is not None:
            if ref in refs:
                self.lost.approximated(_at(path, "$ref"), "a recursive schema is cut here")
                return None, refs
            target = self._target(ref)
            if target is None:
                self.lost.dropped(_at(path, "$ref"), "the reference cannot be resolved")
            rest = {name: value for name, value in node.items() if name != "$ref"}
            node, refs = {**(target or {}), **rest}, (*refs, ref)
        return node, refs

    def _target(self, ref: str) -> JSONObject | None:
        if not ref.startswith("#"):
            return None
        node: JSONValue = self.root
        for step in ref[1:].split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list):
                node = node[int(name)] if name.isdecimal() and int(name) < len(node) else None
            else:
                node = as_object(node).get(name)
        return node if isinstance(node, dict) else None

    def _merge_all_of(self, node: JSONObject, path: str, refs: tuple[str, ...]) -> tuple[JSONObject, tuple[str, ...]]:
        """All branches as one node, as far as they do not contradict each other; each reference is followed once."""
        branches = as_list(node.get("allOf"))
        merged = {name: value for name, value in node.items() if name != "allOf"}
        if branches:
            self.lost.approximated(_at(path, "allOf"), "the branches are merged into one schema", info=True)
        while branches and self.nodes <= _MAX_NODES:
            deeper: list[JSONValue] = []
            for branch in branches:
                self.nodes += 1
                if as_object(branch).get("$ref") in refs:
                    continue
                resolved, refs = self._resolve(as_object(branch), path, refs)
                if resolved is not None:
                    deeper += as_list(resolved.get("allOf"))
                    merged = self._merge(merged, resolved, path)
            branches = deeper
        return merged, refs

    def _merge(self, left: JSONObject, right: JSONObject, path: str) -> JSONObject:
        merged = dict(left)
        for name, value in right.items():
            if name in ("allOf", "$ref"):
                continue
            if name == "properties":
                merged[name] = {**as_object(merged.get(name)), **as_object(value)}
            elif name == "required":
                merged[name] = list(dict.fromkeys(n for n in _strings(merged.get(name)) + _strings(value)))
            elif merged.setdefault(name, value) != value:
                self.lost.dropped(_at(path, name), "two branches of allOf disagree; the first is kept")
        return merged

    def _type(self, node: JSONObject, result: JSONObject, path: str) -> None:
        raw = node.get("type")
        names = [name.upper() for name in (_strings(raw) if isinstance(raw, list) else _strings([raw]))]
        nullable = "NULL" in names or node.get("nullable") is True
        known = [name for name in names if name in _TYPES]
        if len(known) == 1:
            result["type"] = known[0]
        elif known:
            # several types at once are alternatives here
            result["anyOf"] = [{"type": name} for name in known]
        elif raw is not None and not nullable:
            self.lost.dropped(_at(path, "type"), "not a type Gemini has")
        if nullable:
            result["nullable"] = True

    def _texts_and_bounds(self, node: JSONObject, result: JSONObject, path: str) -> None:
        for name in _TEXTS:
            if isinstance(node.get(name), str):
                result[name] = node[name]
        for name in _COUNTS:
            if _is_number(node.get(name)):
                result[name] = node[name]
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if _is_number(node.get(bound)):
                result[bound] = node[bound]
            if _is_number(node.get(exclusive)):
                result.setdefault(bound, node[exclusive])
                self.lost.approximated(_at(path, exclusive), f"sent as {bound}")
        for name in ("default", "example"):
            if name in node:
                result[name] = node[name]

    def _values(self, node: JSONObject, result: JSONObject, path: str) -> None:
        """`const` and `enum`: Gemini has enums of strings alone."""
        word = "const" if "const" in node else "enum"
        values = [node["const"]] if word == "const" else as_list(node.get("enum"))
        if None in values:
            result["nullable"] = True
        said = [value for value in values if value is not None and value != ""]
        if "" in values:
            self.lost.dropped(_at(path, word), "Gemini refuses the empty string as a value")
        if not said:
            return
        if any(isinstance(value, (dict, list)) for value in said):
            self.lost.dropped(_at(path, word), "Gemini has enums of strings only")
            return
        if any(not isinstance(value, str) for value in said):
            self.lost.approximated(_at(path, word), "the values are sent as strings")
            for name in ("minimum", "maximum", "format"):
                result.pop(name, None)
        result.pop("anyOf", None)
        result["type"] = "STRING"
        result["enum"] = list(dict.fromkeys(v if isinstance(v, str) else dumps_text(v) for v in said))

    def _children(self, node: JSONObject, result: JSONObject, path: str, refs: tuple[str, ...], depth: int) -> None:
        properties = as_object(node.get("properties"))
        if properties:
            inner: JSONObject = {}
            for name, child in properties.items():
                inner[name] = self.convert(child, _at(path, f"properties.{name}"), refs, depth + 1)
            result["properties"] = inner
            result["propertyOrdering"] = list(inner)
            required = [name for name in _strings(node.get("required")) if name in inner]
            if required:
                result["required"] = list(required)
        items = node.get("items")
        if isinstance(items, list):
            self.lost.dropped(_at(path, "items"), "Gemini has no tuples")
        elif items is not None:
            result["items"] = self.convert(items, _at(path, "items"), refs, depth + 1)

    def _alternatives(self, node: JSONObject, result: JSONObject, path: str, refs: tuple[str, ...], depth: int) -> None:
        branches: list[JSONValue] = []
        for word in ("anyOf", "oneOf"):
            for index, branch in enumerate(as_list(node.get(word))):
                if as_object(branch).get("type") == "null":
                    result["nullable"] = True
                else:
                    branches.append(self.convert(branch, _at(path, f"{word}[{index}]"), refs, depth + 1))
        if "oneOf" in node:
            self.lost.approximated(_at(path, "oneOf"), "sent as anyOf", info=True)
        if len(branches) == 1:
            # `x or null` is x that may be null; what stands beside the alternatives wins
            result.update({**as_object(branches[0]), **result})
        elif branches:
            result["anyOf"] = branches


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _strings(value: JSONValue) -> list[str]:
    return [item for item in as_list(value) if isinstance(item, str)]


def _is_number(value: JSONValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
