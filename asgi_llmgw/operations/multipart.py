"""The one field of a form that a gateway has to read and to write, in a body of any size that is never held whole.

https://www.rfc-editor.org/rfc/rfc7578. Nothing but the parts' heads and the value of that field is looked at; where
readers could differ in what a part is called, the form is refused.
"""

from __future__ import annotations

import re
from typing import Final

from asgi_llmgw.errors import InvalidRequest

FIELD: Final = "model"
MAX_VALUE: Final = 512
_MAX_HEAD: Final = 16 * 1024
_MAX_PARTS: Final = 1000
_BLANK: Final = b"\r\n\r\n"
_BOUNDARY: Final = re.compile(
    r"multipart/form-data\s*(?:;[^\"]*?)?;\s*boundary=(?:\"([^\"]{1,70})\"|([^\s;\"]{1,70}))(?=\s*(?:;|$))",
    re.IGNORECASE,
)
_BOUNDARIES: Final = re.compile(r"boundary\s*=", re.IGNORECASE)
_NAME: Final = re.compile(rb"[;\s]name(\*?)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s\"]*))", re.IGNORECASE)
_DISPOSITION: Final = re.compile(rb"\r\ncontent-disposition\s*:", re.IGNORECASE)
_FOLDED: Final = re.compile(rb"\r\n[ \t]|[^\r]\n|\r[^\n]")
"""A line of a head that goes on in the next, or that some readers would take for two."""
_PART: Final = b'Content-Disposition: form-data; name="model"\r\n\r\n'


def boundary_of(content_type: str) -> bytes | None:
    """What stands between the parts, told by the content type; None where it is no form."""
    found = _BOUNDARY.match(content_type.strip())
    if found is None or len(_BOUNDARIES.findall(content_type)) > 1:
        return None
    text = found[1] or found[2]
    return text.encode("latin-1") if text.isascii() and text.isprintable() else None


class ModelField:
    """Finds the field `model` of a form in bytes that come piece by piece, and writes another value in its place.

    Args:
        boundary: what stands between the parts.
        expected: the only value the field may have; None takes any.
        model: what is written instead, and added at the end where there is no such field; None leaves the form alone.
    """

    def __init__(self, boundary: bytes, *, expected: str | None = None, model: str | None = None) -> None:
        self._mark = b"--" + boundary
        self._delimiter = b"\r\n" + self._mark
        self._expected = expected
        self._model = None if model is None else model.encode()
        # the first boundary may stand at the very beginning
        self._buffer = bytearray(b"\r\n")
        self._skip = 2
        self._in_data = True
        self._in_value = False
        self._parts = 0
        self.value: str | None = None
        self.size = 0
        self.ended = False

    def feed(self, chunk: bytes) -> bytes:
        """What may go on.

        Raises:
            InvalidRequest: the form cannot be read in one way only, or names another model than was expected.
        """
        if self.ended:
            return chunk
        self._buffer += chunk
        out = bytearray()
        while self._step(out):
            pass
        return self._shown(out)

    def close(self) -> bytes:
        """The body has ended.

        Raises:
            InvalidRequest: inside the form.
        """
        if not self.ended:
            raise InvalidRequest("The form ends before its last boundary.", code="invalid_multipart")
        return b""

    def _shown(self, out: bytearray) -> bytes:
        skipped = min(self._skip, len(out))
        self._skip -= skipped
        return bytes(out[skipped:])

    def _step(self, out: bytearray) -> bool:
        """Go on by one piece; False where more bytes are needed."""
        if self._in_value:
            return self._take_value(out)
        if self._in_data:
            return self._pass_data(out)
        return self._read_head(out)

    def _pass_data(self, out: bytearray) -> bool:
        place = self._boundary()
        if place < 0:
            # the last bytes may be the beginning of a boundary
            self._move(out, max(0, len(self._buffer) - len(self._delimiter) + 1))
            return False
        self._move(out, place)
        self._in_data = False
        return True

    def _read_head(self, out: bytearray) -> bool:
        """The buffer begins with what looks like a boundary."""
        after = bytes(self._buffer[len(self._delimiter) : len(self._delimiter) + 2])
        if len(after) < 2:
            return False
        if after == b"--":
            self._end(out)
            return False
        if after != b"\r\n":
            raise ambiguous()
        end = self._buffer.find(_BLANK, len(self._delimiter))
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise InvalidRequest("The head of a part of the form is too large.", code="invalid_multipart")
            return False
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise InvalidRequest(f"The form has more than {_MAX_PARTS} fields.", code="invalid_multipart")
        end += len(_BLANK)
        if part_name(bytes(self._buffer[len(self._delimiter) : end])) == FIELD:
            if self.value is not None:
                raise InvalidRequest(f"The parameter '{FIELD}' is given twice.", param=FIELD)
            self._in_value = True
        else:
            self._in_data = True
        self._move(out, end)
        return True

    def _boundary(self) -> int:
        """Where the next boundary begins, -1 where none is in sight. Some readers take one in the middle of a line."""
        place = self._buffer.find(self._mark)
        if place >= 0 and self._buffer[place - 2 : place] != b"\r\n":
            raise ambiguous()
        return place - 2 if place >= 0 else -1

    def _take_value(self, out: bytearray) -> bool:
        place = self._boundary()
        if place > MAX_VALUE or (place < 0 and len(self._buffer) > MAX_VALUE + len(self._delimiter)):
            raise InvalidRequest(f"The parameter '{FIELD}' is too long.", param=FIELD)
        if place < 0:
            return False
        try:
            self.value = self._buffer[:place].decode().strip()
        except UnicodeDecodeError:
            raise InvalidRequest(f"The parameter '{FIELD}' is not UTF-8.", param=FIELD) from None
        self.size = place
        if self._expected is not None and self.value != self._expected:
            raise InvalidRequest(
                f"The form names its model after its file, and not the one the request was routed by "
                f"('{self._expected}'): send '{FIELD}' before the file, or as ?{FIELD}= in the address.",
                param=FIELD,
                code="model_after_file",
            )
        if self._model is None:
            self._move(out, place)
        else:
            out += self._model
            del self._buffer[:place]
        self._in_value = False
        return True

    def _end(self, out: bytearray) -> None:
        if self._model is not None and self.value is None:
            out += self._delimiter + b"\r\n" + _PART + self._model
        self._move(out, len(self._buffer))
        self.ended = True

    def _move(self, out: bytearray, count: int) -> None:
        out += self._buffer[:count]
        del self._buffer[:count]


def part_name(head: bytes) -> str:
    """What a part is called.

    Raises:
        InvalidRequest: it can be read in two ways.
    """
    dispositions = list(_DISPOSITION.finditer(head))
    if len(dispositions) != 1 or _FOLDED.search(head):
        raise ambiguous()
    names = _NAME.findall(head[dispositions[0].end() :].partition(b"\r\n")[0])
    if len(names) != 1 or names[0][0]:
        raise ambiguous()
    found: bytes = names[0][1] or names[0][2]
    return re.sub(rb"\\(.)", rb"\1", found).decode("utf-8", "replace").strip()


def ambiguous() -> InvalidRequest:
    """The error for a form that readers could understand in different ways."""
    return InvalidRequest("The form can be read in more than one way.", code="invalid_multipart")
