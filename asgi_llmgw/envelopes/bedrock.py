"""Claude on Amazon Bedrock: Anthropic Messages inside `InvokeModel` and Amazon's binary event stream.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import msgspec

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.eventstream import EventStreamFramer, EventStreamMessage
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_list, as_object, as_str, dumps, loads, members
from asgi_llmgw.sse import ServerSentEvent

from .base import Dressed

VERSION: Final = "bedrock-2023-05-31"
_PATH: Final = "/v1/messages"
_STREAM_TYPE: Final = b"application/vnd.amazon.eventstream"

BETAS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: name
        for name in (
            "compact-2026-01-12",
            "computer-use-2024-10-22",
            "computer-use-2025-01-24",
            "computer-use-2025-11-24",
            "context-1m-2025-08-07",
            "context-management-2025-06-27",
            "dangerous-tool-use-2026-09-03",
            "effort-2025-11-24",
            "fine-grained-tool-streaming-2025-05-14",
            "interleaved-thinking-2025-05-14",
            "mid-conversation-output-config-2026-07-01",
            "mid-conversation-tool-changes-2026-07-01",
            "thinking-binding-controls-2026-08-01",
            "thinking-display-updates-2026-08-18",
            "tool-search-tool-2025-10-19",
        )
    }
    | {"advanced-tool-use-2025-11-20": "tool-search-tool-2025-10-19"}
)
"""The feature flags Bedrock takes, by Anthropic's name for them; with any other it refuses the whole request."""

_ERRORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accessdeniedexception": "permission_error",
        "expiredtokenexception": "authentication_error",
        "internalserverexception": "api_error",
        "modelerrorexception": "api_error",
        "modelnotreadyexception": "overloaded_error",
        "modelstreamerrorexception": "api_error",
        "modeltimeoutexception": "timeout_error",
        "resourcenotfoundexception": "not_found_error",
        "servicequotaexceededexception": "rate_limit_error",
        "serviceunavailableexception": "overloaded_error",
        "throttlingexception": "rate_limit_error",
        "unrecognizedclientexception": "authentication_error",
        "validationexception": "invalid_request_error",
    }
)
"""Amazon's exceptions in Anthropic's words (API_runtime_ResponseStream, and the errors of InvokeModel)."""

_TOO_LONG: Final = re.compile(r"input is too long|too many input tokens", re.IGNORECASE)
_NO_MODEL: Final = re.compile(r"model identifier", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BedrockMessages:
    """Anthropic Messages as Bedrock takes and gives them: the model in the path, the flags it knows in the body."""

    @property
    def stream_type(self) -> bytes:
        """Amazon's event stream."""
        return _STREAM_TYPE

    def request(self, url: str, headers: Headers, body: bytes, /) -> Dressed:
        """Wrap a call; the bytes of all values but `model` and `stream` stay as they are.

        Raises:
            InvalidRequest: it is no Messages request.
        """
        base = url.removesuffix(_PATH)
        if base == url:
            raise InvalidRequest(
                "Amazon Bedrock has no such operation.", kind="unsupported", code="unsupported_operation"
            )
        fields = dict(members(body))
        model = as_str(_read(fields.pop("model", None)))
        stream = _read(fields.pop("stream", None)) is True
        if not model or model in (".", ".."):
            raise InvalidRequest("The model cannot be called by this name.", param="model")
        own = {name: fields.pop(name, None) for name in ("anthropic_version", "anthropic_beta")}
        asked = [*_flags(headers), *(text for text in as_list(_read(own["anthropic_beta"])) if isinstance(text, str))]
        betas = list(dict.fromkeys(BETAS[flag] for flag in asked if flag in BETAS))
        added: JSONObject = {"anthropic_version": VERSION, **({"anthropic_beta": [*betas]} if betas else {})}
        action = "invoke-with-response-stream" if stream else "invoke"
        kept = tuple(
            (name, value) for name, value in headers if name not in (b"accept", b"anthropic-beta", b"anthropic-version")
        )
        accept = (b"accept", _STREAM_TYPE if stream else b"application/json")
        path = f"/model/{quote(model, safe='')}/{action}"
        return Dressed(base + path, (*kept, accept), dumps({**added, **fields}))

    def error(self, status: int, headers: Headers, body: bytes, /) -> bytes:
        """An error answer in Anthropic's shape; what is no JSON stays as it is."""
        try:
            told = as_object(loads(body))
        except JSONError:
            return body
        name = next((value for key, value in headers if key == b"x-amzn-errortype"), b"").decode("latin-1")
        return dumps(_error(name or as_str(told.get("__type")) or "", _text(told), status))

    def stream(self) -> BedrockStream:
        """For one answer."""
        return BedrockStream()


class BedrockStream:
    """Amazon's messages in, Anthropic's server-sent events out."""

    __slots__ = ("_framer",)

    def __init__(self) -> None:
        self._framer = EventStreamFramer()

    def feed(self, chunk: bytes, /) -> bytes:
        """The events for this chunk.

        Raises:
            InvalidUpstreamResponse: it cannot be read.
        """
        return b"".join(_event(message) for message in self._framer.feed(chunk))

    def close(self) -> bytes:
        """End of input.

        Raises:
            InvalidUpstreamResponse: the last message is not whole.
        """
        self._framer.close()
        return b""


class _Chunk(msgspec.Struct):
    """The payload of a chunk: base64 in JSON."""

    event: bytes = msgspec.field(name="bytes")


class _Typed(msgspec.Struct):
    type: str


_chunk: Final = msgspec.json.Decoder(_Chunk)
_typed: Final = msgspec.json.Decoder(_Typed)


def _event(message: EventStreamMessage) -> bytes:
    match message.text(":message-type"):
        case "exception":
            name, told = message.text(":exception-type"), _object(message.payload)
            return ServerSentEvent(dumps(_error(name, _text(told))), "error").encode()
        case "error":
            value = _error(message.text(":error-code"), message.text(":error-message"))
            return ServerSentEvent(dumps(value), "error").encode()
    if message.text(":event-type") != "chunk":
        return b""
    try:
        data = _chunk.decode(message.payload).event
        return ServerSentEvent(data, _typed.decode(data).type).encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidUpstreamResponse("the upstream sent a chunk that is no event") from None


def _error(name: str, message: str, status: int = 500) -> JSONObject:
    """An error of Amazon's as Anthropic would have told it."""
    word = _ERRORS.get(name.partition(":")[0].rpartition("#")[2].lower())
    if word is None:
        word = "api_error" if status >= 500 else "invalid_request_error"
    if word == "invalid_request_error" and _TOO_LONG.search(message):
        # agents look for these words to know that they must compact the conversation
        message = f"prompt is too long: {message}"
    elif word in ("invalid_request_error", "not_found_error") and _NO_MODEL.search(message):
        word, message = "not_found_error", f"model: {message}"
    return {"type": "error", "error": {"type": word, "message": message}}


def _text(told: JSONObject) -> str:
    return next((text for name in ("message", "Message", "originalMessage") if (text := as_str(told.get(name)))), "")


def _object(payload: bytes) -> JSONObject:
    try:
        return as_object(loads(payload))
    except JSONError:
        return {}


def _read(raw: msgspec.Raw | None) -> JSONValue:
    return None if raw is None else loads(bytes(raw))


def _flags(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    told = [value.decode("latin-1") for name, value in headers if name == b"anthropic-beta"]
    return [flag.strip() for value in told for flag in value.split(",") if flag.strip()]
