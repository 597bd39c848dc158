"""Speech of Gemini's vendors for the clients of OpenAI's.

https://platform.openai.com/docs/api-reference/audio/createSpeech,
https://ai.google.dev/gemini-api/docs/speech-generation,
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/text-to-speech/migration-guide
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import wave
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.ir import Diagnostic, Usage
from asgi_llmgw.json import JSONObject, JSONValue, as_float, as_str
from asgi_llmgw.operations.content import Made, ask
from asgi_llmgw.protocols.base import Diagnostics, parse_request, unsupported

PATH: Final = "/v1/audio/speech"
Format: TypeAlias = Literal["wav", "pcm"]
_KNOWN: Final = frozenset({"model", "input", "voice", "instructions", "response_format", "speed", "stream_format"})
_RATE: Final = 24_000
_RAW: Final = ("audio/l16", "audio/pcm")
_TOLD_RATE: Final = re.compile(r";\s*rate=(\d{4,6})\s*(?:;|$)", re.IGNORECASE)
_WAVES: Final = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
_IN_THE_TEXT: Final = re.compile(r"gemini-(?:2\.|3\.1-)")
"""Models that are told in the text how to read it; later ones read aloud all that stands there."""
_VOICES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "alloy": "Kore",
        "ash": "Orus",
        "ballad": "Algieba",
        "cedar": "Achird",
        "coral": "Aoede",
        "echo": "Charon",
        "fable": "Sadaltager",
        "marin": "Sulafat",
        "nova": "Zephyr",
        "onyx": "Algenib",
        "sage": "Vindemiatrix",
        "shimmer": "Achernar",
        "verse": "Puck",
    }
)
"""OpenAI's voices, and one of Gemini's that is not altogether unlike. Other names are the vendor's to know."""


class SpeechCall(msgspec.Struct, frozen=True):
    """A request in Gemini's words, and how its answer is read.

    Args:
        form: of the sound for the client.
        diagnostics: what is lost of the request.
    """

    path: str
    body: bytes
    form: Format
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def kind(self) -> bytes:
        """The media type of the answer."""
        return b"audio/wav" if self.form == "wav" else b"audio/pcm"

    def answer(self, body: bytes, *, model: str) -> tuple[bytes, Usage | None]:
        """The vendor's sound as the client wants it.

        Raises:
            UpstreamError: it cannot be read, is not whole, or the vendor's policy has stopped it.
        """
        made = Made(body, "the speech")
        sounds = [_samples(media_type, data) for media_type, data in made.sounds()]
        rate = sounds[0][0]
        if not rate:
            raise InvalidUpstreamResponse("the upstream's sound has no samples a second")
        if any(other != rate for other, _ in sounds) or (self.form == "pcm" and rate != _RATE):
            # who asks for bare samples takes them for what OpenAI's documentation says they are
            raise InvalidUpstreamResponse(f"the upstream's sound has not {_RATE} samples a second")
        samples = b"".join(sound for _, sound in sounds)
        return samples if self.form == "pcm" else _wave(rate, samples), made.usage


def translate_speech(body: bytes, *, model: str) -> SpeechCall:
    """A client's request for one of Gemini's models that speak.

    Raises:
        InvalidRequest: it cannot be read, or not be said there.
    """
    data = parse_request(body)
    lost = Diagnostics()
    text, voice = as_str(data.get("input")), data.get("voice")
    if not text:
        raise InvalidRequest("input is a text that is not empty.", param="input", code="invalid_type")
    if data.get("stream_format") not in (None, "audio"):
        raise unsupported("stream_format", "This model's vendor speaks in one piece, not in events.")
    form = _form(data.get("response_format"), lost)
    style = _style(data, lost)
    part: JSONObject = {"text": text}
    if style and _IN_THE_TEXT.match(model):
        lost.approximated("instructions", "they stand before the text", info=True)
        part = {"text": f"### PERFORMANCE\n{style}\n\n#### TRANSCRIPT\n{text}"}
    elif style:
        part["speechMetadata"] = {"style": style}
    for name in data:
        if name not in _KNOWN and data[name] is not None:
            lost.dropped(name)
    speaker: JSONObject = {"prebuiltVoiceConfig": {"voiceName": _voice(voice, lost)}}
    settings: JSONObject = {"responseModalities": ["AUDIO"], "speechConfig": {"voiceConfig": speaker}}
    path, written = ask(model, [part], settings)
    return SpeechCall(path, written, form, lost.items())


def _form(value: JSONValue, lost: Diagnostics) -> Format:
    """WAV where the client leaves it open: the MP3 that OpenAI sends then is nothing the vendor has."""
    if value is None:
        lost.approximated("response_format", "the vendor has no MP3: this is a WAV")
        return "wav"
    if value == "wav":
        return "wav"
    if value == "pcm":
        return "pcm"
    raise unsupported("response_format", "This model's vendor makes 'wav' and 'pcm', and no other response_format.")


def _voice(value: JSONValue, lost: Diagnostics) -> str:
    if isinstance(value, dict):
        raise unsupported("voice", "A voice of one's own is known to the vendor alone where it was made.")
    name = as_str(value)
    if not name:
        raise InvalidRequest("voice is the name of a voice.", param="voice", code="invalid_type")
    other = _VOICES.get(name.lower())
    if other is None:
        return name
    lost.approximated("voice", f"the vendor's voices are others: {other} speaks")
    return other


def _style(data: JSONObject, lost: Diagnostics) -> str:
    """How the text is to be read, in words: there is no other place for it."""
    given, value = data.get("instructions"), data.get("speed")
    style = as_str(given) or ""
    if given is not None and not isinstance(given, str):
        raise InvalidRequest("instructions is a text.", param="instructions", code="invalid_type")
    speed = 1.0 if value is None else as_float(value)
    if speed is None or not 0.25 <= speed <= 4.0:
        raise InvalidRequest("speed is a number from 0.25 to 4.", param="speed", code="invalid_value")
    if speed != 1.0:
        lost.approximated("speed", "the vendor is asked for it in words")
        pace = f"Speak {'faster' if speed > 1 else 'slower'} than usual, at {speed:g} times the usual pace."
        style = f"{style}\n{pace}" if style else pace
    return style


def _samples(media_type: str, data: str) -> tuple[int, bytes]:
    """How many samples a second, and the samples: 16 bits each, little-endian, one channel."""
    try:
        sound = base64.b64decode(data, validate=True)
        kind = media_type.partition(";")[0].strip().lower()
        if kind in _RAW:
            told = _TOLD_RATE.search(media_type)
            return _RATE if told is None else int(told[1]), sound
        if kind not in _WAVES:
            raise InvalidUpstreamResponse("the upstream's sound is neither PCM nor WAV")
        with wave.open(io.BytesIO(sound)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise InvalidUpstreamResponse("the upstream's sound is not in one channel of 16 bits")
            return file.getframerate(), file.readframes(file.getnframes())
    except (binascii.Error, wave.Error, EOFError):
        raise InvalidUpstreamResponse("the upstream's sound is not readable") from None


def _wave(rate: int, samples: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue()
