"""The one door to JSON.

Strict (RFC 8259: no NaN, no lone surrogates, no trailing bytes), integers of any size are kept, depth and size are
bounded. Everything behind this door is typed as `JSONValue`; the accessors below turn a value into what a codec
expects without ever raising on a surprise, because vendors surprise.
"""

from __future__ import annotations

import json as _stdlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"
JSONObject: TypeAlias = dict[str, JSONValue]
DecodedObject: TypeAlias = dict[str, Any]
"""A `JSONObject` inside the type of something decoded, where a recursive type cannot stand."""
_Container: TypeAlias = "JSONObject | list[JSONValue]"

MAX_DEPTH: Final = 64
MAX_NODES: Final = 500_000

_BOM: Final = b"\xef\xbb\xbf"
_BESIDES: Final = r'[^"%s]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"%s]*+)*+'
"""A pattern for text without some characters, whole strings apart: possessive, so that it takes no memory."""


def _times(wanted: str, others: str, count: int) -> re.Pattern[bytes]:
    beside = _BESIDES % (wanted + others, wanted + others)
    return re.compile(f"(?:{beside}[{wanted}]){{{count}}}+".encode(), re.DOTALL)


_MANY_COMMAS: Final = _times(",", "", MAX_NODES + 1)
_MANY_OPEN: Final = _times(r"\[{", "", MAX_NODES + 1)
_DEEP: Final = _times(r"\[{", r"\]}", MAX_DEPTH + 1)
_BEFORE_VALUE: Final = re.compile(rb'\s*[{,]\s*"([^"\\]*)"\s*:\s*')
_END: Final = re.compile(rb"\s*\}\s*")
_encoder: Final = msgspec.json.Encoder()
_value: Final = msgspec.json.Decoder()
_string: Final = msgspec.json.Decoder(str)
_strings: Final = msgspec.json.Decoder(list[str])
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])


class JSONError(ValueError):
    """Not JSON, or more than we take. `code` is `invalid_json`, `json_too_deep` or `json_too_large`."""

    def __init__(self, message: str, *, code: str = "invalid_json") -> None:
        super().__init__(message)
        self.code = code


def loads(data: bytes | bytearray | str) -> JSONValue:
    """Decode one JSON document, from a peer we talk to.

    Raises:
        JSONError: not valid JSON, or nested deeper than the parser goes.
    """
    try:
        value: JSONValue = _value.decode(data)
        return value
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
        raise JSONError(str(exc)) from None
    except RecursionError:
        raise JSONError("nested too deep", code="json_too_deep") from None


def loads_object(data: bytes | bytearray | str) -> JSONObject:
    """Decode one JSON object.

    Raises:
        JSONError: not valid JSON, or not an object.
    """
    value = loads(data)
    if not isinstance(value, dict):
        raise JSONError(f"expected an object, got {type_name(value)}")
    return value


def loads_string(data: bytes) -> str:
    """Decode one JSON string.

    Raises:
        JSONError: not valid JSON, or not a string.
    """
    try:
        return _string.decode(data)
    except (msgspec.DecodeError, ValueError) as exc:
        raise JSONError(str(exc)) from None


def loads_strings(data: bytes) -> list[str]:
    """Decode an array of strings.

    Raises:
        JSONError: not valid JSON, or not an array of strings.
    """
    try:
        return _strings.decode(data)
    except (msgspec.DecodeError, ValueError) as exc:
        raise JSONError(str(exc)) from None


def loads_request(body: bytes) -> JSONObject:
    """Decode a client's request body; a UTF-8 byte order mark is skipped.

    Raises:
        JSONError: not a JSON object, deeper than `MAX_DEPTH`, more values than `MAX_NODES`.
    """
    _check_text(body)
    value = loads_object(body.removeprefix(_BOM))
    _check_size(value)
    return value


