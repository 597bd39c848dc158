"""Speech, transcripts and edited pictures of Gemini's vendors through the whole gateway, for OpenAI's clients."""

from __future__ import annotations

import base64

import anyio
import pytest
from prometheus_client import generate_latest

from asgi_llmgw._types import Message, Scope
from asgi_llmgw.errors import RequestError
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.operations.content import MAX_FORM
from asgi_llmgw.testing import FakeResponse, RecordingSend, ScriptedReceive, call
from asgi_llmgw.uploads import LOOK_AHEAD, Upload
from tests.test_operations import SMALL, House, code, house, scope
from tests.test_uploads import DOWN, END, FORM, HEARD, LARGE, file, model, pieces

__all__ = ("house",)
pytestmark = pytest.mark.anyio

SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
SAMPLES = b"\x00\x01" * 50
AUDIO_TYPE = "audio/L16;codec=pcm;rate=24000"


def answer(*parts: JSONValue, finish: str = "STOP") -> bytes:
    spent: JSONObject = {"promptTokenCount": 100, "candidatesTokenCount": 10, "thoughtsTokenCount": 5}
    candidate: JSONObject = {"content": {"parts": [*parts]}, "finishReason": finish}
    return dumps({"candidates": [candidate], "usageMetadata": spent})


def sound(samples: bytes = SAMPLES) -> bytes:
    return answer({"inlineData": {"mimeType": AUDIO_TYPE, "data": base64.b64encode(samples).decode()}})


def uploading(path: str = TRANSCRIPTIONS, length: int | None = None, **more: bytes) -> Scope:
    found = scope(path, kind=FORM, **more)  # type: ignore[arg-type]
    if length is not None:
        found["headers"].append((b"content-length", str(length).encode()))
    return found


def metrics(house: House) -> str:
    return generate_latest(house.registry).decode()


def field(name: str, value: str) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value.encode())


async def test_speech_is_told_what_it_is_and_what_is_not_as_it_was_asked_for(house: House) -> None:
    house.says("gemini", sound())
    asked: JSONObject = {"model": "spoken", "input": "Hi", "voice": "alloy"}
    spoken = await call(house.gateway, scope(SPEECH), asked)
    assert (spoken.status, spoken.headers[b"content-type"], spoken.body[:4]) == (200, b"audio/wav", b"RIFF")
    assert spoken.headers[b"x-llmgw-diagnostics"] == b"2; codes=approximated"
    assert spoken.headers[b"x-content-type-options"] == b"nosniff"
    bare = await call(house.gateway, scope(SPEECH), {**asked, "voice": "Kore", "response_format": "pcm"})
    assert (bare.body, bare.headers[b"content-type"]) == (SAMPLES, b"audio/pcm")
    assert b"x-llmgw-diagnostics" not in bare.headers
    line = house.line
    assert (line["input_tokens"], line["output_tokens"], line["route"], line["provider"]) == (
        100,
        15,
        "spoken",
        "gemini",
    )


async def test_a_format_that_one_vendor_lacks_is_asked_of_the_next(house: House) -> None:
    house.says("gemini", sound())
    house.says("openai", FakeResponse([b"ID3"], headers=((b"content-type", b"audio/mpeg"),)))
    spoken = await call(
        house.gateway, scope(SPEECH), {"model": "spoken", "input": "Hi", "voice": "alloy", "response_format": "mp3"}
    )
    assert (spoken.body, spoken.headers[b"content-type"]) == (b"ID3", b"audio/mpeg")
    assert house.vendors["gemini"].requests == []
    house.says("openai", DOWN)
    refused = await call(
        house.gateway, scope(SPEECH), {"model": "g", "input": "Hi", "voice": "alloy", "response_format": "mp3"}
    )
    assert (refused.status, code(refused.json)) == (400, "unsupported_parameter")
    assert as_object(as_object(refused.json)["error"])["param"] == "response_format"


async def test_an_answer_that_is_called_something_else_is_never_passed_on_untranslated(house: House) -> None:
    house.says("gemini", FakeResponse([sound()], headers=((b"content-type", b"text/plain"),)))
    asked: JSONObject = {"model": "spoken", "input": "Hi", "voice": "Kore", "response_format": "pcm"}
    assert (await call(house.gateway, scope(SPEECH), asked)).body == SAMPLES


async def test_what_was_spent_on_an_answer_that_is_of_no_use_is_counted(house: House) -> None:
    house.says("gemini", answer(finish="SAFETY"))
    asked: JSONObject = {"model": "spoken", "input": "Hi", "voice": "Kore"}
    refused = await call(house.gateway, scope(SPEECH), asked)
    assert (refused.status, code(refused.json)) == (400, "content_filter")
    assert (house.line["input_tokens"], house.line["output_tokens"]) == (100, 15)
    assert house.vendors["openai"].requests == []


