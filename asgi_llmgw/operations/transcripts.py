"""Transcripts and translations of speech by Gemini's vendors, for the clients of OpenAI's.

https://platform.openai.com/docs/api-reference/audio/createTranscription, https://ai.google.dev/gemini-api/docs/audio
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import Diagnostic, Usage
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.operations.content import Made, ask, inline
from asgi_llmgw.operations.form import Form, Part, read_form
from asgi_llmgw.protocols.base import Diagnostics, unsupported

TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
TRANSLATIONS: Final = "/v1/audio/translations"
Shape: TypeAlias = Literal["json", "text"]
_KNOWN: Final = frozenset({"model", "file", "prompt", "response_format", "temperature", "stream"})
_SAID_OTHERWISE: Final = frozenset({"chunking_strategy"})
_LANGUAGE: Final = re.compile(r"[A-Za-z][A-Za-z -]{1,31}\Z")
_TASKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        TRANSCRIPTIONS: "Transcribe the speech in this recording word for word, in the language that is spoken. "
        "Answer with the transcript alone: no introduction, no remarks, no timestamps, no names of speakers.",
        TRANSLATIONS: "Translate the speech in this recording to English. "
        "Answer with the translation alone: no introduction, no remarks, no timestamps, no names of speakers.",
    }
)
_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aac": "audio/aac",
        "aiff": "audio/aiff",
        "flac": "audio/flac",
        "m4a": "audio/m4a",
        "mp3": "audio/mp3",
        "mp4": "audio/mp4",
        "mpeg": "audio/mpeg",
        "mpga": "audio/mpeg",
        "oga": "audio/ogg",
        "ogg": "audio/ogg",
        "opus": "audio/opus",
        "wav": "audio/wav",
        "webm": "audio/webm",
    }
)
"""By the end of a file's name."""
_CALLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "application/ogg": "audio/ogg",
        "audio/mp4a-latm": "audio/m4a",
        "audio/vnd.wave": "audio/wav",
        "audio/wave": "audio/wav",
        "audio/x-aac": "audio/aac",
        "audio/x-aiff": "audio/aiff",
        "audio/x-flac": "audio/flac",
        "audio/x-m4a": "audio/m4a",
        "audio/x-wav": "audio/wav",
        # what a recording without a picture is called by its container
        "video/mp4": "audio/mp4",
        "video/mpeg": "audio/mpeg",
        "video/webm": "audio/webm",
    }
)
"""What the vendor calls what clients' systems call otherwise."""


class TranscriptCall(msgspec.Struct, frozen=True):
    """A request in Gemini's words, and how its answer is read.

    Args:
        shape: of the answer for the client.
        counted: the answer says what was used, as OpenAI's transcripts do and its translations do not.
        diagnostics: what is lost of the request.
    """

    path: str
    body: bytes
    shape: Shape = "json"
    counted: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def kind(self) -> bytes:
        """The media type of the answer."""
        return b"application/json" if self.shape == "json" else b"text/plain; charset=utf-8"

    def answer(self, body: bytes, *, model: str) -> tuple[bytes, Usage | None]:
        """The vendor's text in OpenAI's words.

        Raises:
            UpstreamError: it cannot be read, is not whole, or the vendor's policy has stopped it.
        """
        made = Made(body, "the transcript")
        text, usage = made.text(), made.usage
        if self.shape == "text":
            return text.encode("utf-8", "replace"), usage
        told: JSONObject = {"text": text}
        if self.counted and usage is not None and usage.input_tokens is not None and usage.output_tokens is not None:
            heard = usage.audio_input_tokens or 0
            told["usage"] = {
                "type": "tokens",
                "input_tokens": usage.input_tokens,
                "input_token_details": {"audio_tokens": heard, "text_tokens": max(usage.input_tokens - heard, 0)},
                "output_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
            }
        return dumps(told), usage


def translate_transcript(path: str, body: bytes, *, content_type: str, model: str) -> TranscriptCall:
    """A client's form for one of Gemini's models that hear.

    Args:
        path: which of the two is asked for.
        content_type: the client's, which says how the form is written.

    Raises:
        RequestError: it cannot be read, or not be said there.
    """
    form = read_form(body, content_type)
    shape = _shape(form)
    if (form.text("stream") or "false").lower() not in ("false", "0"):
        raise unsupported("stream", "This model's vendor is asked for whole transcripts.")
    lost = Diagnostics()
    task = _task(path, form, lost)
    known = _KNOWN | {"language"} if path == TRANSCRIPTIONS else _KNOWN
    for name in form.names:
        if name not in known:
            lost.dropped(name, info=name in _SAID_OTHERWISE)
    file = form.one("file")
    if file is None or not file.content:
        raise InvalidRequest("The form has no file.", param="file", code="missing_required_parameter")
    sound = inline(_media_type(file), file.content)
    address, written = ask(model, [{"text": task}, sound], _settings(form))
    return TranscriptCall(address, written, shape, path == TRANSCRIPTIONS, lost.items())


def _shape(form: Form) -> Shape:
    if form.all("timestamp_granularities"):
        raise unsupported("timestamp_granularities", "This model's vendor tells no times of what is said.")
    value = form.text("response_format") or "json"
    if value == "json":
        return "json"
    if value == "text":
        return "text"
    raise unsupported(
        "response_format", "Of this model's vendor there is 'json' and 'text', and no other response_format."
    )


def _task(path: str, form: Form, lost: Diagnostics) -> str:
    """What the model is told to do."""
    lines = [_TASKS[path]]
    language, prompt = form.text("language"), form.text("prompt")
    if language is not None and path == TRANSCRIPTIONS:
        if not _LANGUAGE.match(language):
            raise InvalidRequest("language is a code of ISO 639-1.", param="language", code="invalid_value")
        lines.append(f"The language that is spoken: {language}.")
        lost.approximated("language", "the model is told in words", info=True)
    if prompt is not None:
        lines.append(f"What was said before, or how names and terms are written (no part of the answer):\n{prompt}")
        lost.approximated("prompt", "the model is told in words", info=True)
    return "\n".join(lines)


def _settings(form: Form) -> JSONObject:
    given = form.text("temperature")
    if given is None:
        return {}
    try:
        temperature = float(given)
    except ValueError:
        temperature = -1.0
    if not 0.0 <= temperature <= 1.0:
        raise InvalidRequest("temperature is a number from 0 to 1.", param="temperature", code="invalid_value")
    return {"temperature": temperature}


def _media_type(file: Part) -> str:
    """What the client says the file is, else what its name says."""
    told = file.media_type or ""
    found = _CALLED.get(told, told if told.startswith("audio/") else None)
    found = found or _TYPES.get((file.filename or "").rpartition(".")[2].lower())
    if found is None:
        raise InvalidRequest(
            "Neither the file's content type nor its name says what kind of sound it is.",
            param="file",
            code="unsupported_media_type",
        )
    return found