def dumps(value: object) -> bytes:
    """Encode as compact UTF-8 JSON; keys keep their order.

    Raises:
        JSONError: a value JSON cannot express (NaN and infinities are written as null, as JavaScript does).
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.EncodeError) as exc:
        raise JSONError(f"cannot be written as JSON: {exc}") from None


def dumps_lines(values: Sequence[object]) -> bytes:
    """Like `dumps`, each value on a line of its own.

    Raises:
        JSONError: a value JSON cannot express.
    """
    try:
        return _encoder.encode_lines(values)
    except (TypeError, ValueError, RecursionError, msgspec.EncodeError) as exc:
        raise JSONError(f"cannot be written as JSON: {exc}") from None


def dumps_text(value: object) -> str:
    """Like `dumps`, as text (tool arguments are JSON inside a JSON string)."""
    return dumps(value).decode()


class Document(bytes):
    """The bytes of a JSON object that remember its members: they are told apart once, however many ask for one.

    Attributes:
        is_plain: what was found out about it as a request; see `protocols.plain`.
    """

    is_plain: bool | None = None
    _text: bytes | None = None
    _unusable: tuple[str, str] | None = None
    _members: Mapping[str, msgspec.Raw] | None = None
    _compact: bool | None = None
    _places: Mapping[str, int] | None = None

    @classmethod
    def of(cls, text: bytes) -> Document:
        """One of plain bytes, which are kept to be read: otherwise they are copied once more for that."""
        document = cls(text)
        document._text = text
        return document

    def members(self) -> Mapping[str, msgspec.Raw]:
        """The top-level members, each value as its own undecoded bytes.

        Raises:
            JSONError: not a JSON object, or with far more values than `MAX_NODES`.
        """
        if self._members is not None:
            return self._members
        if self._unusable is not None:
            message, code = self._unusable
            raise JSONError(message, code=code)
        try:
            _check_text(self)
            # not of itself: what is raw keeps alive what it is a part of, and would keep it in a circle
            self._members = members(bytes(self) if self._text is None else self._text)
        except JSONError as exc:
            # not the error itself, whose traceback would keep this alive
            self._unusable = str(exc), exc.code
            raise
        return self._members

    def is_compact(self) -> bool:
        """Whether it is exactly as long as its members are: no space between them, and none of them stands twice.

        Raises:
            JSONError: not a JSON object.
        """
        if self._compact is None:
            found = self.members()
            # a list of the names has all that stands around the values but a colon for each
            length = len(_encoder.encode([*found])) + len(found) + sum(map(len, found.values()))
            self._compact = length == len(self)
        return self._compact

    def places(self) -> Mapping[str, int]:
        """Where the value of each member begins; nothing where a name stands twice or is written in escapes.

        Raises:
            JSONError: not a JSON object.
        """
        if self._places is None:
            self._places = self._find_places()
        return self._places

    def _find_places(self) -> Mapping[str, int]:
        at, places = 0, {}
        for name, raw in self.members().items():
            before = _BEFORE_VALUE.match(self, at)
            if before is None or before[1] != name.encode() or not self.startswith(bytes(raw), before.end()):
                return {}
            places[name] = before.end()
            at = before.end() + len(raw)
        return places if _END.fullmatch(self, at) else {}


def members(body: bytes) -> Mapping[str, msgspec.Raw]:
    """The top-level members of an object, each value as its own undecoded bytes.

    Raises:
        JSONError: not a JSON object.
    """
    if isinstance(body, Document):
        return body.members()
    try:
        return _members.decode(body.removeprefix(_BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
        raise JSONError(str(exc)) from None
    except RecursionError:
        raise JSONError("nested too deep", code="json_too_deep") from None


def elements(body: bytes) -> list[msgspec.Raw]:
    """The elements of an array, each as its own undecoded bytes.

    Raises:
        JSONError: not a JSON array.
    """
    try:
        return _elements.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
        raise JSONError(str(exc)) from None
    except RecursionError:
        raise JSONError("nested too deep", code="json_too_deep") from None


def with_members(body: bytes, changes: Mapping[str, JSONValue]) -> bytes:
    """Set top-level members, keeping the bytes of every other value.

    Raises:
        JSONError: `body` is not a JSON object.
    """
    return dumps({**members(body), **changes})


def replace_model(body: bytes, model: str, also: Mapping[str, JSONValue] | None = None) -> bytes:
    """Change the value of `model`, keeping the bytes of every other value (and all of them if it is that already).

    Args:
        also: other members to set in the same step.
    """
    document = body if isinstance(body, Document) else Document.of(body.removeprefix(_BOM))
    if also:
        return with_members(document, {"model": model, **also})
    found = document.members()
    raw = found.get("model")
    if raw is not None and _value.decode(raw) == model:
        return document
    place = None if document.is_compact() else document.places().get("model")
    if raw is None or place is None:
        return dumps({**found, "model": model})
    # the spaces between the members stay as they are
    text = memoryview(document)
    return b"".join((text[:place], dumps(model), text[place + len(raw) :]))


def repeated_member(body: bytes, names: tuple[str, ...]) -> str | None:
    """The first of `names` that stands twice at the top level: readers differ in which of the two they take.

    A second full parse happens only when the text gives a reason for suspicion.
    """
    try:
        if isinstance(body, Document) and (body.is_compact() or body.places()):
            return None
    except JSONError:
        # whoever wants one of them is told why there are none
        return None
    found = _any_of(names).findall(body)
    # one byte is found much faster than several
    if len(found) == len(set(found)) and not (b"\\" in body and b"\\u00" in body):
        return None
    pairs: list[str] = []

    def keep_keys(items: list[tuple[str, object]]) -> None:
        # called for inner objects first, so what is left at the end are the keys of the outermost one
        pairs[:] = [key for key, _ in items]

    try:
        # numbers stay text: they are not looked at, and long ones would be refused
        _stdlib.loads(body.removeprefix(_BOM), object_pairs_hook=keep_keys, parse_int=str, parse_float=str)
    except ValueError:
        return None
    except RecursionError:
        return names[0]
    return next((name for name in names if pairs.count(name) > 1), None)


@lru_cache(maxsize=64)
def _any_of(names: tuple[str, ...]) -> re.Pattern[bytes]:
    return re.compile(rb'"(%b)"\s*:' % b"|".join(re.escape(name.encode()) for name in names))


def type_name(value: object) -> str:
    """What JSON calls the type of a value, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def as_object(value: JSONValue) -> JSONObject:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: JSONValue) -> list[JSONValue]:
    """The array, or an empty one."""
    return value if isinstance(value, list) else []


