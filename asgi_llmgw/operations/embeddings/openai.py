"""Embeddings as OpenAI writes them, both ways.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.ir import Diagnostic
from asgi_llmgw.json import (
    JSONError,
    JSONObject,
    JSONValue,
    as_float,
    as_int,
    as_list,
    as_object,
    as_str,
    dumps,
    loads_object,
)
from asgi_llmgw.operations.embeddings.base import EmbeddingsRequest, EmbeddingsResponse, Encoding, Vector
from asgi_llmgw.operations.usage import usage_of
from asgi_llmgw.protocols.base import Diagnostics, parse_request, unsupported

PATH: Final = "/v1/embeddings"
_KNOWN: Final = frozenset({"model", "input", "dimensions", "encoding_format", "task_type", "title", "user"})
MAX_INPUTS: Final = 2048


def decode_request(body: bytes) -> EmbeddingsRequest:
    """A client's request.

    `task_type` and `title` are not OpenAI's: they say for Gemini what there is no other field for.

    Raises:
        InvalidRequest: it cannot be read, or asks for what no other vendor can do (token ids).
    """
    data = parse_request(body)
    lost = Diagnostics()
    for name in data:
        if name == "user":
            lost.dropped("user", "the target has no such field", info=True)
        elif name not in _KNOWN:
            lost.dropped(name)
    encoding = data.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise InvalidRequest("encoding_format is 'float' or 'base64'.", param="encoding_format", code="invalid_value")
    given = data.get("input")
    dimensions = as_int(data.get("dimensions"))
    if data.get("dimensions") is not None and (dimensions is None or dimensions < 1):
        raise InvalidRequest("dimensions is a positive number.", param="dimensions", code="invalid_value")
    wanted: Encoding = "base64" if encoding == "base64" else "float"
    return EmbeddingsRequest(
        texts=_texts(given),
        many=not isinstance(given, str),
        dimensions=dimensions,
        task=as_str(data.get("task_type")),
        title=as_str(data.get("title")),
        encoding=wanted,
        diagnostics=lost.items(),
    )


def _texts(given: JSONValue) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list) or not given:
        raise InvalidRequest("input is a string or a list of strings.", param="input", code="invalid_type")
    if len(given) > MAX_INPUTS:
        raise InvalidRequest(f"input has at most {MAX_INPUTS} elements.", param="input", code="invalid_value")
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        # numbers mean something to the tokenizer of one vendor only
        raise unsupported("input", "Only texts can be embedded by this model's vendor, token ids cannot.")
    return tuple(texts)


def encode_request(request: EmbeddingsRequest, model: str) -> tuple[bytes, tuple[Diagnostic, ...]]:
    """A request for a vendor, and what of it is lost."""
    lost = Diagnostics()
    if request.task is not None:
        lost.dropped("taskType", "the vectors are the same for all tasks")
    if request.title is not None:
        lost.dropped("title", "the vectors are made of the text alone")
    data: JSONObject = {"model": model, "input": [*request.texts], "encoding_format": "float"}
    if request.dimensions is not None:
        data["dimensions"] = request.dimensions
    return dumps(data), lost.items()


def decode_response(body: bytes) -> EmbeddingsResponse:
    """A vendor's answer.

    Raises:
        InvalidUpstreamResponse: it cannot be read.
    """
    try:
        answer = loads_object(body)
    except JSONError:
        raise InvalidUpstreamResponse("the upstream's answer is not a JSON object") from None
    entries = [as_object(entry) for entry in as_list(answer.get("data"))]
    places = [as_int(entry.get("index")) for entry in entries]
    if sorted(place for place in places if place is not None) == list(range(len(entries))):
        entries = [entry for _, entry in sorted(zip(places, entries, strict=True), key=lambda pair: pair[0] or 0)]
    return EmbeddingsResponse(tuple(_vector(entry.get("embedding")) for entry in entries), usage_of(answer))


def _vector(value: JSONValue) -> Vector:
    """Numbers, or little-endian 32-bit floats in base64."""
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
            return struct.unpack(f"<{len(raw) // 4}f", raw)
        except (binascii.Error, struct.error):
            raise InvalidUpstreamResponse("the upstream's vector is not readable") from None
    return numbers(value)


def numbers(value: JSONValue) -> Vector:
    """A list of numbers.

    Raises:
        InvalidUpstreamResponse: it is not one.
    """
    found = [as_float(item) for item in as_list(value)]
    clean = tuple(item for item in found if item is not None)
    if not clean or len(clean) < len(found):
        raise InvalidUpstreamResponse("the upstream's vector is not readable")
    return clean


def encode_response(response: EmbeddingsResponse, request: EmbeddingsRequest, model: str) -> bytes:
    """The answer for a client. OpenAI's SDKs ask for base64 by themselves, and decode what they get."""
    usage = response.usage
    total = 0 if usage is None else usage.input_tokens or 0
    data: list[JSONValue] = [
        {"object": "embedding", "index": index, "embedding": _written(vector, request.encoding)}
        for index, vector in enumerate(response.vectors)
    ]
    return dumps(
        {
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": total, "total_tokens": total},
        }
    )


def _written(vector: Vector, encoding: Encoding) -> JSONValue:
    if encoding == "float":
        return [*vector]
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except OverflowError:
        raise InvalidUpstreamResponse("the upstream's vector is not readable") from None
