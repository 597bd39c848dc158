"""Amazon Bedrock's Converse and ConverseStream, as vendors speak them; no client does.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html. The frames of a stream are the
messages of Amazon's binary event stream, each under the name of its event: `envelopes.converse` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.ir import ChatRequest, ChatResponse
from asgi_llmgw.json import JSONValue, with_members
from asgi_llmgw.protocols.base import EncodedError, EncodedRequest, Profile, RequestHead, StreamDecoder
from asgi_llmgw.sse import ServerSentEvent

from . import errors, paths, request, response, stream
from .tools import tool_name
from .wire import NAME

__all__ = ("CODEC", "BedrockConverseCodec", "tool_name")


class BedrockConverseCodec:
    """`asgi_llmgw.protocols.base.UpstreamCodec` for Converse."""

    name: str = NAME
    frame_newline: bytes = b"\n"

    def peek(self, path: str, body: bytes, /) -> RequestHead:
        return paths.parse_path(path)

    def with_model(
        self, path: str, body: bytes, model: str, also: Mapping[str, JSONValue] | None = None, /
    ) -> EncodedRequest:
        target = paths.build_path(model, stream=paths.parse_path(path).stream)
        return EncodedRequest(target, with_members(body, also) if also else body)

    def tool_name(self, name: str, /) -> str:
        return tool_name(name)

    def encode_request(self, request_: ChatRequest, /, *, profile: Profile) -> EncodedRequest:
        return request.encode_request(request_, profile)

    def decode_response(self, body: bytes, /) -> ChatResponse:
        return response.decode_response(body)

    def decode_error(self, status: int, body: bytes, /) -> UpstreamError:
        return errors.decode_error(status, body)

    def encode_error(self, error: GatewayError, /, *, request_id: str | None = None) -> EncodedError:
        return errors.encode_error(error, request_id=request_id)

    def encode_stream_error(self, error: GatewayError, /) -> ServerSentEvent:
        return errors.encode_stream_error(error)

    def stream_decoder(self) -> StreamDecoder:
        return stream.ConverseDecoder()


CODEC: Final = BedrockConverseCodec()
