"""Function arguments that arrive in pieces, each with the path of its place (`streamFunctionCallArguments`)."""

from __future__ import annotations

import itertools
import re
from typing import Final

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.json import JSONObject, JSONValue, as_bool, as_list, as_object, as_str

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\[\"((?:[^\"\\]|\\.)*)\"\]")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_MAX_GAP: Final = 64
_MAX_STEPS: Final = 64

Step = str | int


class PartialArguments:
    """Puts the pieces together into one object."""

    __slots__ = ("_path", "_root", "_text")

    def __init__(self, known: JSONObject) -> None:
        self._root: JSONObject = dict(known)
        self._path: tuple[Step, ...] = ()
        self._text: list[str] = []

    def feed(self, pieces: JSONValue) -> None:
        """Take the `partialArgs` of one chunk.

        Raises:
            InvalidUpstreamResponse: a path that leads nowhere.
        """
        for piece in as_list(pieces):
            self._piece(as_object(piece))

    def result(self) -> JSONObject:
        """The arguments so far."""
        self._flush()
        return self._root

    def _piece(self, piece: JSONObject) -> None:
        path = _steps(as_str(piece.get("jsonPath")) or "")
        text = as_str(piece.get("stringValue"))
        if path != self._path:
            self._flush()
        if text is not None:
            self._path = path
            self._text.append(text)
            if as_bool(piece.get("willContinue")) is not True:
                self._flush()
            return
        for name in ("numberValue", "boolValue", "nullValue"):
            if name in piece:
                self._put(path, None if name == "nullValue" else piece[name])

    def _flush(self) -> None:
        """A text is put in its place when it is whole, so that a long one costs no more than its length."""
        if self._text:
            self._put(self._path, "".join(self._text))
        self._path, self._text = (), []

    def _put(self, path: tuple[Step, ...], value: JSONValue) -> None:
        node: JSONValue = self._root
        for step, following in itertools.pairwise(path):
            child = _get(node, step)
            if not isinstance(child, list if isinstance(following, int) else dict):
                child = [] if isinstance(following, int) else {}
                _set(node, step, child)
            node = child
        _set(node, path[-1], value)


def _steps(path: str) -> tuple[Step, ...]:
    """`$.a[0]['b c']` as `("a", 0, "b c")`."""
    steps: list[Step] = []
    position = 1
    while path.startswith("$") and position < len(path) and len(steps) < _MAX_STEPS:
        match = _STEP.match(path, position)
        if match is None:
            break
        plain, index, *quoted = match.groups()
        name = plain if plain is not None else _ESCAPE.sub(r"\1", quoted[0] or quoted[1] or "")
        steps.append(int(index) if index is not None else name)
        position = match.end()
    if not steps or position != len(path) or isinstance(steps[0], int):
        raise InvalidUpstreamResponse("the upstream sent a function argument without a usable path")
    return tuple(steps)


def _get(node: JSONValue, step: Step) -> JSONValue:
    if isinstance(step, int):
        items = as_list(node)
        return items[step] if step < len(items) else None
    return as_object(node).get(step)


def _set(node: JSONValue, step: Step, value: JSONValue) -> None:
    if isinstance(node, dict) and isinstance(step, str):
        node[step] = value
    elif isinstance(node, list) and isinstance(step, int):
        if step > len(node) + _MAX_GAP:
            raise InvalidUpstreamResponse("the upstream sent function arguments with a gap in an array")
        node.extend([None] * (step + 1 - len(node)))
        node[step] = value