async def test_a_form_is_held_and_becomes_a_question(house: House) -> None:
    vendor = house.says("gemini", answer({"text": "Hello."}))
    body = model("heard") + field("language", "en") + file(LARGE) + END
    send = RecordingSend()
    await house.gateway(uploading(length=len(body)), pieces(body), send)
    assert (send.status, as_object(send.json)["text"]) == (200, "Hello.")
    (request,) = vendor.requests
    assert request.url.endswith("/v1beta/models/gemini-2.5-flash:generateContent") and request.pieces is None
    assert dict(request.headers)[b"content-type"] == b"application/json"
    (content,) = as_list(loads_object(request.body)["contents"])
    inline = as_object(as_object(as_list(as_object(content)["parts"])[1])["inlineData"])
    assert base64.b64decode(str(inline["data"])) == LARGE
    line = house.line
    assert (line["input_tokens"], line["output_tokens"], line["route"]) == (100, 15, "heard")
    assert line["cost_usd"]


async def test_plain_text_is_told_to_be_plain_text(house: House) -> None:
    house.says("gemini", answer({"text": "Hello."}))
    body = model("heard") + field("response_format", "text") + file(b"sound") + END
    heard = await call(house.gateway, uploading(), body)
    assert (heard.body, heard.headers[b"content-type"]) == (b"Hello.", b"text/plain; charset=utf-8")


async def test_a_form_that_was_held_can_go_to_the_next_target(house: House) -> None:
    """F177"""
    house.says("gemini", DOWN)
    other = house.says("openai", HEARD)
    body = model("heard") + file(LARGE) + END
    send = RecordingSend()
    await house.gateway(uploading(), pieces(body), send)
    assert (send.status, send.body) == (200, HEARD)
    assert other.sent == [body.replace(b"heard", b"whisper-large")]


@pytest.mark.parametrize("told", [True, False])
async def test_what_is_too_large_for_one_vendor_streams_to_the_next(house: House, told: bool) -> None:
    house.says("gemini", answer({"text": "Hello."}))
    other = house.says("openai", HEARD)
    large = b"x" * (MAX_FORM + LOOK_AHEAD)
    body = model("heard") + file(large) + END
    send = RecordingSend()
    await house.gateway(uploading(length=len(body) if told else None), pieces(body), send)
    assert (send.status, house.vendors["gemini"].requests) == (200, [])
    assert other.sent == [body.replace(b"heard", b"whisper-large")]


async def test_what_says_that_it_is_too_large_is_refused_unread(house: House) -> None:
    receive, send = ScriptedReceive(model("heard-strictly") + file(b"x")[:-2], b"more"), RecordingSend()
    await house.gateway(uploading(length=MAX_FORM + 1), receive, send)
    assert (send.status, code(send.json), receive.calls) == (400, "upload_too_large", 1)
    assert house.vendors["gemini"].requests == []


async def test_what_turns_out_to_be_too_large_is_read_no_further(house: House) -> None:
    left = 5_000

    async def receive() -> Message:
        nonlocal left
        left -= 1
        begun = model("heard-strictly") + file(b"")[:-2] if left == 4_999 else b"x" * 65_536
        return {"type": "http.request", "body": begun, "more_body": True}

    send = RecordingSend()
    await house.gateway(uploading(), receive, send)
    assert (send.status, code(send.json)) == (400, "upload_too_large")
    assert 5_000 - left == MAX_FORM // 65_536 + 2


