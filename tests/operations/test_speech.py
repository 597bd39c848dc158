"""Speech of Gemini's vendors for OpenAI's clients."""

from __future__ import annotations

import base64
import io
import wave
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.operations.speech import SpeechCall, translate_speech
from tests.protocols.gemini_generate.sent import check_types

SAMPLES = b"\x01\x00\xff\x7f" * 600
RAW_TYPE = "audio/L16;codec=pcm;rate=24000"
EARLIER, LATER = "gemini-2.5-flash-preview-tts", "gemini-3.8-flash-tts"


def asked(model: str = LATER, /, **fields: JSONValue) -> SpeechCall:
    given: JSONObject = {"model": "m", "input": "Hello.", "voice": "Kore", "response_format": "wav", **fields}
    call = translate_speech(dumps(given), model=model)
    check_types(loads_object(call.body))
    return call


def part(call: SpeechCall) -> JSONObject:
    (content,) = as_list(loads_object(call.body)["contents"])
    (found,) = as_list(as_object(content)["parts"])
    return as_object(found)


def lost(call: SpeechCall) -> list[tuple[str, str]]:
    return [(item.path, item.code) for item in call.diagnostics if item.severity != "info"]


def said(*sounds: tuple[str, bytes], finish: str = "STOP") -> bytes:
    parts: list[JSONValue] = [
        {"inlineData": {"mimeType": kind, "data": base64.b64encode(sound).decode()}} for kind, sound in sounds
    ]
    spent: JSONObject = {"promptTokenCount": 4, "candidatesTokenCount": 30}
    return dumps({"candidates": [{"content": {"parts": parts}, "finishReason": finish}], "usageMetadata": spent})


def waves(samples: bytes = SAMPLES, *, rate: int = 24_000, channels: int = 1, width: int = 2) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue()


def read(sound: bytes) -> tuple[int, bytes]:
    with wave.open(io.BytesIO(sound)) as file:
        return file.getframerate(), file.readframes(file.getnframes())


def test_the_text_is_spoken_by_a_voice_of_the_vendors() -> None:
    call = asked()
    assert call.path == "/v1beta/models/gemini-3.8-flash-tts:generateContent"
    assert loads_object(call.body) == {
        "contents": [{"role": "user", "parts": [{"text": "Hello."}]}],
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        },
    }
    assert call.diagnostics == ()


def test_openais_voices_are_spoken_by_others_and_the_client_is_told() -> None:
    call = asked(voice="alloy")
    assert b'"voiceName":"Kore"' in call.body and lost(call) == [("voice", "approximated")]
    assert b'"voiceName":"Aoede"' in asked(voice="Coral").body
    assert b'"voiceName":"not-yet-known"' in asked(voice="not-yet-known").body


def test_instructions_stand_beside_the_text_which_is_read_to_the_letter() -> None:
    call = asked(instructions="Whisper.")
    assert part(call) == {"text": "Hello.", "speechMetadata": {"style": "Whisper."}}
    assert call.diagnostics == ()


@pytest.mark.parametrize("model", [EARLIER, "gemini-2.5-pro-tts", "gemini-3.1-flash-tts-preview"])
def test_earlier_models_are_told_in_the_text(model: str) -> None:
    call = asked(model, instructions="Whisper.")
    assert part(call) == {"text": "### PERFORMANCE\nWhisper.\n\n#### TRANSCRIPT\nHello."}
    assert [(item.path, item.severity) for item in call.diagnostics] == [("instructions", "info")]
    assert part(asked(model)) == {"text": "Hello."}


@pytest.mark.parametrize(
    ("speed", "pace"),
    [
        (1.5, "Speak faster than usual, at 1.5 times the usual pace."),
        (0.25, "Speak slower than usual, at 0.25 times the usual pace."),
    ],
)
def test_speed_is_asked_for_in_words(speed: float, pace: str) -> None:
    call = asked(speed=speed, instructions="Whisper.")
    assert part(call)["speechMetadata"] == {"style": f"Whisper.\n{pace}"}
    assert lost(call) == [("speed", "approximated")]
    assert part(asked(speed=speed))["speechMetadata"] == {"style": pace}
    assert part(asked(speed=1)) == {"text": "Hello."}


