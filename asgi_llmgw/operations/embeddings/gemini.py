"""Embeddings as Gemini writes them, one by one (`embedContent`) and together (`batchEmbedContents`), both ways.

https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.json import (
    JSONError,
    JSONObject,
    JSONValue,
    as_int,
    as_list,
    as_object,
    as_str,
    dumps,
    loads_object,
)
from asgi_llmgw.operations.embeddings.base import EmbeddingsRequest, EmbeddingsResponse
from asgi_llmgw.operations.embeddings.openai import numbers
from asgi_llmgw.operations.usage import usage_of
from asgi_llmgw.protocols.base import Diagnostics, parse_request, unsupported

BATCH: Final = "batchEmbedContents"
_KNOWN: Final = frozenset(
    {
        "model",
        "content",
        "taskType",
        "task_type",
        "title",
        "outputDimensionality",
        "output_dimensionality",
        "embedContentConfig",
    }
)


def decode_request(body: bytes) -> EmbeddingsRequest:
    """A client's request, of either kind.

    Raises:
        InvalidRequest: it cannot be read, or asks for what cannot be said to another vendor: pictures, or texts that
            are to be embedded in different ways.
    """
    data = parse_request(body)
    many = "requests" in data
    given = [as_object(item) for item in as_list(data.get("requests"))] if many else [data]
    if not given:
        raise InvalidRequest("requests is a list that is not empty.", param="requests", code="invalid_value")
    lost = Diagnostics()
    texts, settings = [], []
    for number, item in enumerate(given):
        where = f"requests[{number}]." if many else ""
        texts.append(_text(item, where, lost))
        settings.append(_settings(item))
        for name in item.keys() - _KNOWN:
            lost.dropped(where + name)
    if any(other != settings[0] for other in settings):
        raise unsupported("requests", "All texts of a batch must be embedded alike by this model's vendor.")
    dimensions, task, title = settings[0]
    return EmbeddingsRequest(
        tuple(texts), many=many, dimensions=dimensions, task=task, title=title, diagnostics=lost.items()
    )


def _settings(item: JSONObject) -> tuple[int | None, str | None, str | None]:
    item = {**as_object(item.get("embedContentConfig")), **item}
    dimensions = item.get("outputDimensionality", item.get("output_dimensionality"))
    task = item.get("taskType", item.get("task_type"))
    return as_int(dimensions), as_str(task), as_str(item.get("title"))


def _text(item: JSONObject, where: str, lost: Diagnostics) -> str:
    """What one vector is made of. Parts become paragraphs."""
    parts = [as_object(part) for part in as_list(as_object(item.get("content")).get("parts"))]
    texts = [as_str(part.get("text")) for part in parts]
    found = [text for text in texts if text is not None]
    if not found or len(found) < len(parts):
        raise unsupported(f"{where}content.parts", "Only texts can be embedded by this model's vendor.")
    if len(found) > 1:
        lost.approximated(f"{where}content.parts", "the parts are joined to one text", info=True)
    return "\n".join(found)


def encode_request(request: EmbeddingsRequest, model: str) -> tuple[str, bytes]:
    """Path and body of a request for a vendor: always of the kind for several texts."""
    shared: JSONObject = {"model": f"models/{model}"}
    if request.task is not None:
        shared["taskType"] = request.task
    if request.title is not None:
        shared["title"] = request.title
    if request.dimensions is not None:
        shared["outputDimensionality"] = request.dimensions
    requests: list[JSONValue] = [
        {**shared, "content": {"role": "user", "parts": [{"text": text}]}} for text in request.texts
    ]
    return f"/v1beta/models/{quote(model, safe='')}:{BATCH}", dumps({"requests": requests})


def decode_response(body: bytes) -> EmbeddingsResponse:
    """A vendor's answer to several texts.

    Raises:
        InvalidUpstreamResponse: it cannot be read.
    """
    try:
        answer = loads_object(body)
    except JSONError:
        raise InvalidUpstreamResponse("the upstream's answer is not a JSON object") from None
    entries = as_list(answer.get("embeddings")) or [answer.get("embedding")]
    return EmbeddingsResponse(tuple(numbers(as_object(entry).get("values")) for entry in entries), usage_of(answer))


def encode_response(response: EmbeddingsResponse, request: EmbeddingsRequest) -> bytes:
    """The answer for a client, of the kind it asked for."""
    embeddings: list[JSONValue] = [{"values": [*vector]} for vector in response.vectors]
    answer: JSONObject = {"embeddings": embeddings} if request.many else {"embedding": embeddings[0]}
    if response.usage is not None and response.usage.input_tokens is not None:
        answer["usageMetadata"] = {"promptTokenCount": response.usage.input_tokens}
    return dumps(answer)
