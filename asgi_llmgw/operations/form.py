"""A whole form, for the operations whose vendor is asked in other words: what a gateway passes on it never reads so.

https://www.rfc-editor.org/rfc/rfc7578
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from asgi_llmgw.errors import InvalidRequest, RequestError
from asgi_llmgw.operations.multipart import ambiguous, boundary_of, part_name

_MAX_PARTS: Final = 256
_BLANK: Final = b"\r\n\r\n"
_FILENAME: Final = re.compile(rb"[;\s]filename\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s\"]*))", re.IGNORECASE)
_TYPE: Final = re.compile(rb"\r\ncontent-type\s*:([^\r\n]*)", re.IGNORECASE)


class Part(msgspec.Struct, frozen=True):
    """One field, with what its head says of a file."""

    name: str
    content: bytes
    filename: str | None = None
    media_type: str | None = None

    @property
    def text(self) -> str:
        """The value of a field that is no file.

        Raises:
            InvalidRequest: it is not UTF-8.
        """
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"The parameter '{self.name}' is not UTF-8.", param=self.name) from None


class Form(msgspec.Struct, frozen=True):
    """The fields of a form, in order."""

    parts: tuple[Part, ...]

    def all(self, name: str) -> list[Part]:
        """Every field of that name, written as a list (`image[]`) or not."""
        return [part for part in self.parts if part.name.removesuffix("[]") == name]

    def one(self, name: str) -> Part | None:
        """The field of that name, None where there is none.

        Raises:
            InvalidRequest: there are several.
        """
        found = self.all(name)
        if len(found) > 1:
            raise InvalidRequest(f"The parameter '{name}' is given twice.", param=name)
        return found[0] if found else None

    def text(self, name: str) -> str | None:
        """The text of that name, None where there is none or an empty one.

        Raises:
            InvalidRequest: there are several, or it is not UTF-8.
        """
        found = self.one(name)
        return None if found is None else found.text or None

    @property
    def names(self) -> list[str]:
        """The fields' names, each once."""
        return list(dict.fromkeys(part.name.removesuffix("[]") for part in self.parts))


def read_form(body: bytes, content_type: str) -> Form:
    """The fields of a whole form.

    Raises:
        InvalidRequest: it cannot be read, or in more than one way.
        RequestError: it is no form.
    """
    boundary = boundary_of(content_type)
    if boundary is None:
        raise RequestError(
            "The request body must be a form (content-type: multipart/form-data with a boundary).",
            kind="unsupported_media_type",
        )
    delimiter = b"\r\n--" + boundary
    # the first boundary may stand at the very beginning
    first = body.find(delimiter[2:])
    place = first + len(delimiter) - 2
    parts: list[Part] = []
    while first >= 0 and body[place : place + 2] == b"\r\n":
        content = body.find(_BLANK, place) + len(_BLANK)
        end = body.find(delimiter, content)
        if content < len(_BLANK) or end < 0:
            break
        parts.append(_part(body[place:content], body[content:end]))
        if len(parts) > _MAX_PARTS:
            raise InvalidRequest(f"The form has more than {_MAX_PARTS} fields.", code="invalid_multipart")
        place = end + len(delimiter)
    if first < 0 or body[place : place + 2] != b"--":
        raise ambiguous()
    return Form(tuple(parts))


def _part(head: bytes, content: bytes) -> Part:
    filename, kind = _FILENAME.search(head), _TYPE.search(head)
    return Part(
        part_name(head),
        content,
        filename=None if filename is None else (filename[1] or filename[2]).decode("utf-8", "replace"),
        media_type=None if kind is None else kind[1].decode("latin-1").partition(";")[0].strip().lower() or None,
    )