def test_what_nobody_knows_is_left_out_with_a_warning() -> None:
    assert lost(asked(lang_code="de", stream_format="audio", user=None)) == [("lang_code", "dropped")]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"response_format": "mp3"}, "response_format", "unsupported_parameter"),
        ({"response_format": "opus"}, "response_format", "unsupported_parameter"),
        ({"response_format": "aac"}, "response_format", "unsupported_parameter"),
        ({"response_format": "flac"}, "response_format", "unsupported_parameter"),
        ({"response_format": 3}, "response_format", "unsupported_parameter"),
        ({"stream_format": "sse"}, "stream_format", "unsupported_parameter"),
        ({"voice": {"id": "voice_1"}}, "voice", "unsupported_parameter"),
        ({"voice": None}, "voice", "invalid_type"),
        ({"voice": ""}, "voice", "invalid_type"),
        ({"input": ""}, "input", "invalid_type"),
        ({"input": ["a"]}, "input", "invalid_type"),
        ({"instructions": ["a"]}, "instructions", "invalid_type"),
        ({"speed": 5}, "speed", "invalid_value"),
        ({"speed": "fast"}, "speed", "invalid_value"),
    ],
)
def test_what_cannot_be_said_is_refused(fields: JSONObject, param: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(**fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_a_refused_format_tells_which_there_are() -> None:
    with pytest.raises(InvalidRequest, match="'wav' and 'pcm'"):
        asked(response_format="mp3")


def test_a_format_that_is_left_open_becomes_wav_and_the_client_is_told() -> None:
    call = asked(response_format=None)
    assert (call.kind, lost(call)) == (b"audio/wav", [("response_format", "approximated")])


@pytest.mark.parametrize(
    "sound", [(RAW_TYPE, SAMPLES), ("audio/pcm", SAMPLES), ("audio/wav", waves())], ids=["L16", "PCM", "WAV"]
)
def test_sound_becomes_what_the_client_asked_for(sound: tuple[str, bytes]) -> None:
    """Earlier models send bare samples, later ones a WAV."""
    told, usage = asked(response_format="wav").answer(said(sound), model="m")
    assert read(told) == (24_000, SAMPLES)
    assert usage is not None and (usage.input_tokens, usage.output_tokens) == (4, 30)
    call = asked(response_format="pcm")
    assert (call.answer(said(sound), model="m")[0], call.kind) == (SAMPLES, b"audio/pcm")


def test_sound_in_several_parts_is_one() -> None:
    told, _ = asked(response_format="pcm").answer(said((RAW_TYPE, SAMPLES), (RAW_TYPE, SAMPLES)), model="m")
    assert told == SAMPLES * 2


def test_a_wav_says_how_fast_its_samples_are() -> None:
    answer = said(("audio/L16;rate=16000", SAMPLES))
    assert read(asked().answer(answer, model="m")[0]) == (16_000, SAMPLES)
    with pytest.raises(InvalidUpstreamResponse):
        asked(response_format="pcm").answer(answer, model="m")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="nothing"),
        pytest.param(said(), id="no sound"),
        pytest.param(said(finish="OTHER"), id="given up"),
        pytest.param(said(("audio/mp3", b"ID3")), id="MP3"),
        pytest.param(said(("audio/wav", b"RIFF")), id="a WAV that is cut"),
        pytest.param(said(("audio/wav", b"not a wave at all, but some text")), id="no WAV"),
        pytest.param(said(("audio/wav", waves(channels=2))), id="two channels"),
        pytest.param(said((RAW_TYPE, SAMPLES), ("audio/L16;rate=8000", SAMPLES)), id="two rates"),
        pytest.param(said(("audio/L16;rate=0000", SAMPLES)), id="no rate"),
        pytest.param(said((RAW_TYPE, SAMPLES)).replace(b'"data":"', b'"data":"*'), id="no base64"),
    ],
)
def test_what_is_no_sound_is_a_bad_gateway(answer: bytes) -> None:
    with pytest.raises(InvalidUpstreamResponse):
        asked().answer(answer, model="m")


@pytest.mark.parametrize("answer", [b'{"promptFeedback":{"blockReason":"SAFETY"}}', said(finish="PROHIBITED_CONTENT")])
def test_what_the_policy_has_stopped_is_the_clients_mistake(answer: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        asked().answer(answer, model="m")
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (400, "content_filter", False)


def test_speech_that_was_cut_off_is_not_taken_for_the_whole() -> None:
    with pytest.raises(UpstreamError) as caught:
        asked().answer(said((RAW_TYPE, SAMPLES), finish="MAX_TOKENS"), model="m")
    assert (caught.value.status, caught.value.kind, caught.value.retryable) == (400, "context_too_long", False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.sampled_from(["input", "voice", "instructions", "response_format", "speed", "stream_format", "other"])


@given(st.dictionaries(FIELDS, VALUES))
def test_whatever_is_asked_is_spoken_or_refused(fields: JSONObject) -> None:
    try:
        asked(**fields)
    except InvalidRequest as error:
        assert error.status == 400


ANSWERED = st.sampled_from(["candidates", "content", "parts", "inlineData", "mimeType", "data", "finishReason", "text"])
ANSWERS = st.recursive(
    VALUES | st.sampled_from([RAW_TYPE, "audio/wav", "AAAA", "STOP"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ANSWERED, inner, max_size=3),
)


@given(ANSWERS)
def test_whatever_is_answered_is_sound_or_an_error_of_the_vendors(found: JSONValue) -> None:
    for answer in (found, {"candidates": found}, {"candidates": [{"content": {"parts": found}}]}):
        with suppress(UpstreamError):
            asked().answer(dumps(answer), model="m")
