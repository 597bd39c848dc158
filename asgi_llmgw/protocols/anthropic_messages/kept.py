"""What only this protocol can say, kept so that it is said again, or reported as lost, and never forgotten."""

from __future__ import annotations

from asgi_llmgw.ir import CacheMark, Extension, Severity
from asgi_llmgw.json import JSONValue
from asgi_llmgw.protocols.fields import Fields

from .wire import FIELD_LOSS, NAME, REQUEST_LOSS


class Kept:
    """Collects the members of a request that have no place of their own in a `ChatRequest`."""

    __slots__ = ("extensions",)

    def __init__(self) -> None:
        self.extensions: list[Extension] = []

    def keep(self, path: str, value: JSONValue, loss: Severity = "warning") -> None:
        """One value; `loss` is how bad it is for a vendor not to get it."""
        self.extensions.append(Extension(NAME, path, value, loss))

    def keep_unread(self, fields: Fields) -> None:
        """All that nobody has read, however deep it stands; empty members say nothing."""
        for path, value in fields.unread():
            if value not in ("", [], {}):
                inside, _, name = path.rpartition(".")
                losses = FIELD_LOSS if inside else REQUEST_LOSS
                self.keep(path, value, losses.get(name, "warning"))


def cache_mark(fields: Fields) -> CacheMark | None:
    """The `cache_control` of a block, a tool or the request."""
    mark = fields.object("cache_control")
    if mark is None:
        return None
    mark.take("type")  # there is one kind only, `ephemeral`
    return CacheMark(mark.text("ttl"))
