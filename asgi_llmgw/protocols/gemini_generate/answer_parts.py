"""Parts of an answer as a Gemini client reads them; whole answers and streams are made of the same."""

from __future__ import annotations

import base64
from typing import Final, assert_never

from asgi_llmgw.ir import (
    Base64Source,
    FileSource,
    MediaPart,
    Opaque,
    ReasoningPart,
    TextSource,
    TokenLogprob,
    ToolCallPart,
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, loads
from asgi_llmgw.protocols.base import Diagnostics, StreamContext

from .carriers import is_foreign, pack
from .media import standard_base64
from .results import fits
from .wire import BASE64_MAGIC, PROTOCOL

SIGNATURE: Final = "thoughtSignature"
_MEDIA_TYPES: Final = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4", "document": "text/plain"}


class Carried:
    """Reasoning of another vendor's that waits for the part whose signature will hold it."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[ReasoningPart] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, part: ReasoningPart) -> None:
        """Take the reasoning along."""
        if is_foreign(part):
            self._waiting.append(part)

    def load(self, part: JSONObject) -> JSONObject:
        """The part, with what waited; a part that the vendor signed itself cannot hold more."""
        if self._waiting and SIGNATURE not in part:
            part[SIGNATURE] = pack(self._waiting)
            self._waiting.clear()
        return part


def shows_thoughts(context: StreamContext) -> bool:
    """Gemini shows thoughts only to clients who ask for them."""
    asked = context.request is None or (context.request.reasoning is not None and context.request.reasoning.visible)
    return context.include_thoughts and bool(asked)


def sign(part: JSONObject, opaque: Opaque | None) -> JSONObject:
    """The part with the vendor's own signature, if it is one."""
    if opaque is not None and opaque.protocol == PROTOCOL and opaque.payload:
        part[SIGNATURE] = opaque.payload
    return part


def thought_parts(part: ReasoningPart, *, shown: bool) -> list[JSONObject]:
    """A thought, where it is shown; its own signature is kept in any case."""
    if part.text and shown:
        return [sign({"text": part.text, "thought": True}, part.opaque)]
    signed = sign({"text": ""}, part.opaque)
    return [signed] if SIGNATURE in signed else []


def call_part(part: ToolCallPart, path: str, context: StreamContext, lost: Diagnostics) -> JSONObject | None:
    """A call; None if its arguments are not an object (or bottomless), which Gemini has no way to say."""
    if part.kind == "custom":
        arguments: JSONValue = {"input": part.arguments}
        lost.approximated(path, "a free text is the member `input` of an object", info=True)
    elif not part.arguments.strip():
        arguments = {}
    else:
        try:
            arguments = loads(part.arguments)
        except JSONError:
            return None
        if not isinstance(arguments, dict) or not fits(arguments):
            return None
    body: JSONObject = {"id": part.id or context.new_id("call_"), "name": part.name, "args": arguments}
    return sign({"functionCall": body}, part.signature)


def media_part(part: MediaPart, path: str, lost: Diagnostics) -> JSONObject | None:
    """A picture or a sound; None for a file that another vendor keeps."""
    if part.transcript is not None:
        lost.dropped(f"{path}.transcript", "Gemini has no place for it")
    match part.source:
        case Base64Source(data):
            data = standard_base64(data)
            found = part.media_type or next((name for magic, name in BASE64_MAGIC if data.startswith(magic)), None)
            body: JSONObject = {"inlineData": {"mimeType": found or _MEDIA_TYPES[part.kind], "data": data}}
        case TextSource(text):
            data = base64.b64encode(text.encode("utf-8", "replace")).decode()
            body = {"inlineData": {"mimeType": part.media_type or "text/plain", "data": data}}
        case UrlSource(url):
            body = _file(url, part.media_type)
        case FileSource(file_id, protocol):
            if protocol != PROTOCOL:
                lost.dropped(path, "the file is kept by another vendor")
                return None
            body = _file(file_id, part.media_type)
        case _:
            assert_never(part.source)
    return sign(body, part.signature)


def _file(uri: str, media_type: str | None) -> JSONObject:
    return {"fileData": {"fileUri": uri} if media_type is None else {"fileUri": uri, "mimeType": media_type}}


def unknown_part(part: UnknownPart, path: str, lost: Diagnostics) -> JSONObject | None:
    """A part of the vendor's own; None for another vendor's."""
    if part.protocol == PROTOCOL and part.raw:
        return dict(part.raw)
    lost.dropped(path, f"{part.protocol} {part.kind}".strip())
    return None


def logprobs_result(tokens: tuple[TokenLogprob, ...]) -> JSONObject:
    """Tokens and how likely they were."""
    result: JSONObject = {"chosenCandidates": [_token(token) for token in tokens]}
    if any(token.top for token in tokens):
        result["topCandidates"] = [{"candidates": [_token(rival) for rival in token.top]} for token in tokens]
    return result


def _token(token: TokenLogprob) -> JSONObject:
    return {"token": token.token, "logProbability": token.logprob}
