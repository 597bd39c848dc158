"""The codec itself: each method is a function of the module that knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.ir import ChatRequest, ChatResponse
from asgi_llmgw.json import JSONValue, with_members
from asgi_llmgw.protocols.base import (
    EncodedError,
    EncodedRequest,
    EncodedResponse,
    Profile,
    RequestHead,
    StreamContext,
    StreamDecoder,
    StreamEncoder,
)
from asgi_llmgw.sse import ServerSentEvent

from .errors import decode_error, encode_error, encode_stream_error
from .paths import build_path, parse_path
from .request import encode_request
from .request_decoder import decode_request
from .response import decode_response
from .response_encoder import encode_response
from .stream import GeminiStreamDecoder
from .stream_encoder import GeminiStreamEncoder
from .tools import gemini_tool_name
from .wire import PROTOCOL


class GeminiGenerateCodec:
    """Gemini's generateContent and streamGenerateContent; see `asgi_llmgw.protocols.base.Codec`."""

    name: str = PROTOCOL
    frame_newline: bytes = b"\r\n"

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        """Model and method stand in the path; the body is not looked at."""
        return parse_path(path)

    def with_model(
        self, path: str, body: bytes, model: str, also: Mapping[str, JSONValue] | None = None, /
    ) -> EncodedRequest:
        """The same body, at the path of another model. Nothing of the client's path but the method is kept."""
        return EncodedRequest(
            build_path(model, stream=parse_path(path).stream), with_members(body, also) if also else body
        )

    def tool_name(self, name: str, /) -> str:
        """See `tools.gemini_tool_name`."""
        return gemini_tool_name(name)

    def decode_request(self, path: str, body: bytes, /) -> ChatRequest:
        """See `request_decoder.decode_request`."""
        return decode_request(path, body)

    def encode_request(self, request: ChatRequest, /, *, profile: Profile) -> EncodedRequest:
        """See `request.encode_request`."""
        return encode_request(request, profile)

    def decode_response(self, body: bytes, /) -> ChatResponse:
        """See `response.decode_response`."""
        return decode_response(body)

    def encode_response(self, response: ChatResponse, /, *, context: StreamContext) -> EncodedResponse:
        """See `response_encoder.encode_response`."""
        return encode_response(response, context)

    def decode_error(self, status: int, body: bytes, /) -> UpstreamError:
        """See `errors.decode_error`."""
        return decode_error(status, body)

    def encode_error(self, error: GatewayError, /, *, request_id: str | None = None) -> EncodedError:
        """See `errors.encode_error`."""
        return encode_error(error, request_id)

    def encode_stream_error(self, error: GatewayError, /) -> ServerSentEvent:
        """See `errors.encode_stream_error`."""
        return encode_stream_error(error)

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one stream."""
        return GeminiStreamDecoder()

    def stream_encoder(self, context: StreamContext, /) -> StreamEncoder:
        """An encoder for one stream."""
        return GeminiStreamEncoder(context)


CODEC: Final = GeminiGenerateCodec()
