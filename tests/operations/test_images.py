"""Pictures of Gemini's vendors for OpenAI's clients."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps, loads_object
from asgi_llmgw.operations.images import ImagesCall, translate_images


def asked(upstream_model: str = "imagen-4.0", /, **fields: JSONValue) -> ImagesCall:
    return translate_images(dumps({"model": "m", "prompt": "a cat", **fields}), model=upstream_model)


def lost(call: ImagesCall) -> list[tuple[str, str]]:
    return [(item.path, item.code) for item in call.diagnostics if item.severity != "info"]


def test_imagen_predicts() -> None:
    call = asked(n=2, size="1024x1792", quality="high", user="u", background="auto")
    assert call.path == "/v1beta/models/imagen-4.0:predict"
    assert loads_object(call.body) == {
        "instances": [{"prompt": "a cat"}],
        "parameters": {"sampleCount": 2, "aspectRatio": "9:16"},
    }
    assert lost(call) == [("quality", "dropped")]
    assert lost(asked(n=10)) == [("n", "clamped")]


def test_gemini_answers_with_pictures() -> None:
    call = asked("gemini-2.5-flash-image", n=2, size="1536x1024")
    assert call.path == "/v1beta/models/gemini-2.5-flash-image:generateContent"
    assert loads_object(call.body) == {
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "4:3"}},
    }
    assert lost(call) == [("n", "clamped")]
    assert as_object(loads_object(asked("gemini-3-image", size="auto").body)["generationConfig"]) == {
        "responseModalities": ["TEXT", "IMAGE"]
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": ["a"]},
        {"n": 0},
        {"n": 11},
        {"n": "two"},
        {"size": "large"},
        {"size": "0x10"},
        {"size": 5},
        {"stream": True},
        {"response_format": "url"},
    ],
)
def test_what_cannot_be_said_is_refused(fields: JSONObject) -> None:
    with pytest.raises(InvalidRequest):
        asked(**fields)


def test_pictures_come_back_in_openais_shape() -> None:
    call = translate_images(b'{"prompt":"a"}', model="imagen-4.0")
    predicted = {"predictions": [{"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}, {"raiFilteredReason": "x"}]}
    told, usage = call.answer(dumps(predicted), model="m")
    found = loads_object(told)
    assert found["data"] == [{"b64_json": "aGk="}] and isinstance(found["created"], int) and usage is None
    parts: list[JSONValue] = [{"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]
    spent = {"promptTokenCount": 4, "candidatesTokenCount": 1290}
    told, usage = call.answer(dumps({"candidates": [{"content": {"parts": parts}}], "usageMetadata": spent}), model="m")
    assert loads_object(told)["usage"] == {"input_tokens": 4, "output_tokens": 1290, "total_tokens": 1294}
    assert usage is not None and usage.output_tokens == 1290


@pytest.mark.parametrize(
    "answer", [b'{"predictions":[{"raiFilteredReason":"x"}]}', b"{}", b'{"promptFeedback":{"blockReason":"SAFETY"}}']
)
def test_a_picture_that_was_not_allowed_is_the_clients_mistake(answer: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        asked().answer(answer, model="m")
    assert (caught.value.status, caught.value.retryable) == (400, False)


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"text":"no"}'])
def test_what_is_no_answer_is_a_bad_gateway(answer: bytes) -> None:
    with pytest.raises(InvalidUpstreamResponse):
        asked().answer(answer, model="m")
