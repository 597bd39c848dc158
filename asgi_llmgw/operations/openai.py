"""Operations as OpenAI and its imitators write them: the model stands in the body.

https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from dataclasses import dataclass

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import (
    JSONError,
    as_str,
    elements,
    loads,
    loads_object,
    members,
    repeated_member,
    replace_model,
)
from asgi_llmgw.operations.usage import usage_of
from asgi_llmgw.protocols import EncodedRequest, RequestHead


@dataclass(frozen=True, slots=True)
class OpenAIWire:
    """A JSON body with a `model` in it.

    Args:
        default_model: what OpenAI takes where the request names none.
    """

    default_model: str | None = None

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        """See `Wire.peek`."""
        repeated = repeated_member(body, ("model", "stream"))
        if repeated is not None:
            raise InvalidRequest(f"The parameter '{repeated}' is given twice.", param=repeated)
        try:
            raw = members(body)
            model = loads(bytes(raw["model"])) if "model" in raw else None
            stream = loads(bytes(raw["stream"])) if "stream" in raw else None
        except JSONError as exc:
            raise InvalidRequest(f"The request body is not usable JSON: {exc}", code=exc.code) from None
        named = self.default_model if model is None else as_str(model)
        if named is None:
            raise InvalidRequest("The parameter 'model' must be a string.", param="model", code="missing_model")
        return RequestHead(named, stream is True)

    def with_model(self, path: str, body: bytes, model: str, /) -> EncodedRequest:
        """See `Wire.with_model`."""
        try:
            return EncodedRequest(path, replace_model(body, model))
        except JSONError as exc:
            raise InvalidRequest(f"The request body is not usable JSON: {exc}", code=exc.code) from None

    def usage(self, body: bytes, /) -> Usage | None:
        """See `Wire.usage`."""
        return usage_in(body)


def usage_in(body: bytes) -> Usage | None:
    """What a whole answer says it has used. Vectors and pictures in it are not decoded.

    Raises:
        InvalidUpstreamResponse: the answer is not a JSON object.
    """
    try:
        raw = members(body)
        told = {name: raw[name] for name in ("usage", "usageMetadata", "meta", "predictions") if name in raw}
        return usage_of({name: loads(bytes(value)) for name, value in told.items()})
    except JSONError:
        raise InvalidUpstreamResponse("the upstream's answer is not a JSON object") from None


def pictures_in(body: bytes) -> int:
    """How many pictures are in a whole answer. None of them is decoded."""
    try:
        return len(elements(bytes(members(body)["data"])))
    except (JSONError, KeyError):
        return 0


def characters_in(body: bytes) -> int:
    """How many characters of a request for speech are to be read aloud."""
    try:
        return len(as_str(loads(bytes(members(body)["input"]))) or "")
    except (JSONError, KeyError):
        return 0


def model_of(body: bytes) -> str | None:
    """The model that a body names, None where it names none or is no JSON object."""
    try:
        return as_str(loads_object(body).get("model"))
    except JSONError:
        return None
