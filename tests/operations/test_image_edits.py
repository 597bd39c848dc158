"""Pictures that are made of the client's own, by Gemini's vendors for OpenAI's clients."""

from __future__ import annotations

import pytest
from google.genai import types

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps, loads_object
from asgi_llmgw.operations.content import MAX_REQUEST
from asgi_llmgw.operations.image_edits import EDITS, VARIATIONS, translate_image_edit
from asgi_llmgw.operations.images import ImagesCall

KIND = "multipart/form-data; boundary=b"
PNG = b"\x89PNG\r\n\x1a\n\x00"
MODEL = "gemini-2.5-flash-image"
PICTURE: JSONObject = {"image_url": "data:image/png;base64,aGk="}


def part(name: str, value: bytes, kind: str | None = None) -> bytes:
    told = f'; filename="a"\r\nContent-Type: {kind}' if kind is not None else ""
    return b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), told.encode(), value)


def checked(call: ImagesCall | None) -> ImagesCall:
    """The vendor's own types understand it; the settings of pictures are in those of its SDK's caller alone."""
    assert call is not None
    body = loads_object(call.body)
    assert body.keys() == {"contents", "generationConfig"}
    types.Content.model_validate_json(dumps(as_list(body["contents"])[0]))
    types.GenerateContentConfig.model_validate_json(dumps(body["generationConfig"]))
    return call


def sent(*fields: tuple[str, str], path: str = EDITS, pictures: bytes = part("image", PNG, "image/png")) -> ImagesCall:
    body = b"".join(part(name, value.encode()) for name, value in fields) + pictures + b"--b--\r\n"
    return checked(translate_image_edit(path, body, content_type=KIND, model=MODEL))


def asked(**fields: object) -> ImagesCall:
    body = dumps({"model": "m", "prompt": "a hat", "images": [PICTURE], **fields})
    return checked(translate_image_edit(EDITS, body, content_type="application/json", model=MODEL))


def parts(call: ImagesCall) -> list[object]:
    (content,) = as_list(loads_object(call.body)["contents"])
    return [*as_list(as_object(content)["parts"])]


def lost(call: ImagesCall) -> list[tuple[str, str]]:
    return [(item.path, item.code) for item in call.diagnostics if item.severity != "info"]


def test_a_picture_is_sent_beside_the_prompt() -> None:
    call = sent(("prompt", "a hat"), ("model", "m"), ("size", "1024x1024"))
    assert call.path == "/v1beta/models/gemini-2.5-flash-image:generateContent"
    assert parts(call) == [{"text": "a hat"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoA"}}]
    assert loads_object(call.body)["generationConfig"] == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1"},
    }
    assert lost(call) == []


def test_several_pictures_are_sent_in_their_order() -> None:
    pictures = part("image[]", b"\xff\xd8\xff\xe0", "") + part("image[]", b"RIFF....WEBP", "application/octet-stream")
    found = [as_object(as_object(one)["inlineData"]) for one in parts(sent(("prompt", "2"), pictures=pictures))[1:]]  # type: ignore[arg-type]
    assert [one["mimeType"] for one in found] == ["image/jpeg", "image/webp"]


def test_what_is_lost_is_told_as_for_pictures_without_a_model() -> None:
    fields = [("n", "2"), ("quality", "high"), ("input_fidelity", "high"), ("background", "auto"), ("stream", "false")]
    assert lost(sent(("prompt", "a hat"), *fields)) == [
        ("quality", "dropped"),
        ("input_fidelity", "dropped"),
        ("n", "clamped"),
    ]


def test_a_variation_is_asked_for_in_words() -> None:
    call = sent(path=VARIATIONS)
    assert "variation" in str(parts(call)[0]) and lost(call) == [("image", "approximated")]
    assert lost(sent(("prompt", "a hat"), path=VARIATIONS)) == [("image", "approximated"), ("prompt", "dropped")]


def test_pictures_may_stand_in_json() -> None:
    call = asked(n=1)
    assert parts(call) == [{"text": "a hat"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]
    assert lost(call) == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"images": [{"image_url": "https://example.com/a.png"}]}, "unsupported_parameter"),
        ({"images": [{"file_id": "file-1"}]}, "unsupported_parameter"),
        ({"images": ["file-1"]}, "unsupported_parameter"),
        ({"images": [{"image_url": "data:image/png"}]}, "invalid_value"),
        ({"images": []}, "missing_required_parameter"),
        ({"mask": PICTURE}, "unsupported_parameter"),
        ({"stream": True}, "unsupported_parameter"),
        ({"response_format": "url"}, "unsupported_parameter"),
        ({"prompt": None}, "invalid_type"),
        ({"n": 11}, "invalid_value"),
    ],
)
def test_what_cannot_be_said_is_refused(fields: JSONObject, code: str) -> None:
    """F085: nothing is fetched."""
    with pytest.raises(InvalidRequest) as caught:
        asked(**fields)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (part("mask", PNG, "image/png"), "unsupported_parameter"),
        (part("stream", b"true"), "unsupported_parameter"),
        (part("n", b"many"), "invalid_value"),
        (part("image", b"text", "text/plain"), "unsupported_media_type"),
    ],
)
def test_a_form_that_cannot_be_said_is_refused(field: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(("prompt", "a hat"), pictures=part("image", PNG) + field)
    assert caught.value.code == code
    with pytest.raises(InvalidRequest):
        sent(("prompt", "a hat"), pictures=b"")


def test_more_than_the_vendor_takes_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(("prompt", "a hat"), pictures=part("image", PNG + bytes(MAX_REQUEST)))
    assert caught.value.code == "upload_too_large"


def test_imagen_makes_no_picture_of_another() -> None:
    assert translate_image_edit(EDITS, b"", content_type=KIND, model="imagen-4.0") is None
