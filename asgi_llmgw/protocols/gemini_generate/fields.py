"""Reading a Gemini client's JSON: each field may be spelled in camelCase or in snake_case, at every depth.

User data (arguments, results, schemas) is never read through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from asgi_llmgw.ir import Extension, Severity
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.fields import Fields, invalid, wrong_type

from .wire import PROTOCOL

_SNAKE: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")


def camel(name: str) -> str:
    """`thought_signature` as `thoughtSignature`; what is camelCase already stays."""
    return _SNAKE.sub(lambda match: match[1].upper(), name) if "_" in name else name


class GeminiFields(Fields):
    """The members of one object under their camelCase names; `raw` is the object as the client wrote it.

    Raises:
        InvalidRequest: one field is given in both spellings.
    """

    __slots__ = ("raw",)

    def __init__(self, data: JSONObject, path: str = "") -> None:
        self.raw = data
        if not any("_" in name for name in data):
            super().__init__(data, path)
            return
        named: JSONObject = {}
        for name, value in data.items():
            key = camel(name)
            if named.get(key) is not None and value is not None:
                where = f"{path}.{key}" if path else key
                raise invalid(where, f"'{where}' is given twice, in two spellings.", "repeated_parameter")
            if value is not None or key not in named:
                named[key] = value
        super().__init__(named, path)

    @classmethod
    def of(cls, value: JSONValue, path: str) -> GeminiFields:
        """The fields of a value that must be an object."""
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        return cls(value, path)

    def object(self, key: str) -> GeminiFields | None:
        """The fields of an object."""
        value = self.raw_object(key)
        return None if value is None else GeminiFields(value, self.at(key))

    def array(self, key: str) -> list[JSONValue]:
        """An array; one object alone stands for an array of it, as in the vendor's own examples."""
        value = self.data.get(key)
        return [value] if isinstance(value, dict) else super().array(key)

    def objects(self, key: str) -> Iterator[GeminiFields]:
        """The members of an array of objects."""
        for index, item in enumerate(self.array(key)):
            yield GeminiFields.of(item, f"{self.at(key)}[{index}]")

    def word(self, key: str, numbers: tuple[str, ...] = ()) -> str | None:
        """The name of an enum value in upper case; a number is looked up, and one that says nothing is absent."""
        value = self.data.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(numbers):
            value = numbers[value]
        if value is None:
            return None
        if not isinstance(value, str):
            raise wrong_type(self.at(key), "a name", value)
        name = value.upper()
        return None if not name or name.endswith("_UNSPECIFIED") else name

    def others(self, known: frozenset[str], loss: dict[str, Severity] | None = None) -> Iterator[Extension]:
        """What is not among the known fields: Gemini's alone, and to be told of elsewhere."""
        for key, value in self.data.items():
            if key not in known and value is not None:
                yield Extension(PROTOCOL, self.at(key), value, (loss or {}).get(key, "warning"))
