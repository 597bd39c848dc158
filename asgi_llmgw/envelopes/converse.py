"""Amazon Bedrock's Converse: JSON that is plain, streams in Amazon's binary event stream, errors named in a header.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse
from asgi_llmgw.eventstream import EventStreamFramer, EventStreamMessage
from asgi_llmgw.json import JSONError, JSONObject, as_object, dumps, loads
from asgi_llmgw.sse import ServerSentEvent

from .base import Dressed

_STREAM_TYPE: Final = b"application/vnd.amazon.eventstream"
_WHOLE: Final = "/converse"
_STREAM: Final = "/converse-stream"


@dataclass(frozen=True, slots=True)
class BedrockConverse:
    """Converse as Bedrock takes and gives it."""

    @property
    def stream_type(self) -> bytes:
        """Amazon's event stream."""
        return _STREAM_TYPE

    def request(self, url: str, headers: Headers, body: bytes, /) -> Dressed:
        """The same call, asking for the kind of answer it has.

        Raises:
            InvalidRequest: it is no Converse request.
        """
        stream = url.endswith(_STREAM)
        if not stream and not url.endswith(_WHOLE):
            raise InvalidRequest(
                "Amazon Bedrock has no such operation.", kind="unsupported", code="unsupported_operation"
            )
        kept = tuple(pair for pair in headers if pair[0] != b"accept")
        return Dressed(url, (*kept, (b"accept", _STREAM_TYPE if stream else b"application/json")), body)

    def error(self, status: int, headers: Headers, body: bytes, /) -> bytes:
        """An error answer with its name in the body; what is no JSON stays as it is."""
        try:
            told = as_object(loads(body))
        except JSONError:
            return body
        name = next((value for key, value in headers if key == b"x-amzn-errortype"), b"").decode("latin-1")
        return dumps({**told, "__type": name}) if name else body

    def stream(self) -> ConverseStream:
        """For one answer."""
        return ConverseStream()


class ConverseStream:
    """Amazon's messages in, each as a server-sent event of its own name out; an exception is an `exception`."""

    __slots__ = ("_framer",)

    def __init__(self) -> None:
        self._framer = EventStreamFramer()

    def feed(self, chunk: bytes, /) -> bytes:
        """The events for this chunk.

        Raises:
            InvalidUpstreamResponse: it cannot be read.
        """
        return b"".join(frame_of(message).encode() for message in self._framer.feed(chunk))

    def close(self) -> bytes:
        """End of input.

        Raises:
            InvalidUpstreamResponse: the last message is not whole.
        """
        self._framer.close()
        return b""


def frame_of(message: EventStreamMessage) -> ServerSentEvent:
    """A message as an event of the same name.

    Raises:
        InvalidUpstreamResponse: it has none.
    """
    match message.text(":message-type"):
        case "exception":
            told: JSONObject = {**_object(message.payload), "__type": message.text(":exception-type")}
            return ServerSentEvent(dumps(told), "exception")
        case "error":
            told = {"__type": message.text(":error-code"), "message": message.text(":error-message")}
            return ServerSentEvent(dumps(told), "exception")
    name = message.text(":event-type")
    if not name or any(letter in name for letter in "\r\n"):
        raise InvalidUpstreamResponse("the upstream sent an event without a name")
    # outside of a string a line break means nothing, and inside it is escaped
    return ServerSentEvent(message.payload.replace(b"\r", b" ").replace(b"\n", b" "), name)


def _object(payload: bytes) -> JSONObject:
    try:
        return as_object(loads(payload))
    except JSONError:
        return {}