def as_str(value: JSONValue) -> str | None:
    """The string, or None."""
    return value if isinstance(value, str) else None


def as_int(value: JSONValue) -> int | None:
    """The integer (`1.0` counts, `true` does not), or None."""
    if type(value) is int or value is None:  # first, because it is what nearly all counts and indices are
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return None


def as_float(value: JSONValue) -> float | None:
    """The number, or None; an integer too large for a float is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def as_bool(value: JSONValue) -> bool | None:
    """The boolean, or None."""
    return value if isinstance(value, bool) else None


def _check_text(body: bytes) -> None:
    """Refuse far too many values before they cost memory: two bytes of text can become an object of sixty-four.

    Each comma outside a string stands before a value, and each opening bracket begins one. The text is looked at
    closely only where the plain counts give a reason for suspicion.
    """
    if len(body) <= MAX_NODES or max(map(body.count, (b",", b"[", b"{"))) <= MAX_NODES:
        return
    if _DEEP.match(body):
        raise _too_deep()
    if _MANY_COMMAS.match(body) or _MANY_OPEN.match(body):
        raise _too_large()


def _check_size(value: JSONObject) -> None:
    """Walk the containers, level by level, so that the walk itself cannot be made to recurse."""
    level: list[_Container] = [value]
    nodes = 1
    for _ in range(MAX_DEPTH):
        nodes += sum(map(len, level))
        if nodes > MAX_NODES:
            raise _too_large()
        level = [
            item
            for node in level
            for item in (node.values() if type(node) is dict else node)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return
    if any(level):
        raise _too_deep()


def _too_deep() -> JSONError:
    return JSONError(f"nested deeper than {MAX_DEPTH}", code="json_too_deep")


def _too_large() -> JSONError:
    return JSONError(f"more than {MAX_NODES} values", code="json_too_large")
