"""Operations as Gemini writes them: the model stands in the path, and for some of them in the body as well.

https://ai.google.dev/api/embeddings, https://ai.google.dev/api/caching
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import (
    JSONError,
    JSONValue,
    as_list,
    as_object,
    as_str,
    loads,
    members,
    repeated_member,
    replace_model,
    with_members,
)
from asgi_llmgw.operations.openai import usage_in
from asgi_llmgw.protocols import EncodedRequest, RequestHead

_MODELS: Final = "models/"


@dataclass(frozen=True, slots=True)
class GeminiWire:
    """The model in the path; a model in the body says the same."""

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        """See `Wire.peek`."""
        model = path.rpartition("/models/")[2].rpartition(":")[0]
        if not model:
            raise InvalidRequest("There is no model of that name.", kind="model_not_found", code="model_not_found")
        return RequestHead(model, stream=False)

    def with_model(self, path: str, body: bytes, model: str, /) -> EncodedRequest:
        """See `Wire.with_model`."""
        action = path.rpartition(":")[2]
        return EncodedRequest(f"/v1beta/models/{quote(model, safe='')}:{action}", _with_model(body, model))

    def usage(self, body: bytes, /) -> Usage | None:
        """See `Wire.usage`."""
        return usage_in(body)


@dataclass(frozen=True, slots=True)
class GeminiCacheWire:
    """A cached prompt: the model it is for stands in the body alone."""

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        """See `Wire.peek`."""
        if repeated_member(body, ("model",)) is not None:
            raise InvalidRequest("The parameter 'model' is given twice.", param="model")
        try:
            raw = members(body)
            model = as_str(loads(bytes(raw["model"]))) if "model" in raw else None
        except JSONError as exc:
            raise InvalidRequest(f"The request body is not usable JSON: {exc}", code=exc.code) from None
        if not model:
            raise InvalidRequest("The parameter 'model' must be a string.", param="model", code="missing_model")
        return RequestHead(model.rpartition(_MODELS)[2], stream=False)

    def with_model(self, path: str, body: bytes, model: str, /) -> EncodedRequest:
        """See `Wire.with_model`."""
        return EncodedRequest(path, _with_model(body, model))

    def usage(self, body: bytes, /) -> Usage | None:
        """A cache is paid for by the hour, and its tokens when they are used."""
        return None


def _with_model(body: bytes, model: str) -> bytes:
    """The same body where the models in it are this one: the vendor refuses, or takes, what says otherwise."""
    try:
        raw = members(body)
        if "requests" in raw:
            requests: list[JSONValue] = [
                {**as_object(request), "model": _MODELS + model} for request in as_list(loads(bytes(raw["requests"])))
            ]
            body = with_members(body, {"requests": requests})
        return replace_model(body, _MODELS + model) if "model" in raw else body
    except JSONError as exc:
        raise InvalidRequest(f"The request body is not usable JSON: {exc}", code=exc.code) from None
