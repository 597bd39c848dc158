"""Gemini keeps the model and the method in the path: take them out, and build them from a name we trust."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.protocols.base import RequestHead

_ACTIONS: Final = {"generateContent": False, "streamGenerateContent": True}
_VERSION: Final = re.compile(r"/v1(?:beta1?|alpha)?/(?P<rest>.+)\Z", re.DOTALL)
_VERTEX: Final = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/(?P<model>.+)\Z")
_NOT_A_MODEL: Final = re.compile(r"[\x00-\x20\x7f\\;?#%&=]|(?:\A|/)\.{0,2}(?:/|\Z)|//")
_MAX_MODEL: Final = 512


def parse_path(path: str) -> RequestHead:
    """The model and whether the answer is streamed.

    The text is decoded once; what is still encoded after that, or could step out of the path, is no model's name.

    Raises:
        InvalidRequest: not a path of this protocol (404).
    """
    try:
        plain = unquote(path.partition("?")[0], errors="strict")
    except UnicodeDecodeError:
        raise _no_such_path() from None
    match = _VERSION.match(plain)
    if match is None:
        raise _no_such_path()
    model, colon, action = match["rest"].rpartition(":")
    if not colon or action not in _ACTIONS:
        raise _no_such_path()
    model = _bare_model(model)
    if len(model) > _MAX_MODEL or _NOT_A_MODEL.search(model):
        raise InvalidRequest("There is no model of that name.", kind="model_not_found", code="model_not_found")
    return RequestHead(model, _ACTIONS[action])


def build_path(model: str, *, stream: bool) -> str:
    """The path that asks this model, with every character of its name quoted."""
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    name = model.removeprefix("models/")
    collection = "tunedModels" if name.startswith("tunedModels/") else "models"
    return f"/v1beta/{collection}/{quote(name.removeprefix('tunedModels/'), safe='')}:{action}"


def _bare_model(name: str) -> str:
    """Without the collection it stands in; tuned models keep theirs, which is part of their name."""
    vertex = _VERTEX.match(name)
    if vertex is not None:
        return vertex["model"]
    return name.removeprefix("models/").removeprefix("models/")


def _no_such_path() -> InvalidRequest:
    return InvalidRequest("There is nothing at this path.", kind="not_found", code="not_found")
