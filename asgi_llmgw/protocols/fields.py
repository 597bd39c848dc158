"""Typed reading of a client's JSON; a surprise is the client's mistake and names the field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import JSONObject, JSONValue, as_float, as_int, type_name

_EMPTY: Final[tuple[JSONValue, ...]] = (None, "", [], {})


def invalid(path: str, message: str, code: str = "invalid_value") -> InvalidRequest:
    """The error for a value at `path` that cannot be used."""
    return InvalidRequest(message, param=path, code=code)


def wrong_type(path: str, expected: str, value: JSONValue) -> InvalidRequest:
    """The error for a value of another type than `expected`."""
    return invalid(
        path, f"Invalid type for '{path}': expected {expected}, but got {type_name(value)} instead.", "invalid_type"
    )


def missing(path: str) -> InvalidRequest:
    """The error for a field that must be there."""
    return invalid(path, f"Missing required parameter: '{path}'.", "missing_required_parameter")


class Fields:
    """The members of one object in a request; `null` counts as absent.

    Whatever is read through it, or through the objects inside it, is noted: `unread` is what nobody asked for.

    Args:
        data: the object.
        path: where it stands; empty for the request itself.
    """

    __slots__ = ("_family", "_unread", "data", "path")

    def __init__(self, data: JSONObject, path: str = "") -> None:
        self._family: dict[str, tuple[JSONObject, set[str]]] = {}
        self._enter(data, path)

    def _enter(self, data: JSONObject, path: str) -> None:
        self.data = data
        self.path = path
        # whoever reads an object a second time goes on where the first one stopped
        self._unread = self._family.setdefault(path, (data, set(data)))[1]

    @classmethod
    def of(cls, value: JSONValue, path: str) -> Fields:
        """The fields of a value that must be an object."""
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        return cls(value, path)

    def inner(self, value: JSONValue, path: str) -> Fields:
        """The fields of a value inside this object; it must be an object itself."""
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        fields = Fields.__new__(Fields)
        fields._family = self._family
        fields._enter(value, path)
        return fields

    def unread(self) -> Iterator[tuple[str, JSONValue]]:
        """Path and value of every member that nobody has read, here and in the objects inside.

        Inside, a value that is empty says nothing: clients send whole answers back, empty members included.
        """
        for path, (data, names) in self._family.items():
            # in the order in which they stand there
            for name, value in data.items() if names else ():
                if name in names and value is not None and (not path or value not in _EMPTY):
                    yield f"{path}.{name}" if path else name, value

    def take(self, *names: str) -> JSONObject:
        """The whole object, for a reader of its own; only these members count as read."""
        self._unread.difference_update(names)
        return self.data

    def take_all(self) -> JSONObject:
        """The whole object, all of which counts as read."""
        self._unread.clear()
        return self.data

    def at(self, key: str) -> str:
        """The path of a member."""
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Whether the member is there and not null."""
        return self.data.get(key) is not None

    def any_of(self, names: frozenset[str]) -> bool:
        """Whether one of these members is there, be it null."""
        return not names.isdisjoint(self.data)

    def value(self, key: str) -> JSONValue:
        """Anything at all."""
        value = self.data.get(key)
        if value is not None:  # most members that are asked for are not there
            self._unread.discard(key)
        return value

    def text(self, key: str) -> str | None:
        """A string."""
        value = self.data.get(key)
        if value is None:
            return None
        self._unread.discard(key)
        if isinstance(value, str):
            return value
        raise wrong_type(self.at(key), "a string", value)

    def required_text(self, key: str) -> str:
        """A string that must be there."""
        value = self.text(key)
        if value is None:
            raise missing(self.at(key))
        return value

    def integer(self, key: str, *, minimum: int | None = None) -> int | None:
        """An integer; `1.0` is one."""
        value = self.data.get(key)
        if value is None:
            return None
        self._unread.discard(key)
        number = as_int(value)
        if number is None:
            raise wrong_type(self.at(key), "an integer", value)
        if minimum is not None and number < minimum:
            path = self.at(key)
            raise invalid(
                path,
                f"Invalid '{path}': integer below minimum value. Expected a value >= {minimum}, but got {number} "
                "instead.",
                "integer_below_min_value",
            )
        return number

    def number(self, key: str) -> float | None:
        """A number."""
        value = self.value(key)
        if value is None:
            return None
        number = as_float(value)
        if number is None:
            raise wrong_type(self.at(key), "a number", value)
        return number

    def flag(self, key: str) -> bool | None:
        """A boolean."""
        value = self.value(key)
        if value is None or isinstance(value, bool):
            return value
        raise wrong_type(self.at(key), "a boolean", value)

    def raw_object(self, key: str) -> JSONObject | None:
        """An object as it is."""
        value = self.value(key)
        if value is None or isinstance(value, dict):
            return value
        raise wrong_type(self.at(key), "an object", value)

    def object(self, key: str) -> Fields | None:
        """The fields of an object."""
        if self.data.get(key) is None:
            return None
        return self.inner(self.value(key), self.at(key))

    def required_object(self, key: str) -> Fields:
        """The fields of an object that must be there."""
        fields = self.object(key)
        if fields is None:
            raise missing(self.at(key))
        return fields

    def array(self, key: str) -> list[JSONValue]:
        """An array; empty when absent."""
        value = self.value(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong_type(self.at(key), "an array", value)
        return value

    def objects(self, key: str) -> Iterator[Fields]:
        """The members of an array of objects."""
        for index, item in enumerate(self.array(key)):
            yield self.member(key, index, item)

    def member(self, key: str, index: int, value: JSONValue) -> Fields:
        """One member of an array of objects."""
        return self.inner(value, f"{self.at(key)}[{index}]")

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings."""
        if self.data.get(key) is None:
            return ()
        path = self.at(key)
        for index, item in enumerate(self.array(key)):
            if not isinstance(item, str):
                raise wrong_type(f"{path}[{index}]", "a string", item)
        return tuple(item for item in self.array(key) if isinstance(item, str))
