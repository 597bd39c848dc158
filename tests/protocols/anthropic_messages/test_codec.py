"""The codec as a whole."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import ChatResponse
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Codec, StreamContext


def test_it_is_a_codec() -> None:
    codec: Codec = CODEC
    assert (codec.name, codec.frame_newline) == ("anthropic_messages", b"\n")


def test_clients_of_this_protocol_are_refused_in_plain_words() -> None:
    for attempt in (
        lambda: CODEC.decode_request("/v1/messages", b"{}"),
        lambda: CODEC.encode_response(ChatResponse(()), context=StreamContext()),
        lambda: CODEC.stream_encoder(StreamContext()),
    ):
        with pytest.raises(InvalidRequest) as caught:
            attempt()
        assert caught.value.kind == "unsupported"
        assert "cannot be served yet" in caught.value.message