async def test_a_client_that_leaves_while_its_form_is_held_ends_it_all(house: House) -> None:
    house.says("gemini", answer({"text": "Hello."}))
    messages: list[Message] = [
        {"type": "http.request", "body": model("heard") + file(LARGE)[:-2], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        if not messages:
            await anyio.sleep_forever()
        return messages.pop(0)

    send = RecordingSend()
    with anyio.fail_after(5):
        await house.gateway(uploading(), receive, send)
    assert (send.status, house.line["outcome"]) == (499, "client_disconnected")
    assert house.vendors["gemini"].requests == []


async def test_a_form_that_does_not_come_is_waited_for_once() -> None:
    calls = 0

    async def receive() -> Message:
        nonlocal calls
        calls += 1
        await anyio.sleep_forever()
        raise AssertionError

    upload = Upload(receive, boundary=b"b", silence=0.001)
    with pytest.raises(RequestError) as caught:
        await upload.whole(limit=MAX_FORM)
    assert (caught.value.status, upload.begun, calls) == (408, True, 1)


async def test_a_form_cannot_name_one_model_and_mean_another(house: House) -> None:
    house.says("gemini", answer({"text": "Hello."}))
    body = model("heard") + file(LARGE) + model("whisper-1") + END
    send = RecordingSend()
    await house.gateway(uploading(), pieces(body), send)
    assert (send.status, house.vendors["gemini"].requests) == (400, [])
    refused = await call(house.gateway, uploading(key=SMALL), model("heard") + file(b"x") + END)
    assert (refused.status, code(refused.json)) == (404, "model_not_found")
    assert (await call(house.gateway, uploading(key=b"nobody"), model("heard") + END)).status == 401


async def test_nothing_is_lost_where_nothing_may_be(house: House) -> None:
    body = model("heard-strictly") + field("include[]", "logprobs") + file(b"x") + END
    refused = await call(house.gateway, uploading(), body)
    assert (refused.status, code(refused.json)) == (400, "lossy_translation")


async def test_pictures_are_edited_from_forms_and_from_json(house: House) -> None:
    house.says("gemini", answer({"inlineData": {"mimeType": "image/png", "data": "aGk="}}))
    picture = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\nContent-Type: image/png\r\n\r\nx\r\n'
    )
    body = model("edited") + field("prompt", "a hat") + picture + END
    as_form = await call(house.gateway, uploading("/v1/images/edits"), body)
    asked: JSONObject = {"model": "edited", "prompt": "a hat", "images": [{"image_url": "data:image/png;base64,eA=="}]}
    as_json = await call(house.gateway, scope("/v1/images/edits"), asked)
    for edited in (as_form, as_json):
        assert (edited.status, as_object(edited.json)["data"]) == (200, [{"b64_json": "aGk="}])
    first, second = house.vendors["gemini"].sent
    assert first == second
    varied = await call(house.gateway, uploading("/v1/images/variations"), model("edited") + picture + END)
    assert (varied.status, varied.headers[b"x-llmgw-diagnostics"]) == (200, b"1; codes=approximated")
    other = await call(house.gateway, uploading("/v1/images/edits"), body.replace(b"edited", b"pictures"))
    assert (other.status, code(other.json)) == (400, "unsupported_operation")


async def test_a_vendor_that_has_no_such_thing_is_not_read_for(house: House) -> None:
    receive, send = ScriptedReceive(model("claude") + file(b"x")[:-2], b"more"), RecordingSend()
    await house.gateway(uploading(), receive, send)
    assert (send.status, code(send.json), receive.calls) == (400, "unsupported_operation", 1)


async def test_pictures_are_paid_for_by_the_picture(house: House) -> None:
    house.says("gemini", b'{"predictions":[{"bytesBase64Encoded":"aGk="},{"bytesBase64Encoded":"aGk="}]}')
    asked: JSONObject = {"model": "pictures", "prompt": "a cat", "n": 2}
    assert (await call(house.gateway, scope("/v1/images/generations"), asked)).status == 200
    assert (house.line["cost_usd"], house.line["input_tokens"]) == (0.08, None)
    assert 'llm_cost_usd_total{api_key="team",model="pictures",provider="gemini"} 0.08' in metrics(house)


async def test_sound_is_paid_for_by_the_minute_or_by_its_tokens(house: House) -> None:
    house.says("openai", b'{"text":"hello","usage":{"type":"duration","seconds":90}}')
    assert (await call(house.gateway, uploading(), model("whisper-1") + file(b"x") + END)).status == 200
    assert house.line["cost_usd"] == 0.009
    spent: JSONObject = {"promptTokenCount": 100, "candidatesTokenCount": 10}
    spent["promptTokensDetails"] = [{"modality": "AUDIO", "tokenCount": 90}]
    parts: JSONObject = {"content": {"parts": [{"text": "Hello."}]}, "finishReason": "STOP"}
    house.says("gemini", dumps({"candidates": [parts], "usageMetadata": spent}))
    assert (await call(house.gateway, uploading(), model("heard") + file(b"x") + END)).status == 200
    assert house.line["cost_usd"] == 0.00093


async def test_speech_is_paid_for_by_the_character(house: House) -> None:
    house.says("gemini", DOWN)
    house.says("openai", FakeResponse([b"ID3"], headers=((b"content-type", b"audio/mpeg"),)))
    asked: JSONObject = {"model": "spoken", "input": "für" * 1000, "voice": "Kore"}
    assert (await call(house.gateway, scope(SPEECH), asked)).body == b"ID3"
    assert house.line["cost_usd"] == 0.045
