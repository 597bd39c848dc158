"""Gemini generateContent as the vendor sends it, and as it should not."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.script import Script, Vendor, bytewise, cut, events, refusals, stream, whole

_TAIL: Final = '"modelVersion":"vendor-model","responseId":"resp-1"'
_USAGE: Final = (
    '"usageMetadata":{"promptTokenCount":20,"cachedContentTokenCount":8,"candidatesTokenCount":5,"totalTokenCount":25}'
)
_WEATHER: Final = '{"functionCall":{"name":"weather","args":{"city":"Paris"}}}'
_CLOCK: Final = '{"functionCall":{"name":"clock","args":{"zone":"CET"}}}'
_THOUGHT: Final = '{"text":"Let me think.","thought":true}'


def _body(parts: str, reason: str = "") -> str:
    """One `GenerateContentResponse`; a stream is several of them."""
    finish = f'"finishReason":"{reason}",' if reason else ""
    usage = f"{_USAGE}," if reason else '"usageMetadata":{"promptTokenCount":20,"totalTokenCount":20},'
    content = f'"content":{{"parts":[{parts}],"role":"model"}}'
    return f'{{"candidates":[{{{content},{finish}"index":0}}],{usage}{_TAIL}}}'


def _part(parts: str, reason: str = "") -> bytes:
    return events(_body(parts, reason), newline="\r\n")[0]


def _text(text: str) -> str:
    return f'{{"text":"{text}"}}'


def _ended(*pieces: bytes, reason: str = "STOP") -> tuple[bytes, ...]:
    last = f'{{"candidates":[{{"finishReason":"{reason}","index":0}}],{_USAGE},{_TAIL}}}'
    return (*pieces, *events(last, newline="\r\n"))


_ERROR: Final = '{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}'

STREAMS: Final[dict[str, Script]] = {
    "text": stream(_part(_text("Hello")), _part(_text(", world."), "STOP")),
    "parallel-tools": stream(_part(_text("Let me look.")), _part(_WEATHER), _part(_CLOCK), _part(_text(""), "STOP")),
    "tools-finish-stop": stream(*_ended(_part(_WEATHER), _part(_CLOCK))),
    "two-calls-in-one-chunk": stream(_part(f"{_WEATHER},{_CLOCK}", "STOP")),
    "finish-on-every-chunk": stream(_part(_WEATHER, "STOP"), _part(_CLOCK, "STOP")),
    "cut": cut(_part(_text("Hello")), _part(_text(", wor"))),
    "ends-early": stream(_part(_text("Hello")), _part(_text(", wor"))),
    "length": stream(*_ended(_part(_text("Hello")), reason="MAX_TOKENS")),
    "filtered": stream(*_ended(_part(_text("Hello")), reason="SAFETY")),
    "text-reasoning-text": stream(
        _part(_text("One.")),
        _part('{"text":"Let me","thought":true}'),
        _part('{"text":" think.","thought":true}'),
        _part('{"text":"Two.","thoughtSignature":"c2lnbmF0dXJlIG9mIHRoZSB2ZW5kb3I="}', "STOP"),
    ),
    "error-first": stream(*events(_ERROR, newline="\r\n")),
    "error-mid": stream(_part(_text("Hello")), *events(_ERROR, newline="\r\n")),
    "split-characters": bytewise(
        (
            _part(_text("Grüße, 世界 🌍")),
            _part('{"functionCall":{"name":"weather","args":{"city":"東京 🗼"}}}', "STOP"),
        )
    ),
    "noise": stream(
        b": keep-alive\r\n\r\n",
        _part(_text("Hello")),
        b": ping\n\n",
        *events(f'{{"usageMetadata":{{"promptTokenCount":20}},{_TAIL}}}', newline="\r\n"),
        *_ended(_part(_text(", world."))),
    ),
    "empty": stream(),
}


def _refusal(code: int, status: str, message: str) -> str:
    return f'{{"error":{{"code":{code},"message":"{message}","status":"{status}"}}}}'


_REFUSALS: Final = refusals(
    {
        "status-400": (400, _refusal(400, "INVALID_ARGUMENT", "temperature is out of range")),
        "status-401": (401, _refusal(401, "UNAUTHENTICATED", "API key not valid: @KEY@")),
        "status-404": (404, _refusal(404, "NOT_FOUND", "models/vendor-model is not found")),
        "status-429": (429, _refusal(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted")),
        "status-503": (503, _refusal(503, "UNAVAILABLE", "The model is overloaded")),
    }
)

VENDOR: Final = Vendor(
    streams={**STREAMS, **_REFUSALS},
    wholes={
        "text": whole(_body(_text("Hello, world."), "STOP")),
        "parallel-tools": whole(_body(f"{_text('Let me look.')},{_WEATHER},{_CLOCK}", "STOP")),
        "tools-finish-stop": whole(_body(f"{_WEATHER},{_CLOCK}", "STOP")),
        "length": whole(_body(_text("Hello"), "MAX_TOKENS")),
        "filtered": whole(_body(_text("Hello"), "SAFETY")),
        "reasoning": whole(_body(f"{_THOUGHT},{_text('Two.')}", "STOP")),
        "empty": whole(""),
        **_REFUSALS,
    },
)
"""The scripts of Gemini generateContent."""
