"""The codec of Responses: everything this package can do, behind the interface all codecs share."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from asgi_llmgw.errors import GatewayError, InvalidRequest, UpstreamError
from asgi_llmgw.ir import ChatRequest, ChatResponse
from asgi_llmgw.json import JSONError, JSONValue, loads, members, replace_model
from asgi_llmgw.protocols.base import (
    EncodedError,
    EncodedRequest,
    EncodedResponse,
    Profile,
    RequestHead,
    StreamContext,
    safe_tool_name,
)
from asgi_llmgw.protocols.fields import Fields
from asgi_llmgw.protocols.openai.errors import decode_error
from asgi_llmgw.protocols.plain import plain_head
from asgi_llmgw.sse import ServerSentEvent

from . import errors, request_decoder, request_encoder, response_decoder, stream_encoder
from .stream_decoder import ResponsesStreamDecoder
from .stream_encoder import ResponsesStreamEncoder
from .wire import NAME, PATH


class OpenAIResponsesCodec:
    """Responses, both ways (https://platform.openai.com/docs/api-reference/responses)."""

    name: str = NAME
    frame_newline: bytes = b"\n"

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        """Model and stream of a request, without reading the rest.

        Raises:
            InvalidRequest: they cannot be told for sure.
        """
        request_decoder.check_repeated(body)
        plain = plain_head(body)
        if plain is not None:
            return plain
        try:
            raw = members(body)
            head = Fields({key: loads(bytes(raw[key])) for key in ("model", "stream") if key in raw})
        except JSONError as exc:
            raise InvalidRequest(f"The request body is not usable JSON: {exc}", code=exc.code) from None
        return RequestHead(head.required_text("model"), head.flag("stream") or False)

    def with_model(
        self, path: str, body: bytes, model: str, also: Mapping[str, JSONValue] | None = None, /
    ) -> EncodedRequest:
        """The same request for another model: all other values keep their bytes, but for members to set also.

        Raises:
            InvalidRequest: the body is not a JSON object.
        """
        try:
            return EncodedRequest(PATH, replace_model(body, model, also))
        except (JSONError, msgspec.DecodeError) as exc:
            raise InvalidRequest(f"The request body is not usable JSON: {exc}", code="invalid_json") from None

    def tool_name(self, name: str, /) -> str:
        """Letters, digits, `_` and `-`, at most 64 of them."""
        return safe_tool_name(name)

    def decode_request(self, path: str, body: bytes, /) -> ChatRequest:
        """A client's request.

        Raises:
            InvalidRequest: it cannot be read.
        """
        return request_decoder.decode_request(body)

    def encode_request(self, request: ChatRequest, /, *, profile: Profile) -> EncodedRequest:
        """A request for an upstream.

        Raises:
            InvalidRequest: Responses cannot ask for this.
        """
        return request_encoder.encode_request(request, profile)

    def decode_response(self, body: bytes, /) -> ChatResponse:
        """An upstream's whole answer.

        Raises:
            UpstreamError: it is an error, or cannot be read.
        """
        return response_decoder.decode_response(body)

    def encode_response(self, response: ChatResponse, /, *, context: StreamContext) -> EncodedResponse:
        """A whole answer for a client."""
        return stream_encoder.encode_response(response, context)

    def decode_error(self, status: int, body: bytes, /) -> UpstreamError:
        """An upstream's error answer."""
        return decode_error(status, body)

    def encode_error(self, error: GatewayError, /, *, request_id: str | None = None) -> EncodedError:
        """An error for a client; Responses tells the request id in a header, which is not ours to set."""
        return errors.encode_error(error)

    def encode_stream_error(self, error: GatewayError, /) -> ServerSentEvent:
        """An error as the last frame of a stream."""
        return errors.encode_stream_error(error)

    def stream_decoder(self) -> ResponsesStreamDecoder:
        """A decoder for one upstream stream."""
        return ResponsesStreamDecoder()

    def stream_encoder(self, context: StreamContext, /) -> ResponsesStreamEncoder:
        """An encoder for one client stream."""
        return ResponsesStreamEncoder(context)
