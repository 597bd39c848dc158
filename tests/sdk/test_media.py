"""Speech, transcripts and edited pictures of Gemini's vendors, asked for by OpenAI's SDK through a running gateway."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from typing import cast

import openai
import pytest
from google.genai import types

from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from tests.sdk.operations import KEY, Vendor, answer_of, gateway, vendor
from tests.servers import SERVERS, ServerName, background
from tests.wire import needs_wire, recordings

SPEAKING = "gemini_generate/speech-basic-functionality-gemini-2-5-flash-preview-tts-can-spea"
HEARING = "gemini_generate/transcription-with-a-large-thinking-budget"
TTS, LATER_TTS, EARS, PAINTER = (
    "gemini-2.5-flash-preview-tts",
    "gemini-3.8-flash-tts",
    "gemini-2.5-flash",
    "gemini-2.5-flash-image",
)
SAMPLES = b"\x01\x00\xff\x7f" * 600
PNG = b"\x89PNG\r\n\x1a\n\x00"
HEARD = "The sun was setting slowly, casting long shadows across the empty field."


class House:
    """A gateway that serves, and the vendor behind it."""

    def __init__(self, url: str, vendor: Vendor) -> None:
        self.url = url
        self.vendor = vendor

    def plays(self, identifier: str) -> None:
        (recording,) = [found for found in recordings("gemini_generate") if found.id == identifier]
        self._says(answer_of(recording)[2])

    def makes(self, media_type: str, content: bytes) -> None:
        part: JSONObject = {"inlineData": {"mimeType": media_type, "data": base64.b64encode(content).decode()}}
        self.answers(part)

    def answers(self, *parts: JSONValue, finish: str = "STOP") -> None:
        spent: JSONObject = {"promptTokenCount": 9, "candidatesTokenCount": 1290}
        candidate: JSONObject = {"content": {"role": "model", "parts": [*parts]}, "finishReason": finish}
        self._says(dumps({"candidates": [candidate], "usageMetadata": spent}))

    def _says(self, body: bytes) -> None:
        self.vendor.asked.clear()
        self.vendor.answer = (200, b"application/json; charset=UTF-8", body)

    @property
    def asked(self) -> tuple[str, list[JSONObject], JSONObject]:
        """Which model was asked, the parts and the settings: the vendor's own types know all of them."""
        (request,) = self.vendor.asked
        body = loads_object(request.body)
        assert body.keys() <= {"contents", "generationConfig"}
        (content,) = as_list(body["contents"])
        types.Content.model_validate_json(dumps(content))
        settings = as_object(body.get("generationConfig"))
        types.GenerateContentConfig.model_validate_json(dumps(settings))
        model = request.line.removeprefix("POST /v1beta/models/").removesuffix(":generateContent")
        return model, [as_object(part) for part in as_list(as_object(content)["parts"])], settings

    def client(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with background() as loop:
        found = loop.enter(vendor())
        server = SERVERS[cast(ServerName, request.param)]
        yield House(loop.enter(server(gateway(found.url))), found)


def read(sound: bytes) -> tuple[tuple[int, int, int], bytes]:
    with wave.open(io.BytesIO(sound)) as file:
        return (file.getnchannels(), file.getsampwidth(), file.getframerate()), file.readframes(file.getnframes())


def waves(samples: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", "not compressed"))
        file.writeframes(samples)
    return out.getvalue()


@needs_wire
def test_recorded_speech_becomes_a_wav_that_can_be_played(house: House) -> None:
    house.plays(SPEAKING)
    with house.client() as client:
        spoken = client.audio.speech.create(model=TTS, input="Ruby", voice="Kore", response_format="wav")
    shape, samples = read(spoken.content)
    assert shape == (1, 2, 24_000) and len(samples) == 768
    assert spoken.response.headers["content-type"] == "audio/wav"
    assert "x-llmgw-diagnostics" not in spoken.response.headers
    model, parts, settings = house.asked
    assert (model, parts) == (TTS, [{"text": "Ruby"}])
    assert settings == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }


@pytest.mark.parametrize(
    ("media_type", "sound"),
    [("audio/L16;codec=pcm;rate=24000", SAMPLES), ("audio/wav", waves(SAMPLES))],
    ids=["samples", "wav"],
)
def test_speech_in_each_of_the_formats_there_are(house: House, media_type: str, sound: bytes) -> None:
    house.makes(media_type, sound)
    with house.client() as client:
        bare = client.audio.speech.create(model=LATER_TTS, input="Hi", voice="Kore", response_format="pcm")
        with client.audio.speech.with_streaming_response.create(
            model=LATER_TTS, input="Hi", voice="Kore", response_format="wav"
        ) as response:
            streamed = b"".join(response.iter_bytes())
    assert (bare.content, bare.response.headers["content-type"]) == (SAMPLES, "audio/pcm")
    assert read(streamed) == ((1, 2, 24_000), SAMPLES)


def test_what_the_vendor_speaks_otherwise_is_told(house: House) -> None:
    house.makes("audio/wav", waves(SAMPLES))
    with house.client() as client:
        spoken = client.audio.speech.create(
            model=LATER_TTS, input="Hi", voice="coral", instructions="Whisper.", speed=2
        )
    assert spoken.response.headers["content-type"] == "audio/wav"
    assert spoken.response.headers["x-llmgw-diagnostics"] == "3; codes=approximated"
    _, parts, _ = house.asked
    style = "Whisper.\nSpeak faster than usual, at 2 times the usual pace."
    assert parts == [{"text": "Hi", "speechMetadata": {"style": style}}]


def test_a_format_that_the_vendor_has_not_is_refused_before_it_is_asked(house: House) -> None:
    house.makes("audio/wav", waves(SAMPLES))
    with house.client() as client, pytest.raises(openai.BadRequestError, match="'wav' and 'pcm'") as caught:
        client.audio.speech.create(model=LATER_TTS, input="Hi", voice="Kore", response_format="mp3")
    assert (caught.value.param, caught.value.code) == ("response_format", "unsupported_parameter")
    assert house.vendor.asked == []


@needs_wire
def test_a_recorded_transcript_is_read_without_the_models_thoughts(house: House) -> None:
    house.plays(HEARING)
    with house.client() as client:
        heard = client.audio.transcriptions.create(
            model=EARS, file=("a.mp3", b"ID3", "audio/mpeg"), language="en", prompt="A field.", temperature=0.5
        )
    assert heard.text == HEARD
    assert heard.usage is not None and heard.usage.type == "tokens"
    assert (heard.usage.input_tokens, heard.usage.output_tokens, heard.usage.total_tokens) == (190, 39, 229)
    assert heard.usage.input_token_details is not None and heard.usage.input_token_details.audio_tokens == 176
    model, parts, settings = house.asked
    assert (model, settings) == (EARS, {"temperature": 0.5})
    assert "A field." in str(parts[0]["text"])
    assert parts[1] == {"inlineData": {"mimeType": "audio/mpeg", "data": base64.b64encode(b"ID3").decode()}}


@needs_wire
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_transcript_as_text_and_a_translation(house: House) -> None:
    house.plays(HEARING)
    file = ("speech.wav", waves(SAMPLES), "audio/wav")
    with house.client() as client:
        assert client.audio.transcriptions.create(model=EARS, file=file, response_format="text") == HEARD
        house.plays(HEARING)
        assert client.audio.translations.create(model=EARS, file=file).text == HEARD
    assert "to English" in str(house.asked[1][0]["text"])


def test_what_a_transcript_of_the_vendors_lacks_is_refused(house: House) -> None:
    file = ("speech.wav", waves(SAMPLES), "audio/wav")
    house.answers({"text": "Hello."})
    with house.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(model=EARS, file=file, response_format="verbose_json")
        assert caught.value.param == "response_format"
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(model=EARS, file=file, stream=True)
        assert caught.value.param == "stream"
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(model=EARS, file=("large.wav", bytes(15_000_000), "audio/wav"))
        assert caught.value.code == "upload_too_large"
    assert house.vendor.asked == []


def test_pictures_are_edited_and_varied(house: House) -> None:
    house.makes("image/png", b"hi")
    first = ("a.png", PNG, "image/png")
    with house.client() as client:
        one = client.images.edit(model=PAINTER, image=first, prompt="A hat", size="1024x1024")
        model, parts, settings = house.asked
        house.makes("image/png", b"hi")
        two = client.images.edit(model=PAINTER, image=[first, ("b.jpg", b"\xff\xd8\xff", "image/jpeg")], prompt="Both")
    assert (model, parts[0]) == (PAINTER, {"text": "A hat"})
    assert parts[1:] == [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}]
    assert settings == {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "1:1"}}
    assert len(house.asked[1]) == 3
    for found in (one, two):
        assert [picture.b64_json for picture in found.data or []] == ["aGk="]
    assert one.usage is not None and one.usage.output_tokens == 1290


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_variation_is_asked_for_in_words(house: House) -> None:
    house.makes("image/png", b"hi")
    with house.client() as client:
        found = client.images.with_raw_response.create_variation(model=PAINTER, image=("a.png", PNG, "image/png"))
    assert found.headers["x-llmgw-diagnostics"] == "1; codes=approximated"
    assert [picture.b64_json for picture in found.parse().data or []] == ["aGk="]
    assert "variation" in str(house.asked[1][0]["text"])


def test_a_mask_is_refused(house: House) -> None:
    house.makes("image/png", b"hi")
    picture = ("a.png", PNG, "image/png")
    with house.client() as client, pytest.raises(openai.BadRequestError, match="knows no masks") as caught:
        client.images.edit(model=PAINTER, image=picture, mask=picture, prompt="A hat")
    assert (caught.value.param, house.vendor.asked) == ("mask", [])


def test_a_key_has_these_models_only_where_it_may(house: House) -> None:
    house.vendor.asked.clear()
    with house.client(KEY + "-small") as client:
        with pytest.raises(openai.NotFoundError):
            client.audio.speech.create(model=TTS, input="Hi", voice="Kore")
        with pytest.raises(openai.NotFoundError):
            client.audio.transcriptions.create(model=EARS, file=("a.wav", b"RIFF", "audio/wav"))
    with house.client("nobody") as client, pytest.raises(openai.AuthenticationError):
        client.images.edit(model=PAINTER, image=("a.png", PNG, "image/png"), prompt="A hat")
    assert house.vendor.asked == []
