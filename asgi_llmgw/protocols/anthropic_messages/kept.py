"""What only this protocol can say, kept so that it is said again, or reported as lost, and never forgotten."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.ir import CacheMark, Extension, Severity
from asgi_llmgw.json import JSONValue
from asgi_llmgw.protocols.fields import Fields

from .wire import FIELD_LOSS, NAME

_MARK: Final = frozenset({"type", "ttl"})


class Kept:
    """Collects the members of a request that have no place of their own in a `ChatRequest`."""

    __slots__ = ("extensions",)

    def __init__(self) -> None:
        self.extensions: list[Extension] = []

    def keep(self, path: str, value: JSONValue, loss: Severity = "warning") -> None:
        """One value; `loss` is how bad it is for a vendor not to get it."""
        self.extensions.append(Extension(NAME, path, value, loss))

    def rest(self, fields: Fields, known: frozenset[str]) -> None:
        """The members of an object besides the known ones; empty ones say nothing."""
        for key, value in fields.data.items():
            if key not in known and value not in (None, [], {}):
                self.keep(fields.at(key), value, FIELD_LOSS.get(key, "warning"))

    def cache_mark(self, fields: Fields) -> CacheMark | None:
        """The `cache_control` of a block, a tool or the request."""
        mark = fields.object("cache_control")
        if mark is None:
            return None
        self.rest(mark, _MARK)
        return CacheMark(mark.text("ttl"))
