"""What is sent: requests of two sizes, and the vendors' answers to them, whole and as streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from asgi_llmgw.ir import (
    ChatResponse,
    Choice,
    ChoiceEnd,
    FinishReason,
    PartEnd,
    PartStart,
    Protocol,
    ResponseEnd,
    ResponseStart,
    StreamEvent,
    TextDelta,
    TextPart,
    Usage,
    UsageUpdate,
)
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols import StreamContext, codec

Pair: TypeAlias = Literal["chat-chat", "chat-anthropic", "chat-gemini", "anthropic-chat"]
Size: TypeAlias = Literal["1 kB", "200 kB"]

EVENTS: Final = 100
"""In each stream, those at its start and end apart."""
PACED: Final = "paced"
"""A model of this name answers one event after the other, not all at once."""

_CLIENT: Final[dict[Pair, Protocol]] = {
    "chat-chat": "openai_chat",
    "chat-anthropic": "openai_chat",
    "chat-gemini": "openai_chat",
    "anthropic-chat": "anthropic_messages",
}
_SENTENCE: Final = "The quick brown fox jumps over the lazy dog, and nobody minds. "
_USAGE: Final = Usage(input_tokens=200, output_tokens=EVENTS)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a vendor says: a whole answer, and the frames of a stream."""

    whole: bytes
    frames: tuple[bytes, ...]


def client_protocol(pair: Pair) -> Protocol:
    """What the client of a pair speaks."""
    return _CLIENT[pair]


def path_of(pair: Pair) -> str:
    """Where the client of a pair asks."""
    return "/v1/messages" if _CLIENT[pair] == "anthropic_messages" else "/v1/chat/completions"


def request(pair: Pair, *, model: str, size: Size = "1 kB", stream: bool = False) -> bytes:
    """A conversation of so many bytes: seven turns of a sentence or two, or two hundred of a kilobyte."""
    turns, words = (201, _SENTENCE * 15) if size == "200 kB" else (7, _SENTENCE * 2)
    messages: list[JSONValue] = [
        {"role": "user" if turn % 2 == 0 else "assistant", "content": words} for turn in range(turns)
    ]
    body: JSONObject = {"model": model, "messages": messages, "max_tokens": 500}
    if stream:
        body["stream"] = True
    return dumps(body)


def answers(protocol: Protocol) -> Answers:
    """An answer of `EVENTS` words in a vendor's protocol."""
    spoken = codec(protocol)
    text = " ".join(f"word{number}" for number in range(EVENTS))
    whole = spoken.encode_response(
        ChatResponse(
            id="answer-1",
            model="model",
            choices=(Choice(parts=(TextPart(text),), finish=FinishReason("stop")),),
            usage=_USAGE,
        ),
        context=StreamContext(model="model"),
    )
    encoder = spoken.stream_encoder(StreamContext(model="model", include_usage=True))
    frames = [frame for event in _telling() for frame in encoder.feed(event)] + list(encoder.close())
    return Answers(whole.body, tuple(frame.encode(spoken.frame_newline) for frame in frames))


def _telling() -> list[StreamEvent]:
    return [
        ResponseStart(id="answer-1", model="model"),
        PartStart(0, TextPart("")),
        *(TextDelta(0, f" word{number}") for number in range(EVENTS)),
        PartEnd(0),
        ChoiceEnd(FinishReason("stop")),
        UsageUpdate(_USAGE),
        ResponseEnd(),
    ]
