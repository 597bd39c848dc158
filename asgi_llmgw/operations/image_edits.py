"""Pictures of Gemini's vendors that are made of the client's own, for the clients of OpenAI's.

https://platform.openai.com/docs/api-reference/images/createEdit, https://ai.google.dev/gemini-api/docs/image-generation
"""

from __future__ import annotations

from typing import Final

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, as_str
from asgi_llmgw.operations.content import inline
from asgi_llmgw.operations.form import Form, Part, read_form
from asgi_llmgw.operations.images import IMAGEN, ImagesCall, ask_for_images
from asgi_llmgw.protocols.base import Diagnostics, parse_request, unsupported
from asgi_llmgw.protocols.data_urls import parse_data_url

EDITS: Final = "/v1/images/edits"
VARIATIONS: Final = "/v1/images/variations"
_FORM: Final = "multipart/"
_PICTURES: Final = ("image", "images", "mask")
_NUMBERS: Final = frozenset({"n", "partial_images"})
_VARY: Final = "Make a variation of this picture: the same subject, style and mood, in another composition."
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def translate_image_edit(path: str, body: bytes, *, content_type: str, model: str) -> ImagesCall | None:
    """A client's form or JSON for one of Gemini's models that answer with pictures; Imagen has nothing of the kind.

    Args:
        path: which of the two is asked for.
        content_type: the client's.

    Raises:
        RequestError: it cannot be read, or not be said there.
    """
    if model.startswith(IMAGEN):
        return None
    form = content_type.lower().startswith(_FORM)
    data, pictures, masked = _form(read_form(body, content_type)) if form else _json(parse_request(body))
    if masked:
        raise unsupported(
            "mask", "This model's vendor knows no masks: say in the prompt what is to be changed, and what is not."
        )
    if not pictures:
        name = "image" if form else "images"
        raise InvalidRequest("The request has no picture.", param=name, code="missing_required_parameter")
    lost = Diagnostics()
    if path == VARIATIONS:
        lost.approximated("image", "the vendor is asked for a variation in words")
        if data.pop("prompt", None) is not None:
            lost.dropped("prompt")
        data["prompt"] = _VARY
    return ask_for_images(data, lost, model=model, pictures=pictures)


def _form(form: Form) -> tuple[JSONObject, list[JSONValue], bool]:
    """What JSON would say, the pictures, and whether there is a mask."""
    data: JSONObject = {}
    for name in form.names:
        text = None if name in _PICTURES else form.text(name)
        if text is None:
            continue
        if name in _NUMBERS and text.isascii() and text.isdecimal() and len(text) < 10:
            data[name] = int(text)
        else:
            data[name] = text.lower() not in ("false", "0") if name == "stream" else text
    pictures: list[JSONValue] = [inline(_media_type(part), part.content) for part in form.all("image")]
    return data, pictures, bool(form.all("mask"))


def _json(data: JSONObject) -> tuple[JSONObject, list[JSONValue], bool]:
    pictures: list[JSONValue] = [
        _picture(as_object(given), f"images[{number}]") for number, given in enumerate(as_list(data.get("images")))
    ]
    return {name: data[name] for name in data if name != "images" and name != "mask"}, pictures, bool(data.get("mask"))


def _picture(given: JSONObject, path: str) -> JSONObject:
    """A picture as a part. Nothing is fetched: who may use the gateway is not to reach what it can reach."""
    url = as_str(given.get("image_url"))
    if url is None:
        raise unsupported(f"{path}.file_id", "The file lies at another vendor; send the picture as a data: URL.")
    try:
        found = parse_data_url(url)
    except ValueError:
        raise InvalidRequest(
            f"{path}.image_url is not a readable data URL.", param=path, code="invalid_value"
        ) from None
    if found is None:
        raise unsupported(f"{path}.image_url", "Pictures for this model's vendor are sent as data: URLs.")
    return {"inlineData": {"mimeType": found[0], "data": found[1]}}


def _media_type(part: Part) -> str:
    """What the client says the picture is, else what it begins with."""
    told = part.media_type or ""
    if told.startswith("image/"):
        return told
    if part.content[:4] == b"RIFF" and part.content[8:12] == b"WEBP":
        return "image/webp"
    found = next((kind for magic, kind in _MAGIC if part.content.startswith(magic)), None)
    if found is None:
        raise InvalidRequest(
            "Neither the picture's content type nor its first bytes say what it is.",
            param=part.name,
            code="unsupported_media_type",
        )
    return found
