"""The codec as a whole."""

from __future__ import annotations

from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Codec


def test_it_is_a_codec() -> None:
    codec: Codec = CODEC
    assert (codec.name, codec.frame_newline) == ("anthropic_messages", b"\n")
