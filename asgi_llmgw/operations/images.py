"""Pictures of Gemini's vendors for the clients of OpenAI's.

https://platform.openai.com/docs/api-reference/images/create, https://ai.google.dev/gemini-api/docs/imagen,
https://ai.google.dev/gemini-api/docs/image-generation
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.ir import Diagnostic, Usage
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_int, as_list, as_object, as_str, dumps, loads_object
from asgi_llmgw.operations.content import ask
from asgi_llmgw.operations.usage import usage_of
from asgi_llmgw.protocols.base import Diagnostics, parse_request, unsupported

PATH: Final = "/v1/images/generations"
_KNOWN: Final = frozenset({"model", "prompt", "n", "size", "response_format", "stream", "partial_images"})
_SAID_OTHERWISE: Final = frozenset({"user", "moderation"})
_RATIOS: Final = ((1, 1), (3, 4), (4, 3), (9, 16), (16, 9))
_MOST: Final = 4
IMAGEN: Final = "imagen-"


class ImagesCall(msgspec.Struct, frozen=True):
    """A request in Gemini's words, and how its answer is read.

    Args:
        diagnostics: what is lost of the request.
        clock: seconds since the epoch.
        kind: the media type of the answer.
    """

    path: str
    body: bytes
    diagnostics: tuple[Diagnostic, ...] = ()
    clock: Callable[[], float] = time.time
    kind: bytes = b"application/json"

    def answer(self, body: bytes, *, model: str) -> tuple[bytes, Usage | None]:
        """The vendor's answer in OpenAI's words.

        Raises:
            UpstreamError: it cannot be read, or the vendor's policy has stopped every picture.
        """
        try:
            answer = loads_object(body)
        except JSONError:
            raise InvalidUpstreamResponse("the upstream's answer is not a JSON object") from None
        pictures: list[JSONValue] = [{"b64_json": picture} for picture in _pictures(answer)]
        if not pictures:
            raise _none(answer)
        usage = usage_of(answer)
        told: JSONObject = {"created": int(self.clock()), "data": pictures}
        if usage is not None and usage.input_tokens is not None and usage.output_tokens is not None:
            told["usage"] = {
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
            }
        return dumps(told), usage


def translate_images(body: bytes, *, model: str) -> ImagesCall:
    """A client's request for one of Gemini's models: Imagen, or a model that answers with pictures.

    Raises:
        InvalidRequest: it cannot be read, or not be said there.
    """
    return ask_for_images(parse_request(body), Diagnostics(), model=model)


def ask_for_images(
    data: JSONObject, lost: Diagnostics, *, model: str, pictures: Sequence[JSONValue] = ()
) -> ImagesCall:
    """The same for a request that is read already.

    Args:
        lost: what is lost of it so far.
        pictures: parts to start from, for models that are no Imagen.

    Raises:
        InvalidRequest: it cannot be said there.
    """
    prompt = as_str(data.get("prompt"))
    if not prompt:
        raise InvalidRequest("prompt is a text that is not empty.", param="prompt", code="invalid_type")
    if data.get("stream"):
        raise unsupported("stream", "This model's vendor does not stream pictures.")
    if data.get("response_format") == "url":
        raise unsupported(
            "response_format", "This model's vendor sends pictures as they are, and no addresses of them."
        )
    for name in data:
        if name not in _KNOWN and data[name] is not None:
            lost.dropped(name, info=name in _SAID_OTHERWISE or data[name] == "auto")
    ratio = _ratio(data.get("size"), lost)
    count = _count(data.get("n"))
    if model.startswith(IMAGEN):
        parameters: JSONObject = {"sampleCount": min(count, _MOST), **({"aspectRatio": ratio} if ratio else {})}
        if count > _MOST:
            lost.clamped("n", f"the vendor makes {_MOST} pictures at most")
        request: JSONObject = {"instances": [{"prompt": prompt}], "parameters": parameters}
        return ImagesCall(f"/v1beta/models/{quote(model, safe='')}:predict", dumps(request), lost.items())
    if count > 1:
        lost.clamped("n", "the vendor makes one picture at a time")
    settings: JSONObject = {"responseModalities": ["TEXT", "IMAGE"]}
    if ratio:
        settings["imageConfig"] = {"aspectRatio": ratio}
    path, written = ask(model, [{"text": prompt}, *pictures], settings)
    return ImagesCall(path, written, lost.items())


def _count(value: JSONValue) -> int:
    if value is None:
        return 1
    count = as_int(value)
    if count is None or not 1 <= count <= 10:
        raise InvalidRequest("n is a number from 1 to 10.", param="n", code="invalid_value")
    return count


def _ratio(size: JSONValue, lost: Diagnostics) -> str | None:
    """The nearest of the shapes there are."""
    if size is None or size == "auto":
        return None
    width, cross, height = (as_str(size) or "").partition("x")
    if not cross or not all(side.isdecimal() and len(side) <= 5 and int(side) for side in (width, height)):
        raise InvalidRequest("size is written WIDTHxHEIGHT.", param="size", code="invalid_value")
    wanted = int(width) / int(height)
    nearest = min(_RATIOS, key=lambda ratio: abs(ratio[0] / ratio[1] - wanted))
    lost.approximated("size", "the vendor is told the shape of the picture alone", info=True)
    return f"{nearest[0]}:{nearest[1]}"


def _pictures(answer: JSONObject) -> Iterator[str]:
    for prediction in map(as_object, as_list(answer.get("predictions"))):
        data = as_str(prediction.get("bytesBase64Encoded"))
        if data:
            yield data
    for candidate in map(as_object, as_list(answer.get("candidates"))):
        for part in map(as_object, as_list(as_object(candidate.get("content")).get("parts"))):
            inline = as_object(part.get("inlineData") or part.get("inline_data"))
            data = as_str(inline.get("data"))
            if data and not part.get("thought"):
                yield data


def _none(answer: JSONObject) -> UpstreamError:
    """Why there is no picture: a vendor that says nothing of pictures has refused to make one."""
    if "predictions" in answer or "candidates" in answer or "promptFeedback" in answer or answer == {}:
        return UpstreamError(
            "The vendor's policy does not allow this picture.",
            failure="filtered",
            kind="bad_request",
            code="moderation_blocked",
        )
    return InvalidUpstreamResponse("the upstream has sent no picture")
