"""The wire protocols. Higher floors come in through this door alone; no codec knows another.

A codec is loaded when it is first asked for, so that a stand-alone translator pays for the two it uses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import FinishKind, Protocol, Usage
from asgi_llmgw.protocols.base import (
    Codec,
    EncodedError,
    EncodedRequest,
    EncodedResponse,
    FrameCutter,
    Profile,
    RequestHead,
    StreamContext,
    StreamDecoder,
    StreamEncoder,
    UpstreamCodec,
    new_id,
)
from asgi_llmgw.protocols.scrub import scrub
from asgi_llmgw.sse import WholeFrames

PROTOCOLS: Final[tuple[Protocol, ...]] = ("openai_chat", "openai_responses", "anthropic_messages", "gemini_generate")
"""The protocols there is a codec for that goes both ways."""

SERVED: Final[tuple[Protocol, ...]] = ("openai_chat", "openai_responses", "anthropic_messages", "gemini_generate")
"""The protocols a client may speak."""

SPOKEN: Final[tuple[Protocol, ...]] = (*PROTOCOLS, "bedrock_converse")
"""The protocols a vendor may speak."""


@cache
def codec(name: Protocol) -> Codec:
    """The codec of one protocol.

    Raises:
        ConfigError: there is none for it.
    """
    match name:
        case "openai_chat":
            from asgi_llmgw.protocols.openai_chat import CODEC as openai_chat

            return openai_chat
        case "openai_responses":
            from asgi_llmgw.protocols.openai_responses import CODEC as openai_responses

            return openai_responses
        case "anthropic_messages":
            from asgi_llmgw.protocols.anthropic_messages import CODEC as anthropic_messages

            return anthropic_messages
        case "gemini_generate":
            from asgi_llmgw.protocols.gemini_generate import CODEC as gemini_generate

            return gemini_generate
        case _:
            missing = f"no client speaks {name!r}" if name in SPOKEN else f"there is no codec for the protocol {name!r}"
            raise ConfigError(f"{missing}; choose one of {', '.join(PROTOCOLS)}")


@cache
def upstream_codec(name: Protocol) -> UpstreamCodec:
    """The same, also for a protocol that vendors speak and no client does.

    Raises:
        ConfigError: there is none for it.
    """
    if name == "bedrock_converse":
        from asgi_llmgw.protocols.bedrock_converse import CODEC as bedrock_converse

        return bedrock_converse
    if name not in SPOKEN:
        raise ConfigError(f"there is no codec for the protocol {name!r}; choose one of {', '.join(SPOKEN)}")
    return codec(name)


def whole_frames(name: Protocol) -> FrameCutter:
    """What cuts the bytes of a stream in this protocol where a server-sent event ends."""
    if name == "bedrock_converse":
        from asgi_llmgw.protocols.bedrock_converse.frames import ConverseFrames

        return ConverseFrames()
    return WholeFrames()


def skim_response(name: Protocol, body: bytes) -> tuple[Usage | None, FinishKind | None]:
    """Usage and ending of a whole answer, reading no more of it than these where that is enough.

    Raises:
        UpstreamError: it is an error, or cannot be read.
    """
    skimmed = _chat_skim()(body) if name == "openai_chat" else None
    if skimmed is not None:
        return skimmed
    answer = upstream_codec(name).decode_response(body)
    return answer.usage, answer.choices[0].finish.kind if answer.choices else None


@cache
def _chat_skim() -> Callable[[bytes], tuple[Usage | None, FinishKind] | None]:
    from asgi_llmgw.protocols.openai_chat.plain_answer import skim_response as skim

    return skim


__all__ = (
    "PROTOCOLS",
    "SERVED",
    "SPOKEN",
    "Codec",
    "EncodedError",
    "EncodedRequest",
    "EncodedResponse",
    "FrameCutter",
    "Profile",
    "RequestHead",
    "StreamContext",
    "StreamDecoder",
    "StreamEncoder",
    "UpstreamCodec",
    "codec",
    "new_id",
    "scrub",
    "skim_response",
    "upstream_codec",
    "whole_frames",
)
