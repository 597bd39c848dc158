"""Converse keeps the model and the kind of the answer in the path: take them out, and build it from a name we trust."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.protocols.base import RequestHead

_PATH: Final = re.compile(r"/model/(?P<model>[^/?]+)/converse(?P<stream>-stream)?(?:\?.*)?\Z", re.DOTALL)
_NOT_A_MODEL: Final = re.compile(r"[\x00-\x20\x7f]")
_MAX_MODEL: Final = 2048


def parse_path(path: str) -> RequestHead:
    """The model and whether the answer is streamed.

    Raises:
        InvalidRequest: not a path of this protocol (404).
    """
    match = _PATH.match(path)
    try:
        model = unquote(match["model"], errors="strict") if match else ""
    except UnicodeDecodeError:
        model = ""
    if match is None or not model:
        raise InvalidRequest("There is nothing at this path.", kind="not_found", code="not_found")
    return RequestHead(_checked(model), match["stream"] is not None)


def build_path(model: str, *, stream: bool) -> str:
    """The path that asks this model; a name may be an ARN, so every character of it is quoted.

    Raises:
        InvalidRequest: the name would lead out of the path.
    """
    return f"/model/{quote(_checked(model), safe='')}/converse{'-stream' if stream else ''}"


def _checked(model: str) -> str:
    if not model or model in (".", "..") or len(model) > _MAX_MODEL or _NOT_A_MODEL.search(model):
        raise InvalidRequest(
            "There is no model of that name.", kind="model_not_found", param="model", code="model_not_found"
        )
    try:
        model.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("The name of the model is not text.", param="model") from None
    return model
