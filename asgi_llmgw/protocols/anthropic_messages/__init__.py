"""Anthropic Messages (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.ir import ChatRequest, ChatResponse
from asgi_llmgw.json import JSONValue
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

from . import errors, request, request_decoder, response, response_encoder, stream, stream_encoder
from .tools import tool_name
from .wire import NAME

__all__ = ("CODEC", "AnthropicMessagesCodec", "tool_name")


class AnthropicMessagesCodec:
    """`asgi_llmgw.protocols.base.Codec` for Anthropic Messages."""

    name: str = NAME
    frame_newline: bytes = b"\n"

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        return request.peek(body)

    def with_model(
        self, path: str, body: bytes, model: str, also: Mapping[str, JSONValue] | None = None, /
    ) -> EncodedRequest:
        return request.with_model(body, model, also)

    def tool_name(self, name: str, /) -> str:
        return tool_name(name)

    def decode_request(self, path: str, body: bytes, /) -> ChatRequest:
        return request_decoder.decode_request(body)

    def encode_request(self, request_: ChatRequest, /, *, profile: Profile) -> EncodedRequest:
        return request.encode_request(request_, profile)

    def decode_response(self, body: bytes, /) -> ChatResponse:
        return response.decode_response(body)

    def encode_response(self, response_: ChatResponse, /, *, context: StreamContext) -> EncodedResponse:
        return response_encoder.encode_response(response_, context)

    def decode_error(self, status: int, body: bytes, /) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: GatewayError, /, *, request_id: str | None = None) -> EncodedError:
        return errors.encode_error(error, request_id=request_id)

    def encode_stream_error(self, error: GatewayError, /) -> ServerSentEvent:
        return errors.encode_stream_error(error)

    def stream_decoder(self) -> StreamDecoder:
        return stream.MessagesDecoder()

    def stream_encoder(self, context: StreamContext, /) -> StreamEncoder:
        return stream_encoder.MessagesStreamEncoder(context)


CODEC: Final = AnthropicMessagesCodec()
